//! As `std::time`, where a clock is read.

use std::time::Duration;

use crate::kernel;

/// A time on the clock that waits are measured by: it does not count suspend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(Duration);

impl Instant {
    /// Now.
    #[must_use]
    pub fn now() -> Instant {
        Instant(kernel::with(|it| it.now).unwrap_or_default())
    }

    /// What has passed since.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        Instant::now().0.saturating_sub(self.0)
    }
}
