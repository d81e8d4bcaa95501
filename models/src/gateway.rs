//! The gateway as a model: one marker, watchers whose look and whose applying of it are two steps,
//! user turns, internal work and children, shutdown at any point, loop end, crash, reboot and restart.
//! It owns the interleaving and the ghosts; every *decision* is a call of a shipped function.
//!
//! | step here | shipped code it stands for |
//! |---|---|
//! | `ControllerBegins`, `ControllerCancels` | the rename, or the unlink, in `marker::begin` and `marker::cancel` |
//! | `WatcherLooks` | `Ledger::begin` and `Eyes::look`, in `Shared::look_and_apply`. Taken together they refuse less than the code, which takes its ticket earlier, so what holds here holds there |
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
//! What it leaves out: time (a lease is looked at in `request`'s tests, its running out is
//! `MachineReboots` here), the writing of files (a rename is one step), the memory model (loom runs
//! the gate), more than one marker.

pub mod progress;
mod story;

use std::sync::LazyLock;
use std::time::Duration;

use stateright::{Model, Property};
use tidegate::epoch::{Epoch, Now};
use tidegate::gate::word::{Arrival, InFlight, Origin, Word};
use tidegate::machine::{self, Effect, Event, Machine, Phase, ShutdownCause, Terms};
use tidegate::reconcile::{Asks, Ledger, Listing, Roll, Sighting, Ticket};
use tidegate::request::{Request, Standing};
use tidegate::status::{Condition, condition};

use crate::design::{Design, Guard};
use crate::shell::started;

const WATCHERS: usize = 2;

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
}

impl GatewayModel {
    /// Enough of everything for every finding of the ablations, and small enough for a unit test.
    #[must_use]
    pub const fn small(design: Design) -> GatewayModel {
        GatewayModel { design, begins: 2, restarts: 1, users: 1 }
    }

    /// The configuration whose count is published.
    #[must_use]
    pub const fn full(design: Design) -> GatewayModel {
        GatewayModel { design, begins: 2, restarts: 1, users: 2 }
    }

    /// What is searched for runs that go on for ever: the whole graph is kept.
    #[must_use]
    pub const fn endless(design: Design) -> GatewayModel {
        GatewayModel { design, begins: 1, restarts: 1, users: 1 }
    }
}

/// What lies at the marker's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Marker {
    /// Nothing.
    Absent,
    /// A request of this boot.
    Live,
    /// A request of this boot that holds internal work.
    LiveHold,
    /// Bytes that say nothing.
    Corrupt,
    /// A request of another boot.
    Stale,
}

/// What a look found there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Seen {
    /// What lay there.
    Marker(Marker),
    /// Nothing could be told.
    Error,
}

/// Where a watcher is in its round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Watcher {
    /// Between rounds.
    Resting,
    /// It has looked, and not applied it yet.
    Looked {
        /// Taken when it looked.
        ticket: Ticket,
        /// What it saw.
        seen: Seen,
        /// Ghost: whether that is still what lies there.
        current: bool,
        /// Ghost: whether another look was applied since it began.
        overtaken: bool,
    },
    /// Without the transition lock: the machine has stepped, the gate has not.
    Stepped {
        /// What the gate is yet to do.
        effect: Effect,
        /// Ghost: whether it is for the request that lies there now.
        current: bool,
    },
}

/// A living process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Process {
    machine: Machine,
    word: Word,
    roll: Roll<(), Marker>,
    ledger: Ledger,
    watchers: [Watcher; WATCHERS],
    /// User turns that have checked the gate and not claimed yet: only without atomic admission.
    checked: u8,
    /// Live user turns.
    users: u8,
    /// Live children of user turns.
    children: u8,
    /// Live internal turns.
    internals: u8,
    /// Ghost: a shutdown has begun, and its closing of the gate has returned.
    shut: bool,
    /// The phase and readiness last published since the shutdown began.
    published: Option<(Phase, bool)>,
}

