//! What has become of a drain that somebody asked for: judged from one reading of what the gateway
//! says. The command and the HTTP endpoint wait by asking this again and again; it waits for nothing
//! itself, and reads no file and no clock.
//!
//! # Invariants
//!
//! * **TG-S5 ack_means_closed**: only a living gateway's answer for this very request says that the gate has closed.
//!   The presence of the request proves nothing ([U4]).
//! * **TG-S14 receipt_is_true**: a drain that was lost, refused or cannot be had is told apart from one
//!   that takes long.
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

/// How long a drain without a wait is given for a live gateway to confirm that its gate is closed. After that
/// the answer is `pending`. It is several rounds of a watcher.
pub const CONFIRMATION_TIMEOUT: Duration = Duration::from_secs(5);

/// How long to pause between two looks.
pub const PAUSE: Duration = Duration::from_millis(20);

/// A promise that ends sooner than this is nothing to act on, unless it ends with one's own lease.
const SAFE_WINDOW_MIN: Duration = Duration::from_secs(1);

/// A gateway of another make has looked at its marker several times in this.
const FOREIGN_CONFIRM_AFTER: Duration = Duration::from_secs(3);

/// What is waited for is said with this many complaints of the gateway's.
const COMPLAINTS_MAX: usize = 3;

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Goal {
    /// A live gateway says that its gate is closed for the request.
    Draining,
    /// And that nothing is in flight: a reading, which internal work may undo.
    Idle,
    /// And that nothing at all will be admitted: a promise.
    Quiesced,
}

/// The goal is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reached {
    /// What the gateway promises to one whose goal it was that it is quiesced, if it does.
    pub safe: Option<SafeWindow>,
}

/// How long acting is safe, as of one reading of the clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SafeWindow {
    /// The time since boot before which it is; `None` where the gateway's boot clock is another one.
    pub until_uptime: Option<Duration>,
    /// What is left until then.
    pub left: Duration,
    /// By the wall clock, for people; `None` beyond its years.
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
    /// It takes longer than the caller waits.
    #[error("timed out: {0}")]
    TimedOut(String),
    /// The request was in place, and is no longer.
    #[error("the drain is lost: {0}")]
    Lost(&'static str),
    /// The gateway is shutting down and no longer drains.
    #[error("refused: the gateway is shutting down, and a shutdown overrides a drain")]
    Refused,
    /// There is no gateway to drain.
    #[error("no gateway is running on this home, or it has not published a status yet")]
    Gone,
    /// No gateway is alive, but this process keeps every gateway out of the home.
    #[error(
        "no gateway is running on this home, but process {pid} holds its directory; see what it is, and stop it"
    )]
    Held {
        /// The process.
        pid: u32,
    },
    /// The gateway is of another make, and promises nothing.
    #[error(
        "the gateway on this home is of another make (it holds `gateway.lock`) and can only report that it is idle; use `--idle-is-enough`"
    )]
    ForeignGateway,
    /// The request or the status cannot be read.
    #[error(transparent)]
    Control(#[from] ControlError),
}

/// A request that has been made, and what was heard of it.
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
    /// Who has said that they drain for the request, and may not take that back.
    acknowledged: Option<Incarnation>,
    /// Which status was read last: whose, and its number; and when, by the reader's boot clock.
    last: Option<(Incarnation, Option<u64>, Duration)>,
    /// The status that was read last was written after this, by the reader's boot clock.
    written_after: Duration,
    /// Since when, by the reader's boot clock, a gateway of another make says that it drains.
    draining_since: Option<Duration>,
    /// Since when, by the reader's boot clock, a gateway holds the home and says nothing.
    silent_since: Option<Duration>,
}

/// What the gateway promises, as of the judge's clocks. The status is no older than `age`.
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

/// A gateway's process, as it names itself; `None` where it does not.
type Incarnation = Option<String>;

impl<'a> PendingDrain<'a> {
    /// This request of the holder was made, and nothing was heard of it yet.
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

