//! The central word of the gate, and every rule about it as pure arithmetic. It knows no atomics, no threads and no
//! time.
//!
//! ```text
//!  63      60 59               32 31                4   3    2     1     0
//! +----------+-------------------+------------------+-----+-----+------+------+
//! |  unused  | internal in flight| shares           |SHUT |SEAL | HOLD |CLOSED|
//! +----------+-------------------+------------------+-----+-----+------+------+
//! ```
//!
//! Internal work is counted here. Turns of users are counted in the [stripes](super::stripe). A **share** keeps the
//! gate from being idle. While an order is on its way it has one for each stripe. Each stripe that was closed with turns
//! in flight has one until the last of them ends. So with the gate closed and no share out, no turn of a user is in flight, and
//! none can start before the gate is reopened.
//!
//! # Invariants
//!
//! * **TG-S3 bypass_is_bounded**: a word with `SEALED` admits nothing; everything admitted is counted.
//! * **TG-S1 shutdown_wins**: `SHUT` is set by a shutdown and cleared by nothing, and a word with
//!   `SHUT` cannot be reopened.
//! * `SEALED` is set by a release only if `HOLD` is set, and in the same step that makes the word idle. There is no
//!   gap between the last release and the seal.

use std::fmt;

use crate::faults::fault;

/// No new user turn starts.
const CLOSED: u64 = 1;
/// Seal at the next idle instant.
const HOLD: u64 = 1 << 1;
/// Nothing at all is admitted.
const SEALED: u64 = 1 << 2;
/// Closed by a shutdown: nothing clears this bit.
const SHUT: u64 = 1 << 3;

const COUNT_BITS: u32 = 28;
const SHARES_SHIFT: u32 = 4;
const INTERNAL_SHIFT: u32 = SHARES_SHIFT + COUNT_BITS;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;
const ONE_SHARE: u64 = 1 << SHARES_SHIFT;
const ONE_INTERNAL_TURN: u64 = 1 << INTERNAL_SHIFT;
const OUTSTANDING: u64 = COUNT_MASK << SHARES_SHIFT | COUNT_MASK << INTERNAL_SHIFT;

/// The most turns that one word counts: internal work, or the turns of users on one stripe. One more is refused.
pub const IN_FLIGHT_MAX: u32 = (1 << COUNT_BITS) - 1;

const _: () = assert!(
    CLOSED + HOLD + SEALED + SHUT == ONE_SHARE - 1,
    "each flag has a bit of its own, and the counts begin behind them"
);
const _: () = assert!(INTERNAL_SHIFT + COUNT_BITS <= 64, "the counts must fit beside the flags");
const _: () = assert!(
    OUTSTANDING & (CLOSED | HOLD | SEALED | SHUT) == 0,
    "flags and counts must not overlap"
);

/// Who a turn is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Origin {
    /// A user's message or request: what a drain refuses to start.
    User,
    /// The gateway's own work (a completion to deliver, a timer): passes a closed gate, is counted,
    /// and is refused only once the gate is sealed.
    Internal,
}

impl Origin {
    /// Both of them.
    pub const ALL: [Origin; 2] = [Origin::User, Origin::Internal];
}

/// What asks to be admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Arrival {
    /// A new turn.
    New(Origin),
    /// Work that a live turn of this origin needs in order to end. A closed gate lets it through, and
    /// it is counted as its parent is.
    // Property: TG-L5 bypass_progress.
    ChildOf(Origin),
}

impl Arrival {
    /// Whom it is counted with.
    #[must_use]
    pub const fn origin(self) -> Origin {
        match self {
            Arrival::New(origin) | Arrival::ChildOf(origin) => origin,
        }
    }
}

/// Why the gate did not let something in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum RefusalReason {
    /// Closed by a drain.
    Draining,
    /// Sealed by a drain that holds internal work too.
    Quiesced,
    /// Closed by a shutdown.
    ShuttingDown,
    /// There is no room to count another turn: some 268 million are in flight.
    Full,
}

