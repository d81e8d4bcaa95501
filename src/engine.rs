//! What the gateway's threads decide, as one value: lifecycle, requests, looks, shutdown, publishing. It does no
//! I/O, reads no clock, and knows neither the gate's word nor a text.
//!
//! Each method takes an event and returns what to do. The threads carry that out and report
//! back; the models do the same, step by step, in every order. Reasons, stamps, labels and instants are types of
//! the [`EngineTypes`], so that a model has small ones.
//!
//! # Invariants
//!
//! * **TG-S1 shutdown_wins**: nothing here sets the phase but [`AnyLifecycle::apply`].
//! * **TG-S5 ack_means_closed**: [`Engine::receipt`] asks of the very request, after its own look was applied.
//! * **TG-S8 status_is_faithful**: one status is written at a time, until what is on disk is what is meant.
//! * **TG-S11 observations_never_overlap**: one look is under way at a time, and a caller is served by one that
//!   began after the call ([F23]).
//!
//! [F23]: crate::guide::requirements#f23

mod observing;
mod publishing;
mod shutdown;
#[cfg(test)]
mod tests;

use std::hash::Hash;

use crate::faults::fault;
use crate::gate::GateState;
use crate::gate::word::InFlight;
use crate::lifecycle::AnyLifecycle;
use crate::machine::{Effect, Event, Machine, Phase, ShutdownCause, Terms};
use crate::reconcile::{Demand, Listing, RequestTable, Sighting};
use crate::status::{Condition, condition, desired_state};

use observing::ObservationQueue;
use publishing::Publishing;

pub use observing::{DirectoryStamp, ObserveAction, ObserveCall, ObserveMode};
pub use publishing::{CorrectionOutcome, IntendedStatus, PublishAction};
pub use shutdown::{EndReport, Ended, ShutdownProgress};

/// The types of the engine's inputs.
pub trait EngineTypes {
    /// A place where a request can be.
    type Slot: Clone + Ord;
    /// A request.
    type Request: Clone + Demand;
    /// Why something could not be seen.
    type Reason: Clone + PartialEq;
    /// What is remembered of the directory of requests.
    type Stamp: DirectoryStamp;
    /// Which labels work in flight has.
    type Labels: Clone + PartialEq;
    /// A time since boot.
    type Instant: Copy + Ord;

    /// Whether the place is one that is listed, and not the shared one.
    fn is_named(slot: &Self::Slot) -> bool;
}

/// What an engine is built with, and never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EngineConfig {
    /// Whether a thread looks and publishes by itself.
    pub has_watcher: bool,
    /// How many looks in a row may skip the listing because of the directory's times.
    pub skips: u8,
}

/// What could not be seen by the last look.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Unreadables<S, R> {
    /// The requests that could not be read.
    pub requests: Vec<(S, R)>,
    /// Why the requests could not be listed whole.
    pub listing: Option<R>,
}

/// An order to the gate. It is performed at once, and answered with [`Engine::gate_done`]; both under the lock that
/// the step was made under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use = "the gate changes only when the effect is performed"]
pub struct GateOrder {
    /// What the gate must do.
    pub effect: Effect,
    /// The machine before the step.
    pub from: Machine,
    /// The machine after it.
    pub to: Machine,
}

/// What is to be done after a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[must_use = "what a step orders must be done"]
pub struct Reaction {
    /// The order to the gate, if there is one.
    pub ordered: Option<GateOrder>,
    /// The timer thread must make a round: somebody may wait for this, or a deadline is nearer.
    pub wakes_timer: bool,
}

impl Reaction {
    const NONE: Reaction = Reaction { ordered: None, wakes_timer: false };
}

/// When the timer thread makes its next round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TimerSleeps<I> {
    /// When it is woken.
    UntilWoken,
    /// At this time, if it is not woken before.
    Until(I),
    /// Never: its work is done.
    ForGood,
}

/// What became of a caller's request to drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DrainReceipt {
    /// Whether the gate is closed for this request.
    pub draining: bool,
    /// The phase of the machine.
    pub phase: Phase,
    /// The close that was made for it, or that it joined.
    pub generation: u64,
}

