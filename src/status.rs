//! What the outside sees: a pure snapshot of machine, gate and requests, and what a reader may derive from it. This
//! module holds no state and writes nothing; the gateway's one publisher writes.
//!
//! # Invariants
//!
//! * **TG-S8 status_is_faithful**: [`condition`](condition()) is a function of machine and gate alone. No writer adds a
//!   state of its own, and no old content of the file is merged in ([I-15], [I-16], [U16]).
//! * **TG-S1 shutdown_wins**: no condition of a machine that is shut says running or ready.
//! * Unknown is never idle ([F10]). A reading without a count is busy. A reading without a live gateway is neither
//!   drainable nor ready.
//!
//! [I-15]: crate::guide::incidents#i-15
//! [I-16]: crate::guide::incidents#i-16
//! [U16]: crate::guide::incidents#u16
//! [F10]: crate::guide::requirements#f10

pub(crate) mod condition;
mod reading;

use std::time::Duration;

use serde::Serialize;

use crate::epoch::{Now, millis};
use crate::gate::GateState;
use crate::gate::word::{InFlight, Origin};
#[cfg(any(feature = "http", test))]
use crate::holder::Holder;
use crate::holder::Slot;
use crate::host;
use crate::judge::{Judge, LeaseLeft, Validity};
use crate::machine::Machine;
use crate::reconcile::{Entry, RequestTable};
use crate::request::{Request, iso};
use crate::text::{printable, printable_json};

use condition::gateway_state;
pub(crate) use condition::{Condition, condition, desired_state, is_ready};
pub use reading::{Reading, WorkReading};

/// The size limit of a status file. The numbers of holders and of active work are bounded, and so is every text from
/// outside. The system bounds the arguments of its process.
pub(crate) const STATUS_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// A text from outside is cut to this many characters.
const TEXT_MAX: usize = 256;

/// At most this many labelled turns are listed, oldest first.
pub(crate) const ACTIVE_WORK_MAX: usize = 256;

