//! Runs the models. The suite knows nothing about gateways: the models have the properties, and [`ABLATIONS`]
//! says what must break. `report` judges the results.

use std::fmt::Display;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use stateright::{Checker, Model};

use crate::ablations::{ABLATIONS, Ablation, Expected};
use crate::browse::{ServeError, show};
use crate::catalogue::{CATALOGUE, Check, ModelName, entry_of};
use crate::design::{Design, Guard};
use crate::explorer::{Exploration, Finding, Until, explore};
use crate::faults;
use crate::liveness::{Graph, Lasso, LivenessResult};
use crate::matrix::{FindAllBroken, MatrixRow, states_max};
use crate::registry::{Configuration, ModelVisitor, Size, VerifiedModel, guards_of, visit};
use crate::report::{
    AblationRun, ENGINE_COLUMNS, EngineRun, LivenessRun, OriginalRun, Report, aligned, names,
};
use crate::status::StatusModel;

/// A seeded fault that is not found among this many states has survived. Without a guard, a model may have
/// infinitely many.
const ABLATION_MAX: u64 = 20_000_000;

/// What is run, and what is called to report progress.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// How much is explored.
    pub size: Size,
    /// How many jobs run at once.
    pub threads: usize,
    /// Runs only what has one of these names: the id or name of a property, a model, a guard, or the code of
    /// an incident. If there are none, everything is run.
    pub only: &'a [String],
    /// Called at the beginning, during and at the end of each job, with the job's name.
    pub progress: &'a (dyn Fn(&str, Progress) + Sync),
    /// Called now and then. When it returns `true`, all jobs stop. The report names the jobs that did not finish.
    pub interrupted: &'a (dyn Fn() -> bool + Sync),
}

/// The progress of a job.
#[derive(Clone, Copy, Debug)]
pub enum Progress {
    /// It has begun.
    Begun,
    /// This many states have been seen.
    At(u64),
    /// It has ended, and took this long.
    Ended(Duration),
}

impl Default for Options<'_> {
    /// The small size, on every core, without progress reports.
    fn default() -> Options<'static> {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Options {
            size: Size::Small,
            threads,
            only: &[],
            progress: &|_, _| {},
            interrupted: &|| false,
        }
    }
}

