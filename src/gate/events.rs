//! What a checking build logs of a gate: each step of its words.

use super::stripe::StripeWord;
use super::word::{Arrival, Word};
use crate::machine::Effect;

/// What has happened at a gate. A stripe is named by its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateEvent {
    /// A user turn or a child of one is admitted: the stripe's word before that.
    UserAdmitted(Arrival, usize, StripeWord),
    /// Internal work or a child of it is admitted: the central word before that.
    InternalAdmitted(Arrival, Word),
    /// An arrival is refused.
    Refused(Arrival),
    /// A user turn or a child of one has ended: the stripe's word before that.
    UserReleased(usize, StripeWord),
    /// The last turn of a closed stripe has given the share back.
    ShareGivenBack,
    /// Internal work or a child of it has ended: the central word before that.
    InternalReleased(Word),
    /// An order begins.
    OrderBegan(Effect),
    /// An order has been at the central word: before and after.
    OrderedCenter(Word, Word),
    /// An order has been at a stripe: before and after.
    OrderedStripe(usize, StripeWord, StripeWord),
    /// An order is done.
    OrderDone(Effect),
    /// A reader has read the central word, and goes on to the stripes.
    Read(Word),
}