    /// The request's own name.
    pub(crate) fn id(&self) -> &'a str {
        self.request.request_id().unwrap_or_default()
    }

    /// What one reading amounts to. `sighting` is what is in the request's own slot. It and the
    /// judge's clocks are read *after* the reading, which is then of an earlier time and not of a
    /// later one.
    ///
    /// # Errors
    ///
    /// [`WaitFailed::Gone`], [`WaitFailed::Held`], [`WaitFailed::Refused`], [`WaitFailed::Lost`], [`WaitFailed::ForeignGateway`]: it will not
    /// come.
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
            // A gateway that died has a successor, which honours the request once it has looked.
            Some(by) if !draining && *by != incarnation && !fault!(SuccessorIsALoss) => {
                self.acknowledged = None;
            }
            Some(_) if !draining => {
                return Err(WaitFailed::Lost("the gateway no longer drains for this request"));
            }
            _ if draining => self.acknowledged = Some(incarnation),
            _ => {}
        }
        // Also where the gateway has not seen yet that it is gone.
        if *sighting == Sighting::Absent {
            return Err(WaitFailed::Lost("its request was cancelled or replaced"));
        }
        // A gateway that has not seen it yet never will: it is dead.
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
        // What is promised to all ends with the first of their leases. Where that is another's and about
        // to run out, more will be promised in a moment.
        let ends_soon = safe.is_some_and(|safe| safe.left < SAFE_WINDOW_MIN);
        if ends_soon && !safe.is_some_and(|safe| self.ends_with_own(safe, judge)) {
            return Ok(None);
        }
        Ok(Some(Reached { safe }).filter(|_| safe.is_none_or(|safe| !safe.left.is_zero())))
    }

    /// Notes since when the status may be there: it was not at the last look, or it names a request that was made then.
    /// So its age is known without a clock of the gateway's.
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

    /// Whether the promise ends because one's own lease does.
    fn ends_with_own(&self, safe: SafeWindow, judge: &Judge<'_>) -> bool {
        match (safe.until_uptime, judge.lease_ends_at_uptime(self.request)) {
            (Some(until), Some(end)) => until.as_millis() == end.as_millis(),
            (Some(_), None) => false,
            // By the wall clock neither is exact.
            (None, _) => {
                matches!(judge.lease_left(self.request), LeaseLeft::For(left) if left < SAFE_WINDOW_MIN)
            }
        }
    }

    /// Whether a gateway of another make drains for this request, and not for one before it. It wrote so after the
    /// request was made, or has said so for several of its looks.
    fn is_meant(&mut self, says_so: bool, reading: &Reading, now: Duration) -> bool {
        if !says_so {
            self.draining_since = None;
            return false;
        }
        let since = *self.draining_since.get_or_insert(now);
        let is_newer = reading.updated_at() > self.request.requested_at();
        is_newer || now.saturating_sub(since) >= FOREIGN_CONFIRM_AFTER
    }

    /// Why no gateway will close for the request any more, if none will.
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

    /// No living gateway has a status. A process that holds the home may be a gateway that starts, or one that
    /// makes its lock file again.
    fn silence(&mut self, reading: &Reading, now: Duration) -> Result<Option<Reached>, WaitFailed> {
        let held_by = reading.held_by();
        // One that has confirmed the drain, and has not said that it stops, may be restarted in a moment.
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

    /// What the last reading shows that it still waits for, in words for people.
    #[must_use]
    pub fn unmet_condition(&self, reading: &Reading) -> String {
        // A request that the gateway ignores, of another container say, would be waited for in vain (U10).
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
            // What it said before it closed is of some time ago.
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

    /// F9: a promise that is about to end with another's lease is waited out. One that ends with one's own
    /// is all that there will be.
    #[test]
    fn a_promise_that_ends_at_once_is_taken_only_if_it_is_one_s_own() {
        let own = request(Duration::from_millis(10_500));
        // Leases in files have parts of a millisecond, and promises have none.
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
    fn until_when_it_is_safe_is_told_in_utc_to_the_millisecond() {
        let wall = DateTime::<Utc>::from_timestamp_millis(1_700_000_000_250).expect("in range");
        let safe = SafeWindow { until_uptime: Some(AT), left: AT, until: Some(wall) };
        assert_eq!(safe.until_text().as_deref(), Some("2023-11-14T22:13:20.250Z"));
        assert_eq!(SafeWindow { until: None, ..safe }.until_text(), None);
    }

    /// Once it was heard of, a drain that is no longer is lost; before that it is still to come.
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
        // Heard of twice, it is still heard of.
        assert!(look(Goal::Draining, draining).0.expect("it is there").is_some());
        assert!(matches!(look(Goal::Idle, running).0, Err(WaitFailed::Lost(_))));
    }

    /// Found in the field: the gateway was killed and restarted during the wait, and the drain was called lost.
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

    /// A gateway of another make names no request: what it says is believed once it cannot be of one before.
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
        // Said before, and still said for three seconds.
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

    /// F20: on another boot clock a promise is stated by how long it lasts. How old the status is at most is known without
    /// a clock of the gateway's. It names the request, so it is no older, and it is no older than the last look at
    /// which it was another one.
    #[test]
    fn a_promise_on_another_clock_is_told_by_how_long_it_lasts() {
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
        assert_eq!(look(&mut waits, 22, 40.0, 1), Some(18), "it is the same one");
        assert_eq!(look(&mut waits, 24, 36.0, 2), Some(34), "written after the last look");
        assert_eq!(look(&mut waits, 25, 36.0, 2), Some(33));
    }

    /// F18: a process that holds the home without a status may be a gateway that is about to write one.
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
    fn who_waits_for_another_s_lease_is_told_so() {
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
