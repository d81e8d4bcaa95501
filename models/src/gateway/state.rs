//! The gateway model's state: the process, the marker and the ghosts, and how they are packed.

use std::hash::{Hash, Hasher};

use tidegate::internals::engine::{Engine, ObserveAction, ObserveCall, Reaction};
use tidegate::internals::gate::{Arrival, GateState, InFlight, Origin};
use tidegate::internals::reconcile::{Listing, Sighting};
use tidegate::internals::status::Condition;
use tidegate::machine::{Effect, Phase, ShutdownCause};

use super::marker::{Marker, ReadOutcome, is_live, sighting_of};
use crate::design::{Design, Guard};
use crate::packed::{Bits, Intern};
use crate::shell::{DUE, Instant, NOW, NoStamp, RULES, Shell, small_world};

/// The most observers: the watchers, and after them the caller.
pub(super) const OBSERVERS_MAX: usize = 3;

/// The world of this model: one marker, whose directory is listed whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct GatewayWorld;

small_world!(GatewayWorld, slot: (), request: Marker, stamp: NoStamp, input: Input, named: false);

/// The engine's inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Input {
    Asks,
    TakesTurn(ObserveCall),
    Observed(Design, ReadOutcome),
    Abandons(ObserveCall),
    ShutdownAsked,
    TimePasses(Instant),
    LoopEnds,
}

/// The state of an observer: a watcher in its round, or the caller in its call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObserverState {
    /// Between rounds.
    Resting,
    /// It has asked for a look while another one was under way, or has not begun its own.
    Waits(ObserveCall),
    /// It has looked, and has not applied the look yet.
    Looked {
        /// Its call.
        call: ObserveCall,
        /// What it saw.
        seen: ReadOutcome,
        /// Ghost: whether the marker is still what it saw.
        current: bool,
        /// Ghost: whether the look began after the caller had asked.
        since_call: bool,
    },
    /// Without the transition lock: the machine has stepped, the gate has not.
    Stepped {
        /// What the gate has yet to do.
        effect: Effect,
        /// Ghost: whether it is for the present marker.
        current: bool,
    },
}

/// A living process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    pub(super) shell: Shell<GatewayWorld>,
    pub(super) observers: [ObserverState; OBSERVERS_MAX],
    /// Ghost: a look that began after the caller had asked has been applied.
    pub(super) answered: bool,
    /// User turns that have checked the gate and have not claimed a place. Only without atomic admission.
    pub(super) checked: u8,
    /// Live user turns.
    pub(super) users: u8,
    /// Live children of user turns.
    pub(super) children: u8,
    /// Live internal turns.
    pub(super) internals: u8,
    /// Ghost: a shutdown has begun, and its closing of the gate has returned.
    pub(super) shut: bool,
    /// The phase and readiness last published since the shutdown began.
    pub(super) published: Option<(Phase, bool)>,
}

/// The whole state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    pub(super) marker: Marker,
    pub(super) process: Option<Process>,
    pub(super) begins_left: u8,
    pub(super) restarts_left: u8,
    /// Ghost: the marker was seen, the gate was closed for it, and it still exists.
    pub(super) confirmed: bool,
    /// Ghost: a user turn has started while `confirmed`.
    pub(super) started_while_draining: bool,
    /// Ghost: something was admitted against the rule for closed gates.
    pub(super) admitted_wrongly: bool,
    /// Ghost: a corrupt marker, or a look that failed, opened the gate.
    pub(super) opened_wrongly: bool,
    /// Ghost: a caller was answered before a look that began after the call was applied.
    pub(super) answered_early: bool,
    /// Ghost: a receipt said "draining", and the gate was open, or not closed for that request.
    pub(super) receipt_lied: bool,
    /// A controller has read a status that says quiesced, and its request still exists.
    pub(super) promised: bool,
    /// Ghost: something was admitted while `promised`.
    pub(super) promise_broken: bool,
}

