//! `tidegate-verify`: runs the suite and prints what it found.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

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
    /// Smaller models: less than a minute.
    Quick(Run),
    /// The published counts: what is done without a command.
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
        None => arguments.run.run(Size::Full),
        Some(Command::Full(run)) => run.run(Size::Full),
        Some(Command::Quick(run)) => run.run(Size::Small),
        Some(Command::Explore { model, listen }) => {
            eprintln!("the {model} model is at http://{listen}");
            serve(model, *listen);
            ExitCode::SUCCESS
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
                eprintln!("tidegate-verify: an interrupt will not be reported: {error}");
            }
        }
        let bars = Bars::default();
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
        let report = verify(&options);
        if report.is_of_nothing() {
            eprintln!("tidegate-verify: nothing is called {}; see --list", self.only.join(", "));
            return ExitCode::from(2);
        }
        if self.json {
            println!("{}", report.to_json());
        } else {
            println!("{report}");
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
        eprintln!("tidegate-verify: cannot write {}: {error}", path.display());
        Some(ExitCode::FAILURE)
    }
}

fn exit_code(report: &Report) -> u8 {
    match (report.is_ok(), report.is_complete()) {
        (false, _) => 1,
        (true, false) => 3,
        (true, true) => 0,
    }
}

/// A spinner a job on a terminal; a line a job elsewhere.
#[derive(Default)]
struct Bars {
    all: MultiProgress,
    /// Guards the spinner of each running job.
    running: Mutex<HashMap<String, ProgressBar>>,
}

impl Bars {
    fn tell(&self, job: &str, progress: Progress) {
        if !std::io::stderr().is_terminal() {
            if let Progress::Ended(took) = progress {
                eprintln!("{job}: {:.2} s", took.as_secs_f64());
            }
            return;
        }
        let Ok(mut running) = self.running.lock() else { return };
        match progress {
            Progress::Begun => {
                let bar = self.all.add(ProgressBar::new_spinner());
                bar.enable_steady_tick(Duration::from_millis(100));
                bar.set_message(job.to_owned());
                running.insert(job.to_owned(), bar);
            }
            Progress::At(states) => {
                if let Some(bar) = running.get(job) {
                    bar.set_message(format!("{job}: {states} states"));
                }
            }
            Progress::Ended(took) => {
                if let Some(bar) = running.remove(job) {
                    bar.finish_with_message(format!("{job}: {:.2} s", took.as_secs_f64()));
                }
            }
        }
    }
}
