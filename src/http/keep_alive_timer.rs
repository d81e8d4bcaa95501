//! Times what a connection does while no request of it is at work: whether its next request comes in time, how
//! long it rests, and how long it takes to close. It closes nothing itself.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use super::connection::{Link, RestState};
use super::linger::LingerPool;
use crate::sync::Arc;

/// How long a connection has rested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeepAliveExpiry {
    /// It is to be closed.
    Long,
    /// It is cut off.
    TooLong,
}

/// Times what a connection does between its requests.
pub(super) struct KeepAliveTimer {
    link: Link,
    /// For what comes.
    client_timeout: Duration,
    /// For what rests.
    keep_alive: Duration,
    lingering: Arc<LingerPool>,
    closing: Option<PendingClose>,
    /// What is timed, how many requests had come then, and, of what is being closed, how often bytes had.
    armed: Option<(RestState, usize, usize)>,
    sleep: Option<Pin<Box<Sleep>>>,
}

/// A connection that is to end, once no request of it is at work.
#[derive(Clone, Copy, Debug, Default)]
struct PendingClose {
    /// Since when it could have.
    since: Option<Instant>,
    /// Whatever is at work is no turn, and is waited for no longer than a connection at rest.
    is_last: bool,
}

impl KeepAliveTimer {
    pub(super) fn new(
        link: Link,
        client_timeout: Duration,
        keep_alive: Duration,
        lingering: Arc<LingerPool>,
    ) -> KeepAliveTimer {
        let (closing, armed, sleep) = (None, None, None);
        KeepAliveTimer { link, client_timeout, keep_alive, lingering, closing, armed, sleep }
    }

    /// It is to end soon, once no request is at work; or, where the gateway has ended, anyway.
    pub(super) fn closes(&mut self, is_last: bool) {
        match &mut self.closing {
            // What is timed goes on: it is not to begin again, however often this is said.
            Some(closing) if closing.is_last || !is_last => {}
            Some(closing) => closing.is_last = true,
            None => {
                self.closing = Some(PendingClose { since: None, is_last });
                self.armed = None;
            }
        }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<KeepAliveExpiry> {
        loop {
            let asked = self.link.asked();
            let mut rest = self.link.rest();
            if rest == RestState::No && self.closing.is_some_and(|closing| closing.is_last) {
                rest = RestState::Rests;
            }
            let reads = if self.closing.is_some() { self.link.reads() } else { 0 };
            let is_armed_for = self.armed.map(|(armed, ..)| armed);
            // A timer that was set is left alone while requests come and go, and looked at when it fires: to
            // set it takes longer than most requests do.
            if rest == RestState::No && is_armed_for.is_none() {
                return Poll::Pending;
            }
            let is_due = match &mut self.sleep {
                Some(sleep) if rest == RestState::No || is_armed_for == Some(rest) => {
                    sleep.is_elapsed()
                }
                _ => {
                    let now = Instant::now();
                    let at = self.until(rest, now);
                    let sleep =
                        self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
                    sleep.as_mut().reset(at);
                    self.armed = Some((rest, asked, reads));
                    sleep.as_mut().poll(cx).is_ready()
                }
            };
            if !is_due {
                return Poll::Pending;
            }
            let armed = self.armed.take();
            if rest == RestState::No {
                continue;
            }
            let is_over = self.is_over(rest, Instant::now());
            if armed == Some((rest, asked, reads)) || is_over {
                return Poll::Ready(match rest {
                    RestState::Rests if self.closing.is_none() => KeepAliveExpiry::Long,
                    _ => KeepAliveExpiry::TooLong,
                });
            }
        }
    }

    /// When it has come, rested or taken too long, unless something happens.
    fn until(&mut self, rest: RestState, now: Instant) -> Instant {
        let after = |time: Duration| now.checked_add(time).unwrap_or(now);
        let Some(closing) = &mut self.closing else {
            return match rest {
                RestState::Rests => after(self.keep_alive),
                RestState::Comes | RestState::No => after(self.client_timeout),
            };
        };
        let since = *closing.since.get_or_insert(now);
        after(self.lingering.idle()).min(deadline(&self.lingering, rest, since))
    }

    /// Whether a connection that is to end has had all its time, whatever it goes on sending.
    fn is_over(&self, rest: RestState, now: Instant) -> bool {
        let since = self.closing.and_then(|closing| closing.since);
        since.is_some_and(|since| now >= deadline(&self.lingering, rest, since))
    }
}

/// A shutdown gives clients that may not have read their reply what is left of its grace. One that has only
/// begun a request is owed none.
fn deadline(lingering: &LingerPool, rest: RestState, since: Instant) -> Instant {
    match rest {
        RestState::Comes => lingering.own_deadline(since),
        RestState::Rests | RestState::No => lingering.deadline(since),
    }
}
