//! The gateway as a model. It has one marker, user turns, internal work, children, and watchers that observe in one
//! step and apply in another. A shutdown, the loop's end, a crash, a reboot or a restart may come at any point.
//! The model owns the interleaving and the ghosts. Every *decision* is a call of a shipped function.
//!
//! | step here | shipped code it represents |
//! |---|---|
//! | `ControllerBegins`, `ControllerCancels` | the rename, or the unlink, in `marker::begin` and `marker::cancel` |
//! | `CallerBegins` | the same, in `Shared::begin_drain`, and the call of `Engine::request_observation` after it |
//! | `WatcherWaits`, `WatcherLooks` | `Engine::request_observation` and `Engine::next_observe_action`, in `Shared::observe`; and the reading of the disk |
//! | `WatcherApplies` | the rest of `Shared::look`, under the transition lock: `Engine::observed`, `Gate::perform`, `Engine::gate_done` |
//! | `WatcherFails` | `Engine::on_observation_abandoned`, when a round panics |
//! | `QuiescedIsRead` | `Engine::condition`, in a status; it may be read late, and over a respawn |
//! | `CallerReturns` | `Engine::next_observe_action` for a caller that waited, and `Engine::receipt` |
//! | `UserArrives`, `InternalArrives`, `ChildArrives`, `ChildStartsChild` | the compare-and-swap in `Stripe::claim`: `Word::admit` |
//! | `UserTurnEnds`, `InternalTurnEnds`, `ChildEnds` | the compare-and-swap in `Stripe::release`: `Word::release` |
//! | `SignalArrives` | `Engine::shutdown_asked`, in `Shared::shut_down` |
//! | `TimerRounds` | `Engine::on_time`, in the timer's round, before every deadline or after it |
//! | `LoopEnds` | the drop of the last handle, in `Shared::abandon`: `Engine::loop_ended` until it has stopped |
//! | `StatusIsPublished` | `Engine::condition`, in `Shared::publish` |
//! | `ProcessStarts` | `Shared::start`: `Engine::start`, `Gate::perform` |
//!
//! The engine is the one that ships. The `channel` model has requests of several holders, their renewal, and their
//! listing.
//!
//! It leaves out four things:
//!
//! * time (the tests of `judge` cover leases; here `MachineReboots` also represents a lease that runs out),
//! * the writing of files (a rename is one step),
//! * the memory model (loom runs the gate),
//! * more than one marker.

pub mod any_number;
mod display;
pub mod liveness;
mod marker;
mod properties;
mod state;

pub use marker::{Marker, ReadOutcome};
pub use state::{ObserverState, Process, State};

use stateright::{Model, Property};
use tidegate::internals::gate::{Arrival, InFlight, Origin};
use tidegate::machine::{Effect, Phase};

use self::state::Input;
use crate::design::{Design, Guard};
use crate::shell::{DUE, NOW};

/// The model: how much of everything, and which guards.
#[derive(Clone, Copy, Debug)]
pub struct GatewayModel {
    /// Which guards are on.
    pub design: Design,
    /// How often a controller, or the caller, may begin a drain.
    pub begins: u8,
    /// How often the process may start again after it died or stopped.
    pub restarts: u8,
    /// The most user turns at once.
    pub users: u8,
    /// The most children of user turns at once.
    pub children: u8,
    /// The most internal turns at once.
    pub others: u8,
    /// The number of watchers. With the caller, there are three at most.
    pub watchers: usize,
    /// Whether a caller in the process itself may begin drains, too.
    pub caller: bool,
    /// Whether states that differ only in which watcher is which are explored once.
    pub reduced: bool,
}

impl GatewayModel {
    /// Enough of everything for every finding of the ablations, and small enough for a unit test.
    #[must_use]
    pub const fn small(design: Design) -> GatewayModel {
        GatewayModel {
            design,
            begins: 2,
            restarts: 1,
            users: 1,
            children: 1,
            others: 1,
            watchers: 1,
            caller: true,
            reduced: false,
        }
    }

