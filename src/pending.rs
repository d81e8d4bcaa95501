//! The progress of a drain that was requested, judged from one reading of the gateway's status. The command and the
//! HTTP endpoint wait by evaluating it again and again. The module itself never waits, and reads no file and no clock.
//!
//! # Invariants
//!
//! * **TG-S5 ack_means_closed**: only the answer of a running gateway for this very request shows that the gate has
//!   closed. The presence of the request proves nothing ([U4]).
//! * **TG-S14 receipt_is_true**: a drain that takes long is never confused with one that is lost, refused or
//!   impossible.
//!
//! [U4]: crate::guide::incidents#u4

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

use crate::epoch::Now;
use crate::error::ControlError;
use crate::faults::fault;
use crate::holder::Holder;
use crate::judge::{Judge, LeaseLeft, Validity};
use crate::reconcile::Sighting;
use crate::request::Request;
use crate::status::Reading;
use crate::text::printable;

/// How long a drain without a wait allows a running gateway to confirm that its gate is closed. After that the answer
/// is `pending`. It is several rounds of a watcher.
pub const CONFIRMATION_TIMEOUT: Duration = Duration::from_secs(5);

/// The pause between two looks.
pub const PAUSE: Duration = Duration::from_millis(20);

/// A promise that ends sooner than this is too short to act on, unless it ends with the holder's own lease.
const SAFE_WINDOW_MIN: Duration = Duration::from_secs(1);

/// In this time a foreign gateway looks at its marker several times.
const FOREIGN_CONFIRM_AFTER: Duration = Duration::from_secs(3);

/// The number of the gateway's problems that a text about the wait lists.
const COMPLAINTS_MAX: usize = 3;

/// The state that a caller waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Goal {
    /// A running gateway says that its gate is closed for the request.
    Draining,
    /// It also says that nothing is in flight. This is a reading: internal work may start again.
    Idle,
    /// It also says that nothing at all will be admitted. This is a promise.
    Quiesced,
}

/// The goal is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reached {
    /// The promise of the gateway, if the goal was [`Goal::Quiesced`] and the gateway gives one.
    pub safe: Option<SafeWindow>,
}

/// How long it is safe to act, as of one reading of the clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SafeWindow {
    /// The time since boot before which it is safe; `None` if the gateway has another boot clock.
    pub until_uptime: Option<Duration>,
    /// The time left until then.
    pub left: Duration,
    /// The same time by the wall clock, for people; `None` if the wall clock cannot show it.
    pub until: Option<DateTime<Utc>>,
}

impl SafeWindow {
    /// [`until`](SafeWindow::until) as text: to the millisecond, in UTC.
    #[must_use]
    pub fn until_text(&self) -> Option<String> {
        self.until.map(|until| until.to_rfc3339_opts(SecondsFormat::Millis, true))
    }
}

/// The goal is not reached, and why.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WaitFailed {
    /// The goal was not reached in the time that the caller waits.
    #[error("timed out: {0}")]
    TimedOut(String),
    /// The request was in place and no longer counts, or the gateway no longer drains for it.
    #[error("the drain is lost: {0}")]
    Lost(&'static str),
    /// The gateway is shutting down and no longer drains.
    #[error("refused: the gateway is shutting down, and a shutdown overrides a drain")]
    Refused,
    /// No gateway is running on the home.
    #[error("no gateway is running on this home, or it has not published a status yet")]
    Gone,
    /// No gateway is running, but this process keeps every gateway out of the home.
    #[error(
        "no gateway is running on this home, but process {pid} holds its directory; see what it is, and stop it"
    )]
    Held {
        /// The process id.
        pid: u32,
    },
    /// The gateway is a foreign one, and promises nothing.
    #[error(
        "the gateway on this home is of another implementation (it holds `gateway.lock`) and can only report that it is idle; use `--idle-is-enough`"
    )]
    ForeignGateway,
    /// The request or the status cannot be read.
    #[error(transparent)]
    Control(#[from] ControlError),
}

