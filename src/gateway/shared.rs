//! What a gateway's handles and threads share: the state under the transition lock, the gate beside
//! it, and the carrying of events and effects between them.

use std::time::Duration;

#[cfg(feature = "notify")]
use crate::disk::FileId;
use crate::disk::RealDisk;
use crate::epoch::{Clock, Epoch, Now};
use crate::error::ControlError;
use crate::gate::word::Word;
use crate::gate::{Gate, WaitList};
use crate::holder::{Holder, Slot};
use crate::home::{HomeLock, Name, OpenHome};
use crate::id::fresh_id;
use crate::lifecycle::AnyLifecycle;
use crate::machine::{Event, Phase, ShutdownCause};
use crate::marker::{self, Durability, RawObservation, Stamp};
use crate::meters::Meters;
use crate::reconcile::{Entry, Ledger, Listing, Overtaken, Roll, Sighting};
use crate::request::{DrainRequest, Request, Standing};
use crate::status::{self, Complaint, Degraded, Identity, Inputs, Status, condition};
use crate::sync::{Arc, Bell, Mutex};
use crate::watcher::Next;

use super::changes::{Change, ChangeLog};
use super::place::{Place, slot_of};
use super::publish::Publisher;
use super::witness::{Ended, Idle, NotQuiesced, Quiesced, Receipt};
use super::work::{Listed, Registry};

/// How long somebody who waits for the end of a shutdown also waits for its last status.
const FAREWELL_PATIENCE: Duration = Duration::from_secs(2);

/// How long the keeper sleeps at most while a deadline is coming.
const NAP: Duration = Duration::from_secs(1);

/// How often a look that was overtaken is repeated before a receipt says that nothing is certain.
/// Each repetition means that another look was applied meanwhile, so a few always suffice.
const LOOKS_MAX: u32 = 16;

/// A directory's times do not tell that a file in it was written to, and, where it is not kept by this
/// machine, may not even tell that one came or went. So where there is a request, or the file system is
/// such a one, each look of this many lists, whatever they say.
const LIST_EVERY: u32 = 64;

/// How often drafts that were left behind are swept, and how long a request of another epoch is kept, for
/// the status to say so: its holder may be alive, in another container.
const SWEEP_EVERY: Duration = Duration::from_secs(3600);

/// How long a request whose lease has run out is kept, for the status to say so.
const EXPIRED_KEPT: Duration = Duration::from_secs(60);

/// This many dead requests are removed in one round at most: a round must not take long.
const SWEPT_AT_ONCE: usize = 512;

/// What a gateway is told about the requests it meets.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) epoch: Epoch,
    pub(super) clock: Clock,
    pub(super) interval: Duration,
    pub(super) unleased_max_age: Option<Duration>,
}

impl Rules {
    fn is_live(&self, now: Now) -> impl Fn(&Request, Duration) -> bool {
        move |request, first_seen| {
            request.is_live(&self.epoch, now, first_seen, self.unleased_max_age)
        }
    }

    /// Whether a request counts among those that a home may have at most.
    fn counts(&self, now: Now) -> impl Fn(&Request) -> bool {
        move |request| request.standing(&self.epoch, now) == Standing::Live
    }

    fn held_until(&self, roll: &Roll<Slot, Request>, now: Now) -> Option<Duration> {
        status::held_until(roll, &self.epoch, now, self.unleased_max_age)
    }

