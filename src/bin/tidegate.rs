//! The operator's hand on a home: ask for a drain, take it back, look. Thin: every decision is the
//! library's.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, Parser, Subcommand};
use serde::Serialize;
use tidegate::epoch::Epoch;
use tidegate::home::Home;
use tidegate::reconcile::{Sighting, Verdict};
use tidegate::request::{DEFAULT_PRINCIPAL, DrainRequest, Holder};
use tidegate::{Body, ControlError};

/// How long `drain` waits for a live gateway to confirm that its gate is closed, before it answers
/// that this is still to come: several rounds of a watcher.
const CONFIRMATION_PATIENCE: Duration = Duration::from_secs(5);
const CONFIRMATION_PAUSE: Duration = Duration::from_millis(20);

/// Drains a gateway through its home directory, and releases it again.
///
/// Exit codes: 0 done, 1 failed, 2 wrong usage.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    place: Where,
    /// Print one line of JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Args)]
struct Where {
    /// The gateway's home directory [default: $TIDEGATE_HOME, else $HERMES_HOME].
    #[arg(long, global = true)]
    home: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Ask for a drain. Asking again refreshes the request.
    Drain {
        /// Who asks.
        #[arg(long, default_value = DEFAULT_PRINCIPAL)]
        principal: String,
        /// Ask the gateway not to tell its users.
        #[arg(long)]
        suppress_notification: bool,
        /// Ask for the gate to be sealed once idle, so that internal work waits too.
        #[arg(long)]
        hold_internal: bool,
    },
    /// Take the request back. Nothing to take back is no failure.
    Cancel,
    /// What the gateway says of itself, and whether it is alive.
    Status,
    /// What a gateway on this machine would see.
    Observe,
    /// The identity of this boot and container.
    Epoch,
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("no home: give --home DIR, or set TIDEGATE_HOME")]
    NoHome,
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error("cannot print the answer: {0}")]
    Output(#[from] io::Error),
}

impl From<Failure> for ExitCode {
    fn from(failure: Failure) -> ExitCode {
        match failure {
            Failure::NoHome => ExitCode::from(2),
            Failure::Control(_) | Failure::Output(_) => ExitCode::from(1),
        }
    }
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("tidegate: {failure}");
            failure.into()
        }
    }
}

impl Where {
    fn home(&self) -> Result<Home, Failure> {
        let from =
            |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let path =
            self.home.clone().or_else(|| from("TIDEGATE_HOME")).or_else(|| from("HERMES_HOME"));
        path.map(Home::at).ok_or(Failure::NoHome)
    }
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let json = arguments.json;
    match &arguments.command {
        Command::Drain { principal, suppress_notification, hold_internal } => {
            let ask = DrainRequest::by(principal)
                .suppress_notification(*suppress_notification)
                .hold_internal(*hold_internal);
            let reply = drain(&arguments.place.home()?, &ask)?;
            let text = if reply.draining {
                "draining: the gate is closed"
            } else {
                "asked: no live gateway has closed its gate for it yet"
            };
            say(json, &reply, text)
        }
        Command::Cancel => {
            let home = arguments.place.home()?;
            let before = home.observe();
            match home.cancel_drain(&Holder::Shared) {
                Ok(was_draining) => {
                    let text =
                        if was_draining { "the drain is taken back" } else { "there was no drain" };
                    say(json, &Cancelled { ok: true, action: "cancel", was_draining }, text)
                }
                Err(error) => {
                    // Saying otherwise would leave a gateway closed and nobody knowing (U8, U38).
                    if json {
                        let was_draining = !matches!(before, Sighting::Absent);
                        say(json, &Cancelled { ok: false, action: "cancel", was_draining }, "")?;
                    }
                    Err(error.into())
                }
            }
        }
        Command::Status => status(&arguments.place.home()?, json),
        Command::Observe => {
            let home = arguments.place.home()?;
            let sighting = home.observe();
            let observed = Observed::of(&sighting, home.judge(&sighting));
            say(json, &observed, observed.verdict)
        }
        Command::Epoch => {
            #[derive(Serialize)]
            struct Reply<'a> {
                epoch: &'a str,
            }
            let epoch = Epoch::current();
            say(json, &Reply { epoch: epoch.as_str() }, epoch.as_str())
        }
    }
}

