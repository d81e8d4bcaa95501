//! Who did what to a drain, in the log: a line for each order, and for each request that was not authorized, as
//! many as the log can bear. It knows no tokens.

use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::ConnectInfo;
use axum::http::Extensions;
use tokio::time::Instant;

use super::auth::Principal;
use super::reply::{Failure, Problem};
use crate::holder::Holder;
use crate::sync::Mutex;
use crate::text::printable;

/// Where those lines go.
pub(super) const AUDIT: &str = "tidegate::audit";

/// Says who did what, in one line for each order.
pub(super) fn order(
    principal: &Principal,
    action: &str,
    holder: &Holder,
    request_id: Option<&str>,
    failure: Option<&Failure>,
) {
    // Whatever a provider calls somebody, it stays within its field and on this line.
    let principal = &*printable(principal.name());
    match failure {
        None => {
            tracing::info!(target: AUDIT, principal, action, %holder, request_id, "done");
        }
        Some(Failure { status, problem: Problem { error, detail, .. }, .. }) => {
            tracing::warn!(target: AUDIT, principal, action, %holder, request_id,
                status = status.as_u16(), error, "{}", printable(detail));
        }
    }
}

/// Whom a request comes from, where the server says so.
pub(super) fn peer(extensions: &Extensions) -> Option<SocketAddr> {
    extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| *peer)
}

/// The requests that were refused for their token, in the log. Anybody can make them, so they are not all
/// written.
#[derive(Debug)]
pub(super) struct Refusals {
    limit: Mutex<LineLimit>,
    since: Instant,
}

impl Refusals {
    pub(super) fn new() -> Refusals {
        Refusals { limit: Mutex::new(LineLimit::new()), since: Instant::now() }
    }

    /// A request was refused before it was an order.
    pub(super) fn refused(
        &self,
        peer: Option<SocketAddr>,
        principal: Option<&Principal>,
        failure: &Failure,
    ) {
        let Some(unlogged) = self.limit.lock().line(self.since.elapsed()) else { return };
        let Failure { status, problem: Problem { error, .. }, .. } = failure;
        let principal = principal.map(|it| printable(it.name()));
        let peer = peer.map(tracing::field::display);
        tracing::warn!(target: AUDIT, peer, principal = principal.as_deref(), unlogged,
            status = status.as_u16(), error, "not authorized");
    }

    /// Why the status cannot be read, which no client without a token learns.
    pub(super) fn unreadable(&self, error: &dyn std::fmt::Display) {
        let Some(unlogged) = self.limit.lock().line(self.since.elapsed()) else { return };
        let error = &*printable(&error.to_string()).into_owned();
        tracing::warn!(unlogged, error, "cannot read the status");
    }
}

/// How many lines are written at once, and how often one more.
const LINES_MAX: u32 = 20;
const LINE_EVERY: Duration = Duration::from_secs(1);

/// How many lines there may be. Pure: it is given the time.
#[derive(Debug)]
struct LineLimit {
    left: u32,
    refilled: Duration,
    unlogged: u64,
}

impl LineLimit {
    fn new() -> LineLimit {
        LineLimit { left: LINES_MAX, refilled: Duration::ZERO, unlogged: 0 }
    }

    /// Whether there may be one more line, and how many there were not since the last one.
    fn line(&mut self, now: Duration) -> Option<u64> {
        let passed = now.saturating_sub(self.refilled);
        let earned = u32::try_from(passed.as_nanos() / LINE_EVERY.as_nanos()).unwrap_or(u32::MAX);
        self.refilled = self.refilled.saturating_add(LINE_EVERY.saturating_mul(earned));
        self.left = self.left.saturating_add(earned).min(LINES_MAX);
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                Some(std::mem::take(&mut self.unlogged))
            }
            None => {
                self.unlogged = self.unlogged.saturating_add(1);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_writes_few_lines_and_says_how_many_it_did_not() {
        let mut limit = LineLimit::new();
        let at = |second| Duration::from_secs(second);
        let lines = (0..10_000).filter_map(|_| limit.line(at(0))).collect::<Vec<_>>();
        assert_eq!(lines, [0; LINES_MAX as usize]);
        assert_eq!(limit.line(at(1)), Some(10_000 - u64::from(LINES_MAX)));
        assert_eq!(limit.line(at(1)), None);
        let later = (0..100).filter_map(|_| limit.line(at(3600))).count();
        assert_eq!(later, LINES_MAX as usize);
        assert!(limit.line(Duration::MAX).is_some());
    }
}
