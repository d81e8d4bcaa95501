//! Every seed that ever failed, and what it found. Each is run first.

/// A world that failed once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed {
    /// Its seed.
    pub seed: u64,
    /// What it found.
    pub found: &'static str,
}

/// All of them.
pub const FAILED: &[Failed] = &[];