    fn complaints(
        &self,
        unreadable: Vec<(Slot, String)>,
        listing: &Listing,
        roll: &Roll<Slot, Request>,
        now: Now,
    ) -> Vec<Complaint> {
        let Rules { epoch, unleased_max_age, .. } = self;
        status::complaints(unreadable, listing, roll, epoch, now, *unleased_max_age)
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
    /// Guards the labels of work in flight. Taken alone, or last.
    pub(super) registry: Mutex<Registry>,
    pub(super) identity: Identity,
    pub(super) rules: Rules,
    pub(super) threads: Threads,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) lifecycle: AnyLifecycle,
    pub(super) changes: ChangeLog,
    ledger: Ledger,
    /// What is believed of every request.
    pub(super) roll: Roll<Slot, Request>,
    /// Of the last applied look.
    stamp: Option<Stamp>,
    looks: u32,
    /// The time since boot of the next sweep.
    sweep_at: Duration,
    /// The time since boot of the next sweep of dead requests, and the last one that was swept.
    sweep_dead_at: Duration,
    swept_to: Option<Slot>,
    pub(super) complaints: Vec<Complaint>,
    /// Why the status on disk is not what is meant, while it is not.
    pub(super) unwritten: Option<Degraded>,
    /// Rises with everything a status says beyond the condition, so that publishing nothing new costs
    /// a comparison of numbers.
    pub(super) revision: u64,
    /// Of the last published status.
    pub(super) sequence: u64,
    /// The time since boot at which the shutdown's grace is over, also once the gateway has stopped: what goes on
    /// in the process beside it may take so long.
    grace_until: Option<Duration>,
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
        rules: Rules,
        threads: Threads,
    ) -> Shared {
        // What the predecessor left in the file is replaced before anything else happens (I-16, U28).
        if let Place::Files { home, .. } = &place {
            let starting = Status::starting(&identity, rules.clock.now()).to_json();
            if let Err(error) = marker::replace(
                home,
                home.dir(),
                Name::Status.as_os_str(),
                starting.as_bytes(),
                Durability::Volatile,
            ) {
                tracing::warn!(%error, "cannot write the status `starting`; the gateway starts all the same");
            }
        }
        let meters = Meters::of(&identity.kind);
        let gate = Arc::new(Gate::new(Arc::clone(&threads.keeper), meters));
        // Property: TG-S10 fail_safe. One look before the first admission; one that fails closes.
        let look = place.look(None, &[], &rules.counts(rules.clock.now()));
        let now = rules.clock.now();
        let (unreadable, listing, stamp) = (look.unreadable(), look.listing.clone(), look.stamp);
        let roll = Roll::first(look.into_sightings(), &listing, now.uptime, rules.is_live(now));
        let (lifecycle, effect) = AnyLifecycle::start(roll.wanted());
        let state = State {
            changes: ChangeLog::default(),
            ledger: Ledger::default(),
            complaints: rules.complaints(unreadable, &listing, &roll, now),
            roll,
            stamp,
            looks: 0,
            sweep_at: now.uptime,
            sweep_dead_at: now.uptime,
            swept_to: None,
            unwritten: None,
            revision: 0,
            sequence: 0,
            grace_until: None,
            ended: None,
            farewell: false,
            farewell_until: None,
            retired: false,
            lifecycle,
        };
        gate.perform(effect, state.lifecycle.machine().generation());
        let drains = state.lifecycle.phase() == Phase::ExternallyDraining;
        if drains {
            gate.meters.drain_began();
        }
        let shared = Shared {
            gate,
            waiters: Arc::new(WaitList::new()),
            state: Mutex::new(state),
            publisher: Mutex::new(Publisher::new(lock, drains.then_some(now.uptime))),
            registry: Mutex::new(Registry::default()),
            place,
            identity,
            rules,
            threads,
        };
        shared.publish();
        shared
    }

    /// Has file events ring the watcher's bell, where that can be had.
    #[cfg(feature = "notify")]
    pub(super) fn alarm(&self, bell: Arc<Bell>) -> Option<super::alarm::Alarm> {
        let Place::Files { home, .. } = &self.place else { return None };
        match super::alarm::Alarm::set(home.names(), bell) {
            Ok(alarm) => Some(alarm),
            Err(error) => {
                tracing::warn!(%error, "file events are not available; the watcher only looks at its interval");
                None
            }
        }
    }

    /// The directory of named requests, as of the last applied look.
    #[cfg(feature = "notify")]
    pub(super) fn listed(&self) -> Option<FileId> {
        self.state.lock().stamp.map(Stamp::id)
    }

    /// One round of the watcher: look, apply, publish.
    // Property: TG-L1 closes, TG-L3 reopens. Each round looks, whatever came of the last.
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
        if phase != Phase::Stopped {
            self.sweep();
        }
        // Retired as it was *before* publishing: the last handle goes only after the last event, so
        // what was published since then is the last status.
        if retired || self.has_published_all() {
            Next::Done
        } else {
            Next::Within(self.rules.interval)
        }
    }

    /// One round of the keeper: fire what is due, wake those who wait, have it published. It touches
    /// no file itself, so no disk can hold it up (I-12).
    pub(super) fn keep_round(&self) -> Next {
        let (due, retired) = {
            let mut state = self.state.lock();
            self.settle(&mut state);
            (state.farewell_until.or(state.deadline()), state.retired)
        };
        self.waiters.wake_all();
        if let Some(watcher) = &self.threads.watcher {
            watcher.ring();
        }
        match due {
            _ if retired => Next::Done,
            Some(at) if self.rules.clock.runs_by_itself() => {
                // In short naps: the deadline counts suspend, and sleeping does not.
                Next::Within(at.saturating_sub(self.rules.clock.now().uptime).min(NAP))
            }
            _ => Next::AtTheBell,
        }
    }

    /// Looks once and applies what was seen, unless another look was applied meanwhile (F5).
    // Property: TG-S11 latest_observation_wins.
    fn look_and_apply(&self) -> Result<(), Overtaken> {
        let (ticket, since, known) = {
            let state = self.state.lock();
            let known = state.known();
            let is_due = state.looks % LIST_EVERY == LIST_EVERY - 1;
            let since = state.stamp.map(|stamp| {
                let believed = known.is_empty() && stamp.is_always_conclusive();
                if is_due && !believed { stamp.distrusted() } else { stamp }
            });
            (state.ledger.begin(), since, known)
        };
        let look = self.place.look(since, &known, &self.rules.counts(self.rules.clock.now()));
        let now = self.rules.clock.now();

        let mut state = self.state.lock();
        state.ledger = state.ledger.accept(ticket)?;
        state.looks = state.looks.wrapping_add(1);
        let is_news = state.note(look, &self.rules, now);
        let event = state.roll.event();
        self.apply(&mut state, event);
        drop(state);
        if is_news {
            // Also where no phase changes: somebody may wait for what is known of a request.
            self.threads.keeper.ring();
        }
        Ok(())
    }

    /// Removes what was left behind: requests that have been dead for long enough to have been reported,
    /// and now and then drafts of writers that were killed (U36).
    fn sweep(&self) {
        let Place::Files { home, .. } = &self.place else { return };
        let now = self.rules.clock.now();
        self.sweep_dead(home, now);
        {
            let mut state = self.state.lock();
            if now.uptime < state.sweep_at {
                return;
            }
            state.sweep_at = now.uptime.saturating_add(SWEEP_EVERY);
        }
        let ours = [Name::Marker, Name::Requests, Name::Status].map(Name::in_drafts);
        let mut swept = marker::sweep_drafts(home, home.dir(), &ours);
        if let Ok(requests) = home.open_requests() {
            swept += marker::sweep_drafts(home, &requests, &[]);
        }
        if swept > 0 {
            tracing::info!(swept, "removed temporary files of writers that were killed");
        }
    }

    fn sweep_dead(&self, home: &OpenHome<RealDisk>, now: Now) {
        let dead: Vec<(Slot, Request)> = {
            let mut state = self.state.lock();
            if now.uptime < state.sweep_dead_at {
                return;
            }
            let is_due = |entry: &Entry<Request>, request: &Request| {
                let kept = match request.standing(&self.rules.epoch, now) {
                    Standing::StaleEpoch => SWEEP_EVERY,
                    Standing::Expired | Standing::Live => EXPIRED_KEPT,
                };
                !entry.is_live() && now.uptime.saturating_sub(entry.since()) >= kept
            };
            let named = state.roll.entries().filter(|(slot, _)| **slot != Slot::Shared);
            let dead = named.filter_map(|(slot, entry)| {
                let request = entry.request()?;
                is_due(entry, request).then(|| (slot.clone(), request.clone()))
            });
            let after_last = |(slot, _): &(Slot, Request)| Some(slot) > state.swept_to.as_ref();
            let dead: Vec<_> = dead.filter(after_last).take(SWEPT_AT_ONCE).collect();
            // The next round goes on from here, so that what cannot be removed is in nothing's way.
            state.swept_to = dead.last().map(|(slot, _)| slot.clone());
            let is_over = dead.len() < SWEPT_AT_ONCE;
            let pause = if is_over { EXPIRED_KEPT } else { Duration::ZERO };
            state.sweep_dead_at = now.uptime.saturating_add(pause);
            dead
        };
        // A file among the named requests is never written twice, so dead once it is dead for good; but
        // for one that a person writes to, which is looked at once more.
        let as_it_was = |(slot, request): &(Slot, Request)| {
            marker::observe(home, slot) == Sighting::Present(request.clone())
        };
        let dead: Vec<Slot> = dead.into_iter().filter(as_it_was).map(|(slot, _)| slot).collect();
        if !dead.is_empty() {
            match marker::cancel(home, &dead) {
                Ok(swept) => tracing::info!(swept, "removed drain requests that no longer count"),
                Err(error) => {
                    tracing::warn!(%error, "cannot remove drain requests that no longer count");
                }
            }
        }
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
        let request = ask.stamp(&fresh_id(), &self.rules.epoch, self.rules.clock.now());
        let begun = self.place.begin(ask.its_holder(), &request);
        // Also where it failed: a request that is in place but not durable closes the gate.
        self.reconcile();
        begun?;
        // Property: TG-S5 ack_means_closed. Read after the look that saw the request was applied.
        let state = self.state.lock();
        let phase = state.lifecycle.phase();
        let entry = state.roll.entry(&slot_of(ask.its_holder(), &request));
        let named = entry.is_some_and(|entry| {
            entry.is_live() && entry.request().and_then(Request::request_id) == request.request_id()
        });
        Ok(Receipt {
            draining: phase == Phase::ExternallyDraining && named,
            phase,
            generation: state.lifecycle.machine().generation(),
            request,
        })
    }

    pub(super) fn cancel_drain(&self, holder: &Holder) -> Result<bool, ControlError> {
        let live_before = self.state.lock().live_of(holder);
        self.cancel(holder, &live_before, || self.place.cancel(holder))
    }

    pub(super) fn cancel_request(&self, holder: &Holder, id: &str) -> Result<bool, ControlError> {
        let mut live_before = self.state.lock().live_of(holder);
        live_before.retain(|(slot, request)| {
            status::request_id_of(slot, request.as_ref()).as_deref() == Some(id)
        });
        self.cancel(holder, &live_before, || self.place.cancel_request(holder, id))
    }

    /// Looks at what this holder asks, and believes nothing.
    #[cfg(feature = "http")]
    pub(super) fn observe_holder(&self, holder: &Holder) -> crate::control::Observation {
        let look = self.place.look_at_own(holder);
        crate::control::Observation::of(look, self.rules.epoch.clone(), self.rules.clock.now())
    }

    /// How many live named requests this principal has signed, besides those of `holder`.
    #[cfg(feature = "http")]
    pub(super) fn signed_by(&self, principal: &str, holder: &Holder) -> usize {
        status::signed_by(&self.state.lock().roll, principal, holder)
    }

    /// Takes requests away, and looks whether what was live before can be seen to be gone.
    // Property: TG-S14 receipt_is_true.
    fn cancel(
        &self,
        holder: &Holder,
        live_before: &[(Slot, Option<Request>)],
        take_away: impl FnOnce() -> Result<bool, ControlError>,
    ) -> Result<bool, ControlError> {
        let cancelled = take_away();
        // Also where it failed: of several, some may have gone.
        self.reconcile();
        let cancelled = cancelled?;
        let state = self.state.lock();
        let is_still_live = |(slot, request): &(Slot, Option<Request>)| {
            let entry = state.roll.entry(slot);
            entry.is_some_and(|it| it.is_live() && it.request() == request.as_ref())
        };
        if live_before.iter().any(is_still_live) && !state.lifecycle.phase().is_shut() {
            return Err(ControlError::StaysOn { holder: holder.clone() });
        }
        Ok(cancelled)
    }

    pub(super) fn shut_down(&self, cause: ShutdownCause, grace: Duration) {
        let mut state = self.state.lock();
        self.apply(&mut state, Event::ShutdownAsked(cause));
        let asked = self.rules.clock.now().uptime.saturating_add(grace);
        state.grace_until = Some(state.grace_until.map_or(asked, |earlier| earlier.min(asked)));
        if state.lifecycle.phase() == Phase::ShuttingDown {
            // An empty gate, or a grace of zero, needs no waiting for.
            self.settle(&mut state);
            // The keeper must learn of the deadline, also where only that has changed.
            self.threads.keeper.ring();
        }
    }

    /// What is left of a shutdown's grace; `None` where no shutdown was asked for.
    #[cfg(feature = "http")]
    pub(super) fn grace_left(&self) -> Option<Duration> {
        let until = self.state.lock().grace_until?;
        Some(until.saturating_sub(self.rules.clock.now().uptime))
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

    /// Ends a shutdown that has nothing left to wait for, or has waited long enough.
    // Property: TG-L4 stops.
    fn settle(&self, state: &mut State) {
        let now = self.rules.clock.now().uptime;
        if state.lifecycle.phase() == Phase::ShuttingDown {
            let word = self.gate.word();
            if word.is_at_rest() {
                self.apply(state, Event::Emptied);
            } else if state.deadline().is_some_and(|deadline| deadline <= now) {
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
            if self.threads.watcher.is_some() {
                state.farewell_until =
                    Some(self.rules.clock.now().uptime.saturating_add(FAREWELL_PATIENCE));
            } else {
                state.say_farewell();
            }
        }
        if before.phase() != after.phase() {
            let now = self.rules.clock.now();
            let holders = status::holders(&state.roll, &self.rules.epoch, now);
            state.changes.push(Change::between(before, after, holders, now.uptime));
        }
        self.threads.keeper.ring();
    }

    pub(super) fn status(&self) -> Status {
        let state = self.state.lock();
        // Listed before it is counted: whatever is in the list is in the count.
        let listed = self.registry.lock().listed();
        let mut status = self.snapshot(&state, self.gate.word(), &listed, state.sequence);
        status.degraded.extend(state.unwritten.clone());
        drop(state);
        drop(listed);
        status
    }

    pub(super) fn snapshot(
        &self,
        state: &State,
        word: Word,
        listed: &Listed,
        sequence: u64,
    ) -> Status {
        let now = self.rules.clock.now();
        let inputs = Inputs {
            machine: state.lifecycle.machine(),
            word,
            drain_wanted: state.roll.wanted().is_some(),
            holders: status::holders(&state.roll, &self.rules.epoch, now),
            held_until: self.rules.held_until(&state.roll, now),
            active_work: listed.active_work(now.uptime),
            degraded: status::degraded(&state.complaints, now),
            now,
            sequence,
        };
        Status::snapshot(&self.identity, inputs)
    }

    /// What a status would say, as a mark to compare with later.
    #[cfg(feature = "http")]
    pub(super) fn seen(&self) -> (status::Condition, u64) {
        let state = self.state.lock();
        (condition(state.lifecycle.machine(), self.gate.word()), state.revision)
    }

    /// What one look under the transition lock shows.
    #[cfg(feature = "systemd")]
    pub(super) fn glance(&self) -> super::view::Glance {
        let state = self.state.lock();
        let (machine, now) = (state.lifecycle.machine(), self.rules.clock.now());
        super::view::Glance {
            condition: condition(machine, self.gate.word()),
            cause: machine.cause(),
            holders: status::holders(&state.roll, &self.rules.epoch, now)
                .into_iter()
                .map(|it| it.holder)
                .collect(),
            grace_left: state.deadline().map(|deadline| deadline.saturating_sub(now.uptime)),
            ended: state.ended,
        }
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
            Phase::ExternallyDraining => condition(machine, self.gate.word()).quiesced.then(|| {
                let now = self.rules.clock.now();
                Ok(Quiesced {
                    generation: machine.generation(),
                    request_ids: status::held_for(&state.roll),
                    until: self.rules.held_until(&state.roll, now),
                })
            }),
        }
    }

    pub(super) fn look_ended(&self) -> Option<Ended> {
        let state = self.state.lock();
        state.ended.filter(|_| state.farewell)
    }
}

