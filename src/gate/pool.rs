//! The words of gates, and who has them. A turn points to a stripe without counting references, so stripes are never
//! freed. When a gateway is gone, its words wait here until its last turn has ended, and then serve the next gateway.
//! So a process keeps as many sets of words of one size as it has had gateways at once, and those of turns that it has
//! forgotten. It admits nothing and counts nothing.
//!
//! Only words that are sealed for good and at rest are used again. Then no turn points to them, and no share is out. The
//! thread that gave the last share back may still be about to wake the timer thread. It finds no wakeup or the next
//! gateway's, and a wake-up without a reason does no harm.
//!
//! Under loom and in a simulated world words are freed with their last turn, and this pool is empty.

use super::order::{OrderSteps, OrderTarget};
use super::{Center, Stripe, StripeWord, Stripes, Word};
use crate::machine::Effect;
use crate::orderings::Access;
use crate::probe::probe;
use crate::sync::{AtomicU64, Leaked, RwLock};

#[cfg(tidegate_checking)]
use super::GateEvent;
use super::word::InFlight;

/// The words of one gate.
#[derive(Clone, Debug)]
pub(super) struct Words {
    pub(super) center: Leaked<Center>,
    pub(super) stripes: Stripes,
}

impl Words {
    fn new(stripes: u32) -> Words {
        let center = Leaked::new(Center {
            word: AtomicU64::new(Word::starting().bits()),
            generation: AtomicU64::new(0),
            wakeup: RwLock::new(None),
        });
        #[cfg_attr(
            not(tidegate_checking),
            expect(unused_variables, reason = "only the log names it")
        )]
        let stripe = |index: u32| {
            Leaked::new(Stripe {
                word: AtomicU64::new(StripeWord::starting().bits()),
                generation: AtomicU64::new(0),
                center: center.clone(),
                metrics: RwLock::new(None),
                #[cfg(tidegate_checking)]
                index: index as usize,
            })
        };
        Words { stripes: Stripes((0..stripes).map(stripe).collect()), center }
    }

    /// See [`Gate::perform`](super::Gate::perform).
    pub(super) fn perform(&self, effect: Effect, generation: u64) -> InFlight {
        let mut order = OrderSteps::new(effect, self.stripes.len());
        probe!(GateEvent::OrderBegan(effect));
        // Published by the Release below, and read by refusals that acquired the word.
        self.center.generation.store(generation, Access::Generation.ordering());
        while let Some(target) = order.target() {
            order = match target {
                OrderTarget::Center => {
                    let update = self.center.word.fetch_update(
                        Access::OrderCenter.ordering(),
                        Access::OrderCenterSeen.ordering(),
                        |bits| order.center(Word::from_bits(bits)).map(Word::bits),
                    );
                    let before = Word::from_bits(update.unwrap_or_else(|refused| refused));
                    probe!(GateEvent::OrderedCenter(
                        before,
                        order.center(before).unwrap_or(before)
                    ));
                    order.after_center(before)
                }
                OrderTarget::Stripe(index) => {
                    let stripe = self.stripes.at(index);
                    stripe.generation.store(generation, Access::Generation.ordering());
                    let update = stripe.word.fetch_update(
                        Access::OrderStripe.ordering(),
                        Access::OrderStripeSeen.ordering(),
                        |bits| order.stripe(StripeWord::from_bits(bits)).map(StripeWord::bits),
                    );
                    let before = StripeWord::from_bits(update.unwrap_or_else(|refused| refused));
                    probe!(GateEvent::OrderedStripe(
                        index,
                        before,
                        order.stripe(before).unwrap_or(before)
                    ));
                    order.after_stripe(before)
                }
            };
        }
        probe!(GateEvent::OrderDone(effect));
        order.found()
    }
}

#[cfg(not(any(tidegate_loom, tidegate_checking)))]
mod imp {
    use super::{Effect, StripeWord, Word, Words};
    use crate::sync::{Mutex, Ordering};

    /// The words of gateways that are gone. The lock guards the list only; no turn takes it.
    static POOL: Mutex<Vec<Words>> = Mutex::new(Vec::new());

    /// Words for a new gate with so many stripes: closed and empty.
    pub(in crate::gate) fn take(stripes: u32) -> Words {
        let is_free = |it: &Words| it.stripes.len() == stripes && it.center.word().is_at_rest();
        let mut pool = POOL.lock();
        let Some(found) = pool.iter().position(is_free) else { return Words::new(stripes) };
        let words = pool.swap_remove(found);
        drop(pool);
        // Relaxed: nobody else has them. What is stored here reaches other threads with the gateway.
        words.center.word.store(Word::starting().bits(), Ordering::Relaxed);
        for stripe in words.stripes.iter() {
            stripe.word.store(StripeWord::starting().bits(), Ordering::Relaxed);
        }
        words
    }

    /// The gate is gone. Turns may outlast it; none starts any more.
    pub(in crate::gate) fn give_back(words: &Words) {
        // Relaxed: only orders write it, and this is the last.
        let generation = words.center.generation.load(Ordering::Relaxed);
        words.perform(Effect::SealGate, generation);
        *words.center.wakeup.write() = None;
        for stripe in words.stripes.iter() {
            *stripe.metrics.write() = None;
        }
        POOL.lock().push(words.clone());
    }
}

#[cfg(any(tidegate_loom, tidegate_checking))]
mod imp {
    use super::Words;

    pub(in crate::gate) fn take(stripes: u32) -> Words {
        Words::new(stripes)
    }

    pub(in crate::gate) fn give_back(_: &Words) {}
}

pub(super) use imp::{give_back, take};