impl Process {
    /// Starts a process, from the first look to an open or closed gate.
    ///
    /// `promised`: the predecessor's status promises that nothing starts.
    pub(super) fn start(design: Design, seen: ReadOutcome, promised: bool) -> Process {
        let first = [((), sighting_of(design, seen))];
        let held_until = promised.then_some(DUE);
        let started =
            Engine::start(RULES, first, &Listing::Whole, None, held_until, NOW, is_live(design));
        Process {
            shell: Shell::started(started),
            observers: [ObserverState::Resting; OBSERVERS_MAX],
            answered: false,
            checked: 0,
            users: 0,
            children: 0,
            internals: 0,
            shut: false,
            published: None,
        }
    }

    pub(super) fn phase(&self) -> Phase {
        self.shell.phase()
    }

    pub(super) fn perform(&mut self, effect: Effect) {
        self.shell.gate = self.shell.gate.perform(effect).0;
    }

    /// Gives an input to the engine, under the transition lock. `None` if that changes nothing.
    pub(super) fn apply_input(&mut self, input: Input) -> Option<u8> {
        let before = self.shell;
        let answer = self.shell.step(input, |engine, gate| run(engine, gate, input));
        if self.phase().is_shut() && !self.shut {
            self.shut = true;
            self.published = None;
        }
        (self.shell != before || answer != 0).then_some(answer)
    }

    /// Without the transition lock: the engine steps, and the gate has yet to do what it orders.
    pub(super) fn step_only(&mut self, input: Input) -> Option<Effect> {
        let mut engine = (*self.shell.engine).clone();
        let (reaction, _) = run(&mut engine, self.shell.gate.state(), input);
        self.shell.engine = engine.intern();
        reaction.ordered.map(|ordered| ordered.effect)
    }

    /// Asks for a look. Returns the call.
    pub(super) fn ask(&mut self) -> ObserveCall {
        // A clone of the engine gives the same call. `apply_input` returns only a small number.
        let call = (*self.shell.engine).clone().request_observation();
        self.apply_input(Input::Asks);
        call
    }

    /// What the observer does next. `true`: it looks. `false`: it is served. `None`: it waits.
    pub(super) fn take_turn(&mut self, call: ObserveCall) -> Option<bool> {
        match self.apply_input(Input::TakesTurn(call)) {
            Some(TURN_LOOK) => Some(true),
            Some(TURN_DONE) => Some(false),
            _ => None,
        }
    }

    /// Whether a look that began after the call is applied. This takes no turn.
    pub(super) fn is_served(&self, call: ObserveCall) -> bool {
        matches!((*self.shell.engine).clone().next_observe_action(call), ObserveAction::Done)
    }

    /// The turns that are live. The gate's word has those that are counted.
    pub(super) fn live(&self) -> InFlight {
        let user = u32::from(self.users) + u32::from(self.children);
        InFlight::new(user, u32::from(self.internals))
    }
}

const TURN_LOOK: u8 = 1;
const TURN_DONE: u8 = 2;

fn run(engine: &mut Engine<GatewayWorld>, gate: GateState, input: Input) -> (Reaction, u8) {
    let nothing = Reaction::default();
    match input {
        Input::Asks => {
            let _ = engine.request_observation();
            (nothing, 0)
        }
        Input::TakesTurn(call) => match engine.next_observe_action(call) {
            ObserveAction::Look(_) => (nothing, TURN_LOOK),
            ObserveAction::Done => (nothing, TURN_DONE),
            ObserveAction::Wait => (nothing, 0),
        },
        Input::Observed(design, seen) => {
            let sighting = match sighting_of(design, seen) {
                Sighting::Unreadable(()) if !design.has(Guard::ReadErrorPolicy) => Sighting::Absent,
                sighting => sighting,
            };
            let sightings = [((), sighting)];
            (engine.observed(sightings, &Listing::Whole, None, NOW, is_live(design)), 0)
        }
        Input::Abandons(call) => {
            engine.on_observation_abandoned(call);
            (nothing, 0)
        }
        Input::ShutdownAsked => (engine.shutdown_asked(ShutdownCause::Sigterm, DUE), 0),
        Input::TimePasses(now) => (engine.on_time(gate, now), 0),
        Input::LoopEnds => (engine.loop_ended(), 0),
    }
}

impl State {
    /// The condition of the living process, for a component of your own.
    #[must_use]
    pub fn condition(&self) -> Option<Condition> {
        self.process.as_ref().map(|process| process.shell.condition())
    }

