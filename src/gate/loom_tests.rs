//! The shipped gate under every interleaving and reordering that loom can find:
//! `RUSTFLAGS="--cfg tidegate_loom" cargo test --release --lib loom_tests`.

use loom::sync::atomic::AtomicU64;
use loom::thread;

use super::word::{Arrival, Origin, RefusalReason};
use super::{Gate, Turn, Wait, WaitList};
use crate::machine::{Effect, Phase};
use crate::metrics::Metrics;
use crate::sync::{Arc, Ordering, Parker, Wakeup};

const CLOSE: Effect = Effect::CloseGate { hold_internal: false };
const CLOSE_AND_HOLD: Effect = Effect::CloseGate { hold_internal: true };

/// A gate whose wakeup wakes the calling thread.
fn open_gate() -> (Arc<Gate>, Arc<Wakeup>) {
    let wakeup = Arc::new(Wakeup::for_listener(Parker::here()));
    let gate = Arc::new(Gate::new(Arc::clone(&wakeup), Metrics::of("loom")));
    gate.perform(Effect::ReopenGate, 0);
    (gate, wakeup)
}

fn admit(gate: &Arc<Gate>, origin: Origin) -> Result<Turn, super::Refused> {
    Turn::admit(gate, Arrival::New(origin))
}

/// TG-S2: a thread that knows that the close has returned is refused, with the generation of that close.
#[test]
fn a_closed_gate_admits_no_user_turn() {
    loom::model(|| {
        let (gate, _bell) = open_gate();
        let confirmed = Arc::new(AtomicU64::new(0));

        let user = {
            let (gate, confirmed) = (Arc::clone(&gate), Arc::clone(&confirmed));
            thread::spawn(move || {
                let knew = confirmed.load(Ordering::Acquire) == 1;
                let answer = admit(&gate, Origin::User);
                match answer {
                    Ok(_turn) => assert!(!knew, "admitted after the close was confirmed"),
                    Err(refused) => {
                        assert_eq!(refused.reason, RefusalReason::Draining);
                        assert_eq!(
                            (refused.phase, refused.generation),
                            (Phase::ExternallyDraining, 1)
                        );
                    }
                }
            })
        };
        gate.perform(CLOSE, 1);
        confirmed.store(1, Ordering::Release);
        user.join().unwrap();
        assert_eq!(gate.in_flight().total(), 0);
    });
}

/// TG-S4's ground: who reads idle sees everything that the turns did.
#[test]
fn idle_shows_what_the_turns_did() {
    loom::model(|| {
        let (gate, _bell) = open_gate();
        let work: Vec<_> = (0..2).map(|_| Arc::new(AtomicU64::new(0))).collect();
        let turns: Vec<_> = work
            .iter()
            .map(|done| {
                let turn = admit(&gate, Origin::User).expect("open");
                let done = Arc::clone(done);
                thread::spawn(move || {
                    done.store(1, Ordering::Relaxed);
                    drop(turn);
                })
            })
            .collect();
        gate.perform(CLOSE, 1);
        if gate.word().is_idle() {
            assert!(work.iter().all(|done| done.load(Ordering::Relaxed) == 1));
        }
        for turn in turns {
            turn.join().unwrap();
        }
        assert!(gate.word().is_idle());
    });
}

/// TG-L2: a waiter that came at any moment is woken. A lost wake-up is a deadlock here.
#[test]
fn the_last_turn_out_wakes_the_waiter() {
    loom::model(|| {
        let (gate, wakeup) = open_gate();
        let list = Arc::new(WaitList::new());
        let turn = admit(&gate, Origin::User).expect("open");
        gate.perform(CLOSE, 1);

        let waiter = {
            let (gate, list) = (Arc::clone(&gate), Arc::clone(&list));
            thread::spawn(move || {
                Wait::new(list, move || gate.word().is_idle().then_some(())).wait()
            })
        };
        let worker = thread::spawn(move || drop(turn));
        // This thread is the timer.
        wakeup.wait(None);
        list.wake_all();
        worker.join().unwrap();
        waiter.join().unwrap();
    });
}

/// TG-S3: between the last turn out and the seal there is no gap to slip through.
#[test]
fn nothing_slips_past_the_seal() {
    loom::model(|| {
        let (gate, _bell) = open_gate();
        let turn = admit(&gate, Origin::User).expect("open");
        gate.perform(CLOSE_AND_HOLD, 1);

        let worker = thread::spawn(move || drop(turn));
        match admit(&gate, Origin::Internal) {
            Ok(internal) => {
                assert!(!gate.word().is_sealed(), "sealed with work in flight");
                drop(internal);
            }
            Err(refused) => {
                assert_eq!(refused.reason, RefusalReason::Quiesced);
                assert!(gate.word().is_at_rest());
            }
        }
        worker.join().unwrap();
        assert!(gate.word().is_at_rest());
    });
}

/// TG-S1: a reopening that races with the shutdown loses, in either order.
#[test]
fn a_reopening_never_undoes_a_shutdown() {
    loom::model(|| {
        let (gate, _bell) = open_gate();
        gate.perform(CLOSE, 1);
        let reopener = {
            let gate = Arc::clone(&gate);
            thread::spawn(move || {
                gate.perform(Effect::ReopenGate, 1);
            })
        };
        gate.perform(Effect::ShutGate, 1);
        assert!(gate.word().is_closed());
        reopener.join().unwrap();
        assert!(gate.word().is_closed() && gate.word().is_shut());
        assert_eq!(
            admit(&gate, Origin::User).expect_err("shut").reason,
            RefusalReason::ShuttingDown
        );
    });
}

/// A turn that a reopened gate admits sees what was done before the reopening.
#[test]
fn a_reopened_gate_shows_what_came_before() {
    loom::model(|| {
        let (gate, _bell) = open_gate();
        gate.perform(CLOSE, 1);
        let migrated = Arc::new(AtomicU64::new(0));
        let user = {
            let (gate, migrated) = (Arc::clone(&gate), Arc::clone(&migrated));
            thread::spawn(move || {
                if let Ok(_turn) = admit(&gate, Origin::User) {
                    assert_eq!(migrated.load(Ordering::Relaxed), 1);
                }
            })
        };
        migrated.store(1, Ordering::Relaxed);
        gate.perform(Effect::ReopenGate, 1);
        user.join().unwrap();
    });
}
