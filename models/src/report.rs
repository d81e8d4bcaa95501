//! The results: this module judges and prints them. It runs nothing.

use std::fmt::{self, Write as _};
use std::time::Duration;

use crate::ablations::{ABLATIONS, Ablation, Expected};
use crate::catalogue::{CATALOGUE, Check, Entry, ModelName, entry_of};
use crate::design::Guard;
use crate::faults;
use crate::matrix::{self, MatrixRow};
use crate::registry::Size;
use crate::seeded::kills_a_fault;

const HOLDS: &str = "holds";
const NOT_RUN: &str = "not run";

/// One engine's result for the design that ships.
#[derive(Clone, Debug)]
pub struct EngineRun {
    /// The model.
    pub model: ModelName,
    /// The engine.
    pub engine: &'static str,
    /// The number of distinct states.
    pub states: u64,
    /// The number of transitions between them, including those to states seen before.
    pub steps: u64,
    /// The properties it found broken.
    pub broken: Vec<&'static str>,
    /// The properties it found reachable.
    pub reached: Vec<&'static str>,
    /// How long it took.
    pub took: Duration,
}

pub(crate) const ENGINE_COLUMNS: [&str; 6] =
    ["model", "engine", "distinct states", "transitions", "states/s", "time"];

impl EngineRun {
    pub(crate) fn row(&self) -> [String; 6] {
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = self.states as f64 / self.took.as_secs_f64();
        [
            self.model.to_string(),
            self.engine.to_owned(),
            thousands(self.states),
            thousands(self.steps),
            format!("{:.0} k", rate / 1000.0),
            seconds(self.took),
        ]
    }
}

/// The result of checking one liveness property, by searching for fair cycles.
#[derive(Clone, Debug)]
pub struct LivenessRun {
    /// The property.
    pub property: &'static str,
    /// The number of distinct states of the graph that was searched.
    pub states: u64,
    /// The number of states in which the premise holds and the goal is not met yet. With none, a pass shows nothing.
    pub waiting: u64,
    /// A counterexample, one line for each step.
    pub counterexample: Option<Vec<String>>,
    /// A fairness assumption that the property does not need.
    pub unneeded_fairness: Option<&'static str>,
    /// How long it took, including building the graph.
    pub took: Duration,
}

