//! `tidegate-verify`: runs the suite and prints the results.

use std::collections::HashMap;
use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};
use indicatif::{MultiProgress, ProgressBar};
use tidegate_models::catalogue::{CATALOGUE, ModelName};
use tidegate_models::design::Guard;
use tidegate_models::{
    Options, Progress, Report, Size, bench, bench_parallel_stateright, list, serve, verify,
    verify_faults,
};

// Exploring allocates little and hashes a lot. A faster allocator still saves a third of the time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Check the properties of tidegate on the functions that ship, and check that each guard is needed.
///
/// Without a command it runs `quick`. models/README.md describes each property (TG-S4), and
/// src/guide/incidents.md each incident (U12).
///
/// Exit code 0: all properties hold, and all seeded faults are found. Exit code 1: a property is falsified or
/// vacuous, a state count is wrong, or a seeded fault survived. Exit code 2: wrong usage. Exit code 3: interrupted;
/// nothing was wrong until then.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: Run,
}

#[derive(Subcommand)]
enum Command {
    /// Check smaller models, in about a minute. This is the default.
    Quick(Run),
    /// Check the models in their published sizes, in about a quarter of an hour. CI runs this.
    Full(Run),
    /// Switch on each fault that is seeded in the shipped code, one at a time, and check that its property breaks.
    /// Only in a clone (`cargo verify faults`): a published build has no switches.
    Faults {
        /// Only these faults, by name. The default is all of them.
        faults: Vec<String>,
    },
    /// Run the library as it ships on a simulated machine: every schedule of small scenarios, and worlds of gateways,
    /// controllers, people and faults. Only in a clone (`cargo verify simulate`).
    #[cfg(tidegate_checking)]
    Simulate(Simulate),
    /// Serve a model to a browser, to follow it step by step.
    Explore {
        /// The model to serve.
        #[arg(value_parser = model_parser())]
        model: ModelName,
        /// The address to listen on. Every client that reaches it can read the model.
        #[arg(long, default_value = "127.0.0.1:3000")]
        listen: SocketAddr,
    },
    /// Measure both engines on these models, one after the other: states per second.
    Bench {
        /// The models to measure. The default is all of them.
        #[arg(hide_default_value = true, default_values = ModelName::ALL.map(ModelName::as_str), value_parser = model_parser())]
        models: Vec<ModelName>,
    },
}

