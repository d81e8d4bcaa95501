//! What the outside is told: a pure snapshot of machine, gate and requests, and what a reader may
//! derive from one. It holds no state and writes nothing itself; the gateway's one publisher does.
//!
//! # Invariants
//!
//! * **TG-S8 status_is_faithful**: [`condition`] is a function of machine and gate alone; nobody has an
//!   opinion of his own, and nothing is merged with what stood in the file before (I-15, I-16, U16).
//! * **TG-S1 shutdown_wins**: no condition derived from a machine that is shut says running or ready.
//! * Unknown is never idle (F10): a reading without a count is busy, one without a live gateway is
//!   neither drainable nor ready.

use std::time::Duration;

use serde::Serialize;

use crate::body::Body;
use crate::epoch::{Epoch, Now, millis};
use crate::gate::word::{InFlight, Word};
use crate::machine::{Machine, Phase, ShutdownCause};
use crate::reconcile::{Sighting, Verdict};
use crate::request::{LeaseLeft, Request, iso};

/// What machine and gate together amount to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Condition {
    /// The machine's phase.
    pub phase: Phase,
    /// Closed and nothing in flight: a reading, which internal work may undo.
    pub idle: bool,
    /// Idle and sealed by a drain: a promise that nothing at all is admitted until its release.
    pub quiesced: bool,
    /// Whether a new user turn would be admitted (F12).
    pub ready: bool,
    /// Turns in flight.
    pub in_flight: InFlight,
    /// See [`Machine::generation`].
    pub generation: u64,
}

/// Derives the condition. Total and pure: the models call it too.
#[must_use]
// Property: TG-S1 shutdown_wins.
pub const fn condition(machine: Machine, word: Word) -> Condition {
    let phase = machine.phase();
    Condition {
        phase,
        idle: word.is_idle(),
        quiesced: matches!(phase, Phase::ExternallyDraining) && word.is_at_rest(),
        ready: matches!(phase, Phase::Running) && !word.is_closed(),
        in_flight: word.in_flight(),
        generation: machine.generation(),
    }
}

/// What is wanted of the gateway, as opposed to what it is at (F13). A signal stops the process and
/// says nothing of what is wanted afterwards, so a supervisor that reads this starts it again (I-7).
#[must_use]
pub const fn desired_state(machine: Machine, wanted: Verdict) -> &'static str {
    match (machine.cause(), wanted) {
        (Some(ShutdownCause::Operator), _) => "stopped",
        (_, Verdict::Active(_) | Verdict::Ruined) => "draining",
        (_, Verdict::Absent | Verdict::StaleEpoch | Verdict::Expired | Verdict::Unreadable) => {
            "running"
        }
    }
}

/// Who a process is; fixed for its life.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Identity {
    pub(crate) pid: u32,
    pub(crate) kind: String,
    pub(crate) argv: Vec<String>,
    /// In clock ticks since boot, as `/proc/<pid>/stat` has it.
    pub(crate) start_time: Option<u64>,
    #[serde(skip)]
    pub(crate) incarnation: String,
}

/// One whoever asks for the drain in force.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct HolderStatus {
    /// His name; `None` for the shared slot.
    pub holder: Option<String>,
    /// The request's own name, when its writer gave it one.
    pub request_id: Option<String>,
    /// Who signed it.
    pub principal: Option<String>,
    /// Seconds since it was made, by the wall clock; `None` when it does not say when.
    pub age_s: Option<f64>,
    /// Seconds until its lease runs out; `None` when it has none.
    pub lease_left_s: Option<f64>,
}

impl HolderStatus {
    pub(crate) fn of(request: &Request, epoch: &Epoch, now: Now) -> HolderStatus {
        let age = request.requested_at().map(|made| now.wall.signed_duration_since(made));
        HolderStatus {
            holder: None,
            request_id: request.request_id().map(str::to_owned),
            principal: request.principal().map(str::to_owned),
            age_s: age.map(|age| age.to_std().unwrap_or(Duration::ZERO).as_secs_f64()),
            lease_left_s: match request.lease_left(epoch, now) {
                LeaseLeft::Unleased => None,
                LeaseLeft::For(left) => Some(left.as_secs_f64()),
            },
        }
    }
}

/// Something that is not as it should be, for people and alarms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Degraded {
    /// Which: `request_unreadable`, `request_corrupt`, `request_unleased`, `request_of_other_epoch`,
    /// `request_expired` or `status_unwritten`.
    pub code: &'static str,
    /// What exactly, and what to do.
    pub detail: String,
}

