//! As `std::time`, for reading a clock.

use std::time::Duration;

use crate::kernel;

/// A time on the clock that measures waits. This clock does not count suspend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(Duration);

impl Instant {
    /// The current time.
    #[must_use]
    pub fn now() -> Instant {
        Instant(kernel::with(|it| it.now).unwrap_or_default())
    }

    /// The time that has passed since.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        Instant::now().0.saturating_sub(self.0)
    }
}