impl State {
    /// The time since boot at which the shutdown no longer waits, while one waits.
    fn deadline(&self) -> Option<Duration> {
        self.grace_until.filter(|_| self.lifecycle.phase() == Phase::ShuttingDown)
    }

    /// The named requests on the roll.
    fn known(&self) -> Vec<Slot> {
        let slots = self.roll.entries().map(|(slot, _)| slot);
        slots.filter(|slot| **slot != Slot::Shared).cloned().collect()
    }

    /// What is believed that this holder asks.
    fn live_of(&self, holder: &Holder) -> Vec<(Slot, Option<Request>)> {
        let his = self.roll.entries().filter(|(slot, it)| it.is_live() && slot.is_held_by(holder));
        his.map(|(slot, entry)| (slot.clone(), entry.request().cloned())).collect()
    }

    /// Remembers what a look found. Says whether it was news.
    fn note(&mut self, look: RawObservation, rules: &Rules, now: Now) -> bool {
        let (unreadable, listing) = (look.unreadable(), look.listing.clone());
        self.stamp = look.stamp;
        let is_live = rules.is_live(now);
        let news = self.roll.apply(look.into_sightings(), &listing, now.uptime, is_live);
        let complaints = rules.complaints(unreadable, &listing, &self.roll, now);
        let is_news = news || complaints != self.complaints;
        if is_news {
            self.complaints = complaints;
            self.revision += 1;
        }
        is_news
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