/// What is wrong with a request, if anything is.
pub(crate) fn degraded(
    sighting: &Sighting,
    verdict: Verdict,
    epoch: &Epoch,
    now: Now,
) -> Option<Degraded> {
    let (code, detail) = match (sighting, verdict) {
        (Sighting::Unreadable(reason), _) => (
            "request_unreadable",
            format!("the drain request cannot be read, so the gate stays as it is: {reason}"),
        ),
        (Sighting::Present(request), Verdict::StaleEpoch) => (
            "request_of_other_epoch",
            format!(
                "a drain request by {} was made in another boot or container than this one ({epoch}) and is ignored; remove it, or begin again here",
                request.principal().unwrap_or("nobody named")
            ),
        ),
        (Sighting::Present(request), Verdict::Expired) => (
            "request_expired",
            format!(
                "the lease of the drain request by {} has run out and the gate is open; remove it, or begin again",
                request.principal().unwrap_or("nobody named")
            ),
        ),
        (Sighting::Present(request), _) if request.is_contentless() => (
            "request_corrupt",
            "a drain request is there but says nothing readable; the gate is closed until it is removed"
                .to_owned(),
        ),
        (Sighting::Present(request), _) if request.lease_left(epoch, now) == LeaseLeft::Unleased => (
            "request_unleased",
            "a drain request has no lease; the gate is closed until it is removed".to_owned(),
        ),
        (Sighting::Present(_) | Sighting::Absent, _) => return None,
    };
    Some(Degraded { code, detail })
}

/// The status file: the original's fields first, in its order, then ours.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Status {
    #[serde(flatten)]
    identity: Identity,
    /// `starting`, `running`, `draining` (by request or by shutdown) or `stopped`: the original's word.
    pub gateway_state: &'static str,
    /// Why the shutdown began.
    pub exit_reason: Option<String>,
    restart_requested: bool,
    /// Turns in flight, of all origins.
    pub active_agents: u64,
    platforms: serde_json::Map<String, serde_json::Value>,
    /// When this snapshot was taken.
    pub updated_at: String,
    /// `starting`, `running`, `externally_draining`, `shutting_down` or `stopped`.
    pub lifecycle: &'static str,
    /// See [`Condition::idle`].
    pub idle: bool,
    /// See [`Condition::quiesced`].
    pub quiesced: bool,
    /// While quiesced: the time since boot, in milliseconds, before which the gate does not reopen
    /// unless its holder releases it. `None` promises nothing about time.
    pub quiesced_until: Option<u64>,
    /// See [`Machine::generation`].
    pub generation: u64,
    /// The identity of this process.
    pub incarnation: String,
    /// Rises with every status this incarnation publishes.
    pub sequence: u64,
    /// Turns in flight, by origin.
    pub in_flight: InFlight,
    /// Who asks for the drain in force.
    pub holders: Vec<HolderStatus>,
    /// Whether a new user turn would be admitted: `false` from the first instant of a drain or
    /// shutdown (F12).
    pub ready: bool,
    /// What is wanted, as opposed to what is: see [`desired_state`].
    pub desired_state: &'static str,
    /// What is not as it should be.
    pub degraded: Vec<Degraded>,
}

/// Everything a snapshot is made of, besides the process's identity.
pub(crate) struct Inputs {
    pub(crate) machine: Machine,
    pub(crate) word: Word,
    pub(crate) wanted: Verdict,
    /// Who asks for the drain in force.
    pub(crate) holders: Vec<HolderStatus>,
    /// The time since boot at which the lease of that drain ends, where it can be told.
    pub(crate) lease_ends: Option<Duration>,
    pub(crate) degraded: Vec<Degraded>,
    pub(crate) now: Now,
    pub(crate) sequence: u64,
}

impl Status {
    /// Before the first look at the home: nothing is admitted, and nothing is known to be idle.
    pub(crate) fn starting(identity: &Identity, now: Now) -> Status {
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
            quiesced_until: None,
            generation: 0,
            incarnation: identity.incarnation.clone(),
            sequence: 0,
            in_flight: InFlight::default(),
            holders: Vec::new(),
            ready: false,
            desired_state: "running",
            degraded: Vec::new(),
        }
    }

    // Property: TG-S8 status_is_faithful. Every field is made here, from these inputs.
    pub(crate) fn snapshot(identity: &Identity, inputs: Inputs) -> Status {
        let Inputs { machine, word, wanted, holders, lease_ends, degraded, now, sequence } = inputs;
        let condition = condition(machine, word);
        let quiesced_until = lease_ends.filter(|_| condition.quiesced).map(millis);
        Status {
            gateway_state: match condition.phase {
                Phase::Running => "running",
                Phase::ExternallyDraining | Phase::ShuttingDown => "draining",
                Phase::Stopped => "stopped",
            },
            exit_reason: machine.cause().map(|cause| cause.to_string()),
            active_agents: condition.in_flight.total(),
            lifecycle: condition.phase.word(),
            idle: condition.idle,
            quiesced: condition.quiesced,
            quiesced_until,
            generation: condition.generation,
            sequence,
            in_flight: condition.in_flight,
            holders,
            ready: condition.ready,
            desired_state: desired_state(machine, wanted),
            degraded,
            ..Status::starting(identity, now)
        }
    }

    /// The file's text: one line, as the original writes it.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// A status as a reader finds it: ours or the original's, whole, broken or missing.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    body: Body,
    alive: bool,
}

