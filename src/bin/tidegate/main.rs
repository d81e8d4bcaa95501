//! The operator's program: it requests a drain of a home, cancels it, and shows the status. The library makes every
//! decision.
//!
//! The exit code says what was done, even if the output cannot be written (F24).

mod arguments;
mod drain;
#[path = "../../ignored_signals.rs"]
mod ignored_signals;
mod output;
mod report;
mod wait;

use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{CommandFactory, Parser};
use tidegate::ControlError;
use tidegate::pending::WaitFailed;

use arguments::{Arguments, Command};
use output::{Output, note};
use wait::Ended;

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("no home is given; use --home DIR, or set TIDEGATE_HOME")]
    NoHome,
    #[error(
        "the lease ({}) must be longer than the wait ({}); give a longer --lease or a shorter --timeout",
        humantime::format_duration(*lease),
        humantime::format_duration(*timeout)
    )]
    LeaseTooShort { lease: Duration, timeout: Duration },
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error("{ended}; {request_state}")]
    Waiting { ended: Ended, request_state: String },
    /// The answer could not be printed. A controller acts on the answer, and without it no controller may act.
    #[error("{output}; {request_state}")]
    Unanswered { output: Box<Failure>, request_state: String },
    #[error("cannot listen for signals: {0}; nothing was changed")]
    Signals(io::Error),
    #[error("cannot print the answer: {0}")]
    Output(#[from] io::Error),
    #[error("cannot write the manual pages to {}: {source}", path.display())]
    Pages { path: std::path::PathBuf, source: io::Error },
    /// The exit code is the answer. Nothing is printed.
    #[error("")]
    Silent,
}

impl From<Failure> for ExitCode {
    fn from(failure: Failure) -> ExitCode {
        ExitCode::from(match failure {
            Failure::NoHome | Failure::LeaseTooShort { .. } => 2,
            Failure::Control(
                ControlError::NoLiveRequest { .. }
                | ControlError::NoRun
                | ControlError::ForeignGateway { .. }
                | ControlError::Replaced { .. },
            ) => 4,
            Failure::Control(_)
            | Failure::Signals(_)
            | Failure::Output(_)
            | Failure::Unanswered { .. }
            | Failure::Pages { .. }
            | Failure::Silent => 1,
            Failure::Waiting { ended, .. } => match ended {
                Ended::WaitFailed(WaitFailed::TimedOut(_)) => 3,
                Ended::WaitFailed(
                    WaitFailed::Lost(_) | WaitFailed::Refused | WaitFailed::ForeignGateway,
                ) => 4,
                Ended::WaitFailed(WaitFailed::Gone | WaitFailed::Held { .. }) => 5,
                Ended::WaitFailed(_) | Ended::Interrupted => 1,
            },
        })
    }
}

fn main() -> ExitCode {
    output::show_warnings();
    // Beyond a file size limit, the write fails and the program goes on: it must still report what was done.
    let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default());
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !matches!(failure, Failure::Silent) {
                note(&failure.to_string());
            }
            failure.into()
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let output = Output { json: arguments.json };
    let home = || arguments.place.home();
    match &arguments.command {
        Command::Drain(ask) if ask.wait => drain::drain_and_wait(home()?, ask, output),
        Command::Drain(ask) => drain::drain(&home()?, ask, output),
        Command::Renew { holder, lease } => {
            drain::renew(&home()?, &holder.clone().unwrap_or_default(), *lease, output)
        }
        Command::Cancel { all: true, by, .. } => {
            let by =
                by.as_ref().map_or_else(arguments::user, |by| by.to_string_lossy().into_owned());
            drain::cancel_all(&home()?, &by, output)
        }
        Command::Cancel { holder, .. } => {
            drain::cancel(&home()?, &holder.clone().unwrap_or_default(), output)
        }
        // A gateway that cannot be checked fails the check.
        Command::Status { check: Some(check), .. } => match home() {
            Ok(home) if report::is_so(&home, *check) => Ok(()),
            _ => Err(Failure::Silent),
        },
        Command::Status { watch: Some(every), .. } => report::watch(&home()?, *every, output),
        Command::Status { .. } => report::status(&home()?, output),
        Command::Wait { until, timeout } => wait::wait_for(&home()?, *until, *timeout, output),
        Command::Observe => report::observe(&home()?, output),
        Command::Epoch => report::epoch(output),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Arguments::command(), "tidegate", &mut script);
            output::print(&String::from_utf8_lossy(&script))
        }
        Command::Man { to } => manual(to.as_deref()),
    }
}

/// The manual: one page printed, or all of them as files.
fn manual(to: Option<&Path>) -> Result<(), Failure> {
    match to {
        Some(path) => clap_mangen::generate_to(Arguments::command(), path)
            .map_err(|source| Failure::Pages { path: path.to_owned(), source }),
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Arguments::command()).render(&mut page)?;
            output::print(&String::from_utf8_lossy(&page))
        }
    }
}
