//! What a gateway's handles and threads share: the state under the transition lock, the gate beside
//! it, and the carrying of events and effects between them.

use std::time::Duration;

use crate::epoch::{Clock, Epoch, Now};
use crate::error::ControlError;
use crate::gate::word::Word;
use crate::gate::{Gate, WaitList};
use crate::home::{FileId, Home, HomeLock, fresh_id};
use crate::lifecycle::AnyLifecycle;
use crate::machine::{Event, Phase, ShutdownCause};
use crate::marker::{self, Durability};
use crate::reconcile::{Ledger, Overtaken, Sighting, Verdict, first_wanted, judge};
use crate::request::{DrainRequest, Holder, Request};
use crate::status::{Degraded, HolderStatus, Identity, Inputs, Status, condition, degraded};
use crate::sync::{Arc, Bell, Mutex};
use crate::watcher::Next;

use super::changes::{Change, ChangeLog};
use super::publish::Publisher;
use super::witness::{Ended, Idle, NotQuiesced, Quiesced, Receipt};

/// How long somebody who waits for the end of a shutdown also waits for its last status.
const FAREWELL_PATIENCE: Duration = Duration::from_secs(2);

/// How long the keeper sleeps at most while a deadline is coming.
const NAP: Duration = Duration::from_secs(1);

/// How often a look that was overtaken is repeated before a receipt says that nothing is certain.
/// Each repetition means that another look was applied meanwhile, so a few always suffice.
const LOOKS_MAX: u32 = 16;

/// Where requests are.
#[derive(Debug)]
pub(super) enum Place {
    Files {
        home: Home,
        /// Which file the held lock is: as long as it is found by its name, the home is the one that
        /// was locked.
        lock: FileId,
    },
    /// Guards the one request of a gateway without files.
    Memory(Mutex<Option<Request>>),
}

impl Place {
    pub(super) fn memory() -> Place {
        Place::Memory(Mutex::new(None))
    }

    fn observe(&self) -> Sighting {
        match self {
            Place::Files { home, lock } => match marker::observe(&home.marker_path()) {
                // "Nothing there" is believed of the home that was locked, not of what has come to be
                // at its name: an empty mount point takes no drain back.
                Sighting::Absent if FileId::of(&home.lock_path()) != Some(*lock) => {
                    Sighting::Unreadable("the home, or its lock file, has been replaced".to_owned())
                }
                sighting => sighting,
            },
            Place::Memory(slot) => slot.lock().clone().map_or(Sighting::Absent, Sighting::Present),
        }
    }

    fn begin(&self, request: &Request) -> Result<(), ControlError> {
        match self {
            Place::Files { home, .. } => marker::write(&home.marker_path(), request),
            Place::Memory(slot) => {
                *slot.lock() = Some(request.clone());
                Ok(())
            }
        }
    }

    fn cancel(&self, holder: &Holder) -> Result<bool, ControlError> {
        match self {
            Place::Files { home, .. } => home.cancel_drain(holder),
            Place::Memory(slot) => Ok(slot.lock().take().is_some()),
        }
    }
}

/// The bells of the gateway's threads.
#[derive(Debug)]
pub(super) struct Threads {
    pub(super) keeper: Arc<Bell>,
    pub(super) watcher: Option<Arc<Bell>>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) gate: Arc<Gate>,
    pub(super) waiters: Arc<WaitList>,
    /// The transition lock. Guards the machine, the ledger and all that is derived from them, and is
    /// held across a step and its effect on the gate.
    pub(super) state: Mutex<State>,
    /// Guards the status file: held while one is made and written. Taken before `state`, never after.
    pub(super) publisher: Mutex<Publisher>,
    pub(super) place: Place,
    identity: Identity,
    epoch: Epoch,
    clock: Clock,
    interval: Duration,
    pub(super) threads: Threads,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) lifecycle: AnyLifecycle,
    pub(super) changes: ChangeLog,
    ledger: Ledger,
    /// What the latest applied look found.
    wanted: Verdict,
    request: Option<Request>,
    pub(super) degraded: Option<Degraded>,
    /// Why the status on disk is not what is meant, while it is not.
    pub(super) unwritten: Option<Degraded>,
    /// Rises with everything a status says beyond the condition, so that publishing nothing new costs
    /// a comparison of numbers.
    pub(super) revision: u64,
    /// Of the last published status.
    pub(super) sequence: u64,
    /// The time since boot at which the shutdown no longer waits.
    deadline: Option<Duration>,
    ended: Option<Ended>,
    /// The last status is written, or will not be waited for.
    farewell: bool,
    /// The time since boot from which it is no longer waited for.
    farewell_until: Option<Duration>,
    /// The last handle is gone.
    retired: bool,
}

