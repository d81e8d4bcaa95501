//! What is run, what is expected of it, and how it is told. The suite has no opinion about gateways:
//! models bring the properties, [`ABLATIONS`] the expectations.

use std::fmt::{self, Write as _};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use stateright::{Checker, Model};

use crate::catalogue::{CATALOGUE, entry_of};
use crate::design::{Design, Guard};
use crate::explorer::{Exploration, Finding, Until, explore};
use crate::gateway::GatewayModel;

/// How much is explored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// Seconds, for a unit test.
    Small,
    /// The published counts.
    Full,
}

impl Size {
    const fn model(self) -> GatewayModel {
        match self {
            Size::Small => GatewayModel::small(Design::tidegate()),
            Size::Full => GatewayModel::full(Design::tidegate()),
        }
    }

    /// The exact number of distinct states: pinned, so that a change of the code that adds or removes
    /// behaviour shows as a changed number in a review.
    const fn pinned_states(self) -> u64 {
        match self {
            Size::Small => 484_520,
            Size::Full => 1_797_330,
        }
    }
}

/// What must come of switching guards off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// This property of the model breaks.
    Breaks(&'static str),
    /// Nothing breaks, because this other guard covers for it; the two together are listed too.
    CoveredBy(Guard),
}

/// A seeded fault, and what must come of it.
#[derive(Clone, Copy, Debug)]
pub struct Ablation {
    /// The guards switched off.
    pub off: &'static [Guard],
    /// What must come of it.
    pub expected: Expected,
    /// What it brings back, by its number in the project's list of incidents.
    pub incidents: &'static str,
}

/// Every guard, in a failing set of size one or two.
pub const ABLATIONS: [Ablation; 11] = [
    Ablation {
        off: &[Guard::AtomicAdmission],
        expected: Expected::Breaks("no_new_turn_while_draining_step"),
        incidents: "I-54, U19",
    },
    Ablation {
        off: &[Guard::TransitionLock],
        expected: Expected::Breaks("no_new_turn_while_draining_step"),
        incidents: "I-48",
    },
    Ablation {
        off: &[Guard::TransitionLock],
        expected: Expected::Breaks("ack_means_closed_inv"),
        incidents: "I-41, I-53",
    },
    Ablation {
        off: &[Guard::StickyShutdown],
        expected: Expected::CoveredBy(Guard::TransitionLock),
        incidents: "",
    },
    Ablation {
        off: &[Guard::StickyShutdown, Guard::TransitionLock],
        expected: Expected::Breaks("shutdown_wins_inv"),
        incidents: "U29",
    },
    Ablation {
        off: &[Guard::ObservationOrder],
        expected: Expected::Breaks("no_new_turn_while_draining_step"),
        incidents: "U5",
    },
    Ablation {
        off: &[Guard::ReadErrorPolicy],
        expected: Expected::Breaks("no_new_turn_while_draining_step"),
        incidents: "U3",
    },
    Ablation {
        off: &[Guard::ReconcileBeforeAdmit],
        expected: Expected::Breaks("no_new_turn_while_draining_step"),
        incidents: "U2, U35",
    },
    Ablation {
        off: &[Guard::SingleStatusWriter],
        expected: Expected::Breaks("shutdown_wins_inv"),
        incidents: "U16",
    },
    Ablation {
        off: &[Guard::CountedClasses],
        expected: Expected::Breaks("bypass_is_bounded_inv"),
        incidents: "I-3, I-4, I-5",
    },
    Ablation {
        off: &[Guard::OneDoor],
        expected: Expected::Breaks("bypass_is_bounded_inv"),
        incidents: "I-23, I-26",
    },
];

/// A seeded fault that is not found among this many states has survived: without a guard there may be
/// no end of states.
const ABLATION_MAX: u64 = 20_000_000;

/// What is run, and who is told how it goes.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// How much is explored.
    pub size: Size,
    /// How many jobs run at once.
    pub threads: usize,
    /// Told of each job's beginning, progress and end.
    pub progress: &'a (dyn Fn(&str, Progress) + Sync),
}

/// How a job is going.
#[derive(Clone, Copy, Debug)]
pub enum Progress {
    /// It has begun.
    Begun,
    /// So many states have been seen.
    At(u64),
    /// It took so long.
    Ended(Duration),
}

impl Default for Options<'_> {
    /// The small size, on every core, telling nobody.
    fn default() -> Options<'static> {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Options { size: Size::Small, threads, progress: &|_, _| {} }
    }
}

/// One engine's account of the design that ships.
#[derive(Clone, Debug)]
pub struct EngineRun {
    /// Which engine.
    pub engine: &'static str,
    /// Distinct states.
    pub states: u64,
    /// The properties it found broken.
    pub broken: Vec<&'static str>,
    /// The properties it found reachable.
    pub reached: Vec<&'static str>,
    /// How long it took.
    pub took: Duration,
}

