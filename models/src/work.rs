//! Work as a model. It follows one user's turns from admission to the delivery of the reply. A turn may need a child in
//! order to end, and a message may wait behind it. There is internal work. A controller acts on what it has read, and
//! that kills whatever is live. The model owns the interleaving and the ghosts. Every *decision* is a call of a shipped
//! function.
//!
//! | step here | shipped code it represents |
//! |---|---|
//! | `DrainBegins`, `DrainIsCancelled` | a look, as in `Shared::observe`: `Engine::observed`, `Gate::perform` |
//! | `UserArrives`, `InternalArrives`, `ChildStarts` | the compare-and-swap in `Stripe::claim`: `Word::admit` |
//! | `TurnEnds`, `ChildEnds`, `InternalEnds` | the compare-and-swap in `Stripe::release`: `Word::release` |
//! | `FollowUpStarts` | `Gateway::admit`, called again for a message that waited |
//! | `ControllerReads` | `Engine::condition`, as published |
//! | `ControllerActs` | what a control plane does then: the process is gone |
//!
//! It leaves out watchers and requests (the `gateway` and `channel` models have them), shutdown, and time. A promise
//! here lasts until its holder cancels.

use std::fmt;

use stateright::{Model, Property};
use tidegate::internals::gate::{Arrival, Origin};
use tidegate::machine::Phase;

use crate::design::{Design, Guard};
use crate::liveness::{FairnessConstraint, LivenessProperty};
use crate::shell::{OneRequest, OneRequestInput, Shell, SimpleRequest};

/// The model: how much of everything, and which guards.
#[derive(Clone, Copy, Debug)]
pub struct WorkModel {
    /// Which guards are on.
    pub design: Design,
    /// How often a drain may begin.
    pub drains: u8,
    /// The number of messages that may come while a turn runs.
    pub messages: u8,
}

impl WorkModel {
    /// Enough of everything for every finding of the ablations.
    #[must_use]
    pub const fn small(design: Design) -> WorkModel {
        WorkModel { design, drains: 2, messages: 1 }
    }

    /// The configuration whose count is published.
    #[must_use]
    pub const fn full(design: Design) -> WorkModel {
        WorkModel { design, drains: 4, messages: 3 }
    }
}

/// The stage of the user's turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TurnStage {
    /// There is no turn.
    None,
    /// It runs, and may still need a child.
    Running,
    /// It cannot go on before a child has run.
    NeedsChild,
    /// Its child runs.
    HasChild,
    /// Its child has run.
    ChildDone,
    /// It is done, and its reply is on its way.
    Delivering,
}

/// The whole state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    shell: Shell<OneRequest>,
    turn: TurnStage,
    /// A message waits behind the turn.
    waits: bool,
    internal: bool,
    drains_left: u8,
    messages_left: u8,
    /// The controller has read that it may act, and has not cancelled since.
    promised: bool,
    /// It has acted: the process is gone.
    acted: bool,
    /// Ghost: work was live when the controller acted.
    cut_off: bool,
    /// Ghost: a user turn started at a closed gate.
    admitted_wrongly: bool,
    /// Ghost: a turn was counted out, and not by its own end.
    ended_by_others: bool,
}

/// What can happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// A drain that holds internal work begins.
    DrainBegins,
    /// Its holder cancels it.
    DrainIsCancelled,
    /// A user's message starts a turn.
    UserArrives,
    /// A user's message arrives while the turn runs.
    MessageWaits,
    /// The turn needs a child.
    TurnNeedsChild,
    /// The child is admitted.
    ChildStarts,
    /// The child ends.
    ChildEnds,
    /// The turn is done; its reply goes out.
    TurnDelivers,
    /// The reply's last byte is delivered.
    TurnEnds,
    /// The message that waited starts a turn, or is refused.
    FollowUpStarts,
    /// Internal work is admitted.
    InternalArrives,
    /// It ends.
    InternalEnds,
    /// The controller reads that it may act.
    ControllerReads,
    /// The controller acts.
    ControllerActs,
}

impl State {
    fn admit(&mut self, arrival: Arrival) -> Option<()> {
        let closed = self.shell.gate.state().is_closed();
        self.shell.admit(arrival)?;
        self.admitted_wrongly |= closed && arrival == Arrival::New(Origin::User);
        Some(())
    }