fn bounded(text: &str) -> String {
    match text.char_indices().nth(TEXT_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The identity of a process. It does not change during the life of the process.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct ProcessIdentity {
    pub(crate) pid: u32,
    pub(crate) kind: String,
    pub(crate) argv: Vec<String>,
    /// When it started, in clock ticks since boot, as `/proc/<pid>/stat` has it.
    pub(crate) start_time: Option<u64>,
    #[serde(skip)]
    pub(crate) epoch: String,
    #[serde(skip)]
    pub(crate) incarnation: String,
    #[serde(skip)]
    pub(crate) pid_namespace: Option<String>,
    #[serde(skip)]
    pub(crate) time_namespace: Option<String>,
}

impl ProcessIdentity {
    /// The content of the home's lock file while this process holds the lock.
    pub(crate) fn owner(&self) -> String {
        let owner = serde_json::json!({
            "pid": self.pid,
            "incarnation": self.incarnation,
            "epoch": self.epoch,
            "pid_ns": self.pid_namespace,
            "time_ns": self.time_namespace,
        });
        owner.to_string()
    }
}

/// A holder of the current drain.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct HolderStatus {
    /// The name; `None` for the shared slot.
    pub holder: Option<String>,
    /// The id of the request; `None` if its writer gave it none.
    pub request_id: Option<String>,
    /// The principal that the request names.
    pub principal: Option<String>,
    /// Seconds since the request was made, by the wall clock. If the request does not say when, seconds since this
    /// gateway first saw it.
    pub age_s: Option<f64>,
    /// Seconds until its lease ends; `None` if it has none.
    pub lease_left_s: Option<f64>,
    /// Whether it asks for internal work to be held, so that the gateway can be quiesced.
    pub hold_internal: bool,
}

impl HolderStatus {
    fn of(slot: &Slot, entry: &Entry<Request>, judge: &Judge<'_>) -> HolderStatus {
        let (request, now) = (entry.request(), judge.now());
        let age = request
            .and_then(Request::requested_at)
            .map(|made| now.wall.signed_duration_since(made).to_std().unwrap_or(Duration::ZERO));
        let age = age.unwrap_or(now.uptime.saturating_sub(entry.since()));
        let lease_left = request.map(|request| judge.lease_left(request));
        HolderStatus {
            holder: slot.holder_name(),
            request_id: id_of(slot, entry),
            principal: request.and_then(Request::principal).map(bounded),
            age_s: Some(age.as_secs_f64()),
            lease_left_s: match lease_left {
                None | Some(LeaseLeft::Unleased) => None,
                Some(LeaseLeft::For(left)) => Some(left.as_secs_f64()),
            },
            hold_internal: entry.terms().hold_internal,
        }
    }
}

fn id_of(slot: &Slot, entry: &Entry<Request>) -> Option<String> {
    request_id_of(slot, entry.request())
}

/// The id of a request. For a named request the name of the file decides, whatever the request states. So nobody can
/// claim the id of another request. For the shared request its own field decides.
// Property: TG-S5 ack_means_closed.
pub(crate) fn request_id_of(slot: &Slot, request: Option<&Request>) -> Option<String> {
    match slot {
        Slot::Shared => request.and_then(Request::request_id).map(bounded),
        Slot::File(_) => slot.request_id(),
    }
}

/// The holders of the current drain.
pub(crate) fn holders(table: &RequestTable<Slot, Request>, judge: &Judge<'_>) -> Vec<HolderStatus> {
    live(table).map(|(slot, entry)| HolderStatus::of(slot, entry, judge)).collect()
}

fn live(table: &RequestTable<Slot, Request>) -> impl Iterator<Item = (&Slot, &Entry<Request>)> {
    table.entries().filter(|(_, entry)| entry.is_live())
}

/// See [`RequestTable::held_until`].
pub(crate) fn held_until(
    table: &RequestTable<Slot, Request>,
    judge: &Judge<'_>,
) -> Option<Duration> {
    table.held_until(|request, first_seen| judge.lease_end(request, first_seen))
}

/// The time left of the live lease that ends first. [`Duration::MAX`] if no live lease ends, `None` if no live request
/// asks for a drain.
#[cfg(feature = "metrics")]
pub(crate) fn lease_left(
    table: &RequestTable<Slot, Request>,
    judge: &Judge<'_>,
) -> Option<Duration> {
    let left = |entry: &Entry<Request>| match entry.request().map(|it| judge.lease_left(it)) {
        None | Some(LeaseLeft::Unleased) => Duration::MAX,
        Some(LeaseLeft::For(left)) => left,
    };
    live(table).map(|(_, entry)| left(entry)).min()
}

/// The number of live named requests that this principal has signed, except those of `holder`.
#[cfg(feature = "http")]
pub(crate) fn signed_by(
    table: &RequestTable<Slot, Request>,
    principal: &str,
    holder: &Holder,
) -> usize {
    let is_counted = |(slot, entry): &(&Slot, &Entry<Request>)| {
        **slot != Slot::Shared
            && !slot.is_held_by(holder)
            && entry.request().and_then(Request::signer) == Some(principal)
    };
    live(table).filter(is_counted).count()
}

/// The ids of the requests that a sealed gate is sealed for.
pub(crate) fn held_for(table: &RequestTable<Slot, Request>) -> Vec<String> {
    live(table)
        .filter(|(_, entry)| entry.terms().hold_internal)
        .filter_map(|(slot, entry)| id_of(slot, entry))
        .collect()
}

/// Work in flight that was admitted with a label.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ActiveWork {
    /// The label given at admission; a long one is cut.
    pub label: String,
    /// The origin of the work.
    pub origin: Origin,
    /// Seconds since it was admitted.
    pub age_s: f64,
    /// The same as `origin`, under the name that newer versions of the original use.
    pub kind: Origin,
    /// The same as `label`, under the original's name.
    pub session: String,
    /// The process that does the work.
    pub pid: u32,
    /// The same as `age_s`, under the original's name.
    pub elapsed_s: f64,
}

