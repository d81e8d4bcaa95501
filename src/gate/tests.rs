//! The rules of the gate, on plain values.

use super::order::OrderTarget;
use super::*;

const OPEN: PlainGate =
    PlainGate { center: Word::from_bits(0), stripes: [StripeWord::from_bits(0)] };
const USER: Arrival = Arrival::New(Origin::User);
const INTERNAL: Arrival = Arrival::New(Origin::Internal);

const EFFECTS: [Effect; 7] = [
    Effect::CloseGate { hold_internal: false },
    Effect::CloseGate { hold_internal: true },
    Effect::AmendDrain { hold_internal: false },
    Effect::AmendDrain { hold_internal: true },
    Effect::ReopenGate,
    Effect::ShutGate,
    Effect::SealGate,
];

/// Each gate that a few orders can make of any with up to two turns of each origin.
fn small_gates() -> impl Iterator<Item = PlainGate> {
    let orders = EFFECTS
        .into_iter()
        .flat_map(|first| EFFECTS.into_iter().map(move |second| [first, second]));
    orders.flat_map(|orders| {
        (0..9u32).map(move |counts| {
            let turns = InFlight::new(counts % 3, counts / 3);
            let gate = OPEN.with_in_flight(turns);
            orders.into_iter().fold(gate, |gate, effect| gate.perform(effect).0)
        })
    })
}

fn with(gate: PlainGate, arrivals: &[Arrival]) -> PlainGate {
    arrivals.iter().fold(gate, |gate, arrival| gate.admit(*arrival).expect("admitted"))
}

#[test]
fn a_closed_gate_admits_internal_work_and_children_and_counts_them() {
    let (closed, found) = with(OPEN, &[USER]).perform(Effect::CloseGate { hold_internal: false });
    assert_eq!(found, InFlight::new(1, 0));
    assert_eq!(closed.admit(USER), Err(RefusalReason::Draining));
    let more = with(closed, &[Arrival::ChildOf(Origin::User), INTERNAL]);
    assert_eq!(more.state().in_flight(), InFlight::new(2, 1));
}

#[test]
fn the_last_one_out_of_a_held_gate_seals_it() {
    let (held, _) =
        with(OPEN, &[USER, INTERNAL]).perform(Effect::CloseGate { hold_internal: true });
    for last in Origin::ALL {
        let first = if last == Origin::User { Origin::Internal } else { Origin::User };
        let one_left = held.release(first);
        assert!(!one_left.center.is_sealed(), "work in flight is never sealed in by a drain");
        let sealed = one_left.release(last);
        assert!(sealed.center.is_at_rest());
        assert_eq!(sealed.admit(INTERNAL), Err(RefusalReason::Quiesced));
        let (amended, _) = sealed.perform(Effect::AmendDrain { hold_internal: false });
        assert!(amended.admit(INTERNAL).is_ok());
    }
}

#[test]
fn nothing_clears_shut_and_a_shut_gate_never_reopens() {
    for gate in small_gates() {
        let (shut, _) = gate.perform(Effect::ShutGate);
        assert!(shut.center.is_shut() && shut.center.is_closed(), "{gate:?}");
        for effect in EFFECTS {
            let (after, _) = shut.perform(effect);
            assert!(after.center.is_shut() && after.center.is_closed(), "{shut:?} {effect:?}");
            assert!(after.stripes[0].is_shut() && after.stripes[0].is_closed());
            assert_eq!(after.admit(USER), Err(RefusalReason::ShuttingDown));
        }
    }
}

/// TG-S6; and what an order finds is what there is.
#[test]
fn an_order_never_ends_a_turn() {
    for gate in small_gates() {
        for effect in EFFECTS {
            let (after, found) = gate.perform(effect);
            assert_eq!(after.state().in_flight(), gate.state().in_flight(), "{gate:?} {effect:?}");
            if matches!(effect, Effect::SealGate) {
                assert_eq!(found, gate.state().in_flight());
            }
        }
    }
}

/// With no order on its way, a share is out for each closed stripe with turns, and for no other.
#[test]
fn each_share_is_given_back_once() {
    for gate in small_gates() {
        let is_due = gate.stripes[0].is_closed() && gate.stripes[0].count() > 0;
        assert_eq!(gate.center.shares(), u32::from(is_due), "{gate:?}");
    }
}

#[test]
fn a_sealed_gate_admits_nothing_and_a_full_one_says_so() {
    for gate in small_gates().filter(|gate| gate.center.is_sealed()) {
        for origin in Origin::ALL {
            assert!(gate.admit(Arrival::New(origin)).is_err());
            let has_parent = match origin {
                Origin::User => gate.state().in_flight().user > 0,
                Origin::Internal => gate.state().in_flight().internal > 0,
            };
            assert!(!has_parent || gate.admit(Arrival::ChildOf(origin)).is_err());
        }
    }
    let full = OPEN.with_in_flight(InFlight::new(word::IN_FLIGHT_MAX, word::IN_FLIGHT_MAX));
    for origin in Origin::ALL {
        assert_eq!(full.admit(Arrival::New(origin)), Err(RefusalReason::Full));
    }
    assert_eq!(full.state().in_flight().user, word::IN_FLIGHT_MAX);
}