#[cfg(tidegate_checking)]
#[derive(Args)]
struct Simulate {
    /// Run only the world of this seed. If a property breaks, print what happened.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Leave out these steps of that world, by number.
    #[arg(long, value_name = "N,N", value_delimiter = ',', requires = "seed")]
    without: Vec<usize>,
    /// Run worlds for this long.
    #[arg(long, value_name = "S", default_value_t = 60)]
    seconds: u64,
    /// The first seed of the worlds that are run. The default is drawn from the clock, and printed.
    #[arg(long, value_name = "N", conflicts_with = "seed")]
    from: Option<u64>,
    /// The most schedules to run of each scenario.
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    schedules: u64,
    /// Print one JSON document instead of text.
    #[arg(long)]
    json: bool,
    /// How many threads run. The default is the number of cores.
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

#[cfg(tidegate_checking)]
impl Simulate {
    fn run(&self) -> ExitCode {
        let clock = || {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            now.map_or(0, |now| now.as_secs() * 1_000_000)
        };
        let report = tidegate_simulation::simulate(&tidegate_simulation::Options {
            only: self.seed.map(|seed| (seed, self.without.clone())),
            from: self.from.unwrap_or_else(clock),
            lasts: Duration::from_secs(self.seconds),
            schedules_max: self.schedules,
            threads: self.threads.unwrap_or(Options::default().threads),
        });
        let text = if self.json { format!("{}\n", report.to_json()) } else { report.to_string() };
        if let Err(error) = write!(io::stdout(), "{text}") {
            note(&format!("tidegate-verify: cannot print the report: {error}"));
            return ExitCode::FAILURE;
        }
        if report.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

#[derive(Args)]
struct Run {
    /// Run only what has this name: a property (TG-S4), a model, a guard or an incident (U12). May be given more
    /// than once.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Print one JSON document instead of the tables.
    #[arg(long)]
    json: bool,
    /// Also write `report.md` into this directory.
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// Print all names, and run nothing.
    #[arg(long)]
    list: bool,
    /// How many jobs run at once. The default is the number of cores.
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

/// Reads the name of a model.
fn model_parser() -> impl TypedValueParser<Value = ModelName> {
    let names = PossibleValuesParser::new(ModelName::ALL.map(ModelName::as_str));
    names.try_map(|name| ModelName::named(&name).ok_or("no model has this name"))
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match &arguments.command {
        None => arguments.run.run(Size::Small),
        Some(Command::Full(run)) => run.run(Size::Full),
        Some(Command::Quick(run)) => run.run(Size::Small),
        Some(Command::Faults { faults }) => run_faults(faults),
        #[cfg(tidegate_checking)]
        Some(Command::Simulate(simulate)) => simulate.run(),
        Some(Command::Explore { model, listen }) => {
            note(&format!("the {model} model is at http://{listen}"));
            match serve(*model, *listen) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    note(&format!("tidegate-verify: {error}"));
                    ExitCode::FAILURE
                }
            }
        }
        Some(Command::Bench { models }) => {
            print!("{}", bench(models));
            print!("{}", bench_parallel_stateright());
            ExitCode::SUCCESS
        }
    }
}

/// Switches on faults, and prints the result for each.
fn run_faults(only: &[String]) -> ExitCode {
    let Some(report) = verify_faults(&Options { only, ..Options::default() }, &simulated) else {
        note(
            "tidegate-verify: this build has no faults to switch on; run `cargo verify faults` in a clone",
        );
        return ExitCode::from(2);
    };
    if let Err(error) = write!(io::stdout(), "{report}") {
        note(&format!("tidegate-verify: cannot print the report: {error}"));
        return ExitCode::FAILURE;
    }
    if report.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The result of a simulation.
struct Simulated {
    text: String,
    json: serde_json::Value,
    is_ok: bool,
}

/// Runs a little of the simulation beside the models, if the whole suite is run.
#[cfg(tidegate_checking)]
fn simulation(size: Size, only: &[String]) -> Option<Simulated> {
    if !only.is_empty() {
        return None;
    }
    let (lasts, schedules_max) = match size {
        Size::Small => (Duration::from_secs(4), 1000),
        Size::Full => (Duration::from_secs(30), 20_000),
    };
    let report = tidegate_simulation::simulate(&tidegate_simulation::Options {
        only: None,
        from: 0,
        lasts,
        schedules_max,
        threads: Options::default().threads,
    });
    let text = format!("simulation\n{report}\n");
    Some(Simulated { text, json: report.to_json(), is_ok: report.is_ok() })
}

/// A build without switches has no simulation either.
#[cfg(not(tidegate_checking))]
fn simulation(_: Size, _: &[String]) -> Option<Simulated> {
    None
}

/// Runs the simulation with a fault.
#[cfg(tidegate_checking)]
fn simulated(fault: &str, property: &str) -> Option<(String, u64)> {
    let fault = tidegate::faults::Fault::ALL.into_iter().find(|it| it.as_str() == fault)?;
    tidegate_simulation::kill(fault, property, WORLDS_MAX)
}

/// A fault that this many worlds do not find has survived.
#[cfg(tidegate_checking)]
const WORLDS_MAX: u64 = 20_000;

/// A build without switches has no simulation either.
#[cfg(not(tidegate_checking))]
fn simulated(_: &str, _: &str) -> Option<(String, u64)> {
    None
}

impl Run {
    fn run(&self, size: Size) -> ExitCode {
        if self.list {
            print!("{}", list());
            return ExitCode::SUCCESS;
        }
        let interrupt = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            // The second one ends the program at once.
            let ends =
                signal_hook::flag::register_conditional_shutdown(signal, 3, Arc::clone(&interrupt));
            let tells = signal_hook::flag::register(signal, Arc::clone(&interrupt));
            if let Err(error) = ends.and(tells) {
                note(&format!(
                    "tidegate-verify: cannot handle signals, so an interrupt ends the run without a report: {error}"
                ));
            }
        }
        let bars = Bars::on(io::stderr().is_terminal());
        let tell = |job: &str, progress: Progress| bars.tell(job, progress);
        // Relaxed: the flag orders no other memory.
        let interrupted = || interrupt.load(Ordering::Relaxed);
        let mut options = Options {
            size,
            only: &self.only,
            progress: &tell,
            interrupted: &interrupted,
            ..Options::default()
        };
        options.threads = self.threads.unwrap_or(options.threads);
        if !self.json {
            note(&self.what_is_checked(size));
        }
        let report = bars.while_at_work(|| verify(&options));
        let simulation = simulation(size, &self.only);
        if report.is_of_nothing() {
            let names = self.only.join(", ");
            note(&format!(
                "tidegate-verify: no property, model, guard or incident is named {names}; --list prints all names"
            ));
            return ExitCode::from(2);
        }
        let text = match (self.json, size == Size::Small && self.only.is_empty()) {
            (true, _) => {
                let mut document = report.to_json();
                if let Some(simulation) = &simulation {
                    document["simulation"] = simulation.json.clone();
                }
                document.to_string()
            }
            (false, true) => format!("{report}\n{WHAT_FULL_ADDS}\n\n{WHERE_TO_READ}"),
            (false, false) => format!("{report}\n{WHERE_TO_READ}"),
        };
        let told = simulation.as_ref().filter(|_| !self.json).map_or("", |it| &it.text);
        if let Err(error) = writeln!(io::stdout(), "{told}{text}") {
            note(&format!("tidegate-verify: cannot print the report: {error}"));
            return ExitCode::FAILURE;
        }
        if simulation.is_some_and(|it| !it.is_ok) {
            note(
                "tidegate-verify: a property breaks in the simulation; see the report's part `simulation`",
            );
            return ExitCode::FAILURE;
        }
        self.write(&report).unwrap_or_else(|| ExitCode::from(exit_code(&report)))
    }

    /// What a newcomer needs to know before the first result comes.
    fn what_is_checked(&self, size: Size) -> String {
        if !self.only.is_empty() {
            return format!("tidegate-verify: checking only {}", self.only.join(", "));
        }
        let takes = match size {
            Size::Small => "about a minute",
            Size::Full => "about a quarter of an hour and 8 GB",
        };
        let (properties, models, guards) =
            (CATALOGUE.len(), ModelName::ALL.len(), Guard::ALL.len());
        format!(
            "tidegate-verify: checking {properties} properties of tidegate in {models} models. Then each of \
             {guards} guards is switched off, and something must break. This takes {takes} on two cores."
        )
    }

    /// Writes the report. If that fails, it reports why.
    fn write(&self, report: &Report) -> Option<ExitCode> {
        let directory = self.report.as_ref()?;
        let path = directory.join("report.md");
        let written = std::fs::create_dir_all(directory)
            .and_then(|()| std::fs::write(&path, report.to_markdown()));
        let error = written.err()?;
        note(&format!(
            "tidegate-verify: cannot write {}: {error}; give another directory with --report",
            path.display()
        ));
        Some(ExitCode::FAILURE)
    }
}

/// Prints a line to standard error. A failure to print is ignored.
fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

fn exit_code(report: &Report) -> u8 {
    match (report.is_ok(), report.is_complete()) {
        (false, _) => 1,
        (true, false) => 3,
        (true, true) => 0,
    }
}

const WHAT_FULL_ADDS: &str = "\
This was the quick suite, with smaller models. `cargo verify full` explores the published sizes: some 200 million
states by each of two engines, in about a quarter of an hour and 8 GB on two cores.";

const WHERE_TO_READ: &str = "\
To read about a property, such as TG-S4: models/README.md, or `cargo verify --only TG-S4`.
To read about an incident, such as U12: src/guide/incidents.md, or `cargo verify --only U12`.
`cargo verify --list` prints all names.";

/// Without a terminal, the running jobs are printed this often.
const REPORT_EVERY: Duration = Duration::from_secs(5);

/// Shows progress: one spinner for each job on a terminal, and lines elsewhere.
struct Bars {
    all: MultiProgress,
    is_terminal: bool,
    /// The running jobs by name.
    running: Mutex<HashMap<String, Running>>,
}

/// A running job.
struct Running {
    bar: Option<ProgressBar>,
    began: Instant,
    states: u64,
}

impl Running {
    fn line(&self, job: &str) -> String {
        how_far(job, self.states, self.began.elapsed())
    }
}

fn how_far(job: &str, states: u64, took: Duration) -> String {
    let took = took.as_secs_f64();
    if states == 0 {
        return format!("{job}: running for {took:.0} s");
    }
    #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = states as f64 / took;
    format!("{job}: {states} states, {rate:.0} per second")
}

impl Bars {
    fn on(is_terminal: bool) -> Bars {
        Bars { all: MultiProgress::new(), is_terminal, running: Mutex::default() }
    }