/// A cancel on its way: what was believed to be live before anything was removed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PendingCancel<S, R> {
    live_before: Vec<(S, Option<R>)>,
}

/// Why a gate does not get quiesced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum NotQuiesced {
    /// No live request asks for a drain, or the last one was released during the wait.
    #[error("the gateway is not draining; begin a drain first")]
    NotDraining,
    /// The current drain admits internal work, so the gateway can become idle but not quiesced.
    #[error("the current drain does not hold internal work; begin a drain with hold_internal")]
    NotHeld,
    /// A shutdown has begun.
    #[error("the gateway is shutting down")]
    ShuttingDown,
}

/// Everything that the threads decide.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Engine<W: EngineTypes> {
    machine: Machine,
    table: RequestTable<W::Slot, W::Request, W::Instant>,
    unseen: Unreadables<W::Slot, W::Reason>,
    looking: ObservationQueue<W::Stamp>,
    shutdown: ShutdownProgress<W::Instant>,
    publishing: Publishing<W::Labels>,
    /// The last handle is gone.
    has_no_handles: bool,
    rules: EngineConfig,
}

impl<W: EngineTypes> Engine<W> {
    /// From the first look to the first order: nothing is admitted before that. What the look could not see counts as
    /// a request. It holds internal work until `held_until`: a predecessor may have promised a quiet gate until then.
    ///
    /// [F6](crate::guide::requirements#f6),
    /// [F22](crate::guide::requirements#f22)
    // Property: TG-S10 fail_safe, TG-S4 quiesced_means_idle.
    pub fn start(
        rules: EngineConfig,
        sightings: impl IntoIterator<Item = (W::Slot, Sighting<W::Request, W::Reason>)>,
        listing: &Listing<W::Reason>,
        stamp: Option<W::Stamp>,
        held_until: Option<W::Instant>,
        at: W::Instant,
        is_live: impl Fn(&W::Request, W::Instant) -> bool,
    ) -> (Engine<W>, Effect) {
        let mut unseen = Unreadables::of(listing);
        let held_until = held_until.filter(|_| !fault!(BlindStartHoldsNothing));
        let table = RequestTable::first(unseen.note(sightings), listing, held_until, at, is_live);
        let wanted = if fault!(AdmitsBeforeFirstLook) { None } else { table.wanted() };
        let (lifecycle, effect) = AnyLifecycle::start(wanted);
        let engine = Engine {
            machine: lifecycle.machine(),
            table,
            unseen,
            looking: ObservationQueue::after_first(stamp, rules.skips),
            shutdown: ShutdownProgress::NotRequested,
            publishing: Publishing::nothing_yet(),
            has_no_handles: false,
            rules,
        };
        (engine, effect)
    }

    // Looks.

    /// A caller asks for a look that begins after this.
    pub fn request_observation(&mut self) -> ObserveCall {
        self.looking.ask()
    }

    /// What the caller does next.
    // Property: TG-S11 observations_never_overlap.
    pub fn next_observe_action(&mut self, call: ObserveCall) -> ObserveAction<W::Stamp> {
        if self.machine.phase() == Phase::Stopped {
            // After the end nobody looks.
            self.looking.leave(call);
            return ObserveAction::Done;
        }
        let knows_none = !self.table.entries().any(|(slot, _)| W::is_named(slot));
        self.looking.turn(call, knows_none)
    }

    /// A look has ended, at this time, with these sightings. `is_live` says of a request first seen at a time
    /// whether it asks for a drain now.
    // Property: TG-L1 closes, TG-L3 reopens.
    pub fn observed(
        &mut self,
        sightings: impl IntoIterator<Item = (W::Slot, Sighting<W::Request, W::Reason>)>,
        listing: &Listing<W::Reason>,
        stamp: Option<W::Stamp>,
        at: W::Instant,
        is_live: impl Fn(&W::Request, W::Instant) -> bool,
    ) -> Reaction {
        self.looking.ended(stamp, self.rules.skips);
        let mut unseen = Unreadables::of(listing);
        let mut is_news = self.table.apply(unseen.note(sightings), listing, at, is_live);
        if unseen != self.unseen {
            (self.unseen, is_news) = (unseen, true);
        }
        let stepped = self.happened(self.table.event());
        if is_news {
            self.publishing.changed();
        }
        // Also where no phase changes: somebody may wait for what is known of a request.
        let reopens = stepped.ordered.is_some_and(|it| it.effect == Effect::ReopenGate);
        let wakes_timer = stepped.wakes_timer || is_news;
        Reaction {
            wakes_timer: wakes_timer && !(reopens && fault!(ReopeningWakesNobody)),
            ..stepped
        }
    }

