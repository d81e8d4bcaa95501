//! Runs scenarios and worlds, and shortens a world in which a property breaks.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tidegate::faults::Fault;
use tidegate_world::log::Entry;
use tidegate_world::{self as machine, Counts, Director, Outcome, Policy, Tree, World};

use crate::monitors::{Finding, judge, names};
use crate::report::Report;
use crate::results::{BrokenProperty, Explored, Worlds};
use crate::schedules::{self, Scenario};
use crate::script::Script;
use crate::seeds::REGRESSION_SEEDS;
use crate::setting::Setting;
use crate::story::story;
use crate::world;

/// What is run, and how much.
#[derive(Clone, Debug)]
pub struct Options {
    /// The seed of the only world to run, and the steps that it leaves out.
    pub only: Option<(u64, Vec<usize>)>,
    /// The first new seed.
    pub from: u64,
    /// How long worlds are run.
    pub lasts: Duration,
    /// The largest number of schedules that one scenario runs.
    pub schedules_max: u64,
    /// The number of threads that run them.
    pub threads: usize,
}

fn judged(outcome: &Outcome, setting: Setting) -> Vec<Finding> {
    // A fault that is switched on in the world is off while it is judged.
    let mut found = tidegate::faults::with(&[], || judge(&outcome.log, setting));
    found.extend(outcome.broken.iter().map(|saw| {
        let at = outcome.log.len();
        Finding { property: names::GOES_ON, saw: saw.clone(), at }
    }));
    found
}

/// Runs the schedules of one scenario: first some that are drawn, then all of them. Those with the fewest preemptions
/// come first.
struct ScheduleDirector {
    scenario: Scenario,
    drawn_left: u64,
    tree: Tree,
    preemptions: u32,
    schedules: u64,
    schedules_max: u64,
    /// Whether the tree has been begun.
    is_begun: bool,
    /// Whether all of the tree has been run.
    is_all: bool,
    steps: u64,
    broken: Option<BrokenProperty>,
}

impl ScheduleDirector {
    fn policy(&mut self) -> Option<Policy> {
        if self.drawn_left > 0 {
            self.drawn_left -= 1;
            return Some(policy(self.drawn_left));
        }
        if std::mem::replace(&mut self.is_begun, true) && !self.tree.advance() {
            if self.preemptions == self.scenario.preemptions {
                self.is_all = true;
                return None;
            }
            self.preemptions += 1;
            self.tree = Tree::up_to(self.preemptions);
        }
        (self.schedules < self.schedules_max).then(|| Policy::Every(self.tree.clone()))
    }
}

impl Director for ScheduleDirector {
    fn next(&mut self) -> Option<World> {
        if self.broken.is_some() {
            return None;
        }
        let (policy, scenario) = (self.policy()?, self.scenario);
        self.schedules += 1;
        Some(World { policy, main: Box::new(move || scenario.play()) })
    }

    fn ended(&mut self, outcome: Outcome) {
        self.steps += outcome.steps;
        if let Some(finding) = judged(&outcome, self.scenario.setting()).into_iter().next() {
            let again =
                format!("schedule {} of the scenario: {}", self.schedules, self.scenario.name);
            let story = story(&outcome.log, &finding);
            self.broken = Some(BrokenProperty { finding, steps: self.steps, again, story });
        }
    }
}

/// The number of schedules of each scenario that are drawn.
const DRAWN: u64 = 500;

fn explore(scenario: Scenario, schedules_max: u64) -> Explored {
    let schedules = Rc::new(RefCell::new(ScheduleDirector {
        scenario,
        drawn_left: DRAWN.min(schedules_max),
        tree: Tree::up_to(0),
        preemptions: 0,
        schedules: 0,
        schedules_max,
        is_begun: false,
        is_all: false,
        steps: 0,
        broken: None,
    }));
    machine::run(&schedules);
    let run = schedules.borrow();
    Explored {
        scenario,
        schedules: run.schedules,
        is_all: run.is_all,
        steps: run.steps,
        broken: run.broken.clone(),
    }
}

