//! Begins, renews and cancels a drain, and prints the result.

use std::time::{Duration, Instant};

use chrono::{SecondsFormat, TimeDelta};
use serde::Serialize;
use tidegate::ControlError;
use tidegate::control::CancelOutcome;
use tidegate::control::Recipient;
use tidegate::control::Removed;
use tidegate::control::Sighting;
use tidegate::epoch::Now;
use tidegate::home::Home;
use tidegate::internals::text::printable;
use tidegate::pending::{CONFIRMATION_TIMEOUT, Goal, PendingDrain, Reached, WaitFailed};
use tidegate::request::{Holder, Request};

use crate::Failure;
use crate::arguments::DrainArgs;
use crate::output::{Output, note};
use crate::wait::{Ended, Interrupt, wait_until};

/// The reply, as the HTTP endpoint gives it, with the id and the lease of the request.
#[derive(Serialize)]
struct Drained<'a> {
    ok: bool,
    action: &'static str,
    requested_at: Option<String>,
    /// A live gateway says that its gate is closed for this request (TG-S5).
    draining: bool,
    /// The request is written, and no live gateway has confirmed it yet.
    pending: bool,
    suppress_notification: bool,
    request_id: &'a str,
    /// The boot and container of the gateway that the request is for.
    epoch: Option<String>,
    /// Whose epoch that is: `gateway` for a running gateway, `next` for one that starts where this command runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch_of: Option<&'static str>,
    /// When the request ends unless it is renewed, by the wall clock.
    lease_ends_at: Option<String>,
    /// Why the request is pending, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
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
            epoch: request.body().read("epoch"),
            epoch_of: draining.then_some("gateway"),
            lease_ends_at: lease_ends_at(request),
            reason: None,
            error: None,
        }
    }

    /// The reply for a request that no gateway has confirmed, for this reason.
    fn pending<'a>(request: &'a Request, by_now: &Recipient, reason: String) -> Drained<'a> {
        let epoch_of = Some(if by_now.is_running() { "gateway" } else { "next" });
        Drained { epoch_of, reason: Some(reason), ..Drained::new(request, false) }
    }

    /// The reply for a drain that failed. The flag says whether its request still exists.
    fn failed(request: &Request, stands: bool, error: String) -> Drained<'_> {
        let drained = Drained::new(request, false);
        Drained { ok: false, pending: stands, error: Some(error), ..drained }
    }
}

/// When the request's lease ends, by the wall clock.
fn lease_ends_at(request: &Request) -> Option<String> {
    let lease = Duration::try_from_secs_f64(request.body().read("lease_s")?).ok()?;
    let end = request.requested_at()?.checked_add_signed(TimeDelta::from_std(lease).ok()?)?;
    Some(end.to_rfc3339_opts(SecondsFormat::Millis, true))
}

fn written_at(request: &Request) -> Option<String> {
    request.body().read("requested_at")
}

pub fn drain(home: &Home, ask: &DrainArgs, output: Output) -> Result<(), Failure> {
    let request = home.begin_drain(&ask.request())?;
    // Signals are not handled here: an interrupt ends the program, and the request stays as intended.
    let (goal, interrupt) = (Goal::Draining, Interrupt::default());
    let holder = ask.holder();
    let waited = wait_until(goal, home, &holder, &request, CONFIRMATION_TIMEOUT, &interrupt);
    let Err(mut ended) = waited else {
        output.receipt(&Drained::new(&request, true), "draining: the gate is closed");
        return Ok(());
    };
    if let Ended::WaitFailed(
        missed @ (WaitFailed::Gone | WaitFailed::Held { .. } | WaitFailed::TimedOut(_)),
    ) = &ended
    {
        let recipient = home.recipient()?;
        let drain = PendingDrain::new(&holder, &request);
        let Some(why) = drain.dead_reason(&recipient.judge(Now::from_system_clock())) else {
            let reason = why_pending(missed, &recipient);
            let text = format!("requested; no running gateway has confirmed it yet: {reason}");
            output.receipt(&Drained::pending(&request, &recipient, reason), &text);
            return Ok(());
        };
        ended = WaitFailed::Lost(why).into();
    }
    let (stands, request_state) = what_is_left(home, &holder, &request);
    let failure = Failure::Waiting { ended, request_state };
    output.failed(&Drained::failed(&request, stands, failure.to_string()));
    Err(failure)
}