impl Shared {
    /// From the lock to an answer: nothing can be admitted before this returns (F6).
    pub(super) fn start(
        place: Place,
        lock: Option<HomeLock>,
        identity: Identity,
        epoch: Epoch,
        clock: Clock,
        interval: Duration,
        threads: Threads,
    ) -> Shared {
        // What the predecessor left in the file is replaced before anything else happens (I-16, U28).
        if let Place::Files { home, .. } = &place {
            let starting = Status::starting(&identity, clock.now()).to_json();
            if let Err(error) =
                marker::replace(&home.status_path(), starting.as_bytes(), Durability::Volatile)
            {
                tracing::warn!(%error, "the status that says starting was not written");
            }
        }
        let gate = Arc::new(Gate::new(Arc::clone(&threads.keeper)));
        // Property: TG-S10 fail_safe. One look before the first admission; one that fails closes.
        let sighting = place.observe();
        let now = clock.now();
        let verdict = judge(&sighting, &epoch, now);
        let (lifecycle, effect) = AnyLifecycle::start(first_wanted(verdict));
        let mut state = State {
            changes: ChangeLog::default(),
            ledger: Ledger::default(),
            wanted: verdict,
            request: None,
            degraded: None,
            unwritten: None,
            revision: 0,
            sequence: 0,
            deadline: None,
            ended: None,
            farewell: false,
            farewell_until: None,
            retired: false,
            lifecycle,
        };
        state.note(sighting, verdict, &epoch, now);
        gate.perform(effect, state.lifecycle.machine().generation());
        let shared = Shared {
            gate,
            waiters: Arc::new(WaitList::new()),
            state: Mutex::new(state),
            publisher: Mutex::new(Publisher::new(lock)),
            place,
            identity,
            epoch,
            clock,
            interval,
            threads,
        };
        shared.publish();
        shared
    }

    /// One round of the watcher: look, apply, publish.
    pub(super) fn watch_round(&self) -> Next {
        let (phase, retired) = {
            let state = self.state.lock();
            (state.lifecycle.phase(), state.retired)
        };
        if phase != Phase::Stopped {
            // Overtaken: what overtook it was newer, and the next round looks again.
            let _ = self.look_and_apply();
        }
        self.publish();
        // Retired as it was *before* publishing: the last handle goes only after the last event, so
        // what was published since then is the last status.
        if retired || self.publisher.lock().finished {
            Next::Done
        } else {
            Next::Within(self.interval)
        }
    }

    /// One round of the keeper: fire what is due, wake those who wait, have it published. It touches
    /// no file itself, so no disk can hold it up (I-12).
    pub(super) fn keep_round(&self) -> Next {
        let (due, retired) = {
            let mut state = self.state.lock();
            self.settle(&mut state);
            (state.farewell_until.or(state.deadline), state.retired)
        };
        self.waiters.wake_all();
        if let Some(watcher) = &self.threads.watcher {
            watcher.ring();
        }
        match due {
            _ if retired => Next::Done,
            Some(at) if self.clock.runs_by_itself() => {
                // In short naps: the deadline counts suspend, and sleeping does not.
                Next::Within(at.saturating_sub(self.clock.now().uptime).min(NAP))
            }
            _ => Next::AtTheBell,
        }
    }

