//! What a gateway's handles and threads share, and how a step of the engine is carried out: lock, step, effect,
//! unlock, I/O, report back. What is decided is the [engine](crate::engine)'s.

use std::time::Duration;

#[cfg(feature = "notify")]
use crate::disk::FileId;
use crate::engine::{Engine, EngineTypes, ObserveAction, ObserveCall, ObserveMode, Reaction};
use crate::epoch::{Clock, Epoch, Now};
use crate::faults::fault;
use crate::gate::{Gate, WaitList};
use crate::holder::Slot;
use crate::home::HomeCheck;
use crate::judge::Judge;
use crate::machine::Phase;
use crate::marker::Stamp;
use crate::metrics::Metrics;
use crate::probe::probe;
use crate::request::Request;
use crate::status::{self, Degraded, ProcessIdentity};
use crate::sync::{Arc, Condvar, Mutex, MutexGuard, Wakeup};

use super::announcements::Announced;
use super::change_log::{Change, ChangeLog};
use super::labels::Registry;
use super::store::Store;
use super::sweep_schedule::SweepSchedule;

/// How long somebody who waits for the end of a shutdown, or drops the last handle, also waits for the last status.
pub(super) const LAST_STATUS_TIMEOUT: Duration = Duration::from_secs(2);

/// A directory's times do not tell that a file in it was written to. So where there is a request, so many looks in
/// a row at most skip the listing. Where the file system may not even tell that a file came or went, none does.
const SKIPS: u8 = 63;

/// What a gateway is built with.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) epoch: Epoch,
    pub(super) clock: Clock,
    pub(super) interval: Duration,
    /// How many stripes the gate has.
    pub(super) stripes: u32,
    pub(super) unleased_max_age: Option<Duration>,
    /// How often the status is written where nothing in it has changed.
    pub(super) heartbeat: Duration,
    /// Which process it is, as opposed to its predecessors.
    pub(super) incarnation: String,
}

impl Settings {
    pub(super) fn judge(&self, now: Now) -> Judge<'_> {
        let judge = Judge::new(&self.epoch, now).for_run(&self.incarnation);
        judge.with_unleased_max_age(self.unleased_max_age)
    }
}

/// What a checking build logs of a gateway, besides its gate.
#[cfg(tidegate_checking)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GatewayEvent {
    /// A look begins. The first look, before the gateway has started, is not logged.
    LookBegan,
    /// A look is applied, and what it ordered is done.
    LookApplied,
    /// A look has come to nothing.
    LookAbandoned,
    /// A status with this sequence number is derived, to be written.
    StatusDerived(u64),
}

/// The world of a gateway that ships.
#[derive(Debug)]
pub(super) struct GatewayTypes;

impl EngineTypes for GatewayTypes {
    type Slot = Slot;
    type Request = Request;
    type Reason = String;
    type Stamp = Stamp;
    type Labels = u64;
    type Instant = Duration;

    fn is_named(slot: &Slot) -> bool {
        *slot != Slot::Shared
    }
}

/// The wakeups of the gateway's threads.
#[derive(Debug)]
pub(super) struct ThreadWakeups {
    pub(super) timer: Arc<Wakeup>,
    pub(super) watcher: Option<Arc<Wakeup>>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) gate: Gate,
    pub(super) waiters: Arc<WaitList>,
    /// The transition lock. Guards the engine and all that is derived from it, and is held across a step and its
    /// effect on the gate.
    pub(super) state: Mutex<State>,
    /// Where callers wait whose turn it is not: to look, or to publish. With `state`.
    pub(super) turns: Condvar,
    pub(super) store: Store,
    /// Guards the labels of work in flight. Taken alone, or last.
    pub(super) registry: Mutex<Registry>,
    pub(super) identity: ProcessIdentity,
    pub(super) settings: Settings,
    pub(super) threads: ThreadWakeups,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) engine: Engine<GatewayTypes>,
    pub(super) changes: ChangeLog,
    pub(super) sweeps: SweepSchedule,
    pub(super) announced: Announced,
    /// How the last applied look found the home's name and its locks.
    pub(super) home_check: HomeCheck,
    /// Why the status on disk is not what is meant, while it is not.
    pub(super) unwritten: Option<Degraded>,
    /// Rises with everything that a status says beyond the condition, for those who wait for news.
    pub(super) revision: u64,
    /// The sequence of the last published status.
    pub(super) sequence: u64,
    /// The time since boot at which that was published.
    pub(super) published_at: Duration,
}