    /// The configuration whose count is published.
    #[must_use]
    pub const fn full(design: Design) -> GatewayModel {
        GatewayModel {
            design,
            begins: 2,
            restarts: 2,
            users: 2,
            children: 1,
            others: 1,
            watchers: 2,
            caller: true,
            reduced: true,
        }
    }

    /// The configuration that is searched for fair cycles. Its whole graph is kept.
    #[must_use]
    pub const fn for_liveness(design: Design) -> GatewayModel {
        GatewayModel {
            design,
            begins: 1,
            restarts: 1,
            users: 1,
            children: 2,
            others: 1,
            watchers: 2,
            caller: false,
            reduced: false,
        }
    }
}

/// What can happen next: the actor, and what it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// A controller writes a request, and replaces the marker, if there is one.
    ControllerBegins {
        /// Whether it holds internal work.
        hold: bool,
    },
    /// A controller removes the marker, if there is one.
    ControllerCancels,
    /// The marker's bytes are overwritten with nonsense.
    MarkerIsCorrupted,
    /// A caller in the process itself begins a drain, and asks for a look.
    CallerBegins,
    /// A watcher wants to look, and waits: another look is under way.
    WatcherWaits {
        /// Its number.
        watcher: usize,
    },
    /// A watcher, or the caller, looks. The read may fail.
    WatcherLooks {
        /// Its number.
        watcher: usize,
        /// Whether the read fails.
        fails: bool,
    },
    /// It applies what it saw.
    WatcherApplies {
        /// Its number.
        watcher: usize,
    },
    /// Its round panics while it looks.
    WatcherFails {
        /// Its number.
        watcher: usize,
    },
    /// The caller has waited, and a look that began since then is applied. It gets its receipt.
    CallerReturns,
    /// Without the transition lock: it performs the effect of the step it made earlier.
    WatcherPerforms {
        /// Its number.
        watcher: usize,
    },
    /// A user turn is admitted.
    UserArrives,
    /// Without atomic admission: a user turn finds the gate open.
    UserChecks,
    /// Without atomic admission: a user turn that found it open is counted.
    UserClaims,
    /// A user turn ends.
    UserTurnEnds,
    /// The gateway's own work is admitted.
    InternalArrives,
    /// The gateway's own work ends.
    InternalTurnEnds,
    /// A live user turn starts work it needs.
    ChildArrives,
    /// A live child starts work it needs.
    ChildStartsChild,
    /// That work ends.
    ChildEnds,
    /// SIGTERM.
    SignalArrives,
    /// The timer thread makes a round, and does what is due.
    TimerRounds {
        /// Whether every deadline has passed.
        late: bool,
    },
    /// The author's loop ends.
    LoopEnds,
    /// A controller reads in the status that the gateway is quiesced.
    QuiescedIsRead,
    /// The status is derived and written.
    StatusIsPublished,
    /// kill -9.
    ProcessDies,
    /// The machine reboots. The process is gone, and the existing requests are now of another boot.
    MachineReboots,
    /// The process starts. Its first look may fail.
    ProcessStarts {
        /// Whether the first look fails.
        fails: bool,
    },
}

impl GatewayModel {
    /// The representative of all states that differ only in which watcher is which.
    #[must_use]
    pub fn representative(self, mut state: State) -> State {
        if let Some(Process { observers, .. }) = &mut state.process {
            observers[..self.watchers].sort_unstable_by_key(|observer| observer.packed());
        }
        state
    }

    /// The caller's number among the observers.
    const fn caller_number(self) -> Option<usize> {
        if self.caller { Some(self.watchers) } else { None }
    }

