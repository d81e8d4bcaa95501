//! `tidegate-verify`: runs the suite and prints what it found. Exit code 0: everything is as it must
//! be; 1: something is falsified, vacuous or survived; 2: wrong usage.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use indicatif::{MultiProgress, ProgressBar};
use tidegate_models::{Options, Progress, Size, verify};

// Exploring allocates little and hashes a lot; a faster allocator is still a third of the time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Model-checks tidegate's gateway on the code that ships, and checks that each of its guards is
/// necessary.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// How much to explore.
    #[arg(value_enum, default_value_t = Amount::Full)]
    amount: Amount,
    /// How many jobs to run at once; as many as there are cores by default.
    #[arg(long)]
    threads: Option<usize>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Amount {
    /// Seconds.
    Quick,
    /// The published counts.
    Full,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let bars = Bars::default();
    let tell = |job: &str, progress: Progress| bars.tell(job, progress);
    let mut options = Options {
        size: match arguments.amount {
            Amount::Quick => Size::Small,
            Amount::Full => Size::Full,
        },
        progress: &tell,
        ..Options::default()
    };
    options.threads = arguments.threads.unwrap_or(options.threads);
    let report = verify(&options);
    println!("{report}");
    if report.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
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
