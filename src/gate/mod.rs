//! The only door: every turn is admitted here, in one atomic step that checks and claims, and counted
//! until it is dropped. It decides nothing (the rules are those of [`word`], [`stripe`] and [`order`]) and never reads a
//! file or a clock.
//!
//! User turns are counted in *stripes*. Each is a word on a cache line of its own, and a thread uses the stripe of its
//! number. So threads that admit turns share no line of memory. Internal work is counted in the *central word*, where
//! the gate is sealed.
//!
//! # Invariants
//!
//! * **TG-S2 no_new_turn_while_draining**: check and claim are one compare-and-swap of one word. So no close can come
//!   between them ([I-54], [U19]).
//! * **TG-S5 ack_means_closed**: `Gate::perform` returns when every stripe is closed, and not before.
//! * **TG-S6 in_flight_untouched**: no order to the gate changes the count.
//! * The drop of a turn allocates nothing and never waits, for a lock neither.
//!
//! [`Gateway`](crate::Gateway) says how this compares with a `TaskTracker`. [`orderings`](crate::orderings) lists every atomic access.
//!
//! [I-54]: crate::guide::incidents#i-54
//! [U19]: crate::guide::incidents#u19

#[cfg(tidegate_checking)]
mod events;
#[cfg(all(test, tidegate_loom))]
mod loom_tests;
mod order;
mod plain;
mod pool;
mod stripe;
#[cfg(all(test, not(tidegate_loom)))]
mod tests;
mod turn;
mod wait;
pub mod word;

use std::fmt;

use crate::faults::fault;
use crate::machine::{Effect, Phase};
use crate::metrics::Metrics;
use crate::orderings::Access;
use crate::probe::probe;
use crate::sync::{Arc, AtomicU64, Leaked, Ordering, RwLock, Wakeup, thread_number};
use word::{Arrival, InFlight, RefusalReason, Word};

#[cfg(tidegate_checking)]
pub use events::GateEvent;
pub use order::{OrderSteps, OrderTarget};
pub use plain::{GateState, PlainGate};
pub use stripe::StripeWord;
pub use turn::Turn;
pub use wait::Wait;
pub(crate) use wait::WaitList;
pub use word::Origin;

/// The most stripes that a gate can have.
pub(crate) const STRIPES_MAX: u32 = 1024;

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
    /// What the gate was closed by, as the word says that refused it: [`Phase::ExternallyDraining`] passes,
    /// [`Phase::ShuttingDown`] does not. [`Phase::Running`] where the gate was merely full.
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

/// The shell around the words of one gate.
#[derive(Debug)]
pub(crate) struct Gate {
    words: pool::Words,
    metrics: Arc<Metrics>,
}

/// Where the gate is sealed. Aligned so that no other data is on its lines: two of 64 bytes, as processors fetch them in
/// pairs.
#[derive(Debug)]
#[repr(align(128))]
struct Center {
    word: AtomicU64,
    /// The generation of the latest order. Written under the transition lock only, before the word.
    generation: AtomicU64,
    /// Rung when a closed gate becomes idle. Its listener wakes the waiters and shuts down. The lock guards the change
    /// of the gateway: see [`pool`].
    wakeup: RwLock<Option<Arc<Wakeup>>>,
}

/// Where some threads count their turns. Aligned as the center is, so that no two stripes share a line. It is never
/// freed, so a turn needs no count of references: that would cost as much again as the turn.
#[derive(Debug)]
#[repr(align(128))]
struct Stripe {
    word: AtomicU64,
    /// The generation of the order that was here last. Written before the word.
    generation: AtomicU64,
    center: Leaked<Center>,
    /// For children, which have no gateway at hand. The lock guards the change of the gateway.
    metrics: RwLock<Option<Arc<Metrics>>>,
    #[cfg(tidegate_checking)]
    index: usize,
}

/// The stripes of a gate: a power of two of them.
#[derive(Clone, Debug)]
struct Stripes(Leaked<[Leaked<Stripe>]>);

// What a turn costs rests on these.
#[cfg(not(any(tidegate_loom, tidegate_checking)))]
const _: () = {
    assert!(size_of::<Stripe>() == 128 && align_of::<Stripe>() == 128);
    assert!(size_of::<Center>() == 128 && align_of::<Center>() == 128);
    assert!(size_of::<Turn>() == 2 * size_of::<usize>());
    assert!(size_of::<Option<Turn>>() == size_of::<Turn>());
};