/// A job's result.
enum JobResult {
    Engine(EngineRun, Vec<(&'static str, Vec<String>)>),
    Liveness(Vec<LivenessRun>),
    Original(OriginalRun),
    Ablation(AblationRun),
    Matrix(MatrixRow),
    Gap(&'static str, Vec<String>),
}

#[derive(Clone, Copy)]
enum Job {
    Stateright(ModelName),
    Explorer(ModelName),
    Liveness(ModelName),
    Original(ModelName),
    Ablation(Ablation),
    Matrix(ModelName, Guard),
    Gap(Check),
}

impl Job {
    fn name(self) -> String {
        match self {
            Job::Stateright(model) => format!("{model} model, by stateright"),
            Job::Explorer(model) => format!("{model} model, by the explorer"),
            Job::Liveness(model) => format!("{model} model, liveness"),
            Job::Original(model) => format!("{model} model, original contract"),
            // Several faults switch off the same guard. Each has its own name, because progress is kept by name.
            Job::Ablation(ablation) => {
                let off = names(ablation.off);
                match ablation.check() {
                    Some(check) => {
                        format!("seeded fault, without {off}, against {}", check.property)
                    }
                    None => format!("seeded fault, without {off}"),
                }
            }
            Job::Matrix(model, guard) => {
                format!("{model} model, everything that breaks without {guard}")
            }
            Job::Gap(check) => format!("{} model, shortest way to {}", check.model, check.property),
        }
    }

    /// Whether one of these names selects it.
    fn is_named(self, only: &[String]) -> bool {
        let (model, properties, ablation) = match self {
            Job::Stateright(model) | Job::Explorer(model) => {
                (model, ids_of(|check| check.model == model && !check.is_progress()), None)
            }
            Job::Liveness(model) => {
                (model, ids_of(|check| check.model == model && check.is_progress()), None)
            }
            Job::Original(model) => (model, Vec::new(), None),
            Job::Gap(gap) => (gap.model, ids_of(|check| check == gap), None),
            Job::Matrix(model, guard) => {
                return only.is_empty()
                    || only.iter().any(|it| it == model.as_str() || *it == guard.to_string());
            }
            Job::Ablation(ablation) => {
                let broken = ablation.check();
                let ids = ids_of(|check| Some(check) == broken);
                (ablation.model(), ids, Some(ablation))
            }
        };
        let names_ablation = |name: &str, ablation: Ablation| {
            ablation.off.iter().any(|guard| guard.to_string() == name)
                || ablation.incidents.split(", ").any(|it| it.eq_ignore_ascii_case(name))
        };
        only.is_empty()
            || only.iter().any(|name| {
                model.as_str() == name
                    || properties.iter().any(|it| it.eq_ignore_ascii_case(name))
                    || ablation.is_some_and(|ablation| names_ablation(name, ablation))
            })
    }

    /// Whether this build can switch off the job's guards. Only the checking build can switch off those inside the
    /// shipped code.
    fn can_be_run(self) -> bool {
        let off: &[Guard] = match &self {
            Job::Ablation(ablation) => ablation.off,
            Job::Matrix(_, guard) => std::slice::from_ref(guard),
            _ => &[],
        };
        faults::HAS_SWITCHES || !off.iter().any(|guard| guard.is_in_shipped_code())
    }

    /// Runs the job. `None` if it was interrupted.
    fn run(self, options: &Options<'_>) -> Option<JobResult> {
        let name = self.name();
        let began = Instant::now();
        (options.progress)(&name, Progress::Begun);
        let at = |states| {
            (options.progress)(&name, Progress::At(states));
            !(options.interrupted)()
        };
        let (explored, ships) = (Configuration::Of(options.size), Design::tidegate());
        let done = match self {
            Job::Stateright(model) => visit(model, explored, ships, ByStateright(model, at)),
            Job::Explorer(model) => visit(model, explored, ships, ByExplorer(model, at)),
            Job::Liveness(model) => visit(model, Configuration::Liveness, ships, CheckLiveness),
            Job::Original(model) => {
                let small = Configuration::Of(Size::Small);
                let off = Design::original().off();
                let original = || visit(model, small, Design::original(), Original(model, at));
                faults::without(&off, original)
            }
            Job::Matrix(model, guard) => faults::without(&[guard], || {
                let design = ships.without(&[guard]);
                let safety = FindAllBroken::Safety(states_max(options.size), at);
                let mut broken = visit(model, explored, design, safety);
                if has_liveness_properties(model) {
                    let promises: FindAllBroken<fn(u64) -> bool> = FindAllBroken::Liveness;
                    broken.extend(visit(model, Configuration::Liveness, design, promises));
                }
                JobResult::Matrix(MatrixRow { guard, model, broken })
            }),
            // The small configuration keeps identities apart.
            Job::Gap(gap) => {
                visit(gap.model, Configuration::Of(Size::Small), ships, Gap(gap.property, at))
            }
            Job::Ablation(ablation) => faults::without(ablation.off, || {
                let (model, design) = (ablation.model(), ships.without(ablation.off));
                if ablation.breaks_liveness() {
                    return visit(model, Configuration::Liveness, design, AblateLiveness(ablation));
                }
                // If the small configuration is too small to find it, the full one must.
                let run = |size| {
                    visit(model, Configuration::Of(size), design, AblateSafety(ablation, at))
                };
                let found = Some(run(Size::Small)).filter(AblationRun::is_as_expected);
                JobResult::Ablation(found.unwrap_or_else(|| run(Size::Full)))
            }),
        };
        (options.progress)(&name, Progress::Ended(began.elapsed()));
        // A job that ended during the interrupt may have been cut short.
        (!(options.interrupted)()).then_some(done)
    }
}

/// A larger graph is not searched.
const GRAPH_MAX: usize = 5_000_000;

/// Checks each liveness property. Then it checks the property again without each fairness assumption, and the property
/// must break: an assumption that is not needed could hide a fault.
struct CheckLiveness;

impl ModelVisitor for CheckLiveness {
    type Out = JobResult;

    fn visit<M: VerifiedModel>(self, model: M) -> JobResult {
        let began = Instant::now();
        let graph = Graph::of(&model, GRAPH_MAX).expect("the graph for liveness is small enough");
        let mut runs = Vec::new();
        for promise in model.liveness_properties() {
            let LivenessResult { waiting, broken } = graph.check(&model, &promise);
            let unneeded_fairness = (0..promise.fair.len()).find_map(|without| {
                let mut weaker =
                    model.liveness_properties().into_iter().find(|it| it.name == promise.name)?;
                let dropped = weaker.fair.remove(without);
                graph.check(&model, &weaker).broken.is_none().then_some(dropped.name)
            });
            runs.push(LivenessRun {
                property: promise.name,
                states: graph.len() as u64,
                waiting: waiting as u64,
                counterexample: broken.as_ref().map(lasso_lines),
                unneeded_fairness,
                took: began.elapsed(),
            });
        }
        JobResult::Liveness(runs)
    }
}

struct AblateLiveness(Ablation);

impl ModelVisitor for AblateLiveness {
    type Out = JobResult;

    fn visit<M: VerifiedModel>(self, model: M) -> JobResult {
        let AblateLiveness(ablation) = self;
        let began = Instant::now();
        let graph = Graph::of(&model, GRAPH_MAX);
        let broken = graph.as_ref().and_then(|graph| {
            let made = model.liveness_properties().into_iter();
            let promise = { made }.find(|it| ablation.expected == Expected::Breaks(it.name))?;
            Some((promise.name, graph.check(&model, &promise).broken?))
        });
        JobResult::Ablation(AblationRun {
            ablation,
            broken: broken.as_ref().map(|it| it.0),
            exhaustive: graph.is_some(),
            states: graph.map_or(0, |graph| graph.len() as u64),
            counterexample: broken.map(|it| lasso_lines(&it.1)).unwrap_or_default(),
            took: began.elapsed(),
        })
    }
}

fn lasso_lines<S: Display, A: Display>(lasso: &Lasso<S, A>) -> Vec<String> {
    let line = |prefix: &str, (action, state): &(A, S)| {
        format!("{:<58} [{state}]", format!("{prefix}{action}"))
    };
    let mut lines: Vec<String> = lasso.stem.iter().map(|step| line("", step)).collect();
    if lasso.cycle.is_empty() {
        lines.push("the run may stop here".to_owned());
    } else {
        lines.extend(lasso.cycle.iter().map(|step| line("for ever: ", step)));
    }
    lines
}

struct AblateSafety<F>(Ablation, F);

impl<F: Fn(u64) -> bool> ModelVisitor for AblateSafety<F> {
    type Out = AblationRun;

    fn visit<M: VerifiedModel>(self, model: M) -> AblationRun {
        let AblateSafety(ablation, at) = self;
        let began = Instant::now();
        let until = match ablation.expected {
            Expected::Breaks(property) => Until::Found(property),
            Expected::CoveredBy(_) => Until::Exhausted,
        };
        let found = explore(&model, until, |states| at(states) && states < ABLATION_MAX);
        let broken = match ablation.expected {
            Expected::Breaks(property) => found.finding(property),
            Expected::CoveredBy(_) => failures_of(&found).next(),
        };
        AblationRun {
            ablation,
            broken: broken.map(|broken| broken.property),
            exhaustive: found.exhaustive,
            states: found.states,
            counterexample: broken.map(|it| counterexample_lines(&model, it)).unwrap_or_default(),
            took: began.elapsed(),
        }
    }
}

/// The number of states at which the search of the original contract ends. Without the guards there may be infinitely
/// many. What it breaks, it breaks early.
const ORIGINAL_MAX: u64 = 200_000;

struct Original<F>(ModelName, F);

impl<F: Fn(u64) -> bool> ModelVisitor for Original<F> {
    type Out = JobResult;

    fn visit<M: VerifiedModel>(self, model: M) -> JobResult {
        let found =
            explore(&model, Until::Exhausted, |states| (self.1)(states) && states < ORIGINAL_MAX);
        let broken = failures_of(&found).map(|it| (it.property, it.depth)).collect();
        JobResult::Original(OriginalRun { model: self.0, states: found.states, broken })
    }
}

struct Gap<F>(&'static str, F);

impl<F: Fn(u64) -> bool> ModelVisitor for Gap<F> {
    type Out = JobResult;

    fn visit<M: VerifiedModel>(self, model: M) -> JobResult {
        let Gap(property, at) = self;
        let found = explore(&model, Until::Found(property), at);
        let story = found.finding(property).map(|it| counterexample_lines(&model, it));
        JobResult::Gap(property, story.unwrap_or_default())
    }
}

struct ByStateright<F>(ModelName, F);

impl<F: Fn(u64) -> bool> ModelVisitor for ByStateright<F> {
    type Out = JobResult;

    fn visit<M: VerifiedModel>(self, model: M) -> JobResult {
        let began = Instant::now();
        let starts = model.init_states().len();
        let checker = model.checker().threads(1).spawn_bfs();
        // The checker cannot be stopped. After an interrupt, it runs until the program ends.
        for waited in 0_u64.. {
            let tells = waited % 64 == 0;
            if checker.is_done() || (tells && !(self.1)(checker.unique_state_count() as u64)) {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let found: Vec<_> = checker.discoveries().into_keys().collect();
        let (broken, reached) = found
            .into_iter()
            .partition(|name| entry_of(name).is_some_and(|(_, check)| !check.is_reach()));
        let states = checker.unique_state_count() as u64;
        // The checker counts all states that it generates, the initial states too.
        let steps = (checker.state_count() - starts) as u64;
        let (engine, took) = ("stateright", began.elapsed());
        let run = EngineRun { model: self.0, engine, states, steps, broken, reached, took };
        JobResult::Engine(run, Vec::new())
    }
}

struct ByExplorer<F>(ModelName, F);

impl<F: Fn(u64) -> bool> ModelVisitor for ByExplorer<F> {
    type Out = JobResult;

    fn visit<M: VerifiedModel>(self, model: M) -> JobResult {
        let began = Instant::now();
        let found = explore(&model, Until::Exhausted, self.1);
        let names = |failures| {
            let of_this_kind = found.findings.iter().filter(move |it| it.is_failure == failures);
            of_this_kind.map(|it| it.property).collect()
        };
        let run = EngineRun {
            model: self.0,
            engine: "explorer",
            states: found.states,
            steps: found.transitions,
            broken: names(true),
            reached: names(false),
            took: began.elapsed(),
        };
        let stories =
            failures_of(&found).map(|it| (it.property, counterexample_lines(&model, it))).collect();
        JobResult::Engine(run, stories)
    }
}

/// The ids and names of the properties that have such a check.
fn ids_of(wanted: impl Fn(Check) -> bool) -> Vec<&'static str> {
    let entries = CATALOGUE.iter().filter(|entry| entry.checked_as.iter().any(|it| wanted(*it)));
    entries.flat_map(|entry| [entry.id, entry.name]).collect()
}

fn has_liveness_properties(model: ModelName) -> bool {
    let mut checks = CATALOGUE.iter().flat_map(|entry| entry.checked_as);
    checks.any(|check| check.model == model && check.is_progress())
}

fn failures_of(found: &Exploration) -> impl Iterator<Item = &Finding> {
    found.findings.iter().filter(|finding| finding.is_failure)
}

fn counterexample_lines<M: VerifiedModel>(model: &M, finding: &Finding) -> Vec<String> {
    let way = finding.way(model);
    way.steps
        .iter()
        .map(|(action, state)| format!("{action:<58} [{state}]", action = action.to_string()))
        .collect()
}

/// Checks the design that ships with both engines, and checks that each seeded fault is found.
///
/// Call it from a test of your own. It checks the version of tidegate that you build with:
///
/// ```no_run
/// let report = tidegate_models::verify(&tidegate_models::Options::default());
/// assert!(report.is_ok(), "{report}");
/// ```
///
/// # Panics
///
/// If a job panics. That is a bug of the suite, or of the shipped functions that it calls.
#[must_use]
pub fn verify(options: &Options<'_>) -> Report {
    let began = Instant::now();
    let mut jobs: Vec<Job> = ModelName::ALL
        .iter()
        .flat_map(|model| [Job::Stateright(*model), Job::Explorer(*model)])
        .collect();
    jobs.extend(
        ModelName::ALL.into_iter().filter(|it| has_liveness_properties(*it)).map(Job::Liveness),
    );
    let has_guards = |model: &ModelName| !guards_of(*model).is_empty();
    jobs.extend(ModelName::ALL.into_iter().filter(has_guards).map(Job::Original));
    let checks = CATALOGUE.iter().flat_map(|entry| entry.checked_as);
    jobs.extend(checks.filter(|check| check.is_gap()).map(|check| Job::Gap(*check)));
    jobs.extend(ABLATIONS.map(Job::Ablation));
    let guarded =
        |model: ModelName| guards_of(model).iter().map(move |guard| Job::Matrix(model, *guard));
    jobs.extend(ModelName::ALL.into_iter().flat_map(guarded));
    jobs.retain(|job| job.is_named(options.only) && job.can_be_run());
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, Option<JobResult>)>> = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..options.threads.max(1) {
            scope.spawn(|| {
                // Relaxed: the number alone says which thread runs which job.
                while let Some((number, job)) = {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    jobs.get(number).map(|job| (number, *job))
                } {
                    let result = if (options.interrupted)() { None } else { job.run(options) };
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
        liveness: Vec::new(),
        original: Vec::new(),
        ablations: Vec::new(),
        matrix: Vec::new(),
        gaps: Vec::new(),
        counterexamples: Vec::new(),
        only: options.only.to_vec(),
        unfinished: Vec::new(),
        took: began.elapsed(),
    };
    for (number, result) in done {
        let Some(result) = result else {
            report.unfinished.push(jobs[number].name());
            continue;
        };
        match result {
            JobResult::Engine(run, stories) => {
                report.engines.push(run);
                report.counterexamples.extend(stories);
            }
            JobResult::Liveness(runs) => {
                let broken =
                    runs.iter().filter_map(|it| Some((it.property, it.counterexample.clone()?)));
                report.counterexamples.extend(broken);
                report.liveness.extend(runs);
            }
            JobResult::Original(run) => report.original.push(run),
            JobResult::Ablation(run) => report.ablations.push(run),
            JobResult::Matrix(run) => report.matrix.push(run),
            JobResult::Gap(property, story) => report.gaps.push((property, story)),
        }
    }
    report
}

struct Serve(std::net::SocketAddr);

impl ModelVisitor for Serve {
    type Out = ();

    fn visit<M: VerifiedModel>(self, model: M) {
        model.checker().serve(self.0);
    }
}

/// Serves a model to a browser with stateright's explorer, until the program ends. Requests from pages of
/// other sites are refused.
///
/// # Errors
///
/// [`ServeError`] if the address cannot be listened on.
pub fn serve(model: ModelName, listen: std::net::SocketAddr) -> Result<(), ServeError> {
    let (size, ships) = (Configuration::Of(Size::Small), Design::tidegate());
    show(listen, move |inner| visit(model, size, ships, Serve(inner)))
}

/// Measures each engine on each of these models, one after the other. `ratio` is how many times faster the
/// explorer is than stateright.
#[must_use]
pub fn bench(models: &[ModelName]) -> String {
    let (size, ships) = (Configuration::Of(Size::Full), Design::tidegate());
    let mut rows: Vec<[String; ENGINE_COLUMNS.len() + 1]> = Vec::new();
    let mut push = |row: [String; ENGINE_COLUMNS.len()], ratio: String| {
        let mut cells = row.into_iter().chain([ratio]);
        rows.push(std::array::from_fn(|_| cells.next().unwrap_or_default()));
    };
    push(ENGINE_COLUMNS.map(str::to_owned), "ratio".to_owned());
    for model in models.iter().copied() {
        let stateright = visit(model, size, ships, ByStateright(model, |_| true));
        let explorer = visit(model, size, ships, ByExplorer(model, |_| true));
        if let (JobResult::Engine(stateright, _), JobResult::Engine(explorer, _)) =
            (stateright, explorer)
        {
            let ratio = stateright.took.as_secs_f64() / explorer.took.as_secs_f64();
            push(stateright.row(), String::new());
            push(explorer.row(), format!("{ratio:.1}"));
        }
    }
    aligned(&rows)
}

/// Measures two of stateright's checkers, one thread each, side by side on two configurations of the status
/// model. This is how stateright runs best on two cores.
#[must_use]
pub fn bench_parallel_stateright() -> String {
    let ships = Design::tidegate();
    let began = Instant::now();
    let configurations = [
        StatusModel::full(ships),
        StatusModel { drains: 3, starts: 6, ..StatusModel::full(ships) },
    ];
    let checkers = configurations.map(|model| model.checker().threads(1).spawn_bfs());
    let states: usize = checkers.map(|checker| checker.join().unique_state_count()).iter().sum();
    let took = began.elapsed().as_secs_f64();
    format!("two of stateright's checkers side by side: {states} distinct states in {took:.1} s\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Count;

    impl ModelVisitor for Count {
        type Out = u64;

        fn visit<M: VerifiedModel>(self, model: M) -> u64 {
            explore(&model, Until::Exhausted, |_| true).states
        }
    }

    /// A model is the same without all guards that `guards_of` does not list for it.
    #[test]
    fn a_model_asks_for_no_guard_but_its_own() {
        for model in ModelName::ALL {
            let others: Vec<Guard> =
                Guard::ALL.into_iter().filter(|guard| !guards_of(model).contains(guard)).collect();
            let design = Design::tidegate().without(&others);
            let states = visit(model, Configuration::Of(Size::Small), design, Count);
            assert_eq!(states, Size::Small.pinned_states(model), "{model}");
        }
    }

    struct BothCounts;

    impl ModelVisitor for BothCounts {
        type Out = (Option<usize>, u64);

        fn visit<M: VerifiedModel>(self, model: M) -> (Option<usize>, u64) {
            let whole = Graph::of(&model, GRAPH_MAX).map(|graph| graph.len());
            (whole, explore(&model, Until::Exhausted, |_| true).states)
        }
    }

    /// No two states have the same packed form or the same fingerprint: a count of whole states, compared field by
    /// field, is the same.
    #[test]
    fn no_two_states_have_the_same_fingerprint() {
        for model in ModelName::ALL {
            let small = Configuration::Of(Size::Small);
            let (whole, fingerprints) = visit(model, small, Design::tidegate(), BothCounts);
            assert_eq!(whole.map(|whole| whole as u64), Some(fingerprints), "{model}");
        }
    }
}
