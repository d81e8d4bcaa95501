//! From the drop of the last turn until a thread that waits for it runs again.

use std::fs;
use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, Scope, Thread};
use std::time::{Duration, Instant};

use tidegate::request::{DrainRequest, Holder};
use tidegate::{Gateway, Origin};
use tokio_util::task::TaskTracker;

use crate::samples::{Samples, nanoseconds};
use crate::threads::pin;

/// How many wake-ups of each waiter are timed.
const WAKE_UPS: usize = 3000;

/// A thread that blocks each time it is asked to, and says when it woke up.
struct Waiter {
    thread: Thread,
    start: Sender<()>,
    woke_up: Receiver<Instant>,
    waits: Arc<AtomicBool>,
    state: PathBuf,
}

impl Waiter {
    fn spawn<'scope>(scope: &'scope Scope<'scope, '_>, block: impl Fn() + Send + 'scope) -> Waiter {
        let (start, started) = channel();
        let (wakes_up, woke_up) = channel();
        let (sends_state, state) = channel();
        let waits = Arc::new(AtomicBool::new(false));
        let says_waits = Arc::clone(&waits);
        let thread = scope.spawn(move || {
            pin(1);
            let _ = sends_state.send(fs::canonicalize("/proc/thread-self").unwrap_or_default());
            for () in started {
                says_waits.store(true, Ordering::Release);
                block();
                let _ = wakes_up.send(Instant::now());
            }
        });
        let state = state.recv().expect("it starts").join("stat");
        Waiter { thread: thread.thread().clone(), start, woke_up, waits, state }
    }

    /// Has the thread block, lets it sleep, and returns the nanoseconds from this call of `wake` until it runs.
    fn time(&self, wake: impl FnOnce()) -> f64 {
        self.waits.store(false, Ordering::Release);
        self.start.send(()).expect("the thread lives");
        while !self.waits.load(Ordering::Acquire) || !self.is_asleep() {
            thread::yield_now();
        }
        let began = Instant::now();
        wake();
        nanoseconds(self.woke_up.recv().expect("the thread lives") - began)
    }

    /// Whether the kernel has put the thread to sleep. Other systems than Linux cannot say: there a millisecond has to
    /// be enough.
    fn is_asleep(&self) -> bool {
        match fs::read_to_string(&self.state) {
            Ok(stat) => stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" S")),
            Err(_) => {
                thread::sleep(Duration::from_millis(1));
                true
            }
        }
    }
}

pub fn print() {
    let gateway = &Gateway::in_memory().start().expect("starts");
    let tracker = &TaskTracker::new();
    tracker.close();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("builds");
    let unparked = &AtomicBool::new(false);
    let mut times = [const { Vec::new() }; 3];
    // The waiters have another core: where they wake up on the core of their waker, no core has to be woken.
    pin(0);
    thread::scope(|scope| {
        let parked = Waiter::spawn(scope, || {
            while !unparked.swap(false, Ordering::AcqRel) {
                thread::park();
            }
        });
        let idle = Waiter::spawn(scope, || {
            black_box(gateway.idle().wait());
        });
        let tracking = Waiter::spawn(scope, move || runtime.block_on(tracker.wait()));
        for _ in 0..WAKE_UPS {
            times[0].push(parked.time(|| {
                unparked.store(true, Ordering::Release);
                parked.thread.unpark();
            }));

            let turn = gateway.admit(Origin::User).expect("open");
            gateway.begin_drain(&DrainRequest::default()).expect("in memory");
            times[1].push(idle.time(|| drop(turn)));
            gateway.cancel_drain(&Holder::Shared).expect("in memory");

            let token = tracker.token();
            times[2].push(tracking.time(|| drop(token)));
        }
    });
    println!("\nwake-up of a waiter, {WAKE_UPS} times each, ns");
    println!("  {:<42} {:>9} {:>20} {:>9}", "", "median", "quartiles", "99 %");
    let names = [
        "floor: unpark of a parked thread",
        "tidegate: idle().wait()",
        "tokio-util TaskTracker wait, block_on",
    ];
    for (name, times) in names.iter().zip(times.map(Samples::new)) {
        let (median, quartiles) = (times.median(), times.quartiles());
        println!("  {name:<42} {median:>9.0} {quartiles:>20} {:>9.0}", times.at(99));
    }
}