/// A request that was made, and what readings have shown of it so far.
///
/// ```
/// use tidegate::{Gateway, home::Home, pending::{Goal, PendingDrain}};
/// use tidegate::request::{DrainRequest, Holder};
/// let dir = tempfile::tempdir()?;
/// let gateway = Gateway::builder(dir.path()).start()?;
/// let home = Home::at(dir.path());
/// let request = home.begin_drain(&DrainRequest::new("update"))?;
/// let mut drain = PendingDrain::new(&Holder::Shared, &request);
/// gateway.reconcile_now();
/// let (reached, _) = home.check_drain(&mut drain, Goal::Idle)?;
/// assert!(reached.is_some(), "closed, and nothing is in flight");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct PendingDrain<'a> {
    holder: &'a Holder,
    request: &'a Request,
    /// The gateway that has said it drains for the request. It may not withdraw that.
    acknowledged: Option<Incarnation>,
    /// The last status that was read: its incarnation, its sequence number, and when it was read by the reader's boot
    /// clock.
    last: Option<(Incarnation, Option<u64>, Duration)>,
    /// The time, by the reader's boot clock, after which the last status was written.
    written_after: Duration,
    /// The time, by the reader's boot clock, since which a foreign gateway has said that it drains.
    draining_since: Option<Duration>,
    /// The time, by the reader's boot clock, since which a process holds the home without a status.
    silent_since: Option<Duration>,
}

/// The gateway's promise, as of the judge's clocks. The status is no older than `age`.
fn promise(reading: &Reading, judge: &Judge<'_>, age: Duration) -> Option<SafeWindow> {
    let now = judge.now();
    let (until_uptime, left) = if judge.has_boot_clock() {
        let until = reading.quiesced_until()?;
        (Some(until), until.saturating_sub(now.uptime))
    } else {
        (None, reading.quiesced_for()?.saturating_sub(age))
    };
    let until = TimeDelta::from_std(left).ok();
    let until = until.and_then(|left| now.wall.checked_add_signed(left));
    Some(SafeWindow { until_uptime, left, until })
}

/// The incarnation in a status; `None` if the status has none.
type Incarnation = Option<String>;