    /// Looks once and applies what was seen, unless another look was applied meanwhile (F5).
    // Property: TG-S11 latest_observation_wins.
    fn look_and_apply(&self) -> Result<(), Overtaken> {
        let ticket = self.state.lock().ledger.begin();
        let sighting = self.place.observe();
        let now = self.clock.now();
        let verdict = judge(&sighting, &self.epoch, now);

        let mut state = self.state.lock();
        state.ledger = state.ledger.accept(ticket)?;
        state.note(sighting, verdict, &self.epoch, now);
        if let Some(event) = verdict.event(state.lifecycle.machine().terms()) {
            self.apply(&mut state, event);
        }
        Ok(())
    }

    /// Looks until a look counts, and has the result on disk before it returns.
    fn reconcile(&self) {
        for _ in 0..LOOKS_MAX {
            if self.look_and_apply().is_ok() {
                break;
            }
        }
        self.publish();
    }

    pub(super) fn begin_drain(&self, ask: &DrainRequest) -> Result<Receipt, ControlError> {
        let phase = self.state.lock().lifecycle.phase();
        if phase.is_shut() {
            return Err(ControlError::GoingDown { phase });
        }
        let request = ask.stamp(&fresh_id(), &self.epoch, self.clock.now());
        let begun = self.place.begin(&request);
        // Also where it failed: a request that is in place but not durable closes the gate.
        self.reconcile();
        begun?;
        // Property: TG-S5 ack_means_closed. Read after the look that saw the request was applied.
        let state = self.state.lock();
        let phase = state.lifecycle.phase();
        let named = state.request.as_ref().and_then(Request::request_id) == request.request_id();
        Ok(Receipt {
            draining: phase == Phase::ExternallyDraining && named,
            phase,
            generation: state.lifecycle.machine().generation(),
            request,
        })
    }

    pub(super) fn cancel_drain(&self, holder: &Holder) -> Result<bool, ControlError> {
        let cancelled = self.place.cancel(holder);
        self.reconcile();
        cancelled
    }

    pub(super) fn shut_down(&self, cause: ShutdownCause, grace: Duration) {
        let mut state = self.state.lock();
        self.apply(&mut state, Event::ShutdownAsked(cause));
        if state.lifecycle.phase() == Phase::ShuttingDown {
            let asked = self.clock.now().uptime.saturating_add(grace);
            state.deadline = Some(state.deadline.map_or(asked, |earlier| earlier.min(asked)));
            // An empty gate, or a grace of zero, needs no waiting for.
            self.settle(&mut state);
            // The keeper must learn of the deadline, also where only that has changed.
            self.threads.keeper.ring();
        }
    }

    /// Something happened that no look told of.
    pub(super) fn happened(&self, event: Event) {
        self.apply(&mut self.state.lock(), event);
    }

    /// The last handle is gone: the threads end with their next round.
    pub(super) fn retire(&self) {
        self.state.lock().retired = true;
        self.threads.keeper.ring();
        if let Some(watcher) = &self.threads.watcher {
            watcher.ring();
        }
    }

    /// Ends a shutdown that has nothing left to wait for, or has waited long enough (TG-L4).
    fn settle(&self, state: &mut State) {
        let now = self.clock.now().uptime;
        if state.lifecycle.phase() == Phase::ShuttingDown {
            let word = self.gate.word();
            if word.is_at_rest() {
                self.apply(state, Event::Emptied);
            } else if state.deadline.is_some_and(|deadline| deadline <= now) {
                self.apply(state, Event::DeadlinePassed);
            }
        }
        if state.farewell_until.is_some_and(|until| until <= now) {
            state.say_farewell();
        }
    }

    /// Steps the machine and performs the effect, under the one lock. An event that changes nothing
    /// is no news (R7).
    // Property: TG-S1 shutdown_wins, TG-S2 no_new_turn_while_draining.
    fn apply(&self, state: &mut State, event: Event) {
        let before = state.lifecycle.machine();
        let Ok(effect) = state.lifecycle.apply(event) else { return };
        let after = state.lifecycle.machine();
        let (word_before, _) = self.gate.perform(effect, after.generation());
        state.revision += 1;
        if after.phase() == Phase::Stopped {
            state.ended = Some(ended_as(word_before));
            state.deadline = None;
            if self.threads.watcher.is_some() {
                state.farewell_until =
                    Some(self.clock.now().uptime.saturating_add(FAREWELL_PATIENCE));
            } else {
                state.say_farewell();
            }
        }
        if before.phase() != after.phase() {
            let holders = self.holders(state, self.clock.now());
            state.changes.push(Change::between(before, after, holders));
        }
        self.threads.keeper.ring();
    }

