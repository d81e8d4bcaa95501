//! The gateway model with *any* number of turns, watchers and controllers. It checks properties in which no identity
//! matters: TG-S1 (the gate's half), S2, S3 and S10. It owns only the abstraction. Each of its steps is a step of
//! the gateway model.
//!
//! Turns of each kind are counted as none, one, or many. A step from many is tried with two turns and with
//! three, so that afterwards there may be one, or still many. This covers five turns and five million. The reason:
//! the shipped arithmetic asks only whether a count becomes zero, and whether it is full.
//! `Word::admit` adds one and looks at flags. `Word::release` subtracts one and seals at zero.
//!
//! There are as many watchers as needed. One of them looks at a time. It may have begun at any time since the last
//! look was applied. So the state has the set of markers that it may have seen. Without the guard that keeps looks
//! apart, the state also has a second set: the markers seen before that. Controllers begin and cancel any number of
//! times, and processes die and start. A generation is arbitrary: no decision reads it.
//!
//! Each of these allows *more* than can happen, in the design with all its guards. So a property that holds here
//! holds for any number. A property that breaks here need not break in the gateway. The model says nothing about
//! liveness, about exact counts, or about a full gate. A test maps every state of the gateway model to a state here
//! that covers it.

use std::fmt;
use std::hash::{Hash, Hasher};

use stateright::{Model, Property};
use tidegate::internals::engine::ObserveAction;
use tidegate::internals::gate::InFlight;
use tidegate::machine::{Effect, Phase};

use super::marker::{Marker, ReadOutcome};
use super::state::{OBSERVERS_MAX, ObserverState, Process};
use super::{Action as Step, GatewayModel};
use crate::design::{Design, Guard};
use crate::packed::{Bits, Intern};

/// The count that represents all counts from two on.
const MANY: u8 = 2;

/// The model. Only the guards vary.
#[derive(Clone, Copy, Debug)]
pub struct AnyNumberModel {
    gateway: GatewayModel,
}

impl AnyNumberModel {
    /// The only configuration: nothing is bounded.
    #[must_use]
    pub const fn any(design: Design) -> AnyNumberModel {
        let one_more = MANY + 2;
        AnyNumberModel {
            gateway: GatewayModel {
                begins: 1,
                restarts: 1,
                users: one_more,
                children: one_more,
                others: one_more,
                watchers: 1,
                caller: false,
                reduced: false,
                ..GatewayModel::small(design)
            },
        }
    }
}

/// The whole state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// A gateway that represents all with the same counts, in which "many" is one count. Its watchers rest.
    gateway: super::State,
    /// The markers that the look under way may have seen, a bit for each: those since the last look was applied.
    fresh: u8,
    /// The markers before that, in this process.
    stale: u8,
    /// Without the transition lock: the orders that the gate has yet to perform, a bit for each.
    orders: u8,
}

/// The numbers of turns with which a step is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turns {
    users: u8,
    children: u8,
    internals: u8,
}

/// What can happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A step that is not a watcher's, with these numbers of turns.
    Gateway(Step, Turns),
    /// A process starts, and its predecessor has promised that nothing starts.
    StartsAfterPromise {
        /// Whether its first look fails.
        fails: bool,
    },
    /// A watcher applies what it saw.
    WatcherApplies {
        /// What it saw.
        seen: ReadOutcome,
        /// Whether no other look was applied since this one began.
        fresh: bool,
    },
    /// Without the transition lock: the gate performs an order.
    GateIsTold(EffectIndex),
}

/// The number of an order to the gate.
pub type EffectIndex = usize;

const EFFECTS: [Effect; 5] = [
    Effect::CloseGate { hold_internal: false },
    Effect::CloseGate { hold_internal: true },
    Effect::AmendDrain { hold_internal: false },
    Effect::AmendDrain { hold_internal: true },
    Effect::ReopenGate,
];

const MARKERS: [Marker; 5] =
    [Marker::Absent, Marker::Live, Marker::LiveHold, Marker::Corrupt, Marker::Stale];

impl Process {
    fn set_turns(&mut self, turns: Turns) {
        let (counted, live) = (self.shell.gate.state().in_flight(), self.live());
        (self.users, self.children, self.internals) =
            (turns.users, turns.children, turns.internals);
        // Turns that are counted and not live, or live and not counted, stay so: none, one or many.
        let new = self.live();
        let leaked = |counted: u32, live: u32| counted.saturating_sub(live).min(MANY.into());
        let missed = |counted: u32, live: u32| live.saturating_sub(counted);
        let again = |new: u32, counted, live| {
            (new + leaked(counted, live)).saturating_sub(missed(counted, live))
        };
        let user = again(new.user, counted.user, live.user);
        let internal = again(new.internal, counted.internal, live.internal);
        self.shell.gate = self.shell.gate.with_in_flight(InFlight::new(user, internal));
    }

