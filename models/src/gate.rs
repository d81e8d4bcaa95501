//! The gate and its waiters as a model: a release, the ringing of the bell, the keeper's round
//! and a waiter's check, registration and second check are each a step of their own, and anything may
//! come between. It owns the interleaving; every *decision* about the gate is a call of a shipped function.
//!
//! | step here | shipped code it stands for |
//! |---|---|
//! | `DrainBegins`, `DrainIsCancelled` | the compare-and-swap in `Gate::perform`: `Word::perform`; then `Bell::ring`, in `Shared::apply` |
//! | `TurnStarts` | the compare-and-swap in `Gate::claim`: `Word::admit` |
//! | `TurnLeaves`, `BellIsRung` | the compare-and-swap in `Gate::release`: `Word::release`, and the ring after it where the word is idle |
//! | `KeeperTakesRing`, `KeeperWakesAll` | `Bell::wait` and `WaitList::wake_all`, in the keeper's round |
//! | `WaiterLooks`, `WaiterRegisters`, `WaiterLooksAgain` | `Wait::poll`: `Word::is_idle`, `WaitList::register`, `Word::is_idle` |
//! | `WaiterWakes` | its waker was called, and it polls again |
//!
//! What it leaves out: the memory model, in which loom runs the shipped code of all this, and time.

use std::fmt;

use stateright::{Model, Property};
use tidegate::gate::word::{Arrival, Origin, Word};
use tidegate::machine::Effect;

use crate::design::{Design, Guard};
use crate::liveness::{Fair, Progress};
use crate::shell::started;

/// Turns that may be in flight at once.
const TURNS: u8 = 2;

/// The model: which guards.
#[derive(Clone, Copy, Debug)]
pub struct GateModel {
    /// Which guards are on.
    pub design: Design,
}

impl GateModel {
    /// All of it.
    #[must_use]
    pub const fn small(design: Design) -> GateModel {
        GateModel { design }
    }
}

/// Where somebody is who waits for the gate to be idle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Waiter {
    /// About to look.
    Asks,
    /// It was not idle; about to register.
    Saw,
    /// Registered; about to look again.
    Registered,
    /// It still was not; registered, and asleep until it is woken.
    Sleeps,
    /// It was idle.
    Knows,
}

/// Where a turn that leaves is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Leaving {
    /// None does.
    Nobody,
    /// About to ring.
    Rings,
    /// Without the guard: it has rung, and is about to be counted out.
    IsCounted,
}

/// The whole state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    word: Word,
    turns: u8,
    leaving: Leaving,
    rung: bool,
    /// The keeper has taken the ring, and is about to wake everybody.
    keeper_is_up: bool,
    waiter: Waiter,
    woken: bool,
    /// Ghost: something was admitted by a sealed word.
    slipped_in: bool,
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
    /// Internal work is admitted.
    TurnStarts,
    /// A turn is dropped: its first step.
    TurnLeaves,
    /// Its second.
    TurnHasLeft,
    /// The keeper hears the bell.
    KeeperTakesRing,
    /// It wakes all who are registered.
    KeeperWakesAll,
    /// The waiter looks.
    WaiterLooks,
    /// It registers.
    WaiterRegisters,
    /// It looks once more.
    WaiterLooksAgain,
    /// It was woken, and asks again.
    WaiterWakes,
}

impl State {
    fn release(&mut self, design: Design) {
        if design.has(Guard::CountedClasses) {
            self.word = self.word.release(Origin::Internal);
        }
        self.turns -= 1;
    }
}