impl fmt::Display for RefusalReason {
    /// What to tell the user.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RefusalReason::Draining => {
                "the gateway is draining for maintenance and starts no new work; please try again shortly"
            }
            RefusalReason::Quiesced => {
                "the gateway is quiesced for maintenance and starts no work until it is released; please try again later"
            }
            RefusalReason::ShuttingDown => "the gateway is shutting down and starts no new work; please try again later",
            RefusalReason::Full => {
                "the gateway has as much work in flight as it can count; please try again later"
            }
        })
    }
}

impl RefusalReason {
    /// A stripe's reason, made exact by the central word if that is of the same close. A stripe does not know that the
    /// drain that closed it has sealed the gate.
    pub(super) const fn refined_by(self, center: Word, is_same_close: bool) -> RefusalReason {
        let is_quiesced = is_same_close && center.is_sealed() && !center.is_shut();
        match self {
            RefusalReason::Draining if is_quiesced => RefusalReason::Quiesced,
            reason => reason,
        }
    }

    /// All of them.
    pub const ALL: [RefusalReason; 4] = [
        RefusalReason::Draining,
        RefusalReason::Quiesced,
        RefusalReason::ShuttingDown,
        RefusalReason::Full,
    ];

    /// The word for it, for programs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            RefusalReason::Draining => "draining",
            RefusalReason::Quiesced => "quiesced",
            RefusalReason::ShuttingDown => "shutting_down",
            RefusalReason::Full => "full",
        }
    }
}

/// How many turns are in flight, by origin.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    serde::Serialize,
    serde::Deserialize,
)]
#[cfg_attr(feature = "http", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct InFlight {
    /// Turns of users, and their children.
    pub user: u32,
    /// The gateway's own work, and its children.
    pub internal: u32,
}

impl InFlight {
    /// Counts by origin.
    #[must_use]
    pub const fn new(user: u32, internal: u32) -> InFlight {
        InFlight { user, internal }
    }

    /// Both together.
    #[must_use]
    pub const fn total(self) -> u64 {
        self.user as u64 + self.internal as u64
    }
}

/// The central word.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Word(u64);

impl Word {
    /// Before the first reconcile: closed and empty.
    ///
    /// [F6](crate::guide::requirements#f6)
    #[must_use]
    pub const fn starting() -> Word {
        Word(CLOSED)
    }

    /// The word as the atomic holds it.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The word that `bits` is: the inverse of [`Word::bits`].
    #[must_use]
    pub const fn from_bits(bits: u64) -> Word {
        Word(bits)
    }

    /// Whether new user turns are refused, or are about to be.
    #[must_use]
    pub const fn is_closed(self) -> bool {
        self.0 & CLOSED != 0
    }

    /// Whether nothing at all is admitted.
    #[must_use]
    pub const fn is_sealed(self) -> bool {
        self.0 & SEALED != 0
    }

    /// Whether a shutdown closed it.
    #[must_use]
    pub const fn is_shut(self) -> bool {
        self.0 & SHUT != 0
    }

    /// Closed, confirmed, and nothing in flight. A reading: internal work may undo it unless the word is also
    /// [sealed](Word::is_sealed).
    #[must_use]
    pub const fn is_idle(self) -> bool {
        self.is_closed() && self.0 & OUTSTANDING == 0
    }

    /// Whether no turn of a user is in flight and none can start. Only internal work may be left.
    #[must_use]
    pub const fn is_drained(self) -> bool {
        self.is_closed() && self.shares() == 0
    }

    /// Sealed with nothing in flight: nothing is going on, and nothing will be until it is reopened.
    /// What a drain promises as quiesced and a shutdown calls clean.
    #[must_use]
    pub const fn is_at_rest(self) -> bool {
        self.is_sealed() && self.is_idle()
    }

    /// The shares that are out.
    #[must_use]
    pub const fn shares(self) -> u32 {
        (self.0 >> SHARES_SHIFT & COUNT_MASK) as u32
    }

    /// How much internal work is in flight.
    #[must_use]
    pub const fn internal(self) -> u32 {
        (self.0 >> INTERNAL_SHIFT & COUNT_MASK) as u32
    }