impl Shared {
    /// From the lock to an answer: nothing can be admitted before this returns (F6). `promised` is until when a
    /// predecessor may have promised that nothing starts (F22).
    pub(super) fn start(
        store: Store,
        promised: Option<Duration>,
        identity: ProcessIdentity,
        settings: Settings,
        threads: ThreadWakeups,
    ) -> Shared {
        let metrics = Metrics::of(&identity.kind);
        let gate = Gate::new(settings.stripes, Arc::clone(&threads.timer), metrics);
        let rules =
            crate::engine::EngineConfig { has_watcher: threads.watcher.is_some(), skips: SKIPS };
        // Property: TG-S10 fail_safe. One look before the first admission; one that fails closes.
        let look = {
            let judge = settings.judge(settings.clock.now()).after_promise(promised);
            store.look(&ObserveMode::first(), &[], judge)
        };
        let now = settings.clock.now();
        let (sightings, listing, stamp, home_check) = look.into_parts();
        let (engine, effect) = {
            let is_live = is_live(settings.judge(now));
            Engine::start(rules, sightings, &listing, stamp, promised, now.uptime, is_live)
        };
        let drains = engine.phase() == Phase::ExternallyDraining;
        gate.perform(effect, engine.machine().generation());
        if drains {
            gate.metrics().drain_began();
        }
        let state = State {
            engine,
            changes: ChangeLog::default(),
            sweeps: SweepSchedule::from(now.uptime),
            announced: Announced::nothing_yet(drains.then_some(now.uptime)),
            home_check,
            unwritten: None,
            revision: 0,
            sequence: 0,
            published_at: now.uptime,
        };
        Shared {
            gate,
            waiters: Arc::new(WaitList::new()),
            state: Mutex::new(state),
            turns: Condvar::new(),
            store,
            registry: Mutex::new(Registry::default()),
            identity,
            settings,
            threads,
        }
    }

    /// Has file events wake the watcher's wakeup, where that can be had.
    #[cfg(feature = "notify")]
    pub(super) fn file_events(
        &self,
        wakeup: Arc<Wakeup>,
    ) -> Option<super::file_events::FileEvents> {
        match super::file_events::FileEvents::watch(self.store.home()?.names(), wakeup) {
            Ok(events) => Some(events),
            Err(error) => {
                tracing::warn!(%error, "file events are not available; the watcher only looks at its interval");
                None
            }
        }
    }

    /// The directory of named requests, as of the last applied look.
    #[cfg(feature = "notify")]
    pub(super) fn listed(&self) -> Option<FileId> {
        self.state.lock().engine.stamp().copied().map(Stamp::id)
    }

    /// Does what a step ordered, under the lock that it was made under.
    // Property: TG-S1 shutdown_wins, TG-S2 no_new_turn_while_draining.
    pub(super) fn carry_out(&self, state: &mut State, reaction: Reaction) {
        if let Some(ordered) = reaction.ordered {
            // On return each stripe is as ordered. Only then the engine learns that it is done.
            let found = self.gate.perform(ordered.effect, ordered.to.generation());
            let now = self.settings.clock.now();
            let report_by = now.uptime.saturating_add(LAST_STATUS_TIMEOUT);
            if state.engine.gate_done(ordered, found, report_by) {
                let holders = status::holders(state.engine.table(), &self.settings.judge(now));
                let change = Change::between(ordered.from, ordered.to, holders, now.uptime);
                state.changes.push(change);
            }
        }
        if reaction.wakes_timer {
            state.revision += 1;
            self.threads.timer.wake();
        }
    }