impl GateModel {
    fn step(self, state: &mut State, action: Action) -> Option<()> {
        match action {
            Action::DrainBegins { hold } => {
                (!state.word.is_closed()).then_some(())?;
                state.word = state.word.perform(Effect::CloseGate { hold_internal: hold })?;
                state.rung = true;
            }
            Action::DrainIsCancelled => {
                state.word.is_closed().then_some(())?;
                state.word = state.word.perform(Effect::ReopenGate)?;
                state.rung = true;
            }
            Action::TurnStarts => {
                (state.turns < TURNS).then_some(())?;
                let sealed = state.word.is_sealed();
                let admitted = state.word.admit(Arrival::New(Origin::Internal)).ok()?;
                if self.design.has(Guard::CountedClasses) {
                    state.word = admitted;
                }
                state.slipped_in |= sealed;
                state.turns += 1;
            }
            Action::TurnLeaves => {
                (state.leaving == Leaving::Nobody && state.turns > 0).then_some(())?;
                if self.design.has(Guard::RingAfterRelease) {
                    state.release(self.design);
                    state.leaving =
                        if state.word.is_idle() { Leaving::Rings } else { Leaving::Nobody };
                } else {
                    // It rings if it will have been the last one out, and is counted out after that.
                    state.rung |= state.word.release(Origin::Internal).is_idle();
                    state.leaving = Leaving::IsCounted;
                }
            }
            Action::TurnHasLeft => match std::mem::replace(&mut state.leaving, Leaving::Nobody) {
                Leaving::Nobody => return None,
                Leaving::Rings => state.rung = true,
                Leaving::IsCounted => state.release(self.design),
            },
            Action::KeeperTakesRing => {
                (!state.keeper_is_up && std::mem::take(&mut state.rung)).then_some(())?;
                state.keeper_is_up = true;
            }
            Action::KeeperWakesAll => {
                std::mem::take(&mut state.keeper_is_up).then_some(())?;
                state.woken |= matches!(state.waiter, Waiter::Registered | Waiter::Sleeps);
            }
            Action::WaiterLooks => {
                (state.waiter == Waiter::Asks).then_some(())?;
                state.waiter = if state.word.is_idle() { Waiter::Knows } else { Waiter::Saw };
            }
            Action::WaiterRegisters => {
                (state.waiter == Waiter::Saw).then_some(())?;
                let looks_again = self.design.has(Guard::SecondLook);
                state.waiter = if looks_again { Waiter::Registered } else { Waiter::Sleeps };
            }
            Action::WaiterLooksAgain => {
                (state.waiter == Waiter::Registered).then_some(())?;
                state.waiter = if state.word.is_idle() { Waiter::Knows } else { Waiter::Sleeps };
            }
            Action::WaiterWakes => {
                (state.waiter == Waiter::Sleeps && state.woken).then_some(())?;
                (state.waiter, state.woken) = (Waiter::Asks, false);
            }
        }
        Some(())
    }

    /// TG-L2, of those who wait.
    #[must_use]
    pub fn promises() -> Vec<Progress<GateModel>> {
        const KEEPER: Fair<Action> = Fair::weak("the keeper thread makes its rounds", |action| {
            matches!(action, Action::KeeperTakesRing | Action::KeeperWakesAll)
        });
        const WAITER: Fair<Action> = Fair::weak("the waiter takes its next step", |action| {
            matches!(
                action,
                Action::WaiterLooks
                    | Action::WaiterRegisters
                    | Action::WaiterLooksAgain
                    | Action::WaiterWakes
            )
        });
        const LEAVER: Fair<Action> = Fair::weak("a turn that is leaving leaves", |action| {
            matches!(action, Action::TurnHasLeft)
        });
        vec![
            // Property: TG-L2 drains
            Progress {
                name: "waiter_is_woken_progress",
                premise: |_, state| state.word.is_idle() && state.waiter != Waiter::Knows,
                goal: |_, _| false,
                ended: |_| false,
                fair: vec![KEEPER, WAITER, LEAVER],
            },
        ]
    }
}

impl Model for GateModel {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let (_, word) = started(None);
        vec![State {
            word,
            turns: 0,
            leaving: Leaving::Nobody,
            rung: false,
            keeper_is_up: false,
            waiter: Waiter::Asks,
            woken: false,
            slipped_in: false,
        }]
    }

    fn actions(&self, _: &State, actions: &mut Vec<Action>) {
        use Action as A;
        actions.extend([
            A::DrainBegins { hold: false },
            A::DrainBegins { hold: true },
            A::DrainIsCancelled,
            A::TurnStarts,
            A::TurnLeaves,
            A::TurnHasLeft,
            A::KeeperTakesRing,
            A::KeeperWakesAll,
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
                let counted = u32::from(state.turns) == state.word.in_flight().internal;
                !state.slipped_in && counted && (!state.word.is_sealed() || state.turns == 0)
            }),
            Property::sometimes("sealed_admits_nothing_reach", |_, state: &State| {
                state.word.is_sealed()
                    && state.waiter == Waiter::Sleeps
                    && state.leaving == Leaving::Rings
            }),
            // What is not promised: that what was idle stays so. Property: TG-S4 quiesced_means_idle
            Property::sometimes("idle_is_left_gap", |_, state: &State| {
                state.waiter == Waiter::Knows && state.word.is_closed() && !state.word.is_idle()
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
            Action::TurnStarts => "internal work starts",
            Action::TurnLeaves => "a turn begins to leave",
            Action::TurnHasLeft => "the turn has left",
            Action::KeeperTakesRing => "the keeper thread hears the bell",
            Action::KeeperWakesAll => "the keeper thread wakes all registered waiters",
            Action::WaiterLooks => "the waiter checks whether the gate is idle",
            Action::WaiterRegisters => "the waiter registers",
            Action::WaiterLooksAgain => "the waiter checks once more",
            Action::WaiterWakes => "the waiter wakes",
        })
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rung = if self.rung { ", the bell is rung" } else { "" };
        write!(f, "gate {:?}, waiter {:?}{rung}", self.word, self.waiter)
    }
}
