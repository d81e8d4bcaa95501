//! The audit log: who did what to a drain. It has a line for each order, and, up to a limit, a line for each request
//! that was not authorized. It knows no tokens.

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

/// The log target of these lines.
pub(super) const AUDIT: &str = "tidegate::audit";

/// Logs who did what, one line for each order.
pub(super) fn order(
    principal: &Principal,
    action: &str,
    holder: &Holder,
    request_id: Option<&str>,
    failure: Option<&Failure>,
) {
    // Whatever name a provider returns, it stays in its field and on this line.
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

/// The peer address of a request, if the server reports it.
pub(super) fn peer(extensions: &Extensions) -> Option<SocketAddr> {
    extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| *peer)
}

/// Logs the requests that were refused for their token. Anybody can send them, so the number of lines is limited.
#[derive(Debug)]
pub(super) struct Refusals {
    limit: Mutex<LineLimit>,
    since: Instant,
}

impl Refusals {
    pub(super) fn new() -> Refusals {
        Refusals { limit: Mutex::new(LineLimit::new()), since: Instant::now() }
    }

    /// Logs a request that was refused before its order was read.
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

    /// Logs why the status cannot be read. A client without a token does not get the reason.
    pub(super) fn unreadable(&self, error: &dyn std::fmt::Display) {
        let Some(unlogged) = self.limit.lock().line(self.since.elapsed()) else { return };
        let error = &*printable(&error.to_string()).into_owned();
        tracing::warn!(unlogged, error, "cannot read the status");
    }
}

/// The most lines at once.
const LINES_MAX: u32 = 20;
/// How often one more line is allowed.
const LINE_EVERY: Duration = Duration::from_secs(1);

/// Limits the number of lines. Pure: the caller passes the time.
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

    /// Returns the number of lines left out since the last one, if one more line is allowed.
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
