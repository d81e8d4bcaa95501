//! The report of a simulation, for people and for programs.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use crate::results::{BrokenProperty, Explored, Worlds};
use crate::seeds::REGRESSION_SEEDS;

/// The report of a simulation.
#[derive(Clone, Debug)]
pub struct Report {
    /// The first new seed.
    pub from: u64,
    /// The scenarios.
    pub scenarios: Vec<Explored>,
    /// The worlds.
    pub worlds: Worlds,
    /// How long it took.
    pub took: Duration,
}

impl Report {
    /// Whether nothing broke.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.broken().next().is_none()
    }

    /// The properties that broke.
    pub fn broken(&self) -> impl Iterator<Item = &BrokenProperty> {
        self.scenarios.iter().filter_map(|it| it.broken.as_ref()).chain(&self.worlds.broken)
    }

    fn steps(&self) -> u64 {
        self.scenarios.iter().map(|it| it.steps).sum::<u64>() + self.worlds.steps
    }

    /// The report as one JSON document.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let scenario = |it: &Explored| {
            json!({
                "scenario": it.scenario.name,
                "preemptions": it.scenario.preemptions,
                "schedules": it.schedules,
                "complete": it.is_all,
                "steps": it.steps,
            })
        };
        let broken = |it: &BrokenProperty| {
            json!({
                "property": it.finding.property,
                "saw": it.finding.saw,
                "again": it.again,
                "story": it.story,
            })
        };
        json!({
            "ok": self.is_ok(),
            "from_seed": self.from,
            "scenarios": self.scenarios.iter().map(scenario).collect::<Vec<_>>(),
            "worlds": self.worlds.worlds,
            "failed_before": REGRESSION_SEEDS.len(),
            "steps": self.steps(),
            "seconds": self.took.as_secs_f64(),
            "faults": self.worlds.faults,
            "broken": self.broken().map(broken).collect::<Vec<_>>(),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for it in &self.scenarios {
            let (name, most) = (it.scenario.name, it.scenario.preemptions);
            let all = if it.is_all { "all" } else { "the first" };
            writeln!(
                f,
                "{name:<50} {all} {} schedules with at most {most} preemptions",
                it.schedules
            )?;
        }
        let (seconds, steps) = (self.took.as_secs_f64(), self.steps());
        #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = steps as f64 / seconds.max(0.001);
        writeln!(
            f,
            "worlds: {}, from seed {} on (regression seeds: {})",
            self.worlds.worlds,
            self.from,
            REGRESSION_SEEDS.len()
        )?;
        writeln!(f, "{steps} steps in {seconds:.1} s, {rate:.0} per second")?;
        let faults: Vec<String> =
            self.worlds.faults.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
        if !faults.is_empty() {
            writeln!(f, "faults injected: {}", faults.join(", "))?;
        }
        for broken in self.broken() {
            writeln!(f, "\nBROKEN {}: {}", broken.finding.property, broken.finding.saw)?;
            writeln!(f, "{}\nto run it again: {}", broken.story, broken.again)?;
        }
        if self.is_ok() { writeln!(f, "no property is broken") } else { Ok(()) }
    }
}
