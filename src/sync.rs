//! The synchronization the rest is built from: std's, or loom's under `--cfg tidegate_loom`. The only
//! file that names either, so that loom sees every lock, atomic and wake-up of the gate.

#[cfg(not(tidegate_loom))]
mod imp {
    pub(crate) use std::sync::Arc;
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    pub(crate) use std::sync::{Mutex as Inner, MutexGuard};
    pub(crate) use std::thread::{Thread, current, park};
}

#[cfg(tidegate_loom)]
mod imp {
    pub(crate) use loom::sync::Arc;
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    pub(crate) use loom::sync::{Mutex as Inner, MutexGuard};
    pub(crate) use loom::thread::{Thread, current, park};
}

use std::time::Duration;

pub(crate) use imp::{Arc, AtomicU64, MutexGuard, Ordering, current, park};
use imp::{AtomicBool, Inner, Thread};

/// A mutex that a panic elsewhere does not take away: everything guarded here is changed by single
/// assignments at the end of a decision, so what a panic leaves behind is the state before it.
#[derive(Debug)]
pub(crate) struct Mutex<T>(Inner<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Mutex<T> {
        Mutex(Inner::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Wakes one thread. Ringing never blocks: it is what a turn's `drop` may do.
#[derive(Debug)]
pub(crate) struct Bell {
    rung: AtomicBool,
    listener: Thread,
}

impl Bell {
    /// A bell that `listener` will [`wait`](Bell::wait) for.
    pub(crate) fn for_thread(listener: Thread) -> Bell {
        Bell { rung: AtomicBool::new(false), listener }
    }

    /// Wakes the listener, or keeps it from sleeping the next time.
    pub(crate) fn ring(&self) {
        // Release pairs with the Acquire in `take`: what the ringer did before is seen by the listener
        // once it is awake; without it the listener could wake, find the gate not yet idle, and sleep
        // for ever. Shown by loom: `the_last_turn_out_wakes_the_waiter`.
        self.rung.store(true, Ordering::Release);
        // After the store: the token that `unpark` leaves makes the listener look at `rung` once more.
        self.listener.unpark();
    }

    fn take(&self) -> bool {
        // Acquire pairs with the Release in `ring`.
        self.rung.swap(false, Ordering::Acquire)
    }

    /// Sleeps until the bell rings, or for `patience` at most. Only the listener calls it.
    #[cfg(not(tidegate_loom))]
    pub(crate) fn wait(&self, patience: Option<Duration>) {
        let began = std::time::Instant::now();
        while !self.take() {
            match patience.map(|patience| patience.saturating_sub(began.elapsed())) {
                None => park(),
                Some(Duration::ZERO) => return,
                Some(left) => std::thread::park_timeout(left),
            }
        }
    }

    /// As above; loom has no time, so patience is endless.
    #[cfg(tidegate_loom)]
    pub(crate) fn wait(&self, _patience: Option<Duration>) {
        while !self.take() {
            park();
        }
    }
}

/// Wakes a thread that [`park`]s until a future is ready: the waker of the blocking waits.
pub(crate) struct ThreadWaker(Thread);

impl ThreadWaker {
    /// A waker for the calling thread.
    pub(crate) fn here() -> std::task::Waker {
        std::sync::Arc::new(ThreadWaker(current())).into()
    }
}

impl std::task::Wake for ThreadWaker {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.unpark();
    }
}
