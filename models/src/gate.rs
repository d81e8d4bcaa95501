//! The striped gate and its waiters as a model. Each step of an order, of the end of a turn, of the timer thread and of
//! a waiter is a step here, and anything may come between two of them. The model owns the interleaving and the ghosts.
//! Every *decision* is the shipped engine's or the gate's.
//!
//! | step here | shipped code it represents |
//! |---|---|
//! | `DrainBegins`, `DrainIsCancelled` | a look, as in `Shared::observe`: `Engine::observed`, under the transition lock |
//! | `SignalArrives` | `Engine::shutdown_asked`, in `Shared::shut_down` |
//! | `DeadlinePasses` | `Engine::on_time`, in the timer thread's round |
//! | `OrderGoesOn` | the next atomic operation of `Gate::perform`: `OrderSteps`; after the last one `Engine::gate_done`, `Wakeup::wake` if the engine says so, and the end of the lock |
//! | `LastStatusIsWritten` | `Engine::publish_turn`, `Engine::status_written` and `Engine::home_given_back`, for the last status; then `Wakeup::wake` |
//! | `UserStarts`, `ChildStarts`, `InternalStarts` | the compare-and-swap in `Stripe::claim` or `Center::claim`: `StripeWord::admit`, `Word::admit` |
//! | `UserLeaves`, `InternalLeaves` | the first atomic operation of `Stripe::release` or `Center::release` |
//! | `LeaverGoesOn` | the next one: `Center::give_back_share`, then `Wakeup::wake` if the word is idle |
//! | `TimerTakesRing`, `TimerWakesAll` | `Wakeup::wait`; `Engine::on_time` and `WaitList::wake_all`, in the timer thread's round |
//! | `WaiterLooks`, `WaiterRegisters`, `WaiterLooksAgain` | `Wait::poll`: its check, `WaitList::register`, its second check |
//! | `WaiterWakes` | its waker was called, and it polls again |
//!
//! There are two stripes and one waiter. It waits for any of the things that one can wait for. The model leaves out
//! time, and the memory model: loom runs the shipped code of all this under it.

use std::fmt;

use stateright::{Model, Property};
use tidegate::Ended;
use tidegate::internals::engine::{Engine, GateOrder};
use tidegate::internals::gate::{
    Arrival, GateState, OrderSteps, Origin, PlainGate, RefusalReason, Word,
};
use tidegate::machine::{Effect, Phase, ShutdownCause};

use crate::design::{Design, Guard};
use crate::liveness::{FairnessConstraint, LivenessProperty};
use crate::packed::{Intern, Interned};
use crate::shell::{DUE, NOW, OneRequest, OneRequestInput, SimpleRequest, YES, start_one_request};

const STRIPES: usize = 2;

/// The most new turns in flight at once on each stripe.
const USERS: u8 = 1;

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

impl Wanted {
    /// The most turns in flight: of users on each stripe, with children, and internal ones. Only who waits for the end
    /// of turns needs many, and one kind of waiter is enough to see all that turns can do.
    const fn turns_max(self) -> ([u8; STRIPES], u8) {
        match self {
            Wanted::Idle => ([USERS + 1, USERS], 1),
            Wanted::Quiesced | Wanted::End => ([USERS, USERS], 1),
            Wanted::Open | Wanted::Change(_) => ([USERS, 0], 0),
        }
    }
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Leaving {
    /// No turn is leaving.
    Nobody,
    /// It was the last on its closed stripe, and is about to give the share back.
    GivesShareBack,
    /// It is about to wake the timer thread.
    Rings,
    /// Without a guard: it has woken the timer thread, or has seen whether it is the last. It is about to be counted
    /// out of this stripe, or of the internal work.
    IsCounted(Option<usize>, bool),
}

/// An order on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Order {
    ordered: GateOrder,
    steps: OrderSteps,
    wakes_timer: bool,
}

