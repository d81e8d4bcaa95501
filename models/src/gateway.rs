//! The gateway as a model: one marker, watchers that observe in one step and apply that in another,
//! user turns, internal work and children, shutdown at any point, loop end, crash, reboot and restart.
//! It owns the interleaving and the ghosts; every *decision* is a call of a shipped function.
//!
//! | step here | shipped code it stands for |
//! |---|---|
//! | `ControllerBegins`, `ControllerCancels` | the rename, or the unlink, in `marker::begin` and `marker::cancel` |
//! | `WatcherLooks` | `Ledger::begin` and `Observer::look`, in `Shared::look_and_apply`. Taken together they refuse less than the code, which takes its ticket earlier, so what holds here holds there |
//! | `WatcherApplies` | the rest of `Shared::look_and_apply`, under the transition lock: `Ledger::accept`, `Roll::apply`, `Roll::event`, `machine::step` (which a test shows `AnyLifecycle::apply` to be), `Word::perform` |
//! | `UserArrives`, `InternalArrives`, `ChildArrives` | the compare-and-swap in `Gate::claim`: `Word::admit` |
//! | `UserTurnEnds`, `InternalTurnEnds`, `ChildEnds` | the compare-and-swap in `Gate::release`: `Word::release` |
//! | `SignalArrives` | `Shared::shut_down` |
//! | `KeeperSeesEmptyGate`, `DeadlinePasses` | the two branches of `Shared::settle` |
//! | `LoopEnds` | half of the last drop: one `Event::LoopEnded` |
//! | `StatusIsPublished` | `status::condition`, in `Shared::publish` |
//! | `ProcessStarts` | `Shared::start`: `Roll::first`, `Roll::wanted`, `AnyLifecycle::start`, `Word::perform` |
//!
//! The requests of several holders, their renewal and the listing of them are the `channel` model's.
//!
//! What it leaves out: time (the tests of `request` cover leases; here `MachineReboots` stands for one that
//! runs out), the writing of files (a rename is one step), the memory model (loom runs
//! the gate), more than one marker.

pub mod crowd;
mod marker;
pub mod progress;
mod properties;
mod state;
mod story;

pub use marker::{Marker, Seen};
pub use state::{Process, State, Watcher};

use std::time::Duration;

use stateright::{Model, Property};
use tidegate::gate::word::{Arrival, Origin, Word};
use tidegate::machine::{self, Effect, Event, Phase, ShutdownCause};
use tidegate::reconcile::{Listing, Sighting};
use tidegate::status::condition;

use self::marker::{is_live, sighting_of};
use crate::design::{Design, Guard};
use crate::packed::InPool;

/// The model: how much of everything, and which guards.
#[derive(Clone, Copy, Debug)]
pub struct GatewayModel {
    /// Which guards are on.
    pub design: Design,
    /// How often a controller may begin a drain.
    pub begins: u8,
    /// How often the process may start again after it died or stopped.
    pub restarts: u8,
    /// User turns at once.
    pub users: u8,
    /// Children of theirs at once, and internal turns at once.
    pub others: u8,
    /// Watchers; three at most.
    pub watchers: usize,
    /// Whether of states that differ only in which watcher is which one is explored.
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
            others: 1,
            watchers: 2,
            reduced: false,
        }
    }

    /// The configuration whose count is published.
    #[must_use]
    pub const fn full(design: Design) -> GatewayModel {
        GatewayModel {
            design,
            begins: 3,
            restarts: 2,
            users: 2,
            others: 1,
            watchers: 3,
            reduced: true,
        }
    }

    /// What is searched for runs that go on for ever: the whole graph is kept.
    #[must_use]
    pub const fn endless(design: Design) -> GatewayModel {
        GatewayModel {
            design,
            begins: 1,
            restarts: 1,
            users: 1,
            others: 1,
            watchers: 2,
            reduced: false,
        }
    }
}

/// What can happen next: the actor, and what it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Writes a request over whatever lies there.
    ControllerBegins {
        /// Whether it holds internal work.
        hold: bool,
    },
    /// Removes whatever lies there.
    ControllerCancels,
    /// The request's bytes are ruined where they lie.
    MarkerIsCorrupted,
    /// A watcher takes a ticket and looks; the read may fail.
    WatcherLooks {
        /// Which.
        watcher: usize,
        /// Whether the read fails.
        fails: bool,
    },
    /// A watcher applies what it saw.
    WatcherApplies {
        /// Which.
        watcher: usize,
    },
    /// Without the transition lock: a watcher performs the effect of the step it made earlier.
    WatcherPerforms {
        /// Which.
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
    /// That work ends.
    ChildEnds,
    /// SIGTERM.
    SignalArrives,
    /// The grace of a shutdown is over.
    DeadlinePasses,
    /// The keeper finds the shut gate sealed and empty.
    KeeperSeesEmptyGate,
    /// The author's loop ends.
    LoopEnds,
    /// The status is derived and written.
    StatusIsPublished,
    /// kill -9.
    ProcessDies,
    /// The machine reboots: the process is gone, and requests of this boot are of another.
    MachineReboots,
    /// The process starts; its first look may fail.
    ProcessStarts {
        /// Whether the first look fails.
        fails: bool,
    },
}