    /// An observer that rests or waits looks, if it is its turn.
    fn look(self, state: &mut State, observer: usize, fails: bool) -> Option<()> {
        let marker = state.marker;
        let process = state.process.as_mut()?;
        let call = match process.observers[observer] {
            ObserverState::Resting => process.ask(),
            ObserverState::Waits(call) => call,
            ObserverState::Looked { .. } | ObserverState::Stepped { .. } => return None,
        };
        (process.take_turn(call)?).then_some(())?;
        let seen = if fails { ReadOutcome::Error } else { ReadOutcome::Marker(marker) };
        let caller_waits = self.caller_number().is_some_and(|caller| {
            caller == observer || matches!(process.observers[caller], ObserverState::Waits(_))
        });
        process.observers[observer] =
            ObserverState::Looked { call, seen, current: !fails, since_call: caller_waits };
        Some(())
    }

    /// Applies one look: to the machine at once, and to the gate at once or later.
    fn apply(self, state: &mut State, observer: usize) -> Option<()> {
        let process = state.process.as_mut()?;
        let ObserverState::Looked { call, seen, current, since_call } = process.observers[observer]
        else {
            return None;
        };
        process.answered |= since_call;
        let was = process.phase();
        let input = Input::Observed(self.design, seen);
        if self.design.has(Guard::TransitionLock) {
            process.apply_input(input);
            let is = process.phase();
            state.opened_wrongly |= was == Phase::ExternallyDraining
                && is == Phase::Running
                && matches!(seen, ReadOutcome::Error | ReadOutcome::Marker(Marker::Corrupt));
        } else if let Some(effect) = process.step_only(input) {
            process.take_turn(call);
            process.observers[observer] = ObserverState::Stepped { effect, current };
            return Some(());
        }
        if !self.design.has(Guard::SingleStatusWriter)
            && process.shell.engine.table().wanted().is_none()
            && process.shut
        {
            process.published = Some((Phase::Running, true));
        }
        // As in the shipped acknowledgement: the phase and the name, not the gate itself.
        state.confirmed |= current
            && process.shell.engine.table().wanted().is_some()
            && process.phase() == Phase::ExternallyDraining;
        // Watchers that waited for this look return at once: what they do then depends on nothing else.
        let others = (0..self.watchers).filter(|other| *other != observer);
        for other in others.collect::<Vec<_>>() {
            let process = state.process.as_mut()?;
            if let ObserverState::Waits(call) = process.observers[other]
                && process.is_served(call)
            {
                self.returns(state, other, call);
            }
        }
        // This look serves the observer's own call.
        self.returns(state, observer, call);
        Some(())
    }

    /// An observer is served: a watcher rests, and the caller gets its receipt.
    fn returns(
        self,
        state: &mut State,
        observer: usize,
        call: tidegate::internals::engine::ObserveCall,
    ) -> Option<()> {
        let process = state.process.as_mut()?;
        // If it must look once more, it waits.
        let is_done = process.take_turn(call) == Some(false);
        process.observers[observer] =
            if is_done { ObserverState::Resting } else { ObserverState::Waits(call) };
        if self.caller_number() == Some(observer) && is_done {
            state.answered_early |= !process.answered && process.phase() != Phase::Stopped;
            process.answered = false;
            let is_own = |marker: &Marker| *marker == Marker::Called;
            let receipt = process.shell.engine.receipt(&(), is_own);
            let is_named = process.shell.engine.table().entry(&()).and_then(|it| it.request())
                == Some(&Marker::Called);
            let is_true = process.shell.gate.state().is_closed()
                && process.phase() == Phase::ExternallyDraining
                && is_named;
            state.receipt_lied |= receipt.draining && !is_true;
            state.confirmed |= receipt.draining && state.marker == Marker::Called;
        }
        is_done.then_some(())
    }
}

/// Raises a count. `None` if it is at its bound.
fn raise(count: &mut u8, bound: u8) -> Option<()> {
    *count = count.checked_add(1).filter(|raised| *raised <= bound)?;
    Some(())
}

fn lower(count: &mut u8) -> Option<()> {
    *count = count.checked_sub(1)?;
    Some(())
}