/// The whole state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    engine: Interned<Engine<OneRequest>>,
    gate: PlainGate<STRIPES>,
    /// One at a time, under the transition lock. Without that guard there can be two.
    orders: [Option<Order>; 2],
    /// The live turns of users, by the stripe that counts them.
    users: [u8; STRIPES],
    internals: u8,
    /// Without a guard: an arrival that is counted on this stripe, and not admitted yet.
    arriving: Option<usize>,
    leaving: [Leaving; 2],
    rung: bool,
    /// The timer thread has taken the wakeup, and is about to wake all waiters.
    timer_is_up: bool,
    wanted: Wanted,
    waiter: Waiter,
    woken: bool,
    /// Ghost: something was admitted by a sealed word.
    admitted_wrongly: bool,
    /// Ghost: a close was confirmed, and no reopening has begun since.
    confirmed: bool,
    /// Ghost: a user turn was admitted then.
    admitted_after_confirm: bool,
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
    /// The deadline of a shutdown passes.
    DeadlinePasses,
    /// The order in this place makes its next step.
    OrderGoesOn(usize),
    /// The last status is written, and the home is given back.
    LastStatusIsWritten,
    /// A user turn arrives at this stripe.
    UserStarts(usize),
    /// Without a guard: it sees whether the gate is closed.
    ArrivalLooks,
    /// A turn on the first stripe starts a child.
    ChildStarts,
    /// Internal work is admitted.
    InternalStarts,
    /// A turn on this stripe is dropped: its first step.
    UserLeaves(usize),
    /// Internal work is dropped: its first step.
    InternalLeaves,
    /// The next step of a turn that is leaving.
    LeaverGoesOn(usize),
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
    fn phase(&self) -> Phase {
        self.engine.phase()
    }

    fn is_under_way(&self) -> bool {
        self.orders != [None; 2]
    }

    /// A close is confirmed, and no other order is on its way.
    fn is_confirmed(&self) -> bool {
        self.phase() != Phase::Running && !self.is_under_way()
    }

    fn has_open_stripe(&self) -> bool {
        self.gate.stripes.iter().any(|it| !it.is_closed())
    }

    fn has_leavers(&self) -> bool {
        self.leaving != [Leaving::Nobody; 2]
    }

    fn live(&self) -> u8 {
        self.users.iter().sum::<u8>() + self.internals
    }

    fn stripes_are_closed_and_empty(&self) -> bool {
        self.gate.stripes.iter().all(|it| it.is_closed() && it.count() == 0)
    }

    /// A leaver takes its first step, and is in one of the two places.
    fn leaves(&mut self, stage: Leaving) {
        if let Some(place) = self.leaving.iter_mut().find(|it| **it == Leaving::Nobody) {
            *place = stage;
        }
        self.leaving.sort_unstable();
    }

    fn is_full_of_leavers(&self) -> bool {
        !self.leaving.contains(&Leaving::Nobody)
    }
}

impl GateModel {
    /// What a reader of the gate sees.
    fn seen(self, state: &State) -> GateState {
        if self.design.has(Guard::CountedDown) || !state.stripes_are_closed_and_empty() {
            return state.gate.state();
        }
        // Without the countdown a reader looks at the stripes.
        let center = state.gate.center;
        PlainGate { center: center.without_shares(center.shares()), ..state.gate }.state()
    }

    /// The waiter's check. Each is the one that ships.
    fn is_satisfied(self, state: &State) -> bool {
        let engine = state.engine;
        match state.wanted {
            Wanted::Idle => self.seen(state).is_idle(),
            Wanted::Quiesced => engine.quiesced(self.seen(state)).is_some(),
            Wanted::Open => match state.gate.admit_at(0, Arrival::New(Origin::User)) {
                Ok(_) => true,
                Err(reason) => reason == RefusalReason::ShuttingDown,
            },
            Wanted::Change(from) => engine.phase() != from,
            Wanted::End => engine.outcome().is_some(),
        }
    }

    /// The waiter's check takes the transition lock, except where it tries to be admitted.
    fn can_look(self, state: &State) -> Option<()> {
        (state.wanted == Wanted::Open || !self.is_locked(state)).then_some(())
    }

    fn is_locked(self, state: &State) -> bool {
        self.design.has(Guard::TransitionLock) && state.is_under_way()
    }

    /// Gives an input to the engine, under the transition lock. `None` if that changes nothing.
    fn apply_input(self, state: &mut State, input: OneRequestInput) -> Option<u8> {
        (!self.is_locked(state)).then_some(())?;
        let mut engine = (*state.engine).clone();
        let (reaction, answer) = input.run(&mut engine, self.seen(state));
        if let Some(ordered) = reaction.ordered {
            let place = state.orders.iter_mut().find(|it| it.is_none())?;
            let steps = state.gate.order(ordered.effect);
            *place = Some(Order { ordered, steps, wakes_timer: reaction.wakes_timer });
            state.confirmed &= ordered.effect != Effect::ReopenGate;
        } else {
            state.rung |= reaction.wakes_timer;
        }
        let changes = engine != *state.engine || answer != 0;
        state.engine = engine.intern();
        changes.then_some(answer)
    }

