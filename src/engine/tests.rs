//! Calls of the engine, one after the other, as the threads make them. The models have every order.

use super::*;
use crate::gate::PlainGate;
use crate::gate::word::{Arrival, Origin};
use crate::machine::ShutdownCause;

/// One request, by its number, in one of two places: 0 is shared, 1 is listed.
struct Small;

impl EngineTypes for Small {
    type Slot = u8;
    type Request = SmallRequest;
    type Reason = &'static str;
    type Stamp = u8;
    type Labels = ();
    type Instant = u8;

    fn is_named(slot: &u8) -> bool {
        *slot != 0
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct SmallRequest {
    number: u8,
    holds: bool,
}

impl Demand for SmallRequest {
    fn terms(&self) -> Option<Terms> {
        Some(Terms { hold_internal: self.holds, suppress_notification: false })
    }
}

const PLAIN: SmallRequest = SmallRequest { number: 1, holds: false };
const HOLD: SmallRequest = SmallRequest { number: 2, holds: true };
const WATCHED: EngineConfig = EngineConfig { has_watcher: true, skips: 2 };

type Seen = Sighting<SmallRequest, &'static str>;

/// An engine and the word of its gate.
struct Driven {
    engine: Engine<Small>,
    gate: PlainGate,
}

impl Driven {
    fn start(rules: EngineConfig, seen: Seen, held_until: Option<u8>) -> Driven {
        let seen = [(0, seen)];
        let (engine, effect) =
            Engine::start(rules, seen, &Listing::Whole, Some(1), held_until, 0, |_, _| true);
        Driven { engine, gate: PlainGate::starting().perform(effect).0 }
    }

    fn running() -> Driven {
        Driven::start(WATCHED, Sighting::Absent, None)
    }

    /// Does what was ordered, and says whether the phase has changed, and whether the timer is woken.
    fn does(&mut self, reaction: Reaction) -> (bool, bool) {
        let changed = reaction.ordered.is_some_and(|ordered| {
            let (after, found) = self.gate.perform(ordered.effect);
            self.gate = after;
            self.engine.gate_done(ordered, found, 50)
        });
        (changed, reaction.wakes_timer)
    }

    fn sees(&mut self, slot: u8, seen: Seen) -> (bool, bool) {
        let call = self.engine.request_observation();
        assert!(matches!(self.engine.next_observe_action(call), ObserveAction::Look(_)));
        let reaction =
            self.engine.observed([(slot, seen)], &Listing::Whole, Some(1), 1, |_, _| true);
        assert_eq!(self.engine.next_observe_action(call), ObserveAction::Done);
        self.does(reaction)
    }

    fn turn(&mut self) {
        self.gate = self.gate.admit(Arrival::New(Origin::User)).expect("open");
    }

    fn is_quiesced(&self) -> Option<Result<(), NotQuiesced>> {
        self.engine.quiesced(self.gate.state())
    }
}

fn present(request: &SmallRequest) -> Seen {
    Sighting::Present(request.clone())
}

#[test]
fn a_start_admits_only_where_nothing_asks() {
    assert!(!Driven::running().gate.center.is_closed());
    assert!(Driven::start(WATCHED, present(&PLAIN), None).gate.center.is_closed());
    let blind = || Sighting::Unreadable("EIO");
    assert!(!Driven::start(WATCHED, blind(), None).gate.center.is_sealed());
    assert!(Driven::start(WATCHED, blind(), Some(9)).gate.center.is_sealed(), "within a promise");
}

#[test]
fn what_a_look_finds_wakes_the_timer_where_it_is_new() {
    let mut it = Driven::running();
    assert_eq!(it.sees(0, Sighting::Absent), (false, false));
    assert_eq!(it.sees(0, present(&PLAIN)), (true, true));
    assert_eq!(it.engine.desired_state(), "draining");
    assert_eq!(it.sees(0, present(&PLAIN)), (false, false));
    assert_eq!(it.sees(1, present(&PLAIN)), (false, true), "another asks the same");
    assert_eq!(it.sees(1, Sighting::Unreadable("EIO")), (false, true), "a complaint");
    assert_eq!(it.engine.unseen().requests, [(1, "EIO")]);
    assert_eq!(it.sees(1, Sighting::Unreadable("EIO")), (false, false));
    assert_eq!(it.sees(1, Sighting::Absent), (false, true));
    assert_eq!(it.sees(0, Sighting::Absent), (true, true));
    assert!(!it.gate.state().is_closed() && it.engine.phase() == Phase::Running);
    assert_eq!((it.engine.desired_state(), it.engine.stamp()), ("running", Some(&1)));
}

#[test]
fn a_look_that_came_to_nothing_is_made_by_the_next_caller() {
    let mut it = Driven::running();
    let (first, second) = (it.engine.request_observation(), it.engine.request_observation());
    assert!(matches!(it.engine.next_observe_action(first), ObserveAction::Look(_)));
    assert_eq!(it.engine.next_observe_action(second), ObserveAction::Wait);
    it.engine.on_observation_abandoned(first);
    assert!(matches!(it.engine.next_observe_action(second), ObserveAction::Look(_)));
}

/// With no named request, a conclusive stamp needs no listing; with one it does, now and then.
#[test]
fn a_listing_is_due_where_a_named_request_is_known() {
    let skips = |seen: Option<(u8, SmallRequest)>| {
        let mut it = Driven::running();
        if let Some((slot, request)) = seen {
            it.sees(slot, Sighting::Present(request));
        }
        let skips = (0..6).filter(|_| {
            let call = it.engine.request_observation();
            let ObserveAction::Look(order) = it.engine.next_observe_action(call) else {
                panic!("it is free")
            };
            let skips = order.may_skip_listing(&1);
            let nothing: [(u8, Seen); 0] = [];
            let _ = it.engine.observed(nothing, &Listing::Unchanged, Some(1), 1, |_, _| true);
            assert_eq!(it.engine.next_observe_action(call), ObserveAction::Done);
            skips
        });
        skips.count()
    };
    assert_eq!((skips(None), skips(Some((0, PLAIN)))), (6, 6));
    assert_eq!(skips(Some((1, PLAIN))), 4);
}

#[test]
fn a_shutdown_waits_for_its_turns_and_no_longer_than_its_deadline() {
    let mut it = Driven::running();
    it.turn();
    assert_eq!(it.engine.timer_sleeps(), TimerSleeps::UntilWoken);
    let asked = it.engine.shutdown_asked(ShutdownCause::Operator, 9);
    assert_eq!(it.does(asked), (true, true));
    assert_eq!(it.engine.may_begin(), Err(Phase::ShuttingDown));
    let asked = it.engine.shutdown_asked(ShutdownCause::Operator, 8);
    assert_eq!(it.does(asked), (false, true), "a nearer deadline");
    assert_eq!((it.engine.deadline(), it.engine.grace_until()), (Some(8), Some(8)));
    assert_eq!(it.engine.timer_sleeps(), TimerSleeps::Until(8));
    let passed = it.engine.on_time(it.gate.state(), 7);
    assert_eq!(it.does(passed), (false, false));
    let passed = it.engine.on_time(it.gate.state(), 8);
    assert_eq!(it.does(passed), (true, true));
    let left = Some(Ended::TimedOut { in_flight: 1 });
    assert_eq!((it.engine.ended(), it.engine.outcome()), (left, None), "not reported yet");
    assert_eq!((it.engine.deadline(), it.engine.timer_sleeps()), (None, TimerSleeps::Until(50)));
    assert_eq!(it.engine.desired_state(), "stopped");
    // A request for what has ended changes nothing, and wakes nobody.
    let asked = it.engine.shutdown_asked(ShutdownCause::Operator, 1);
    assert_eq!(it.does(asked), (false, false));

    let meant = IntendedStatus { condition: it.engine.condition(it.gate.state()), labels: () };
    assert!(!it.engine.is_published(it.gate.state(), ()));
    assert_eq!(it.engine.publish_turn(it.gate.state(), ()), PublishAction::Write(meant.clone()));
    assert!(it.engine.status_written(meant, true), "the home is given back");
    it.engine.home_given_back();
    assert_eq!(it.engine.outcome(), left);
    assert!(!it.engine.has_published_all(), "a turn may end");
    it.gate = it.gate.release(Origin::User);
    let meant = IntendedStatus { condition: it.engine.condition(it.gate.state()), labels: () };
    assert_eq!(it.engine.publish_turn(it.gate.state(), ()), PublishAction::Correct(meant.clone()));
    it.engine.status_corrected(meant, CorrectionOutcome::Written);
    assert!(it.engine.has_published_all());
    let call = it.engine.request_observation();
    assert_eq!(
        it.engine.next_observe_action(call),
        ObserveAction::Done,
        "after the end nobody looks"
    );
}

/// Without a watcher no thread writes the last status, so the end is reported at once.
#[test]
fn an_end_without_a_watcher_is_told_at_once() {
    let mut it =
        Driven::start(EngineConfig { has_watcher: false, ..WATCHED }, Sighting::Absent, None);
    let asked = it.engine.shutdown_asked(ShutdownCause::Sigterm, 9);
    it.does(asked);
    let passed = it.engine.on_time(it.gate.state(), 0);
    assert_eq!(it.does(passed), (true, true));
    assert_eq!(it.engine.outcome(), Some(Ended::Clean));
}

#[test]
fn the_last_handle_ends_the_loop() {
    let mut it = Driven::running();
    for phase in [Phase::ShuttingDown, Phase::Stopped] {
        let ended = it.engine.loop_ended();
        assert!(it.does(ended).0);
        assert_eq!(it.engine.phase(), phase);
    }
    assert!(!it.engine.has_no_handles());
    it.engine.abandoned();
    assert!(it.engine.has_no_handles());
    assert_eq!(it.engine.timer_sleeps(), TimerSleeps::ForGood);
}

#[test]
fn a_receipt_is_for_the_very_request_in_the_very_phase() {
    let mut it = Driven::running();
    let receipt = |it: &Driven, slot, number| {
        it.engine.receipt(&slot, |request: &SmallRequest| request.number == number).draining
    };
    assert!(!receipt(&it, 0, 1));
    it.sees(0, present(&PLAIN));
    assert!(receipt(&it, 0, 1));
    assert!(!receipt(&it, 0, 2) && !receipt(&it, 1, 1), "another's, or elsewhere");
    let asked = it.engine.shutdown_asked(ShutdownCause::Operator, 9);
    it.does(asked);
    assert!(!receipt(&it, 0, 1), "a shutdown supersedes it");
}

#[test]
fn a_cancel_stays_on_while_what_it_meant_is_believed_live() {
    let mut it = Driven::running();
    it.sees(0, present(&PLAIN));
    it.sees(1, present(&HOLD));
    let shared = it.engine.cancel_begins(|slot, _| *slot == 0);
    let none = it.engine.cancel_begins(|_, _| false);
    assert!(it.engine.is_unreleased(&shared) && !it.engine.is_unreleased(&none));
    it.sees(0, present(&HOLD));
    assert!(!it.engine.is_unreleased(&shared), "another request is in its place");
    let named = it.engine.cancel_begins(|slot, request| *slot == 1 && request == Some(&HOLD));
    assert!(it.engine.is_unreleased(&named));
    let asked = it.engine.shutdown_asked(ShutdownCause::Operator, 9);
    it.does(asked);
    assert!(!it.engine.is_unreleased(&named), "nothing keeps a shutdown's gate");
}

#[test]
fn what_is_not_quiesced_says_why() {
    let mut it = Driven::running();
    assert_eq!(it.is_quiesced(), Some(Err(NotQuiesced::NotDraining)));
    it.turn();
    it.sees(0, present(&PLAIN));
    assert_eq!(it.is_quiesced(), Some(Err(NotQuiesced::NotHeld)));
    it.sees(0, present(&HOLD));
    assert_eq!(it.is_quiesced(), None, "it may still come");
    it.gate = it.gate.release(Origin::User);
    assert_eq!(it.is_quiesced(), Some(Ok(())));
    let asked = it.engine.shutdown_asked(ShutdownCause::Operator, 9);
    it.does(asked);
    assert_eq!(it.is_quiesced(), Some(Err(NotQuiesced::ShuttingDown)));
}
