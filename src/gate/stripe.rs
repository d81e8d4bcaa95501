//! The word of a stripe, and every rule about it as pure arithmetic: a small gate of its own, where some threads count
//! the turns of users. It knows no atomics, no threads and no time.
//!
//! ```text
//!  63            32 31                4   3    2     1     0
//! +----------------+-------------------+-----+-----+------+------+
//! |     unused     | user in flight    |SHUT |SEAL |unused|CLOSED|
//! +----------------+-------------------+-----+-----+------+------+
//! ```
//!
//! Check and claim are one step because both are in one word. [`StripeWord::admit`] returns the word with the turn
//! counted, or the reason for a refusal. The shell retries that answer until its compare-and-swap wins; the models call
//! it as it is.
//!
//! # Invariants
//!
//! * **TG-S2 no_new_turn_while_draining**: a word with `CLOSED` admits no user turn.
//! * A closed word with no turn in flight stays so until it is reopened: a child needs a parent on its own stripe. So
//!   its last turn ends once per close, and that turn alone gives the stripe's share back.
//! * **TG-S1 shutdown_wins**: `SHUT` is cleared by nothing, and a word with `SHUT` cannot be reopened.

use std::fmt;

use super::word::{Arrival, IN_FLIGHT_MAX, RefusalReason};
use crate::faults::fault;

/// No new turn starts.
const CLOSED: u64 = 1;
/// No child starts either: the gateway has stopped.
const SEALED: u64 = 1 << 2;
/// Closed by a shutdown: nothing clears this bit.
const SHUT: u64 = 1 << 3;

const COUNT_SHIFT: u32 = 4;
const COUNT_MASK: u64 = (1 << 28) - 1;
const ONE_TURN: u64 = 1 << COUNT_SHIFT;

const _: () = assert!(IN_FLIGHT_MAX as u64 == COUNT_MASK, "a stripe counts as much as the center");

/// The word of a stripe.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StripeWord(u64);

impl StripeWord {
    /// What the end of a turn takes from the word.
    pub(super) const ONE: u64 = ONE_TURN;

    /// Before the first reconcile: closed and empty.
    ///
    /// [F6](crate::guide::requirements#f6)
    #[must_use]
    pub const fn starting() -> StripeWord {
        StripeWord(CLOSED)
    }

    /// The word as the atomic holds it.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The word that `bits` is: the inverse of [`StripeWord::bits`].
    #[must_use]
    pub const fn from_bits(bits: u64) -> StripeWord {
        StripeWord(bits)
    }

    /// Whether new turns are refused.
    #[must_use]
    pub const fn is_closed(self) -> bool {
        self.0 & CLOSED != 0
    }

    /// Whether a shutdown closed it.
    #[must_use]
    pub const fn is_shut(self) -> bool {
        self.0 & SHUT != 0
    }

    /// How many turns are in flight on this stripe.
    #[must_use]
    pub const fn count(self) -> u32 {
        (self.0 >> COUNT_SHIFT & COUNT_MASK) as u32
    }

    /// Lets a user turn or a child of one in and counts it, or says why not.
    ///
    /// # Errors
    ///
    /// [`RefusalReason`], with the word unchanged.
    // Property: TG-S2 no_new_turn_while_draining, TG-S3 bypass_is_bounded, TG-L5 bypass_progress.
    pub fn admit(self, arrival: Arrival) -> Result<StripeWord, RefusalReason> {
        let is_refused = match arrival {
            Arrival::New(_) => self.is_closed() && !fault!(CloseAdmitsUsers),
            Arrival::ChildOf(_) => {
                (self.0 & SEALED != 0 && !fault!(SealedStripeAdmitsChildren))
                    || (self.is_closed() && fault!(ChildrenRefused))
            }
        };
        if is_refused {
            return Err(if self.is_shut() {
                RefusalReason::ShuttingDown
            } else {
                RefusalReason::Draining
            });
        }
        if self.count() == IN_FLIGHT_MAX {
            return Err(RefusalReason::Full);
        }
        Ok(StripeWord(self.0 + ONE_TURN))
    }

    /// A turn has ended.
    #[must_use]
    pub fn release(self) -> StripeWord {
        // No turn exists that could say this of an empty stripe.
        debug_assert!(self.count() > 0, "released a turn that was never admitted");
        StripeWord(self.0.wrapping_sub(StripeWord::ONE))
    }

    /// Whether the turn whose end leaves the word so gives the stripe's share back.
    #[must_use]
    pub fn gives_share_back(self) -> bool {
        self.is_closed() && self.count() == 0 && !fault!(LastTurnKeepsShare)
    }

    /// Closed by a drain.
    pub(super) fn closed(self) -> StripeWord {
        let closed = StripeWord(self.0 | CLOSED);
        if fault!(DrainTakesTurns) { closed.counting(0) } else { closed }
    }

    /// Closed by a shutdown.
    pub(super) fn shut(self) -> StripeWord {
        let shut = if fault!(ShutIsNotSticky) { 0 } else { SHUT };
        StripeWord(self.0 | shut).closed()
    }

    /// Sealed for good, whatever is in flight.
    pub(super) const fn sealed_for_good(self) -> StripeWord {
        StripeWord(self.0 | CLOSED | SEALED | SHUT)
    }

    /// Open, or `None` where a shutdown keeps it closed.
    pub(super) const fn opened(self) -> Option<StripeWord> {
        if self.is_shut() { None } else { Some(StripeWord(self.0 & !CLOSED)) }
    }

    /// With this many turns in flight.
    pub(super) const fn counting(self, turns: u32) -> StripeWord {
        StripeWord(self.0 & (ONE_TURN - 1) | (turns as u64) << COUNT_SHIFT)
    }
}

impl fmt::Debug for StripeWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = [(CLOSED, "closed"), (SEALED, "sealed"), (SHUT, "shut")]
            .into_iter()
            .filter(|(bit, _)| self.0 & bit != 0)
            .map(|(_, name)| name)
            .collect::<Vec<_>>();
        let flags = if flags.is_empty() { "open".to_owned() } else { flags.join("+") };
        write!(f, "{flags} {}u", self.count())
    }
}