impl Model for GatewayModel {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            marker: Marker::Absent,
            process: Some(Process::start(self.design, ReadOutcome::Marker(Marker::Absent), false)),
            begins_left: self.begins,
            restarts_left: self.restarts,
            confirmed: false,
            started_while_draining: false,
            admitted_wrongly: false,
            opened_wrongly: false,
            answered_early: false,
            receipt_lied: false,
            promised: false,
            promise_broken: false,
        }]
    }

    /// What is offered here may still turn out to be impossible.
    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        use Action as A;
        if state.begins_left > 0 {
            actions.extend([false, true].map(|hold| A::ControllerBegins { hold }));
        }
        if state.marker != Marker::Absent {
            actions.extend([A::ControllerCancels, A::MarkerIsCorrupted]);
        }
        if state.restarts_left > 0 && !state.lives() {
            actions.extend([false, true].map(|fails| A::ProcessStarts { fails }));
        }
        let Some(process) = &state.process else { return };
        actions.extend([A::ProcessDies, A::MachineReboots, A::InternalArrives, A::LoopEnds]);
        if self.design.has(Guard::AtomicAdmission) {
            actions.push(A::UserArrives);
        } else {
            actions.extend([A::UserChecks, A::UserClaims]);
        }
        if process.users > 0 {
            actions.push(A::UserTurnEnds);
        }
        if process.users > 0 {
            actions.push(A::ChildArrives);
        }
        if process.children > 0 {
            actions.extend([A::ChildStartsChild, A::ChildEnds]);
        }
        if process.internals > 0 {
            actions.push(A::InternalTurnEnds);
        }
        actions.push(A::QuiescedIsRead);
        if process.phase().is_shut() {
            actions.push(A::StatusIsPublished);
            // After the stop, only the last status is still to be written: the `gate` model has that.
            if process.phase() == Phase::ShuttingDown {
                actions.extend([false, true].map(|late| A::TimerRounds { late }));
            }
        } else {
            actions.push(A::SignalArrives);
        }
        let has_stopped = process.phase() == Phase::Stopped;
        for (watcher, at) in process.observers.iter().enumerate() {
            let is_caller = self.caller_number() == Some(watcher);
            let looks = [false, true].map(|fails| A::WatcherLooks { watcher, fails });
            match at {
                ObserverState::Resting if is_caller => {
                    if state.begins_left > 0 && !process.phase().is_shut() {
                        actions.push(A::CallerBegins);
                    }
                }
                // After the stop, nobody looks.
                ObserverState::Resting if has_stopped || watcher >= self.watchers => {}
                ObserverState::Resting => {
                    actions.extend(looks);
                    actions.push(A::WatcherWaits { watcher });
                }
                ObserverState::Waits(_) => {
                    actions.extend(looks);
                    if is_caller {
                        actions.push(A::CallerReturns);
                    }
                }
                ObserverState::Looked { .. } => {
                    actions.push(A::WatcherApplies { watcher });
                    if !is_caller {
                        actions.push(A::WatcherFails { watcher });
                    }
                }
                ObserverState::Stepped { .. } => actions.push(A::WatcherPerforms { watcher }),
            }
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = *before;
        match action {
            Action::ControllerBegins { hold } => {
                lower(&mut state.begins_left)?;
                state.marker_becomes(if hold { Marker::LiveHold } else { Marker::Live });
            }
            Action::ControllerCancels => {
                state.marker_becomes(Marker::Absent);
            }
            Action::MarkerIsCorrupted => match state.marker {
                // An existing request drains, also a corrupt one. So what was confirmed or promised stays so.
                Marker::Live | Marker::LiveHold | Marker::Called => {
                    state.marker = Marker::Corrupt;
                }
                Marker::Absent | Marker::Corrupt | Marker::Stale => return None,
            },
            Action::ProcessDies => {
                state.process.take()?;
            }
            Action::MachineReboots => {
                state.process.take()?;
                if matches!(state.marker, Marker::Live | Marker::LiveHold | Marker::Called) {
                    state.marker_becomes(Marker::Stale);
                }
            }
            Action::ProcessStarts { fails } => {
                lower(&mut state.restarts_left)?;
                let seen =
                    if fails { ReadOutcome::Error } else { ReadOutcome::Marker(state.marker) };
                let process = Process::start(self.design, seen, state.promised);
                state.confirmed |= !fails
                    && process.shell.engine.table().wanted().is_some()
                    && process.phase() == Phase::ExternallyDraining;
                let open = process.phase() == Phase::Running;
                state.opened_wrongly |= open && (fails || state.marker == Marker::Corrupt);
                state.process = Some(process);
            }
            Action::CallerBegins
            | Action::WatcherWaits { .. }
            | Action::WatcherLooks { .. }
            | Action::WatcherApplies { .. }
            | Action::WatcherFails { .. }
            | Action::QuiescedIsRead
            | Action::CallerReturns => self.observes(&mut state, action)?,
            Action::UserArrives => {
                // A leaked turn is not live, but counts against the bound. Otherwise there would be no end of states.
                let leaked = state.leaked()?;
                raise(&mut state.process.as_mut()?.users, self.users.checked_sub(leaked)?)?;
                state.admit(Arrival::New(Origin::User))?;
            }
            Action::ChildArrives | Action::ChildStartsChild => {
                let process = state.process.as_mut()?;
                raise(&mut process.children, self.children)?;
                state.admit(Arrival::ChildOf(Origin::User))?;
            }
            Action::InternalArrives => {
                raise(&mut state.process.as_mut()?.internals, self.others)?;
                let gate = state.process.as_ref()?.shell.gate;
                let arrival = Arrival::New(Origin::Internal);
                if self.design.has(Guard::OneDoor) {
                    state.admit(arrival)?;
                } else {
                    // The side door counts the work, and asks nothing.
                    let InFlight { user, internal, .. } = gate.state().in_flight();
                    let counted = gate.with_in_flight(InFlight::new(user, internal + 1));
                    state.process.as_mut()?.shell.gate = counted;
                    state.admitted_wrongly |= gate.center.is_sealed();
                }
                if !self.design.has(Guard::CountedClasses) {
                    state.process.as_mut()?.shell.gate = gate;
                }
            }
            Action::UserClaims => {
                let process = state.process.as_mut()?;
                lower(&mut process.checked)?;
                raise(&mut process.users, self.users)?;
                // The turn is counted and not checked again, except that a sealed gate admits nothing.
                let gate = process.shell.gate;
                (!gate.center.is_sealed()).then_some(())?;
                let InFlight { user, internal, .. } = gate.state().in_flight();
                process.shell.gate = gate.with_in_flight(InFlight::new(user + 1, internal));
                state.started_while_draining |= state.confirmed;
            }
            _ => self.within_process(state.process.as_mut()?, &mut state.confirmed, action)?,
        }
        debug_assert!(state != *before, "{action} changes something");
        Some(if self.reduced { self.representative(state) } else { state })
    }

    fn properties(&self) -> Vec<Property<GatewayModel>> {
        properties::properties()
    }
}