    /// Has a look that begins after this applied, by this thread or by another, before it returns.
    // Property: TG-S11 observations_never_overlap, TG-L1 closes, TG-L3 reopens.
    pub(super) fn observe(&self) {
        let mut state = self.state.lock();
        let call = state.engine.request_observation();
        loop {
            match state.engine.next_observe_action(call) {
                ObserveAction::Done => return,
                ObserveAction::Wait => state = self.turns.wait(state),
                ObserveAction::Look(order) => {
                    let known = state.known();
                    drop(state);
                    state = self.look(call, &order, &known);
                }
            }
        }
    }

    /// Looks, and applies what was seen.
    fn look(
        &self,
        call: ObserveCall,
        order: &ObserveMode<Stamp>,
        known: &[Slot],
    ) -> MutexGuard<'_, State> {
        let abandoned = LookGuard { shared: self, call, is_over: false };
        probe!(GatewayEvent::LookBegan);
        let judge = self.settings.judge(self.settings.clock.now());
        let look = self.store.look(order, known, judge);
        let now = self.settings.clock.now();
        let is_live = is_live(self.settings.judge(now));
        let (sightings, listing, stamp, home_check) = look.into_parts();

        let mut state = self.state.lock();
        if state.home_check != home_check {
            state.home_check = home_check;
            state.engine.mark_status_changed();
        }
        let reaction = state.engine.observed(sightings, &listing, stamp, now.uptime, is_live);
        if fault!(EffectAfterUnlock) {
            drop(state);
            state = self.state.lock();
        }
        self.carry_out(&mut state, reaction);
        probe!(GatewayEvent::LookApplied);
        if !fault!(LostTurn) {
            self.turns.pass();
        }
        abandoned.has_ended();
        state
    }
}

/// A look that is under way. Where it panics, those who wait for it must not wait for ever.
struct LookGuard<'a> {
    shared: &'a Shared,
    call: ObserveCall,
    is_over: bool,
}

impl LookGuard<'_> {
    fn has_ended(mut self) {
        self.is_over = true;
    }
}

impl Drop for LookGuard<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.shared.state.lock().engine.on_observation_abandoned(self.call);
            probe!(GatewayEvent::LookAbandoned);
            self.shared.turns.pass();
        }
    }
}

impl State {
    /// The named requests that are known.
    fn known(&self) -> Vec<Slot> {
        let slots = self.engine.table().entries().map(|(slot, _)| slot);
        slots.filter(|slot| **slot != Slot::Shared).cloned().collect()
    }
}

fn is_live(judge: Judge<'_>) -> impl Fn(&Request, Duration) -> bool {
    move |request, first_seen| judge.is_live(request, first_seen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::holder::Holder;

    /// Only what is listed may be passed over by the directory's times.
    #[test]
    fn the_shared_marker_is_no_named_request() {
        let named = Holder::named("ci").ok().map(|holder| match holder {
            Holder::Named(name) => Slot::of(&name, "1"),
            Holder::Shared => Slot::Shared,
        });
        assert!(named.is_some_and(|slot| GatewayTypes::is_named(&slot)));
        assert!(!GatewayTypes::is_named(&Slot::Shared));
    }

    /// Who waits for news learns of a holder that joins, though the gate and the phase stay as they are.
    #[cfg(feature = "http")]
    #[test]
    fn a_holder_that_joins_is_news() {
        use crate::gateway::Gateway;
        use crate::request::DrainRequest;

        let gateway = Gateway::in_memory().manual().start().expect("starts");
        gateway.begin_drain(&DrainRequest::new("one")).expect("begins");
        let before = gateway.seen();
        gateway.reconcile_now();
        assert!(gateway.seen() == before, "nothing has changed");
        let other = Holder::named("two").expect("a name");
        gateway.begin_drain(&DrainRequest::new("two").with_holder(other)).expect("begins");
        assert!(gateway.seen() != before);
    }
}
