//! The lifecycle as types: a transition consumes the phase that it leaves. So a forbidden move has no method to call.
//! The module has no rule of its own; the edges are [`machine`]'s.
//!
//! Use it if the code knows the phase, as in a loop that drives one gateway by hand. Use [`AnyLifecycle`] if the phase
//! is known only at run time, as inside [`crate::Gateway`].
//!
//! ```
//! use tidegate::internals::gate::PlainGate;
//! use tidegate::lifecycle::Lifecycle;
//! use tidegate::machine::{ShutdownCause, Terms};
//!
//! let (draining, close) = Lifecycle::running().drain(Terms::default());
//! let (running, reopen) = draining.release();
//! let (going_down, shut) = running.shut_down(ShutdownCause::Operator);
//! let (stopped, _seal) = going_down.finish();
//! assert_eq!(stopped.machine().generation(), 2);
//! # let gate = [close, reopen, shut].into_iter().fold(<PlainGate>::starting(), |it, effect| it.perform(effect).0);
//! # assert!(gate.center.is_shut() && gate.center.is_at_rest());
//! ```
//!
//! # What does not compile
//!
//! A running gateway has no drain to release (E0599):
//!
//! ```compile_fail,E0599
//! tidegate::lifecycle::Lifecycle::running().release();
//! ```
//!
//! A drain cannot begin twice. New terms [amend](Lifecycle::amend) it (E0599):
//!
//! ```compile_fail,E0599
//! use tidegate::{lifecycle::Lifecycle, machine::Terms};
//! let (draining, _) = Lifecycle::running().drain(Terms::default());
//! draining.drain(Terms::default());
//! ```
//!
//! The phase that was left no longer exists (E0382):
//!
//! ```compile_fail,E0382
//! use tidegate::{lifecycle::Lifecycle, machine::Terms};
//! let running = Lifecycle::running();
//! let draining = running.drain(Terms::default());
//! running.shut_down(tidegate::machine::ShutdownCause::Operator);
//! ```
//!
//! Only [`finish`](Lifecycle::finish) leaves a shutdown. A shutdown has no release (E0599):
//!
//! ```compile_fail,E0599
//! use tidegate::{lifecycle::Lifecycle, machine::ShutdownCause};
//! let (going_down, _) = Lifecycle::running().shut_down(ShutdownCause::Operator);
//! going_down.release();
//! ```
//!
//! A shutdown has no drain (E0599):
//!
//! ```compile_fail,E0599
//! use tidegate::{lifecycle::Lifecycle, machine::{ShutdownCause, Terms}};
//! let (going_down, _) = Lifecycle::running().shut_down(ShutdownCause::Operator);
//! going_down.drain(Terms::default());
//! ```
//!
//! A shutdown has no second shutdown, and after the end there is nothing at all (E0599):
//!
//! ```compile_fail,E0599
//! use tidegate::{lifecycle::Lifecycle, machine::ShutdownCause};
//! let (going_down, _) = Lifecycle::running().shut_down(ShutdownCause::Operator);
//! going_down.shut_down(ShutdownCause::Operator);
//! ```
//!
//! ```compile_fail,E0599
//! use tidegate::{lifecycle::Lifecycle, machine::ShutdownCause};
//! let (going_down, _) = Lifecycle::running().shut_down(ShutdownCause::Operator);
//! let (stopped, _) = going_down.finish();
//! stopped.finish();
//! ```
//!
//! Only a running lifecycle admits a user turn. A draining one does not (E0599):
//!
//! ```compile_fail,E0599
//! use tidegate::{internals::gate::StripeWord, lifecycle::Lifecycle, machine::Terms};
//! let (draining, _) = Lifecycle::running().drain(Terms::default());
//! draining.admit_user(StripeWord::starting());
//! ```
//!
//! A lifecycle that is shutting down does not either (E0599):
//!
//! ```compile_fail,E0599
//! use tidegate::{internals::gate::StripeWord, lifecycle::Lifecycle, machine::ShutdownCause};
//! let (going_down, _) = Lifecycle::running().shut_down(ShutdownCause::Operator);
//! going_down.admit_user(StripeWord::starting());
//! ```
//!
//! A phase cannot be forged, because the fields are private (E0451):
//!
//! ```compile_fail,E0451
//! use tidegate::lifecycle::{Lifecycle, Running};
//! let forged: Lifecycle<Running> = Lifecycle { machine: todo!(), phase: todo!() };
//! ```

use std::fmt;
use std::marker::PhantomData;