/// What the original contract breaks in a model.
#[derive(Clone, Debug)]
pub struct OriginalRun {
    /// The model.
    pub model: ModelName,
    /// The number of distinct states explored. There may be more.
    pub states: u64,
    /// The properties that break, each with the steps of its shortest counterexample.
    pub broken: Vec<(&'static str, u64)>,
}

/// The result of switching guards off.
#[derive(Clone, Debug)]
pub struct AblationRun {
    /// The seeded fault.
    pub ablation: Ablation,
    /// The property that had to break, if it did. If none had to break, the first one that did.
    pub broken: Option<&'static str>,
    /// Whether all states were explored.
    pub exhaustive: bool,
    /// The number of distinct states seen.
    pub states: u64,
    /// The shortest counterexample, one line for each step.
    pub counterexample: Vec<String>,
    /// How long it took.
    pub took: Duration,
}

impl AblationRun {
    /// Whether the result is as expected.
    #[must_use]
    pub fn is_as_expected(&self) -> bool {
        match self.ablation.expected {
            Expected::Breaks(property) => self.broken == Some(property),
            Expected::CoveredBy(_) => self.broken.is_none() && self.exhaustive,
        }
    }
}

/// All results. `Display` is the text that `cargo verify` prints.
#[derive(Clone, Debug)]
pub struct Report {
    /// How much was explored.
    pub size: Size,
    /// The results for the design that ships, by each engine.
    pub engines: Vec<EngineRun>,
    /// The results for the liveness properties of the design that ships.
    pub liveness: Vec<LivenessRun>,
    /// What the original contract breaks.
    pub original: Vec<OriginalRun>,
    /// The results for each seeded fault.
    pub ablations: Vec<AblationRun>,
    /// Everything that breaks without each guard, model by model.
    pub matrix: Vec<MatrixRow>,
    /// What is not promised, each with the shortest way to it.
    pub gaps: Vec<(&'static str, Vec<String>)>,
    /// Counterexamples to the design that ships, if there are any: one line for each step.
    pub counterexamples: Vec<(&'static str, Vec<String>)>,
    /// The names given with `--only`. If there are none, everything was run.
    pub only: Vec<String>,
    /// The jobs that were interrupted. They show nothing.
    pub unfinished: Vec<String>,
    /// How long it all took.
    pub took: Duration,
}

impl Report {
    /// Whether no job was interrupted.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.unfinished.is_empty()
    }

    /// Whether nothing was run: no property, model, guard or incident has a name in `only`.
    #[must_use]
    pub fn is_of_nothing(&self) -> bool {
        let ran = self.engines.len() + self.liveness.len() + self.ablations.len();
        self.is_complete() && ran == 0
    }

    fn is_of_everything(&self) -> bool {
        self.only.is_empty() && self.is_complete()
    }

    /// What is wrong, one line for each failure. Empty if everything is as it must be.
    #[must_use]
    pub fn failures(&self) -> Vec<String> {
        let mut failures = Vec::new();
        for run in &self.engines {
            let engine = run.engine;
            for (entry, check) in checks().filter(|(_, it)| it.model == run.model) {
                let property = check.property;
                if run.broken.contains(&property) {
                    failures.push(format!("{} {} is falsified ({engine})", entry.id, entry.name));
                }
                if check.is_reach() && !run.reached.contains(&property) {
                    failures.push(format!(
                        "{property} is never reached, so {} shows nothing ({engine})",
                        entry.id
                    ));
                }
            }
            let (model, pinned) = (run.model, self.size.pinned_states(run.model));
            if run.states != pinned {
                failures.push(format!(
                    "{engine} counts {} distinct states of the {model} model, but {pinned} are pinned: if the change is intended, pin the new count in models/src/registry.rs",
                    run.states
                ));
            }
        }
        for (at, run) in self.engines.iter().enumerate() {
            let others = self.engines[..at].iter().filter(|other| other.model == run.model);
            failures.extend(others.filter(|other| other.steps != run.steps).map(|other| {
                let (model, one, two) = (run.model, other.engine, run.engine);
                let (of_one, of_two) = (other.steps, run.steps);
                format!("{one} counts {of_one} transitions of the {model} model, but {two} counts {of_two}: the engines must agree")
            }));
        }
        for (entry, check) in checks().filter(|(_, it)| it.is_progress()) {
            let (id, name) = (entry.id, entry.name);
            let Some(run) = self.liveness_run(check) else {
                if self.is_of_everything() {
                    failures.push(format!("{id} {name} was not checked"));
                }
                continue;
            };
            if run.counterexample.is_some() {
                failures.push(format!("{id} {name} is falsified"));
            }
            if run.waiting == 0 {
                failures.push(format!("no state waits for {id} {name}, so it shows nothing"));
            }
            if let Some(fairness) = run.unneeded_fairness {
                failures.push(format!("{id} {name} holds without the fairness \"{fairness}\": remove it from what it assumes"));
            }
        }
        for run in self.ablations.iter().filter(|run| !run.is_as_expected()) {
            let off = names(run.ablation.off);
            let expected = match run.ablation.expected {
                Expected::Breaks(property) => format!("{property} must break"),
                Expected::CoveredBy(guard) => format!("nothing must break, as {guard} covers"),
            };
            let found = run.broken.map_or_else(
                || format!("nothing breaks among {} states", thousands(run.states)),
                |property| format!("{property} breaks"),
            );
            failures.push(format!("without {off}: {expected}, but {found}"));
        }
        for run in self.original.iter().filter(|run| run.broken.is_empty()) {
            let model = run.model;
            failures.push(format!("the original contract breaks nothing in the {model} model"));
        }
        if self.is_of_everything() {
            failures.extend(self.guards_without_need());
        }
        if self.is_of_nothing() {
            failures.push("nothing was run, so nothing is shown".to_owned());
        }
        failures
    }

    /// Whether nothing is wrong: see [`Report::failures`].
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.failures().is_empty()
    }

