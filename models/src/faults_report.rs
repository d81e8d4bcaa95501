//! `cargo verify faults`: switches on each fault of the shipped code, one at a time, and searches for the property
//! that must break. Only the checking build can.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::catalogue::{Check, ModelName, entry_of};
use crate::design::Design;
use crate::explorer::{Until, explore};
use crate::faults;
use crate::liveness::Graph;
use crate::registry::{Configuration, ModelVisitor, Size, VerifiedModel, visit};
use crate::report::{aligned, seconds};
use crate::seeded::{ExpectedOutcome, SEEDED_FAULTS, SeededFault};
use crate::suite::Options;

/// The result for one fault.
#[derive(Clone, Debug)]
struct FaultRun {
    seeded: SeededFault,
    /// The property that broke, where it broke, and after how many steps.
    broken: Option<(String, String, u64)>,
    took: Duration,
}

/// The results for all faults. `Display` is the table that `cargo verify faults` prints.
#[derive(Clone, Debug)]
pub struct FaultReport {
    runs: Vec<FaultRun>,
}

impl FaultRun {
    fn is_as_expected(&self) -> bool {
        match self.seeded.fate {
            ExpectedOutcome::Killed(property) => {
                self.broken.as_ref().is_some_and(|it| it.0 == property)
            }
            ExpectedOutcome::Simulated(property) => {
                self.broken.as_ref().is_some_and(|it| it.0.ends_with(property))
            }
            ExpectedOutcome::Covered(_) => self.broken.is_none(),
        }
    }

    fn row(&self) -> [String; 7] {
        let SeededFault { fault, fate } = self.seeded;
        let broken = self.broken.clone();
        let (result, place_of_death, steps) = match (self.is_as_expected(), broken, fate) {
            (true, Some((property, place, steps)), _) => {
                let id = entry_of(&property).map_or("", |(entry, _)| entry.id);
                let name = format!("{id} {property}");
                (format!("killed by {}", name.trim_start()), place, steps.to_string())
            }
            (true, None, ExpectedOutcome::Covered(by)) => {
                (format!("covered by {by}"), String::new(), String::new())
            }
            (_, Some((property, place, steps)), _) => {
                (format!("SURVIVED, but {property} breaks"), place, steps.to_string())
            }
            (_, None, _) => ("SURVIVED".to_owned(), String::new(), String::new()),
        };
        let (place, rule) = faults::description(fault);
        [fault.to_owned(), place, rule, result, place_of_death, steps, seconds(self.took)]
    }
}

impl FaultReport {
    /// Whether each fault is killed or covered, as it must be.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        !self.runs.is_empty() && self.runs.iter().all(FaultRun::is_as_expected)
    }
}

impl std::fmt::Display for FaultReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let head =
            ["fault", "in", "what the code does then", "result", "found in", "steps", "time"];
        let rows =
            std::iter::once(head.map(str::to_owned)).chain(self.runs.iter().map(FaultRun::row));
        f.write_str(&aligned(&rows.collect::<Vec<_>>()))?;
        let killed =
            self.runs.iter().filter(|it| it.broken.is_some() && it.is_as_expected()).count();
        let covered =
            self.runs.iter().filter(|it| it.broken.is_none() && it.is_as_expected()).count();
        let all = self.runs.len();
        let survived = all - killed - covered;
        writeln!(f, "\n{all} faults: {killed} killed, {covered} covered, {survived} survived")
    }
}

/// Searches one model for a property that breaks.
#[derive(Clone, Copy)]
enum FindBroken {
    /// Only this check.
    For(Check),
    /// Any safety property; the one with the fewest steps.
    Safety,
    /// Any liveness property.
    Progress,
}

