//! The shipped gate under every interleaving and reordering that loom can find:
//! `RUSTFLAGS="--cfg tidegate_loom" cargo test --release --lib loom_tests -- --nocapture`.
//!
//! Each scenario also runs with one ordering at a time made weaker, as [`orderings`](crate::orderings) lists them, and
//! must fail then. A scenario prints how often it ran, and how long that took.

use std::sync::atomic::AtomicU64 as Counter;
use std::sync::atomic::Ordering::{self, AcqRel, Acquire, Relaxed, Release};
use std::time::Instant;

use loom::sync::Mutex;
use loom::sync::atomic::AtomicU64;
use loom::thread;

use super::word::{Origin, RefusalReason};
use super::{Gate, Turn, Wait, WaitList};
use crate::machine::{Effect, Phase};
use crate::metrics::Metrics;
use crate::orderings::{Access, WEAKENED};
use crate::sync::{Arc, Parker, Wakeup};

const CLOSE: Effect = Effect::CloseGate { hold_internal: false };
const CLOSE_AND_HOLD: Effect = Effect::CloseGate { hold_internal: true };

/// An open gate whose wakeup wakes the calling thread.
fn open_gate(stripes: u32) -> (Arc<Gate>, Arc<Wakeup>) {
    let wakeup = Arc::new(Wakeup::for_listener(Parker::here()));
    let gate = Arc::new(Gate::new(stripes, Arc::clone(&wakeup), Metrics::of("loom")));
    gate.perform(Effect::ReopenGate, 0);
    (gate, wakeup)
}

fn admit(gate: &Gate, stripe: usize, origin: Origin) -> Result<Turn, super::Refused> {
    Turn::admit(gate.words.stripes.at(stripe), origin)
}

/// What somebody does that others must see. Its own accesses order nothing.
#[derive(Clone, Debug)]
struct Work(Arc<AtomicU64>);

impl Work {
    fn new() -> Work {
        Work(Arc::new(AtomicU64::new(0)))
    }

    fn finish(&self) {
        self.0.store(1, Relaxed);
    }

    fn is_done(&self) -> bool {
        self.0.load(Relaxed) == 1
    }
}

/// Does the work in a thread that holds the turn, and drops it.
fn works(turn: Turn, work: &Work) -> thread::JoinHandle<()> {
    let work = work.clone();
    thread::spawn(move || {
        work.finish();
        drop(turn);
    })
}

/// TG-S2, TG-S4: a thread that knows that the close has returned is refused, on any stripe. Never is a turn admitted and
/// the gate quiesced.
fn a_closed_gate_admits_no_user_turn() {
    let (gate, _wakeup) = open_gate(2);
    let confirmed = Arc::new(AtomicU64::new(0));
    let user = {
        let (gate, confirmed) = (Arc::clone(&gate), Arc::clone(&confirmed));
        thread::spawn(move || {
            let knew = confirmed.load(Acquire) == 1;
            match admit(&gate, 1, Origin::User) {
                Ok(_turn) => {
                    assert!(!knew, "admitted after the close was confirmed");
                    assert!(!gate.word().is_at_rest(), "admitted and quiesced");
                }
                Err(refused) => assert_eq!(refused.phase, Phase::ExternallyDraining),
            }
        })
    };
    gate.perform(CLOSE_AND_HOLD, 1);
    confirmed.store(1, Release);
    user.join().unwrap();
    assert!(gate.word().is_at_rest());
    assert_eq!(gate.in_flight().total(), 0);
}

/// A refusal states the generation of the close that it saw.
fn a_refusal_states_its_close() {
    let (gate, _wakeup) = open_gate(1);
    let user = {
        let gate = Arc::clone(&gate);
        thread::spawn(move || {
            if let Err(refused) = admit(&gate, 0, Origin::User) {
                let stated = (refused.phase, refused.generation);
                assert_eq!(stated, (Phase::ExternallyDraining, 1));
            }
        })
    };
    gate.perform(CLOSE, 1);
    user.join().unwrap();
}

/// The same for internal work at a sealed gate.
fn a_refusal_of_internal_work_states_its_close() {
    let (gate, _wakeup) = open_gate(1);
    let internal = {
        let gate = Arc::clone(&gate);
        thread::spawn(move || {
            if let Err(refused) = admit(&gate, 0, Origin::Internal) {
                assert_eq!((refused.reason, refused.generation), (RefusalReason::Quiesced, 1));
            }
        })
    };
    gate.perform(CLOSE_AND_HOLD, 1);
    internal.join().unwrap();
}