/// The policy for the world of a seed. In some worlds, threads switch at almost every step, in others seldom.
fn policy(seed: u64) -> Policy {
    match seed % 4 {
        0 => Policy::Priorities { seed, changes: 3, steps: 4000 },
        1 => Policy::Random { seed, switch_every: 2 },
        2 => Policy::Random { seed, switch_every: 8 },
        _ => Policy::Random { seed, switch_every: 40 },
    }
}

/// Runs the scripts that `next` returns, and passes their outcomes to `ended`.
struct ScriptDirector<N, E> {
    next: N,
    ended: E,
    now: Option<(u64, Script)>,
}

impl<N, E> Director for ScriptDirector<N, E>
where
    N: FnMut() -> Option<(u64, Script)>,
    E: FnMut(u64, &Script, Outcome),
{
    fn next(&mut self) -> Option<World> {
        let (seed, script) = (self.next)()?;
        self.now = Some((seed, script.clone()));
        Some(World { policy: policy(seed), main: Box::new(move || world::play(&script)) })
    }

    fn ended(&mut self, outcome: Outcome) {
        if let Some((seed, script)) = self.now.take() {
            (self.ended)(seed, &script, outcome);
        }
    }
}

fn each<N, E>(next: N, ended: E)
where
    N: FnMut() -> Option<(u64, Script)> + 'static,
    E: FnMut(u64, &Script, Outcome) + 'static,
{
    machine::run(&Rc::new(RefCell::new(ScriptDirector { next, ended, now: None })));
}

/// Runs one world.
fn one(seed: u64, script: &Script) -> (Vec<Finding>, Vec<Entry>, u64, Counts) {
    let result = Rc::new(RefCell::new(None));
    let (mut left, kept) = (Some((seed, script.clone())), Rc::clone(&result));
    each(
        move || left.take(),
        move |_, script, outcome| {
            let found = judged(&outcome, script.setting());
            let Outcome { log, steps, faults, .. } = outcome;
            *kept.borrow_mut() = Some((found, log, steps, faults));
        },
    );
    result.take().unwrap_or_default()
}

/// Runs the world of this seed without these steps. Returns what broke, if anything, its steps and its faults.
fn broken_in(seed: u64, without: &[usize]) -> (Option<BrokenProperty>, u64, Counts) {
    let script = Script::of(seed).without(without);
    let (found, log, steps, faults) = one(seed, &script);
    let broken = found.into_iter().next().map(|finding| {
        let listed: Vec<String> = without.iter().map(ToString::to_string).collect();
        let left_out = if listed.is_empty() {
            String::new()
        } else {
            format!(" --without {}", listed.join(","))
        };
        let again = format!("cargo verify simulate --seed {seed}{left_out}");
        let story = story(&log, &finding);
        BrokenProperty { finding, steps, again, story }
    });
    (broken, steps, faults)
}

/// Leaves out each step that is not needed to break the same property.
fn shorten(seed: u64) -> (Vec<usize>, Option<BrokenProperty>) {
    let mut left_out = Vec::new();
    let (mut broken, ..) = broken_in(seed, &left_out);
    for step in (0..Script::of(seed).steps.len()).rev() {
        let mut tried = left_out.clone();
        tried.insert(0, step);
        let (shorter, ..) = broken_in(seed, &tried);
        let property = |it: &Option<BrokenProperty>| it.as_ref().map(|it| it.finding.property);
        if shorter.is_some() && property(&shorter) == property(&broken) {
            (left_out, broken) = (tried, shorter);
        }
    }
    (left_out, broken)
}

/// Runs worlds on this thread while there are seeds. Returns their sum, and the seeds that failed.
fn worlds(seeds: impl FnMut() -> Option<u64> + 'static) -> (Worlds, Vec<u64>) {
    let all = Rc::new(RefCell::new((Worlds::default(), Vec::new())));
    let (mut seeds, sum) = (seeds, Rc::clone(&all));
    let next = move || seeds().map(|seed| (seed, Script::of(seed)));
    each(next, move |seed, script, outcome| {
        let (worlds, failed) = &mut *sum.borrow_mut();
        if !judged(&outcome, script.setting()).is_empty() {
            failed.push(seed);
        }
        let Outcome { steps, faults, .. } = outcome;
        worlds.add(Worlds { worlds: 1, steps, faults, broken: Vec::new() });
    });
    all.take()
}

