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

    /// A number for the calling thread. Threads are numbered in the order in which they first ask.
    #[cfg(not(tidegate_checking))]
    #[inline]
    pub(crate) fn thread_number() -> usize {
        // Relaxed: the numbers need only differ.
        static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        thread_local!(static NUMBER: std::cell::Cell<Option<usize>> = const { std::cell::Cell::new(None) });
        NUMBER.get().unwrap_or_else(|| {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            NUMBER.set(Some(number));
            number
        })
    }

    #[cfg(tidegate_checking)]
    pub(crate) use super::machine::thread::number as thread_number;

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
    pub(crate) use loom::sync::atomic::{AtomicBool, Ordering};
    pub(crate) use loom::sync::{Condvar, Mutex as Inner, MutexGuard};

    /// As loom's, but for [`fetch_update`](AtomicU64::fetch_update).
    #[derive(Debug)]
    pub(crate) struct AtomicU64(loom::sync::atomic::AtomicU64);

    impl AtomicU64 {
        pub(crate) fn new(value: u64) -> AtomicU64 {
            AtomicU64(loom::sync::atomic::AtomicU64::new(value))
        }

        pub(crate) fn load(&self, ordering: Ordering) -> u64 {
            self.0.load(ordering)
        }

        pub(crate) fn store(&self, value: u64, ordering: Ordering) {
            self.0.store(value, ordering);
        }

        pub(crate) fn fetch_sub(&self, by: u64, ordering: Ordering) -> u64 {
            self.0.fetch_sub(by, ordering)
        }

        /// loom remembers one access of a word, the last. A load before the exchange would hide the loads of other
        /// threads, and the exchange would never be tried before them. So where the value is only tried, it is read by
        /// an exchange that changes nothing and orders nothing.
        pub(crate) fn fetch_update(
            &self,
            set: Ordering,
            fetch: Ordering,
            mut next: impl FnMut(u64) -> Option<u64>,
        ) -> Result<u64, u64> {
            let is_tried = fetch == Ordering::Relaxed;
            let mut seen = if is_tried { self.0.fetch_add(0, fetch) } else { self.0.load(fetch) };
            while let Some(value) = next(seen) {
                match self.0.compare_exchange(seen, value, set, fetch) {
                    Ok(seen) => return Ok(seen),
                    Err(other) => seen = other,
                }
            }
            Err(seen)
        }
    }

    /// loom's tests say which stripe they mean.
    pub(crate) fn thread_number() -> usize {
        0
    }

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
use crate::orderings::Access;

pub(crate) use imp::{Arc, AtomicBool, AtomicU64, MutexGuard, Ordering, Parker, thread_number};
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
    #[cfg(not(any(tidegate_loom, tidegate_checking)))]
    pub(crate) const fn new(value: T) -> Mutex<T> {
        Mutex(Inner::new(value))
    }

    #[cfg(any(tidegate_loom, tidegate_checking))]
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

/// A lock whose readers never wait, not even for a writer. It ignores poisoning, as [`Mutex`] does. loom does not see it:
/// under loom it is written before any other thread has it.
#[derive(Debug)]
pub(crate) struct RwLock<T>(std::sync::RwLock<T>);

impl<T> RwLock<T> {
    pub(crate) const fn new(value: T) -> RwLock<T> {
        RwLock(std::sync::RwLock::new(value))
    }

    /// For reading; `None` where there is a writer. Never waits.
    pub(crate) fn try_read(&self) -> Option<std::sync::RwLockReadGuard<'_, T>> {
        match self.0.try_read() {
            Ok(guard) => Some(guard),
            Err(std::sync::TryLockError::Poisoned(error)) => Some(error.into_inner()),
            Err(std::sync::TryLockError::WouldBlock) => None,
        }
    }

    pub(crate) fn write(&self) -> std::sync::RwLockWriteGuard<'_, T> {
        self.0.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// A value that lives for ever, and a pointer to it that costs nothing to copy. Under loom and in a simulated world it
/// is freed with its last pointer, as those make millions. The counts of references are std's there, so that they order
/// nothing that the models see.
#[derive(Debug)]
pub(crate) struct Leaked<T: ?Sized + 'static>(LeakedPointer<T>);

#[cfg(not(any(tidegate_loom, tidegate_checking)))]
type LeakedPointer<T> = &'static T;
#[cfg(any(tidegate_loom, tidegate_checking))]
type LeakedPointer<T> = std::sync::Arc<T>;

impl<T> Leaked<T> {
    pub(crate) fn new(value: T) -> Leaked<T> {
        #[cfg(not(any(tidegate_loom, tidegate_checking)))]
        return Leaked(Box::leak(Box::new(value)));
        #[cfg(any(tidegate_loom, tidegate_checking))]
        return Leaked(std::sync::Arc::new(value));
    }

    /// Whether both point to the same value.
    #[cfg(feature = "http")]
    pub(crate) fn is(one: &Leaked<T>, other: &Leaked<T>) -> bool {
        std::ptr::eq(std::ptr::from_ref::<T>(one), std::ptr::from_ref::<T>(other))
    }
}

impl<T> FromIterator<T> for Leaked<[T]> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Leaked<[T]> {
        #[cfg(not(any(tidegate_loom, tidegate_checking)))]
        return Leaked(Box::leak(values.into_iter().collect()));
        #[cfg(any(tidegate_loom, tidegate_checking))]
        return Leaked(values.into_iter().collect());
    }
}

impl<T: ?Sized> Clone for Leaked<T> {
    #[inline]
    fn clone(&self) -> Leaked<T> {
        #[cfg(not(any(tidegate_loom, tidegate_checking)))]
        return Leaked(self.0);
        #[cfg(any(tidegate_loom, tidegate_checking))]
        return Leaked(std::sync::Arc::clone(&self.0));
    }
}

impl<T: ?Sized> std::ops::Deref for Leaked<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        #[cfg(not(any(tidegate_loom, tidegate_checking)))]
        return self.0;
        #[cfg(any(tidegate_loom, tidegate_checking))]
        return &self.0;
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
        // `the_last_turns_wake_the_waiter`.
        // A swap and not a store: loom does not keep a plain store in order with the listener's swaps.
        self.woken.swap(true, Access::Wake.ordering());
        // After the swap: the token makes the listener read `woken` once more.
        self.listener.unpark();
    }

    /// Sleeps until [`wake`](Wakeup::wake) is called, for `patience` at most. Only the listener calls it.
    pub(crate) fn wait(&self, patience: Option<Duration>) {
        let began = Instant::now();
        // Acquire pairs with the Release in `wake`.
        while !self.woken.swap(false, Access::Wakes.ordering()) {
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
