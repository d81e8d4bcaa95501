//! The status file as a model. Two threads publish, and writes may fail. A process may be killed, and restart on the
//! old file. A second gateway may start on the same home. A supervisor and a reader believe what they read.
//! The model owns the interleaving and the ghosts. Every *decision* is a call of a shipped function.
//!
//! | step here | shipped code it represents |
//! |---|---|
//! | `DrainIsWanted`, `DrainIsRenewed`, `DrainIsUnwanted` | a look, as in `Shared::observe`: `Engine::observed` |
//! | `SignalArrives`, `OperatorStops` | `Engine::shutdown_asked`, in `Shared::shut_down` |
//! | `GateIsEmpty` | `Engine::on_time`, in the timer's round |
//! | `PublisherReads` | `Engine::publish_turn` and the snapshot, in `Shared::publish_status` |
//! | `PublisherWrites` | `marker::replace`; `Engine::status_written`; after the last status the home's lock is released, and `Engine::home_given_back` |
//! | `ProcessDies`, `ProcessStarts` | kill -9; `Home::lock`, the status that says starting, and `Engine::start` |
//! | `SupervisorLooks` | a supervisor that starts a process again, or does not: `Engine::desired_state` |
//!
//! The engine is the one that ships. The driver numbers the statuses.
//!
//! It leaves out turns and the other fields of a status. The count of turns in a status is one field of the condition.
//! It also leaves out the steps of one write: a rename is one step, and a replay of every crash point has the others.

use std::fmt;
use std::hash::{Hash, Hasher};

use stateright::{Model, Property};
use tidegate::RawObject;
use tidegate::internals::status::Condition;
use tidegate::machine::{Phase, ShutdownCause};
use tidegate::status::Reading;

use crate::design::{Design, Guard};
use crate::faults::Answers;
use crate::liveness::{FairnessConstraint, LivenessProperty};
use crate::packed::{Bits, Intern, Interned};
use crate::shell::{NOW, OneRequest, OneRequestInput, Shell, SimpleRequest, YES};

/// The number of threads of one process that publish.
const PUBLISHERS: usize = 2;

/// Processes that can be alive at once, if the home's lock does not keep them apart.
const PROCESSES: usize = 2;

/// The model: how much of everything, and which guards.
#[derive(Clone, Copy, Debug)]
pub struct StatusModel {
    /// Which guards are on.
    pub design: Design,
    /// How often a drain begins.
    pub drains: u8,
    /// How often a process starts.
    pub starts: u8,
    /// How often a write fails.
    pub failures: u8,
}

impl StatusModel {
    /// Enough of everything for every finding of the ablations.
    #[must_use]
    pub const fn small(design: Design) -> StatusModel {
        StatusModel { design, drains: 1, starts: 2, failures: 1 }
    }

    /// The configuration whose count is published.
    #[must_use]
    pub const fn full(design: Design) -> StatusModel {
        StatusModel { design, drains: 3, starts: 4, failures: 2 }
    }
}

/// The content of a status file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Written {
    /// The process that wrote it, by the number of processes that were started before it.
    by: u8,
    sequence: u8,
    /// `None` while it is starting.
    condition: Option<Interned<Condition>>,
    /// The request that it names.
    holder: Option<u8>,
    /// The desired state: the process is not to be started again.
    stays_down: bool,
    /// Some fields are a predecessor's.
    mixed: bool,
}

/// A publisher: the status that it has read, and has not written yet.
type Publisher = Option<Written>;

/// A living process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Process {
    number: u8,
    shell: Shell<OneRequest>,
    sequence: u8,
    publishers: [Publisher; PUBLISHERS],
}

/// The whole state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    processes: [Option<Process>; PROCESSES],
    /// The process that holds the home's lock.
    lock: Option<u8>,
    file: Option<Written>,
    drains_left: u8,
    started: u8,
    failures_left: u8,
    /// An operator has stopped the gateway for good.
    operator_stopped: bool,
    /// Ghost: a status of a process was followed by an earlier one of the same process.
    went_back: bool,
    /// Ghost: the home was given back before the last status.
    let_go_early: bool,
    /// Ghost: the supervisor left the gateway down, and no operator had stopped it.
    left_down: bool,
    /// Ghost: the supervisor starts the gateway again after its last status, although an operator had stopped it for
    /// good.
    brought_back: bool,
    /// The last status of the last process is written.
    said_its_last: bool,
}

