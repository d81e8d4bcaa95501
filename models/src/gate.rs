//! The gate and its waiters as a model. A release, the wakeup of the timer thread and that thread's round are steps.
//! So are a waiter's check, its registration and its second check. Anything may come between two steps. The model
//! owns the interleaving and the ghosts. Every *decision* is the shipped engine's or the word's.
//!
//! | step here | shipped code it represents |
//! |---|---|
//! | `DrainBegins`, `DrainIsCancelled` | a look, as in `Shared::observe`: `Engine::observed`, `Word::perform`; and `Wakeup::wake`, if the engine says so |
//! | `SignalArrives` | `Engine::shutdown_asked`, in `Shared::shut_down` |
//! | `LastStatusIsWritten` | `Engine::publish_turn`, `Engine::status_written` and `Engine::home_given_back`, for the last status; then `Wakeup::wake` |
//! | `TurnStarts` | the compare-and-swap in `Gate::claim`: `Word::admit` |
//! | `TurnLeaves`, `TurnHasLeft` | the compare-and-swap in `Gate::release`: `Word::release`, and `Wakeup::wake` after it, if the word is idle |
//! | `TimerTakesRing`, `TimerWakesAll` | `Wakeup::wait`; `Engine::on_time` and `WaitList::wake_all`, in the timer thread's round |
//! | `WaiterLooks`, `WaiterRegisters`, `WaiterLooksAgain` | `Wait::poll`: its check, `WaitList::register`, its second check |
//! | `WaiterWakes` | its waker was called, and it polls again |
//!
//! There is one waiter. It waits for any of the things that one can wait for. The model leaves out time, and the memory
//! model: loom runs the shipped code of all this under it.

use std::fmt;

use stateright::{Model, Property};
use tidegate::internals::gate::{Arrival, Origin};
use tidegate::machine::{Phase, ShutdownCause};

use crate::design::{Design, Guard};
use crate::liveness::{FairnessConstraint, LivenessProperty};
use crate::packed::Intern;
use crate::shell::{NOW, OneRequest, OneRequestInput, Shell, SimpleRequest, YES};

/// The most turns in flight at once.
const TURNS: u8 = 2;

/// How often a drain may begin. One more generation would show nothing more.
const DRAINS: u64 = 2;

/// The model. Only the guards vary.
#[derive(Clone, Copy, Debug)]
pub struct GateModel {
    /// Which guards are on.
    pub design: Design,
}

impl GateModel {
    /// The only configuration.
    #[must_use]
    pub const fn small(design: Design) -> GateModel {
        GateModel { design }
    }
}

/// What the waiter waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Wanted {
    /// [`Gateway::idle`](tidegate::Gateway::idle).
    Idle,
    /// [`Gateway::quiesced`](tidegate::Gateway::quiesced), or that it will not come.
    Quiesced,
    /// [`Gateway::admit_when_open`](tidegate::Gateway::admit_when_open), or that it will not open.
    Open,
    /// The next of [`Gateway::changes`](tidegate::Gateway::changes): a phase that is not this one.
    Change(Phase),
    /// The end of a shutdown.
    End,
}

/// The stage of the waiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Waiter {
    /// It is about to check.
    Asks,
    /// Its check failed. It is about to register.
    NotYet,
    /// It is registered, and about to check again.
    Registered,
    /// Its second check failed. It sleeps until it is woken.
    Sleeps,
    /// Its check succeeded.
    Knows,
}

/// The stage of a turn that leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Leaving {
    /// No turn is leaving.
    Nobody,
    /// It is about to wake the timer thread.
    Rings,
    /// Without the guard: it has woken the timer thread, and is about to be counted out.
    IsCounted,
}

/// The whole state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    shell: Shell<OneRequest>,
    turns: u8,
    leaving: Leaving,
    rung: bool,
    /// The timer thread has taken the wakeup, and is about to wake all waiters.
    timer_is_up: bool,
    wanted: Wanted,
    waiter: Waiter,
    woken: bool,
    /// Ghost: something was admitted by a sealed word.
    admitted_wrongly: bool,
}

/// What can happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// A drain begins.
    DrainBegins {
        /// Whether it holds internal work.
        hold: bool,
    },
    /// It is cancelled.
    DrainIsCancelled,
    /// SIGTERM.
    SignalArrives,
    /// The last status is written, and the home is given back.
    LastStatusIsWritten,
    /// Internal work is admitted.
    TurnStarts,
    /// A turn is dropped: its first step.
    TurnLeaves,
    /// Its second step.
    TurnHasLeft,
    /// The timer thread takes the wakeup, and does what is due.
    TimerTakesRing,
    /// It wakes all registered waiters.
    TimerWakesAll,
    /// The waiter checks.
    WaiterLooks,
    /// It registers.
    WaiterRegisters,
    /// It checks once more.
    WaiterLooksAgain,
    /// It was woken, and starts again.
    WaiterWakes,
}