impl ActiveWork {
    pub(crate) fn new(label: &str, origin: Origin, age: Duration) -> ActiveWork {
        let (label, age_s, pid) = (bounded(label), age.as_secs_f64(), host::pid());
        let (session, kind, elapsed_s) = (label.clone(), origin, age_s);
        ActiveWork { label, origin, age_s, kind, session, pid, elapsed_s }
    }
}

/// A problem of the gateway or of its home, for people and alerts.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Degraded {
    /// Its kind: `home_elsewhere`, `home_taken`, `home_unlocked`, `home_singly_locked`, `request_unreadable`,
    /// `request_corrupt`, `request_unleased`, `request_of_other_epoch`, `request_of_other_run`, `request_expired`,
    /// `request_outlived`, `requests_unlisted`, `promise_unseen`, `status_unwritten` or `more`.
    pub code: &'static str,
    /// What is wrong, and what to do.
    pub detail: String,
    /// Seconds since this gateway first saw it; `None` if the age does not matter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_s: Option<f64>,
}

impl Degraded {
    pub(crate) fn new(code: &'static str, detail: String) -> Degraded {
        Degraded { code, detail, age_s: None }
    }
}

/// A problem, and the time since boot at which it began if its age matters. It keeps the time and not the age: an age
/// changes at each look, so it would be published each time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Issue {
    pub(crate) code: &'static str,
    pub(crate) detail: String,
    since: Option<Duration>,
}

impl Issue {
    pub(crate) fn new(code: &'static str, detail: String) -> Issue {
        Issue { code, detail, since: None }
    }
}

/// The number of problems that are listed one by one.
const DEGRADED_MAX: usize = 16;

/// The entries of a status for these problems.
pub(crate) fn degraded(complaints: &[Issue], now: Now) -> Vec<Degraded> {
    let told = complaints.iter().take(DEGRADED_MAX).map(|it| Degraded {
        code: it.code,
        detail: it.detail.clone(),
        age_s: it.since.map(|since| now.uptime.saturating_sub(since).as_secs_f64()),
    });
    let mut told: Vec<Degraded> = told.collect();
    if complaints.len() > DEGRADED_MAX {
        let detail = format!("and {} more", complaints.len() - DEGRADED_MAX);
        told.push(Degraded::new("more", detail));
    }
    told
}

/// The problems of the requests. It costs nothing if there are none.
pub(crate) fn complaints(
    unreadable: &[(Slot, String)],
    unlisted: Option<&str>,
    table: &RequestTable<Slot, Request>,
    judge: &Judge<'_>,
) -> Vec<Issue> {
    let mut all = Vec::new();
    if let Some(reason) = unlisted {
        let detail = format!(
            "the drain requests cannot be listed completely, so none of them is treated as removed or expired: {reason}"
        );
        all.push(Issue::new("requests_unlisted", detail));
    }
    if let Some(until) = table.unseen_held_until() {
        let detail = format!(
            "internal work is held until the requests can be read (at most until {:.0} s after boot): the previous gateway may have promised this",
            until.as_secs_f64()
        );
        all.push(Issue::new("promise_unseen", detail));
    }
    all.extend(unreadable.iter().map(|(slot, reason)| Issue {
        code: "request_unreadable",
        detail: format!(
            "{} cannot be read, so its effect on the gate stays as it was: {reason}",
            capitalized(slot)
        ),
        since: None,
    }));
    all.extend(table.entries().filter_map(|(slot, entry)| {
        let request = entry.request()?;
        // Corrupted in place, as opposed to a file that never had content.
        let is_ruined = entry.promised() != Some(request) || !request.is_blank();
        let (code, what) = request_issue(request, entry.is_live(), is_ruined, judge)?;
        let by = request.principal().map(|by| format!(" by {}", printable(&bounded(by))));
        let by = by.unwrap_or_default();
        let bound = match judge.unleased_max_age() {
            Some(age) if matches!(code, "request_corrupt" | "request_unleased") => {
                format!(", or until it is {} s old", age.as_secs_f64())
            }
            _ => String::new(),
        };
        let detail = format!("{}{by} {what}{bound}", capitalized(slot));
        let since = matches!(code, "request_corrupt" | "request_unleased").then_some(entry.since());
        Some(Issue { code, detail, since })
    }));
    all
}