/// What came of switching guards off.
#[derive(Clone, Debug)]
pub struct AblationRun {
    /// What was run.
    pub ablation: Ablation,
    /// The property that was to break, if it did; where none was to, the first that did.
    pub broken: Option<&'static str>,
    /// Whether everything was explored.
    pub exhaustive: bool,
    /// Distinct states seen.
    pub states: u64,
    /// The shortest way there, a line a step.
    pub story: Vec<String>,
    /// How long it took.
    pub took: Duration,
}

impl AblationRun {
    /// Whether what was expected came of it.
    #[must_use]
    pub fn is_as_expected(&self) -> bool {
        match self.ablation.expected {
            Expected::Breaks(property) => self.broken == Some(property),
            Expected::CoveredBy(_) => self.broken.is_none() && self.exhaustive,
        }
    }
}

/// Everything that was found. `Display` is the table that `cargo verify` prints.
#[derive(Clone, Debug)]
pub struct Report {
    /// How much was explored.
    pub size: Size,
    /// The design that ships, by each engine.
    pub engines: Vec<EngineRun>,
    /// Each fault that was seeded.
    pub ablations: Vec<AblationRun>,
    /// A counterexample to the design that ships, should there be one: a line a step.
    pub counterexamples: Vec<(&'static str, Vec<String>)>,
    /// How long it all took.
    pub took: Duration,
}

impl Report {
    /// Everything that is not as it must be, a line each; empty when all is well.
    #[must_use]
    pub fn failures(&self) -> Vec<String> {
        let mut failures = Vec::new();
        for run in &self.engines {
            let engine = run.engine;
            for entry in &CATALOGUE {
                let (must_hold, must_be_reached) = (entry.checked_as[0], &entry.checked_as[1..]);
                if run.broken.contains(&must_hold) {
                    failures.push(format!("{} {} is falsified ({engine})", entry.id, entry.name));
                }
                for reach in must_be_reached.iter().filter(|reach| !run.reached.contains(reach)) {
                    failures.push(format!(
                        "{reach} is never reached, so {} shows nothing ({engine})",
                        entry.id
                    ));
                }
            }
            if run.states != self.size.pinned_states() {
                failures.push(format!(
                    "{engine} counts {} distinct states, and {} are pinned: if the change is meant, pin the new count",
                    run.states,
                    self.size.pinned_states()
                ));
            }
        }
        for run in self.ablations.iter().filter(|run| !run.is_as_expected()) {
            let (off, expected) = (names(run.ablation.off), run.ablation.expected);
            failures.push(format!("without {off}: expected {expected:?}, found {:?}", run.broken));
        }
        failures.extend(self.guards_without_need());
        failures
    }

    /// Whether everything is as it must be.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.failures().is_empty()
    }

    fn guards_without_need(&self) -> impl Iterator<Item = String> {
        let breaking = || self.ablations.iter().filter(|run| run.broken.is_some());
        let idle_guards = Guard::ALL
            .into_iter()
            .filter(move |guard| !breaking().any(|run| run.ablation.off.contains(guard)))
            .map(|guard| format!("nothing breaks without {guard}: it guards nothing"));
        let unbroken = CATALOGUE
            .iter()
            .filter(move |entry| !breaking().any(|run| run.broken == Some(entry.checked_as[0])))
            .map(|entry| {
                format!("no seeded fault breaks {} {}: it may catch nothing", entry.id, entry.name)
            });
        idle_guards.chain(unbroken)
    }
}

fn names(guards: &[Guard]) -> String {
    guards.iter().map(Guard::to_string).collect::<Vec<_>>().join(" + ")
}