impl State {
    /// The waiter's check. Each is the one that ships.
    fn is_satisfied(&self) -> bool {
        let Shell { engine, word } = &self.shell;
        match self.wanted {
            Wanted::Idle => word.is_idle(),
            Wanted::Quiesced => engine.quiesced(*word).is_some(),
            Wanted::Open => word.admit(Arrival::New(Origin::User)).is_ok() || word.is_shut(),
            Wanted::Change(from) => engine.phase() != from,
            Wanted::End => engine.outcome().is_some(),
        }
    }

    fn apply_input(&mut self, input: OneRequestInput) -> Option<()> {
        let answer = self.shell.apply_input(input)?;
        self.rung |= answer == YES;
        Some(())
    }

    fn release(&mut self, design: Design) {
        if design.has(Guard::CountedClasses) {
            self.shell.release(Origin::Internal);
        }
        self.turns -= 1;
    }
}

impl GateModel {
    fn step(self, state: &mut State, action: Action) -> Option<()> {
        match action {
            Action::DrainBegins { hold } => {
                (state.shell.machine().generation() < DRAINS).then_some(())?;
                (state.shell.phase() == Phase::Running).then_some(())?;
                state
                    .apply_input(OneRequestInput::Sees(Some(SimpleRequest { hold, number: 0 })))?;
            }
            Action::DrainIsCancelled => {
                (state.shell.phase() == Phase::ExternallyDraining).then_some(())?;
                state.apply_input(OneRequestInput::Sees(None))?;
            }
            Action::SignalArrives => {
                (!state.shell.phase().is_shut()).then_some(())?;
                state.apply_input(OneRequestInput::ShutdownAsked(ShutdownCause::Sigterm))?;
            }
            Action::LastStatusIsWritten => {
                (state.shell.phase() == Phase::Stopped).then_some(())?;
                (state.shell.apply_input(OneRequestInput::WantsToPublish)? == YES).then_some(())?;
                let written = OneRequestInput::HasWritten(state.shell.condition().intern(), true);
                (state.shell.apply_input(written)? == YES).then_some(())?;
                state.shell.apply_input(OneRequestInput::HomeIsGivenBack)?;
                state.rung = true;
            }
            Action::TurnStarts => {
                (state.turns < TURNS).then_some(())?;
                let word = state.shell.word;
                state.shell.admit(Arrival::New(Origin::Internal))?;
                if !self.design.has(Guard::CountedClasses) {
                    state.shell.word = word;
                }
                state.admitted_wrongly |= word.is_sealed();
                state.turns += 1;
            }
            Action::TurnLeaves => {
                (state.leaving == Leaving::Nobody && state.turns > 0).then_some(())?;
                if self.design.has(Guard::RingAfterRelease) {
                    state.release(self.design);
                    let rings = state.shell.word.is_idle();
                    state.leaving = if rings { Leaving::Rings } else { Leaving::Nobody };
                } else {
                    // If it is the last turn out, it wakes the timer thread. After that it is counted out.
                    state.rung |= state.shell.word.release(Origin::Internal).is_idle();
                    state.leaving = Leaving::IsCounted;
                }
            }
            Action::TurnHasLeft => match std::mem::replace(&mut state.leaving, Leaving::Nobody) {
                Leaving::Nobody => return None,
                Leaving::Rings => state.rung = true,
                Leaving::IsCounted => state.release(self.design),
            },
            Action::TimerTakesRing => {
                (!state.timer_is_up && std::mem::take(&mut state.rung)).then_some(())?;
                state.timer_is_up = true;
                state.apply_input(OneRequestInput::TimePasses(NOW));
            }
            Action::TimerWakesAll => {
                std::mem::take(&mut state.timer_is_up).then_some(())?;
                state.woken |= matches!(state.waiter, Waiter::Registered | Waiter::Sleeps);
            }
            Action::WaiterLooks => {
                (state.waiter == Waiter::Asks).then_some(())?;
                state.waiter = if state.is_satisfied() { Waiter::Knows } else { Waiter::NotYet };
            }
            Action::WaiterRegisters => {
                (state.waiter == Waiter::NotYet).then_some(())?;
                let looks_again = self.design.has(Guard::SecondLook);
                state.waiter = if looks_again { Waiter::Registered } else { Waiter::Sleeps };
            }
            Action::WaiterLooksAgain => {
                (state.waiter == Waiter::Registered).then_some(())?;
                state.waiter = if state.is_satisfied() { Waiter::Knows } else { Waiter::Sleeps };
            }
            Action::WaiterWakes => {
                (state.waiter == Waiter::Sleeps && state.woken).then_some(())?;
                (state.waiter, state.woken) = (Waiter::Asks, false);
            }
        }
        Some(())
    }

