//! What a checking build logs of a gate: each step of its word.

use super::word::{Arrival, Origin, Word};
use crate::machine::Effect;

/// What has happened at a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateEvent {
    /// It let something in: the gate before that.
    Admitted(Arrival, Word),
    /// It refused something, being so.
    Refused(Arrival, Word),
    /// A turn has ended: the gate before that.
    Released(Origin, Word),
    /// It has done what was ordered: the gate before and after.
    Ordered(Effect, Word, Word),
}
