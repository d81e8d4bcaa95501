//! Waits for a client, and gives up where [`pace`](super::pace) says so. It reads the clock and sets the timer;
//! how slow a client may be is decided there.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use super::pace::{ClientLimits, DrainOverlap, Pace, ProgressSignal, TooSlow};
use crate::sync::{Arc, AtomicU64, Ordering};

/// What all waits of one server share.
#[derive(Clone, Debug)]
pub(super) struct DrainClock {
    shared: Arc<SharedWait>,
}

#[derive(Debug)]
struct SharedWait {
    limits: ClientLimits,
    /// Each drain is known by the time that had passed since then when it began.
    since: Instant,
    /// When the gate was closed, in nanoseconds; 0 while it is open.
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

    /// The gate was closed, or has opened again.
    pub(super) fn is_closed(&self, closed: bool) {
        let at = u64::try_from(self.shared.since.elapsed().as_nanos()).unwrap_or(u64::MAX).max(1);
        // Relaxed: it says nothing of any other memory, and a wait that reads it late looks again soon.
        let closed_at = &self.shared.closed_at;
        if !closed {
            closed_at.store(0, Ordering::Relaxed);
        } else if closed_at.load(Ordering::Relaxed) == 0 {
            closed_at.store(at, Ordering::Relaxed);
        }
    }

    /// How much of a wait that ends now fell into the drain that is on.
    fn in_drain(&self, now: Instant, waited: Duration) -> Option<DrainOverlap> {
        // Relaxed: see where it is written.
        let began = self.shared.closed_at.load(Ordering::Relaxed);
        (began > 0).then(|| {
            let closed = self.shared.since + Duration::from_nanos(began);
            DrainOverlap { began, waited: waited.min(now.saturating_duration_since(closed)) }
        })
    }
}

/// Waits for one client to make one move after the other.
#[derive(Debug)]
pub(super) struct ClientWait {
    clock: DrainClock,
    pace: Pace,
    /// While it is waited for: up to when that is accounted for.
    accounted: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl ClientWait {
    /// A client that is to send.
    pub(super) fn for_sender(clock: &DrainClock) -> ClientWait {
        ClientWait::new(clock, Pace::of_sender(clock.limits()))
    }

    /// A client that is to read.
    pub(super) fn for_reader(clock: &DrainClock, lumps: ProgressSignal) -> ClientWait {
        ClientWait::new(clock, Pace::of_reader(clock.limits(), lumps))
    }

    fn new(clock: &DrainClock, pace: Pace) -> ClientWait {
        ClientWait { clock: clock.clone(), pace, accounted: None, timer: None }
    }

    /// It is waited for. Ready once it is too slow.
    pub(super) fn poll_too_slow(&mut self, cx: &mut Context<'_>) -> Poll<TooSlow> {
        loop {
            if let (Some(_), Some(timer)) = (self.accounted, &mut self.timer) {
                ready!(timer.as_mut().poll(cx));
            }
            let now = Instant::now();
            match self.account(now) {
                Err(too_slow) => return Poll::Ready(too_slow),
                Ok(within) => {
                    // Beyond the years of a clock there is no waiting.
                    let at = now.checked_add(within).unwrap_or(now);
                    match &mut self.timer {
                        Some(timer) => timer.as_mut().reset(at),
                        None => self.timer = Some(Box::pin(tokio::time::sleep_until(at))),
                    }
                }
            }
        }
    }

    /// The same, as the error that ends a connection.
    pub(super) fn poll_timed_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        self.poll_too_slow(cx).map(|too_slow| io::Error::new(io::ErrorKind::TimedOut, too_slow))
    }

    /// Accounts for the wait since the last time. Not beyond the timer: it wakes a task that waits, so where
    /// nothing has looked since, nothing has waited.
    fn account(&mut self, now: Instant) -> Result<Duration, TooSlow> {
        let since = self.accounted.replace(now).unwrap_or(now);
        let until = self.timer.as_ref().map_or(now, |timer| now.min(timer.deadline()));
        let waited = until.saturating_duration_since(since);
        let in_drain = self.clock.in_drain(now, waited);
        self.pace.on_waited(self.clock.limits(), waited, in_drain)
    }

    /// It has sent or read so many bytes, and is not waited for just now.
    pub(super) fn progress(&mut self, bytes: u64) {
        if self.accounted.is_some() {
            // What was waited for counts in a drain, whatever came of it. A client that comes at last has come.
            let _ = self.account(Instant::now());
            self.accounted = None;
            self.pace.on_progress(self.clock.limits(), bytes);
        }
    }
}