    fn tell(&self, job: &str, progress: Progress) {
        let Ok(mut running) = self.running.lock() else { return };
        match progress {
            Progress::Begun => {
                let bar = self.is_terminal.then(|| {
                    let bar = self.all.add(ProgressBar::new_spinner());
                    bar.enable_steady_tick(Duration::from_millis(100));
                    bar.set_message(job.to_owned());
                    bar
                });
                let (began, states) = (Instant::now(), 0);
                running.insert(job.to_owned(), Running { bar, began, states });
            }
            Progress::At(states) => {
                if let Some(running) = running.get_mut(job) {
                    running.states = states;
                    if let Some(bar) = &running.bar {
                        bar.set_message(running.line(job));
                    }
                }
            }
            Progress::Ended(took) => {
                let line = format!("{job}: {:.2} s", took.as_secs_f64());
                match running.remove(job).and_then(|running| running.bar) {
                    Some(bar) => bar.finish_with_message(line),
                    None => note(&line),
                }
            }
        }
    }

    /// Does the work. Without a terminal it also prints the running jobs every few seconds, because a log without
    /// new lines looks like a hang.
    fn while_at_work<T>(&self, work: impl FnOnce() -> T) -> T {
        if self.is_terminal {
            return work();
        }
        let (done, is_done) = channel::<()>();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                while is_done.recv_timeout(REPORT_EVERY) == Err(RecvTimeoutError::Timeout) {
                    let Ok(running) = self.running.lock() else { return };
                    for (job, running) in running.iter() {
                        note(&running.line(job));
                    }
                }
            });
            let result = work();
            drop(done);
            result
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_at_work_says_how_far_it_is_and_how_fast() {
        let ten = Duration::from_secs(10);
        let line = how_far("gateway model", 5_000_000, ten);
        assert_eq!(line, "gateway model: 5000000 states, 500000 per second");
        assert_eq!(how_far("x", 0, ten), "x: running for 10 s");
    }
}