fn capitalized(slot: &Slot) -> String {
    match slot {
        Slot::Shared => "The shared drain request".to_owned(),
        Slot::File(_) => format!("The drain request {slot}"),
    }
}

fn request_issue(
    request: &Request,
    live: bool,
    is_ruined: bool,
    judge: &Judge<'_>,
) -> Option<(&'static str, String)> {
    let unleased = judge.lease_left(request) == LeaseLeft::Unleased;
    Some(match judge.validity(request) {
        Validity::StaleEpoch => (
            "request_of_other_epoch",
            format!(
                "was made in another boot or container (the gateway runs in {}), so it is ignored; remove it, or begin a drain in this one",
                judge.epoch()
            ),
        ),
        Validity::OtherRun => (
            "request_of_other_run",
            "was made for an earlier run of the gateway, so it is ignored; remove it, or begin a new drain"
                .to_owned(),
        ),
        Validity::Live if live && request.is_contentless() && is_ruined => (
            "request_corrupt",
            "has no readable content; the gate stays closed until it is removed".to_owned(),
        ),
        Validity::Live if live && unleased => (
            "request_unleased",
            "has no lease; the gate stays closed until it is removed".to_owned(),
        ),
        Validity::Live if live => return None,
        Validity::Live if unleased => (
            "request_outlived",
            "has no lease and is older than this gateway allows, so it is ignored; remove it"
                .to_owned(),
        ),
        Validity::Live | Validity::Expired => (
            "request_expired",
            "is ignored, because its lease has expired; remove it, or begin a new drain".to_owned(),
        ),
    })
}

/// The content of the status file: the original's fields first, in its order, then ours.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Status {
    #[serde(flatten)]
    identity: ProcessIdentity,
    /// The state, as the original names it: `starting`, `running`, `draining` (by request or by shutdown) or `stopped`.
    pub gateway_state: &'static str,
    /// Why the shutdown began.
    pub exit_reason: Option<String>,
    restart_requested: bool,
    /// Turns in flight, of all origins.
    pub active_agents: u64,
    platforms: serde_json::Map<String, serde_json::Value>,
    /// When this snapshot was taken.
    pub updated_at: String,
    /// The phase: `starting`, `running`, `externally_draining`, `shutting_down` or `stopped`.
    pub lifecycle: &'static str,
    /// See [`Condition::idle`].
    pub idle: bool,
    /// See [`Condition::quiesced`].
    pub quiesced: bool,
    /// While quiesced: the time since boot, in milliseconds, before which the gate does not reopen unless its holder
    /// releases it. `None` promises no time.
    pub quiesced_until: Option<u64>,
    /// The seconds from [`updated_at`](Status::updated_at) until then. It is for readers that do not share the
    /// gateway's time since boot.
    ///
    /// [F20](crate::guide::requirements#f20)
    pub quiesced_for_s: Option<f64>,
    /// See [`Machine::generation`].
    pub generation: u64,
    /// The boot and container that the gateway runs in.
    ///
    /// [F1](crate::guide::requirements#f1)
    pub epoch: String,
    /// The identity of this process.
    pub incarnation: String,
    /// The namespace of its process number; `None` if it cannot be read.
    pub pid_ns: Option<String>,
    /// The namespace of its time since boot; `None` if it cannot be read.
    pub time_ns: Option<String>,
    /// Rises with every status this incarnation publishes.
    pub sequence: u64,
    /// Turns in flight, by origin.
    pub in_flight: InFlight,
    /// The holders of the current drain.
    pub holders: Vec<HolderStatus>,
    /// The work in flight that was admitted with a label, oldest first.
    pub active_work: Vec<ActiveWork>,
    /// Whether a new user turn is admitted. `false` from the first instant of a drain or a shutdown.
    ///
    /// [F12](crate::guide::requirements#f12)
    pub ready: bool,
    /// The desired state, not the current one: see [`desired_state`].
    pub desired_state: &'static str,
    /// The current problems.
    pub degraded: Vec<Degraded>,
}