#[test]
fn admit_then_release_gives_the_gate_back() {
    for gate in small_gates() {
        for origin in Origin::ALL {
            if let Ok(admitted) = gate.admit(Arrival::New(origin)) {
                assert_eq!(
                    admitted.state().in_flight().total(),
                    gate.state().in_flight().total() + 1
                );
                assert_eq!(admitted.release(origin), gate);
            }
        }
    }
}

/// While an order is on its way the gate is neither idle nor sealed by an end of work.
#[test]
fn no_gate_is_idle_between_two_steps_of_an_order() {
    for effect in EFFECTS {
        let mut gate = PlainGate::<2>::starting().perform(Effect::ReopenGate).0;
        let mut order = gate.order(effect);
        while order.target().is_some() {
            order = gate.step(order);
            assert!(order.target().is_none() || !gate.center.is_idle(), "{effect:?} {gate:?}");
        }
    }
}

/// The center is closed before the first stripe and opened after the last: readiness promises too little, if anything.
#[test]
fn the_center_closes_first_and_opens_last() {
    let mut gate = PlainGate::<2>::starting().perform(Effect::ReopenGate).0;
    for effect in [Effect::CloseGate { hold_internal: false }, Effect::ReopenGate] {
        let mut order = gate.order(effect);
        while order.target().is_some() {
            order = gate.step(order);
            let is_any_closed = gate.stripes.iter().any(|it| it.is_closed());
            assert!(gate.center.is_closed() || !is_any_closed, "{effect:?} {gate:?}");
        }
    }
}

#[test]
fn an_order_goes_to_the_center_the_stripes_and_the_center() {
    let targets = |effect| {
        let mut gate = PlainGate::<2>::starting();
        let mut order = gate.order(effect);
        let mut targets = Vec::new();
        while let Some(target) = order.target() {
            targets.push(target);
            order = gate.step(order);
        }
        targets
    };
    let all =
        [OrderTarget::Center, OrderTarget::Stripe(0), OrderTarget::Stripe(1), OrderTarget::Center];
    assert_eq!(targets(Effect::CloseGate { hold_internal: true }), all);
    assert_eq!(targets(Effect::ReopenGate), all);
    assert_eq!(targets(Effect::AmendDrain { hold_internal: true }), [OrderTarget::Center]);
}

fn gate(stripes: u32) -> Gate {
    let listener = crate::sync::Parker::of(std::thread::current());
    Gate::new(stripes, Arc::new(Wakeup::for_listener(listener)), Metrics::of("test"))
}

#[test]
fn the_number_of_stripes_is_a_power_of_two_and_bounded() {
    for (asked, made) in [(0, 1), (1, 1), (3, 4), (4, 4), (u32::MAX, STRIPES_MAX)] {
        assert_eq!(gate(asked).words.stripes.len(), made);
    }
}

/// Turns that are admitted on one thread and dropped on another leave the stripe that counts them.
#[test]
fn a_turn_leaves_its_own_stripe() {
    let gate = gate(2);
    gate.perform(Effect::ReopenGate, 0);
    let turns = [0, 1, 2]
        .map(|number| Turn::admit(gate.words.stripes.at(number), Origin::User).expect("open"));
    let child = turns[1].child().expect("open");
    assert_eq!(gate.in_flight(), InFlight::new(4, 0));
    gate.perform(Effect::CloseGate { hold_internal: true }, 1);
    std::thread::scope(|scope| scope.spawn(move || drop(turns)).join()).expect("ends");
    assert_eq!(gate.in_flight(), InFlight::new(1, 0));
    let refused = gate.admit(Origin::User).expect_err("closed");
    assert_eq!((refused.reason, refused.generation), (RefusalReason::Draining, 1));
    drop(child);
    assert!(gate.state().is_at_rest());
}

/// So many stripes that no other test of this process has them: the pool is the process's.
const RARE: u32 = 512;

#[test]
fn words_serve_the_next_gateway_when_their_last_turn_has_ended() {
    let center = |gate: &Gate| std::ptr::from_ref::<Center>(&gate.words.center);
    let first = gate(RARE);
    let words = center(&first);
    first.perform(Effect::ReopenGate, 0);
    let turn = first.admit(Origin::User).expect("open");
    drop(first);
    assert!(turn.child().is_err(), "the gateway is gone");

    let second = gate(RARE);
    assert_ne!(center(&second), words, "a turn still points there");
    drop(turn);
    let third = gate(RARE);
    assert_eq!(center(&third), words);
    assert!(third.word() == Word::starting() && third.state().is_idle());
    assert!(third.admit(Origin::User).is_err(), "closed until the first order");
    third.perform(Effect::ReopenGate, 0);
    drop(third.admit(Origin::User).expect("open"));
    assert!(second.admit(Origin::User).is_err(), "another gate");
}

/// A turn of a gateway that is gone wakes nobody, and does not count at the gateway that has its words next.
#[test]
fn a_turn_that_outlasts_its_gateway_ends_in_silence() {
    let wakeup = Arc::new(Wakeup::for_listener(crate::sync::Parker::of(std::thread::current())));
    let gate = Gate::new(2 * RARE, Arc::clone(&wakeup), Metrics::of("test"));
    gate.perform(Effect::ReopenGate, 0);
    let turn = gate.admit(Origin::Internal).expect("open");
    drop(gate);
    assert_eq!(Arc::strong_count(&wakeup), 1, "the gateway's wakeup is not kept");
    drop(turn);
}
