//! The operator's hand on a home: ask for a drain, take it back, look. Thin: every decision is the
//! library's.

mod wait;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use serde::Serialize;
use tidegate::asked::{CONFIRMATION_PATIENCE, Goal, Missed, Reached};
use tidegate::control::Removed;
use tidegate::epoch::Epoch;
use tidegate::home::Home;
use tidegate::order::CancelTold;
use tidegate::reconcile::{Sighting, Verdict};
use tidegate::request::{DEFAULT_PRINCIPAL, DrainRequest, Holder, Request};
use tidegate::{ControlError, RawObject};

use wait::{Ended, Interrupt, wait_until};

/// Drains a gateway through its home directory, and releases it again.
///
/// Exit codes: 0 done, 1 failed, 2 wrong usage, 3 timed out, 4 drain lost or refused, 5 gateway gone.
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
    /// The permission bits of files it writes, in octal, such as 640. Without it, the group may read them
    /// where it may read the gateway's own.
    #[arg(long, global = true, value_parser = octal)]
    mode: Option<u32>,
}

#[derive(Subcommand)]
enum Command {
    /// Ask for a drain. Asking again refreshes the request.
    Drain(Ask),
    /// Ask again for what the holder asks already, without a gap.
    Renew {
        /// Whose request; the shared marker without it.
        #[arg(long, value_parser = Holder::named)]
        holder: Option<Holder>,
        /// How long it lives from now; as long as before without it.
        #[arg(long, value_parser = humantime::parse_duration)]
        lease: Option<Duration>,
    },
    /// Take the request back. Nothing to take back is no failure.
    Cancel {
        /// Whose request; the shared marker without it.
        #[arg(long, value_parser = Holder::named, conflicts_with = "all")]
        holder: Option<Holder>,
        /// Everybody's: for when whoever asked is gone.
        #[arg(long, requires = "force")]
        all: bool,
        /// Also what others ask for.
        #[arg(long, requires = "all")]
        force: bool,
        /// Who does this, for the log.
        #[arg(long, env = "USER", default_value = "somebody", hide_env_values = true)]
        by: String,
    },
    /// What the gateway says of itself, and whether it is alive.
    Status,
    /// What a gateway on this machine would see.
    Observe,
    /// The identity of this boot and container.
    Epoch,
}

#[derive(Args)]
struct Ask {
    /// Who asks, with a request of his own that nobody else's touches; the shared marker without it.
    #[arg(long, value_parser = Holder::named)]
    holder: Option<Holder>,
    /// Who signs.
    #[arg(long, default_value = DEFAULT_PRINCIPAL)]
    principal: String,
    /// Ask the gateway not to tell its users.
    #[arg(long)]
    suppress_notification: bool,
    /// Ask for the gate to be sealed once idle, so that internal work waits too. --wait asks for it
    /// unless told --idle-is-enough.
    #[arg(long)]
    hold_internal: bool,
    /// How long the request lives unless renewed.
    #[arg(long, value_parser = humantime::parse_duration, default_value = "1h")]
    lease: Duration,
    /// Wait until the gateway is quiesced: until a live one promises, for this very request, that
    /// nothing is in flight and nothing will be admitted. Where that cannot be had the request is
    /// taken back.
    #[arg(long)]
    wait: bool,
    /// How long to wait.
    #[arg(long, value_parser = humantime::parse_duration, default_value = "30s", requires = "wait")]
    timeout: Duration,
    /// Be content with an idle instant, which internal work may end.
    #[arg(long, requires = "wait", conflicts_with = "hold_internal")]
    idle_is_enough: bool,
    /// Leave the request in place where waiting fails or is interrupted.
    #[arg(long, requires = "wait")]
    keep: bool,
}

fn octal(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| *mode <= 0o777)
        .ok_or_else(|| "permission bits are up to three octal digits, as in 640".to_owned())
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("no home: give --home DIR, or set TIDEGATE_HOME")]
    NoHome,
    #[error(
        "a lease of {} would run out before a wait of {} does; give a longer --lease",
        humantime::format_duration(*lease),
        humantime::format_duration(*timeout)
    )]
    LeaseTooShort { lease: Duration, timeout: Duration },
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error("{ended}; {aftermath}")]
    Waiting { ended: Ended, aftermath: String },
    #[error("cannot listen for signals: {0}; nothing was asked")]
    Signals(io::Error),
    #[error("cannot print the answer: {0}")]
    Output(#[from] io::Error),
}

