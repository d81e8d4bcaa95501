//! Waiting for the gate without a runtime: one list of wakers, and a future that looks, registers and
//! looks again. It knows nothing of what is waited for.
//!
//! No wake-up is lost: a thread that changes something wakes the list *after* the change, and a waiter looks
//! once more *after* it has registered. So either the wake-up finds it registered, or its second look
//! finds the change (TG-L2; shown by loom: `the_last_turns_wake_the_waiter`).

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::faults::fault;
use crate::sync::{Arc, Instant, Mutex, ParkedWaiter, contain};

/// Everybody who waits for something about one gateway.
#[derive(Debug)]
pub(crate) struct WaitList {
    /// Guards the wakers; held for map operations only, never while one is woken.
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    next_place: u64,
    wakers: BTreeMap<u64, Waker>,
}

impl WaitList {
    pub(crate) fn new() -> WaitList {
        WaitList { waiting: Mutex::new(Waiting::default()) }
    }

    pub(crate) fn register(&self, place: &mut Option<u64>, waker: &Waker) {
        // Cloned before the lock, and the old one dropped after it: both may run a stranger's code.
        let waker = waker.clone();
        let mut waiting = self.waiting.lock();
        let place = *place.get_or_insert_with(|| {
            waiting.next_place += 1;
            waiting.next_place
        });
        let old = waiting.wakers.insert(place, waker);
        drop(waiting);
        drop(old);
    }

    pub(crate) fn leave(&self, place: u64) {
        // The waker is dropped after the lock: dropping it may run a stranger's code.
        let waker = self.waiting.lock().wakers.remove(&place);
        drop(waker);
    }

    /// Wakes everybody; each looks for itself whether it is its turn.
    pub(crate) fn wake_all(&self) {
        let wakers = std::mem::take(&mut self.waiting.lock().wakers);
        for waker in wakers.into_values() {
            // One waker that panics must not leave the others asleep.
            let _ = contain(|| waker.wake());
        }
    }
}

/// Something to wait for: `.await` it on any runtime, or block a thread with [`wait`](Wait::wait) or
/// [`wait_timeout`](Wait::wait_timeout).
///
/// A pending wait keeps its gateway alive. Nothing is lost by dropping one: what it waited for
/// happens all the same.
///
/// # Cancel safety
///
/// Dropping it, or losing a `select!`, takes nothing with it: a turn is admitted only by the poll
/// that returns it.
///
/// ```
/// use std::time::Duration;
/// use tidegate::{Gateway, request::DrainRequest};
/// let gateway = Gateway::in_memory().start()?;
/// assert!(gateway.idle().wait_timeout(Duration::from_millis(1)).is_none(), "the gate is open");
/// gateway.begin_drain(&DrainRequest::new("update"))?;
/// gateway.idle().wait(); // or `.await`
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "it waits only when it is awaited or `wait` is called"]
pub struct Wait<T> {
    list: Arc<WaitList>,
    look: Box<dyn FnMut() -> Option<T> + Send>,
    place: Option<u64>,
}

impl<T> Wait<T> {
    pub(crate) fn new(
        list: Arc<WaitList>,
        look: impl FnMut() -> Option<T> + Send + 'static,
    ) -> Wait<T> {
        Wait { list, look: Box::new(look), place: None }
    }

    /// Blocks this thread until it has happened.
    #[expect(clippy::must_use_candidate, reason = "waiting is a use: the end of a shutdown, say")]
    pub fn wait(mut self) -> T {
        loop {
            // Patience without end always ends in a value.
            if let Some(value) = self.wait_for(None) {
                return value;
            }
        }
    }

    /// Blocks this thread until it has happened, for `timeout` at most. `None` means not yet; the wait
    /// can be taken up again.
    pub fn wait_timeout(&mut self, timeout: Duration) -> Option<T> {
        self.wait_for(Some(timeout))
    }

    fn wait_for(&mut self, timeout: Option<Duration>) -> Option<T> {
        let began = Instant::now();
        let waiter = ParkedWaiter::here();
        let waker = Waker::from(std::sync::Arc::clone(&waiter));
        let mut context = Context::from_waker(&waker);
        loop {
            if let Poll::Ready(value) = Pin::new(&mut *self).poll(&mut context) {
                return Some(value);
            }
            let left = timeout.map(|timeout| timeout.saturating_sub(began.elapsed()));
            if left == Some(Duration::ZERO) {
                return None;
            }
            waiter.park(left);
        }
    }
}

impl<T> Future for Wait<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let this = &mut *self;
        if let Some(value) = (this.look)() {
            return Poll::Ready(value);
        }
        this.list.register(&mut this.place, cx.waker());
        if fault!(NoSecondLook) {
            return Poll::Pending;
        }
        match (this.look)() {
            Some(value) => Poll::Ready(value),
            None => Poll::Pending,
        }
    }
}

impl<T> Drop for Wait<T> {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            self.list.leave(place);
        }
    }
}

impl<T> fmt::Debug for Wait<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wait").field("place", &self.place).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(tidegate_loom)))]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::Wake;

    use super::*;

    struct TestWaker {
        panics: bool,
        woken: AtomicBool,
    }

    impl Wake for TestWaker {
        fn wake(self: std::sync::Arc<Self>) {
            assert!(!self.panics, "panics on purpose");
            self.woken.store(true, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_waker_that_panics_leaves_nobody_asleep() {
        let list = WaitList::new();
        let strangers = [true, false].map(|panics| {
            let stranger = std::sync::Arc::new(TestWaker { panics, woken: AtomicBool::new(false) });
            list.register(&mut None, &Waker::from(std::sync::Arc::clone(&stranger)));
            stranger
        });
        list.wake_all();
        assert!(strangers[1].woken.load(Ordering::Relaxed));
    }

    /// A wait that is given up leaves nothing behind: its task would be kept for ever.
    #[test]
    fn a_wait_that_is_dropped_keeps_nobody() {
        let list = Arc::new(WaitList::new());
        let stranger =
            std::sync::Arc::new(TestWaker { panics: true, woken: AtomicBool::new(false) });
        let waker = Waker::from(std::sync::Arc::clone(&stranger));
        let mut wait = Wait::new(Arc::clone(&list), || None::<()>);
        assert!(Pin::new(&mut wait).poll(&mut Context::from_waker(&waker)).is_pending());
        assert_eq!(std::sync::Arc::strong_count(&stranger), 3, "the list has it");
        drop(wait);
        assert_eq!(std::sync::Arc::strong_count(&stranger), 2);
        list.wake_all();
    }

    /// A waker whose own end leaves the list: a task that holds a wait of its own.
    struct Task(Arc<WaitList>);

    impl Wake for Task {
        fn wake(self: std::sync::Arc<Self>) {}
    }

    impl Drop for Task {
        fn drop(&mut self) {
            self.0.leave(u64::MAX);
        }
    }

    #[test]
    fn a_waker_that_is_replaced_may_leave_the_list() {
        let list = Arc::new(WaitList::new());
        let mut place = None;
        for _ in 0..2 {
            let waker = Waker::from(std::sync::Arc::new(Task(Arc::clone(&list))));
            list.register(&mut place, &waker);
        }
        list.wake_all();
    }
}
