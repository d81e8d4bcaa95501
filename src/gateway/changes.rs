//! The changes of phase, for authors who tell their users. A short memory: a listener that fetches too late
//! misses the oldest, and is given their number.

use std::collections::VecDeque;
use std::time::Duration;

use crate::gate::Wait;
use crate::machine::{Machine, Phase};
use crate::status::HolderStatus;

use super::Gateway;

/// How many changes are kept for those who have not fetched them yet.
const KEPT: usize = 256;

/// The gateway went from one phase to another.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Change {
    /// Where it was.
    pub from: Phase,
    /// Where it is.
    pub to: Phase,
    /// Rises with each close, so changes of different drains can be told apart.
    pub generation: u64,
    /// Who asks for the drain in force after the change.
    pub holders: Vec<HolderStatus>,
    /// Whether users are not to be told: as asked by the drain that the change begins, ends or
    /// supersedes.
    pub suppress_notification: bool,
    /// When: the time since boot.
    pub at: Duration,
    /// How many changes before this one were missed: the gateway keeps the latest 256 for a listener that has
    /// not fetched them yet.
    pub missed: u64,
}

impl Change {
    pub(super) fn between(
        before: Machine,
        after: Machine,
        holders: Vec<HolderStatus>,
        at: Duration,
    ) -> Change {
        let of_the_drain = match before.phase() {
            Phase::ExternallyDraining => before,
            Phase::Running | Phase::ShuttingDown | Phase::Stopped => after,
        };
        Change {
            from: before.phase(),
            to: after.phase(),
            generation: after.generation(),
            holders,
            suppress_notification: of_the_drain.terms().suppress_notification,
            at,
            missed: 0,
        }
    }
}

/// The latest changes.
#[derive(Debug, Default)]
pub(super) struct ChangeLog {
    /// The number of the first one kept.
    first: u64,
    kept: VecDeque<Change>,
}

impl ChangeLog {
    pub(super) fn push(&mut self, change: Change) {
        if self.kept.len() == KEPT {
            self.kept.pop_front();
            self.first += 1;
        }
        self.kept.push_back(change);
    }

    fn end(&self) -> u64 {
        self.first + self.kept.len() as u64
    }

    /// The changes from number `at` on that are still kept, and the number after the last.
    pub(super) fn since(&self, at: u64) -> (Vec<Change>, u64) {
        let skip = usize::try_from(at.saturating_sub(self.first)).unwrap_or(usize::MAX);
        (self.kept.iter().skip(skip).cloned().collect(), self.end())
    }

    /// The first change from number `at` on that is still kept, and the number after it.
    fn read(&self, at: u64) -> Option<(Change, u64)> {
        let missed = self.first.saturating_sub(at);
        let at = at.max(self.first);
        let index = usize::try_from(at - self.first).ok()?;
        self.kept.get(index).map(|change| (Change { missed, ..change.clone() }, at + 1))
    }
}

/// The changes of one gateway's phase, in their order.
///
/// ```
/// use tidegate::{Gateway, machine::Phase};
/// let gateway = Gateway::in_memory().start()?;
/// let mut changes = gateway.changes();
/// gateway.begin_drain(&Default::default())?;
/// let change = changes.recv().expect("the gateway lives");
/// assert_eq!((change.from, change.to), (Phase::Running, Phase::ExternallyDraining));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Changes {
    gateway: Gateway,
    at: u64,
}

impl Changes {
    pub(super) fn from_now(gateway: Gateway) -> Changes {
        let at = gateway.handle.shared.state.lock().changes.end();
        Changes { gateway, at }
    }

    /// The next change; `None` once the gateway has stopped and all have been fetched.
    ///
    /// # Cancel safety
    ///
    /// A change is fetched only by the poll that returns it.
    pub async fn next(&mut self) -> Option<Change> {
        let (change, at) = self.coming().await?;
        self.at = at;
        Some(change)
    }

    /// Blocks this thread until the next change.
    pub fn recv(&mut self) -> Option<Change> {
        let (change, at) = self.coming().wait()?;
        self.at = at;
        Some(change)
    }

    fn coming(&self) -> Wait<Option<(Change, u64)>> {
        let (gateway, at) = (self.gateway.clone(), self.at);
        self.gateway.wait_until(move || {
            let state = gateway.handle.shared.state.lock();
            match state.changes.read(at) {
                None if state.lifecycle.phase() == Phase::Stopped => Some(None),
                None => None,
                next => Some(next),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::Gateway;
    use crate::request::{DrainRequest, Holder};

    use super::*;

    #[test]
    fn a_listener_is_given_the_number_of_changes_that_it_missed() {
        const DRAINS: usize = 200;
        let gateway = Gateway::in_memory().start().expect("starts");
        let mut changes = gateway.changes();
        for _ in 0..DRAINS {
            gateway.begin_drain(&DrainRequest::default()).expect("in memory");
            gateway.cancel_drain(&Holder::Shared).expect("in memory");
        }
        let first = changes.recv().expect("the gateway lives");
        assert_eq!(first.missed, (2 * DRAINS - KEPT) as u64);
        for _ in 1..KEPT {
            assert_eq!(changes.recv().expect("it is kept").missed, 0);
        }
        gateway.begin_drain(&DrainRequest::default()).expect("in memory");
        assert_eq!(changes.recv().expect("the next").missed, 0);
    }
}