impl From<Failure> for ExitCode {
    fn from(failure: Failure) -> ExitCode {
        ExitCode::from(match failure {
            Failure::NoHome | Failure::LeaseTooShort { .. } => 2,
            Failure::Control(ControlError::NothingToRenew { .. }) => 4,
            Failure::Control(_) | Failure::Signals(_) | Failure::Output(_) => 1,
            Failure::Waiting { ended, .. } => match ended {
                Ended::Missed(Missed::TimedOut(_)) => 3,
                Ended::Missed(Missed::Lost(_) | Missed::Refused) => 4,
                Ended::Missed(Missed::Gone) => 5,
                Ended::Missed(_) | Ended::Interrupted => 1,
            },
        })
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
        let home = Home::at(path.ok_or(Failure::NoHome)?);
        Ok(match self.mode {
            Some(mode) => home.with_mode(mode),
            None => home,
        })
    }
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let json = arguments.json;
    match &arguments.command {
        Command::Drain(ask) if ask.wait => drain_and_wait(&arguments.place.home()?, ask, json),
        Command::Drain(ask) => drain(&arguments.place.home()?, ask, json),
        Command::Renew { holder, lease } => {
            let holder = holder.clone().unwrap_or_default();
            let request = arguments.place.home()?.renew_drain(&holder, *lease)?;
            let reply = Renewed {
                ok: true,
                action: "renew",
                requested_at: written_at(&request),
                request_id: request.request_id().unwrap_or_default(),
            };
            say(json, &reply, &format!("renewed: the request is now {}", reply.request_id))
        }
        Command::Cancel { all: true, by, .. } => cancel_all(&arguments.place.home()?, by, json),
        Command::Cancel { holder, .. } => {
            cancel(&arguments.place.home()?, &holder.clone().unwrap_or_default(), json)
        }
        Command::Status => status(&arguments.place.home()?, json),
        Command::Observe => {
            let observation = arguments.place.home()?.observe();
            let verdict = observation.verdict();
            let mut requests = observation.requests();
            let text = match observation.complaint() {
                Some(complaint) => format!("{} ({complaint})", verdict.word()),
                None => verdict.word().to_owned(),
            };
            let observed = Observed {
                requested: verdict.asks_for_drain(),
                suppressed: matches!(verdict, Verdict::Active(terms) if terms.suppress_notification),
                verdict: verdict.word(),
                body: requests.next().map(|(_, _, request)| request.body()),
            };
            say(json, &observed, &text)
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
struct Drained<'a> {
    ok: bool,
    action: &'static str,
    requested_at: Option<String>,
    /// A live gateway says that its gate is closed for this request (TG-S5).
    draining: bool,
    /// The request is in place, and no live gateway has confirmed it yet.
    pending: bool,
    suppress_notification: bool,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Drained<'_> {
    fn new(request: &Request, draining: bool) -> Drained<'_> {
        Drained {
            ok: true,
            action: "drain",
            requested_at: written_at(request),
            draining,
            pending: !draining,
            suppress_notification: request.terms().suppress_notification,
            request_id: request.request_id().unwrap_or_default(),
            error: None,
        }
    }

    /// Of a drain that did not come to be, and whose request still `stands` or does not.
    fn failed(request: &Request, stands: bool, error: String) -> Drained<'_> {
        let drained = Drained::new(request, false);
        Drained { ok: false, pending: stands, error: Some(error), ..drained }
    }
}

fn written_at(request: &Request) -> Option<String> {
    request.body().read("requested_at")
}

impl Ask {
    fn holder(&self) -> Holder {
        self.holder.clone().unwrap_or_default()
    }

    fn request(&self) -> DrainRequest {
        DrainRequest::by(&self.principal)
            .holder(self.holder())
            .suppress_notification(self.suppress_notification)
            .hold_internal(self.hold_internal || (self.wait && !self.idle_is_enough))
            .lease(self.lease)
    }
}

fn drain(home: &Home, ask: &Ask, json: bool) -> Result<(), Failure> {
    let request = home.begin_drain(&ask.request())?;
    // An interrupt ends this waiting as it ends any program: the request is to stay.
    let (goal, interrupt) = (Goal::Draining, Interrupt::default());
    let holder = ask.holder();
    let waited = wait_until(goal, home, &holder, &request, CONFIRMATION_PATIENCE, &interrupt);
    let Err(ended) = waited else {
        return say(json, &Drained::new(&request, true), "draining: the gate is closed");
    };
    let stands = match &ended {
        Ended::Missed(Missed::Gone | Missed::TimedOut(_)) => {
            let text = "asked: no live gateway has closed its gate for it yet";
            return say(json, &Drained::new(&request, false), text);
        }
        Ended::Missed(Missed::Lost(_)) => false,
        Ended::Missed(_) | Ended::Interrupted => true,
    };
    let aftermath = if stands { "the request stays" } else { "the request is gone" }.to_owned();
    let failure = Failure::Waiting { ended, aftermath };
    if json {
        say(json, &Drained::failed(&request, stands, failure.to_string()), "")?;
    }
    Err(failure)
}

/// What a controller may act on.
#[derive(Serialize)]
struct Waited<'a> {
    #[serde(flatten)]
    drained: Drained<'a>,
    quiesced: bool,
    /// The time since boot, in milliseconds, before which acting is safe.
    safe_until_uptime_ms: Option<u64>,
    safe_for_s: Option<f64>,
    /// The same on the wall clock, for people.
    safe_until: Option<String>,
}