    /// Removes what has an identity: all observers rest, and the generation is forgotten.
    fn at_rest(&mut self) {
        let mut engine = (*self.shell.engine).clone();
        // The look under way is abandoned, and then the observers that wait for it leave.
        for looked in [true, false] {
            for observer in self.observers {
                match observer {
                    ObserverState::Looked { call, .. } if looked => {
                        engine.on_observation_abandoned(call);
                    }
                    ObserverState::Waits(call) if !looked => {
                        if matches!(engine.next_observe_action(call), ObserveAction::Look(_)) {
                            engine.on_observation_abandoned(call);
                        }
                    }
                    _ => {}
                }
            }
        }
        self.observers = [ObserverState::Resting; OBSERVERS_MAX];
        self.shell.engine = engine.uncounted().intern();
    }

    fn turns(&self) -> Turns {
        Turns { users: self.users, children: self.children, internals: self.internals }
    }
}

impl Turns {
    const NONE: Turns = Turns { users: 0, children: 0, internals: 0 };

    fn capped(self) -> Turns {
        let Turns { users, children, internals } = self;
        Turns {
            users: users.min(MANY),
            children: children.min(MANY),
            internals: internals.min(MANY),
        }
    }

    /// The numbers of turns that it represents, as far as a step can tell them apart.
    fn each(self) -> impl Iterator<Item = Turns> {
        let each = |count: u8| count..=(if count == MANY { MANY + 1 } else { count });
        each(self.users).flat_map(move |users| {
            each(self.children).flat_map(move |children| {
                each(self.internals).map(move |internals| Turns { users, children, internals })
            })
        })
    }
}

impl State {
    /// The state that represents this gateway and all like it.
    #[must_use]
    pub fn of(mut gateway: super::State) -> State {
        let mut fresh = 0;
        // A promise is made to one controller. The gateway model checks that.
        (gateway.promised, gateway.promise_broken) = (false, false);
        // Begins and restarts are not bounded.
        (gateway.begins_left, gateway.restarts_left) = (1, 1);
        if let Some(process) = &mut gateway.process {
            process.set_turns(process.turns().capped());
            process.published = None;
            process.answered = false;
            // This is above zero only without atomic admission. Then it is enough that something breaks.
            process.checked = process.checked.min(MANY);
            for observer in &process.observers {
                if let ObserverState::Looked { seen: ReadOutcome::Marker(marker), .. } = observer {
                    fresh |= 1 << *marker as u8;
                }
            }
            process.at_rest();
            fresh |= 1 << gateway.marker as u8;
        }
        State { gateway, fresh, stale: 0, orders: 0 }
    }

    /// Whether everything that can happen in the other state can happen in this one.
    #[must_use]
    pub fn covers(&self, other: &State) -> bool {
        self.gateway == other.gateway && self.fresh & other.fresh == other.fresh
    }

    /// The gateway alone. Several states may have the same one.
    #[must_use]
    pub fn gateway(&self) -> &super::State {
        &self.gateway
    }

    fn turns(&self) -> Turns {
        self.gateway.process.as_ref().map_or(Turns::NONE, Process::turns)
    }
}

impl AnyNumberModel {
    fn apply(self, before: &State, seen: ReadOutcome, fresh: bool) -> Option<State> {
        let mut state = *before;
        let process = state.gateway.process.as_mut()?;
        let current = fresh && seen == ReadOutcome::Marker(state.gateway.marker);
        let call = process.ask();
        // After the stop nobody begins to look, but a look may have begun before it.
        if process.phase() != Phase::Stopped {
            (process.take_turn(call)?).then_some(())?;
        }
        process.observers[0] = ObserverState::Looked { call, seen, current, since_call: false };
        self.gateway.apply(&mut state.gateway, 0)?;
        let process = state.gateway.process.as_mut()?;
        if let ObserverState::Stepped { effect, .. } = process.observers[0] {
            let order = EFFECTS.iter().position(|order| *order == effect)?;
            state.orders |= 1 << order;
            process.observers[0] = ObserverState::Resting;
        }
        if fresh {
            state.stale |= state.fresh;
            state.fresh = 1 << state.gateway.marker as u8;
        }
        Some(state)
    }
}

