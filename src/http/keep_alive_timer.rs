//! Times a connection without an active request. It limits the head of a request, the time at rest, and the time to
//! close. It closes nothing itself.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use super::connection::{Link, RestState};
use super::linger::LingerPool;
use crate::sync::Arc;

/// What to do with a connection whose time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeepAliveExpiry {
    /// Close it.
    Long,
    /// Disconnect it at once.
    TooLong,
}

/// Times a connection between its requests.
pub(super) struct KeepAliveTimer {
    link: Link,
    /// The time for the head of a request.
    client_timeout: Duration,
    /// The time for a connection at rest.
    keep_alive: Duration,
    lingering: Arc<LingerPool>,
    closing: Option<PendingClose>,
    /// The state that is timed, and how many requests had arrived when the timer was set. While the connection closes,
    /// also how often bytes had arrived.
    armed: Option<(RestState, usize, usize)>,
    sleep: Option<Pin<Box<Sleep>>>,
}

/// A connection that must end once it has no active request.
#[derive(Clone, Copy, Debug, Default)]
struct PendingClose {
    /// The time since which it could have ended.
    since: Option<Instant>,
    /// Whether the gateway has ended. Then an active request is not a turn, and has no more time than a connection at
    /// rest.
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

    /// The connection must end once it has no active request. With `is_last` (the gateway has ended), it must end
    /// even with one.
    pub(super) fn closes(&mut self, is_last: bool) {
        match &mut self.closing {
            // The running timer continues: a repeated call must not start it again.
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
            // A timer that is set stays set while requests come and go, and is checked when it fires. Setting it
            // takes longer than most requests do.
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

    /// The time at which this state has lasted too long, unless something happens first.
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

    /// Whether a connection that must end has used all its time, even if it still sends.
    fn is_over(&self, rest: RestState, now: Instant) -> bool {
        let since = self.closing.and_then(|closing| closing.since);
        since.is_some_and(|since| now >= deadline(&self.lingering, rest, since))
    }
}

/// When a closing connection must have ended. A shutdown gives the rest of its grace to clients that may not have
/// read their reply. A client that has only begun a request is owed no reply, and does not get that time.
fn deadline(lingering: &LingerPool, rest: RestState, since: Instant) -> Instant {
    match rest {
        RestState::Comes => lingering.own_deadline(since),
        RestState::Rests | RestState::No => lingering.deadline(since),
    }
}