impl Gate {
    /// A gate that is closed until the first order (F6). It has this many stripes, rounded up to a power of two.
    pub(crate) fn new(stripes: u32, wakeup: Arc<Wakeup>, metrics: Metrics) -> Gate {
        let metrics = Arc::new(metrics);
        let words = pool::take(stripes.clamp(1, STRIPES_MAX).next_power_of_two());
        *words.center.wakeup.write() = Some(wakeup);
        for stripe in words.stripes.iter() {
            *stripe.metrics.write() = Some(Arc::clone(&metrics));
        }
        Gate { words, metrics }
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The central word now.
    pub(crate) fn word(&self) -> Word {
        self.words.center.word()
    }

    /// What the gate is like now. It is exact where it says that no turn of a user is in flight and none can start, and
    /// else an estimate: see [`GateState::new`].
    pub(crate) fn state(&self) -> GateState {
        // The central word first: what it says of the stripes stays true until the gate is reopened.
        let word = self.word();
        probe!(GateEvent::Read(word));
        let count = |it: &Leaked<Stripe>| {
            StripeWord::from_bits(it.word.load(Access::StripeCount.ordering())).count()
        };
        // No stripe need be read of a gate that is drained, nor would it count.
        let stripes = self.words.stripes.iter().filter(|_| !word.is_drained());
        GateState::new(word, stripes.map(count).fold(0, u32::saturating_add))
    }

    pub(crate) fn in_flight(&self) -> InFlight {
        self.state().in_flight()
    }

    /// Admits a turn to the calling thread's stripe and counts it, or refuses it.
    ///
    /// # Errors
    ///
    /// [`Refused`].
    #[inline]
    pub(crate) fn admit(&self, origin: Origin) -> Result<Turn, Refused> {
        let answer = Turn::admit(self.words.stripes.at(thread_number()), origin);
        self.metrics.answered(origin, answer.as_ref().err().map(|refused| refused.reason));
        answer
    }

    /// Carries out what the machine demands, and returns what it found in flight. On return the order is confirmed: each
    /// stripe is as it was ordered to be. A shut gate neither reopens nor amends: then nothing changes.
    ///
    /// Called under the transition lock, so that orders come one at a time and in the order of the machine's steps.
    pub(crate) fn perform(&self, effect: Effect, generation: u64) -> InFlight {
        self.words.perform(effect, generation)
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        pool::give_back(&self.words);
    }
}

impl Stripes {
    fn iter(&self) -> impl Iterator<Item = &Leaked<Stripe>> {
        self.0.iter()
    }

    fn len(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(STRIPES_MAX)
    }

    /// The stripe of the thread with this number.
    #[inline]
    fn at(&self, number: usize) -> &Leaked<Stripe> {
        // A power of two of them, so a mask finds it.
        &self.0[number & (self.0.len() - 1)]
    }
}

impl Stripe {
    /// Admits and counts, or refuses: one step.
    // Property: TG-S2 no_new_turn_while_draining.
    fn claim(&self, arrival: Arrival) -> Result<(), Refused> {
        if arrival.origin() == Origin::Internal {
            return self.center.claim(arrival);
        }
        // Refusing is a load. The word changes only when the turn is admitted, so no count is ever undone.
        self.word
            .fetch_update(Access::Admit.ordering(), Access::Refuse.ordering(), |bits| {
                StripeWord::from_bits(bits).admit(arrival).ok().map(StripeWord::bits)
            })
            .map(|before| {
                probe!(GateEvent::UserAdmitted(arrival, self.index, StripeWord::from_bits(before)); before);
            })
            .map_err(|bits| self.refusal(StripeWord::from_bits(bits), arrival))
    }

    #[cold]
    fn refusal(&self, word: StripeWord, arrival: Arrival) -> Refused {
        probe!(GateEvent::Refused(arrival));
        // The word was refused, so the rule names a reason; `Full` is the reading that promises least.
        let reason = word.admit(arrival).err().unwrap_or(RefusalReason::Full);
        let generation = self.generation.load(Access::Generation.ordering());
        // The word first: the generation is written before it.
        let center = self.center.word();
        let of_center = self.center.generation.load(Access::Generation.ordering());
        Refused::new(reason.refined_by(center, of_center == generation), generation)
    }