/// Everything that a snapshot is made of, except the identity of the process.
pub(crate) struct SnapshotInputs {
    pub(crate) machine: Machine,
    pub(crate) gate: GateState,
    pub(crate) drain_wanted: bool,
    /// The holders of the current drain.
    pub(crate) holders: Vec<HolderStatus>,
    /// See [`held_until`].
    pub(crate) held_until: Option<Duration>,
    /// See [`RequestTable::unseen_held_until`].
    pub(crate) unseen_held_until: Option<Duration>,
    pub(crate) active_work: Vec<ActiveWork>,
    pub(crate) degraded: Vec<Degraded>,
    pub(crate) now: Now,
    pub(crate) sequence: u64,
}

impl Status {
    /// The status before the first look at the home: nothing is admitted, and nothing is known to be idle. A
    /// predecessor may have promised that nothing starts before `promised`. This status repeats the promise, for a
    /// successor.
    pub(crate) fn starting(
        identity: &ProcessIdentity,
        promised: Option<Duration>,
        now: Now,
    ) -> Status {
        Status {
            identity: identity.clone(),
            gateway_state: "starting",
            exit_reason: None,
            restart_requested: false,
            active_agents: 0,
            platforms: serde_json::Map::new(),
            updated_at: iso(now.wall),
            lifecycle: "starting",
            idle: false,
            quiesced: false,
            quiesced_until: promised.map(millis),
            quiesced_for_s: promised.map(|until| left_s(until, now)),
            generation: 0,
            epoch: identity.epoch.clone(),
            incarnation: identity.incarnation.clone(),
            pid_ns: identity.pid_namespace.clone(),
            time_ns: identity.time_namespace.clone(),
            sequence: 0,
            in_flight: InFlight::default(),
            holders: Vec::new(),
            active_work: Vec::new(),
            ready: false,
            desired_state: "running",
            degraded: Vec::new(),
        }
    }

    // Property: TG-S8 status_is_faithful. Every field is made here, from these inputs.
    pub(crate) fn snapshot(identity: &ProcessIdentity, inputs: SnapshotInputs) -> Status {
        let SnapshotInputs { machine, gate, drain_wanted, now, .. } = inputs;
        let condition = condition(machine, gate);
        let held_until = inputs.held_until.filter(|_| condition.quiesced);
        let quiesced_until = held_until.or(inputs.unseen_held_until);
        Status {
            gateway_state: gateway_state(condition.phase),
            exit_reason: machine.cause().map(|cause| cause.to_string()),
            active_agents: condition.in_flight.total(),
            lifecycle: condition.phase.as_str(),
            idle: condition.idle,
            quiesced: condition.quiesced,
            quiesced_until: quiesced_until.map(millis),
            quiesced_for_s: quiesced_until.map(|until| left_s(until, now)),
            generation: condition.generation,
            sequence: inputs.sequence,
            in_flight: condition.in_flight,
            holders: inputs.holders,
            active_work: inputs.active_work,
            ready: condition.ready,
            desired_state: desired_state(machine, drain_wanted),
            degraded: inputs.degraded,
            ..Status::starting(identity, None, now)
        }
    }

    /// The text of the file: one line, as the original writes it. Operators `cat` it, so a text from outside is
    /// escaped: no terminal obeys it.
    #[must_use]
    pub fn to_json(&self) -> String {
        printable_json(&serde_json::to_string(self).unwrap_or_default()).into_owned()
    }
}

