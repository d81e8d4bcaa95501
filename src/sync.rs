//! The synchronization primitives of the crate. They come from std, or from loom under `--cfg tidegate_loom`. In a
//! checking build they come from a simulated machine, where one thread runs at a time and a seed chooses it. No other
//! file names any of them, so that loom and the simulation see every lock, atomic, wake-up and wait.

#[cfg(not(tidegate_checking))]
use std as machine;
#[cfg(tidegate_checking)]
use tidegate_world as machine;

#[cfg(not(tidegate_loom))]
mod imp {
    use super::machine::thread;

    pub(crate) use super::machine::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    pub(crate) use super::machine::sync::{Condvar, Mutex as Inner, MutexGuard};
    pub(crate) use std::sync::Arc;

    /// A thread, and the token that its `park` takes.
    #[derive(Debug)]
    pub(crate) struct Parker(thread::Thread);

    impl Parker {
        /// The calling thread's parker.
        pub(crate) fn here() -> Parker {
            Parker::of(thread::current())
        }

        pub(crate) fn of(thread: thread::Thread) -> Parker {
            Parker(thread)
        }

        /// Leaves the token, so that the thread's current or next park returns. Never blocks.
        pub(crate) fn unpark(&self) {
            self.0.unpark();
        }

        /// Sleeps until there is a token or `patience` has passed. It may also return without a reason. Only the
        /// parker's own thread calls it.
        #[expect(clippy::unused_self, reason = "loom's version keeps its token in it")]
        pub(crate) fn park(&self, patience: Option<std::time::Duration>) {
            match patience {
                Some(patience) => thread::park_timeout(patience),
                None => thread::park(),
            }
        }
    }
}

#[cfg(tidegate_loom)]
mod imp {
    pub(crate) use loom::sync::Arc;
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    pub(crate) use loom::sync::{Condvar, Mutex as Inner, MutexGuard};

    /// The parker under loom. Its own `unpark` also wakes a thread from a lock or a join, and loses its token there.
    /// Its `Notify` is the same token without that flaw.
    #[derive(Debug)]
    pub(crate) struct Parker(loom::sync::Notify);

    impl Parker {
        pub(crate) fn here() -> Parker {
            Parker(loom::sync::Notify::new())
        }

        pub(crate) fn unpark(&self) {
            self.0.notify();
        }

        /// loom has no time, so the patience is endless.
        pub(crate) fn park(&self, _patience: Option<std::time::Duration>) {
            self.0.wait();
        }
    }
}

use std::time::Duration;

use crate::faults::fault;

pub(crate) use imp::{Arc, AtomicBool, AtomicU64, MutexGuard, Ordering, Parker};
use imp::{Condvar as ImpCondvar, Inner};
pub(crate) use machine::sync::mpsc;
pub(crate) use machine::thread;
pub(crate) use machine::time::Instant;

/// Runs this and catches a panic. No code relies on state that a panic leaves incomplete: see [`Mutex`].
pub(crate) fn contain<T>(run: impl FnOnce() -> T) -> std::thread::Result<T> {
    #[cfg(not(tidegate_checking))]
    return std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
    // The end of a simulated process also unwinds, but it is not a panic, and is not caught.
    #[cfg(tidegate_checking)]
    return tidegate_world::process::catch(run);
}

/// A mutex that ignores poisoning. All guarded state changes by single assignments at the end of a decision. So a panic
/// leaves the state as it was before the decision.
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

impl<T: Default> Default for Mutex<T> {
    fn default() -> Mutex<T> {
        Mutex::new(T::default())
    }
}

/// Threads that wait for each other at one mutex.
#[derive(Debug)]
pub(crate) struct Condvar(ImpCondvar);

impl Condvar {
    pub(crate) fn new() -> Condvar {
        Condvar(ImpCondvar::new())
    }

    /// Releases the lock until [`pass`](Condvar::pass), and takes it again. It may also return without a reason.
    pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.0.wait(guard).unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Wakes all waiters. The caller has changed the awaited state under the lock.
    pub(crate) fn pass(&self) {
        self.0.notify_all();
    }
}

/// Wakes one thread. [`wake`](Wakeup::wake) never blocks, so the drop of a turn can call it.
#[derive(Debug)]
pub(crate) struct Wakeup {
    woken: AtomicBool,
    listener: Parker,
}

impl Wakeup {
    /// A wakeup that `listener` will [`wait`](Wakeup::wait) for.
    pub(crate) fn for_listener(listener: Parker) -> Wakeup {
        Wakeup { woken: AtomicBool::new(false), listener }
    }

    /// Wakes the listener, or keeps it from sleeping the next time.
    pub(crate) fn wake(&self) {
        if fault!(UnparksBeforeRinging) {
            self.listener.unpark();
            self.woken.swap(true, Ordering::Release);
            return;
        }
        // Release pairs with the Acquire in `wait`: the listener, once awake, sees all that the caller did before
        // this. Without it the listener could wake, find the gate not yet idle, and sleep for ever. Shown by loom:
        // `the_last_turn_out_wakes_the_waiter`.
        // A swap and not a store: loom does not keep a plain store in order with the listener's swaps.
        self.woken.swap(true, Ordering::Release);
        // After the swap: the token makes the listener read `woken` once more.
        self.listener.unpark();
    }

    /// Sleeps until [`wake`](Wakeup::wake) is called, for `patience` at most. Only the listener calls it.
    pub(crate) fn wait(&self, patience: Option<Duration>) {
        let began = Instant::now();
        // Acquire pairs with the Release in `wake`.
        while !self.woken.swap(false, Ordering::Acquire) {
            let left = patience.map(|patience| patience.saturating_sub(began.elapsed()));
            if left == Some(Duration::ZERO) {
                return;
            }
            self.listener.park(left);
        }
    }
}

/// Wakes a thread that parks until a future is ready: the waker of the blocking waits.
pub(crate) struct ParkedWaiter(Parker);

impl ParkedWaiter {
    /// The waiter of the calling thread.
    pub(crate) fn here() -> std::sync::Arc<ParkedWaiter> {
        std::sync::Arc::new(ParkedWaiter(Parker::here()))
    }

    pub(crate) fn park(&self, patience: Option<Duration>) {
        self.0.park(patience);
    }
}

impl std::task::Wake for ParkedWaiter {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.unpark();
    }
}