/// A job's result.
enum Done {
    Engine(EngineRun, Vec<(&'static str, Vec<String>)>),
    Ablation(AblationRun),
}

#[derive(Clone, Copy)]
enum Job {
    Stateright,
    Explorer,
    Ablation(Ablation),
}

impl Job {
    fn name(self) -> String {
        match self {
            Job::Stateright => "tidegate, by stateright".to_owned(),
            Job::Explorer => "tidegate, by the explorer".to_owned(),
            Job::Ablation(ablation) => format!("without {}", names(ablation.off)),
        }
    }

    fn run(self, options: &Options<'_>) -> Done {
        let name = self.name();
        let began = Instant::now();
        (options.progress)(&name, Progress::Begun);
        let at = |states| {
            (options.progress)(&name, Progress::At(states));
            true
        };
        let model = options.size.model();
        let done = match self {
            Job::Stateright => Done::Engine(by_stateright(model, began), Vec::new()),
            Job::Explorer => {
                let found = explore(&model, Until::Exhausted, at);
                let stories =
                    failures_of(&found).map(|found| (found.property, story(found))).collect();
                Done::Engine(account_of(&found, began), stories)
            }
            Job::Ablation(ablation) => {
                let model = GatewayModel::small(Design::tidegate().without(ablation.off));
                let until = match ablation.expected {
                    Expected::Breaks(property) => Until::Broken(property),
                    Expected::CoveredBy(_) => Until::Exhausted,
                };
                let found = explore(&model, until, |states| at(states) && states < ABLATION_MAX);
                let broken = match ablation.expected {
                    Expected::Breaks(property) => found.finding(property),
                    Expected::CoveredBy(_) => failures_of(&found).next(),
                };
                Done::Ablation(AblationRun {
                    ablation,
                    broken: broken.map(|broken| broken.property),
                    exhaustive: found.exhaustive,
                    states: found.states,
                    story: broken.map(story).unwrap_or_default(),
                    took: began.elapsed(),
                })
            }
        };
        (options.progress)(&name, Progress::Ended(began.elapsed()));
        done
    }
}

fn by_stateright(model: GatewayModel, began: Instant) -> EngineRun {
    let checker = model.checker().threads(1).spawn_bfs().join();
    let found: Vec<_> = checker.discoveries().into_keys().collect();
    let (broken, reached) = found.into_iter().partition(|name| !name.ends_with("_reach"));
    let states = checker.unique_state_count() as u64;
    EngineRun { engine: "stateright", states, broken, reached, took: began.elapsed() }
}

fn account_of(found: &Exploration<GatewayModel>, began: Instant) -> EngineRun {
    let names = |failures| {
        found
            .findings
            .iter()
            .filter(move |it| it.is_failure == failures)
            .map(|it| it.property)
            .collect()
    };
    EngineRun {
        engine: "explorer",
        states: found.states,
        broken: names(true),
        reached: names(false),
        took: began.elapsed(),
    }
}

fn failures_of(found: &Exploration<GatewayModel>) -> impl Iterator<Item = &Finding<GatewayModel>> {
    found.findings.iter().filter(|finding| finding.is_failure)
}

fn story(finding: &Finding<GatewayModel>) -> Vec<String> {
    finding
        .steps
        .iter()
        .map(|(action, state)| format!("{action:<58} [{state}]", action = action.to_string()))
        .collect()
}

/// Checks the design that ships with both engines, and that each seeded fault is found.
///
/// Call it from a test of your own to have the properties checked against the version of tidegate that
/// you build with:
///
/// ```no_run
/// let report = tidegate_models::verify(&tidegate_models::Options::default());
/// assert!(report.is_ok(), "{report}");
/// ```
///
/// # Panics
///
/// When a job panics: a bug of the suite, or of the shipped functions it calls.
#[must_use]
pub fn verify(options: &Options<'_>) -> Report {
    let began = Instant::now();
    let mut jobs = vec![Job::Stateright, Job::Explorer];
    jobs.extend(ABLATIONS.map(Job::Ablation));
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, Done)>> = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..options.threads.max(1) {
            scope.spawn(|| {
                // Relaxed: the number alone says which job is whose.
                while let Some((number, job)) = {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    jobs.get(number).map(|job| (number, *job))
                } {
                    let result = job.run(options);
                    done.lock().expect("no job panics while it reports").push((number, result));
                }
            });
        }
    });
    let mut done = done.into_inner().expect("no job panics while it reports");
    done.sort_by_key(|(number, _)| *number);
    let mut report = Report {
        size: options.size,
        engines: Vec::new(),
        ablations: Vec::new(),
        counterexamples: Vec::new(),
        took: began.elapsed(),
    };
    for (_, result) in done {
        match result {
            Done::Engine(run, stories) => {
                report.engines.push(run);
                report.counterexamples.extend(stories);
            }
            Done::Ablation(run) => report.ablations.push(run),
        }
    }
    report
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let model = self.size.model();
        writeln!(
            f,
            "gateway model: {} begins, {} restart, {} user turns, an internal turn, a child, 2 watchers; exhaustive\n",
            model.begins, model.restarts, model.users
        )?;
        let mut rows = vec![["property", "checked as", "verdict"].map(str::to_owned)];
        for entry in &CATALOGUE {
            let broken = self.engines.iter().any(|run| run.broken.contains(&entry.checked_as[0]));
            let reaches = &entry.checked_as[1..];
            let vacuous =
                self.engines.iter().any(|run| reaches.iter().any(|it| !run.reached.contains(it)));
            let verdict = if broken {
                "FALSIFIED"
            } else if vacuous {
                "VACUOUS"
            } else {
                "holds"
            };
            let name = format!("{} {}", entry.id, entry.name);
            rows.push([name, entry.checked_as.join(", "), verdict.to_owned()]);
        }
        f.write_str(&aligned(&rows))?;

        let mut rows = vec![["engine", "distinct states", "states/s", "time"].map(str::to_owned)];
        for run in &self.engines {
            #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
            let rate = run.states as f64 / run.took.as_secs_f64();
            rows.push([
                run.engine.to_owned(),
                thousands(run.states),
                format!("{:.0} k", rate / 1000.0),
                seconds(run.took),
            ]);
        }
        write!(f, "\n{}", aligned(&rows))?;

        let mut rows = vec![
            ["switched off", "must break", "found", "steps", "states", "time", "incidents"]
                .map(str::to_owned),
        ];
        for run in &self.ablations {
            let id = |property| entry_of(property).map_or(property, |entry| entry.id).to_owned();
            let expected = match run.ablation.expected {
                Expected::Breaks(property) => id(property),
                Expected::CoveredBy(guard) => format!("nothing: {guard} covers"),
            };
            let found = match (run.is_as_expected(), run.broken) {
                (true, Some(_)) => "killed".to_owned(),
                (true, None) => "covered".to_owned(),
                (false, Some(other)) => format!("BROKE {}", id(other)),
                (false, None) => "SURVIVED".to_owned(),
            };
            let steps =
                if run.story.is_empty() { "-".to_owned() } else { run.story.len().to_string() };
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
        write!(f, "\n{}", aligned(&rows))?;

        let stories = self.ablations.iter().filter_map(|run| {
            let title = format!("without {}: {} breaks", names(run.ablation.off), run.broken?);
            Some((title, &run.story))
        });
        let falsified = self
            .counterexamples
            .iter()
            .map(|(property, story)| (format!("FALSIFIED: {property}"), story));
        for (title, story) in stories.chain(falsified) {
            writeln!(f, "\n{title}")?;
            for (number, step) in story.iter().enumerate() {
                writeln!(f, "  {:>2}. {step}", number + 1)?;
            }
        }

        let failures = self.failures();
        let broke = self
            .ablations
            .iter()
            .filter(|run| run.broken.is_some() && run.is_as_expected())
            .count();
        writeln!(
            f,
            "\n{} of {} properties hold; {broke} seeded faults killed; {} s",
            CATALOGUE
                .iter()
                .filter(|entry| !failures.iter().any(|line| line.contains(entry.id)))
                .count(),
            CATALOGUE.len(),
            self.took.as_secs_f32().round()
        )?;
        for failure in failures {
            writeln!(f, "FAILED: {failure}")?;
        }
        Ok(())
    }
}