    fn liveness_run(&self, check: Check) -> Option<&LivenessRun> {
        self.liveness.iter().find(|it| it.property == check.property)
    }

    /// The verdict of all checks of a property together.
    pub(crate) fn verdict_on(&self, entry: &Entry) -> &'static str {
        let was_run = |check: &Check| {
            self.liveness_run(*check).is_some()
                || (!check.is_progress() && self.engines.iter().any(|it| it.model == check.model))
        };
        if !entry.checked_as.iter().all(was_run) {
            return NOT_RUN;
        }
        let is_vacuous = |check: &Check| {
            if check.is_progress() {
                return self.liveness_run(*check).is_none_or(|run| run.waiting == 0);
            }
            let mut runs = self.engines.iter().filter(|run| run.model == check.model);
            check.is_reach() && runs.any(|run| !run.reached.contains(&check.property))
        };
        let is_broken = |check: &Check| {
            self.engines.iter().any(|run| run.broken.contains(&check.property))
                || self.liveness_run(*check).is_some_and(|run| run.counterexample.is_some())
        };
        if entry.checked_as.iter().any(is_broken) {
            "FALSIFIED"
        } else if entry.checked_as.iter().any(is_vacuous) {
            "VACUOUS"
        } else {
            HOLDS
        }
    }

    fn guards_without_need(&self) -> impl Iterator<Item = String> {
        let breaking = || self.ablations.iter().filter(|run| run.broken.is_some());
        let idle_guards = Guard::ALL
            .into_iter()
            .filter(|guard| faults::HAS_SWITCHES || !guard.is_in_shipped_code())
            .filter(move |guard| !breaking().any(|run| run.ablation.off.contains(guard)))
            .map(|guard| {
                format!("nothing breaks without {guard}: seed a fault that needs it, or remove it")
            });
        // A build without switches cannot break a property that only a fault in the shipped code breaks.
        let is_for_the_checking_build = |property| {
            let breaks = |it: &Ablation| it.expected == Expected::Breaks(property);
            let is_inside = |it: &Ablation| it.off.iter().any(|it| it.is_in_shipped_code());
            !faults::HAS_SWITCHES && ABLATIONS.iter().any(|it| breaks(it) && is_inside(it))
        };
        let unbroken = checks()
            .filter(|(_, check)| !check.is_reach() && !kills_a_fault(check.property))
            .filter(move |(_, check)| !is_for_the_checking_build(check.property))
            .filter(move |(_, check)| !breaking().any(|run| run.broken == Some(check.property)))
            .map(|(entry, check)| {
                format!(
                    "no seeded fault breaks {} {}: it may detect nothing",
                    entry.id, check.property
                )
            });
        idle_guards.chain(unbroken)
    }
}

/// Each check of each property.
fn checks() -> impl Iterator<Item = (&'static Entry, Check)> {
    CATALOGUE.iter().flat_map(|entry| entry.checked_as.iter().map(move |check| (entry, *check)))
}

/// A counterexample, and what a reader needs to understand it.
pub(crate) struct Story<'a> {
    pub(crate) title: String,
    /// The rule of each guard that is off, and the property's statement.
    pub(crate) about: Vec<String>,
    pub(crate) steps: &'a [String],
}

/// The id and the statement of the property that has this check.
fn statement_of(check: &str) -> impl Iterator<Item = String> + use<> {
    entry_of(check).map(|(entry, _)| format!("{}: {}", entry.id, entry.statement)).into_iter()
}

pub(crate) fn names(guards: &[Guard]) -> String {
    guards.iter().map(Guard::to_string).collect::<Vec<_>>().join(" + ")
}

impl Report {
    /// Each property, its checks and its verdict.
    pub(crate) fn property_rows(&self) -> Vec<[String; 3]> {
        let mut rows = vec![["property", "verdict", "checked as"].map(str::to_owned)];
        for entry in &CATALOGUE {
            let name = format!("{} {}", entry.id, entry.name);
            let checked_as: Vec<_> = entry.checked_as.iter().map(|it| it.property).collect();
            rows.push([name, self.verdict_on(entry).to_owned(), checked_as.join(", ")]);
        }
        rows
    }