    /// Counts the turn out. Without two of the guards, a turn may continue uncounted; then there is nothing to do.
    fn count_out(&mut self) {
        if self.shell.gate.state().in_flight().user > 0 {
            self.shell.release(Origin::User);
        }
    }

    fn is_at_work(&self) -> bool {
        self.turn != TurnStage::None || self.internal
    }
}

impl WorkModel {
    fn step(self, state: &mut State, action: Action) -> Option<()> {
        let design = self.design;
        (!state.acted).then_some(())?;
        match action {
            Action::DrainBegins => {
                state.drains_left = state.drains_left.checked_sub(1)?;
                let hold = design.has(Guard::Seal);
                state
                    .shell
                    .apply_input(OneRequestInput::Sees(Some(SimpleRequest { hold, number: 0 })))?;
            }
            Action::DrainIsCancelled => {
                state.shell.apply_input(OneRequestInput::Sees(None))?;
                state.promised = false;
            }
            Action::UserArrives => {
                (state.turn == TurnStage::None && !state.waits).then_some(())?;
                state.admit(Arrival::New(Origin::User))?;
                state.turn = TurnStage::Running;
            }
            Action::MessageWaits => {
                (state.turn != TurnStage::None && !state.waits).then_some(())?;
                state.messages_left = state.messages_left.checked_sub(1)?;
                state.waits = true;
            }
            Action::TurnNeedsChild => {
                (state.turn == TurnStage::Running).then_some(())?;
                state.turn = TurnStage::NeedsChild;
            }
            Action::ChildStarts => {
                (state.turn == TurnStage::NeedsChild).then_some(())?;
                let child = Arrival::ChildOf(Origin::User);
                let asks =
                    if design.has(Guard::Children) { child } else { Arrival::New(Origin::User) };
                state.shell.admit(asks)?;
                state.turn = TurnStage::HasChild;
            }
            Action::ChildEnds => {
                (state.turn == TurnStage::HasChild).then_some(())?;
                state.shell.release(Origin::User);
                state.turn = TurnStage::ChildDone;
            }
            Action::TurnDelivers => {
                matches!(state.turn, TurnStage::Running | TurnStage::ChildDone).then_some(())?;
                state.turn = TurnStage::Delivering;
                if !design.has(Guard::DeliveryCounted) {
                    state.count_out();
                }
            }
            Action::TurnEnds => {
                (state.turn == TurnStage::Delivering).then_some(())?;
                state.turn = TurnStage::None;
                if state.waits && !design.has(Guard::FollowUpsAsk) {
                    // The turn continues with the message that waited, and the gate is not asked.
                    (state.turn, state.waits) = (TurnStage::Running, false);
                    state.admitted_wrongly |= state.shell.gate.state().is_closed();
                } else if design.has(Guard::DeliveryCounted) {
                    state.count_out();
                }
            }
            Action::FollowUpStarts => {
                (state.turn == TurnStage::None).then_some(())?;
                state.waits.then_some(())?;
                state.waits = false;
                // A message that is refused gets that answer. It has not started.
                if state.admit(Arrival::New(Origin::User)).is_some() {
                    state.turn = TurnStage::Running;
                }
            }
            Action::InternalArrives => {
                (!std::mem::replace(&mut state.internal, true)).then_some(())?;
                state.admit(Arrival::New(Origin::Internal))?;
            }
            Action::InternalEnds => {
                std::mem::take(&mut state.internal).then_some(())?;
                state.shell.release(Origin::Internal);
            }
            Action::ControllerReads => {
                let condition = state.shell.condition();
                let drained = condition.phase == Phase::ExternallyDraining;
                let may = if design.has(Guard::Seal) {
                    condition.quiesced
                } else {
                    drained && condition.idle
                };
                (may && !state.promised).then_some(())?;
                state.promised = true;
            }
            Action::ControllerActs => {
                state.promised.then_some(())?;
                state.cut_off |= state.is_at_work();
                state.acted = true;
            }
        }
        Some(())
    }