impl GatewayModel {
    /// The one of all states that differ only in which watcher is which that stands for them.
    #[must_use]
    pub fn representative(self, mut state: State) -> State {
        if let Some(Process { watchers, ledger, .. }) = &mut state.process {
            watchers[..self.watchers].sort_unstable_by_key(|watcher| watcher.packed(*ledger));
        }
        state
    }

    /// One look applied: to the machine always, to the gate at once or later.
    fn apply(self, state: &mut State, watcher: usize) -> Option<()> {
        let process = state.process.as_mut()?;
        let Watcher::Looked { ticket, seen, current, overtaken } = process.watchers[watcher] else {
            return None;
        };
        process.watchers[watcher] = Watcher::Resting;
        match process.ledger.accept(ticket) {
            Ok(ledger) => {
                process.ledger = ledger;
                process.renumber();
            }
            Err(_) if self.design.has(Guard::ObservationOrder) => return Some(()),
            Err(_) => {}
        }
        state.applied_overtaken |= overtaken;
        for other in &mut process.watchers {
            if let Watcher::Looked { overtaken, .. } = other {
                *overtaken = true;
            }
        }
        let sighting = match sighting_of(self.design, seen) {
            Sighting::Unreadable(_) if !self.design.has(Guard::ReadErrorPolicy) => Sighting::Absent,
            sighting => sighting,
        };
        let was = process.machine.phase();
        let mut roll = (*process.roll).clone();
        roll.apply([((), sighting)], &Listing::Whole, Duration::ZERO, is_live(self.design));
        process.roll = roll.pooled();
        let event = process.roll.event();
        if self.design.has(Guard::TransitionLock) {
            process.happened(self.design, event);
            let is = process.machine.phase();
            state.opened_unduly |= was == Phase::ExternallyDraining
                && is == Phase::Running
                && matches!(seen, Seen::Error | Seen::Marker(Marker::Corrupt));
        } else if let Ok(step) = machine::step(process.machine, event) {
            process.machine = step.next;
            process.watchers[watcher] = Watcher::Stepped { effect: step.effect, current };
            return Some(());
        }
        if !self.design.has(Guard::SingleStatusWriter)
            && event == Event::DrainUnwanted
            && process.shut
        {
            process.published = Some((Phase::Running, true));
        }
        // As the shipped acknowledgement has it: the phase and the name, not the gate itself.
        state.confirmed |= current
            && process.roll.wanted().is_some()
            && process.machine.phase() == Phase::ExternallyDraining;
        Some(())
    }
}

/// Checks that a count stays below its bound, and raises it.
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
            process: Some(Process::start(self.design, Seen::Marker(Marker::Absent))),
            begins_left: self.begins,
            restarts_left: self.restarts,
            confirmed: false,
            started_while_draining: false,
            passed_unduly: false,
            opened_unduly: false,
            applied_overtaken: false,
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
        if process.users + process.children > 0 {
            actions.extend([A::ChildArrives, A::ChildEnds]);
        }
        if process.internals > 0 {
            actions.push(A::InternalTurnEnds);
        }
        if process.machine.phase().is_shut() {
            actions.extend([A::DeadlinePasses, A::KeeperSeesEmptyGate, A::StatusIsPublished]);
        } else {
            actions.push(A::SignalArrives);
        }
        let watchers = process.watchers.iter().take(self.watchers).enumerate();
        for (watcher, at) in watchers {
            match at {
                // After the end, nobody looks.
                Watcher::Resting if process.machine.phase() == Phase::Stopped => {}
                Watcher::Resting => {
                    actions.extend([false, true].map(|fails| A::WatcherLooks { watcher, fails }));
                }
                Watcher::Looked { .. } => actions.push(A::WatcherApplies { watcher }),
                Watcher::Stepped { .. } => actions.push(A::WatcherPerforms { watcher }),
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
                // Presence means drain: what was confirmed for it stays confirmed.
                Marker::Live | Marker::LiveHold => state.marker = Marker::Corrupt,
                Marker::Absent | Marker::Corrupt | Marker::Stale => return None,
            },
            Action::ProcessDies => {
                state.process.take()?;
            }
            Action::MachineReboots => {
                state.process.take()?;
                if matches!(state.marker, Marker::Live | Marker::LiveHold) {
                    state.marker_becomes(Marker::Stale);
                }
            }
            Action::ProcessStarts { fails } => {
                lower(&mut state.restarts_left)?;
                let seen = if fails { Seen::Error } else { Seen::Marker(state.marker) };
                let process = Process::start(self.design, seen);
                state.confirmed |= !fails
                    && process.roll.wanted().is_some()
                    && process.machine.phase() == Phase::ExternallyDraining;
                let open = process.machine.phase() == Phase::Running;
                state.opened_unduly |= open && (fails || state.marker == Marker::Corrupt);
                state.process = Some(process);
            }
            Action::WatcherApplies { watcher } => self.apply(&mut state, watcher)?,
            Action::UserArrives => {
                // What leaked is not live, and takes its room all the same, or there would be no end.
                let leaked = state.leaked()?;
                raise(&mut state.process.as_mut()?.users, self.users.checked_sub(leaked)?)?;
                state.admit(Arrival::New(Origin::User))?;
            }
            Action::ChildArrives => {
                let process = state.process.as_mut()?;
                (process.users + process.children > 0).then_some(())?;
                raise(&mut process.children, self.others)?;
                state.admit(Arrival::ChildOf(Origin::User))?;
            }
            Action::InternalArrives => {
                raise(&mut state.process.as_mut()?.internals, self.others)?;
                let word = state.process.as_ref()?.word;
                let arrival = Arrival::New(Origin::Internal);
                if self.design.has(Guard::OneDoor) {
                    state.admit(arrival)?;
                } else {
                    // What the gate would make of it were it open is what the side door adds.
                    let open = word.perform(Effect::ReopenGate)?;
                    let counted = open.admit(arrival).ok()?.bits() - open.bits();
                    state.process.as_mut()?.word = Word::from_bits(word.bits() + counted);
                    state.passed_unduly |= word.is_sealed();
                }
                if !self.design.has(Guard::CountedClasses) {
                    state.process.as_mut()?.word = word;
                }
            }
            Action::UserClaims => {
                let process = state.process.as_mut()?;
                lower(&mut process.checked)?;
                raise(&mut process.users, self.users)?;
                // Counted without being checked again: a child's way in asks nothing of a closed gate.
                process.word = process.word.admit(Arrival::ChildOf(Origin::User)).ok()?;
                state.started_while_draining |= state.confirmed;
            }
            _ => self.within_process(
                state.process.as_mut()?,
                state.marker,
                &mut state.confirmed,
                action,
            )?,
        }
        debug_assert!(state != *before, "{action} changes something");
        Some(if self.reduced { self.representative(state) } else { state })
    }

    fn properties(&self) -> Vec<Property<GatewayModel>> {
        properties::properties()
    }
}