    /// A status says something now that the engine does not know.
    pub fn mark_status_changed(&mut self) {
        self.publishing.changed();
    }

    /// The caller's look came to nothing: it panicked.
    pub fn on_observation_abandoned(&mut self, call: ObserveCall) {
        self.looking.abandoned();
        self.looking.leave(call);
    }

    // The lifecycle.

    /// Steps the machine. An event that changes nothing is no news (R7).
    // Property: TG-S1 shutdown_wins, TG-S2 no_new_turn_while_draining.
    fn happened(&mut self, event: Event) -> Reaction {
        let from = self.machine;
        let mut lifecycle = AnyLifecycle::at(from);
        let Ok(effect) = lifecycle.apply(event) else { return Reaction::NONE };
        self.machine = lifecycle.machine();
        self.publishing.changed();
        Reaction { ordered: Some(GateOrder { effect, from, to: self.machine }), wakes_timer: true }
    }

    /// The gate has done what was ordered and confirmed it, and has found these turns in flight. `report_by` is how
    /// long the end of a shutdown is kept from those who wait while its last status is not written. Returns whether the
    /// phase has changed.
    // Property: TG-S5 ack_means_closed. Nothing says that the gate is closed before this.
    pub fn gate_done(
        &mut self,
        ordered: GateOrder,
        found: InFlight,
        report_by: W::Instant,
    ) -> bool {
        let (from, to) = (ordered.from.phase(), ordered.to.phase());
        if to == Phase::Stopped && from != to {
            let is_told_later = self.rules.has_watcher && !fault!(EndToldBeforeLastStatus);
            let report = if is_told_later { EndReport::Due(report_by) } else { EndReport::Done };
            self.shutdown.stopped(Ended::with(found), report);
        }
        from != to
    }

    /// A shutdown is asked for.
    pub fn shutdown_asked(&mut self, cause: ShutdownCause, deadline: W::Instant) -> Reaction {
        let stepped = self.happened(Event::ShutdownAsked(cause));
        self.shutdown.asked(deadline);
        // The timer must learn of the deadline, also where only that has changed.
        let is_awaited = self.machine.phase() == Phase::ShuttingDown;
        Reaction { wakes_timer: is_awaited && !fault!(ShutdownWakesNobody), ..stepped }
    }

    /// The loop that drove the gateway has ended. The first call shuts a running gateway down, the second stops it.
    pub fn loop_ended(&mut self) -> Reaction {
        self.shutdown.loop_ended();
        self.happened(Event::LoopEnded)
    }

    /// The last handle is gone: the threads end with their next round.
    pub fn abandoned(&mut self) {
        self.has_no_handles = true;
    }

    /// Whether the last handle is gone.
    #[must_use]
    pub const fn has_no_handles(&self) -> bool {
        self.has_no_handles
    }

    /// It is now, and the gate is so: ends a shutdown that has nothing left to wait for, or has waited long enough.
    // Property: TG-L4 stops.
    pub fn on_time(&mut self, gate: GateState, now: W::Instant) -> Reaction {
        self.shutdown.on_time(now);
        match self.shutdown.due(gate, now) {
            Some(event) => self.happened(event),
            None => Reaction::NONE,
        }
    }

    /// When the timer thread makes its next round.
    #[must_use]
    pub fn timer_sleeps(&self) -> TimerSleeps<W::Instant> {
        match self.shutdown.next_due() {
            _ if self.has_no_handles => TimerSleeps::ForGood,
            Some(due) => TimerSleeps::Until(due),
            None => TimerSleeps::UntilWoken,
        }
    }