/// TG-S4's ground: a reader of idle sees everything that the turns did, on one stripe and on two.
fn idle_shows_what_all_turns_did() {
    let (gate, _wakeup) = open_gate(2);
    let work = [0; 2].map(|_| Work::new());
    let turns = [0, 0].map(|stripe| admit(&gate, stripe, Origin::User).expect("open"));
    gate.perform(CLOSE, 1);
    let mut threads = Vec::new();
    for (turn, work) in turns.into_iter().zip(&work) {
        threads.push(works(turn, work));
    }
    if gate.word().is_idle() {
        assert!(work.iter().all(Work::is_done));
    }
    for thread in threads {
        thread.join().unwrap();
    }
    assert!(gate.word().is_idle());
}

/// The same where an order finds the stripe empty, and the turns have left it before.
fn idle_shows_what_earlier_turns_did() {
    let (gate, _wakeup) = open_gate(1);
    let work = Work::new();
    let turn = admit(&gate, 0, Origin::User).expect("open");
    let thread = works(turn, &work);
    let reader = {
        let (gate, work) = (Arc::clone(&gate), work.clone());
        thread::spawn(move || {
            if gate.word().is_idle() {
                assert!(work.is_done());
            }
        })
    };
    gate.perform(CLOSE, 1);
    thread.join().unwrap();
    reader.join().unwrap();
}

/// The same for internal work.
fn idle_shows_what_internal_work_did() {
    let (gate, _wakeup) = open_gate(1);
    let work = Work::new();
    let turn = admit(&gate, 0, Origin::Internal).expect("open");
    gate.perform(CLOSE, 1);
    let thread = works(turn, &work);
    if gate.word().is_idle() {
        assert!(work.is_done());
    }
    thread.join().unwrap();
}

/// An order that finds nothing in flight has seen what the work did: the end is reported as clean by that.
fn a_clean_end_shows_what_internal_work_did() {
    let (gate, _wakeup) = open_gate(1);
    let work = Work::new();
    let turn = admit(&gate, 0, Origin::Internal).expect("open");
    gate.perform(Effect::ShutGate, 1);
    let thread = works(turn, &work);
    if gate.perform(Effect::SealGate, 1).total() == 0 {
        assert!(work.is_done());
    }
    thread.join().unwrap();
}

/// A gate that is sealed at the deadline is idle once its stripes are empty, and its reader sees what the turns did. An
/// order that found none in flight has seen it too.
fn a_stopped_gate_shows_what_its_turns_did() {
    let (gate, _wakeup) = open_gate(1);
    let work = Work::new();
    let turn = admit(&gate, 0, Origin::User).expect("open");
    gate.perform(Effect::ShutGate, 1);
    let thread = works(turn, &work);
    let found = gate.perform(Effect::SealGate, 1);
    if found.total() == 0 || gate.state().is_idle() {
        assert!(work.is_done());
    }
    thread.join().unwrap();
    assert!(gate.word().is_at_rest());
}

/// TG-L2: two last turns on two stripes, and a waiter that came at any moment is woken. A lost wake-up is a deadlock
/// here.
fn the_last_turns_wake_the_waiter() {
    let (gate, wakeup) = open_gate(2);
    let list = Arc::new(WaitList::new());
    let turns = [0, 1].map(|stripe| admit(&gate, stripe, Origin::User).expect("open"));
    gate.perform(CLOSE, 1);
    let [first, second] = turns;
    let worker = thread::spawn(move || drop(first));
    let other = {
        let (gate, list) = (Arc::clone(&gate), Arc::clone(&list));
        thread::spawn(move || {
            drop(second);
            Wait::new(list, move || gate.word().is_idle().then_some(())).wait();
        })
    };
    // This thread is the timer.
    wakeup.wait(None);
    list.wake_all();
    worker.join().unwrap();
    other.join().unwrap();
}

/// A release and a second close do not confuse a turn that leaves slowly, nor a reader of idle: no share of the first
/// close is taken for one of the second.
fn a_second_close_is_not_confused_by_the_first() {
    let (gate, _wakeup) = open_gate(1);
    let work = [0; 2].map(|_| Work::new());
    let slow = admit(&gate, 0, Origin::User).expect("open");
    let slow = works(slow, &work[0]);
    gate.perform(CLOSE, 1);
    gate.perform(Effect::ReopenGate, 1);
    let late = admit(&gate, 0, Origin::User).expect("open again");
    gate.perform(CLOSE_AND_HOLD, 2);
    assert!(!gate.word().is_idle(), "a turn is in flight");
    work[1].finish();
    drop(late);
    if gate.word().is_at_rest() {
        assert!(work.iter().all(Work::is_done));
    }
    slow.join().unwrap();
    assert!(gate.word().is_at_rest());
}