fn left_s(until: Duration, now: Now) -> f64 {
    until.saturating_sub(now.uptime).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::PlainGate;
    use crate::gate::word::Word;
    use crate::json::RawObject;
    use crate::machine::transitions::example_of;
    use crate::machine::{Effect, Phase, ShutdownCause};

    fn gates() -> impl Iterator<Item = GateState> {
        // Every combination of flags × no turn, one user turn, one internal turn.
        (0..16u64).flat_map(|flags| {
            [(0, 0), (1 << 4, 1), (1 << 32, 0)]
                .map(|(counts, user)| GateState::new(Word::from_bits(flags | counts), user))
        })
    }

    #[test]
    fn a_shut_machine_is_never_ready_and_only_a_drain_quiesces() {
        for gate in gates() {
            for phase in Phase::ALL {
                let condition = condition(example_of(phase), gate);
                assert!(!condition.ready || (phase == Phase::Running && !gate.is_closed()));
                assert!(
                    !condition.quiesced || (condition.idle && phase == Phase::ExternallyDraining)
                );
                assert!(!condition.idle || condition.in_flight.total() == 0);
            }
        }
    }

    #[test]
    fn a_signal_is_no_wish_to_stay_down() {
        let shut = |cause| {
            crate::machine::step(Machine::running(), crate::machine::Event::ShutdownAsked(cause))
                .expect("shuts")
                .next
        };
        assert_eq!(desired_state(shut(ShutdownCause::Sigterm), false), "running");
        assert_eq!(desired_state(shut(ShutdownCause::Operator), true), "stopped");
    }

    /// Every field comes from these inputs, and from nothing else (TG-S8).
    #[test]
    fn a_status_says_all_that_it_is_made_of() {
        use crate::epoch::examples::now_at;
        use crate::machine::{Event, Terms, step};

        let identity = ProcessIdentity {
            pid: 7,
            kind: "a-kind".to_owned(),
            argv: vec!["a".to_owned()],
            start_time: Some(3),
            epoch: "boot:1".to_owned(),
            incarnation: "run".to_owned(),
            pid_namespace: Some("pid:[1]".to_owned()),
            time_namespace: Some("time:[2]".to_owned()),
        };
        let drain = Event::DrainWanted(Terms { hold_internal: true, ..Terms::default() });
        let machine = step(Machine::running(), drain).expect("drains").next;
        let holder = HolderStatus {
            holder: Some("ci".to_owned()),
            request_id: Some("1".to_owned()),
            principal: Some("ann".to_owned()),
            age_s: Some(4.0),
            lease_left_s: Some(5.0),
            hold_internal: true,
        };
        let inputs = |machine, gate: PlainGate, held_until: Option<u64>, unseen: Option<u64>| {
            SnapshotInputs {
                machine,
                gate: gate.state(),
                drain_wanted: true,
                holders: vec![holder.clone()],
                held_until: held_until.map(Duration::from_secs),
                unseen_held_until: unseen.map(Duration::from_secs),
                active_work: vec![ActiveWork::new("x", Origin::User, Duration::from_secs(6))],
                degraded: vec![Degraded::new("a_code", "a detail".to_owned())],
                now: now_at(100),
                sequence: 9,
            }
        };
        let json = |status: &Status| -> serde_json::Value {
            serde_json::from_str(&status.to_json()).expect("JSON")
        };
        let closed = PlainGate::starting();
        assert!(closed.state().is_closed() && closed.state().is_idle());
        let (at_rest, _) = closed.perform(Effect::CloseGate { hold_internal: true });
        assert!(at_rest.state().is_at_rest());
        let said = json(&Status::snapshot(&identity, inputs(machine, at_rest, Some(160), None)));
        let pid = host::pid();
        let expected = serde_json::json!({
            "pid": 7, "kind": "a-kind", "argv": ["a"], "start_time": 3,
            "gateway_state": "draining", "exit_reason": null, "restart_requested": false,
            "active_agents": 0, "platforms": {}, "updated_at": iso(now_at(100).wall),
            "lifecycle": "externally_draining", "idle": true, "quiesced": true,
            "quiesced_until": 160_000, "quiesced_for_s": 60.0, "generation": 1, "epoch": "boot:1",
            "incarnation": "run", "pid_ns": "pid:[1]", "time_ns": "time:[2]", "sequence": 9,
            "in_flight": {"user": 0, "internal": 0},
            "holders": [{"holder": "ci", "request_id": "1", "principal": "ann", "age_s": 4.0,
                "lease_left_s": 5.0, "hold_internal": true}],
            "active_work": [{"label": "x", "origin": "user", "age_s": 6.0, "kind": "user",
                "session": "x", "pid": pid, "elapsed_s": 6.0}],
            "ready": false, "desired_state": "draining",
            "degraded": [{"code": "a_code", "detail": "a detail"}],
        });
        assert_eq!(said, expected);
        // A busy gate, and a promise for requests unseen since the start.
        let busy = closed.with_in_flight(InFlight::new(2, 3));
        let said = json(&Status::snapshot(&identity, inputs(machine, busy, Some(160), Some(130))));
        assert_eq!(said["in_flight"], serde_json::json!({"user": 2, "internal": 3}));
        assert_eq!((&said["active_agents"], &said["idle"]), (&5.into(), &false.into()));
        assert_eq!(
            (&said["quiesced_until"], &said["quiesced_for_s"]),
            (&130_000.into(), &30.0.into())
        );
        // A shutdown reports its cause. A start reports what its predecessor may have promised.
        let shut =
            step(machine, Event::ShutdownAsked(ShutdownCause::Operator)).expect("shuts").next;
        let said = json(&Status::snapshot(&identity, inputs(shut, busy, None, None)));
        let cause = ShutdownCause::Operator.to_string();
        assert_eq!(
            (&said["exit_reason"], &said["lifecycle"]),
            (&cause.into(), &"shutting_down".into())
        );
        let until = Some(Duration::from_secs(101));
        let said = json(&Status::starting(&identity, until, now_at(100)));
        assert_eq!(
            (&said["gateway_state"], &said["lifecycle"]),
            (&"starting".into(), &"starting".into())
        );
        assert_eq!((&said["quiesced_until"], &said["quiesced"]), (&101_000.into(), &false.into()));
        assert_eq!((&said["ready"], &said["desired_state"]), (&false.into(), &"running".into()));
    }

    #[test]
    fn a_status_lists_a_bounded_number_of_problems() {
        use crate::epoch::examples::now_at;

        let since = Some(Duration::from_secs(40));
        let one = Issue { code: "c", detail: "d".to_owned(), since };
        for (count, more) in [(0, None), (15, None), (16, None), (17, Some(1)), (19, Some(3))] {
            let told = degraded(&vec![one.clone(); count], now_at(100));
            assert_eq!(told.iter().filter(|it| it.code == "c").count(), count.min(16));
            assert!(told.iter().filter(|it| it.code == "c").all(|it| it.age_s == Some(60.0)));
            let said = told.iter().find(|it| it.code == "more").map(|it| it.detail.clone());
            assert_eq!(said, more.map(|more| format!("and {more} more")));
        }
    }

    /// A text from outside is cut at its bound, after a whole character.
    #[test]
    fn a_text_of_others_is_bounded() {
        let long = "é".repeat(TEXT_MAX + 1);
        assert_eq!(bounded(&long[..TEXT_MAX * 2]), long[..TEXT_MAX * 2]);
        assert_eq!(bounded(&long), format!("{}…", &long[..TEXT_MAX * 2]));
    }

    /// A reading checks each word that its answer depends on.
    #[test]
    fn a_reading_asks_for_every_word_that_it_rests_on() {
        let lock = RawObject::parse(br#"{"incarnation":"g"}"#);
        let reading = |more: &str| {
            let text = format!(r#"{{"incarnation":"g",{more}}}"#);
            Reading::new(text.as_bytes(), lock.as_ref())
        };
        let holders = r#""holders":[{"holder":"ci","request_id":"1"}]"#;
        let ci = Holder::named("ci").expect("a name");
        for (lifecycle, draining) in [("externally_draining", true), ("running", false)] {
            let reading = reading(&format!(r#""lifecycle":"{lifecycle}",{holders}"#));
            assert_eq!(reading.is_draining_for(&ci, "1"), draining);
            assert!(!reading.is_draining_for(&Holder::Shared, "1"));
        }
        for (state, ready, is_ready) in
            [("running", "true", true), ("running", "false", false), ("degraded", "true", false)]
        {
            let reading = reading(&format!(r#""gateway_state":"{state}","ready":{ready}"#));
            assert_eq!(reading.is_ready(), is_ready, "{state} {ready}");
            assert!(reading.is_drainable(), "the original serves in both");
        }
    }

    /// The original's status is read as its own readers do. It has one word for a drain and for a shutdown.
    #[test]
    fn a_neighbour_s_status_is_read_as_the_original_s() {
        let read = |more: &str| {
            Reading::of_foreign_gateway(format!(r#"{{"pid":7,{more}}}"#).as_bytes(), Some(7))
        };
        let draining = read(r#""gateway_state":"draining","active_agents":0"#);
        assert!(draining.is_foreign() && draining.is_alive() && draining.is_locked());
        assert!(draining.is_idle() && !draining.is_quiesced() && !draining.is_shutting_down());
        assert!(draining.is_draining_for(&Holder::Shared, "any"));
        assert!(!draining.is_draining_for(&Holder::named("ci").expect("a name"), "any"));
        let busy = read(r#""gateway_state":"draining","active_agents":1"#);
        assert!(!busy.is_idle() && busy.is_draining_for(&Holder::Shared, "any"));
        assert!(!read(r#""gateway_state":"draining""#).is_idle(), "unknown is never idle");
        let running = read(r#""gateway_state":"running","active_agents":0"#);
        assert!(running.is_ready() && !running.is_idle() && running.is_drainable());
        for ends in [
            r#""gateway_state":"draining","active_agents":0,"exit_reason":"SIGTERM""#,
            r#""gateway_state":"draining","active_agents":0,"restart_requested":true"#,
            r#""gateway_state":"stopped","active_agents":0"#,
        ] {
            let reading = read(ends);
            assert!(reading.is_shutting_down() && !reading.is_idle(), "{ends}");
            assert!(!reading.is_draining_for(&Holder::Shared, "any"), "{ends}");
        }
        let before_it =
            Reading::of_foreign_gateway(br#"{"pid":6,"gateway_state":"running"}"#, Some(7));
        assert!(before_it.is_locked() && !before_it.is_alive(), "written by its predecessor");
    }

    #[test]
    fn unknown_is_never_idle() {
        let lock = RawObject::default();
        for broken in [
            "",
            "{",
            "[]",
            "{\"gateway_state\":\"running\"}",
            "{\"gateway_state\":\"running\",\"active_agents\":\"0\"}",
        ] {
            let reading = Reading::new(broken.as_bytes(), Some(&lock));
            assert_eq!(reading.is_busy(), reading.is_drainable(), "{broken}");
            assert!(!Reading::new(broken.as_bytes(), None).is_drainable());
        }
    }

    #[test]
    fn a_predecessor_s_status_is_not_a_live_one() {
        let lock = RawObject::parse(br#"{"pid":2,"incarnation":"new"}"#).expect("parses");
        let old = Reading::new(br#"{"gateway_state":"running","incarnation":"old"}"#, Some(&lock));
        assert!(!old.is_alive() && !old.is_drainable());
        let new = Reading::new(br#"{"gateway_state":"running","incarnation":"new"}"#, Some(&lock));
        assert!(new.is_drainable());
    }
}