    fn order_goes_on(state: &mut State, place: usize) -> Option<()> {
        let mut order = state.orders[place]?;
        order.steps = state.gate.step(order.steps);
        state.orders[place] = Some(order);
        if order.steps.target().is_none() {
            let mut engine = (*state.engine).clone();
            engine.gate_done(order.ordered, order.steps.found(), DUE);
            state.engine = engine.intern();
            state.rung |= order.wakes_timer;
            state.orders[place] = None;
            state.confirmed |= order.ordered.effect != Effect::ReopenGate;
        }
        Some(())
    }

    /// A user turn or a child is admitted on this stripe.
    fn admit(state: &mut State, stripe: usize, arrival: Arrival) -> Option<()> {
        state.gate = state.gate.admit_at(stripe, arrival).ok()?;
        state.users[stripe] += 1;
        state.admitted_after_confirm |= arrival == Arrival::New(Origin::User) && state.confirmed;
        // After Stopped, children neither.
        state.admitted_wrongly |= state.phase() == Phase::Stopped && state.is_confirmed();
        Some(())
    }

    /// The atomic operation that counts a turn out. Returns what its thread does next.
    fn count_out(self, state: &mut State, stripe: Option<usize>) -> Leaving {
        let Some(stripe) = stripe else {
            state.internals -= 1;
            if self.design.has(Guard::CountedClasses) {
                state.gate.center = state.gate.center.release();
            }
            return Self::rings_if_idle(state.gate.center);
        };
        state.users[stripe] -= 1;
        let left = state.gate.stripes[stripe].release();
        state.gate.stripes[stripe] = left;
        if left.gives_share_back() { Leaving::GivesShareBack } else { Leaving::Nobody }
    }

    fn rings_if_idle(center: Word) -> Leaving {
        if center.is_idle() { Leaving::Rings } else { Leaving::Nobody }
    }

    /// The first step of a turn that is dropped.
    fn leave(self, state: &mut State, stripe: Option<usize>) -> Option<()> {
        (!state.is_full_of_leavers()).then_some(())?;
        // A turn is dropped once.
        let is_of = |it: &&Leaving| matches!(it, Leaving::IsCounted(of, _) if *of == stripe);
        let leave = state.leaving.iter().filter(is_of).count();
        let there = stripe.map_or(state.internals, |stripe| state.users[stripe]);
        (usize::from(there) > leave).then_some(())?;
        let after = || match stripe {
            Some(stripe) => state.gate.release_at(stripe, Origin::User),
            None => state.gate.release_at(0, Origin::Internal),
        };
        let stage = if !self.design.has(Guard::RingAfterRelease) {
            state.rung |= after().center.is_idle();
            Leaving::IsCounted(stripe, false)
        } else if !self.design.has(Guard::CountedDown) && stripe.is_some() {
            // Nothing orders this look after its own end, so it may come before.
            let is_last = after().stripes.iter().all(|it| it.is_closed() && it.count() == 0);
            Leaving::IsCounted(stripe, is_last)
        } else {
            self.count_out(state, stripe)
        };
        state.leaves(stage);
        Some(())
    }

    fn leaver_goes_on(self, state: &mut State, place: usize) -> Option<()> {
        let next = match state.leaving[place] {
            Leaving::Nobody => return None,
            Leaving::GivesShareBack => {
                state.gate.center = state.gate.center.without_shares(1);
                Self::rings_if_idle(state.gate.center)
            }
            Leaving::Rings => {
                state.rung = true;
                Leaving::Nobody
            }
            Leaving::IsCounted(stripe, rings) => {
                let next = self.count_out(state, stripe);
                match next {
                    _ if rings => Leaving::Rings,
                    Leaving::GivesShareBack if !self.design.has(Guard::RingAfterRelease) => {
                        state.gate.center = state.gate.center.without_shares(1);
                        Leaving::Nobody
                    }
                    _ => Leaving::Nobody,
                }
            }
        };
        state.leaving[place] = next;
        state.leaving.sort_unstable();
        Some(())
    }

    fn user_starts(self, state: &mut State, stripe: usize) -> Option<()> {
        let (most, _) = state.wanted.turns_max();
        (state.users[stripe] < USERS.min(most[stripe])).then_some(())?;
        if self.design.has(Guard::ExchangedClaim) {
            return Self::admit(state, stripe, Arrival::New(Origin::User));
        }
        state.arriving.is_none().then_some(())?;
        // It is counted whatever the stripe says, as a child is.
        let counted = state.gate.admit_at(stripe, Arrival::ChildOf(Origin::User)).ok()?;
        (state.gate, state.arriving) = (counted, Some(stripe));
        Some(())
    }