    fn holders(&self, state: &State, now: Now) -> Vec<HolderStatus> {
        let status = |request| HolderStatus::of(request, &self.epoch, now);
        state.request.iter().map(status).collect()
    }

    pub(super) fn status(&self) -> Status {
        let state = self.state.lock();
        let mut status = self.snapshot(&state, self.gate.word(), state.sequence);
        status.degraded.extend(state.unwritten.clone());
        status
    }

    pub(super) fn snapshot(&self, state: &State, word: Word, sequence: u64) -> Status {
        let now = self.clock.now();
        let inputs = Inputs {
            machine: state.lifecycle.machine(),
            word,
            wanted: state.wanted,
            holders: self.holders(state, now),
            lease_ends: state.request.as_ref().and_then(|it| it.lease_ends_at_uptime(&self.epoch)),
            degraded: state.degraded.iter().cloned().collect(),
            now,
            sequence,
        };
        Status::snapshot(&self.identity, inputs)
    }

    pub(super) fn look_idle(&self) -> Option<Idle> {
        // Under the lock, so that word and generation are of one close.
        let state = self.state.lock();
        let generation = state.lifecycle.machine().generation();
        self.gate.word().is_idle().then_some(Idle { generation })
    }

    pub(super) fn look_quiesced(&self) -> Option<Result<Quiesced, NotQuiesced>> {
        let state = self.state.lock();
        let machine = state.lifecycle.machine();
        match machine.phase() {
            Phase::Running => Some(Err(NotQuiesced::NotDraining)),
            Phase::ShuttingDown | Phase::Stopped => Some(Err(NotQuiesced::ShuttingDown)),
            Phase::ExternallyDraining if !machine.terms().hold_internal => {
                Some(Err(NotQuiesced::NotHeld))
            }
            Phase::ExternallyDraining => {
                let request = state.request.as_ref();
                condition(machine, self.gate.word()).quiesced.then(|| {
                    Ok(Quiesced {
                        generation: machine.generation(),
                        request_id: request.and_then(Request::request_id).map(str::to_owned),
                        until: request.and_then(|it| it.lease_ends_at_uptime(&self.epoch)),
                    })
                })
            }
        }
    }

    pub(super) fn look_ended(&self) -> Option<Ended> {
        let state = self.state.lock();
        state.ended.filter(|_| state.farewell)
    }
}

impl State {
    /// Remembers what a look found. A look that could not see changes nothing but the complaint (F4).
    fn note(&mut self, sighting: Sighting, verdict: Verdict, epoch: &Epoch, now: Now) {
        let complaint = degraded(&sighting, verdict, epoch, now);
        if complaint != self.degraded {
            self.degraded = complaint;
            self.revision += 1;
        }
        if verdict == Verdict::Unreadable {
            return;
        }
        let request = match (sighting, verdict) {
            (Sighting::Present(request), Verdict::Active(_) | Verdict::Ruined) => Some(request),
            _ => None,
        };
        if (&self.request, self.wanted) != (&request, verdict) {
            (self.request, self.wanted) = (request, verdict);
            self.revision += 1;
        }
    }

    pub(super) fn say_farewell(&mut self) {
        self.farewell = true;
        self.farewell_until = None;
    }
}

/// What the gate was like when it was sealed for good says how the shutdown ended.
// Property: TG-S14 receipt_is_true. Clean means sealed and empty (F14).
fn ended_as(word: Word) -> Ended {
    if word.is_at_rest() {
        Ended::Clean
    } else {
        Ended::TimedOut { in_flight: word.in_flight().total() }
    }
}
