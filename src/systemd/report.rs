//! Decides what is reported to the service manager, and when. It is a pure function of the gateway's state, the last
//! report and the time. It sends nothing and waits for nothing.
//!
//! # Invariants
//!
//! * `READY=1` comes first, in a datagram without `STOPPING=1`: systemd obeys only one of the two in a datagram.
//! * No extension reaches beyond the shutdown's deadline plus [`LEAVING`].
//! * There is no ping while a round of the gateway's threads does not end. There is none after `STOPPING=1`: systemd
//!   stops its watchdog then, and a ping would start it again.
//! * A message is repeated until it is sent, and is never longer than systemd reads.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

use crate::gate::word::InFlight;
use crate::gateway::{Ended, StateSnapshot};
use crate::machine::Phase;
use crate::text::printable;
use crate::watcher::NextRound;

/// The interval at which the counts are read while draining or shutting down. Also the time after which a message that
/// was not sent is sent again.
const TICK: Duration = Duration::from_secs(1);

/// The longest extension of the stop timeout. It is repeated at each tick, so a process that hangs is killed soon, even
/// if its grace is long.
const EXTENSION_MAX: Duration = Duration::from_secs(10);

/// The time from a shutdown's deadline to the end of the process. It covers the last status, which takes two seconds at
/// most, and the embedder's own work after that.
pub(super) const LEAVING: Duration = Duration::from_secs(5);

/// The most holders that a status names.
const HOLDERS_MAX: usize = 5;
/// The most characters of each holder's name in a status.
const NAME_CHARS_MAX: usize = 64;

/// The state of the reports: what was sent, and the round counts that were seen.
#[derive(Debug)]
pub(super) struct Reporter {
    /// Half of the watchdog's period.
    ping_every: Option<Duration>,
    said: SentReport,
    /// The count of each thread's rounds, and the time since which it is unchanged.
    round_counts: Vec<(u64, Instant)>,
}

/// The messages that have been sent.
#[derive(Clone, Debug, Default)]
struct SentReport {
    is_ready: bool,
    is_stopping: bool,
    status: Option<SentStatus>,
    pinged: Option<Instant>,
    extended: Option<Instant>,
}

#[derive(Clone, Debug)]
struct SentStatus {
    /// Phase and quiesced. A change of these is reported at once, all others at the tick.
    urgent_part: (Phase, bool),
    text: String,
    at: Instant,
}

/// A message, and the state of the reports once it is sent.
#[derive(Debug)]
pub(super) struct ReportMessage {
    message: String,
    said: SentReport,
}

impl ReportMessage {
    /// The text of the datagram; empty if there is nothing to report.
    pub(super) fn message(&self) -> &str {
        &self.message
    }

    fn push(&mut self, state: &NotifyState<'_>) {
        // Writing to a string never fails.
        let _ = writeln!(self.message, "{state}");
    }
}

impl Reporter {
    pub(super) fn new(watchdog: Option<Duration>) -> Reporter {
        // A period of zero means no watchdog. A thread can keep a ping interval of a millisecond.
        let watchdog = watchdog.filter(|period| !period.is_zero());
        let ping_every = watchdog.map(|period| (period / 2).max(Duration::from_millis(1)));
        Reporter { ping_every, said: SentReport::default(), round_counts: Vec::new() }
    }

    /// The report that is due now.
    pub(super) fn report(
        &mut self,
        state_snapshot: &StateSnapshot,
        round_counts: &[u64],
        now: Instant,
    ) -> ReportMessage {
        let is_healthy = self.is_healthy(round_counts, now);
        let mut report = ReportMessage { message: String::new(), said: self.said.clone() };
        if !report.said.is_ready {
            report.said.is_ready = true;
            report.push(&NotifyState::Ready);
        } else if state_snapshot.condition.phase.is_shut() && !report.said.is_stopping {
            report.said.is_stopping = true;
            report.push(&NotifyState::Stopping);
        }
        // There is no extension at the deadline: the last one covers the time after it, even if the gateway hangs.
        if let Some(left) = state_snapshot.grace_left
            && !left.is_zero()
            && report.said.is_stopping
            && is_due(report.said.extended, TICK, now)
        {
            report.said.extended = Some(now);
            let extension = left.saturating_add(LEAVING).min(EXTENSION_MAX);
            let micros = u32::try_from(extension.as_micros()).unwrap_or(u32::MAX);
            report.push(&NotifyState::ExtendTimeoutUsec(micros));
        }
        if let Some(every) = self.ping_every
            && is_healthy
            && !report.said.is_stopping
            && is_due(report.said.pinged, every, now)
        {
            report.said.pinged = Some(now);
            report.push(&NotifyState::Watchdog);
        }
        let urgent_part = (state_snapshot.condition.phase, state_snapshot.condition.quiesced);
        let text = status_line(state_snapshot);
        let is_news = report.said.status.as_ref().is_none_or(|said| {
            said.text != text
                && (said.urgent_part != urgent_part || is_due(Some(said.at), TICK, now))
        });
        if is_news {
            report.push(&NotifyState::Status(&text));
            report.said.status = Some(SentStatus { urgent_part, text, at: now });
        }
        report
    }