fn seconds(took: Duration) -> String {
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
fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
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
        let run = EngineRun {
            engine: "explorer",
            states,
            broken: broken.into_iter().collect(),
            reached: reached.to_vec(),
            took: Duration::from_secs(1),
        };
        let ablations = ABLATIONS.map(|ablation| AblationRun {
            ablation,
            broken: match ablation.expected {
                Expected::Breaks(property) => Some(property),
                Expected::CoveredBy(_) => None,
            },
            exhaustive: true,
            states: 1,
            story: Vec::new(),
            took: Duration::ZERO,
        });
        Report {
            size: Size::Small,
            engines: vec![run],
            ablations: ablations.to_vec(),
            counterexamples: Vec::new(),
            took: Duration::from_secs(1),
        }
    }

    fn every_reach() -> Vec<&'static str> {
        CATALOGUE.iter().flat_map(|entry| &entry.checked_as[1..]).copied().collect()
    }

    #[test]
    fn a_report_fails_for_each_of_its_reasons() {
        let pinned = Size::Small.pinned_states();
        assert!(report_with(None, &every_reach(), pinned).is_ok());
        assert!(
            !report_with(Some("shutdown_wins_inv"), &every_reach(), pinned).is_ok(),
            "falsified"
        );
        assert!(!report_with(None, &every_reach()[1..], pinned).is_ok(), "vacuous");
        assert!(!report_with(None, &every_reach(), pinned + 1).is_ok(), "another count");

        let mut survived = report_with(None, &every_reach(), pinned);
        survived.ablations[0].broken = None;
        assert!(!survived.is_ok(), "a seeded fault survived");
        let mut covered = report_with(None, &every_reach(), pinned);
        covered.ablations.retain(|run| run.ablation.off != [Guard::OneDoor]);
        assert!(!covered.is_ok(), "a guard that guards nothing");
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([0, 999, 1000, 1_938_130].map(thousands), ["0", "999", "1,000", "1,938,130"]);
    }
}
