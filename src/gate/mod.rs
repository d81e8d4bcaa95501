//! The only door: every turn is admitted here, in one atomic step that checks and claims, and counted
//! until it is dropped. It decides nothing (the rules are [`word`]'s) and never reads a file or a clock.
//!
//! # Invariants
//!
//! * **TG-S2 no_new_turn_while_draining**: check and claim are one compare-and-swap of one word. So no close can come
//!   between them ([I-54], [U19]).
//! * **TG-S6 in_flight_untouched**: no order to the gate changes the count.
//! * The gate is closed at the instant `Gate::perform` swaps the word: with one word there is no
//!   "closing" in between to be confirmed.
//!
//! [`Gateway`](crate::Gateway) says how this compares with a `TaskTracker`.
//!
//! [I-54]: crate::guide::incidents#i-54
//! [U19]: crate::guide::incidents#u19

#[cfg(tidegate_checking)]
mod events;
#[cfg(all(test, tidegate_loom))]
mod loom_tests;
mod turn;
mod wait;
pub mod word;

use std::fmt;

use crate::faults::fault;
use crate::machine::{Effect, Phase};
use crate::metrics::Metrics;
use crate::probe::probe;
use crate::sync::{Arc, AtomicU64, Ordering, Wakeup};
use word::{Arrival, InFlight, RefusalReason, Word};

#[cfg(tidegate_checking)]
pub use events::GateEvent;
pub use turn::Turn;
pub use wait::Wait;
pub(crate) use wait::WaitList;
pub use word::Origin;

/// The answer to a turn that may not start. `Display` is what to tell the user.
///
/// ```
/// use tidegate::{Gateway, Origin, RefusalReason, request::DrainRequest};
/// let gateway = Gateway::in_memory().start()?;
/// gateway.begin_drain(&DrainRequest::new("update"))?;
/// let refused = gateway.admit(Origin::User).expect_err("draining");
/// let try_again = !matches!(refused.reason, RefusalReason::ShuttingDown);
/// assert!(try_again, "a drain ends; a shutdown does not");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub struct Refused {
    /// What the gate was closed by: [`Phase::ExternallyDraining`] passes, [`Phase::ShuttingDown`] does
    /// not. [`Phase::Running`] where the gate was merely full.
    pub phase: Phase,
    /// The close it was refused by, or a later one.
    pub generation: u64,
    /// The rule that refused it.
    pub reason: RefusalReason,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)
    }
}

/// The shell around one [`Word`].
#[derive(Debug)]
pub(crate) struct Gate {
    word: AtomicU64,
    /// The generation of the latest close. It is written under the transition lock only, before the word.
    generation: AtomicU64,
    /// Rung when a closed gate becomes idle. Its listener wakes the waiters and shuts down.
    wakeup: Arc<Wakeup>,
    pub(crate) metrics: Metrics,
}

impl Gate {
    /// A gate that is closed until the first order (F6).
    pub(crate) fn new(wakeup: Arc<Wakeup>, metrics: Metrics) -> Gate {
        let word = AtomicU64::new(Word::starting().bits());
        Gate { word, generation: AtomicU64::new(0), wakeup, metrics }
    }

    /// The gate's state now.
    pub(crate) fn word(&self) -> Word {
        // Acquire pairs with the Release in `release`: who reads "idle" here sees everything that the
        // turns did. Weaker, a controller could act on an idle gate and still race with the last
        // turn's writes. Shown by loom: `idle_shows_what_the_turns_did`.
        Word::from_bits(self.word.load(Ordering::Acquire))
    }

    pub(crate) fn in_flight(&self) -> InFlight {
        self.word().in_flight()
    }

    /// Admits and counts, or refuses: one step.
    // Property: TG-S2 no_new_turn_while_draining.
    fn claim(&self, arrival: Arrival) -> Result<(), Refused> {
        // Success Acquire pairs with the Release in `perform`: a turn admitted by a reopened gate sees
        // what was done before the reopening. It need not release. Nothing is published by coming in,
        // and a read-modify-write carries on the release sequence of every turn that left before, so
        // `word` still sees those. Failure Acquire pairs with the same Release: a refusal reads the
        // generation of the close that refused it. Shown by loom:
        // `a_reopened_gate_shows_what_came_before`, `a_closed_gate_admits_no_user_turn`.
        self.word
            .fetch_update(Ordering::Acquire, Ordering::Acquire, |bits| {
                Word::from_bits(bits).admit(arrival).ok().map(Word::bits)
            })
            .map(|before| {
                probe!(GateEvent::Admitted(arrival, Word::from_bits(before)); before);
                self.metrics.admitted(arrival.origin());
            })
            .map_err(|bits| {
                probe!(GateEvent::Refused(arrival, Word::from_bits(bits)));
                self.refusal(Word::from_bits(bits), arrival)
            })
    }

    #[cold]
    fn refusal(&self, word: Word, arrival: Arrival) -> Refused {
        // The word was refused, so the rule names one; `Full` is the reading that promises least.
        let reason = word.admit(arrival).err().unwrap_or(RefusalReason::Full);
        let phase = match reason {
            RefusalReason::Draining | RefusalReason::Quiesced => Phase::ExternallyDraining,
            RefusalReason::ShuttingDown => Phase::ShuttingDown,
            RefusalReason::Full => Phase::Running,
        };
        self.metrics.refused(reason);
        // Relaxed: ordered by the Acquire that read the word.
        Refused { phase, generation: self.generation.load(Ordering::Relaxed), reason }
    }

    /// Counts a turn out. Never blocks: at most it wakes the timer thread.
    // Property: TG-L2 drains.
    fn release(&self, origin: Origin) {
        let rings_early = fault!(RingsBeforeLeaving) && self.word().release(origin).is_idle();
        if rings_early {
            self.wakeup.wake();
        }
        // Release pairs with the Acquire in `word`: see there. Not Acquire: the turn that leaves reads
        // nothing of the others. The closure always gives a word, so the update always happens.
        let update = self.word.fetch_update(Ordering::Release, Ordering::Relaxed, |bits| {
            Some(Word::from_bits(bits).release(origin).bits())
        });
        probe!(GateEvent::Released(origin, Word::from_bits(update.unwrap_or_default())));
        let is_idle = update.is_ok_and(|before| Word::from_bits(before).release(origin).is_idle());
        if is_idle && !rings_early {
            self.wakeup.wake();
        }
    }

    /// Performs the machine's effect and returns the word before and after. A shut gate neither reopens nor
    /// amends: then both are the current word.
    ///
    /// Called under the transition lock, so that orders come in the order of the steps.
    pub(crate) fn perform(&self, effect: Effect, generation: u64) -> (Word, Word) {
        // Relaxed: published by the Release below, read by refusals that acquired the word.
        self.generation.store(generation, Ordering::Relaxed);
        // Success Release pairs with the Acquire in `claim`. Success Acquire pairs with the Release in
        // `release`. An order that seals an idle gate reports it idle, so it must see what the turns
        // did. Shown by loom: `a_closed_gate_admits_no_user_turn`, `idle_shows_what_the_turns_did`.
        let update = self.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, |bits| {
            Word::from_bits(bits).perform(effect).map(Word::bits)
        });
        let before = Word::from_bits(update.unwrap_or_else(|refused| refused));
        let after = before.perform(effect).unwrap_or(before);
        probe!(GateEvent::Ordered(effect, before, after));
        (before, after)
    }
}