use crate::gate::StripeWord;
use crate::gate::word::{Arrival, Origin, RefusalReason};
use crate::machine::{self, Effect, Event, Machine, Phase, ShutdownCause, Step, StepError, Terms};

/// The gate is open.
#[derive(Debug)]
pub enum Running {}
/// A request asks for a drain.
#[derive(Debug)]
pub enum ExternallyDraining {}
/// The process is going down.
#[derive(Debug)]
pub enum ShuttingDown {}
/// The process has stopped.
#[derive(Debug)]
pub enum Stopped {}

/// A lifecycle that is known to be in phase `P`.
///
/// It is neither `Clone` nor `Copy`: there is one, and a transition consumes it.
#[must_use = "a lifecycle that is dropped makes no further transition"]
pub struct Lifecycle<P> {
    machine: Machine,
    phase: PhantomData<fn() -> P>,
}

impl<P> Lifecycle<P> {
    const fn at(machine: Machine) -> Lifecycle<P> {
        Lifecycle { machine, phase: PhantomData }
    }

    const fn after(step: Step) -> (Lifecycle<P>, Effect) {
        (Lifecycle::at(step.next), step.effect)
    }

    /// The machine behind the type, for reading.
    #[must_use]
    pub const fn machine(&self) -> Machine {
        self.machine
    }
}

impl<P> fmt::Debug for Lifecycle<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.machine.fmt(f)
    }
}

impl Lifecycle<Running> {
    /// The lifecycle of a gateway whose home has no live request.
    pub const fn running() -> Lifecycle<Running> {
        Lifecycle::at(Machine::running())
    }

    /// Begins a drain.
    pub const fn drain(self, terms: Terms) -> (Lifecycle<ExternallyDraining>, Effect) {
        Lifecycle::after(self.machine.close(terms))
    }

    /// Begins the shutdown.
    pub const fn shut_down(self, cause: ShutdownCause) -> (Lifecycle<ShuttingDown>, Effect) {
        Lifecycle::after(self.machine.shut(cause))
    }

    /// A stripe's word after it admits a new user turn. Only a running lifecycle has this method. The models show that
    /// the *word* refuses the same in every interleaving.
    ///
    /// # Errors
    ///
    /// [`RefusalReason`] if the word is closed or full nevertheless.
    ///
    /// [TG-S2](crate::guide::verification#tg-s2)
    pub fn admit_user(&self, word: StripeWord) -> Result<StripeWord, RefusalReason> {
        word.admit(Arrival::New(Origin::User))
    }
}

impl Lifecycle<ExternallyDraining> {
    /// Ends the drain and runs again.
    pub const fn release(self) -> (Lifecycle<Running>, Effect) {
        Lifecycle::after(self.machine.reopen())
    }

    /// Continues to drain, on other terms.
    pub const fn amend(self, terms: Terms) -> (Lifecycle<ExternallyDraining>, Effect) {
        Lifecycle::after(self.machine.amend(terms))
    }

    /// Begins the shutdown, which supersedes the drain.
    ///
    /// [R12](crate::guide::requirements#r12)
    pub const fn shut_down(self, cause: ShutdownCause) -> (Lifecycle<ShuttingDown>, Effect) {
        Lifecycle::after(self.machine.shut(cause))
    }
}

impl Lifecycle<ShuttingDown> {
    /// Ends the shutdown: nothing is in flight, or the deadline has passed.
    pub const fn finish(self) -> (Lifecycle<Stopped>, Effect) {
        Lifecycle::after(self.machine.finish())
    }
}

/// A lifecycle whose phase is known only at run time.
#[derive(Debug)]
pub enum AnyLifecycle {
    /// See [`Phase::Running`].
    Running(Lifecycle<Running>),
    /// See [`Phase::ExternallyDraining`].
    ExternallyDraining(Lifecycle<ExternallyDraining>),
    /// See [`Phase::ShuttingDown`].
    ShuttingDown(Lifecycle<ShuttingDown>),
    /// See [`Phase::Stopped`].
    Stopped(Lifecycle<Stopped>),
}

impl AnyLifecycle {
    /// The first step of an incarnation: see [`Machine::start`].
    pub const fn start(wanted: Option<Terms>) -> (AnyLifecycle, Effect) {
        match wanted {
            Some(terms) => {
                let (draining, effect) = Lifecycle::running().drain(terms);
                (AnyLifecycle::ExternallyDraining(draining), effect)
            }
            None => (AnyLifecycle::Running(Lifecycle::running()), Machine::start(None).effect),
        }
    }

