//! `tidegate-verify`: runs the suite and prints what it found.

use std::collections::HashMap;
use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use clap::{Args, Parser, Subcommand};
use indicatif::{MultiProgress, ProgressBar};
use tidegate_models::checked::MODELS;
use tidegate_models::{Options, Progress, Report, Size, bench, list, serve, side_by_side, verify};

// Exploring allocates little and hashes a lot; a faster allocator is still a third of the time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Model-checks tidegate on the code that ships, and checks that each of its guards is necessary.
///
/// Exit codes: 0 all properties hold and all seeded faults are found; 1 something is falsified, vacuous,
/// miscounted or survived; 2 wrong usage; 3 interrupted, with nothing falsified until then.
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
    /// Smaller models, within a minute: what is done without a command.
    Quick(Run),
    /// The published counts, in some ten minutes: what CI runs.
    Full(Run),
    /// Serves a model to a browser, to go through it step by step.
    Explore {
        /// Which.
        #[arg(value_parser = clap::builder::PossibleValuesParser::new(MODELS))]
        model: String,
        /// Where; anybody who reaches it can read the model.
        #[arg(long, default_value = "127.0.0.1:3000")]
        listen: SocketAddr,
    },
    /// Both engines on every model, or on these, one after the other: states a second.
    Bench {
        /// Which.
        #[arg(default_values = MODELS, value_parser = clap::builder::PossibleValuesParser::new(MODELS))]
        models: Vec<String>,
    },
}

#[derive(Args)]
struct Run {
    /// Only what has this name: the id of a property, a model, a guard, or the number of an incident.
    /// May be given more than once.
    #[arg(long)]
    only: Vec<String>,
    /// Print one JSON document instead of the tables.
    #[arg(long)]
    json: bool,
    /// Also write `report.md` into this directory.
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// Print what there is, and run nothing.
    #[arg(long)]
    list: bool,
    /// How many jobs to run at once; as many as there are cores by default.
    #[arg(long)]
    threads: Option<usize>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match &arguments.command {
        None => arguments.run.run(Size::Small),
        Some(Command::Full(run)) => run.run(Size::Full),
        Some(Command::Quick(run)) => run.run(Size::Small),
        Some(Command::Explore { model, listen }) => {
            note(&format!("the {model} model is at http://{listen}"));
            match serve(model, *listen) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    note(&format!("tidegate-verify: {error}"));
                    ExitCode::FAILURE
                }
            }
        }
        Some(Command::Bench { models }) => {
            print!("{}", bench(models));
            print!("{}", side_by_side());
            ExitCode::SUCCESS
        }
    }
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
                note(&format!("tidegate-verify: an interrupt will not be reported: {error}"));
            }
        }
        let bars = Bars::on(io::stderr().is_terminal());
        let tell = |job: &str, progress: Progress| bars.tell(job, progress);
        // Relaxed: it says nothing of any other memory.
        let interrupted = || interrupt.load(Ordering::Relaxed);
        let mut options = Options {
            size,
            only: &self.only,
            progress: &tell,
            interrupted: &interrupted,
            ..Options::default()
        };
        options.threads = self.threads.unwrap_or(options.threads);
        let report = bars.while_at_work(|| verify(&options));
        if report.is_of_nothing() {
            let names = self.only.join(", ");
            note(&format!("tidegate-verify: nothing is called {names}; see --list"));
            return ExitCode::from(2);
        }
        let text = match (self.json, size == Size::Small && self.only.is_empty()) {
            (true, _) => report.to_json().to_string(),
            (false, true) => format!("{report}\n{WHAT_FULL_ADDS}"),
            (false, false) => report.to_string(),
        };
        if let Err(error) = writeln!(io::stdout(), "{text}") {
            note(&format!("tidegate-verify: cannot print the report: {error}"));
            return ExitCode::FAILURE;
        }
        self.write(&report).unwrap_or_else(|| ExitCode::from(exit_code(&report)))
    }

    /// Writes the report, and says so where that fails.
    fn write(&self, report: &Report) -> Option<ExitCode> {
        let directory = self.report.as_ref()?;
        let path = directory.join("report.md");
        let written = std::fs::create_dir_all(directory)
            .and_then(|()| std::fs::write(&path, report.to_markdown()));
        let error = written.err()?;
        note(&format!("tidegate-verify: cannot write {}: {error}", path.display()));
        Some(ExitCode::FAILURE)
    }
}

/// Tells people something. Nobody may be there to read it, which changes nothing.
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
This was the quick suite. `cargo verify full` adds the published sizes of the models: some 140 million states
by each of two engines, in some ten minutes and 5 GB on two cores.";

/// Without a terminal, what is at work is printed this often.
const REPORT_EVERY: Duration = Duration::from_secs(5);

/// How the jobs are going: a spinner a job on a terminal; lines elsewhere.
struct Bars {
    all: MultiProgress,
    is_terminal: bool,
    /// Guards what is known of each running job.
    running: Mutex<HashMap<String, Running>>,
}

/// A job at work.
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
        return format!("{job}: at work for {took:.0} s");
    }
    #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = states as f64 / took;
    format!("{job}: {states} states, {rate:.0} a second")
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

    /// Does the work, and without a terminal prints what is at work every few seconds: a log that stands
    /// still looks like a hang.
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
        assert_eq!(line, "gateway model: 5000000 states, 500000 a second");
        assert_eq!(how_far("x", 0, ten), "x: at work for 10 s");
    }
}