impl Model for AnyNumberModel {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        self.gateway.init_states().into_iter().map(State::of).collect()
    }

    /// What is offered here may still turn out to be impossible.
    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let mut steps = Vec::new();
        self.gateway.actions(&state.gateway, &mut steps);
        steps.retain(|step| {
            !matches!(
                step,
                Step::WatcherLooks { .. }
                    | Step::WatcherWaits { .. }
                    | Step::QuiescedIsRead
                    | Step::StatusIsPublished
            )
        });
        for turns in state.turns().each() {
            actions.extend(steps.iter().map(|step| Action::Gateway(*step, turns)));
        }
        if !state.gateway.lives() {
            actions.extend([false, true].map(|fails| Action::StartsAfterPromise { fails }));
        }
        if state.gateway.process.is_none() {
            return;
        }
        let applies = |seen, fresh| Action::WatcherApplies { seen, fresh };
        for marker in MARKERS {
            for (set, fresh) in [(state.fresh, true), (state.stale, false)] {
                if set & 1 << marker as u8 != 0 {
                    actions.push(applies(ReadOutcome::Marker(marker), fresh));
                }
            }
        }
        actions.push(applies(ReadOutcome::Error, true));
        let orders = (0..EFFECTS.len()).filter(|order| state.orders & 1 << order != 0);
        actions.extend(orders.map(Action::GateIsTold));
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = *before;
        match action {
            Action::Gateway(step, turns) => {
                if let Some(process) = &mut state.gateway.process {
                    process.set_turns(turns);
                }
                state.gateway = self.gateway.next_state(&state.gateway, step)?;
                if matches!(
                    step,
                    Step::ProcessStarts { .. } | Step::ProcessDies | Step::MachineReboots
                ) {
                    (state.fresh, state.stale, state.orders) = (0, 0, 0);
                }
            }
            Action::StartsAfterPromise { fails } => {
                state.gateway.promised = true;
                let starts = Step::ProcessStarts { fails };
                state.gateway = self.gateway.next_state(&state.gateway, starts)?;
                (state.fresh, state.stale, state.orders) = (0, 0, 0);
            }
            Action::WatcherApplies { seen, fresh } => state = self.apply(before, seen, fresh)?,
            Action::GateIsTold(order) => {
                state.gateway.process.as_mut()?.perform(EFFECTS[order]);
            }
        }
        let State { gateway, fresh, .. } = State::of(state.gateway);
        let stale = if self.gateway.design.has(Guard::LooksAlone) { 0 } else { state.stale };
        let state = State { gateway, fresh: state.fresh | fresh, stale, orders: state.orders };
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<AnyNumberModel>> {
        fn process(state: &State, holds: impl Fn(&Process) -> bool) -> bool {
            state.gateway.process.as_ref().is_some_and(holds)
        }
        vec![
            // Property: TG-S1 shutdown_wins
            Property::always("any_shutdown_wins_inv", |_, state: &State| {
                !process(state, |it| it.shut && !it.shell.gate.state().is_closed())
            }),
            Property::sometimes("any_shutdown_wins_reach", |_, state: &State| {
                state.fresh & 1 << Marker::Absent as u8 != 0
                    && process(state, |it| it.phase() == Phase::ShuttingDown && it.users == MANY)
            }),
            // Property: TG-S2 no_new_turn_while_draining
            Property::always("any_no_new_turn_while_draining_inv", |_, state: &State| {
                !state.gateway.started_while_draining
            }),
            Property::sometimes("any_no_new_turn_while_draining_reach", |_, state: &State| {
                state.gateway.confirmed && process(state, |it| it.users == MANY)
            }),
            // Property: TG-S3 bypass_is_bounded
            Property::always("any_bypass_is_bounded_inv", |_, state: &State| {
                !state.gateway.admitted_wrongly
                    && state
                        .gateway
                        .process
                        .as_ref()
                        .is_none_or(|it| it.shell.gate.state().in_flight() == it.live())
            }),
            Property::sometimes("any_bypass_is_bounded_reach", |_, state: &State| {
                state.gateway.confirmed
                    && process(state, |it| it.internals == MANY && it.children == MANY)
            }),
            // Property: TG-S10 fail_safe
            Property::always("any_fail_safe_inv", |_, state: &State| !state.gateway.opened_wrongly),
            Property::sometimes("any_fail_safe_reach", |_, state: &State| {
                state.gateway.marker == Marker::Corrupt
                    && process(state, |it| it.shell.gate.state().is_closed())
            }),
        ]
    }
}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.gateway.hash(hasher);
        Bits::default().put(self.fresh, 5).put(self.stale, 5).put(self.orders, 5).finish(hasher);
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Gateway(step, _) => step.fmt(f),
            Action::StartsAfterPromise { fails } => {
                write!(f, "{}, after a promise", Step::ProcessStarts { fails: *fails })
            }
            Action::WatcherApplies { seen, fresh } => {
                let when = if *fresh { "" } else { ", made before another was accepted" };
                write!(f, "a watcher applies its observation {seen:?}{when}")
            }
            Action::GateIsTold(order) => {
                write!(f, "the gate performs {:?}", EFFECTS[*order])
            }
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.gateway.fmt(f)
    }
}