    /// The lifecycle in the phase of this machine.
    pub(crate) const fn at(machine: Machine) -> AnyLifecycle {
        match machine.phase() {
            Phase::Running => AnyLifecycle::Running(Lifecycle::at(machine)),
            Phase::ExternallyDraining => AnyLifecycle::ExternallyDraining(Lifecycle::at(machine)),
            Phase::ShuttingDown => AnyLifecycle::ShuttingDown(Lifecycle::at(machine)),
            Phase::Stopped => AnyLifecycle::Stopped(Lifecycle::at(machine)),
        }
    }

    /// The machine behind it, for reading.
    #[must_use]
    pub const fn machine(&self) -> Machine {
        match self {
            AnyLifecycle::Running(lifecycle) => lifecycle.machine,
            AnyLifecycle::ExternallyDraining(lifecycle) => lifecycle.machine,
            AnyLifecycle::ShuttingDown(lifecycle) => lifecycle.machine,
            AnyLifecycle::Stopped(lifecycle) => lifecycle.machine,
        }
    }

    /// The phase.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.machine().phase()
    }

    /// Lets the machine decide on `event`, and takes that edge through the typed transition. Returns what the gate must
    /// do.
    ///
    /// # Errors
    ///
    /// As [`machine::step`]. The lifecycle does not change then.
    pub fn apply(&mut self, event: Event) -> Result<Effect, StepError> {
        let machine = self.machine();
        let Step { next, effect } = machine::step(machine, event)?;
        let here = std::mem::replace(self, AnyLifecycle::Stopped(Lifecycle::at(machine)));
        let cause = next.cause().unwrap_or(ShutdownCause::LoopEnded);
        let (there, effect) = match (here, effect) {
            (AnyLifecycle::Running(running), Effect::CloseGate { .. }) => {
                running.drain(next.terms()).into_any()
            }
            (AnyLifecycle::Running(running), Effect::ShutGate) => {
                running.shut_down(cause).into_any()
            }
            (AnyLifecycle::ExternallyDraining(draining), Effect::ReopenGate) => {
                draining.release().into_any()
            }
            (AnyLifecycle::ExternallyDraining(draining), Effect::AmendDrain { .. }) => {
                draining.amend(next.terms()).into_any()
            }
            (AnyLifecycle::ExternallyDraining(draining), Effect::ShutGate) => {
                draining.shut_down(cause).into_any()
            }
            (AnyLifecycle::ShuttingDown(going_down), Effect::SealGate) => {
                going_down.finish().into_any()
            }
            // The table has no such edge (`apply_is_step` walks every cell). If it had one, the types would have no
            // move for it. The lifecycle then stays as it is, which admits nothing new.
            (here, _) => {
                *self = here;
                return Err(StepError::Invalid { from: machine.phase(), event });
            }
        };
        *self = there;
        Ok(effect)
    }
}

trait IntoAny {
    fn into_any(self) -> (AnyLifecycle, Effect);
}

macro_rules! into_any {
    ($($phase:ident),*) => {$(
        impl IntoAny for (Lifecycle<$phase>, Effect) {
            fn into_any(self) -> (AnyLifecycle, Effect) {
                (AnyLifecycle::$phase(self.0), self.1)
            }
        }
    )*};
}
into_any!(Running, ExternallyDraining, ShuttingDown, Stopped);

#[cfg(test)]
mod tests {
    use super::*;

    fn any(phase: Phase) -> AnyLifecycle {
        AnyLifecycle::at(machine::transitions::example_of(phase))
    }

    #[test]
    fn apply_is_step() {
        let held = Event::DrainWanted(Terms { hold_internal: true, suppress_notification: true });
        for phase in Phase::ALL {
            for event in Event::KINDS.into_iter().chain([held]) {
                let mut lifecycle = any(phase);
                let before = lifecycle.machine();
                let typed = lifecycle.apply(event);
                let table = machine::step(before, event);
                assert_eq!(typed, table.map(|step| step.effect), "{phase} {event:?}");
                assert_eq!(
                    lifecycle.machine(),
                    table.map_or(before, |step| step.next),
                    "{phase} {event:?}"
                );
                assert_eq!(any(lifecycle.phase()).phase(), lifecycle.phase());
            }
        }
    }

    #[test]
    fn a_life_starts_as_the_machine_says() {
        for wanted in
            [None, Some(Terms::default()), Some(Terms { hold_internal: true, ..Terms::default() })]
        {
            let (lifecycle, effect) = AnyLifecycle::start(wanted);
            assert_eq!(Step { next: lifecycle.machine(), effect }, Machine::start(wanted));
        }
    }
}