/// What can happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// A process sees that a drain is wanted.
    DrainIsWanted(usize),
    /// A process sees that no drain is wanted.
    DrainIsUnwanted(usize),
    /// The request is renewed, and the process sees that.
    DrainIsRenewed(usize),
    /// SIGTERM.
    SignalArrives(usize),
    /// An operator stops the gateway for good.
    OperatorStops(usize),
    /// The process has no turn in flight, and its shutdown ends.
    GateIsEmpty(usize),
    /// A publisher reads the status to write.
    PublisherReads(usize, usize),
    /// It writes the status. The write may fail.
    PublisherWrites {
        /// The process.
        process: usize,
        /// The number of its publisher.
        publisher: usize,
        /// Whether the write fails.
        fails: bool,
    },
    /// The process ends, or is killed with kill -9.
    ProcessDies(usize),
    /// A process starts.
    ProcessStarts,
    /// No process is alive. A supervisor reads the file, and leaves the gateway down or does not.
    SupervisorLooks,
}

impl Process {
    fn condition(&self) -> Interned<Condition> {
        self.shell.condition().intern()
    }

    fn stays_down(&self) -> bool {
        self.shell.engine.desired_state() == "stopped"
    }

    /// The request that the process believes in.
    fn holder(&self) -> Option<u8> {
        self.shell.engine.table().entry(&()).and_then(|it| it.request()).map(|it| it.number)
    }

    /// Whether no write is under way or due.
    fn is_quiet(&self) -> bool {
        self.publishers == [None; PUBLISHERS]
            && self.shell.engine.is_published(self.shell.gate.state(), ())
    }
}

impl State {
    /// Whether a reader would believe that the gateway is alive and running.
    fn is_believed_running(&self, design: Design) -> bool {
        let Some(Written { by, condition: Some(condition), .. }) = self.file else { return false };
        let holder = if !design.has(Guard::AliveByLock) {
            // A reader that ignores the lock assumes that the writer of the status holds it.
            Some(by)
        } else if !design.has(Guard::WritersLock) {
            // A mere reader holds the lock, and the lock file still names a killed gateway.
            self.lock.or(Some(by))
        } else {
            self.lock
        };
        let holder = holder.map_or(0, |holder| usize::from(holder) + 1);
        BELIEVED.get()[usize::from(by)][usize::from(condition.phase == Phase::Running)][holder]
    }

    fn write(&mut self, written: Written) {
        let before = self.file.filter(|it| it.by == written.by);
        self.went_back |= before.is_some_and(|it| it.sequence > written.sequence);
        self.file = Some(written);
    }
}

/// The most processes that start in any configuration.
const STARTS_MAX: usize = 8;