impl<'a> PendingDrain<'a> {
    /// A new wait for this request of this holder, before any reading.
    #[must_use]
    pub fn new(holder: &'a Holder, request: &'a Request) -> PendingDrain<'a> {
        let (acknowledged, draining_since, silent_since) = (None, None, None);
        let (last, written_after) = (None, Duration::ZERO);
        PendingDrain {
            holder,
            request,
            acknowledged,
            last,
            written_after,
            draining_since,
            silent_since,
        }
    }

    pub(crate) fn holder(&self) -> &Holder {
        self.holder
    }

    /// The id of the request; empty if it has none.
    pub(crate) fn id(&self) -> &'a str {
        self.request.request_id().unwrap_or_default()
    }

    /// Evaluates one reading: `Some` if the goal is reached, `None` if it may still be reached. `sighting` is what the
    /// request's own slot holds. Read it and the judge's clocks *after* the reading: the reading is then from an
    /// earlier time, never from a later one.
    ///
    /// # Errors
    ///
    /// [`WaitFailed::Gone`], [`WaitFailed::Held`], [`WaitFailed::Refused`], [`WaitFailed::Lost`] or
    /// [`WaitFailed::ForeignGateway`] if the goal cannot be reached.
    // Property: TG-S5 ack_means_closed.
    pub fn evaluate(
        &mut self,
        goal: Goal,
        reading: &Reading,
        sighting: &Sighting,
        judge: &Judge<'_>,
    ) -> Result<Option<Reached>, WaitFailed> {
        let now = judge.now();
        let id = self.id();
        if !reading.is_alive() {
            return self.silence(reading, now.uptime);
        }
        self.silent_since = None;
        if reading.is_shutting_down() {
            return Err(WaitFailed::Refused);
        }
        if reading.is_foreign() && goal == Goal::Quiesced {
            return Err(WaitFailed::ForeignGateway);
        }
        let says_so = reading.is_draining_for(self.holder, id);
        let draining = if reading.is_foreign() {
            self.is_meant(says_so, reading, now.uptime)
        } else {
            says_so
        };
        let incarnation = reading.incarnation();
        self.dates(reading, now);
        match &self.acknowledged {
            // A gateway that died may have a successor. It honours the request once it has looked.
            Some(by) if !draining && *by != incarnation && !fault!(SuccessorIsALoss) => {
                self.acknowledged = None;
            }
            Some(_) if !draining => {
                return Err(WaitFailed::Lost("the gateway no longer drains for this request"));
            }
            _ if draining => self.acknowledged = Some(incarnation),
            _ => {}
        }
        // This holds even if the gateway has not yet seen that the request is gone.
        if *sighting == Sighting::Absent {
            return Err(WaitFailed::Lost("its request was cancelled or replaced"));
        }
        // The request is dead, so a gateway that has not seen it yet never drains for it.
        if !draining && let Some(why) = self.dead_reason(judge) {
            return Err(WaitFailed::Lost(why));
        }
        let reached = match goal {
            Goal::Draining => draining,
            Goal::Idle => draining && reading.is_idle(),
            Goal::Quiesced => reading.is_quiesced_for(self.holder, id),
        };
        if !reached {
            return Ok(None);
        }
        let age = now.uptime.saturating_sub(self.written_after);
        let safe = (goal == Goal::Quiesced).then(|| promise(reading, judge, age)).flatten();
        // A promise to all holders ends with the first of their leases. If that is another holder's and about to end, a
        // longer promise follows in a moment.
        let ends_soon = safe.is_some_and(|safe| safe.left < SAFE_WINDOW_MIN);
        if ends_soon && !safe.is_some_and(|safe| self.ends_with_own(safe, judge)) {
            return Ok(None);
        }
        Ok(Some(Reached { safe }).filter(|_| safe.is_none_or(|safe| !safe.left.is_zero())))
    }

    /// Records a bound for the age of the status, without a clock of the gateway's. The status was written after the
    /// previous look if that look found another one. At the first look, it was written after the request: it names the
    /// request.
    fn dates(&mut self, reading: &Reading, now: Now) {
        let (incarnation, sequence) = (reading.incarnation(), reading.body().read("sequence"));
        match &self.last {
            Some((whose, number, _)) if (whose, number) == (&incarnation, &sequence) => {}
            Some((_, _, looked)) => self.written_after = *looked,
            None => {
                let made = self.request.requested_at();
                let since = made.map(|made| now.wall.signed_duration_since(made).to_std());
                let since = since.and_then(Result::ok).unwrap_or_default();
                self.written_after = now.uptime.saturating_sub(since);
            }
        }
        self.last = Some((incarnation, sequence, now.uptime));
    }

    /// Whether the promise ends because the holder's own lease ends.
    fn ends_with_own(&self, safe: SafeWindow, judge: &Judge<'_>) -> bool {
        match (safe.until_uptime, judge.lease_ends_at_uptime(self.request)) {
            (Some(until), Some(end)) => until.as_millis() == end.as_millis(),
            (Some(_), None) => false,
            // By the wall clock neither time is exact.
            (None, _) => {
                matches!(judge.lease_left(self.request), LeaseLeft::For(left) if left < SAFE_WINDOW_MIN)
            }
        }
    }

    /// Whether a foreign gateway drains for this request, and not for an earlier one. It does if it wrote its status
    /// after the request was made. It also does if it has said so during several of its looks.
    fn is_meant(&mut self, says_so: bool, reading: &Reading, now: Duration) -> bool {
        if !says_so {
            self.draining_since = None;
            return false;
        }
        let since = *self.draining_since.get_or_insert(now);
        let is_newer = reading.updated_at() > self.request.requested_at();
        is_newer || now.saturating_sub(since) >= FOREIGN_CONFIRM_AFTER
    }

    /// The reason why no gateway can close its gate for the request; `None` if one still can.
    #[must_use]
    pub fn dead_reason(&self, judge: &Judge<'_>) -> Option<&'static str> {
        match judge.validity(self.request) {
            Validity::Live => None,
            Validity::Expired => Some("its lease expired before the gateway closed its gate"),
            Validity::OtherRun => Some("the run of the gateway that it was for is over"),
            Validity::StaleEpoch => {
                Some("the gateway that it was for is of another boot or container")
            }
        }
    }

    /// Handles a reading without a running gateway. A process that holds the home may be a gateway that is starting, or
    /// one that is about to restore its lock file.
    fn silence(&mut self, reading: &Reading, now: Duration) -> Result<Option<Reached>, WaitFailed> {
        let held_by = reading.held_by();
        // A gateway that confirmed the drain and did not say that it stops may be restarted in a moment.
        let has_died = self.acknowledged.is_some() && !reading.is_shutting_down();
        if held_by.is_none() && !reading.is_locked() && !has_died {
            return Err(WaitFailed::Gone);
        }
        let since = *self.silent_since.get_or_insert(now);
        if now.saturating_sub(since) < CONFIRMATION_TIMEOUT {
            return Ok(None);
        }
        Err(held_by.map_or(WaitFailed::Gone, |pid| WaitFailed::Held { pid }))
    }

    /// What the wait is still missing, by the last reading, as a text for people.
    #[must_use]
    pub fn unmet_condition(&self, reading: &Reading) -> String {
        // A caller would wait in vain for a request that the gateway ignores, such as one from another container (U10).
        let complaints = reading.degraded();
        let mut degraded = String::new();
        for complaint in complaints.iter().take(COMPLAINTS_MAX) {
            degraded += "; ";
            degraded += &printable(complaint);
        }
        if complaints.len() > COMPLAINTS_MAX {
            degraded += "; the status lists more";
        }
        let named: Vec<String> = reading.active_work().iter().map(ToString::to_string).collect();
        let named =
            if named.is_empty() { String::new() } else { format!(": {}", named.join(", ")) };
        match reading.active_agents() {
            // A count from before the gate closed is out of date.
            _ if self.acknowledged.is_none() => {
                format!("the gateway has not closed its gate for this request yet{degraded}")
            }
            Some(0) if reading.is_quiesced() => {
                format!("another holder's lease expires in a moment{degraded}")
            }
            Some(count) => format!("{count} in flight{named}{degraded}"),
            None => format!("the gateway does not report what is in flight{degraded}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::epoch::examples::epoch;
    use crate::json::RawObject;
    use crate::request::DrainRequest;

    const AT: Duration = Duration::from_secs(1000);

    fn now_at(uptime: Duration) -> Now {
        Now { uptime, ..Now::from_system_clock() }
    }

    fn reading(text: &str) -> Reading {
        let lock = RawObject::parse(br#"{"incarnation":"g"}"#);
        Reading::new(text.as_bytes(), lock.as_ref())
    }

    fn ci() -> Holder {
        Holder::named("ci").expect("a name")
    }

    /// A request of `ci` with this lease, asked for at [`AT`].
    fn request(lease: Duration) -> Request {
        let ask =
            DrainRequest::new("ci").with_holder(ci()).with_hold_internal(true).with_lease(lease);
        ask.stamp("1", &epoch(), now_at(AT))
    }

    fn quiesced_until(uptime_ms: u64) -> Reading {
        reading(&format!(
            r#"{{"incarnation":"g","lifecycle":"externally_draining","idle":true,"quiesced":true,
            "quiesced_until":{uptime_ms},
            "holders":[{{"holder":"ci","request_id":"1","hold_internal":true}}]}}"#
        ))
    }

    /// A promise that is about to end with another holder's lease is waited out. One that ends with the holder's own
    /// lease cannot get longer (F9).
    #[test]
    fn a_promise_that_ends_at_once_is_taken_only_if_it_is_one_s_own() {
        let own = request(Duration::from_millis(10_500));
        // A lease in a file may have fractions of a millisecond. A promise has none.
        let finer = br#"{"epoch":"boot:","request_id":"1","hold_internal":true,
            "requested_uptime_ms":1000000,"lease_s":10.5004}"#;
        let finer = Request::parse(finer);
        for (request, until, at_ms, is_reached) in [
            (&own, 1_010_500, 1_010_000, true),
            (&own, 1_010_400, 1_010_000, false),
            (&own, 1_010_500, 1_010_500, false),
            (&own, 1_010_400, 1_009_400, true),
            (&finer, 1_010_500, 1_010_000, true),
        ] {
            let holder = ci();
            let looked = PendingDrain::new(&holder, request).evaluate(
                Goal::Quiesced,
                &quiesced_until(until),
                &Sighting::Present(request.clone()),
                &Judge::new(&epoch(), now_at(Duration::from_millis(at_ms))),
            );
            let reached = looked.expect("it may come").is_some();
            assert_eq!(reached, is_reached, "{until} at {at_ms}");
        }
    }

    #[test]
    fn a_drain_that_is_another_s_is_not_one_s_own() {
        let (request, holder) = (request(Duration::from_secs(5)), ci());
        let sighting = Sighting::Present(request.clone());
        let idle =
            r#"{"incarnation":"g","lifecycle":"externally_draining","idle":true,"holders":[]}"#;
        let look = |goal, at| {
            let reading = reading(idle);
            PendingDrain::new(&holder, &request).evaluate(
                goal,
                &reading,
                &sighting,
                &Judge::new(&epoch(), now_at(at)),
            )
        };
        assert!(look(Goal::Idle, AT).expect("it may come").is_none());
        assert!(look(Goal::Draining, AT).expect("it may come").is_none());
        let expired = look(Goal::Idle, AT + Duration::from_secs(5));
        assert!(matches!(expired, Err(WaitFailed::Lost(_))), "{expired:?}");
    }

    #[test]
    fn the_end_of_a_safe_window_is_shown_in_utc_to_the_millisecond() {
        let wall = DateTime::<Utc>::from_timestamp_millis(1_700_000_000_250).expect("in range");
        let safe = SafeWindow { until_uptime: Some(AT), left: AT, until: Some(wall) };
        assert_eq!(safe.until_text().as_deref(), Some("2023-11-14T22:13:20.250Z"));
        assert_eq!(SafeWindow { until: None, ..safe }.until_text(), None);
    }

    /// A drain that was confirmed and is no longer there is lost. Before it is confirmed, it may still come.
    #[test]
    fn a_drain_that_was_acknowledged_and_is_gone_is_lost() {
        let (request, holder) = (request(Duration::from_secs(60)), ci());
        let draining = r#"{"incarnation":"g","lifecycle":"externally_draining","active_agents":2,
            "holders":[{"holder":"ci","request_id":"1"}]}"#;
        let running = r#"{"incarnation":"g","lifecycle":"running","active_agents":2}"#;
        let (sighting, epoch) = (Sighting::Present(request.clone()), epoch());
        let judge = Judge::new(&epoch, now_at(AT));
        let mut drain = PendingDrain::new(&holder, &request);
        let mut look = |goal, text: &str| {
            let looked = drain.evaluate(goal, &reading(text), &sighting, &judge);
            (looked, drain.unmet_condition(&reading(text)))
        };
        let (looked, unmet_condition) = look(Goal::Idle, running);
        assert!(looked.expect("it may come").is_none());
        assert!(
            unmet_condition.starts_with("the gateway has not closed its gate"),
            "{unmet_condition}"
        );
        let (looked, unmet_condition) = look(Goal::Idle, draining);
        assert!(looked.expect("it may come").is_none());
        assert_eq!(unmet_condition, "2 in flight");
        // A second confirmation changes nothing.
        assert!(look(Goal::Draining, draining).0.expect("it is there").is_some());
        assert!(matches!(look(Goal::Idle, running).0, Err(WaitFailed::Lost(_))));
    }

    /// Found in the field: the gateway was killed and restarted during the wait, and the drain was reported as lost.
    #[test]
    fn a_successor_is_waited_for() {
        let (request, holder) = (request(Duration::from_secs(60)), ci());
        let draining = r#""lifecycle":"externally_draining","active_agents":0,
            "holders":[{"holder":"ci","request_id":"1"}]}"#;
        let epoch = epoch();
        let judge = Judge::new(&epoch, now_at(AT));
        let mut drain = PendingDrain::new(&holder, &request);
        let mut look = |incarnation: &str, rest: &str, sighting: &Sighting| {
            let text = format!(r#"{{"incarnation":"{incarnation}",{rest}"#);
            let lock = RawObject::parse(format!(r#"{{"incarnation":"{incarnation}"}}"#).as_bytes());
            let reading = Reading::new(text.as_bytes(), lock.as_ref());
            drain.evaluate(Goal::Draining, &reading, sighting, &judge).map(|it| it.is_some())
        };
        let there = Sighting::Present(request.clone());
        assert!(look("a", draining, &there).expect("it drains"));
        assert!(!look("b", r#""lifecycle":"starting"}"#, &there).expect("it starts"));
        assert!(!look("b", r#""lifecycle":"running"}"#, &there).expect("it has not looked"));
        assert!(look("b", draining, &there).expect("it drains"));
        let lost = look("b", r#""lifecycle":"running"}"#, &there);
        assert!(matches!(lost, Err(WaitFailed::Lost(_))), "{lost:?}");
        let lost = look("c", r#""lifecycle":"starting"}"#, &Sighting::Absent);
        assert!(matches!(lost, Err(WaitFailed::Lost(_))), "{lost:?}");
    }

    /// A foreign gateway names no request. Its status is believed once it cannot be about an earlier request.
    #[test]
    fn a_neighbour_is_believed_once_it_must_have_seen_the_request() {
        let (request, epoch) = (request(Duration::from_secs(60)), epoch());
        let (sighting, made) = (Sighting::Present(request.clone()), request.requested_at());
        let made = made.expect("dated");
        let says = |state: &str, agents: u8, wrote: i64| {
            let at = (made + TimeDelta::milliseconds(wrote)).to_rfc3339();
            let text = format!(
                r#"{{"pid":7,"gateway_state":"{state}","active_agents":{agents},"updated_at":"{at}"}}"#
            );
            Reading::of_foreign_gateway(text.as_bytes(), Some(7))
        };
        let look = |drain: &mut PendingDrain<'_>, goal, reading: &Reading, after: u64| {
            let now = now_at(AT + Duration::from_millis(after));
            drain
                .evaluate(goal, reading, &sighting, &Judge::new(&epoch, now))
                .map(|it| it.is_some())
        };
        let holder = Holder::Shared;
        let drain = || PendingDrain::new(&holder, &request);
        // Written after the request.
        let newer = says("draining", 0, 1);
        assert!(look(&mut drain(), Goal::Idle, &newer, 0).expect("idle"));
        assert!(!look(&mut drain(), Goal::Idle, &says("draining", 1, 1), 0).expect("busy"));
        assert!(matches!(
            look(&mut drain(), Goal::Quiesced, &newer, 0),
            Err(WaitFailed::ForeignGateway)
        ));
        // Written before the request, and repeated for three seconds.
        let (older, mut waits) = (says("draining", 0, 0), drain());
        for (after, is_idle) in [(100, false), (3099, false), (3100, true)] {
            assert_eq!(look(&mut waits, Goal::Idle, &older, after).expect("may come"), is_idle);
        }
        let running = says("running", 0, 1);
        assert!(!look(&mut drain(), Goal::Idle, &running, 0).expect("may come"));
        // What it said before it reopened does not count.
        let mut waits = drain();
        for (reading, after) in [(&older, 0), (&running, 2000), (&older, 4000)] {
            assert!(!look(&mut waits, Goal::Idle, reading, after).expect("may come"));
        }
        let stopped = says("stopped", 0, 1);
        assert!(matches!(look(&mut drain(), Goal::Idle, &stopped, 0), Err(WaitFailed::Refused)));
    }

    /// On another boot clock a promise is given by its duration. The greatest age of the status is known without a
    /// clock of the gateway's. The status names the request, so the request is older. The last look that found another
    /// status is older too (F20).
    #[test]
    fn a_promise_on_another_clock_is_given_by_its_duration() {
        let (request, holder, epoch) = (request(Duration::from_secs(60)), ci(), epoch());
        let made = request.requested_at().expect("dated");
        let sighting = Sighting::Present(request.clone());
        let look = |drain: &mut PendingDrain<'_>, after: u64, left: f64, sequence: u64| {
            let reading = reading(&format!(
                r#"{{"incarnation":"g","lifecycle":"externally_draining","idle":true,"quiesced":true,
                "quiesced_until":5,"quiesced_for_s":{left},"sequence":{sequence},
                "holders":[{{"holder":"ci","request_id":"1","hold_internal":true}}]}}"#
            ));
            let after = Duration::from_secs(after);
            let judge = Judge::new(&epoch, Now { uptime: AT + after, wall: made + after });
            let looked =
                drain.evaluate(Goal::Quiesced, &reading, &sighting, &judge.with_wall_clock_only());
            let reached = looked.expect("it may come")?;
            let safe = reached.safe.expect("it ends");
            assert_eq!(safe.until_uptime, None);
            Some(safe.left.as_secs())
        };
        let drain = || PendingDrain::new(&holder, &request);
        for (left, after, safe_for) in [(60.0, 20, Some(40)), (60.0, 60, None), (20.5, 20, None)] {
            assert_eq!(look(&mut drain(), after, left, 1), safe_for, "{left} after {after}");
        }
        let mut waits = drain();
        assert_eq!(look(&mut waits, 20, 40.0, 1), Some(20));
        assert_eq!(look(&mut waits, 22, 40.0, 1), Some(18), "it is the same status");
        assert_eq!(look(&mut waits, 24, 36.0, 2), Some(34), "written after the last look");
        assert_eq!(look(&mut waits, 25, 36.0, 2), Some(33));
    }

    /// A process that holds the home without a status may be a gateway that is about to write one (F18).
    #[test]
    fn a_silent_gateway_is_waited_for_only_so_long() {
        let (request, holder) = (request(Duration::from_secs(60)), ci());
        let (sighting, epoch) = (Sighting::Present(request.clone()), epoch());
        let held = Reading::new(b"", None).with_holder(Some(7));
        let locked = Reading::new(b"", RawObject::parse(br#"{"incarnation":"g"}"#).as_ref());
        let nobody = Reading::new(b"", None);
        for (reading, is_waited_for) in [(held, true), (locked, true), (nobody, false)] {
            let mut drain = PendingDrain::new(&holder, &request);
            let mut look = |after| {
                let judge = Judge::new(&epoch, now_at(AT + after));
                drain.evaluate(Goal::Draining, &reading, &sighting, &judge)
            };
            for seconds in [0, 4] {
                let looked = look(Duration::from_secs(seconds));
                assert_eq!(looked.is_ok(), is_waited_for, "{looked:?}");
            }
            let looked = look(CONFIRMATION_TIMEOUT);
            let is_held = matches!(looked, Err(WaitFailed::Held { pid: 7 }));
            assert!(is_held || matches!(looked, Err(WaitFailed::Gone)), "{looked:?}");
            assert_eq!(is_held, reading.held_by().is_some());
        }
    }

    #[test]
    fn a_wait_for_another_holder_s_lease_says_so() {
        let (request, holder) = (request(AT), ci());
        let mut drain = PendingDrain::new(&holder, &request);
        let (sighting, epoch) = (Sighting::Present(request.clone()), epoch());
        let text = r#"{"incarnation":"g","lifecycle":"externally_draining","active_agents":0,
            "idle":true,"quiesced":QUIESCED,"holders":[{"holder":"ci","request_id":"1"}]}"#;
        for (quiesced, told) in [("true", "another holder's lease"), ("false", "0 in flight")] {
            let reading = reading(&text.replace("QUIESCED", quiesced));
            let judge = Judge::new(&epoch, now_at(AT));
            let looked = drain.evaluate(Goal::Draining, &reading, &sighting, &judge);
            assert!(looked.expect("it is there").is_some());
            let unmet_condition = drain.unmet_condition(&reading);
            assert!(unmet_condition.starts_with(told), "{unmet_condition}");
        }
        let three = r#"{"detail":"a"},{"detail":"b"},{"detail":"c"}"#;
        let text = format!(r#"{{"incarnation":"g","lifecycle":"running","degraded":[{three}]}}"#);
        let unmet_condition = PendingDrain::new(&holder, &request).unmet_condition(&reading(&text));
        assert!(unmet_condition.ends_with("; a; b; c"), "all of them: {unmet_condition}");
    }

    #[test]
    fn what_is_waited_for_is_printable_and_short() {
        let complaint = r#"{"detail":"a\u001bb"}"#;
        let text = format!(
            r#"{{"incarnation":"g","lifecycle":"running","degraded":[{}]}}"#,
            [complaint; 9].join(",")
        );
        let (request, holder) = (request(AT), ci());
        let unmet_condition = PendingDrain::new(&holder, &request).unmet_condition(&reading(&text));
        assert_eq!(unmet_condition.matches("a\\u{1b}b").count(), 3, "{unmet_condition}");
        assert!(unmet_condition.ends_with("the status lists more"), "{unmet_condition}");
    }
}