/// The whole state.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    marker: Marker,
    process: Option<Process>,
    begins_left: u8,
    restarts_left: u8,
    /// Ghost: the request that lies there has been seen and closed for, and still lies there.
    confirmed: bool,
    /// Ghost: a user turn has started while `confirmed`.
    started_while_draining: bool,
    /// Ghost: something was admitted that the rule for closed gates does not let pass.
    passed_unduly: bool,
    /// Ghost: bytes that say nothing, or a look that saw nothing, opened the gate.
    opened_unduly: bool,
    /// Ghost: a look was applied that another had overtaken.
    applied_overtaken: bool,
}

/// What can happen next: the actor, and what he does.
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

/// What the shipped reader makes of a marker.
#[derive(Clone, Copy)]
struct Reading {
    asks: Option<Terms>,
    /// Whether it stands for a gateway that knows its epoch, and for one that does not.
    stands: bool,
    stands_where_epoch_is_unknown: bool,
}

fn read(marker: Marker) -> Reading {
    static TABLE: LazyLock<[Reading; 5]> = LazyLock::new(|| {
        let epoch = Epoch::from_texts(Some("this-boot"), None);
        let now = Now { uptime: Duration::from_secs(60), wall: std::time::UNIX_EPOCH.into() };
        [
            "",
            r#"{"action":"drain","epoch":"this-boot:"}"#,
            r#"{"action":"drain","epoch":"this-boot:","hold_internal":true}"#,
            "{\"action\":\"dra",
            r#"{"action":"drain","epoch":"another-boot:"}"#,
        ]
        .map(|text| {
            let request = Request::parse(text.as_bytes());
            let stands = |epoch: &Epoch| request.standing(epoch, now) == Standing::Live;
            Reading {
                asks: request.asks(),
                stands: stands(&epoch),
                stands_where_epoch_is_unknown: stands(&Epoch::default()),
            }
        })
    });
    TABLE[marker as usize]
}

impl Asks for Marker {
    fn asks(&self) -> Option<Terms> {
        read(*self).asks
    }
}

fn is_live(design: Design) -> impl Fn(&Marker, Duration) -> bool {
    let knows_its_epoch = design.has(Guard::Epoch);
    move |marker, _first_seen| {
        let read = read(*marker);
        if knows_its_epoch { read.stands } else { read.stands_where_epoch_is_unknown }
    }
}

fn sighting_of(design: Design, seen: Seen) -> Sighting<Marker> {
    match seen {
        Seen::Marker(Marker::Absent) => Sighting::Absent,
        Seen::Marker(Marker::Corrupt) if !design.has(Guard::TotalReader) => {
            Sighting::Unreadable(String::new())
        }
        Seen::Marker(marker) => Sighting::Present(marker),
        Seen::Error => Sighting::Unreadable(String::new()),
    }
}

impl Process {
    /// From the first look to an open or closed gate.
    fn start(design: Design, seen: Seen) -> Process {
        let seen = if design.has(Guard::ReconcileBeforeAdmit) {
            seen
        } else {
            Seen::Marker(Marker::Absent)
        };
        let first = [((), sighting_of(design, seen))];
        let roll = Roll::first(first, &Listing::Whole, Duration::ZERO, is_live(design));
        let (machine, word) = started(roll.wanted());
        Process {
            machine,
            word,
            roll,
            ledger: Ledger::default(),
            watchers: [Watcher::Resting; WATCHERS],
            checked: 0,
            users: 0,
            children: 0,
            internals: 0,
            shut: false,
            published: None,
        }
    }

    fn perform(&mut self, design: Design, effect: Effect) {
        let effect = match effect {
            // Without the sticky bit a shutdown is one more drain that holds everything.
            Effect::ShutGate if !design.has(Guard::StickyShutdown) => {
                Effect::CloseGate { hold_internal: true }
            }
            effect => effect,
        };
        self.word = self.word.perform(effect).unwrap_or(self.word);
    }

    /// Steps and performs at once: what the transition lock makes one step.
    fn happened(&mut self, design: Design, event: Event) -> bool {
        let Ok(step) = machine::step(self.machine, event) else { return false };
        self.machine = step.next;
        self.perform(design, step.effect);
        if self.machine.phase().is_shut() && !self.shut {
            self.shut = true;
            self.published = None;
        }
        true
    }

    /// The keeper of the count: what is live, as against what is counted.
    fn live(&self) -> InFlight {
        InFlight {
            user: u32::from(self.users) + u32::from(self.children),
            internal: u32::from(self.internals),
        }
    }
}