    /// Each engine's count of each model.
    pub(crate) fn engine_rows(&self) -> Vec<[String; 6]> {
        let columns = std::iter::once(ENGINE_COLUMNS.map(str::to_owned));
        columns.chain(self.engines.iter().map(EngineRun::row)).collect()
    }

    /// Each liveness property, and the number of states that wait for it.
    pub(crate) fn liveness_rows(&self) -> Vec<[String; 4]> {
        let mut rows = vec![["liveness property", "states", "waiting", "time"].map(str::to_owned)];
        for run in &self.liveness {
            let (states, waiting) = (thousands(run.states), thousands(run.waiting));
            rows.push([run.property.to_owned(), states, waiting, seconds(run.took)]);
        }
        rows
    }

    /// What the original contract breaks.
    pub(crate) fn original_rows(&self) -> Vec<[String; 3]> {
        let mut rows = vec![["model", "states", "breaks (steps)"].map(str::to_owned)];
        for run in &self.original {
            let broken: Vec<_> = run
                .broken
                .iter()
                .map(|(property, steps)| format!("{property} ({steps})"))
                .collect();
            rows.push([run.model.to_string(), thousands(run.states), broken.join(", ")]);
        }
        rows
    }

    /// Each seeded fault, and whether it was found.
    pub(crate) fn ablation_rows(&self) -> Vec<[String; 7]> {
        let mut rows = vec![
            ["without", "must break", "result", "steps", "states", "time", "incidents"]
                .map(str::to_owned),
        ];
        for run in &self.ablations {
            let id =
                |property| entry_of(property).map_or(property, |(entry, _)| entry.id).to_owned();
            let expected = match run.ablation.expected {
                Expected::Breaks(property) => id(property),
                Expected::CoveredBy(guard) => format!("nothing ({guard} covers)"),
            };
            let found = match (run.is_as_expected(), run.broken) {
                (true, Some(_)) => "found".to_owned(),
                (true, None) => "covered".to_owned(),
                (false, Some(other)) => format!("BROKE {}", id(other)),
                (false, None) => "SURVIVED".to_owned(),
            };
            let steps = if run.counterexample.is_empty() {
                "-".to_owned()
            } else {
                run.counterexample.len().to_string()
            };
            rows.push([
                names(run.ablation.off),
                expected,
                found,
                steps,
                thousands(run.states),
                seconds(run.took),
                run.ablation.incidents.to_owned(),
            ]);
        }
        rows
    }

