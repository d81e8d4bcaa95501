//! The condition of a gateway, derived from machine and gate. It is pure, and knows neither requests nor files.

use crate::faults::fault;
use crate::gate::GateState;
use crate::gate::word::{InFlight, Word};
use crate::machine::{Machine, Phase, ShutdownCause};

/// The condition of a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Condition {
    /// The machine's phase.
    pub phase: Phase,
    /// Closed, with nothing in flight. This is a reading: internal work may start again.
    pub idle: bool,
    /// Idle, and sealed by a drain. This is a promise: nothing at all is admitted until the release.
    pub quiesced: bool,
    /// Whether a new user turn is admitted.
    ///
    /// [F12](crate::guide::requirements#f12)
    pub ready: bool,
    /// Turns in flight.
    pub in_flight: InFlight,
    /// See [`Machine::generation`].
    pub generation: u64,
}

/// Derives the condition. Total and pure: the models call it too.
#[must_use]
// Property: TG-S1 shutdown_wins.
pub fn condition(machine: Machine, gate: GateState) -> Condition {
    let phase = machine.phase();
    Condition {
        phase,
        idle: gate.is_idle(),
        quiesced: matches!(phase, Phase::ExternallyDraining)
            && (gate.is_at_rest() || (fault!(QuiescedIsIdle) && gate.is_idle())),
        ready: (matches!(phase, Phase::Running) && is_ready(gate.word()))
            || fault!(ReadyWhileShutting),
        in_flight: gate.in_flight(),
        generation: machine.generation(),
    }
}

/// Whether a gate with this central word admits new user turns. Between the first and the last step of an order, some
/// stripes may still answer as they did before.
///
/// [F12](crate::guide::requirements#f12)
#[must_use]
// Property: TG-S14 receipt_is_true.
pub fn is_ready(word: Word) -> bool {
    !word.is_closed() || fault!(ReadyWhileClosed)
}

/// The word of the original for a phase.
#[must_use]
// Property: TG-S1 shutdown_wins.
pub fn gateway_state(phase: Phase) -> &'static str {
    match phase {
        Phase::Running => "running",
        Phase::ShuttingDown if fault!(ShutdownSaysRunning) => "running",
        Phase::ExternallyDraining | Phase::ShuttingDown => "draining",
        Phase::Stopped => "stopped",
    }
}

/// The desired state of the gateway, not the current one. A signal stops the process and does not change the desired
/// state. So a supervisor that reads it starts the gateway again.
///
/// [F13](crate::guide::requirements#f13),
/// [I-7](crate::guide::incidents#i-7)
#[must_use]
// Property: TG-S9 intent_is_separate.
pub fn desired_state(machine: Machine, drain_wanted: bool) -> &'static str {
    if fault!(WantsWhatIs) && machine.phase().is_shut() {
        return "stopped";
    }
    match machine.cause() {
        Some(ShutdownCause::Operator) => "stopped",
        _ if drain_wanted => "draining",
        _ => "running",
    }
}