    // The status.

    /// A caller wants what is meant to be on disk: what it does next, where the gate is so.
    pub fn publish_turn(&mut self, gate: GateState, labels: W::Labels) -> PublishAction<W::Labels> {
        let meant = IntendedStatus { condition: self.condition(gate), labels };
        self.publishing.turn(meant)
    }

    /// Whether what is on disk is what is meant, where the gate is so.
    #[must_use]
    pub fn is_published(&self, gate: GateState, labels: W::Labels) -> bool {
        self.publishing.is_clean(&IntendedStatus { condition: self.condition(gate), labels })
    }

    /// The write has ended. Says whether the home's lock is to be given back now, and
    /// [`home_given_back`](Engine::home_given_back) called then.
    pub fn status_written(&mut self, meant: IntendedStatus<W::Labels>, succeeded: bool) -> bool {
        self.publishing.written(meant, succeeded)
    }

    /// The home's lock is released: the end of the shutdown may be reported.
    pub fn home_given_back(&mut self) {
        self.publishing.given_back();
        self.shutdown.reported();
    }

    /// The last status has been written anew, or has not.
    pub fn status_corrected(
        &mut self,
        meant: IntendedStatus<W::Labels>,
        outcome: CorrectionOutcome,
    ) {
        self.publishing.corrected(meant, outcome);
    }

    /// Whether the last status is written, and will not be corrected: it counts no turns that may end later.
    #[must_use]
    pub fn has_published_all(&self) -> bool {
        self.publishing.is_over()
    }

    // Calls.

    /// Whether a drain can be asked for.
    ///
    /// # Errors
    ///
    /// The phase, once a shutdown has begun.
    pub fn may_begin(&self) -> Result<(), Phase> {
        let phase = self.machine.phase();
        if phase.is_shut() { Err(phase) } else { Ok(()) }
    }

    /// What became of the request that was put into this place, after a look that began later was applied.
    /// `is_own` says whether a request is that very one.
    // Property: TG-S5 ack_means_closed.
    pub fn receipt(&self, slot: &W::Slot, is_own: impl Fn(&W::Request) -> bool) -> DrainReceipt {
        let phase = self.machine.phase();
        let is_named = self.table.entry(slot).is_some_and(|entry| {
            let is_own = entry.request().is_some_and(is_own) || fault!(ReceiptForAnyRequest);
            entry.is_live() && is_own
        });
        DrainReceipt {
            draining: (phase == Phase::ExternallyDraining || fault!(ReceiptIgnoresPhase))
                && is_named,
            phase,
            generation: self.machine.generation(),
        }
    }

    /// A caller is about to remove requests: those of which `is_meant` says so.
    pub fn cancel_begins(
        &self,
        is_meant: impl Fn(&W::Slot, Option<&W::Request>) -> bool,
    ) -> PendingCancel<W::Slot, W::Request> {
        let meant =
            self.table.entries().filter(|(slot, it)| it.is_live() && is_meant(slot, it.request()));
        let live_before = meant.map(|(slot, it)| (slot.clone(), it.request().cloned())).collect();
        PendingCancel { live_before }
    }

    /// Whether something that the caller meant to remove is still believed to be live, after a look that began
    /// later was applied.
    // Property: TG-S14 receipt_is_true.
    #[must_use]
    pub fn is_unreleased(&self, call: &PendingCancel<W::Slot, W::Request>) -> bool {
        let is_still_live = |(slot, request): &(W::Slot, Option<W::Request>)| {
            let entry = self.table.entry(slot);
            entry.is_some_and(|it| it.is_live() && it.request() == request.as_ref())
        };
        !self.machine.phase().is_shut()
            && call.live_before.iter().any(is_still_live)
            && !fault!(CancelAlwaysReleases)
    }

    /// The same gateway, had it never closed before, and left one turn behind where it left any. No decision asks for
    /// these numbers; a model of any number of closes and turns has neither.
    #[must_use]
    pub fn uncounted(mut self) -> Engine<W> {
        self.machine = self.machine.in_generation(0);
        self.shutdown = self.shutdown.uncounted();
        self
    }