/// The reason why no gateway has confirmed a request, for people.
fn why_pending(missed: &WaitFailed, recipient: &Recipient) -> String {
    match missed {
        WaitFailed::TimedOut(unmet_condition) => unmet_condition.clone(),
        missed if recipient.is_running() => missed.to_string(),
        missed => {
            format!("{missed}; the request is for a gateway that starts in this boot and container")
        }
    }
}

/// Whether a request that is not cancelled here still exists, with a text that says so.
fn what_is_left(home: &Home, holder: &Holder, request: &Request) -> (bool, String) {
    let id = request.request_id().unwrap_or_default();
    match home.find_request(holder, id) {
        Sighting::Absent => (false, "the request no longer exists".to_owned()),
        Sighting::Present(_) | Sighting::Unreadable(_) => {
            (true, format!("the request {id} still exists"))
        }
    }
}

/// A promise that nobody reads within this time is given up.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// The answer that a controller may act on.
#[derive(Serialize)]
struct Waited<'a> {
    #[serde(flatten)]
    drained: Drained<'a>,
    quiesced: bool,
    /// The time since boot, in milliseconds, before which acting is safe.
    safe_until_uptime_ms: Option<u64>,
    safe_for_s: Option<f64>,
    /// The same time by the wall clock, for people.
    safe_until: Option<String>,
}

pub fn drain_and_wait(home: Home, ask: &DrainArgs, output: Output) -> Result<(), Failure> {
    if ask.lease <= ask.timeout {
        return Err(Failure::LeaseTooShort { lease: ask.lease, timeout: ask.timeout });
    }
    // This precedes the request: otherwise an interrupt could leave the request behind.
    let interrupt = Interrupt::listen().map_err(Failure::Signals)?;
    // The same directory throughout, even if its path leads to another one later.
    let home = &home.keep_open()?;
    if !ask.idle_is_enough && home.status().is_ok_and(|it| it.is_foreign()) {
        // This precedes the request, which could never succeed.
        let (ended, request_state) =
            (WaitFailed::ForeignGateway.into(), "nothing was changed".to_owned());
        return Err(Failure::Waiting { ended, request_state });
    }
    let holder = ask.holder();
    let request = home.begin_drain(&ask.request()).inspect_err(|error| {
        if let (ControlError::NotDurable { request_id: Some(id), .. }, false) = (error, ask.keep) {
            // The request may exist, and a caller that learns of a failure does not cancel it.
            let _ = home.cancel_request(&holder, id);
        }
    })?;
    let goal = if ask.idle_is_enough { Goal::Idle } else { Goal::Quiesced };
    let ended = match wait_until(goal, home, &holder, &request, ask.timeout, &interrupt) {
        Ok(reached) => match answer_reached(goal, &request, reached, output, &interrupt) {
            Ok(()) => return Ok(()),
            Err(unanswered) => {
                let (_, request_state) = abandon(home, ask, &request);
                return Err(Failure::Unanswered { output: Box::new(unanswered), request_state });
            }
        },
        Err(ended) => ended,
    };
    let (stands, request_state) = abandon(home, ask, &request);
    let failure = Failure::Waiting { ended, request_state };
    let drained = Drained::failed(&request, stands, failure.to_string());
    let (safe_until_uptime_ms, safe_for_s, safe_until) = (None, None, None);
    output.failed(&Waited {
        drained,
        quiesced: false,
        safe_until_uptime_ms,
        safe_for_s,
        safe_until,
    });
    Err(failure)
}

/// Cancels this command's own request, unless `--keep` is given. Returns whether the request still exists, with a
/// text that says so.
fn abandon(home: &Home, ask: &DrainArgs, request: &Request) -> (bool, String) {
    let holder = ask.holder();
    if ask.keep {
        return what_is_left(home, &holder, request);
    }
    match home.cancel_request(&holder, request.request_id().unwrap_or_default()) {
        Ok(true) => (false, "the request is cancelled".to_owned()),
        Ok(false) => (false, "the request no longer exists".to_owned()),
        Err(error) => (true, format!("the request could not be cancelled: {error}")),
    }
}