/// A waiter that began at one close, and looks and registers across a release and the next, is woken.
fn a_waiter_outlasts_a_release() {
    let (gate, wakeup) = open_gate(1);
    let list = Arc::new(WaitList::new());
    let turn = admit(&gate, 0, Origin::User).expect("open");
    gate.perform(CLOSE, 1);
    let waiter = {
        let (gate, list) = (Arc::clone(&gate), Arc::clone(&list));
        thread::spawn(move || Wait::new(list, move || gate.word().is_idle().then_some(())).wait())
    };
    gate.perform(Effect::ReopenGate, 1);
    gate.perform(CLOSE, 2);
    drop(turn);
    // This thread is the timer. It is rung once at least, by the last turn out of either close.
    wakeup.wait(None);
    list.wake_all();
    waiter.join().unwrap();
}

/// TG-S3: between the last turn out and the seal there is no gap to slip through.
fn nothing_slips_past_the_seal() {
    let (gate, _wakeup) = open_gate(2);
    let turn = admit(&gate, 0, Origin::User).expect("open");
    gate.perform(CLOSE_AND_HOLD, 1);
    let worker = thread::spawn(move || drop(turn));
    match admit(&gate, 1, Origin::Internal) {
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
}

/// TG-L5, TG-S4: a child is admitted while its parent lives, and no zero is seen between them, whatever leaves.
fn a_child_joins_before_its_parent_leaves() {
    let (gate, _wakeup) = open_gate(2);
    let parent = admit(&gate, 0, Origin::User).expect("open");
    let sibling = admit(&gate, 1, Origin::User).expect("open");
    let work = Work::new();
    gate.perform(CLOSE_AND_HOLD, 1);
    let worker = {
        let work = work.clone();
        thread::spawn(move || {
            let child = parent.child().expect("its parent lives");
            drop(parent);
            work.finish();
            drop(child);
        })
    };
    let other = thread::spawn(move || drop(sibling));
    if gate.word().is_idle() {
        assert!(work.is_done(), "idle between a parent and its child");
    }
    worker.join().unwrap();
    other.join().unwrap();
    assert!(gate.word().is_at_rest());
}

/// TG-S1: under the transition lock, a release that races with a shutdown loses in either order, and no turn is admitted
/// after the shutdown was confirmed.
fn a_shutdown_wins_over_a_release_and_an_admission() {
    let (gate, _wakeup) = open_gate(1);
    let shut = Arc::new(Mutex::new(false));
    gate.perform(CLOSE, 1);
    let shutter = {
        let (gate, shut) = (Arc::clone(&gate), Arc::clone(&shut));
        thread::spawn(move || {
            let mut shut = shut.lock().unwrap();
            gate.perform(Effect::ShutGate, 2);
            *shut = true;
        })
    };
    let knew = {
        let shut = shut.lock().unwrap();
        gate.perform(Effect::ReopenGate, 1);
        *shut
    };
    let turn = admit(&gate, 0, Origin::User);
    assert!(!(knew && turn.is_ok()), "admitted after the shutdown");
    drop(turn);
    shutter.join().unwrap();
    assert!(gate.word().is_closed() && gate.word().is_shut());
    assert!(gate.word().is_at_rest(), "each share was given back");
    let refused = admit(&gate, 0, Origin::User).expect_err("shut");
    assert_eq!(refused.reason, RefusalReason::ShuttingDown);
}

/// And without the lock: each word keeps this by itself.
fn each_word_keeps_a_shutdown() {
    let (gate, _wakeup) = open_gate(1);
    gate.perform(CLOSE, 1);
    let reopener = {
        let gate = Arc::clone(&gate);
        thread::spawn(move || {
            gate.perform(Effect::ReopenGate, 1);
        })
    };
    gate.perform(Effect::ShutGate, 1);
    assert!(admit(&gate, 0, Origin::User).is_err());
    reopener.join().unwrap();
    assert!(gate.word().is_closed() && gate.word().is_shut());
    let refused = admit(&gate, 0, Origin::User).expect_err("shut");
    assert_eq!(refused.reason, RefusalReason::ShuttingDown);
}

/// A turn that a reopened gate admits sees what was done before the reopening.
fn a_reopened_gate_shows_what_came_before() {
    let (gate, _wakeup) = open_gate(2);
    gate.perform(CLOSE, 1);
    let migration = Work::new();
    let user = {
        let (gate, migration) = (Arc::clone(&gate), migration.clone());
        thread::spawn(move || {
            if let Ok(_turn) = admit(&gate, 1, Origin::User) {
                assert!(migration.is_done());
            }
        })
    };
    migration.finish();
    gate.perform(Effect::ReopenGate, 1);
    user.join().unwrap();
}

/// So does internal work at a gate that is no longer sealed.
fn an_unsealed_gate_shows_what_came_before() {
    let (gate, _wakeup) = open_gate(1);
    gate.perform(CLOSE_AND_HOLD, 1);
    let migration = Work::new();
    let internal = {
        let (gate, migration) = (Arc::clone(&gate), migration.clone());
        thread::spawn(move || {
            if let Ok(_turn) = admit(&gate, 0, Origin::Internal) {
                assert!(migration.is_done());
            }
        })
    };
    migration.finish();
    gate.perform(Effect::ReopenGate, 1);
    internal.join().unwrap();
}

/// Why each share is given back to one word: two last turns that look at each other's stripes instead can both see the
/// other still there. Nobody wakes the waiter then. This is no code of ours; it is the design that was not built.
fn two_last_turns_that_look_at_each_other() {
    let stripes = [0; 2].map(|_| Arc::new(AtomicU64::new(1)));
    let leave = |own: usize| {
        let stripes = stripes.clone();
        thread::spawn(move || {
            stripes[own].fetch_sub(1, AcqRel);
            stripes[1 - own].load(Acquire) == 0
        })
    };
    let threads = [leave(0), leave(1)];
    let saw = threads.map(|thread| thread.join().unwrap());
    assert!(saw[0] || saw[1], "both are last, and neither knows");
}

/// A turn that is admitted after a migration at an idle gate sees it, also if it looked at the gate before the close.
fn a_turn_after_a_migration_sees_it(origin: Origin) {
    let (gate, _wakeup) = open_gate(1);
    let migration = Work::new();
    let thread = {
        let (gate, migration) = (Arc::clone(&gate), migration.clone());
        thread::spawn(move || {
            let turn = admit(&gate, 0, origin);
            let saw = migration.is_done();
            (turn.is_ok(), turn, saw)
        })
    };
    gate.perform(CLOSE_AND_HOLD, 1);
    let migrates = gate.word().is_at_rest();
    if migrates {
        migration.finish();
    }
    gate.perform(Effect::ReopenGate, 1);
    let (admitted, turn, saw) = thread.join().unwrap();
    assert!(!(migrates && admitted) || saw, "a turn starts that has not seen the migration");
    drop(turn);
}

fn a_user_turn_after_a_migration_sees_it() {
    a_turn_after_a_migration_sees_it(Origin::User);
}

fn internal_work_after_a_migration_sees_it() {
    a_turn_after_a_migration_sees_it(Origin::Internal);
}

/// Runs a scenario in every way, and says how many there were. One that would take minutes is run with so many
/// preemptions at most, unless `TIDEGATE_LOOM=long` asks for all.
fn explore(name: &str, scenario: fn(), preemptions: Option<usize>) {
    let (began, runs) = (Instant::now(), std::sync::Arc::new(Counter::new(0)));
    let counted = std::sync::Arc::clone(&runs);
    let mut model = loom::model::Builder::new();
    let is_long = std::env::var("TIDEGATE_LOOM").is_ok_and(|it| it == "long");
    model.preemption_bound = preemptions.filter(|_| !is_long);
    let bound =
        model.preemption_bound.map_or(String::new(), |it| format!(", at most {it} preemptions"));
    model.check(move || {
        counted.fetch_add(1, Relaxed);
        scenario();
    });
    println!("{name}: {} executions{bound}, {:.1?}", runs.load(Relaxed), began.elapsed());
}

macro_rules! scenarios {
    ($($scenario:ident $(at most $preemptions:literal)?,)*) => {
        $(
            mod $scenario {
                #[test]
                fn holds() {
                    let preemptions = None$(.or(Some($preemptions)))?;
                    super::explore(stringify!($scenario), super::$scenario, preemptions);
                }
            }
        )*
    };
}

scenarios! {
    a_closed_gate_admits_no_user_turn,
    a_refusal_states_its_close,
    a_refusal_of_internal_work_states_its_close,
    idle_shows_what_all_turns_did,
    idle_shows_what_earlier_turns_did,
    idle_shows_what_internal_work_did,
    a_clean_end_shows_what_internal_work_did,
    a_stopped_gate_shows_what_its_turns_did,
    the_last_turns_wake_the_waiter,
    a_second_close_is_not_confused_by_the_first,
    a_waiter_outlasts_a_release at most 3,
    nothing_slips_past_the_seal,
    a_child_joins_before_its_parent_leaves,
    a_shutdown_wins_over_a_release_and_an_admission,
    each_word_keeps_a_shutdown,
    a_reopened_gate_shows_what_came_before,
    an_unsealed_gate_shows_what_came_before,
    a_user_turn_after_a_migration_sees_it,
    internal_work_after_a_migration_sees_it,
}

/// An access, a weaker ordering of it, and the scenario that fails then, with its name.
type Weakening = (Access, Ordering, fn(), &'static str);

macro_rules! weakenings {
    ($($access:ident to $weaker:ident: $scenario:ident,)*) => {
        const WEAKENINGS: &[Weakening] =
            &[$((Access::$access, $weaker, $scenario as fn(), stringify!($scenario)),)*];
    };
}

// Each ordering is needed: with a weaker one, this scenario fails.
weakenings! {
    Admit to Relaxed: a_user_turn_after_a_migration_sees_it,
    Refuse to Relaxed: a_refusal_states_its_close,
    Leave to Relaxed: idle_shows_what_all_turns_did,
    LastLeaves to Relaxed: idle_shows_what_all_turns_did,
    GiveShareBack to Relaxed: idle_shows_what_all_turns_did,
    State to Relaxed: idle_shows_what_all_turns_did,
    AdmitInternal to Relaxed: internal_work_after_a_migration_sees_it,
    RefuseInternal to Relaxed: a_refusal_of_internal_work_states_its_close,
    LeaveInternal to Relaxed: idle_shows_what_internal_work_did,
    OrderCenter to Release: a_clean_end_shows_what_internal_work_did,
    OrderCenter to Acquire: an_unsealed_gate_shows_what_came_before,
    OrderStripe to Release: idle_shows_what_earlier_turns_did,
    OrderStripe to Acquire: a_reopened_gate_shows_what_came_before,
    OrderCenter to Acquire: idle_shows_what_earlier_turns_did,
    Wake to Relaxed: the_last_turns_wake_the_waiter,
    Wakes to Relaxed: the_last_turns_wake_the_waiter,
    StripeCount to Relaxed: a_stopped_gate_shows_what_its_turns_did,
}

/// The table of orderings names a scenario that fails.
#[test]
fn the_table_names_what_fails() {
    let table = include_str!("../orderings.rs");
    let rows = table.lines().filter(|line| line.starts_with("//! | `"));
    for row in rows {
        let cells: Vec<&str> =
            row.split(" | ").map(|it| it.trim_matches([' ', '|', '/', '!'])).collect();
        let [access, .., scenario] = cells[..] else { panic!("{row}") };
        let access = access.trim_matches('`');
        let is_needed = WEAKENINGS.iter().any(|it| format!("{:?}", it.0) == access);
        let is_named = WEAKENINGS
            .iter()
            .any(|it| format!("{:?}", it.0) == access && scenario.trim_matches('`') == it.3);
        assert_eq!(is_needed, is_named, "{row}");
    }
}

/// What the test below runs, by its number in the environment.
const NUMBER: &str = "TIDEGATE_LOOM_WEAKENING";

/// Runs one scenario with one ordering weakened. It does nothing unless the next test starts it, in a process of its own:
/// a scenario may fail in a drop, and then the process aborts.
#[test]
fn weakened() {
    let Ok(number) = std::env::var(NUMBER) else { return };
    let number: usize = number.parse().expect("a number");
    let Some((access, weaker, scenario, _)) = WEAKENINGS.get(number).copied() else {
        return loom::model(two_last_turns_that_look_at_each_other);
    };
    WEAKENED.set(Some((access, weaker)));
    loom::model(scenario);
}

#[test]
fn each_weaker_ordering_fails() {
    let began = Instant::now();
    let fails = |number: usize| {
        let test = std::env::current_exe().expect("this program");
        let mut child = std::process::Command::new(test);
        child.args(["--exact", "gate::loom_tests::weakened"]).env(NUMBER, number.to_string());
        !child.output().expect("starts").status.success()
    };
    let survivors: Vec<_> = (0..WEAKENINGS.len()).filter(|number| !fails(*number)).collect();
    let survivors = survivors.into_iter().map(|it| (WEAKENINGS[it].0, WEAKENINGS[it].1));
    assert_eq!(survivors.collect::<Vec<_>>(), [], "no scenario needs more than these");
    assert!(fails(WEAKENINGS.len()), "two last turns that look at each other");
    println!("{} weaker orderings fail: {:.1?}", WEAKENINGS.len(), began.elapsed());
}
