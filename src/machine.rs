//! The machine decides the phase of the gateway, and what the gate must do about it. It reads no clock, touches no file
//! and holds no lock.
//!
#![doc = include_str!("machine.md")]
//!
//! The picture and the table above are rendered from [`step`](transitions::step) itself;
//! `tests/it/docs.rs` fails when they drift.
//!
//! # Invariants
//!
//! * **TG-S1 shutdown_wins**: the only edge that leaves [`Phase::ShuttingDown`] leads to [`Phase::Stopped`]. No edge
//!   leaves [`Phase::Stopped`].
//! * [`step`] is total: every phase × event cell is written out, as an edge, [`StepError::NoOp`] or
//!   [`StepError::Invalid`]. An event that repeats is a `NoOp`, never a second effect ([R7]).
//! * The generation rises at every close of an open gate, and only then.
//!
//! # Examples
//!
//! ```
//! use tidegate::internals::machine::{self, Machine};
//! use tidegate::machine::{Effect, Event, Phase, Terms};
//!
//! let running = Machine::running();
//! let step = machine::step(running, Event::DrainWanted(Terms::default()))?;
//! assert_eq!(step.next.phase(), Phase::ExternallyDraining);
//! assert_eq!(step.effect, Effect::CloseGate { hold_internal: false });
//! # Ok::<(), tidegate::machine::StepError>(())
//! ```
//!
//! [R7]: crate::guide::requirements#r7

pub(crate) mod transitions;

use std::fmt;

pub(crate) use transitions::{Machine, Step, step};

/// The phase of a gateway.
///
/// A gateway that has not yet reconciled with its home has no phase. It admits nothing, and its status says `starting`.
///
/// [F6](crate::guide::requirements#f6)
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Phase {
    /// The gate is open.
    Running,
    /// A request asks for a drain: no new user turn starts, and turns in flight finish.
    ExternallyDraining,
    /// The process is going down. The gate never opens again in this incarnation.
    ShuttingDown,
    /// Nothing is admitted, not even children of turns in flight.
    Stopped,
}

impl Phase {
    /// Every phase, in the order of a gateway's life.
    pub const ALL: [Phase; 4] =
        [Phase::Running, Phase::ExternallyDraining, Phase::ShuttingDown, Phase::Stopped];

    /// The name of the phase in the status file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Phase::Running => "running",
            Phase::ExternallyDraining => "externally_draining",
            Phase::ShuttingDown => "shutting_down",
            Phase::Stopped => "stopped",
        }
    }

    /// Whether a shutdown has begun or ended. It never becomes `false` again.
    ///
    /// [TG-S1](crate::guide::verification#tg-s1)
    #[must_use]
    pub const fn is_shut(self) -> bool {
        matches!(self, Phase::ShuttingDown | Phase::Stopped)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The combined terms of the live requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Terms {
    /// Whether to seal the gate at idle, so that internal work too waits for the release.
    ///
    /// [F16](crate::guide::requirements#f16)
    pub hold_internal: bool,
    /// Whether users are not notified of this drain.
    pub suppress_notification: bool,
}

impl Terms {
    /// The same terms, with or without a seal at idle.
    #[must_use]
    pub const fn with_hold_internal(mut self, hold: bool) -> Terms {
        self.hold_internal = hold;
        self
    }

    /// The terms of two requests together. Internal work is held if either asks for it. The notification is suppressed
    /// only if both ask for that.
    #[must_use]
    pub const fn with(self, other: Terms) -> Terms {
        Terms {
            hold_internal: self.hold_internal || other.hold_internal,
            suppress_notification: self.suppress_notification && other.suppress_notification,
        }
    }
}

/// The cause of a shutdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ShutdownCause {
    /// The process received SIGTERM.
    Sigterm,
    /// The process received SIGINT.
    Sigint,
    /// A person or a control plane asked for it.
    Operator,
    /// The loop that drove the gateway ended, or its last handle was dropped.
    LoopEnded,
}

impl fmt::Display for ShutdownCause {
    /// The text of `exit_reason` in the status file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ShutdownCause::Sigterm => "SIGTERM",
            ShutdownCause::Sigint => "SIGINT",
            ShutdownCause::Operator => "operator",
            ShutdownCause::LoopEnded => "loop_ended",
        })
    }
}

/// An event for the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Event {
    /// From the watcher or an operator: a live request asks for a drain on these terms.
    DrainWanted(Terms),
    /// From the watcher or an operator: no live request is left.
    DrainUnwanted,
    /// From a signal or an operator: the process is going down.
    ShutdownAsked(ShutdownCause),
    /// From the gate: it is shut, sealed and empty.
    Emptied,
    /// From the clock: the grace of a shutdown is over.
    DeadlinePassed,
    /// The loop that drove the gateway has ended, so nothing can start or finish a turn.
    LoopEnded,
}

impl Event {
    /// One event of each kind, for walking the whole table.
    pub const KINDS: [Event; 6] = [
        Event::DrainWanted(Terms { hold_internal: false, suppress_notification: false }),
        Event::DrainUnwanted,
        Event::ShutdownAsked(ShutdownCause::Operator),
        Event::Emptied,
        Event::DeadlinePassed,
        Event::LoopEnded,
    ];

    /// The name of the event, without its data.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Event::DrainWanted(_) => "DrainWanted",
            Event::DrainUnwanted => "DrainUnwanted",
            Event::ShutdownAsked(_) => "ShutdownAsked",
            Event::Emptied => "Emptied",
            Event::DeadlinePassed => "DeadlinePassed",
            Event::LoopEnded => "LoopEnded",
        }
    }
}

/// What the gate must do for a step. The gate carries it out word by word: see `gate::order`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[must_use = "the gate changes only when the effect is performed"]
pub enum Effect {
    /// Refuse new user turns. Seal at idle if internal work is held.
    CloseGate {
        /// See [`Terms::hold_internal`].
        hold_internal: bool,
    },
    /// The gate stays closed, but whether internal work is held has changed.
    AmendDrain {
        /// See [`Terms::hold_internal`].
        hold_internal: bool,
    },
    /// Admit again. A gate that was shut refuses this effect.
    ReopenGate,
    /// Close permanently, and seal at idle.
    ShutGate,
    /// Admit nothing at all, whatever is still in flight.
    SealGate,
}

impl Effect {
    /// The name of the effect, without its data.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Effect::CloseGate { .. } => "CloseGate",
            Effect::AmendDrain { .. } => "AmendDrain",
            Effect::ReopenGate => "ReopenGate",
            Effect::ShutGate => "ShutGate",
            Effect::SealGate => "SealGate",
        }
    }
}

/// Why an event changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum StepError {
    /// The event asks for the current state, or for something that a shutdown forbids.
    ///
    /// [TG-S1](crate::guide::verification#tg-s1),
    /// [R7](crate::guide::requirements#r7)
    #[error("{event:?} changes nothing in phase {from}")]
    NoOp {
        /// The phase the event arrived in.
        from: Phase,
        /// The event.
        event: Event,
    },
    /// The event cannot happen in this phase: the caller's view of the gate is wrong.
    #[error("{event:?} cannot happen in phase {from}: it needs a shutdown that has begun")]
    Invalid {
        /// The phase the event arrived in.
        from: Phase,
        /// The event.
        event: Event,
    },
}
