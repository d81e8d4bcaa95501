//! An order on its way through the gate: which word comes next, and what becomes of it. It is pure. The shell carries
//! out each step as one atomic operation, and the models let anything happen between two of them.
//!
//! A gate of several words cannot close in one instant. It goes Open → Closing → Closed → Opening → Open. While it is
//! closing or opening, either answer to an arrival is right. It is closed from the last step of the order that closes
//! it to the first step of the order that reopens it.
//!
//! The order goes first to the central word, then to each stripe, then to the central word again. Its first step takes
//! a share for each stripe, so the gate is neither idle nor sealed meanwhile. Its last step gives back what is spare. A
//! closing leaves a share with each stripe that it finds open and with turns in flight: the last of them gives it back.
//! A reopening gives back all its own, and those that are left with the stripes that it opens. So each share is given
//! back once, whatever comes between.
//!
//! # Invariants
//!
//! * **TG-S5 ack_means_closed**: an order to close has ended only when each stripe is closed.
//! * **TG-S4 quiesced_means_idle**: the word is not idle while a stripe is open or has a turn in flight.
//! * **TG-S6 in_flight_untouched**: no step changes a count of turns.
//! * Orders are given one at a time, under the transition lock. Otherwise a reopening could open a stripe that a later
//!   order has closed already.

use super::stripe::StripeWord;
use super::word::{InFlight, Word};
use crate::faults::fault;
use crate::machine::Effect;

/// An order that is being carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[must_use = "an order is done when there is no next step"]
pub struct OrderSteps {
    effect: Effect,
    stripes: u32,
    next: OrderStage,
    /// The shares to give back.
    spare: u32,
    found: InFlight,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum OrderStage {
    Begin,
    Stripe(u32),
    End,
    Done,
}

/// The word that the next step is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderTarget {
    /// The central word.
    Center,
    /// The stripe with this index.
    Stripe(usize),
}

impl OrderSteps {
    /// An order for what the machine demands, to a gate with so many stripes.
    pub const fn new(effect: Effect, stripes: u32) -> OrderSteps {
        let found = InFlight::new(0, 0);
        OrderSteps { effect, stripes, next: OrderStage::Begin, spare: 0, found }
    }

    /// The word that the next step is about; `None` when the order is done.
    #[must_use]
    pub fn target(&self) -> Option<OrderTarget> {
        match self.next {
            OrderStage::Begin | OrderStage::End => Some(OrderTarget::Center),
            OrderStage::Stripe(index) => Some(OrderTarget::Stripe(index as usize)),
            OrderStage::Done => None,
        }
    }

    /// The turns that the order has found in flight, by the words that it has been to. A turn that it has found is
    /// counted once.
    #[must_use]
    pub const fn found(&self) -> InFlight {
        self.found
    }

    /// What the next step makes of the central word. `None`: the gate refuses the order, and the word stays as it is.
    /// A shut gate is neither reopened nor amended, and an open one has nothing to amend.
    #[must_use]
    // Property: TG-S1 shutdown_wins. The gate keeps this by itself, whatever thread gives the order.
    pub fn center(&self, word: Word) -> Option<Word> {
        if self.next == OrderStage::End {
            let word = match self.effect {
                Effect::ReopenGate if !word.is_shut() => word.opened(),
                _ => word,
            };
            return Some(word.without_shares(self.spare));
        }
        let taken = if fault!(OrderTakesNoShares) { 0 } else { self.stripes };
        match self.effect {
            Effect::AmendDrain { .. } | Effect::ReopenGate if word.is_shut() => None,
            Effect::AmendDrain { .. } if !word.is_closed() => None,
            Effect::AmendDrain { hold_internal } => Some(word.amended(hold_internal)),
            Effect::ReopenGate if fault!(CenterOpensFirst) => {
                Some(word.unsealed().with_shares(taken).opened())
            }
            Effect::ReopenGate => Some(word.unsealed().with_shares(taken)),
            Effect::CloseGate { hold_internal } => {
                Some(word.closed(hold_internal).with_shares(taken))
            }
            Effect::ShutGate => Some(word.shut().with_shares(taken)),
            Effect::SealGate => Some(word.sealed_for_good().with_shares(taken)),
        }
    }

    /// What the next step makes of its stripe. `None`: the stripe refuses, and stays as it is.
    #[must_use]
    // Property: TG-S1 shutdown_wins, TG-S2 no_new_turn_while_draining.
    pub fn stripe(&self, word: StripeWord) -> Option<StripeWord> {
        match self.effect {
            Effect::CloseGate { .. } => Some(word.closed()),
            Effect::ShutGate => Some(word.shut()),
            Effect::SealGate => Some(word.sealed_for_good()),
            Effect::ReopenGate if fault!(ReopeningSkipsAStripe) && self.is_last_of_several() => {
                None
            }
            Effect::ReopenGate => word.opened(),
            Effect::AmendDrain { .. } => None,
        }
    }

    /// The step at the central word is done. The word was `before`.
    pub fn after_center(self, before: Word) -> OrderSteps {
        if self.next == OrderStage::End {
            return OrderSteps { next: OrderStage::Done, ..self };
        }
        let is_one_step = matches!(self.effect, Effect::AmendDrain { .. });
        let next = if is_one_step || self.center(before).is_none() {
            OrderStage::Done
        } else if fault!(ConfirmedBeforeStripes) {
            return OrderSteps { next: OrderStage::End, spare: self.stripes, ..self };
        } else {
            self.stripe_or_end(0)
        };
        OrderSteps { next, found: InFlight::new(0, before.internal()), ..self }
    }

    /// The step at a stripe is done. Its word was `before`.
    pub fn after_stripe(self, before: StripeWord) -> OrderSteps {
        let OrderStage::Stripe(index) = self.next else { return self };
        let spare = match self.effect {
            // The stripe needs no share, or has one since an earlier order closed it.
            Effect::CloseGate { .. } | Effect::ShutGate | Effect::SealGate => {
                u32::from((before.is_closed() || before.count() == 0) && !fault!(SpareSharesKept))
            }
            // And the one that was left with the stripe. It is open now, so its last turn gives none back.
            Effect::ReopenGate => {
                let is_opened = before.is_closed() && !before.is_shut();
                let left = is_opened && before.count() > 0 && !fault!(ReopeningKeepsShares);
                1 + u32::from(left)
            }
            Effect::AmendDrain { .. } => 0,
        };
        let count = if fault!(FoundLeavesOutUsers) { 0 } else { before.count() };
        let user = self.found.user.saturating_add(count);
        OrderSteps {
            next: self.stripe_or_end(index + 1),
            spare: self.spare + spare,
            found: InFlight::new(user, self.found.internal),
            ..self
        }
    }

    fn is_last_of_several(&self) -> bool {
        self.stripes > 1 && self.next == OrderStage::Stripe(self.stripes - 1)
    }

    const fn stripe_or_end(&self, index: u32) -> OrderStage {
        if index < self.stripes { OrderStage::Stripe(index) } else { OrderStage::End }
    }
}