    /// TG-L2, for waiters; and TG-L4, that the end is reported.
    #[must_use]
    pub fn liveness_properties() -> Vec<LivenessProperty<GateModel>> {
        const TIMER: FairnessConstraint<Action> =
            FairnessConstraint::weak("the timer thread makes its rounds", |action| {
                matches!(action, Action::TimerTakesRing | Action::TimerWakesAll)
            });
        const WAITER: FairnessConstraint<Action> =
            FairnessConstraint::weak("the waiter takes its next step", |action| {
                matches!(
                    action,
                    Action::WaiterLooks
                        | Action::WaiterRegisters
                        | Action::WaiterLooksAgain
                        | Action::WaiterWakes
                )
            });
        const LEAVER: FairnessConstraint<Action> =
            FairnessConstraint::weak("a turn that is leaving leaves", |action| {
                matches!(action, Action::TurnHasLeft)
            });
        const PUBLISHER: FairnessConstraint<Action> =
            FairnessConstraint::weak("the last status is written", |action| {
                matches!(action, Action::LastStatusIsWritten)
            });
        vec![
            // Property: TG-L2 drains
            LivenessProperty {
                name: "waiter_is_woken_progress",
                premise: |_, state| state.is_satisfied() && state.waiter != Waiter::Knows,
                goal: |_, _| false,
                ended: |_| false,
                fair: vec![TIMER, WAITER, LEAVER],
            },
            // Property: TG-L4 stops. With nothing in flight nothing need pass but the rounds.
            LivenessProperty {
                name: "end_is_told_progress",
                premise: |_, state| state.shell.phase().is_shut() && state.turns == 0,
                goal: |_, state| state.shell.engine.outcome().is_some(),
                ended: |_| false,
                fair: vec![TIMER, LEAVER, PUBLISHER],
            },
        ]
    }
}

impl Model for GateModel {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let change = Wanted::Change(Phase::Running);
        let all = [Wanted::Idle, Wanted::Quiesced, Wanted::Open, change, Wanted::End];
        let there = [
            None,
            Some(SimpleRequest { hold: false, number: 0 }),
            Some(SimpleRequest { hold: true, number: 0 }),
        ];
        let each = all.into_iter().flat_map(|wanted| there.map(|there| (wanted, there)));
        each.map(|(wanted, there)| State {
            shell: Shell::start(there),
            turns: 0,
            leaving: Leaving::Nobody,
            rung: false,
            timer_is_up: false,
            wanted,
            waiter: Waiter::Asks,
            woken: false,
            admitted_wrongly: false,
        })
        .collect()
    }

    fn actions(&self, _: &State, actions: &mut Vec<Action>) {
        use Action as A;
        actions.extend([
            A::DrainBegins { hold: false },
            A::DrainBegins { hold: true },
            A::DrainIsCancelled,
            A::SignalArrives,
            A::LastStatusIsWritten,
            A::TurnStarts,
            A::TurnLeaves,
            A::TurnHasLeft,
            A::TimerTakesRing,
            A::TimerWakesAll,
            A::WaiterLooks,
            A::WaiterRegisters,
            A::WaiterLooksAgain,
            A::WaiterWakes,
        ]);
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = *before;
        self.step(&mut state, action)?;
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<GateModel>> {
        vec![
            // Property: TG-S3 bypass_is_bounded
            Property::always("sealed_admits_nothing_inv", |_, state: &State| {
                let word = state.shell.word;
                let counted = u32::from(state.turns) == word.in_flight().internal;
                !state.admitted_wrongly && counted && (!word.is_sealed() || state.turns == 0)
            }),
            Property::sometimes("sealed_admits_nothing_reach", |_, state: &State| {
                state.shell.word.is_sealed()
                    && state.waiter == Waiter::Sleeps
                    && state.leaving == Leaving::Rings
            }),
            // What is not promised: that what was idle stays so. Property: TG-S4 quiesced_means_idle
            Property::sometimes("idle_is_left_gap", |_, state: &State| {
                let word = state.shell.word;
                state.wanted == Wanted::Idle
                    && state.waiter == Waiter::Knows
                    && word.is_closed()
                    && !word.is_idle()
            }),
        ]
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Action::DrainBegins { hold: false } => "a drain begins",
            Action::DrainBegins { hold: true } => "a drain that holds internal work begins",
            Action::DrainIsCancelled => "the drain is cancelled",
            Action::SignalArrives => "SIGTERM arrives",
            Action::LastStatusIsWritten => "the last status is written",
            Action::TurnStarts => "internal work starts",
            Action::TurnLeaves => "a turn begins to leave",
            Action::TurnHasLeft => "the turn has left",
            Action::TimerTakesRing => "the timer thread takes its wakeup",
            Action::TimerWakesAll => "the timer thread wakes all registered waiters",
            Action::WaiterLooks => "the waiter checks",
            Action::WaiterRegisters => "the waiter registers",
            Action::WaiterLooksAgain => "the waiter checks once more",
            Action::WaiterWakes => "the waiter wakes",
        })
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rung = if self.rung { ", the timer thread is to wake" } else { "" };
        let Shell { engine, word } = &self.shell;
        let (phase, wanted, waiter) = (engine.phase(), self.wanted, self.waiter);
        write!(f, "{phase}, gate {word:?}, waiter for {wanted:?} {waiter:?}{rung}")
    }
}
