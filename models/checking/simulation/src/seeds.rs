//! Every seed that ever failed, and the fault that it found: each is run first, and a test switches the fault on again
//! to see that its seed still finds it.

use tidegate::faults::Fault;

/// A world that failed once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed {
    /// Its seed.
    pub seed: u64,
    /// What it found, as a fault that can be switched on again.
    pub found: Fault,
}

/// All of them.
pub const FAILED: &[Failed] = &[
    Failed { seed: 21_237, found: Fault::SetClockBelieved },
    Failed { seed: 44_179, found: Fault::SetClockBelieved },
    Failed { seed: 26, found: Fault::TimesNeverDoubted },
    Failed { seed: 82, found: Fault::TimesNeverDoubted },
];