impl Reading {
    /// `lock` is what stands in the home lock while a gateway holds it.
    pub(crate) fn new(bytes: &[u8], lock: Option<&Body>) -> Reading {
        let body = Body::parse(bytes).unwrap_or_default();
        // A gateway that has just started holds the lock before it has replaced its predecessor's
        // status. What the predecessor said is not what a live gateway says.
        let alive = lock.is_some_and(|owner| {
            let alive = owner.string("incarnation");
            alive.is_none() || alive == body.string("incarnation")
        });
        Reading { body, alive }
    }

    /// Every field as it stands in the file.
    #[must_use]
    pub fn body(&self) -> &Body {
        &self.body
    }

    /// Whether the gateway that wrote it is alive: it holds the home lock.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.alive
    }

    /// The original's word for the state, if there is one.
    #[must_use]
    pub fn gateway_state(&self) -> Option<String> {
        self.body.string("gateway_state")
    }

    /// Turns in flight; `None` when it does not say.
    #[must_use]
    pub fn active_agents(&self) -> Option<u64> {
        self.body.read("active_agents")
    }

    /// Whether it makes sense to ask it for a drain: alive and running.
    #[must_use]
    pub fn is_drainable(&self) -> bool {
        self.alive && self.gateway_state().as_deref() == Some("running")
    }

    /// Whether it would admit a new user turn: alive and running.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.is_drainable() && self.body.read("ready") != Some(false)
    }

    /// Whether the live gateway says that its gate is closed and nothing is in flight. A reading.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.alive && self.body.read("idle") == Some(true)
    }

    /// Whether the live gateway promises that nothing is in flight and nothing will be admitted before
    /// its drain is released.
    #[must_use]
    pub fn is_quiesced(&self) -> bool {
        self.alive && self.body.read("quiesced") == Some(true)
    }

    /// Drainable and at work. `false` while draining, as in the original (U25): to learn whether a
    /// draining gateway is still at work, ask [`is_idle`](Reading::is_idle). A count that is not there counts
    /// as work.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.is_drainable() && self.active_agents() != Some(0)
    }

    /// Whether the live gateway says that its gate is closed for this very request (TG-S5).
    #[must_use]
    pub fn is_draining_for(&self, request_id: &str) -> bool {
        #[derive(serde::Deserialize)]
        struct Named {
            request_id: Option<String>,
        }
        let closed =
            self.body.string("lifecycle").as_deref() == Some(Phase::ExternallyDraining.word());
        let holders: Vec<Named> = self.body.read("holders").unwrap_or_default();
        let named = holders.iter().any(|holder| holder.request_id.as_deref() == Some(request_id));
        self.alive && closed && named
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::example_of;

    fn words() -> impl Iterator<Item = Word> {
        // Every flag × no turn, one of a user's, one internal.
        (0..16u64)
            .flat_map(|flags| [0, 1 << 4, 1 << 32].map(|turns| Word::from_bits(flags | turns)))
    }

    #[test]
    fn a_shut_machine_is_never_ready_and_only_a_drain_quiesces() {
        for word in words() {
            for phase in Phase::ALL {
                let condition = condition(example_of(phase), word);
                assert!(!condition.ready || (phase == Phase::Running && !word.is_closed()));
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
        assert_eq!(desired_state(shut(ShutdownCause::Sigterm), Verdict::Absent), "running");
        assert_eq!(desired_state(shut(ShutdownCause::Operator), Verdict::Absent), "stopped");
    }

    #[test]
    fn unknown_is_never_idle() {
        let lock = Body::default();
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
        let lock = Body::parse(br#"{"pid":2,"incarnation":"new"}"#).expect("parses");
        let old = Reading::new(br#"{"gateway_state":"running","incarnation":"old"}"#, Some(&lock));
        assert!(!old.is_alive() && !old.is_drainable());
        let new = Reading::new(br#"{"gateway_state":"running","incarnation":"new"}"#, Some(&lock));
        assert!(new.is_drainable());
    }
}