    /// Records that the report was sent, or that it was empty.
    pub(super) fn sent(&mut self, report: ReportMessage) {
        self.said = report.said;
    }

    /// The time of the next round. A last message that could not be sent is not repeated.
    pub(super) fn next(
        &self,
        state_snapshot: &StateSnapshot,
        is_sent: bool,
        now: Instant,
    ) -> NextRound {
        let phase = state_snapshot.condition.phase;
        let is_to_stop = phase.is_shut() && !self.said.is_stopping;
        if phase == Phase::Stopped && !(is_sent && is_to_stop) {
            return NextRound::Never;
        }
        let retry = self.ping_every.map_or(TICK, |every| TICK.min(every / 2));
        let ping_every = self.ping_every.filter(|_| !self.said.is_stopping);
        let ping = ping_every.map(|every| match until_due(self.said.pinged, every, now) {
            // A ping is due but was not sent: the gateway is not healthy, or the socket failed.
            Duration::ZERO => retry,
            left => left,
        });
        let dues = [
            (!is_sent).then_some(retry),
            (is_sent && is_to_stop).then_some(Duration::ZERO),
            (phase != Phase::Running).then_some(TICK),
            ping,
        ];
        dues.into_iter().flatten().min().map_or(NextRound::WhenWoken, NextRound::Within)
    }

    /// Whether each of the gateway's threads is idle, or has begun its round within half of the watchdog's period.
    fn is_healthy(&mut self, round_counts: &[u64], now: Instant) -> bool {
        self.round_counts.resize(round_counts.len(), (0, now));
        for (seen, count) in self.round_counts.iter_mut().zip(round_counts) {
            if seen.0 != *count {
                *seen = (*count, now);
            }
        }
        let Some(every) = self.ping_every else { return true };
        let is_stuck = |(count, since): &(u64, Instant)| {
            count % 2 == 1 && now.saturating_duration_since(*since) >= every
        };
        !self.round_counts.iter().any(is_stuck)
    }
}

fn until_due(last: Option<Instant>, every: Duration, now: Instant) -> Duration {
    last.map_or(Duration::ZERO, |last| every.saturating_sub(now.saturating_duration_since(last)))
}

fn is_due(last: Option<Instant>, every: Duration, now: Instant) -> bool {
    until_due(last, every, now).is_zero()
}

/// One line for people. In the phase `running` it has no counts, because no round would update them.
fn status_line(state_snapshot: &StateSnapshot) -> String {
    let condition = state_snapshot.condition;
    let in_flight = in_flight(condition.in_flight);
    match condition.phase {
        Phase::Running => "running".to_owned(),
        Phase::ExternallyDraining => {
            let word = if condition.quiesced { "quiesced" } else { "draining" };
            format!("{word}{}; {in_flight}", for_holders(&state_snapshot.holders))
        }
        Phase::ShuttingDown => {
            let cause = state_snapshot.cause.map(|cause| format!(" ({cause})")).unwrap_or_default();
            let left = state_snapshot.grace_left.map(|left| {
                let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
                format!("; {seconds} s left at most")
            });
            format!("shutting down{cause}; {in_flight}{}", left.unwrap_or_default())
        }
        Phase::Stopped => match state_snapshot.ended {
            Some(Ended::TimedOut { in_flight }) => {
                let turns = if in_flight == 1 { "turn" } else { "turns" };
                format!("stopped with {in_flight} {turns} still in flight")
            }
            Some(Ended::Clean) | None => "stopped with nothing in flight".to_owned(),
        },
    }
}

fn in_flight(InFlight { user, internal }: InFlight) -> String {
    match (user, internal) {
        (0, 0) => "nothing in flight".to_owned(),
        _ => format!("in flight: {user} user, {internal} internal"),
    }
}

fn for_holders(holders: &[Option<String>]) -> String {
    // A holder may have two requests while it renews.
    let holders: BTreeSet<&str> =
        holders.iter().map(|name| name.as_deref().unwrap_or("the shared marker")).collect();
    let mut text = String::new();
    for (index, name) in holders.iter().take(HOLDERS_MAX).enumerate() {
        text.push_str(if index == 0 { " for " } else { ", " });
        let name = printable(name);
        text.extend(name.chars().take(NAME_CHARS_MAX));
        if name.chars().nth(NAME_CHARS_MAX).is_some() {
            text.push('…');
        }
    }
    if holders.len() > HOLDERS_MAX {
        let _ = write!(text, " and {} more", holders.len() - HOLDERS_MAX);
    }
    text
}

#[cfg(test)]
mod tests;
