//! What allocates nothing: a turn, from its admission to its end, a refusal, and a tick where nothing happens. In a
//! file of its own, since an allocator is the process's. It counts what the calling thread allocates and frees.
//!
//! The system calls of a tick are counted by `strace`: see the head of `benches/control.rs`.

use std::sync::mpsc::{Sender, channel};
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use allocation_counter::AllocationInfo;
use tidegate::machine::ShutdownCause;
use tidegate::request::{DrainRequest, Holder};
use tidegate::{Ended, Gateway, InFlight, Origin, RefusalReason};

/// Turns a hang into a failure.
const PATIENCE: Duration = Duration::from_secs(30);

/// Neither allocated nor freed, on this thread.
#[track_caller]
fn allocates_nothing(calls: impl FnOnce()) {
    assert_eq!(allocation_counter::measure(calls), AllocationInfo::default());
}

fn gateway() -> Gateway {
    Gateway::in_memory().start().expect("starts")
}

fn drain(gateway: &Gateway, hold_internal: bool) {
    let ask = DrainRequest::new("allocation").with_hold_internal(hold_internal);
    assert!(gateway.begin_drain(&ask).expect("begins").draining);
}

/// A turn of either origin with a child that outlives it, and all readings that cost no lock.
fn make_turns(gateway: &Gateway) {
    for origin in Origin::ALL {
        let turn = gateway.admit(origin).expect("open");
        let child = turn.child().expect("a live turn");
        assert!(gateway.is_ready());
        assert_eq!(gateway.in_flight().total(), 2);
        drop(turn);
        drop(child);
    }
    assert_eq!(gateway.in_flight(), InFlight::default());
}

fn be_refused(gateway: &Gateway, origins: &[Origin], reason: RefusalReason) {
    for origin in origins {
        let refused = gateway.admit(*origin).expect_err("closed");
        assert_eq!(refused.reason, reason);
    }
    assert!(!gateway.is_ready());
}

#[test]
fn a_turn_allocates_nothing() {
    let gateway = gateway();
    allocates_nothing(|| (0..1000).for_each(|_| make_turns(&gateway)));
    // The counter counts: a wait has a list of wakers and a box.
    let waiting = allocation_counter::measure(|| drop(gateway.admit_when_open(Origin::User)));
    assert!(waiting.count_total > 0);
}

/// Nothing is set up for a thread, and nothing is torn down with it.
#[test]
fn the_first_turn_of_a_thread_allocates_nothing() {
    let gateway = gateway();
    thread::scope(|scope| {
        for _ in 0..100 {
            scope.spawn(|| allocates_nothing(|| drop(gateway.admit(Origin::User).expect("open"))));
            let turn = gateway.admit(Origin::User).expect("open");
            // A thread that only ends another thread's turn.
            scope.spawn(move || allocates_nothing(|| drop(turn)));
        }
    });
    drain(&gateway, false);
    let be_refused = || be_refused(&gateway, &[Origin::User], RefusalReason::Draining);
    thread::scope(|scope| {
        scope.spawn(|| allocates_nothing(be_refused));
    });
}

#[test]
fn a_refusal_allocates_nothing() {
    let gateway = gateway();
    let turn = gateway.admit(Origin::User).expect("open");
    drain(&gateway, false);
    allocates_nothing(|| {
        be_refused(&gateway, &[Origin::User], RefusalReason::Draining);
        // What passes a closed gate is as free as at an open one.
        drop(gateway.admit(Origin::Internal).expect("passes"));
        drop(turn.child().expect("passes"));
    });
    drop(turn);

    drain(&gateway, true);
    gateway.quiesced().wait().expect("is held");
    allocates_nothing(|| be_refused(&gateway, &Origin::ALL, RefusalReason::Quiesced));

    gateway.cancel_drain(&Holder::Shared).expect("releases");
    let turn = gateway.admit(Origin::User).expect("open");
    let ending = gateway.shut_down(ShutdownCause::Operator, PATIENCE);
    allocates_nothing(|| {
        be_refused(&gateway, &[Origin::User], RefusalReason::ShuttingDown);
        drop(turn);
    });
    assert_eq!(ending.wait(), Ended::Clean);
    allocates_nothing(|| be_refused(&gateway, &Origin::ALL, RefusalReason::ShuttingDown));
}

/// Reports that it was woken.
struct Woken(Sender<()>);

impl Wake for Woken {
    fn wake(self: std::sync::Arc<Self>) {
        // The test may have seen enough.
        let _ = self.0.send(());
    }
}

/// The thread that drops the last turn wakes another thread, which wakes the waiters.
#[test]
fn the_last_drop_allocates_nothing_where_it_wakes_a_waiter() {
    let gateway = gateway();
    let (sender, woken) = channel();
    let waker = Waker::from(std::sync::Arc::new(Woken(sender)));
    for hold_internal in [false, true] {
        let turn = gateway.admit(Origin::User).expect("open");
        drain(&gateway, hold_internal);
        let mut idle = std::pin::pin!(gateway.idle());
        let mut is_idle = || idle.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
        assert!(!is_idle(), "the turn is in flight");
        allocates_nothing(|| drop(turn));
        // The waker may also have been called for the drain itself.
        while !is_idle() {
            woken.recv_timeout(PATIENCE).expect("woken");
        }
        gateway.cancel_drain(&Holder::Shared).expect("releases");
    }
}

fn allocations_of(ticks: u32, gateway: &Gateway) -> u64 {
    let counted = allocation_counter::measure(|| {
        for _ in 0..ticks {
            gateway.reconcile_now();
        }
    });
    counted.count_total
}

#[test]
fn an_idle_tick_allocates_nothing() {
    let dir = tempfile::tempdir().expect("temp dir");
    let gateway = Gateway::builder(dir.path()).manual().start().expect("starts");
    // A directory that is younger than the clock that stamps it can tell is listed at each look, and
    // only time makes it older.
    let began = Instant::now();
    while allocations_of(1, &gateway) > 0 {
        assert!(began.elapsed() < PATIENCE, "no look is idle");
        thread::yield_now();
    }
    assert_eq!(allocations_of(200, &gateway), 0);

    // The counter counts: a look at a request is no idle tick.
    gateway.begin_drain(&DrainRequest::default()).expect("writes");
    assert!(allocations_of(1, &gateway) > 0);
    gateway.cancel_drain(&Holder::Shared).expect("removes");
    gateway.reconcile_now();
    assert_eq!(allocations_of(200, &gateway), 0);
}