fn drain_and_wait(home: &Home, ask: &Ask, json: bool) -> Result<(), Failure> {
    if ask.lease <= ask.timeout {
        return Err(Failure::LeaseTooShort { lease: ask.lease, timeout: ask.timeout });
    }
    // Before there is a request that an interrupt would leave behind.
    let interrupt = Interrupt::listen().map_err(Failure::Signals)?;
    let request = home.begin_drain(&ask.request()).inspect_err(|error| {
        if let (ControlError::NotDurable { request_id: Some(id), .. }, false) = (error, ask.keep) {
            // It may be in place, and who is told that it failed will not come back for it.
            let _ = home.cancel_request(&ask.holder(), id);
        }
    })?;
    let holder = ask.holder();
    let goal = if ask.idle_is_enough { Goal::Idle } else { Goal::Quiesced };
    let ended = match wait_until(goal, home, &holder, &request, ask.timeout, &interrupt) {
        Ok(reached) => return tell_reached(goal, &request, reached, json),
        Err(ended) => ended,
    };
    let id = request.request_id().unwrap_or_default();
    let (stands, aftermath) = if ask.keep {
        match home.look_at(&holder, id) {
            Sighting::Absent => (false, "the request is gone".to_owned()),
            Sighting::Present(_) | Sighting::Unreadable(_) => {
                (true, format!("the request {id} stays"))
            }
        }
    } else {
        match home.cancel_request(&holder, id) {
            Ok(true) => (false, "the request is taken back".to_owned()),
            Ok(false) => (false, "the request is gone".to_owned()),
            Err(error) => (true, format!("and the request could not be taken back: {error}")),
        }
    };
    let failure = Failure::Waiting { ended, aftermath };
    if json {
        let drained = Drained::failed(&request, stands, failure.to_string());
        let (safe_until_uptime_ms, safe_for_s, safe_until) = (None, None, None);
        let reply =
            Waited { drained, quiesced: false, safe_until_uptime_ms, safe_for_s, safe_until };
        say(json, &reply, "")?;
    }
    Err(failure)
}

fn tell_reached(
    goal: Goal,
    request: &Request,
    reached: Reached,
    json: bool,
) -> Result<(), Failure> {
    let quiesced = goal == Goal::Quiesced;
    let safe = reached.safe;
    let reply = Waited {
        drained: Drained::new(request, true),
        quiesced,
        safe_until_uptime_ms: safe.and_then(|it| it.until_uptime.as_millis().try_into().ok()),
        safe_for_s: safe.map(|it| it.left.as_secs_f64()),
        safe_until: safe.and_then(|it| it.until_text()),
    };
    let text = match (&reply.safe_until, reply.safe_for_s) {
        (Some(until), Some(seconds)) => {
            format!("quiesced: acting is safe until {until}, for {seconds:.1} s")
        }
        _ if quiesced => {
            "quiesced, and no time is promised: the gate opens when the request ends".to_owned()
        }
        _ => "idle: user turns are refused while the request lives; internal work may come at any time"
            .to_owned(),
    };
    say(json, &reply, &text)
}

#[derive(Serialize)]
struct Renewed<'a> {
    ok: bool,
    action: &'static str,
    requested_at: Option<String>,
    request_id: &'a str,
}

#[derive(Serialize)]
struct Cancelled {
    ok: bool,
    action: &'static str,
    was_draining: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    removed: Option<Vec<String>>,
}

fn cancel(home: &Home, holder: &Holder, json: bool) -> Result<(), Failure> {
    let cancelled = home.cancel_drain(holder);
    let CancelTold { ok, was_draining } = CancelTold::of(&cancelled);
    if json || ok {
        let text = if was_draining { "the drain is taken back" } else { "there was no such drain" };
        say(json, &Cancelled { ok, action: "cancel", was_draining, removed: None }, text)?;
    }
    Ok(cancelled.map(drop)?)
}

fn cancel_all(home: &Home, by: &str, json: bool) -> Result<(), Failure> {
    let (removed, result) = home.cancel_all(by);
    let told = removed.iter().map(|Removed { slot, request, .. }| {
        let principal = request.as_ref().and_then(Request::principal).unwrap_or("nobody named");
        format!("{slot} by {principal}")
    });
    let told: Vec<String> = told.collect();
    for request in &told {
        eprintln!("tidegate: {by} cancelled {request}");
    }
    let was_draining = !removed.is_empty() || result.is_err();
    let text = format!("{} requests are removed", told.len());
    let ok = result.is_ok();
    if json || ok {
        let reply = Cancelled { ok, action: "cancel", was_draining, removed: Some(told) };
        say(json, &reply, &text)?;
    }
    Ok(result?)
}

#[derive(Serialize)]
struct Observed<'a> {
    requested: bool,
    suppressed: bool,
    verdict: &'static str,
    body: Option<&'a RawObject>,
}

#[derive(Serialize)]
struct StatusReply {
    #[serde(flatten)]
    file: RawObject,
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
