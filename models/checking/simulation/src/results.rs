//! The outcomes of scenarios and worlds.

use tidegate_world::Counts;

use crate::monitors::Finding;
use crate::schedules::Scenario;

/// A property that broke in a run.
#[derive(Clone, Debug)]
pub struct BrokenProperty {
    /// The first finding.
    pub finding: Finding,
    /// The number of steps until then.
    pub steps: u64,
    /// How to run it again, for people.
    pub again: String,
    /// The events before it.
    pub story: String,
}

/// The outcome of one scenario.
#[derive(Clone, Debug)]
pub struct Explored {
    /// The scenario.
    pub scenario: Scenario,
    /// The number of schedules that were run.
    pub schedules: u64,
    /// Whether these are all schedules within its preemptions.
    pub is_all: bool,
    /// The number of their steps.
    pub steps: u64,
    /// The property that broke, if one did.
    pub broken: Option<BrokenProperty>,
}

/// The outcome of the worlds.
#[derive(Clone, Debug, Default)]
pub struct Worlds {
    /// The number of worlds.
    pub worlds: u64,
    /// The number of their steps.
    pub steps: u64,
    /// The number of injected faults, by kind.
    pub faults: Counts,
    /// The properties that broke.
    pub broken: Vec<BrokenProperty>,
}

impl Worlds {
    /// Adds the outcome of other worlds.
    pub(crate) fn add(&mut self, others: Worlds) {
        self.worlds += others.worlds;
        self.steps += others.steps;
        for (kind, count) in others.faults {
            *self.faults.entry(kind).or_default() += count;
        }
        self.broken.extend(others.broken);
    }
}
