//! The gate as plain values: the same words and the same steps, without atomics. Models and tests hold it. It also has
//! what the engine is given of any gate: its [state](GateState).

use std::fmt;

use super::order::{OrderSteps, OrderTarget};
use super::stripe::StripeWord;
use super::word::{Arrival, InFlight, Origin, RefusalReason, Word};
use crate::machine::Effect;

/// What a gate is like: its central word, and the turns of users in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GateState {
    word: Word,
    user: u32,
}

impl GateState {
    /// A state whose stripes count so many turns in all. They were read one after the other, so this is an estimate
    /// while turns come and go. No turn that was in flight throughout is left out.
    #[must_use]
    pub const fn new(word: Word, counted: u32) -> GateState {
        // No share is out, so none of them is in flight any more.
        GateState { word, user: if word.is_drained() { 0 } else { counted } }
    }

    /// The central word.
    #[must_use]
    pub const fn word(self) -> Word {
        self.word
    }

    /// See [`Word::is_closed`].
    #[must_use]
    pub const fn is_closed(self) -> bool {
        self.word.is_closed()
    }

    /// See [`Word::is_sealed`].
    #[must_use]
    pub const fn is_sealed(self) -> bool {
        self.word.is_sealed()
    }

    /// See [`Word::is_shut`].
    #[must_use]
    pub const fn is_shut(self) -> bool {
        self.word.is_shut()
    }

    /// Closed, with nothing in flight: see [`Word::is_idle`]. At a gate that is sealed for good the stripes tell as well,
    /// as no turn can start on any: its last turn may not have given its share back yet.
    #[must_use]
    pub const fn is_idle(self) -> bool {
        let is_empty = self.user == 0 && self.word.internal() == 0;
        self.word.is_idle() || (self.word.is_sealed() && self.word.is_shut() && is_empty)
    }

    /// See [`Word::is_at_rest`].
    #[must_use]
    pub const fn is_at_rest(self) -> bool {
        self.is_sealed() && self.is_idle()
    }

    /// The turns in flight, by origin.
    #[must_use]
    pub const fn in_flight(self) -> InFlight {
        InFlight::new(self.user, self.word.internal())
    }
}

/// A gate with this many stripes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PlainGate<const STRIPES: usize = 1> {
    /// The central word.
    pub center: Word,
    /// The words of the stripes.
    pub stripes: [StripeWord; STRIPES],
}

impl<const STRIPES: usize> PlainGate<STRIPES> {
    /// Before the first order: closed and empty.
    ///
    /// [F6](crate::guide::requirements#f6)
    #[must_use]
    pub const fn starting() -> PlainGate<STRIPES> {
        PlainGate { center: Word::starting(), stripes: [StripeWord::starting(); STRIPES] }
    }

    /// What the engine is given of it.
    #[must_use]
    pub fn state(&self) -> GateState {
        GateState::new(self.center, self.stripes.iter().map(|it| it.count()).sum())
    }

    /// An order to this gate, before its first step.
    pub fn order(&self, effect: Effect) -> OrderSteps {
        OrderSteps::new(effect, u32::try_from(STRIPES).unwrap_or(u32::MAX))
    }

    /// Makes the next step of an order.
    pub fn step(&mut self, order: OrderSteps) -> OrderSteps {
        match order.target() {
            None => order,
            Some(OrderTarget::Center) => {
                let before = self.center;
                self.center = order.center(before).unwrap_or(before);
                order.after_center(before)
            }
            Some(OrderTarget::Stripe(index)) => {
                let before = self.stripes[index];
                self.stripes[index] = order.stripe(before).unwrap_or(before);
                order.after_stripe(before)
            }
        }
    }

    /// Carries out an order with nothing in between. Returns the gate after it, and what the order found in flight.
    #[must_use]
    pub fn perform(mut self, effect: Effect) -> (PlainGate<STRIPES>, InFlight) {
        let mut order = self.order(effect);
        while order.target().is_some() {
            order = self.step(order);
        }
        (self, order.found())
    }

    /// Admits an arrival that comes to this stripe, if it is a user's.
    ///
    /// # Errors
    ///
    /// [`RefusalReason`], with the gate unchanged.
    pub fn admit_at(
        mut self,
        stripe: usize,
        arrival: Arrival,
    ) -> Result<PlainGate<STRIPES>, RefusalReason> {
        match arrival.origin() {
            Origin::User => {
                let admitted = self.stripes[stripe].admit(arrival);
                let refined = |reason: RefusalReason| reason.refined_by(self.center, true);
                self.stripes[stripe] = admitted.map_err(refined)?;
            }
            Origin::Internal => self.center = self.center.admit()?,
        }
        Ok(self)
    }

    /// A turn has ended, on this stripe if it is a user's.
    #[must_use]
    pub fn release_at(mut self, stripe: usize, origin: Origin) -> PlainGate<STRIPES> {
        match origin {
            Origin::User => {
                self.stripes[stripe] = self.stripes[stripe].release();
                if self.stripes[stripe].gives_share_back() {
                    self.center = self.center.without_shares(1);
                }
            }
            Origin::Internal => self.center = self.center.release(),
        }
        self
    }
}

impl<const STRIPES: usize> fmt::Debug for PlainGate<STRIPES> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.center.fmt(f)?;
        self.stripes.iter().try_for_each(|it| write!(f, " | {it:?}"))
    }
}

impl PlainGate {
    /// Admits an arrival.
    ///
    /// # Errors
    ///
    /// [`RefusalReason`], with the gate unchanged.
    pub fn admit(self, arrival: Arrival) -> Result<PlainGate, RefusalReason> {
        self.admit_at(0, arrival)
    }

    /// A turn has ended.
    #[must_use]
    pub fn release(self, origin: Origin) -> PlainGate {
        self.release_at(0, origin)
    }

    /// This gate with other numbers of turns in flight.
    #[must_use]
    pub fn with_in_flight(self, turns: InFlight) -> PlainGate {
        let stripe = self.stripes[0].counting(turns.user);
        let shares = u32::from(stripe.is_closed() && turns.user > 0);
        PlainGate { center: self.center.counting(turns.internal, shares), stripes: [stripe] }
    }
}