/// The number of failed worlds that are shortened and reported.
const TOLD_MAX: usize = 3;

/// Runs what the options select.
///
/// # Panics
///
/// If a monitor panics. That is a bug of the suite.
#[must_use]
pub fn simulate(options: &Options) -> Report {
    let began = Instant::now();
    if let Some((seed, without)) = &options.only {
        let (broken, steps, faults) = broken_in(*seed, without);
        let worlds = Worlds { worlds: 1, steps, faults, broken: broken.into_iter().collect() };
        return Report { from: *seed, scenarios: Vec::new(), worlds, took: began.elapsed() };
    }
    let next = Arc::new(AtomicU64::new(0));
    let results = Arc::new(Mutex::new((BTreeMap::new(), Worlds::default(), Vec::new())));
    let threads = (0..options.threads.max(1)).map(|_| {
        let (options, next, results) = (options.clone(), Arc::clone(&next), Arc::clone(&results));
        std::thread::spawn(move || share(&options, began, &next, &results))
    });
    for thread in threads.collect::<Vec<_>>() {
        thread.join().expect("no monitor panics");
    }
    let results = Arc::into_inner(results).expect("all threads have ended");
    let (scenarios, mut worlds, mut failed) = results.into_inner().expect("no thread panicked");
    failed.sort_unstable();
    let told = failed.into_iter().take(TOLD_MAX);
    worlds.broken.extend(told.filter_map(|seed| shorten(seed).1));
    let scenarios = scenarios.into_values().collect();
    Report { from: options.from, scenarios, worlds, took: began.elapsed() }
}

type Results = Mutex<(BTreeMap<usize, Explored>, Worlds, Vec<u64>)>;

/// One thread's share: scenarios while there are any, then the worlds that failed once, then new ones.
fn share(options: &Options, began: Instant, next: &Arc<AtomicU64>, results: &Results) {
    // Relaxed, here and below: the number alone decides which thread runs what.
    let take = |next: &AtomicU64| next.fetch_add(1, Ordering::Relaxed);
    let index = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let scenarios = schedules::ALL.len();
    let mut number = take(next);
    while let Some(scenario) = schedules::ALL.get(index(number)) {
        let run = explore(*scenario, options.schedules_max);
        results.lock().expect("no thread panics").0.insert(index(number), run);
        number = take(next);
    }
    let (mut taken, next) = (Some(number), Arc::clone(next));
    let (from, lasts) = (options.from, options.lasts);
    let (found, failed) = worlds(move || {
        let number = taken.take().unwrap_or_else(|| take(&next)) - scenarios as u64;
        match REGRESSION_SEEDS.get(index(number)) {
            Some(failed) => Some(failed.seed),
            None if began.elapsed() >= lasts => None,
            None => Some(from.wrapping_add(number - REGRESSION_SEEDS.len() as u64)),
        }
    });
    let mut all = results.lock().expect("no thread panics");
    all.1.add(found);
    all.2.extend(failed);
}

