//! The machine decides what phase the gateway is in and what the gate must do about it. It reads no
//! clock, touches no file and holds no lock.
//!
#![doc = include_str!("machine.md")]
//!
//! The picture and the table above are rendered from [`step`](transitions::step) itself;
//! `tests/it/docs.rs` fails when they drift.
//!
//! # Invariants
//!
//! * **TG-S1 shutdown_wins**: no edge leads from [`Phase::ShuttingDown`] to anything but
//!   [`Phase::Stopped`], and none leaves [`Phase::Stopped`].
//! * [`step`] is total: every phase × event cell is written out, as an edge, [`StepError::NoOp`] or
//!   [`StepError::Invalid`]. Asking twice is a `NoOp` ([R7]), never a second effect.
//! * The generation rises at every close of an open gate, and at nothing else.
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
/// A gateway that has not reconciled with its home yet has no phase: it admits nothing, and its
/// status says `starting`.
///
/// [F6](crate::guide::requirements#f6)
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Phase {
    /// The gate is open.
    Running,
    /// A request asks for a drain: no new user turn starts, those in flight finish.
    ExternallyDraining,
    /// The process is going down. The gate never opens again in this incarnation.
    ShuttingDown,
    /// Nothing is admitted any more, children of live turns included.
    Stopped,
}

impl Phase {
    /// Every phase, in the order of a life.
    pub const ALL: [Phase; 4] =
        [Phase::Running, Phase::ExternallyDraining, Phase::ShuttingDown, Phase::Stopped];

    /// The word the status file uses for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Phase::Running => "running",
            Phase::ExternallyDraining => "externally_draining",
            Phase::ShuttingDown => "shutting_down",
            Phase::Stopped => "stopped",
        }
    }

    /// Whether a shutdown has begun, or ended. Never goes back to `false`.
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

/// What the live requests ask for, taken together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Terms {
    /// Seal the gate at idle, so that internal work too waits for the release.
    ///
    /// [F16](crate::guide::requirements#f16)
    pub hold_internal: bool,
    /// Do not tell users about this drain.
    pub suppress_notification: bool,
}

impl Terms {
    /// The same terms, with or without a seal at idle.
    #[must_use]
    pub const fn with_hold_internal(mut self, hold: bool) -> Terms {
        self.hold_internal = hold;
        self
    }

    /// What two requests together ask for. Internal work is held if either asks for it. The
    /// notification is suppressed only if both ask for that.
    #[must_use]
    pub const fn with(self, other: Terms) -> Terms {
        Terms {
            hold_internal: self.hold_internal || other.hold_internal,
            suppress_notification: self.suppress_notification && other.suppress_notification,
        }
    }
}

/// Why a shutdown was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ShutdownCause {
    /// The process was sent SIGTERM.
    Sigterm,
    /// The process was sent SIGINT.
    Sigint,
    /// A person or a control plane asked for it.
    Operator,
    /// The loop that drove the gateway ended, or its last handle was dropped.
    LoopEnded,
}

impl fmt::Display for ShutdownCause {
    /// What `exit_reason` in the status file says.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ShutdownCause::Sigterm => "SIGTERM",
            ShutdownCause::Sigint => "SIGINT",
            ShutdownCause::Operator => "operator",
            ShutdownCause::LoopEnded => "loop_ended",
        })
    }
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Event {
    /// Watcher or operator: a live request asks for a drain on these terms.
    DrainWanted(Terms),
    /// Watcher or operator: no live request is left.
    DrainUnwanted,
    /// Signal or operator: the process is to go down.
    ShutdownAsked(ShutdownCause),
    /// Gate: it is shut, sealed and empty.
    Emptied,
    /// Clock: the grace given to a shutdown is over.
    DeadlinePassed,
    /// The loop that drove the gateway has ended, so nobody is left to start or finish a turn.
    LoopEnded,
}

impl Event {
    /// One of each kind, for walking the whole table.
    pub const KINDS: [Event; 6] = [
        Event::DrainWanted(Terms { hold_internal: false, suppress_notification: false }),
        Event::DrainUnwanted,
        Event::ShutdownAsked(ShutdownCause::Operator),
        Event::Emptied,
        Event::DeadlinePassed,
        Event::LoopEnded,
    ];

    /// The event's name, without what it carries.
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

/// What the gate must do for a step. [`crate::gate::word::Word::perform`] is how it does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[must_use = "the gate changes only when the effect is performed"]
pub enum Effect {
    /// Refuse new user turns; seal at idle if internal work is to be held.
    CloseGate {
        /// See [`Terms::hold_internal`].
        hold_internal: bool,
    },
    /// The gate stays closed; what is asked about internal work has changed.
    AmendDrain {
        /// See [`Terms::hold_internal`].
        hold_internal: bool,
    },
    /// Admit again. A gate that was shut refuses this order.
    ReopenGate,
    /// Close for good, and seal at idle.
    ShutGate,
    /// Admit nothing at all any more, whatever is still in flight.
    SealGate,
}

impl Effect {
    /// The effect's name, without what it carries.
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
    /// The event asks for what already is, or for what a shutdown forbids.
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
