//! As `std::sync`. Before each step that another thread could see, the thread that runs next is chosen.

use std::ops::{Deref, DerefMut};

use crate::kernel::{self, Key};

pub use std::sync::{Arc, PoisonError, Weak};

fn made() -> Key {
    kernel::with(kernel::Kernel::made).unwrap_or(Key::Made(0))
}

/// As in std.
#[derive(Debug)]
pub struct Mutex<T> {
    key: Key,
    value: std::sync::Mutex<T>,
}

/// As in std.
#[derive(Debug)]
pub struct MutexGuard<'a, T> {
    of: &'a Mutex<T>,
    value: Option<std::sync::MutexGuard<'a, T>>,
}

impl<T> Mutex<T> {
    /// As in std.
    pub fn new(value: T) -> Mutex<T> {
        Mutex { key: made(), value: std::sync::Mutex::new(value) }
    }

    /// Takes the lock.
    ///
    /// # Errors
    ///
    /// Never: no lock is poisoned.
    pub fn lock(&self) -> Result<MutexGuard<'_, T>, PoisonError<MutexGuard<'_, T>>> {
        kernel::switch();
        loop {
            match self.value.try_lock() {
                Ok(value) => return Ok(self.taken(value)),
                Err(std::sync::TryLockError::Poisoned(error)) => {
                    return Ok(self.taken(error.into_inner()));
                }
                Err(std::sync::TryLockError::WouldBlock) => {
                    kernel::wait(Some(self.key), None);
                }
            }
        }
    }

    fn taken<'a>(&'a self, value: std::sync::MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        kernel::with(|it| it.task().locks += 1);
        MutexGuard { of: self, value: Some(value) }
    }
}

impl<T> MutexGuard<'_, T> {
    fn give_back(&mut self) {
        if self.value.take().is_some() {
            kernel::with(|it| {
                it.task().locks -= 1;
                it.wake(self.of.key);
            });
        }
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        self.give_back();
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value.as_ref().expect("the lock is held until the guard is dropped")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.value.as_mut().expect("the lock is held until the guard is dropped")
    }
}

/// As in std.
#[derive(Debug)]
pub struct Condvar(Key);

impl Condvar {
    /// As in std.
    #[must_use]
    pub fn new() -> Condvar {
        Condvar(made())
    }

    /// Releases the lock, waits to be notified, and takes the lock again.
    ///
    /// # Errors
    ///
    /// Never.
    pub fn wait<'a, T>(
        &self,
        mut guard: MutexGuard<'a, T>,
    ) -> Result<MutexGuard<'a, T>, PoisonError<MutexGuard<'a, T>>> {
        let of = guard.of;
        guard.give_back();
        kernel::wait(Some(self.0), None);
        of.lock()
    }

    /// As in std.
    pub fn notify_all(&self) {
        kernel::switch();
        kernel::with(|it| it.wake(self.0));
    }
}

impl Default for Condvar {
    fn default() -> Condvar {
        Condvar::new()
    }
}

/// As `std::sync::atomic`, but always sequentially consistent: the memory model is explored by loom.
pub mod atomic {
    use super::kernel;

    pub use std::sync::atomic::Ordering;

    macro_rules! atomic {
        ($name:ident, $of:ty, $inner:ty) => {
            /// As in std.
            #[derive(Debug, Default)]
            pub struct $name($inner);

            impl $name {
                /// As in std.
                #[must_use]
                pub const fn new(value: $of) -> $name {
                    $name(<$inner>::new(value))
                }

                /// As in std.
                pub fn load(&self, _: Ordering) -> $of {
                    kernel::switch();
                    self.0.load(Ordering::SeqCst)
                }

                /// As in std.
                pub fn store(&self, value: $of, _: Ordering) {
                    kernel::switch();
                    self.0.store(value, Ordering::SeqCst);
                }

                /// As in std.
                pub fn swap(&self, value: $of, _: Ordering) -> $of {
                    kernel::switch();
                    self.0.swap(value, Ordering::SeqCst)
                }

                /// As in std, but in one step. A retry would have the effect of the whole update one step later.
                ///
                /// # Errors
                ///
                /// The value, if `next` returns `None` for it.
                pub fn fetch_update(
                    &self,
                    _: Ordering,
                    _: Ordering,
                    next: impl FnMut($of) -> Option<$of>,
                ) -> Result<$of, $of> {
                    kernel::switch();
                    self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next)
                }
            }
        };
    }

    atomic!(AtomicBool, bool, std::sync::atomic::AtomicBool);
    atomic!(AtomicU64, u64, std::sync::atomic::AtomicU64);

    impl AtomicU64 {
        /// As in std.
        pub fn fetch_add(&self, by: u64, _: Ordering) -> u64 {
            kernel::switch();
            self.0.fetch_add(by, Ordering::SeqCst)
        }

        /// As in std.
        pub fn fetch_sub(&self, by: u64, _: Ordering) -> u64 {
            kernel::switch();
            self.0.fetch_sub(by, Ordering::SeqCst)
        }
    }
}