    /// TG-L5.
    #[must_use]
    pub fn liveness_properties() -> Vec<LivenessProperty<WorkModel>> {
        vec![
            // Property: TG-L5 bypass_progress
            LivenessProperty {
                name: "bypass_progress",
                premise: |_, state| {
                    let needs = matches!(state.turn, TurnStage::NeedsChild | TurnStage::HasChild);
                    needs && state.shell.phase() == Phase::ExternallyDraining
                },
                goal: |_, _| false,
                ended: |action| matches!(action, Action::ControllerActs),
                fair: vec![
                    FairnessConstraint::weak("a child that is needed asks the gate", |action| {
                        matches!(action, Action::ChildStarts)
                    }),
                    FairnessConstraint::weak("a child ends", |action| {
                        matches!(action, Action::ChildEnds)
                    }),
                ],
            },
        ]
    }
}

impl Model for WorkModel {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            shell: Shell::start(None),
            turn: TurnStage::None,
            waits: false,
            internal: false,
            drains_left: self.drains,
            messages_left: self.messages,
            promised: false,
            acted: false,
            cut_off: false,
            admitted_wrongly: false,
            ended_by_others: false,
        }]
    }

    fn actions(&self, _: &State, actions: &mut Vec<Action>) {
        use Action as A;
        actions.extend([
            A::DrainBegins,
            A::DrainIsCancelled,
            A::UserArrives,
            A::MessageWaits,
            A::TurnNeedsChild,
            A::ChildStarts,
            A::ChildEnds,
            A::TurnDelivers,
            A::TurnEnds,
            A::FollowUpStarts,
            A::InternalArrives,
            A::InternalEnds,
            A::ControllerReads,
            A::ControllerActs,
        ]);
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = *before;
        self.step(&mut state, action)?;
        let ends = matches!(action, Action::TurnEnds | Action::ChildEnds | Action::InternalEnds);
        let (was, is) =
            (before.shell.gate.state().in_flight(), state.shell.gate.state().in_flight());
        state.ended_by_others |= !ends && (is.user < was.user || is.internal < was.internal);
        Some(state)
    }

    fn properties(&self) -> Vec<Property<WorkModel>> {
        vec![
            // Property: TG-S6 in_flight_untouched
            Property::always("in_flight_untouched_inv", |_, state: &State| !state.cut_off),
            Property::sometimes("in_flight_untouched_reach", |_, state: &State| {
                state.acted && state.messages_left == 0 && state.drains_left == 0
            }),
            Property::always("only_its_end_ends_a_turn_step", |_, state: &State| {
                !state.ended_by_others
            }),
            Property::sometimes("only_its_end_ends_a_turn_reach", |_, state: &State| {
                // A drain has begun and ended, and the turn still runs.
                state.shell.machine().generation() > 0
                    && state.shell.phase() == Phase::Running
                    && state.turn == TurnStage::Running
            }),
            // Property: TG-S2 no_new_turn_while_draining
            Property::always("follow_ups_ask_step", |_, state: &State| !state.admitted_wrongly),
            Property::sometimes("follow_ups_ask_reach", |_, state: &State| {
                state.waits && state.turn == TurnStage::None && state.shell.gate.state().is_closed()
            }),
        ]
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Action::DrainBegins => "a drain that holds internal work begins",
            Action::DrainIsCancelled => "the holder cancels the drain",
            Action::UserArrives => "a user turn starts",
            Action::MessageWaits => "a message arrives during the turn, and waits",
            Action::TurnNeedsChild => "the turn needs a child before it can go on",
            Action::ChildStarts => "the child starts",
            Action::ChildEnds => "the child ends",
            Action::TurnDelivers => "the turn is done, and its reply is being delivered",
            Action::TurnEnds => "the reply is delivered",
            Action::FollowUpStarts => "the waiting message asks the gate",
            Action::InternalArrives => "internal work starts",
            Action::InternalEnds => "internal work ends",
            Action::ControllerReads => "the controller reads that it may act",
            Action::ControllerActs => "the controller acts, which kills the process",
        })
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |yes, word| if yes { word } else { "" };
        write!(
            f,
            "{}, gate {:?}, turn {:?}{}{}{}",
            self.shell.phase(),
            self.shell.gate,
            self.turn,
            word(self.waits, ", a message waits"),
            word(self.internal, ", internal work"),
            word(self.promised, ", the controller may act"),
        )
    }
}
