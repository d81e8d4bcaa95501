//! Shows the state of a gateway and its home. It changes nothing.

use std::fmt::Write;
use std::io::{IsTerminal, stdout};
use std::time::Duration;

use serde::Serialize;
use tidegate::RawObject;
use tidegate::control::Recipient;
use tidegate::control::Verdict;
use tidegate::epoch::{Epoch, Now};
use tidegate::home::Home;
use tidegate::internals::text::printable;
use tidegate::status::{HolderStatus, Reading};

use crate::Failure;
use crate::arguments::Check;
use crate::output::{self, Output};

#[derive(Serialize)]
struct StatusReply {
    #[serde(flatten)]
    file: RawObject,
    alive: bool,
    busy: bool,
    drainable: bool,
    /// The process that started the gateway, if it is gone while the lock is still held.
    #[serde(skip_serializing_if = "Option::is_none")]
    starter_gone: Option<u32>,
    /// A foreign gateway wrote the status and is running.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    other_make: bool,
}

impl StatusReply {
    fn of(reading: &Reading) -> StatusReply {
        StatusReply {
            // A gateway that has ended is not ready, whatever its last status says.
            file: reading.body().clone().with_flag("ready", reading.is_ready()),
            alive: reading.is_alive(),
            busy: reading.is_busy(),
            drainable: reading.is_drainable(),
            starter_gone: reading.starter_gone(),
            other_make: reading.is_foreign(),
        }
    }
}

pub fn status(home: &Home, output: Output) -> Result<(), Failure> {
    let reading = home.status()?;
    output.answer(&StatusReply::of(&reading), &table(home, &reading, Now::from_system_clock()))
}

/// Shows the status again and again. An error is shown too, and may pass.
pub fn watch(home: &Home, every: Duration, output: Output) -> Result<(), Failure> {
    let clear = if stdout().is_terminal() && !output.json { "\x1b[H\x1b[2J" } else { "" };
    loop {
        match home.status() {
            Ok(reading) => {
                let table = table(home, &reading, Now::from_system_clock());
                output.answer(&StatusReply::of(&reading), &format!("{clear}{table}\n"))?;
            }
            Err(error) if output.json => output::note(&error.to_string()),
            Err(error) => output::print(&format!("{clear}{}\n\n", printable(&error.to_string())))?,
        }
        std::thread::sleep(every);
    }
}

/// Whether the check succeeds. A status that cannot be read fails it.
pub fn is_so(home: &Home, check: Check) -> bool {
    home.status().is_ok_and(|reading| match check {
        Check::Ready => reading.is_ready(),
        Check::Alive => reading.is_alive(),
        Check::Quiesced => reading.is_quiesced(),
    })
}

/// A text of lines, each with a name and a value.
#[derive(Default)]
struct Table(String);

impl Table {
    fn row(&mut self, name: &str, value: &str) {
        // Writing to a string never fails.
        let separator = if self.0.is_empty() { "" } else { "\n" };
        let _ = write!(self.0, "{separator}{name:<11} {value}");
    }

    /// One row for each value; only the first has the name.
    fn rows(&mut self, name: &str, values: impl IntoIterator<Item = String>) {
        let mut name = name;
        for value in values {
            self.row(std::mem::take(&mut name), &value);
        }
    }
}

/// The status as a table for people.
fn table(home: &Home, reading: &Reading, now: Now) -> String {
    let body = reading.body();
    let text = |name| body.read::<String>(name).map(|text| printable(&text).into_owned());
    let mut table = Table::default();
    if reading.is_locked() && !reading.is_alive() {
        table.row("gateway", "starting: it holds the lock, but has not published a status yet");
    } else if body.is_empty() {
        if reading.is_alive() {
            table.row("gateway", "alive, but its status file is empty or not readable");
        } else {
            let path = home.path().display().to_string();
            let none = format!(
                "not running in {}, and there is no readable status file",
                printable(&path)
            );
            table.row("gateway", &none);
        }
    } else {
        let kind = text("kind").unwrap_or_else(|| "gateway".to_owned());
        let pid = body.read::<u64>("pid").map(|pid| format!(", pid {pid}")).unwrap_or_default();
        let state = text("gateway_state").unwrap_or_else(|| "not reported".to_owned());
        if reading.is_alive() {
            let make = if reading.is_foreign() { ", of another implementation" } else { "" };
            table.row("gateway", &format!("alive: {kind}{pid}{make}"));
            table.row("state", &state_of(reading, &state));
            table.row("in flight", &in_flight(reading));
            table.row("quiesced", &quiesced(reading, now));
        } else {
            table.row("gateway", &format!("not running; the last one was {kind}{pid}"));
            let when = text("updated_at").map(|at| format!(" at {at}")).unwrap_or_default();
            let why = text("exit_reason").map(|why| format!(", because of {why}"));
            table.row("last status", &format!("{state}{when}{}", why.unwrap_or_default()));
        }
    }
    if reading.is_alive() {
        // The ages and leases were right when the status was written, and it is written only when something changes.
        let since = age(reading, now).as_secs_f64();
        table.rows("held by", reading.holders().iter().map(|it| holder(it, since)));
        let work = reading.active_work().into_iter().map(|it| it.later_by(since).to_string());
        table.rows("waits for", work);
        let degraded = reading.degraded();
        table.rows("degraded", degraded.iter().map(|it| printable(it).into_owned()));
    } else if home.observe().verdict().asks_for_drain() {
        table.row("requested", "a drain: a gateway that starts here drains from the start");
    }
    table.0
}