/// The reply of the drain endpoint, and the request's own name.
#[derive(Serialize)]
struct Drained {
    ok: bool,
    action: &'static str,
    requested_at: Option<String>,
    /// A live gateway says that its gate is closed for this request (TG-S5).
    draining: bool,
    /// The request is in place, and no live gateway has confirmed it yet.
    pending: bool,
    suppress_notification: bool,
    request_id: String,
}

fn drain(home: &Home, ask: &DrainRequest) -> Result<Drained, Failure> {
    let request = home.begin_drain(ask)?;
    let request_id = request.request_id().unwrap_or_default().to_owned();
    let began = Instant::now();
    // Whether the gateway has closed is for the gateway to say: never inferred from the file (U4).
    let draining = loop {
        let reading = match home.status() {
            Ok(reading) => reading,
            // The request is in place all the same; who cannot look cannot confirm it.
            Err(error) => {
                eprintln!("tidegate: {error}");
                break false;
            }
        };
        if reading.is_draining_for(&request_id) {
            break true;
        }
        if !reading.is_alive() || began.elapsed() > CONFIRMATION_PATIENCE {
            break false;
        }
        std::thread::sleep(CONFIRMATION_PAUSE);
    };
    Ok(Drained {
        ok: true,
        action: "drain",
        requested_at: request
            .requested_at()
            .map(|at| at.to_rfc3339_opts(chrono::SecondsFormat::Micros, false)),
        draining,
        pending: !draining,
        suppress_notification: request.terms().suppress_notification,
        request_id,
    })
}

#[derive(Serialize)]
struct Cancelled {
    ok: bool,
    action: &'static str,
    was_draining: bool,
}

#[derive(Serialize)]
struct Observed<'a> {
    requested: bool,
    suppressed: bool,
    verdict: &'static str,
    body: Option<&'a Body>,
}

impl Observed<'_> {
    fn of(sighting: &Sighting, verdict: Verdict) -> Observed<'_> {
        Observed {
            requested: verdict.asks_for_drain(),
            suppressed: matches!(verdict, Verdict::Active(terms) if terms.suppress_notification),
            verdict: verdict.word(),
            body: match sighting {
                Sighting::Present(request) => Some(request.body()),
                Sighting::Absent | Sighting::Unreadable(_) => None,
            },
        }
    }
}

#[derive(Serialize)]
struct StatusReply {
    #[serde(flatten)]
    file: Body,
    alive: bool,
    busy: bool,
    drainable: bool,
}

fn status(home: &Home, json: bool) -> Result<(), Failure> {
    let reading = home.status()?;
    let reply = StatusReply {
        // What it said when it lived is not what it is now.
        file: reading.body().clone().with_flag("ready", reading.is_ready()),
        alive: reading.is_alive(),
        busy: reading.is_busy(),
        drainable: reading.is_drainable(),
    };
    let state = reading.gateway_state().unwrap_or_else(|| "unknown".to_owned());
    let at_work = reading.active_agents().map_or("unknown".to_owned(), |count| count.to_string());
    let alive = if reading.is_alive() { "alive" } else { "not alive" };
    say(json, &reply, &format!("{alive}, {state}, {at_work} in flight"))
}

fn say(json: bool, reply: &impl Serialize, text: &str) -> Result<(), Failure> {
    let line =
        if json { serde_json::to_string(reply).map_err(io::Error::from)? } else { text.to_owned() };
    writeln!(io::stdout(), "{line}")?;
    Ok(())
}