impl GatewayModel {
    /// Steps of observers, and of what reads their results.
    fn observes(self, state: &mut State, action: Action) -> Option<()> {
        match action {
            Action::CallerBegins => {
                lower(&mut state.begins_left)?;
                state.process.as_ref()?.shell.engine.may_begin().ok()?;
                state.marker_becomes(Marker::Called);
                let process = state.process.as_mut()?;
                process.answered = false;
                process.observers[self.caller_number()?] = ObserverState::Waits(process.ask());
            }
            Action::WatcherWaits { watcher } => {
                let process = state.process.as_mut()?;
                let call = process.ask();
                process.take_turn(call).is_none().then_some(())?;
                process.observers[watcher] = ObserverState::Waits(call);
            }
            Action::WatcherLooks { watcher, fails } => self.look(state, watcher, fails)?,
            Action::WatcherApplies { watcher } => self.apply(state, watcher)?,
            Action::WatcherFails { watcher } => {
                let process = state.process.as_mut()?;
                let ObserverState::Looked { call, .. } = process.observers[watcher] else {
                    return None;
                };
                process.apply_input(Input::Abandons(call));
                process.observers[watcher] = ObserverState::Resting;
            }
            Action::QuiescedIsRead => {
                // The status must name this very request, and not another one with the same terms. So `confirmed`
                // must hold.
                (!state.promised && state.confirmed).then_some(())?;
                state.process.as_ref()?.shell.condition().quiesced.then_some(())?;
                let entry = state.process.as_ref()?.shell.engine.table().entry(&())?;
                (entry.request() == Some(&state.marker)).then_some(())?;
                state.promised = true;
            }
            Action::CallerReturns => {
                let caller = self.caller_number()?;
                let ObserverState::Waits(call) = state.process.as_ref()?.observers[caller] else {
                    return None;
                };
                self.returns(state, caller, call)?;
            }
            // Handled by `next_state`.
            _ => return None,
        }
        Some(())
    }