/// The age of the status, by the wall clock.
fn age(reading: &Reading, now: Now) -> Duration {
    let age = reading.updated_at().map(|at| now.wall.signed_duration_since(at).to_std());
    age.and_then(Result::ok).unwrap_or_default()
}

fn state_of(reading: &Reading, state: &str) -> String {
    let lifecycle = reading.body().read::<String>("lifecycle");
    match lifecycle.as_deref() {
        Some("externally_draining") => "draining: no new user turn is admitted".to_owned(),
        Some("shutting_down") => "shutting down: no new user turn is admitted".to_owned(),
        Some("running") if reading.is_ready() => "running: new user turns are admitted".to_owned(),
        _ => state.to_owned(),
    }
}

fn in_flight(reading: &Reading) -> String {
    #[derive(serde::Deserialize)]
    struct ByOrigin {
        user: u64,
        internal: u64,
    }
    let Some(count) = reading.active_agents() else { return "not reported".to_owned() };
    match reading.body().read::<ByOrigin>("in_flight") {
        Some(it) if count > 0 => format!("{count}: {} user, {} internal", it.user, it.internal),
        _ => count.to_string(),
    }
}

fn quiesced(reading: &Reading, now: Now) -> String {
    match (reading.is_quiesced(), reading.quiesced_until()) {
        (false, _) if reading.is_idle() => {
            "no; idle, but internal work may start at any time".to_owned()
        }
        (false, _) => "no".to_owned(),
        (true, None) => "yes, but no end time is promised".to_owned(),
        (true, Some(until)) => {
            let left = if reading.recipient().shares_clock() {
                until.saturating_sub(now.uptime)
            } else {
                reading.quiesced_for().unwrap_or_default().saturating_sub(age(reading, now))
            };
            format!("yes, for {} more", seconds(left.as_secs_f64()))
        }
    }
}

fn holder(it: &HolderStatus, since: f64) -> String {
    let name = it.holder.as_deref().unwrap_or("the shared marker");
    let mut text = printable(name).into_owned();
    if let Some(by) = &it.principal {
        let _ = write!(text, ", signed by {}", printable(by));
    }
    if let Some(age) = it.age_s {
        let _ = write!(text, ", {} ago", seconds(age + since));
    }
    match it.lease_left_s {
        Some(left) => _ = write!(text, ", lease ends in {}", seconds(left - since)),
        None => text.push_str(", no lease"),
    }
    if it.hold_internal {
        text.push_str(", holds internal work");
    }
    if let Some(id) = &it.request_id {
        let _ = write!(text, ", request {}", printable(id));
    }
    text
}

fn seconds(seconds: f64) -> String {
    let whole = Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX).as_secs();
    humantime::format_duration(Duration::from_secs(whole)).to_string()
}

#[derive(Serialize)]
struct Observed<'a> {
    requested: bool,
    suppressed: bool,
    verdict: &'static str,
    body: Option<&'a RawObject>,
}

pub fn observe(home: &Home, output: Output) -> Result<(), Failure> {
    let observation = home.observe();
    let verdict = observation.verdict();
    let mut requests = observation.requests();
    let why = observation.complaint().or_else(|| why_unheard(verdict, observation.recipient()));
    let text = match why {
        Some(why) => format!("{} ({})", verdict.as_str(), printable(&why)),
        None => verdict.as_str().to_owned(),
    };
    let observed = Observed {
        requested: verdict.asks_for_drain(),
        suppressed: matches!(verdict, Verdict::Active(terms) if terms.suppress_notification),
        verdict: verdict.as_str(),
        body: requests.next().map(|(_, _, request)| request.body()),
    };
    output.answer(&observed, &text)
}

