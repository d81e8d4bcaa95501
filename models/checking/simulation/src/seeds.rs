//! Every seed that ever failed, and the fault that it found: each is run first, and a test switches the fault on again
//! to see that its seed still finds it. A seed is one of its script: where that draws otherwise, the test fails, and
//! another seed is looked for with the fault on.

use tidegate::faults::Fault;

/// A world that failed once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegressionSeed {
    /// Its seed.
    pub seed: u64,
    /// What it found, as a fault that can be switched on again.
    pub found: Fault,
}

/// All of them.
pub const REGRESSION_SEEDS: &[RegressionSeed] = &[
    RegressionSeed { seed: 4_704, found: Fault::SetClockBelieved },
    RegressionSeed { seed: 6_909, found: Fault::SetClockBelieved },
    RegressionSeed { seed: 164, found: Fault::TimesNeverDoubted },
    RegressionSeed { seed: 230, found: Fault::TimesNeverDoubted },
];