/// Runs with this fault of the shipped code switched on, until the property breaks. Returns the property's full name
/// and the number of steps. If the property does not break, returns the first other one that does, if any.
#[must_use]
pub fn kill(fault: Fault, property: &str, worlds_max: u64) -> Option<(String, u64)> {
    tidegate::faults::with(&[fault], || {
        let mut other = None;
        let mut steps = 0;
        // Drawn schedules of each scenario, then worlds, then more schedules.
        let scenarios = |schedules_max, other: &mut Option<_>, steps: &mut u64| {
            for scenario in schedules::ALL {
                let run = explore(scenario, schedules_max);
                *steps += run.steps;
                if let Some(broken) = run.broken {
                    let name = broken.finding.property.to_owned();
                    if name.ends_with(property) {
                        return Some((name, *steps));
                    }
                    other.get_or_insert((name, *steps));
                }
            }
            None
        };
        if let Some(found) = scenarios(DRAWN, &mut other, &mut steps) {
            return Some(found);
        }
        let state = Rc::new(RefCell::new((0, steps, None)));
        let (asked, seen, wanted) = (Rc::clone(&state), Rc::clone(&state), property.to_owned());
        let next = move || {
            let (seed, _, found) = &mut *asked.borrow_mut();
            *seed += 1;
            (found.is_none() && *seed <= worlds_max).then(|| (*seed - 1, Script::of(*seed - 1)))
        };
        each(next, move |_, script, outcome| {
            let (_, steps, found) = &mut *seen.borrow_mut();
            *steps += outcome.steps;
            let broken = judged(&outcome, script.setting());
            *found = broken
                .iter()
                .find(|it| it.property.ends_with(&wanted))
                .map(|it| (it.property.to_owned(), *steps));
        });
        let (_, mut steps, found) = state.take();
        found.or_else(|| scenarios(50_000, &mut other, &mut steps)).or(other)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaks(seed: u64) -> Option<Finding> {
        one(seed, &Script::of(seed)).0.into_iter().next()
    }

    /// The world of each seed is sound as the code ships. With its fault on, the seed still finds it.
    #[test]
    fn every_seed_that_failed_finds_its_fault() {
        for failed in REGRESSION_SEEDS {
            assert_eq!(breaks(failed.seed), None, "{failed:?}");
            let found = tidegate::faults::with(&[failed.found], || breaks(failed.seed));
            assert!(found.is_some(), "{failed:?}");
        }
    }

    #[test]
    fn the_same_seed_makes_the_same_steps() {
        for seed in 0..40 {
            let run = || {
                let (_, log, steps, faults) = one(seed, &Script::of(seed));
                (log.iter().map(|entry| format!("{entry:?}")).collect::<Vec<_>>(), steps, faults)
            };
            assert_eq!(run(), run(), "seed {seed}");
        }
    }

    #[test]
    fn scenarios_and_worlds_hold() {
        let report = simulate(&Options {
            only: None,
            from: 0,
            lasts: Duration::from_secs(1),
            schedules_max: 700,
            threads: 2,
        });
        assert!(report.is_ok(), "{report}");
        assert!(report.to_json()["steps"].as_u64() > Some(0));
    }

    /// A world that breaks a property is reported without the steps it does not need, and it replays.
    #[test]
    fn what_broke_is_shortened_and_replays() {
        tidegate::faults::with(&[Fault::CloseAdmitsUsers], || {
            let seed = (0..1000).find(|seed| breaks(*seed).is_some()).expect("some seed");
            let (without, broken) = shorten(seed);
            let broken = broken.expect("it breaks");
            assert!(!without.is_empty() && broken.again.contains("--without"), "{broken:?}");
            let again = one(seed, &Script::of(seed).without(&without)).0;
            assert_eq!(again.first().map(|it| it.property), Some(broken.finding.property));
        });
    }

    /// A schedule of threads that loses a wake-up is found in each scenario that is about one.
    #[test]
    fn a_lost_wake_up_is_found() {
        for fault in [Fault::NoSecondLook, Fault::UnparksBeforeRinging, Fault::RingsBeforeLeaving] {
            let found = kill(fault, "drains", 0);
            assert!(found.is_some_and(|(property, _)| property.ends_with("drains")), "{fault}");
        }
    }

    /// A request that is acknowledged and lost with the power is found, whatever a person writes right after.
    #[test]
    fn a_request_that_is_not_synced_is_found() {
        for fault in [Fault::FileNotSynced, Fault::DirectoryNotSynced] {
            let found = kill(fault, "no_torn_request", 2000);
            assert!(found.is_some_and(|(name, _)| name.ends_with("no_torn_request")), "{fault}");
        }
    }
}