/// The reason why the requests are ignored, for people.
fn why_unheard(verdict: Verdict, recipient: &Recipient) -> Option<String> {
    let whose = if recipient.is_running() {
        "the running gateway"
    } else {
        "a gateway that starts in this boot and container"
    };
    match verdict {
        Verdict::StaleEpoch => Some(format!(
            "made in another boot or container than that of {whose}, which is {}; request the drain again",
            recipient.epoch()
        )),
        Verdict::OtherRun => {
            Some("made for a run of the gateway that is over; request the drain again".to_owned())
        }
        _ => None,
    }
}

pub fn epoch(output: Output) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Reply<'a> {
        epoch: &'a str,
    }
    let epoch = Epoch::current();
    output.answer(&Reply { epoch: epoch.as_str() }, epoch.as_str())
}

#[cfg(test)]
mod tests {
    use chrono::Utc;

    use super::*;

    fn shown(file: &str, alive: bool) -> String {
        let lock = RawObject::parse(br#"{"incarnation":"g"}"#);
        let reading = Reading::new(file.as_bytes(), lock.as_ref().filter(|_| alive));
        let dir = tempfile::tempdir().expect("temp dir");
        table(
            &Home::at(dir.path()),
            &reading,
            Now { uptime: Duration::from_secs(40), ..Now::from_system_clock() },
        )
    }

    #[test]
    fn an_operator_reads_who_holds_until_when_and_what_it_waits_for() {
        let text = shown(
            r#"{"incarnation":"g","kind":"chat","pid":7,"gateway_state":"draining",
            "lifecycle":"externally_draining","active_agents":2,"in_flight":{"user":1,"internal":1},
            "quiesced":false,"holders":[{"holder":"ci","principal":"al\u001bice","age_s":61.2,
            "lease_left_s":3599.9,"hold_internal":true,"request_id":"0af3"},{"holder":null}],
            "active_work":[{"label":"chat 7","origin":"user","age_s":12.0},
            {"kind":"agent","session":"s\n1","elapsed_s":3}],
            "degraded":[{"code":"x","detail":"one\u202e"},{"code":"y","detail":"two"}]}"#,
            true,
        );
        let expected = "\
gateway     alive: chat, pid 7
state       draining: no new user turn is admitted
in flight   2: 1 user, 1 internal
quiesced    no
held by     ci, signed by al\\u{1b}ice, 1m 1s ago, lease ends in 59m 59s, holds internal work, request 0af3
            the shared marker, no lease
waits for   chat 7 (user, 12 s)
            s\\n1 (agent, 3 s)
degraded    one\\u{202e}
            two";
        assert_eq!(text, expected);
    }

    #[test]
    fn ages_and_leases_are_as_of_now() {
        let at = (Utc::now() - Duration::from_secs(600)).to_rfc3339();
        let text = shown(
            &format!(
                r#"{{"incarnation":"g","updated_at":"{at}","holders":[{{"holder":"ci","age_s":0.5,
                "lease_left_s":3600.0}}],"active_work":[7,{{"label":"x","age_s":1.0}}]}}"#
            ),
            true,
        );
        assert!(text.contains("ci, 10m ago, lease ends in 49m 59s"), "{text}");
        assert!(
            text.contains("x (unknown, 601 s)"),
            "a value that is not an object hides nothing: {text}"
        );
    }

    #[test]
    fn a_promise_says_for_how_long_and_a_last_status_is_shown_as_the_last() {
        let quiesced = r#"{"incarnation":"g","quiesced":true,"quiesced_until":100000}"#;
        assert!(shown(quiesced, true).contains("quiesced    yes, for 1m more"), "{quiesced}");
        let dead = shown(
            r#"{"kind":"chat","pid":7,"gateway_state":"stopped","exit_reason":"sigterm","holders":[{}]}"#,
            false,
        );
        assert!(
            dead.starts_with("gateway     not running; the last one was chat, pid 7"),
            "{dead}"
        );
        assert!(dead.contains("because of sigterm") && !dead.contains("held by"), "{dead}");
        assert!(shown("", false).contains("not running in"));
        assert!(shown("", true).contains("starting"));
    }
}