    /// Without the guard: an arrival that is counted already sees whether it is admitted.
    fn arrival_looks(self, state: &mut State) -> Option<()> {
        let stripe = state.arriving?;
        if state.gate.stripes[stripe].is_closed() {
            (!state.is_full_of_leavers()).then_some(())?;
            state.users[stripe] += 1;
            let stage = self.count_out(state, Some(stripe));
            state.leaves(stage);
        } else {
            state.users[stripe] += 1;
        }
        state.arriving = None;
        Some(())
    }

    fn child_starts(self, state: &mut State) -> Option<()> {
        (state.users[0] > 0).then_some(())?;
        let stripe = usize::from(!self.design.has(Guard::ChildWithParent));
        let (most, _) = state.wanted.turns_max();
        (state.users[0] < most[0] && state.users[stripe] <= USERS).then_some(())?;
        Self::admit(state, stripe, Arrival::ChildOf(Origin::User))
    }

    fn internal_starts(self, state: &mut State) -> Option<()> {
        let (_, most) = state.wanted.turns_max();
        (state.internals < most).then_some(())?;
        let before = state.gate.center;
        let after = before.admit().ok()?;
        if self.design.has(Guard::CountedClasses) {
            state.gate.center = after;
        }
        state.admitted_wrongly |= before.is_sealed();
        state.internals += 1;
        Some(())
    }

