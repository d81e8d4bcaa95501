//! The latest changes of phase, numbered. It forgets the oldest, and knows how many it has forgotten.

use std::collections::VecDeque;
use std::time::Duration;

use crate::machine::{Machine, Phase};
use crate::status::HolderStatus;

/// How many changes are kept for those who have not fetched them yet.
pub(super) const KEPT: usize = 256;

/// The gateway went from one phase to another.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Change {
    /// Where it was.
    pub from: Phase,
    /// Where it is.
    pub to: Phase,
    /// Rises with each close, so it tells the changes of different drains apart.
    pub generation: u64,
    /// Who asks for the drain in force after the change.
    pub holders: Vec<HolderStatus>,
    /// Whether users are not notified: as asked by the drain that the change begins, ends or
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

    pub(super) fn end(&self) -> u64 {
        self.first + self.kept.len() as u64
    }

    /// The changes from number `at` on that are still kept, and the number after the last.
    pub(super) fn since(&self, at: u64) -> (Vec<Change>, u64) {
        let skip = usize::try_from(at.saturating_sub(self.first)).unwrap_or(usize::MAX);
        (self.kept.iter().skip(skip).cloned().collect(), self.end())
    }

    /// The first change from number `at` on that is still kept, and the number after it.
    pub(super) fn read(&self, at: u64) -> Option<(Change, u64)> {
        let missed = self.first.saturating_sub(at);
        let at = at.max(self.first);
        let index = usize::try_from(at - self.first).ok()?;
        self.kept.get(index).map(|change| (Change { missed, ..change.clone() }, at + 1))
    }
}