fn answer_reached(
    goal: Goal,
    request: &Request,
    reached: Reached,
    output: Output,
    interrupt: &Interrupt,
) -> Result<(), Failure> {
    let quiesced = goal == Goal::Quiesced;
    let safe = reached.safe;
    let reply = Waited {
        drained: Drained::new(request, true),
        quiesced,
        safe_until_uptime_ms: safe.and_then(|it| it.until_uptime?.as_millis().try_into().ok()),
        safe_for_s: safe.map(|it| it.left.as_secs_f64()),
        safe_until: safe.and_then(|it| it.until_text()),
    };
    let text = match (&reply.safe_until, reply.safe_for_s) {
        (Some(until), Some(seconds)) => {
            format!("quiesced: acting is safe until {until}, for {seconds:.1} s")
        }
        _ if quiesced => {
            "quiesced; no end time is promised: the gate opens when the request ends".to_owned()
        }
        _ => "idle: user turns are refused while the request lives; internal work may start at any time"
            .to_owned(),
    };
    // A promise that is read after its end has no value.
    let until = Instant::now() + safe.map_or(ANSWER_TIMEOUT, |it| it.left.min(ANSWER_TIMEOUT));
    output.answer_while(&reply, &text, &|| !interrupt.is_asked() && Instant::now() < until)
}

#[derive(Serialize)]
struct Renewed<'a> {
    ok: bool,
    action: &'static str,
    requested_at: Option<String>,
    request_id: &'a str,
}

pub fn renew(
    home: &Home,
    holder: &Holder,
    lease: Option<Duration>,
    output: Output,
) -> Result<(), Failure> {
    let request = home.renew_drain(holder, lease)?;
    let reply = Renewed {
        ok: true,
        action: "renew",
        requested_at: written_at(&request),
        request_id: request.request_id().unwrap_or_default(),
    };
    output.receipt(&reply, &format!("renewed: the new request is {}", reply.request_id));
    Ok(())
}

#[derive(Serialize)]
struct Cancelled {
    ok: bool,
    action: &'static str,
    was_draining: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    removed: Option<Vec<String>>,
}

pub fn cancel(home: &Home, holder: &Holder, output: Output) -> Result<(), Failure> {
    let cancelled = home.cancel_drain(holder);
    let CancelOutcome { ok, was_draining } = CancelOutcome::of(&cancelled);
    // Without a home there is no drain.
    let was_draining = was_draining && !matches!(cancelled, Err(ControlError::NoHome { .. }));
    let reply = Cancelled { ok, action: "cancel", was_draining, removed: None };
    match cancelled {
        Ok(_) => {
            let text = if was_draining {
                "the request is cancelled"
            } else {
                "there was no request to cancel"
            };
            output.receipt(&reply, text);
            Ok(())
        }
        Err(error) => {
            output.failed(&reply);
            Err(error.into())
        }
    }
}

pub fn cancel_all(home: &Home, by: &str, output: Output) -> Result<(), Failure> {
    let (removed, result) = home.cancel_all(by);
    let names = removed.iter().map(|Removed { slot, request, .. }| {
        let principal =
            request.as_ref().and_then(Request::principal).unwrap_or("an unknown principal");
        format!("{slot} by {}", printable(principal))
    });
    let names: Vec<String> = names.collect();
    for request in &names {
        note(&format!("{by} cancelled {request}"));
    }
    let is_gone = matches!(result, Ok(()) | Err(ControlError::NoHome { .. }));
    let was_draining = !removed.is_empty() || !is_gone;
    let text = match names.len() {
        1 => "1 request is removed".to_owned(),
        count => format!("{count} requests are removed"),
    };
    let reply =
        Cancelled { ok: result.is_ok(), action: "cancel", was_draining, removed: Some(names) };
    match result {
        Ok(()) => {
            output.receipt(&reply, &text);
            Ok(())
        }
        Err(error) => {
            output.failed(&reply);
            Err(error.into())
        }
    }
}