impl GatewayModel {
    /// What concerns the process alone.
    fn within_process(
        self,
        process: &mut Process,
        marker: Marker,
        confirmed: &mut bool,
        action: Action,
    ) -> Option<()> {
        match action {
            Action::WatcherLooks { watcher, fails } => {
                let seen = if fails { Seen::Error } else { Seen::Marker(marker) };
                process.watchers[watcher] = Watcher::Looked {
                    ticket: process.ledger.begin(),
                    seen,
                    current: !fails,
                    overtaken: false,
                };
            }
            Action::WatcherPerforms { watcher } => {
                let Watcher::Stepped { effect, current } = process.watchers[watcher] else {
                    return None;
                };
                process.watchers[watcher] = Watcher::Resting;
                process.perform(self.design, effect);
                *confirmed |= current && matches!(effect, Effect::CloseGate { .. });
            }
            Action::UserChecks => {
                raise(&mut process.checked, self.users.checked_sub(process.users)?)?;
                process.word.admit(Arrival::New(Origin::User)).ok()?;
            }
            Action::UserTurnEnds => {
                lower(&mut process.users)?;
                if self.design.has(Guard::TurnsCountedOut) {
                    process.word = process.word.release(Origin::User);
                }
            }
            Action::ChildEnds => {
                lower(&mut process.children)?;
                process.word = process.word.release(Origin::User);
            }
            Action::InternalTurnEnds => {
                lower(&mut process.internals)?;
                if self.design.has(Guard::CountedClasses) {
                    process.word = process.word.release(Origin::Internal);
                }
            }
            Action::SignalArrives => {
                process
                    .happened(self.design, Event::ShutdownAsked(ShutdownCause::Sigterm))
                    .then_some(())?;
            }
            Action::DeadlinePasses => {
                self.design.has(Guard::Deadline).then_some(())?;
                process.happened(self.design, Event::DeadlinePassed).then_some(())?;
            }
            Action::KeeperSeesEmptyGate => {
                process.word.is_at_rest().then_some(())?;
                process.happened(self.design, Event::Emptied).then_some(())?;
            }
            Action::LoopEnds => {
                process.happened(self.design, Event::LoopEnded).then_some(())?;
            }
            Action::StatusIsPublished => {
                process.shut.then_some(())?;
                let condition = condition(process.machine, process.word);
                let published = Some((condition.phase, condition.ready));
                (process.published != published).then_some(())?;
                process.published = published;
            }
            // Handled by `next_state`, which needs more than the process.
            Action::ControllerBegins { .. }
            | Action::ControllerCancels
            | Action::MarkerIsCorrupted
            | Action::WatcherApplies { .. }
            | Action::UserArrives
            | Action::UserClaims
            | Action::InternalArrives
            | Action::ChildArrives
            | Action::ProcessDies
            | Action::MachineReboots
            | Action::ProcessStarts { .. } => return None,
        }
        Some(())
    }
}