    /// Counts the answer to a child, where the gateway still exists.
    fn measure_child(&self, origin: Origin, refused: Option<RefusalReason>) {
        if cfg!(feature = "metrics") {
            // The recorder is a stranger's code, so it is called without the lock.
            let metrics = self.metrics.try_read().as_deref().and_then(Clone::clone);
            if let Some(metrics) = metrics {
                metrics.answered(origin, refused);
            }
        }
    }

    /// Counts a turn out. Never blocks: at most it wakes the timer thread.
    // Property: TG-L2 drains.
    fn release(&self, origin: Origin) {
        if origin == Origin::Internal {
            return self.center.release();
        }
        let before = self.word.fetch_sub(StripeWord::ONE, Access::Leave.ordering());
        let left = StripeWord::from_bits(before).release();
        probe!(GateEvent::UserReleased(self.index, StripeWord::from_bits(before)));
        if left.gives_share_back() {
            self.last_has_left();
        }
    }

    /// The last turn of a closed stripe has ended, and gives its share back. That happens once per close, so no two
    /// threads need to agree who was last.
    #[cold]
    fn last_has_left(&self) {
        self.word.load(Access::LastLeaves.ordering());
        self.center.give_back_share();
    }
}

impl Center {
    fn word(&self) -> Word {
        Word::from_bits(self.word.load(Access::State.ordering()))
    }

    fn claim(&self, arrival: Arrival) -> Result<(), Refused> {
        self.word
            .fetch_update(
                Access::AdmitInternal.ordering(),
                Access::RefuseInternal.ordering(),
                |bits| Word::from_bits(bits).admit().ok().map(Word::bits),
            )
            .map(|before| {
                probe!(GateEvent::InternalAdmitted(arrival, Word::from_bits(before)); before);
            })
            .map_err(|bits| self.refusal(Word::from_bits(bits), arrival))
    }

    #[cold]
    fn refusal(&self, word: Word, arrival: Arrival) -> Refused {
        probe!(GateEvent::Refused(arrival); arrival);
        let reason = word.admit().err().unwrap_or(RefusalReason::Full);
        Refused::new(reason, self.generation.load(Access::Generation.ordering()))
    }

    /// Internal work has ended.
    fn release(&self) {
        self.end(Access::LeaveInternal, Word::release, |before| {
            probe!(GateEvent::InternalReleased(before); before);
        });
    }

    fn give_back_share(&self) {
        self.end(
            Access::GiveShareBack,
            |word| word.without_shares(1),
            |_| {
                probe!(GateEvent::ShareGivenBack);
            },
        );
    }

    /// Some work has ended: changes the word, logs that, and wakes the timer thread if the gate is idle now.
    fn end(&self, access: Access, change: impl Fn(Word) -> Word, log: impl FnOnce(Word)) {
        let rings_early = fault!(RingsBeforeLeaving) && change(self.word()).is_idle();
        if rings_early {
            self.wake();
        }
        let (before, after) = self.change(access, change);
        log(before);
        if after.is_idle() && !rings_early {
            self.wake();
        }
    }

    /// Wakes the gateway's timer thread. Never waits: the lock is only written when the gateway changes, and then the
    /// work that ends was the former one's.
    fn wake(&self) {
        if let Some(wakeup) = self.wakeup.try_read().as_deref().and_then(Option::as_ref) {
            wakeup.wake();
        }
    }

    /// Changes the word. The word before and after.
    fn change(&self, access: Access, change: impl Fn(Word) -> Word) -> (Word, Word) {
        let changed = |bits| Some(change(Word::from_bits(bits)).bits());
        // Relaxed: what was read is only tried, and the change is made by the exchange. It never refuses.
        let update = self.word.fetch_update(access.ordering(), Ordering::Relaxed, changed);
        let before = Word::from_bits(update.unwrap_or_else(|bits| bits));
        (before, change(before))
    }
}

impl Refused {
    fn new(reason: RefusalReason, generation: u64) -> Refused {
        let phase = match reason {
            RefusalReason::Draining | RefusalReason::Quiesced => Phase::ExternallyDraining,
            RefusalReason::ShuttingDown => Phase::ShuttingDown,
            RefusalReason::Full => Phase::Running,
        };
        Refused { phase, generation, reason }
    }
}