    /// Each counterexample, with its title.
    pub(crate) fn stories(&self) -> Vec<Story<'_>> {
        let seeded = self.ablations.iter().filter_map(|run| {
            let incidents = match run.ablation.incidents {
                "" => String::new(),
                incidents => format!(" ({incidents})"),
            };
            let off = names(run.ablation.off);
            let broken = run.broken?;
            let id = entry_of(broken).map_or("", |(entry, _)| entry.id);
            let rules = run.ablation.off.iter().map(|guard| format!("{guard}: {}", guard.rule()));
            Some(Story {
                title: format!("without {off}{incidents}: {id} breaks ({broken})"),
                about: rules.chain(statement_of(broken)).collect(),
                steps: &run.counterexample,
            })
        });
        let falsified = self.counterexamples.iter().map(|(property, steps)| Story {
            title: format!("FALSIFIED: {property}"),
            about: statement_of(property).collect(),
            steps,
        });
        let gaps = self.gaps.iter().map(|(property, steps)| Story {
            title: format!("not promised: {property}"),
            about: Vec::new(),
            steps,
        });
        seeded.chain(gaps).chain(falsified).collect()
    }

    /// The result in one line.
    pub(crate) fn summary(&self) -> String {
        let with_verdict =
            |verdict| CATALOGUE.iter().filter(|it| self.verdict_on(it) == verdict).count();
        let result = match (self.is_ok(), self.is_complete()) {
            (false, _) => "FAILED",
            (true, false) => "INTERRUPTED",
            (true, true) => "OK",
        };
        let (hold, not_run) = (with_verdict(HOLDS), with_verdict(NOT_RUN));
        let checked = CATALOGUE.len() - not_run;
        let mut text = match checked {
            0 => format!("{result}: no property was checked"),
            _ => format!("{result}: {hold} of {checked} properties hold"),
        };
        if not_run > 0 && checked > 0 {
            let _ = write!(text, " ({not_run} others were not checked)");
        }
        let must_break = |it: &&AblationRun| matches!(it.ablation.expected, Expected::Breaks(_));
        let (faults, covered): (Vec<_>, Vec<_>) = self.ablations.iter().partition(must_break);
        let found = faults.iter().filter(|it| it.is_as_expected()).count();
        let _ = write!(text, "; {found} of {} seeded faults found", faults.len());
        let covered = covered.into_iter().filter(|it| it.is_as_expected()).count();
        if covered > 0 {
            let _ = write!(text, ", {covered} more covered by another guard");
        }
        let _ = write!(text, "; {} s", self.took.as_secs_f32().round());
        text
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut properties = self.property_rows();
        if !self.only.is_empty() {
            properties.retain(|[_, verdict, _]| verdict != NOT_RUN);
        }
        section(f, PROPERTIES, &properties)?;
        section(f, ENGINES, &self.engine_rows())?;
        section(f, LIVENESS, &self.liveness_rows())?;
        section(f, ORIGINAL, &self.original_rows())?;
        section(f, FAULTS, &self.ablation_rows())?;
        let within = thousands(matrix::states_max(self.size));
        let matrix_title = format!("{MATRIX} An empty cell: none among the first {within} states.");
        section(f, &matrix_title, &matrix::rows(&self.matrix))?;
        let stories = self.stories();
        if !stories.is_empty() {
            writeln!(f, "{STORIES}")?;
        }
        for Story { title, about, steps } in stories {
            writeln!(f, "\n{title}")?;
            for line in about {
                writeln!(f, "  {line}")?;
            }
            for (number, step) in steps.iter().enumerate() {
                writeln!(f, "  {:>2}. {step}", number + 1)?;
            }
        }
        writeln!(f)?;
        for job in &self.unfinished {
            writeln!(f, "NOT SHOWN: {job}: it was interrupted")?;
        }
        writeln!(f, "{}", self.summary())?;
        for failure in self.failures() {
            writeln!(f, "FAILED: {failure}")?;
        }
        Ok(())
    }
}

const PROPERTIES: &str = "\
Properties. One holds if all its checks pass. models/README.md describes each one.";
const ENGINES: &str = "\
Models. Two engines explore every reachable state of each model. They must agree.";
const LIVENESS: &str = "\
Liveness: what must happen in the end. It is checked by searching for fair cycles. In a waiting state it
has not happened yet.";
const ORIGINAL: &str = "\
The original contract, which has few of these guards: the properties it breaks, and the steps of the shortest
counterexample.";
const FAULTS: &str = "\
Seeded faults. A guard is switched off, and the property must break. src/guide/incidents.md describes the
incidents that come back.";
const MATRIX: &str = "\
Guard by property: the steps of the shortest counterexample without the guard.";
pub(crate) const STORIES: &str = "\
Counterexamples, one step in each line. The state after the step is in brackets. `gate open 1u0i` is an open gate
with 1 user turn and 0 internal turns in flight. `hold` also refuses internal work, `sealed` refuses everything,
and `shut` never reopens. `first.0` is request 0 of the first holder.";

/// A table under its title. Nothing, if it has only a head.
fn section<const N: usize>(
    f: &mut fmt::Formatter<'_>,
    title: &str,
    rows: &[[String; N]],
) -> fmt::Result {
    if rows.len() > 1 { writeln!(f, "{title}\n\n{}", aligned(rows)) } else { Ok(()) }
}

pub(crate) fn seconds(took: Duration) -> String {
    format!("{:.2} s", took.as_secs_f64())
}