impl ModelVisitor for FindBroken {
    type Out = Option<(&'static str, u64)>;

    fn visit<M: VerifiedModel>(self, model: M) -> Self::Out {
        let failures = |until| {
            let found = explore(&model, until, |states| states < STATES_MAX).findings;
            let failures = found.into_iter().filter(|it| it.is_failure);
            failures.map(|it| (it.property, it.depth))
        };
        let lasso = |is_wanted: &dyn Fn(&str) -> bool| {
            let graph = Graph::of(&model, GRAPH_MAX)?;
            let mut wanted =
                model.liveness_properties().into_iter().filter(|it| is_wanted(it.name));
            wanted.find_map(|promise| {
                let lasso = graph.check(&model, &promise).broken?;
                Some((promise.name, (lasso.stem.len() + lasso.cycle.len()) as u64))
            })
        };
        match self {
            FindBroken::For(check) if check.is_progress() => lasso(&|name| name == check.property),
            FindBroken::For(check) => {
                failures(Until::Found(check.property)).find(|it| it.0 == check.property)
            }
            FindBroken::Safety => failures(Until::Exhausted).min_by_key(|it| it.1),
            FindBroken::Progress => lasso(&|_| true),
        }
    }
}

/// A fault that is not found among this many states has survived.
const STATES_MAX: u64 = 20_000_000;
/// A larger graph is not searched.
const GRAPH_MAX: usize = 5_000_000;

fn run(seeded: SeededFault, simulation: &Simulation<'_>) -> FaultRun {
    let began = Instant::now();
    if let ExpectedOutcome::Simulated(property) = seeded.fate {
        let broken = simulation(seeded.fault, property);
        let broken = broken.map(|(property, steps)| (property, "simulation".to_owned(), steps));
        return FaultRun { seeded, broken, took: began.elapsed() };
    }
    let search =
        |model, within, search: FindBroken| visit(model, within, Design::tidegate(), search);
    let expected = |check: Check| {
        let within = |within| search(check.model, within, FindBroken::For(check));
        if check.is_progress() {
            return within(Configuration::Liveness);
        }
        // If the small configuration is too small to find it, the full one must.
        let sizes = [Size::Small, Size::Full].into_iter();
        sizes.map(Configuration::Of).find_map(within)
    };
    let anything = |model| {
        let safety = || search(model, Configuration::Of(Size::Small), FindBroken::Safety);
        safety().or_else(|| search(model, Configuration::Liveness, FindBroken::Progress))
    };
    let broken = faults::with_fault(seeded.fault, || {
        let check = match seeded.fate {
            ExpectedOutcome::Killed(property) => entry_of(property).map(|(_, check)| check),
            ExpectedOutcome::Simulated(_) | ExpectedOutcome::Covered(_) => None,
        };
        let found = check.and_then(|it| Some((it.model, expected(it)?)));
        // Otherwise the report says what else breaks, if anything does.
        let found = found.or_else(|| {
            ModelName::ALL.into_iter().rev().find_map(|model| Some((model, anything(model)?)))
        });
        found.map(|(model, (property, steps))| (property.to_owned(), model.to_string(), steps))
    });
    FaultRun { seeded, broken, took: began.elapsed() }
}

/// Runs the simulation with the fault of this name, until this property breaks. Returns the property that broke, and
/// after how many steps.
pub type Simulation<'a> = dyn Fn(&str, &str) -> Option<(String, u64)> + Sync + 'a;

/// Switches on each fault, one at a time. `None` in a build that has no switches.
///
/// # Panics
///
/// If a search panics. That is a bug of the suite.
#[must_use]
pub fn verify_faults(options: &Options<'_>, simulation: &Simulation<'_>) -> Option<FaultReport> {
    faults::HAS_SWITCHES.then_some(())?;
    let named = |it: &&SeededFault| {
        options.only.is_empty() || options.only.iter().any(|name| name == it.fault)
    };
    let all: Vec<SeededFault> = SEEDED_FAULTS.iter().filter(named).copied().collect();
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..options.threads.max(1) {
            scope.spawn(|| {
                // Relaxed: the number alone says which thread runs which fault.
                while let Some((number, seeded)) = {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    all.get(number).map(|it| (number, *it))
                } {
                    if (options.interrupted)() {
                        break;
                    }
                    let result = run(seeded, simulation);
                    done.lock().expect("no search panics while it reports").push((number, result));
                }
            });
        }
    });
    let mut done = done.into_inner().expect("no search panics while it reports");
    done.sort_by_key(|(number, _)| *number);
    Some(FaultReport { runs: done.into_iter().map(|(_, run)| run).collect() })
}