    fn step(self, state: &mut State, action: Action) -> Option<()> {
        match action {
            Action::DrainBegins { hold } => {
                (state.engine.machine().generation() < DRAINS).then_some(())?;
                (state.phase() == Phase::Running).then_some(())?;
                let seen = OneRequestInput::Sees(Some(SimpleRequest { hold, number: 0 }));
                self.apply_input(state, seen)?;
            }
            Action::DrainIsCancelled => {
                (state.phase() == Phase::ExternallyDraining).then_some(())?;
                self.apply_input(state, OneRequestInput::Sees(None))?;
            }
            Action::SignalArrives => {
                (!state.phase().is_shut()).then_some(())?;
                self.apply_input(state, OneRequestInput::ShutdownAsked(ShutdownCause::Sigterm))?;
            }
            Action::DeadlinePasses => {
                (state.phase() == Phase::ShuttingDown).then_some(())?;
                self.apply_input(state, OneRequestInput::TimePasses(DUE))?;
            }
            Action::OrderGoesOn(place) => Self::order_goes_on(state, place)?,
            Action::LastStatusIsWritten => {
                (state.phase() == Phase::Stopped && !state.is_under_way()).then_some(())?;
                let wants = self.apply_input(state, OneRequestInput::WantsToPublish)?;
                (wants == YES).then_some(())?;
                let meant = state.engine.condition(self.seen(state)).intern();
                let gives_back =
                    self.apply_input(state, OneRequestInput::HasWritten(meant, true))?;
                (gives_back == YES).then_some(())?;
                self.apply_input(state, OneRequestInput::HomeIsGivenBack);
                state.rung = true;
            }
            Action::UserStarts(stripe) => self.user_starts(state, stripe)?,
            Action::ArrivalLooks => self.arrival_looks(state)?,
            Action::ChildStarts => self.child_starts(state)?,
            Action::InternalStarts => self.internal_starts(state)?,
            Action::UserLeaves(stripe) => self.leave(state, Some(stripe))?,
            Action::InternalLeaves => self.leave(state, None)?,
            Action::LeaverGoesOn(place) => self.leaver_goes_on(state, place)?,
            Action::TimerTakesRing => {
                (!state.timer_is_up && !self.is_locked(state)).then_some(())?;
                std::mem::take(&mut state.rung).then_some(())?;
                state.timer_is_up = true;
                self.apply_input(state, OneRequestInput::TimePasses(NOW));
            }
            Action::TimerWakesAll => {
                std::mem::take(&mut state.timer_is_up).then_some(())?;
                state.woken |= matches!(state.waiter, Waiter::Registered | Waiter::Sleeps);
            }
            Action::WaiterLooks => {
                (state.waiter == Waiter::Asks).then_some(())?;
                self.can_look(state)?;
                let knows = self.is_satisfied(state);
                state.waiter = if knows { Waiter::Knows } else { Waiter::NotYet };
            }
            Action::WaiterRegisters => {
                (state.waiter == Waiter::NotYet).then_some(())?;
                let looks_again = self.design.has(Guard::SecondLook);
                state.waiter = if looks_again { Waiter::Registered } else { Waiter::Sleeps };
            }
            Action::WaiterLooksAgain => {
                (state.waiter == Waiter::Registered).then_some(())?;
                self.can_look(state)?;
                let knows = self.is_satisfied(state);
                state.waiter = if knows { Waiter::Knows } else { Waiter::Sleeps };
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
                matches!(action, Action::LeaverGoesOn(_))
            });
        const ORDER: FairnessConstraint<Action> =
            FairnessConstraint::weak("an order takes its next step", |action| {
                matches!(action, Action::OrderGoesOn(_))
            });
        const PUBLISHER: FairnessConstraint<Action> =
            FairnessConstraint::weak("the last status is written", |action| {
                matches!(action, Action::LastStatusIsWritten)
            });
        vec![
            // Property: TG-L2 drains
            LivenessProperty {
                name: "waiter_is_woken_progress",
                premise: |model, state| model.is_satisfied(state) && state.waiter != Waiter::Knows,
                goal: |_, _| false,
                ended: |_| false,
                fair: vec![TIMER, WAITER, LEAVER, ORDER],
            },
            // Property: TG-L4 stops. With nothing in flight nothing need pass but the rounds.
            LivenessProperty {
                name: "end_is_told_progress",
                premise: |_, state| state.phase().is_shut() && state.live() == 0,
                goal: |_, state| state.engine.outcome().is_some(),
                ended: |_| false,
                fair: vec![TIMER, LEAVER, ORDER, PUBLISHER],
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
        each.map(|(wanted, there)| {
            let (engine, effect) = start_one_request(there);
            State {
                engine: engine.intern(),
                gate: PlainGate::starting().perform(effect).0,
                orders: [None; 2],
                users: [0; STRIPES],
                internals: 0,
                arriving: None,
                leaving: [Leaving::Nobody; 2],
                rung: false,
                timer_is_up: false,
                wanted,
                waiter: Waiter::Asks,
                woken: false,
                admitted_wrongly: false,
                confirmed: there.is_some(),
                admitted_after_confirm: false,
            }
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
            A::DeadlinePasses,
            A::OrderGoesOn(0),
            A::OrderGoesOn(1),
            A::LastStatusIsWritten,
            A::UserStarts(0),
            A::UserStarts(1),
            A::ArrivalLooks,
            A::ChildStarts,
            A::InternalStarts,
            A::UserLeaves(0),
            A::UserLeaves(1),
            A::InternalLeaves,
            A::LeaverGoesOn(0),
            A::LeaverGoesOn(1),
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
            // Property: TG-S2 no_new_turn_while_draining
            Property::always("confirmed_close_refuses_inv", |_, state: &State| {
                !state.admitted_after_confirm
            }),
            Property::sometimes("confirmed_close_refuses_reach", |_, state: &State| {
                let is_refused =
                    |stripe| state.gate.admit_at(stripe, Arrival::New(Origin::User)).is_err();
                state.is_confirmed() && state.users == [2, 1] && is_refused(0) && is_refused(1)
            }),
            // Property: TG-S3 bypass_is_bounded
            Property::always("sealed_admits_nothing_inv", |_, state: &State| {
                let center = state.gate.center;
                let counted = u32::from(state.internals) == center.internal();
                let is_stopping = state.phase() == Phase::Stopped;
                let is_empty = state.live() == 0 || !center.is_sealed() || is_stopping;
                !state.admitted_wrongly && counted && is_empty
            }),
            Property::sometimes("sealed_admits_nothing_reach", |_, state: &State| {
                state.gate.center.is_sealed()
                    && state.waiter == Waiter::Sleeps
                    && state.leaving.contains(&Leaving::Rings)
            }),
            // Property: TG-S4 quiesced_means_idle
            Property::always("idle_means_empty_inv", |model: &GateModel, state: &State| {
                !model.seen(state).is_idle() || (state.live() == 0 && !state.has_open_stripe())
            }),
            Property::sometimes("idle_means_empty_reach", |model: &GateModel, state: &State| {
                model.seen(state).is_idle() && state.phase() == Phase::ExternallyDraining
            }),
            // What is not promised: that what was idle stays so. Property: TG-S4 quiesced_means_idle
            Property::sometimes("idle_is_left_gap", |_, state: &State| {
                state.wanted == Wanted::Idle
                    && state.waiter == Waiter::Knows
                    && state.gate.center.is_closed()
                    && !state.gate.center.is_idle()
            }),
            // Property: TG-S5 ack_means_closed
            Property::always("confirmed_gate_is_closed_inv", |_, state: &State| {
                let is_closed = state.gate.center.is_closed() && !state.has_open_stripe();
                !state.is_confirmed() || is_closed
            }),
            Property::sometimes("confirmed_gate_is_closed_reach", |_, state: &State| {
                // Closing: one stripe refuses, and the other still admits.
                let [first, second] = state.gate.stripes;
                state.phase() == Phase::ExternallyDraining
                    && first.is_closed()
                    && !second.is_closed()
            }),
            // Property: TG-S14 receipt_is_true. Readiness is read from the central word.
            Property::always("ready_gate_admits_inv", |_, state: &State| {
                state.gate.center.is_closed() || state.gate.stripes.iter().all(|it| !it.is_closed())
            }),
            Property::sometimes("ready_gate_admits_reach", |_, state: &State| {
                // Opening: a stripe admits, and readiness does not say so yet.
                state.phase() == Phase::Running
                    && state.gate.center.is_closed()
                    && state.has_open_stripe()
            }),
            Property::always("clean_means_none_left_inv", |_, state: &State| {
                let is_clean = state.engine.ended() == Some(Ended::Clean);
                !is_clean || state.live() == 0
            }),
            Property::sometimes("clean_means_none_left_reach", |_, state: &State| {
                // A turn has ended while the gate was being sealed at the deadline.
                state.engine.ended() == Some(Ended::Clean) && state.has_leavers()
            }),
            // Property: TG-L2 drains
            Property::always("drained_is_seen_inv", |model: &GateModel, state: &State| {
                let is_empty = state.live() == 0 && !state.has_leavers();
                let is_due = state.is_confirmed() && is_empty && state.arriving.is_none();
                !is_due || model.seen(state).is_idle()
            }),
            Property::sometimes("drained_is_seen_reach", |_, state: &State| {
                // Two last turns are between their stripes and the center.
                state.is_confirmed() && state.leaving == [Leaving::GivesShareBack; 2]
            }),
        ]
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::DrainBegins { hold: false } => f.write_str("a drain begins"),
            Action::DrainBegins { hold: true } => {
                f.write_str("a drain that holds internal work begins")
            }
            Action::DrainIsCancelled => f.write_str("the drain is cancelled"),
            Action::SignalArrives => f.write_str("SIGTERM arrives"),
            Action::DeadlinePasses => f.write_str("the deadline of the shutdown passes"),
            Action::OrderGoesOn(0) => f.write_str("the order takes its next step"),
            Action::OrderGoesOn(_) => f.write_str("the second order takes its next step"),
            Action::LastStatusIsWritten => f.write_str("the last status is written"),
            Action::UserStarts(stripe) => write!(f, "a user turn arrives at stripe {stripe}"),
            Action::ArrivalLooks => f.write_str("the arrival sees whether the gate is closed"),
            Action::ChildStarts => f.write_str("a turn on stripe 0 starts a child"),
            Action::InternalStarts => f.write_str("internal work starts"),
            Action::UserLeaves(stripe) => write!(f, "a turn on stripe {stripe} begins to leave"),
            Action::InternalLeaves => f.write_str("internal work begins to leave"),
            Action::LeaverGoesOn(_) => f.write_str("a turn that is leaving takes its next step"),
            Action::TimerTakesRing => f.write_str("the timer thread takes its wakeup"),
            Action::TimerWakesAll => f.write_str("the timer thread wakes all registered waiters"),
            Action::WaiterLooks => f.write_str("the waiter checks"),
            Action::WaiterRegisters => f.write_str("the waiter registers"),
            Action::WaiterLooksAgain => f.write_str("the waiter checks once more"),
            Action::WaiterWakes => f.write_str("the waiter wakes"),
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rung = if self.rung { ", the timer thread is to wake" } else { "" };
        let order = if self.is_under_way() { ", an order is on its way" } else { "" };
        let (phase, gate, wanted, waiter) = (self.phase(), self.gate, self.wanted, self.waiter);
        write!(f, "{phase}, gate {gate:?}{order}, waiter for {wanted:?} {waiter:?}{rung}")
    }
}