/// `1234567` as `1,234,567`.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Rows of cells as lines of columns.
pub(crate) fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let widths: [usize; N] = std::array::from_fn(|column| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)
    });
    rows.iter().fold(String::new(), |mut text, row| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        let _ = writeln!(text, "{}", line.trim_end());
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report_with(broken: Option<&'static str>, reached: &[&'static str], states: u64) -> Report {
        let run = |model, states| EngineRun {
            model,
            engine: "explorer",
            states,
            steps: 7,
            broken: broken.into_iter().collect(),
            reached: reached.to_vec(),
            took: Duration::from_secs(1),
        };
        let others = ModelName::ALL.into_iter().filter(|model| *model != ModelName::Gateway);
        let others = others.map(|model| run(model, Size::Small.pinned_states(model)));
        let ablations = ABLATIONS.map(|ablation| AblationRun {
            ablation,
            broken: match ablation.expected {
                Expected::Breaks(property) => Some(property),
                Expected::CoveredBy(_) => None,
            },
            exhaustive: true,
            states: 1,
            counterexample: Vec::new(),
            took: Duration::ZERO,
        });
        let kept =
            checks().filter(|(_, check)| check.is_progress()).map(|(_, check)| LivenessRun {
                property: check.property,
                states: 2,
                waiting: 1,
                counterexample: None,
                unneeded_fairness: None,
                took: Duration::ZERO,
            });
        Report {
            size: Size::Small,
            engines: std::iter::once(run(ModelName::Gateway, states)).chain(others).collect(),
            liveness: kept.collect(),
            original: Vec::new(),
            ablations: ablations.to_vec(),
            matrix: Vec::new(),
            gaps: Vec::new(),
            counterexamples: Vec::new(),
            only: Vec::new(),
            unfinished: Vec::new(),
            took: Duration::from_secs(1),
        }
    }

    fn every_reach() -> Vec<&'static str> {
        checks().filter(|(_, it)| it.is_reach()).map(|(_, it)| it.property).collect()
    }

    #[test]
    fn a_report_fails_for_each_of_its_reasons() {
        let pinned = Size::Small.pinned_states(ModelName::Gateway);
        assert!(report_with(None, &every_reach(), pinned).is_ok());
        assert!(
            !report_with(Some("shutdown_wins_inv"), &every_reach(), pinned).is_ok(),
            "falsified"
        );
        assert!(!report_with(None, &every_reach()[1..], pinned).is_ok(), "vacuous");
        assert!(!report_with(None, &every_reach(), pinned + 1).is_ok(), "another count");

        let mut disagree = report_with(None, &every_reach(), pinned);
        let other = EngineRun { engine: "other", steps: 8, ..disagree.engines[0].clone() };
        disagree.engines.push(other);
        assert!(!disagree.is_ok(), "two engines take different steps");

        let mut survived = report_with(None, &every_reach(), pinned);
        survived.ablations[0].broken = None;
        assert!(!survived.is_ok(), "a seeded fault survived");
        let with_promise = |change: fn(&mut LivenessRun)| {
            let mut report = report_with(None, &every_reach(), pinned);
            change(&mut report.liveness[0]);
            report
        };
        let broken = with_promise(|it| it.counterexample = Some(vec![String::new()]));
        assert!(!broken.is_ok(), "a promise is broken");
        assert!(!with_promise(|it| it.waiting = 0).is_ok(), "nothing waits for it");
        assert!(!with_promise(|it| it.unneeded_fairness = Some("x")).is_ok(), "not needed");
        let mut harmless = report_with(None, &every_reach(), pinned);
        harmless.original.push(OriginalRun {
            model: ModelName::Gateway,
            states: 1,
            broken: Vec::new(),
        });
        assert!(!harmless.is_ok(), "the original contract must break something");
        let mut unchecked = report_with(None, &every_reach(), pinned);
        unchecked.liveness.clear();
        assert!(!unchecked.is_ok(), "a promise that was not checked");
        let mut covered = report_with(None, &every_reach(), pinned);
        covered.ablations.retain(|run| run.ablation.off != [Guard::OneDoor]);
        assert!(!covered.is_ok(), "a guard that guards nothing");
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([0, 999, 1000, 1_938_130].map(thousands), ["0", "999", "1,000", "1,938,130"]);
    }
}