/// As `std::sync::mpsc`.
pub mod mpsc {
    use std::collections::VecDeque;
    use std::fmt;
    use std::sync::{Arc, Mutex, PoisonError};
    use std::time::Duration;

    use super::made;
    use crate::kernel::{self, Key};

    pub use std::sync::mpsc::{RecvError, RecvTimeoutError, SendError};

    struct Channel<T> {
        key: Key,
        /// The values in the queue, the number of senders, and whether there is a receiver.
        state: Mutex<(VecDeque<T>, usize, bool)>,
    }

    impl<T> Channel<T> {
        fn with<R>(&self, run: impl FnOnce(&mut (VecDeque<T>, usize, bool)) -> R) -> R {
            run(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
        }
    }

    /// As in std.
    pub struct Sender<T>(Arc<Channel<T>>);

    /// As in std.
    pub struct Receiver<T>(Arc<Channel<T>>);

    impl<T> fmt::Debug for Sender<T> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("Sender").finish_non_exhaustive()
        }
    }

    impl<T> fmt::Debug for Receiver<T> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("Receiver").finish_non_exhaustive()
        }
    }

    /// As in std.
    #[must_use]
    pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
        let state = Mutex::new((VecDeque::new(), 1, true));
        let channel = Arc::new(Channel { key: made(), state });
        (Sender(Arc::clone(&channel)), Receiver(channel))
    }

    impl<T> Sender<T> {
        /// As in std.
        ///
        /// # Errors
        ///
        /// If there is no receiver.
        pub fn send(&self, value: T) -> Result<(), SendError<T>> {
            kernel::switch();
            let sent = self.0.with(|(queue, _, receives)| {
                if !*receives {
                    return Err(SendError(value));
                }
                queue.push_back(value);
                Ok(())
            });
            kernel::with(|it| it.wake(self.0.key));
            sent
        }
    }

    impl<T> Drop for Sender<T> {
        fn drop(&mut self) {
            self.0.with(|it| it.1 -= 1);
            kernel::with(|it| it.wake(self.0.key));
        }
    }

    impl<T> Receiver<T> {
        fn receive(&self, until: Option<Duration>) -> Result<T, RecvTimeoutError> {
            kernel::switch();
            loop {
                let (next, is_open) = self.0.with(|it| (it.0.pop_front(), it.1 > 0));
                if let Some(value) = next {
                    return Ok(value);
                }
                let found = kernel::with(|it| (it.is_dead(it.current()), it.now));
                let Some((is_dead, now)) = found else {
                    return Err(RecvTimeoutError::Disconnected);
                };
                if !is_open || (is_dead && until.is_none()) {
                    return Err(RecvTimeoutError::Disconnected);
                }
                if is_dead || until.is_some_and(|until| until <= now) {
                    return Err(RecvTimeoutError::Timeout);
                }
                kernel::wait(Some(self.0.key), until);
            }
        }

        /// As in std.
        ///
        /// # Errors
        ///
        /// If no sender is left.
        pub fn recv(&self) -> Result<T, RecvError> {
            self.receive(None).map_err(|_| RecvError)
        }

        /// As in std.
        ///
        /// # Errors
        ///
        /// If no sender is left, or nothing is sent within `patience`.
        pub fn recv_timeout(&self, patience: Duration) -> Result<T, RecvTimeoutError> {
            self.receive(kernel::with(|it| it.now.saturating_add(patience)))
        }
    }

    impl<T> Drop for Receiver<T> {
        fn drop(&mut self) {
            let left = self.0.with(|it| {
                it.2 = false;
                std::mem::take(&mut it.0)
            });
            drop(left);
        }
    }
}