/// Whether the shipped reader believes a status. The indices are the process that wrote it, whether it says running,
/// and the holder of the lock, or none.
static BELIEVED: Answers<[[[bool; STARTS_MAX + 1]; 2]; STARTS_MAX]> = Answers::new(|| {
    let owner = |by: usize| RawObject::parse(format!(r#"{{"incarnation":"{by}"}}"#).as_bytes());
    std::array::from_fn(|by| {
        ["draining", "running"].map(|word| {
            let text = format!(r#"{{"incarnation":"{by}","gateway_state":"{word}"}}"#);
            let believed = |holder: Option<RawObject>| {
                Reading::new(text.as_bytes(), holder.as_ref()).is_drainable()
            };
            std::array::from_fn(|holder| believed(holder.checked_sub(1).and_then(owner)))
        })
    })
});

impl Written {
    fn pack(self, bits: Bits) -> Bits {
        bits.put(self.by, 3)
            .put(self.holder.map_or(0, |number| number + 1), 3)
            .put(self.sequence, 6)
            .put(self.condition.map_or(0, |it| it.number() + 1), 8)
            .put(self.stays_down, 1)
            .put(self.mixed, 1)
    }
}

impl Process {
    fn pack(&self) -> Bits {
        let bits = Bits::default()
            .put(self.number, 3)
            .put(self.shell.engine.number(), 20)
            .put_gate(self.shell.gate)
            .put(self.sequence, 6);
        self.publishers.iter().fold(bits, |bits, publisher| {
            let bits = bits.put(publisher.is_some(), 1);
            publisher.map_or(bits, |written| written.pack(bits))
        })
    }
}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let bits = Bits::default()
            .put(self.lock.map_or(0, |holder| holder + 1), 4)
            .put(self.drains_left, 3)
            .put(self.started, 4)
            .put(self.failures_left, 3)
            .put(self.operator_stopped, 1)
            .put(self.went_back, 1)
            .put(self.let_go_early, 1)
            .put(self.left_down, 1)
            .put(self.brought_back, 1)
            .put(self.said_its_last, 1)
            .put(self.file.is_some(), 1)
            .put(self.processes[0].is_some(), 1)
            .put(self.processes[1].is_some(), 1);
        self.file.map_or(bits, |written| written.pack(bits)).finish(hasher);
        for process in self.processes.iter().flatten() {
            process.pack().finish(hasher);
        }
    }
}

impl StatusModel {
    fn start(self, state: &mut State) -> Option<()> {
        let design = self.design;
        let free = state.lock.is_none() || !design.has(Guard::HomeLock);
        (free && state.started < self.starts && !state.left_down).then_some(())?;
        let place = state.processes.iter().position(Option::is_none)?;
        let number = state.started;
        state.started += 1;
        state.lock = Some(number);
        state.operator_stopped = false;
        state.said_its_last = false;
        let (by, sequence) = (number, 0);
        let (condition, holder) = (None, None);
        let starting = Written { by, sequence, condition, holder, stays_down: false, mixed: false };
        let merged = state.file.map(|old| Written { by, sequence, mixed: true, ..old });
        let replaces = design.has(Guard::StartReplaces);
        state.write(if replaces { starting } else { merged.unwrap_or(starting) });
        let (shell, publishers) = (Shell::start(None), [None; PUBLISHERS]);
        state.processes[place] = Some(Process { number, shell, sequence, publishers });
        Some(())
    }

    /// TG-L1, the half that is about the status.
    #[must_use]
    pub fn liveness_properties() -> Vec<LivenessProperty<StatusModel>> {
        const READS: FairnessConstraint<Action> =
            FairnessConstraint::weak("a publisher takes its turn", |action| {
                matches!(action, Action::PublisherReads(..))
            });
        // A write may fail, and is tried again.
        const WRITES: FairnessConstraint<Action> =
            FairnessConstraint::strong("a write succeeds (strong)", |action| {
                matches!(action, Action::PublisherWrites { fails: false, .. })
            });
        vec![
            // Property: TG-L1 closes
            LivenessProperty {
                name: "status_says_so_progress",
                premise: |_, state| {
                    let drains = |it: &Process| it.shell.phase() == Phase::ExternallyDraining;
                    state.processes.iter().flatten().count() == 1
                        && state.processes.iter().flatten().all(drains)
                },
                goal: |_, state| {
                    let says = |it: &Process| {
                        state.file.is_some_and(|file| {
                            file.condition == Some(it.condition()) && file.holder == it.holder()
                        })
                    };
                    state.processes.iter().flatten().all(says)
                },
                ended: |_| false,
                fair: vec![READS, WRITES],
            },
        ]
    }

    fn step(self, state: &mut State, action: Action) -> Option<()> {
        let design = self.design;
        match action {
            Action::DrainIsWanted(process) => {
                state.drains_left = state.drains_left.checked_sub(1)?;
                let wanted = OneRequestInput::Sees(Some(SimpleRequest { hold: false, number: 0 }));
                state.processes[process].as_mut()?.shell.apply_input(wanted)?;
            }
            Action::DrainIsRenewed(process) => {
                let process = state.processes[process].as_mut()?;
                // The new request has the same terms. So only its name shows that a status is out of date.
                (process.holder()? == 0).then_some(())?;
                process.shell.apply_input(OneRequestInput::Sees(Some(SimpleRequest {
                    hold: false,
                    number: 1,
                })))?;
            }
            Action::DrainIsUnwanted(process) => {
                state.processes[process]
                    .as_mut()?
                    .shell
                    .apply_input(OneRequestInput::Sees(None))?;
            }
            Action::SignalArrives(process) => {
                let asked = OneRequestInput::ShutdownAsked(ShutdownCause::Sigterm);
                state.processes[process].as_mut()?.shell.apply_input(asked)?;
            }
            Action::OperatorStops(process) => {
                let asked = OneRequestInput::ShutdownAsked(ShutdownCause::Operator);
                state.processes[process].as_mut()?.shell.apply_input(asked)?;
                state.operator_stopped = true;
            }
            Action::GateIsEmpty(process) => {
                let process = state.processes[process].as_mut()?;
                process.shell.apply_input(OneRequestInput::TimePasses(NOW))?;
                if !design.has(Guard::LockUntilLastStatus) && state.lock == Some(process.number) {
                    state.lock = None;
                }
            }
            Action::PublisherReads(process, publisher) => {
                let process = state.processes[process].as_mut()?;
                (process.shell.apply_input(OneRequestInput::WantsToPublish)? == YES)
                    .then_some(())?;
                let condition = process.condition();
                let stays_down = if design.has(Guard::DesiredState) {
                    process.stays_down()
                } else {
                    // Without the guard, the observed state counts as the desired one.
                    condition.phase != Phase::Running
                };
                // The driver numbers what it writes, under the transition lock.
                let (by, sequence) = (process.number, process.sequence + 1);
                let (condition, holder) = (Some(condition), process.holder());
                process.publishers[publisher] =
                    Some(Written { by, sequence, condition, holder, stays_down, mixed: false });
            }
            Action::PublisherWrites { process, publisher, fails } => {
                let process = state.processes[process].as_mut()?;
                let written = process.publishers[publisher].take()?;
                let ended = OneRequestInput::HasWritten(written.condition?, !fails);
                let gives_back = process.shell.apply_input(ended) == Some(YES);
                if fails {
                    state.failures_left = state.failures_left.checked_sub(1)?;
                    return Some(());
                }
                process.sequence += 1;
                if gives_back {
                    let says_stopped = |it: Interned<Condition>| it.phase == Phase::Stopped;
                    state.let_go_early |= !written.condition.is_some_and(says_stopped);
                    if state.lock == Some(process.number) {
                        state.lock = None;
                    }
                    process.shell.apply_input(OneRequestInput::HomeIsGivenBack);
                    state.said_its_last = true;
                }
                state.write(written);
            }
            Action::ProcessDies(process) => {
                let process = state.processes[process].take()?;
                if state.lock == Some(process.number) {
                    state.lock = None;
                }
            }
            Action::ProcessStarts => self.start(state)?,
            Action::SupervisorLooks => {
                (!state.left_down).then_some(())?;
                let stays_down = state.file?.stays_down;
                state.left_down = stays_down && !state.operator_stopped;
                state.brought_back = state.said_its_last && state.operator_stopped && !stays_down;
            }
        }
        Some(())
    }
}

impl Model for StatusModel {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            processes: [None; PROCESSES],
            lock: None,
            file: None,
            drains_left: self.drains,
            started: 0,
            failures_left: self.failures,
            operator_stopped: false,
            went_back: false,
            let_go_early: false,
            left_down: false,
            brought_back: false,
            said_its_last: false,
        }]
    }

    /// What is offered here may still turn out to be impossible.
    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        use Action as A;
        for (process, it) in state.processes.iter().enumerate() {
            let Some(it) = it else { continue };
            actions.push(A::ProcessDies(process));
            let phase = it.shell.phase();
            if phase == Phase::Running && state.drains_left > 0 {
                actions.push(A::DrainIsWanted(process));
            }
            if phase == Phase::ExternallyDraining {
                actions.extend([A::DrainIsUnwanted(process), A::DrainIsRenewed(process)]);
            }
            if phase == Phase::ShuttingDown {
                actions.push(A::GateIsEmpty(process));
            }
            if !it.shell.phase().is_shut() {
                actions.extend([A::SignalArrives(process), A::OperatorStops(process)]);
            }
            for (publisher, has_read) in it.publishers.iter().enumerate() {
                if has_read.is_some() {
                    let writes = |fails| A::PublisherWrites { process, publisher, fails };
                    actions.extend([false, true].map(writes));
                } else if !it.shell.engine.has_published_all() {
                    actions.push(A::PublisherReads(process, publisher));
                }
            }
        }
        actions.push(A::ProcessStarts);
        if state.processes == [None; PROCESSES] {
            actions.push(A::SupervisorLooks);
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = *before;
        self.step(&mut state, action)?;
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<StatusModel>> {
        vec![
            // Property: TG-S8 status_is_faithful
            Property::always("status_is_faithful_inv", |_, state: &State| {
                let says = |process: &Process| {
                    state.file.is_some_and(|it| {
                        it.by == process.number
                            && it.condition == Some(process.condition())
                            && it.holder == process.holder()
                            && it.stays_down == process.stays_down()
                    })
                };
                let mut alive = state.processes.iter().flatten();
                // A process that has written its last status may have a successor.
                let is_mixed = state.file.is_some_and(|it| it.mixed);
                let has_ended = |it: &Process| it.shell.engine.has_published_all();
                !state.went_back
                    && !state.let_go_early
                    && !is_mixed
                    && alive.all(|it| !it.is_quiet() || has_ended(it) || says(it))
            }),
            Property::sometimes("status_is_faithful_reach", |model, state: &State| {
                let mut alive = state.processes.iter().flatten();
                state.failures_left == 0
                    && state.started == model.starts
                    && alive.any(|it| it.is_quiet() && it.shell.machine().generation() > 0)
            }),
            Property::always("dead_is_not_believed_inv", |model, state: &State| {
                let running = |it: &Process| it.shell.phase() == Phase::Running;
                let mut alive = state.processes.iter().flatten();
                // A living process may not have written yet that it is no longer running.
                !state.is_believed_running(model.design)
                    || alive.any(|it| running(it) || !it.is_quiet())
            }),
            Property::sometimes("dead_is_not_believed_reach", |_, state: &State| {
                let said_running =
                    state.file.and_then(|it| it.condition).is_some_and(|it| it.ready);
                said_running && state.processes == [None; PROCESSES]
            }),
            // Property: TG-S14 receipt_is_true. With no patience lost, the end is reported after the last status.
            Property::always("end_is_told_last_inv", |_, state: &State| {
                let mut alive = state.processes.iter().flatten();
                let has_said = |it: &Process| {
                    let last = state.file.filter(|file| file.by == it.number);
                    let phase = last.and_then(|file| file.condition).map(|it| it.phase);
                    // A successor may have written since then.
                    let is_others = state.file.is_some_and(|file| file.by != it.number);
                    it.shell.engine.outcome().is_none()
                        || phase == Some(Phase::Stopped)
                        || is_others
                };
                alive.all(has_said)
            }),
            Property::sometimes("end_is_told_last_reach", |_, state: &State| {
                state.processes.iter().flatten().any(|it| it.shell.engine.outcome().is_some())
            }),
            // Property: TG-S9 intent_is_separate
            Property::always("intent_is_separate_inv", |_, state: &State| {
                !state.left_down && !state.brought_back
            }),
            Property::sometimes("intent_is_separate_reach", |_, state: &State| {
                state.file.is_some_and(|it| it.stays_down) && state.processes == [None; PROCESSES]
            }),
        ]
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |process: usize| ["the gateway", "another gateway"][process];
        let thread = |publisher: usize| ["its watcher", "a caller"][publisher];
        match *self {
            Action::DrainIsWanted(it) => write!(f, "{} sees that a drain is wanted", name(it)),
            Action::DrainIsUnwanted(it) => write!(f, "{} sees that no drain is wanted", name(it)),
            Action::DrainIsRenewed(it) => write!(f, "{} sees that the drain is renewed", name(it)),
            Action::SignalArrives(it) => write!(f, "{} receives SIGTERM", name(it)),
            Action::OperatorStops(it) => write!(f, "an operator stops {} for good", name(it)),
            Action::GateIsEmpty(it) => write!(f, "{} has no work left, and stops", name(it)),
            Action::PublisherReads(it, publisher) => {
                write!(f, "{}: {} reads the state to publish", name(it), thread(publisher))
            }
            Action::PublisherWrites { process, publisher, fails: false } => {
                write!(f, "{}: {} writes the status", name(process), thread(publisher))
            }
            Action::PublisherWrites { process, publisher, fails: true } => {
                write!(f, "{}: {} fails to write the status", name(process), thread(publisher))
            }
            Action::ProcessDies(it) => write!(f, "{} ends or is killed", name(it)),
            Action::ProcessStarts => f.write_str("a gateway starts"),
            Action::SupervisorLooks => f.write_str("a supervisor reads the desired state"),
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phase = |condition: Option<Interned<Condition>>| {
            condition.map_or("starting".to_owned(), |it| it.phase.to_string())
        };
        match self.file {
            None => f.write_str("no status")?,
            Some(it) => write!(f, "status {}.{} {}", it.by, it.sequence, phase(it.condition))?,
        }
        for process in self.processes.iter().flatten() {
            write!(f, ", gateway {} {}", process.number, process.shell.phase())?;
        }
        match self.lock {
            None => f.write_str(", lock free"),
            Some(holder) => write!(f, ", lock held by {holder}"),
        }
    }
}