impl State {
    /// What the living process amounts to; for a component of an author's own.
    #[must_use]
    pub fn condition(&self) -> Option<Condition> {
        self.process.as_ref().map(|process| condition(process.machine, process.word))
    }

    /// The marker has changed: nothing seen of it is current any more, and it is unconfirmed.
    fn marker_becomes(&mut self, marker: Marker) {
        self.marker = marker;
        self.confirmed = false;
        for watcher in self.process.iter_mut().flat_map(|process| &mut process.watchers) {
            if let Watcher::Looked { current, .. } | Watcher::Stepped { current, .. } = watcher {
                *current = false;
            }
        }
    }

    /// User turns that are counted and not live.
    fn leaked(&self) -> Option<u8> {
        let process = self.process.as_ref()?;
        u8::try_from(process.word.in_flight().user.saturating_sub(process.live().user)).ok()
    }

    /// A turn at the gate.
    fn admit(&mut self, arrival: Arrival) -> Option<()> {
        let process = self.process.as_mut()?;
        let before = process.word;
        process.word = before.admit(arrival).ok()?;
        let is_new_user = arrival == Arrival::New(Origin::User);
        self.started_while_draining |= is_new_user && self.confirmed;
        self.passed_unduly |= before.is_sealed()
            || (before.is_closed() && is_new_user)
            || process.machine.phase() == Phase::Stopped;
        Some(())
    }
}

