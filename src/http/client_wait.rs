//! Waits for a client, and gives up when [`pace`](super::pace) says so. This module reads the clock and sets the
//! timer; `pace` decides how slow a client may be.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use super::pace::{ClientLimits, DrainOverlap, Pace, ProgressSignal, TooSlow};
use crate::sync::{Arc, AtomicU64, Ordering};

/// The state that all waits of one server share.
#[derive(Clone, Debug)]
pub(super) struct DrainClock {
    shared: Arc<SharedWait>,
}

#[derive(Debug)]
struct SharedWait {
    limits: ClientLimits,
    /// The start of the server. The time from here to the start of a drain identifies that drain.
    since: Instant,
    /// When the gate was closed, in nanoseconds after `since`; 0 while it is open.
    closed_at: AtomicU64,
}

impl DrainClock {
    pub(super) fn new(limits: ClientLimits) -> DrainClock {
        let closed_at = AtomicU64::new(0);
        DrainClock { shared: Arc::new(SharedWait { limits, since: Instant::now(), closed_at }) }
    }

    pub(super) fn limits(&self) -> &ClientLimits {
        &self.shared.limits
    }

    /// Records that the gate has closed or opened.
    pub(super) fn is_closed(&self, closed: bool) {
        let at = u64::try_from(self.shared.since.elapsed().as_nanos()).unwrap_or(u64::MAX).max(1);
        // Relaxed: the value orders no other memory, and a wait that reads it late looks again soon.
        let closed_at = &self.shared.closed_at;
        if !closed {
            closed_at.store(0, Ordering::Relaxed);
        } else if closed_at.load(Ordering::Relaxed) == 0 {
            closed_at.store(at, Ordering::Relaxed);
        }
    }

    /// How much of a wait that ends now fell into the current drain.
    fn in_drain(&self, now: Instant, waited: Duration) -> Option<DrainOverlap> {
        // Relaxed: see `is_closed`.
        let began = self.shared.closed_at.load(Ordering::Relaxed);
        (began > 0).then(|| {
            let closed = self.shared.since + Duration::from_nanos(began);
            DrainOverlap { began, waited: waited.min(now.saturating_duration_since(closed)) }
        })
    }
}

/// Waits for one client to send or read, again and again.
#[derive(Debug)]
pub(super) struct ClientWait {
    clock: DrainClock,
    pace: Pace,
    /// While the client is waited for: the time up to which the wait is accounted for.
    accounted: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl ClientWait {
    /// A wait for a client that sends.
    pub(super) fn for_sender(clock: &DrainClock) -> ClientWait {
        ClientWait::new(clock, Pace::of_sender(clock.limits()))
    }

    /// A wait for a client that reads.
    pub(super) fn for_reader(clock: &DrainClock, lumps: ProgressSignal) -> ClientWait {
        ClientWait::new(clock, Pace::of_reader(clock.limits(), lumps))
    }

    fn new(clock: &DrainClock, pace: Pace) -> ClientWait {
        ClientWait { clock: clock.clone(), pace, accounted: None, timer: None }
    }

    /// Waits for the client. Ready once it is too slow.
    pub(super) fn poll_too_slow(&mut self, cx: &mut Context<'_>) -> Poll<TooSlow> {
        loop {
            if let (Some(_), Some(timer)) = (self.accounted, &mut self.timer) {
                ready!(timer.as_mut().poll(cx));
            }
            let now = Instant::now();
            match self.account(now) {
                Err(too_slow) => return Poll::Ready(too_slow),
                Ok(within) => {
                    // A clock cannot count a longer wait.
                    let at = now.checked_add(within).unwrap_or(now);
                    match &mut self.timer {
                        Some(timer) => timer.as_mut().reset(at),
                        None => self.timer = Some(Box::pin(tokio::time::sleep_until(at))),
                    }
                }
            }
        }
    }

    /// The same, with the error that ends a connection.
    pub(super) fn poll_timed_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        self.poll_too_slow(cx).map(|too_slow| io::Error::new(io::ErrorKind::TimedOut, too_slow))
    }

    /// Accounts for the wait since the last call, up to the timer's deadline at most. The timer wakes a task that
    /// waits. So if no poll came after the deadline, no task was waiting then.
    fn account(&mut self, now: Instant) -> Result<Duration, TooSlow> {
        let since = self.accounted.replace(now).unwrap_or(now);
        let until = self.timer.as_ref().map_or(now, |timer| now.min(timer.deadline()));
        let waited = until.saturating_duration_since(since);
        let in_drain = self.clock.in_drain(now, waited);
        self.pace.on_waited(self.clock.limits(), waited, in_drain)
    }

    /// The client has sent or read this many bytes, and the server does not wait for it now.
    pub(super) fn progress(&mut self, bytes: u64) {
        if self.accounted.is_some() {
            // The wait counts in a drain even if it ended with progress. A client that has made progress is not cut off
            // now, so an error is ignored.
            let _ = self.account(Instant::now());
            self.accounted = None;
            self.pace.on_progress(self.clock.limits(), bytes);
        }
    }
}
