//! What has come of scenarios and worlds.

use tidegate_world::Counts;

use crate::monitors::Finding;
use crate::schedules::Scenario;

/// What broke.
#[derive(Clone, Debug)]
pub struct BrokenProperty {
    /// What was seen first.
    pub finding: Finding,
    /// After how many steps.
    pub steps: u64,
    /// How to run it again.
    pub again: String,
    /// What happened.
    pub story: String,
}

/// What one scenario has come to.
#[derive(Clone, Debug)]
pub struct Explored {
    /// Which.
    pub scenario: Scenario,
    /// How many schedules were run.
    pub schedules: u64,
    /// All that there are, within its preemptions.
    pub is_all: bool,
    /// How many steps they made.
    pub steps: u64,
    /// What broke.
    pub broken: Option<BrokenProperty>,
}

/// What the worlds have come to.
#[derive(Clone, Debug, Default)]
pub struct Worlds {
    /// How many.
    pub worlds: u64,
    /// How many steps they made.
    pub steps: u64,
    /// The faults that were put in, by kind.
    pub faults: Counts,
    /// What broke.
    pub broken: Vec<BrokenProperty>,
}

impl Worlds {
    /// These too.
    pub(crate) fn add(&mut self, others: Worlds) {
        self.worlds += others.worlds;
        self.steps += others.steps;
        for (kind, count) in others.faults {
            *self.faults.entry(kind).or_default() += count;
        }
        self.broken.extend(others.broken);
    }
}
