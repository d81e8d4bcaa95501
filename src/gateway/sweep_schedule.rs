//! When what was left behind is removed next.

use std::time::Duration;

use crate::holder::Slot;

/// When the next sweeps are due.
#[derive(Debug)]
pub(super) struct SweepSchedule {
    /// The time since boot of the next sweep of drafts.
    pub(super) drafts_at: Duration,
    /// The time since boot of the next sweep of dead requests, and the last one that was swept.
    pub(super) dead_at: Duration,
    pub(super) swept_to: Option<Slot>,
}

impl SweepSchedule {
    /// Both are due from this time on.
    pub(super) const fn from(at: Duration) -> SweepSchedule {
        SweepSchedule { drafts_at: at, dead_at: at, swept_to: None }
    }
}