    /// Steps that concern only the process.
    fn within_process(
        self,
        process: &mut Process,
        confirmed: &mut bool,
        action: Action,
    ) -> Option<()> {
        match action {
            Action::WatcherPerforms { watcher } => {
                let ObserverState::Stepped { effect, current } = process.observers[watcher] else {
                    return None;
                };
                process.observers[watcher] = ObserverState::Resting;
                process.perform(effect);
                *confirmed |= current && matches!(effect, Effect::CloseGate { .. });
            }
            Action::UserChecks => {
                raise(&mut process.checked, self.users.checked_sub(process.users)?)?;
                process.shell.gate.admit(Arrival::New(Origin::User)).ok()?;
            }
            Action::UserTurnEnds => {
                lower(&mut process.users)?;
                if self.design.has(Guard::TurnsCountedOut) {
                    process.shell.release(Origin::User);
                }
            }
            Action::ChildEnds => {
                lower(&mut process.children)?;
                process.shell.release(Origin::User);
            }
            Action::InternalTurnEnds => {
                lower(&mut process.internals)?;
                if self.design.has(Guard::CountedClasses) {
                    process.shell.release(Origin::Internal);
                }
            }
            Action::SignalArrives => {
                process.apply_input(Input::ShutdownAsked)?;
            }
            Action::TimerRounds { late } => {
                (!late || self.design.has(Guard::Deadline)).then_some(())?;
                process.apply_input(Input::TimePasses(if late { DUE } else { NOW }))?;
            }
            Action::LoopEnds => {
                // Under one lock, a running gateway first shuts down, and then stops.
                (process.phase() != Phase::Stopped).then_some(())?;
                while process.phase() != Phase::Stopped {
                    process.apply_input(Input::LoopEnds)?;
                }
            }
            Action::StatusIsPublished => {
                process.shut.then_some(())?;
                let condition = process.shell.condition();
                let published = Some((condition.phase, condition.ready));
                (process.published != published).then_some(())?;
                process.published = published;
            }
            // Handled by `next_state`, which needs more than the process.
            Action::ControllerBegins { .. }
            | Action::ControllerCancels
            | Action::MarkerIsCorrupted
            | Action::CallerBegins
            | Action::WatcherWaits { .. }
            | Action::WatcherLooks { .. }
            | Action::WatcherApplies { .. }
            | Action::CallerReturns
            | Action::WatcherFails { .. }
            | Action::QuiescedIsRead
            | Action::UserArrives
            | Action::UserClaims
            | Action::InternalArrives
            | Action::ChildArrives
            | Action::ChildStartsChild
            | Action::ProcessDies
            | Action::MachineReboots
            | Action::ProcessStarts { .. } => return None,
        }
        Some(())
    }
}
