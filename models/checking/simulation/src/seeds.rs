//! Every seed that ever failed, and the fault that it found. The simulation runs these seeds first. A test switches
//! each fault on again, and checks that its seed still finds it. A seed is valid only for the script's draws. If they
//! change, the test fails, and another seed must be searched with the fault on.

use tidegate::faults::Fault;

/// A seed whose world failed once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegressionSeed {
    /// The seed.
    pub seed: u64,
    /// The fault that it found. It can be switched on again.
    pub found: Fault,
}

/// All regression seeds.
pub const REGRESSION_SEEDS: &[RegressionSeed] = &[
    RegressionSeed { seed: 4_704, found: Fault::SetClockBelieved },
    RegressionSeed { seed: 52_503, found: Fault::SetClockBelieved },
    RegressionSeed { seed: 164, found: Fault::TimesNeverDoubted },
    RegressionSeed { seed: 230, found: Fault::TimesNeverDoubted },
];