    // Readings.

    /// The machine.
    #[must_use]
    pub const fn machine(&self) -> Machine {
        self.machine
    }

    /// The phase of the machine.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.machine.phase()
    }

    /// What is believed of every request.
    #[must_use]
    pub const fn table(&self) -> &RequestTable<W::Slot, W::Request, W::Instant> {
        &self.table
    }

    /// What the last look could not see.
    #[must_use]
    pub const fn unseen(&self) -> &Unreadables<W::Slot, W::Reason> {
        &self.unseen
    }

    /// What the last look that saw everything remembers of the directory.
    #[must_use]
    pub const fn stamp(&self) -> Option<&W::Stamp> {
        self.looking.stamp()
    }

    /// How far the shutdown is.
    #[must_use]
    pub const fn shutdown(&self) -> ShutdownProgress<W::Instant> {
        self.shutdown
    }

    /// The time at which the shutdown no longer waits, while it waits.
    #[must_use]
    pub const fn deadline(&self) -> Option<W::Instant> {
        match self.shutdown {
            ShutdownProgress::Waiting { until } => until,
            ShutdownProgress::NotRequested | ShutdownProgress::Stopped { .. } => None,
        }
    }

    /// When the shutdown's grace is over, also once the gateway has stopped.
    #[must_use]
    pub const fn grace_until(&self) -> Option<W::Instant> {
        self.shutdown.grace_until()
    }

    /// How the shutdown ended, once it has.
    #[must_use]
    pub const fn ended(&self) -> Option<Ended> {
        match self.shutdown {
            ShutdownProgress::Stopped { ended, .. } => Some(ended),
            ShutdownProgress::NotRequested | ShutdownProgress::Waiting { .. } => None,
        }
    }

    /// How the shutdown ended, once that may be reported.
    #[must_use]
    pub const fn outcome(&self) -> Option<Ended> {
        self.shutdown.outcome()
    }

    /// What machine and gate amount to.
    #[must_use]
    pub fn condition(&self, gate: GateState) -> Condition {
        condition(self.machine, gate)
    }

    /// What is wanted of the gateway.
    #[must_use]
    pub fn desired_state(&self) -> &'static str {
        desired_state(self.machine, self.table.wanted().is_some())
    }

    /// Whether the drain in force has the gate sealed and empty; `None` while that may still come.
    ///
    /// # Errors
    ///
    /// [`NotQuiesced`] where it will not come.
    // Property: TG-S4 quiesced_means_idle.
    pub fn quiesced(&self, gate: GateState) -> Option<Result<(), NotQuiesced>> {
        match self.machine.phase() {
            Phase::Running => Some(Err(NotQuiesced::NotDraining)),
            Phase::ShuttingDown | Phase::Stopped => Some(Err(NotQuiesced::ShuttingDown)),
            Phase::ExternallyDraining if !self.terms().hold_internal => {
                Some(Err(NotQuiesced::NotHeld))
            }
            Phase::ExternallyDraining => self.condition(gate).quiesced.then_some(Ok(())),
        }
    }

    const fn terms(&self) -> Terms {
        self.machine.terms()
    }
}

impl<S: Clone, R: Clone> Unreadables<S, R> {
    fn of(listing: &Listing<R>) -> Unreadables<S, R> {
        let listing = match listing {
            Listing::Partial(reason) | Listing::Taken(reason) => Some(reason.clone()),
            Listing::Whole | Listing::Unchanged => None,
        };
        Unreadables { requests: Vec::new(), listing }
    }

    /// Passes the sightings on, and remembers which places could not be read.
    fn note<Q>(
        &mut self,
        sightings: impl IntoIterator<Item = (S, Sighting<Q, R>)>,
    ) -> impl Iterator<Item = (S, Sighting<Q, R>)> {
        sightings.into_iter().inspect(|(slot, sighting)| {
            if let Sighting::Unreadable(reason) = sighting {
                self.requests.push((slot.clone(), reason.clone()));
            }
        })
    }
}