    /// Lets internal work in and counts it, or says why not. A child of internal work is admitted as new internal work
    /// is.
    ///
    /// # Errors
    ///
    /// [`RefusalReason`], with the word unchanged.
    // Property: TG-S3 bypass_is_bounded, TG-L5 bypass_progress.
    pub fn admit(self) -> Result<Word, RefusalReason> {
        if self.is_sealed() && !fault!(SealAdmitsInternal) {
            return Err(if self.is_shut() {
                RefusalReason::ShuttingDown
            } else {
                RefusalReason::Quiesced
            });
        }
        if self.internal() == IN_FLIGHT_MAX {
            return Err(RefusalReason::Full);
        }
        Ok(Word(self.0 + ONE_INTERNAL_TURN))
    }

    /// Internal work has ended. The last end at a held gate seals it.
    #[must_use]
    pub fn release(self) -> Word {
        if self.internal() == 0 {
            // No turn exists that could say this; counting below zero would corrupt the shares.
            debug_assert!(false, "released a turn that was never admitted");
            return self;
        }
        Word(self.0 - ONE_INTERNAL_TURN).sealed_at_the_end()
    }

    /// So many shares more are out.
    #[must_use]
    pub(super) const fn with_shares(self, taken: u32) -> Word {
        Word(self.0 + taken as u64 * ONE_SHARE)
    }

    /// So many shares are given back. The last one at a held gate seals it.
    #[must_use]
    pub fn without_shares(self, given_back: u32) -> Word {
        let left = self.shares().saturating_sub(given_back);
        Word(self.0 & !(COUNT_MASK << SHARES_SHIFT)).with_shares(left).sealed_at_the_end()
    }

    /// Closed by a drain.
    pub(super) fn closed(self, hold_internal: bool) -> Word {
        let hold = if hold_internal { HOLD } else { 0 };
        let closed = Word(self.0 | CLOSED | hold);
        if fault!(SealsWithWork) && hold_internal { Word(closed.0 | SEALED) } else { closed }
    }

    /// Closed by a drain, on other terms than before.
    pub(super) fn amended(self, hold_internal: bool) -> Word {
        Word(self.0 & !(HOLD | SEALED)).closed(hold_internal).sealed_if_held_and_idle()
    }

    /// Closed by a shutdown: nothing but the end of work is waited for.
    pub(super) fn shut(self) -> Word {
        let shut = if fault!(ShutIsNotSticky) { 0 } else { SHUT };
        Word(self.0 | shut).closed(true)
    }

    /// Sealed for good, whatever is in flight.
    pub(super) const fn sealed_for_good(self) -> Word {
        Word(self.0 | CLOSED | HOLD | SEALED | SHUT)
    }

    /// No longer held and no longer sealed, but still closed: what a reopening begins with.
    pub(super) fn unsealed(self) -> Word {
        if fault!(ReopenKeepsSeal) { Word(self.0 & !HOLD) } else { Word(self.0 & !(HOLD | SEALED)) }
    }

    /// Open.
    pub(super) const fn opened(self) -> Word {
        Word(self.0 & !CLOSED)
    }

    fn sealed_at_the_end(self) -> Word {
        if fault!(NeverSeals) { self } else { self.sealed_if_held_and_idle() }
    }

    fn sealed_if_held_and_idle(self) -> Word {
        if self.is_idle() && self.0 & HOLD != 0 { Word(self.0 | SEALED) } else { self }
    }

    /// With this much internal work and this many shares.
    pub(super) const fn counting(self, internal: u32, shares: u32) -> Word {
        let counts = shares as u64 * ONE_SHARE + internal as u64 * ONE_INTERNAL_TURN;
        Word((self.0 & !OUTSTANDING) + counts)
    }
}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = [(CLOSED, "closed"), (HOLD, "hold"), (SEALED, "sealed"), (SHUT, "shut")]
            .into_iter()
            .filter(|(bit, _)| self.0 & bit != 0)
            .map(|(_, name)| name)
            .collect::<Vec<_>>();
        let flags = if flags.is_empty() { "open".to_owned() } else { flags.join("+") };
        write!(f, "{flags} {}s{}i", self.shares(), self.internal())
    }
}