    /// Whether there is a process that has not stopped.
    pub(super) fn lives(&self) -> bool {
        self.process.as_ref().is_some_and(|process| process.phase() != Phase::Stopped)
    }

    /// Changes the marker. What observers saw is no longer current, and the new marker is unconfirmed.
    pub(super) fn marker_becomes(&mut self, marker: Marker) {
        self.marker = marker;
        // A request that is removed or replaced is released.
        (self.confirmed, self.promised) = (false, false);
        for observer in self.process.iter_mut().flat_map(|process| &mut process.observers) {
            if let ObserverState::Looked { current, .. } | ObserverState::Stepped { current, .. } =
                observer
            {
                *current = false;
            }
        }
    }

    /// The number of user turns that are counted and not live.
    pub(super) fn leaked(&self) -> Option<u8> {
        let process = self.process.as_ref()?;
        let counted = process.shell.gate.state().in_flight().user;
        u8::try_from(counted.saturating_sub(process.live().user)).ok()
    }

    /// Admits a turn, if the gate does.
    pub(super) fn admit(&mut self, arrival: Arrival) -> Option<()> {
        let process = self.process.as_mut()?;
        let before = process.shell.gate.state();
        process.shell.admit(arrival)?;
        let is_new_user = arrival == Arrival::New(Origin::User);
        self.promise_broken |= self.promised;
        self.started_while_draining |= is_new_user && self.confirmed;
        self.admitted_wrongly |= before.is_sealed()
            || (before.is_closed() && is_new_user)
            || process.phase() == Phase::Stopped;
        Some(())
    }
}

impl ObserverState {
    /// Nine bits that differ for any two states of observers of one process.
    pub(super) fn packed(self) -> u16 {
        let numbered = |call: ObserveCall| {
            let number = u16::try_from(call.number()).expect("few look at once");
            assert!(number < 4, "{number} in two bits");
            number
        };
        match self {
            ObserverState::Resting => 0,
            ObserverState::Waits(call) => 1 | numbered(call) << 2,
            ObserverState::Looked { call, seen, current, since_call } => {
                let seen = match seen {
                    ReadOutcome::Marker(marker) => marker as u16,
                    ReadOutcome::Error => 7,
                };
                assert!(seen < 8, "{seen} in three bits");
                2 | numbered(call) << 2
                    | seen << 4
                    | u16::from(current) << 7
                    | u16::from(since_call) << 8
            }
            ObserverState::Stepped { effect, current } => {
                let effect = match effect {
                    Effect::CloseGate { hold_internal } => u16::from(hold_internal),
                    Effect::AmendDrain { hold_internal } => 2 | u16::from(hold_internal),
                    Effect::ReopenGate => 4,
                    Effect::ShutGate => 5,
                    Effect::SealGate => 6,
                };
                3 | effect << 2 | u16::from(current) << 5
            }
        }
    }
}

impl Process {
    #[inline]
    fn pack(&self, bits: Bits) -> Bits {
        let published = self
            .published
            .map_or(0, |(phase, ready)| 0b1000 | (phase as u8) << 1 | u8::from(ready));
        let bits = bits
            .put(self.shell.engine.number(), 20)
            .put_gate(self.shell.gate)
            .put(self.answered, 1)
            .put(self.checked, 3)
            .put(self.users, 3)
            .put(self.children, 2)
            .put(self.internals, 2)
            .put(self.shut, 1)
            .put(published, 4);
        self.observers.iter().fold(bits, |bits, observer| bits.put(observer.packed(), 9))
    }
}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let bits = Bits::default()
            .put(self.marker as u8, 3)
            .put(self.begins_left, 3)
            .put(self.restarts_left, 2)
            .put(self.confirmed, 1)
            .put(self.started_while_draining, 1)
            .put(self.admitted_wrongly, 1)
            .put(self.opened_wrongly, 1)
            .put(self.answered_early, 1)
            .put(self.receipt_lied, 1)
            .put(self.promised, 1)
            .put(self.promise_broken, 1)
            .put(self.process.is_some(), 1);
        self.process.as_ref().map_or(bits, |process| process.pack(bits)).finish(hasher);
    }
}