impl GatewayModel {
    /// One look applied: to the machine always, to the gate at once or later.
    fn apply(self, state: &mut State, watcher: usize) -> Option<()> {
        let process = state.process.as_mut()?;
        let Watcher::Looked { ticket, seen, current, overtaken } = process.watchers[watcher] else {
            return None;
        };
        process.watchers[watcher] = Watcher::Resting;
        match process.ledger.accept(ticket) {
            Ok(ledger) => process.ledger = ledger,
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
        process.roll.apply([((), sighting)], &Listing::Whole, Duration::ZERO, is_live(self.design));
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

    fn actions(&self, _: &State, actions: &mut Vec<Action>) {
        use Action as A;
        actions.extend([
            A::ControllerBegins { hold: false },
            A::ControllerBegins { hold: true },
            A::ControllerCancels,
            A::MarkerIsCorrupted,
            A::UserTurnEnds,
            A::InternalArrives,
            A::InternalTurnEnds,
            A::ChildArrives,
            A::ChildEnds,
            A::SignalArrives,
            A::DeadlinePasses,
            A::KeeperSeesEmptyGate,
            A::LoopEnds,
            A::StatusIsPublished,
            A::ProcessDies,
            A::MachineReboots,
            A::ProcessStarts { fails: false },
            A::ProcessStarts { fails: true },
        ]);
        if self.design.has(Guard::AtomicAdmission) {
            actions.push(A::UserArrives);
        } else {
            actions.extend([A::UserChecks, A::UserClaims]);
        }
        for watcher in 0..WATCHERS {
            actions.extend([
                A::WatcherLooks { watcher, fails: false },
                A::WatcherLooks { watcher, fails: true },
                A::WatcherApplies { watcher },
            ]);
            if !self.design.has(Guard::TransitionLock) {
                actions.push(A::WatcherPerforms { watcher });
            }
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        match action {
            Action::ControllerBegins { hold } => {
                lower(&mut state.begins_left)?;
                state.marker_becomes(if hold { Marker::LiveHold } else { Marker::Live });
            }
            Action::ControllerCancels => {
                if state.marker == Marker::Absent {
                    return None;
                }
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
                if state
                    .process
                    .as_ref()
                    .is_some_and(|process| process.machine.phase() != Phase::Stopped)
                {
                    return None;
                }
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
                raise(&mut process.children, process.users.min(1))?;
                state.admit(Arrival::ChildOf(Origin::User))?;
            }
            Action::InternalArrives => {
                raise(&mut state.process.as_mut()?.internals, 1)?;
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
        if let Some(process) = &mut state.process {
            let Process { ledger, watchers, .. } = process;
            ledger.renumber(watchers.iter_mut().filter_map(|watcher| match watcher {
                Watcher::Looked { ticket, .. } => Some(ticket),
                Watcher::Resting | Watcher::Stepped { .. } => None,
            }));
        }
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<GatewayModel>> {
        fn process(state: &State, holds: impl Fn(&Process) -> bool) -> bool {
            state.process.as_ref().is_some_and(holds)
        }
        vec![
            // Property: TG-S1 shutdown_wins
            Property::always("shutdown_wins_inv", |_, state: &State| {
                !process(state, |it| {
                    it.shut
                        && (!it.word.is_closed()
                            || it.published.is_some_and(|(phase, ready)| ready || !phase.is_shut()))
                })
            }),
            Property::sometimes("shutdown_wins_reach", |_, state: &State| {
                process(state, |it| {
                    let about_to_release = |watcher: &Watcher| {
                        matches!(
                            watcher,
                            Watcher::Looked {
                                seen: Seen::Marker(Marker::Absent),
                                current: true,
                                ..
                            }
                        )
                    };
                    it.machine.phase() == Phase::ShuttingDown
                        && it.machine.generation() > 0
                        && it.users > 0
                        && it.watchers.iter().any(about_to_release)
                })
            }),
            // Property: TG-S2 no_new_turn_while_draining
            Property::always("no_new_turn_while_draining_step", |_, state: &State| {
                !state.started_while_draining
            }),
            Property::sometimes("no_new_turn_while_draining_reach", |_, state: &State| {
                let refused = |it: &Process| it.word.admit(Arrival::New(Origin::User)).is_err();
                state.confirmed && process(state, |it| refused(it) && it.users > 0 && !it.shut)
            }),
            Property::sometimes("drain_is_undone_reach", |_, state: &State| {
                state.begins_left == 0
                    && process(state, |it| {
                        it.machine.phase() == Phase::Running
                            && it.machine.generation() > 1
                            && it.users > 0
                    })
            }),
            // Property: TG-S5 ack_means_closed
            Property::always("ack_means_closed_inv", |_, state: &State| {
                state
                    .process
                    .as_ref()
                    .is_none_or(|it| it.machine.phase() == Phase::Running || it.word.is_closed())
            }),
            Property::sometimes("ack_means_closed_reach", |_, state: &State| {
                state.confirmed && process(state, |it| it.word.is_closed())
            }),
            // Property: TG-S3 bypass_is_bounded
            Property::always("bypass_is_bounded_inv", |_, state: &State| {
                !state.passed_unduly
                    && state.process.as_ref().is_none_or(|it| it.word.in_flight() == it.live())
            }),
            Property::sometimes("bypass_is_bounded_reach", |_, state: &State| {
                state.confirmed && process(state, |it| it.internals > 0 && it.children > 0)
            }),
            // Property: TG-S10 fail_safe
            Property::always("fail_safe_inv", |_, state: &State| !state.opened_unduly),
            Property::sometimes("fail_safe_reach", |_, state: &State| {
                let blind = |watcher: &Watcher| {
                    matches!(watcher, Watcher::Looked { seen: Seen::Error, .. })
                };
                state.marker == Marker::Corrupt
                    && process(state, |it| {
                        it.machine.phase() == Phase::ExternallyDraining
                            && it.watchers.iter().any(blind)
                    })
            }),
            // Property: TG-S11 latest_observation_wins
            Property::always("latest_observation_wins_inv", |_, state: &State| {
                !state.applied_overtaken
            }),
            Property::sometimes("latest_observation_wins_reach", |_, state: &State| {
                let late = |watcher: &Watcher| {
                    matches!(watcher, Watcher::Looked { overtaken: true, current: false, .. })
                };
                process(state, |it| it.watchers.iter().any(late))
            }),
            Property::sometimes("seal_reach", |_, state: &State| {
                state.confirmed && process(state, |it| condition(it.machine, it.word).quiesced)
            }),
        ]
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
                if process.watchers[watcher] != Watcher::Resting
                    || process.machine.phase() == Phase::Stopped
                {
                    return None;
                }
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
                // A turn outlives its children: it holds what they work for.
                process.users.checked_sub(1).filter(|left| *left >= process.children)?;
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
                process.published = Some((condition.phase, condition.ready));
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
