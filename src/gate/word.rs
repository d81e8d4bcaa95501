//! The whole state of the gate in one 64-bit word, and every rule about it as pure arithmetic. It
//! knows no atomics, no threads and no time.
//!
//! ```text
//!  63      60 59               32 31                4   3    2     1     0
//! +----------+-------------------+------------------+-----+-----+------+------+
//! |  unused  | internal in flight| user in flight   |SHUT |SEAL | HOLD |CLOSED|
//! +----------+-------------------+------------------+-----+-----+------+------+
//! ```
//!
//! Check and claim are one step because both are in one word. [`Word::admit`] returns the word with the turn counted,
//! or the reason for a refusal. The shell retries that answer until its compare-and-swap wins; the models call it as
//! it is.
//!
//! # Invariants
//!
//! * **TG-S2 no_new_turn_while_draining**: a word with `CLOSED` admits no user turn.
//! * **TG-S3 bypass_is_bounded**: a word with `SEALED` admits nothing; everything admitted is counted.
//! * **TG-S1 shutdown_wins**: `SHUT` is set by a shutdown and cleared by nothing, and a word with
//!   `SHUT` cannot be reopened.
//! * `SEALED` is set by a release only if `HOLD` is set, and in the same step that makes the count zero. There is no
//!   gap between the last release and the seal.

use std::fmt;

use crate::faults::fault;
use crate::machine::Effect;

/// No new user turn starts.
const CLOSED: u64 = 1;
/// Seal at the next idle instant.
const HOLD: u64 = 1 << 1;
/// Nothing at all is admitted.
const SEALED: u64 = 1 << 2;
/// Closed by a shutdown: nothing clears this bit.
const SHUT: u64 = 1 << 3;

const COUNT_BITS: u32 = 28;
const USER_SHIFT: u32 = 4;
const INTERNAL_SHIFT: u32 = USER_SHIFT + COUNT_BITS;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;
const ONE_USER_TURN: u64 = 1 << USER_SHIFT;
const ONE_INTERNAL_TURN: u64 = 1 << INTERNAL_SHIFT;
const IN_FLIGHT: u64 = COUNT_MASK << USER_SHIFT | COUNT_MASK << INTERNAL_SHIFT;

/// The most turns of one origin that can be in flight at once; one more is refused.
pub const IN_FLIGHT_MAX: u32 = (1 << COUNT_BITS) - 1;

const _: () = assert!(
    CLOSED + HOLD + SEALED + SHUT == ONE_USER_TURN - 1,
    "each flag has a bit of its own, and the counts begin behind them"
);
const _: () = assert!(INTERNAL_SHIFT + COUNT_BITS <= 64, "the counts must fit beside the flags");
const _: () =
    assert!(IN_FLIGHT & (CLOSED | HOLD | SEALED | SHUT) == 0, "flags and counts must not overlap");

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

    const fn one(self) -> u64 {
        match self {
            Origin::User => ONE_USER_TURN,
            Origin::Internal => ONE_INTERNAL_TURN,
        }
    }

    const fn shift(self) -> u32 {
        match self {
            Origin::User => USER_SHIFT,
            Origin::Internal => INTERNAL_SHIFT,
        }
    }
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
    /// [`IN_FLIGHT_MAX`] turns of that origin are in flight.
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

/// The gate's whole state.
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

    /// Whether new user turns are refused.
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

    /// Closed with nothing in flight. A reading: internal work may undo it unless the word is also
    /// [sealed](Word::is_sealed).
    #[must_use]
    pub const fn is_idle(self) -> bool {
        self.is_closed() && self.0 & IN_FLIGHT == 0
    }

    /// Sealed with nothing in flight: nothing is going on, and nothing will be until it is reopened.
    /// What a drain promises as quiesced and a shutdown calls clean.
    #[must_use]
    pub const fn is_at_rest(self) -> bool {
        self.is_sealed() && self.is_idle()
    }

    /// How many turns are in flight.
    #[must_use]
    pub const fn in_flight(self) -> InFlight {
        InFlight { user: self.count(Origin::User), internal: self.count(Origin::Internal) }
    }

    const fn count(self, origin: Origin) -> u32 {
        (self.0 >> origin.shift() & COUNT_MASK) as u32
    }

    /// Lets `arrival` in and counts it, or says why not.
    ///
    /// # Errors
    ///
    /// [`RefusalReason`], with the word unchanged.
    // Property: TG-S2 no_new_turn_while_draining, TG-S3 bypass_is_bounded, TG-L5 bypass_progress.
    pub fn admit(self, arrival: Arrival) -> Result<Word, RefusalReason> {
        let passes = fault!(SealAdmitsInternal) && arrival.origin() == Origin::Internal;
        if self.is_sealed() && !passes {
            return Err(if self.is_shut() {
                RefusalReason::ShuttingDown
            } else {
                RefusalReason::Quiesced
            });
        }
        let is_refused = match arrival {
            Arrival::New(Origin::User) => !fault!(CloseAdmitsUsers),
            Arrival::New(Origin::Internal) => false,
            Arrival::ChildOf(_) => fault!(ChildrenRefused),
        };
        if self.is_closed() && is_refused {
            return Err(if self.is_shut() {
                RefusalReason::ShuttingDown
            } else {
                RefusalReason::Draining
            });
        }
        if self.count(arrival.origin()) == IN_FLIGHT_MAX {
            return Err(RefusalReason::Full);
        }
        Ok(Word(self.0 + arrival.origin().one()))
    }

    /// A turn of this origin has ended. The last one out of a held gate seals it.
    #[must_use]
    pub fn release(self, origin: Origin) -> Word {
        if self.count(origin) == 0 {
            // No turn exists that could say this; counting below zero would corrupt the other count.
            debug_assert!(false, "released a turn that was never admitted");
            return self;
        }
        let left = Word(self.0 - origin.one());
        if fault!(NeverSeals) { left } else { left.sealed_if_held_and_idle() }
    }

    /// What an [`Effect`] of the machine makes of the word, or `None` where the gate must refuse
    /// the order. A shut gate is neither reopened nor amended.
    #[must_use]
    // Property: TG-S1 shutdown_wins. The gate keeps this by itself, whatever thread gives the order.
    pub fn perform(self, effect: Effect) -> Option<Word> {
        match effect {
            Effect::CloseGate { hold_internal } => Some(self.closed(hold_internal)),
            Effect::AmendDrain { .. } | Effect::ReopenGate if self.is_shut() => None,
            Effect::AmendDrain { hold_internal } => {
                Some(Word(self.0 & !(HOLD | SEALED)).closed(hold_internal))
            }
            Effect::ReopenGate if fault!(ReopenKeepsSeal) => Some(Word(self.0 & !(CLOSED | HOLD))),
            Effect::ReopenGate => Some(Word(self.0 & !(CLOSED | HOLD | SEALED))),
            Effect::ShutGate if fault!(ShutIsNotSticky) => Some(self.closed(true)),
            Effect::ShutGate => Some(Word(self.0 | SHUT).closed(true)),
            Effect::SealGate => Some(Word(self.0 | CLOSED | HOLD | SEALED | SHUT)),
        }
    }

    fn closed(self, hold_internal: bool) -> Word {
        let hold = if hold_internal { HOLD } else { 0 };
        let taken = if fault!(DrainTakesTurns) { COUNT_MASK << USER_SHIFT } else { 0 };
        let closed = Word((self.0 | CLOSED | hold) & !taken);
        if fault!(SealsWithWork) && hold_internal {
            return Word(closed.0 | SEALED);
        }
        closed.sealed_if_held_and_idle()
    }

    fn sealed_if_held_and_idle(self) -> Word {
        if self.is_idle() && self.0 & HOLD != 0 { Word(self.0 | SEALED) } else { self }
    }
}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let InFlight { user, internal } = self.in_flight();
        let flags = [(CLOSED, "closed"), (HOLD, "hold"), (SEALED, "sealed"), (SHUT, "shut")]
            .into_iter()
            .filter(|(bit, _)| self.0 & bit != 0)
            .map(|(_, name)| name)
            .collect::<Vec<_>>();
        let flags = if flags.is_empty() { "open".to_owned() } else { flags.join("+") };
        write!(f, "{flags} {user}u{internal}i")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: Word = Word(0);

    fn with(mut word: Word, arrivals: &[Arrival]) -> Word {
        for &arrival in arrivals {
            word = word.admit(arrival).expect("admitted");
        }
        word
    }

    /// Every word over few enough turns: all flags that can be set together × counts 0..=2.
    fn small_words() -> impl Iterator<Item = Word> {
        let counts = (0..3u64).flat_map(|user| (0..3u64).map(move |internal| (user, internal)));
        (0..16u64).flat_map(move |flags| {
            counts.clone().map(move |(user, internal)| {
                Word(flags | user << USER_SHIFT | internal << INTERNAL_SHIFT)
            })
        })
    }

    #[test]
    fn a_closed_word_admits_internal_work_and_children_and_counts_them() {
        let one = with(OPEN, &[Arrival::New(Origin::User)]);
        let closed = one.perform(Effect::CloseGate { hold_internal: false }).expect("closes");
        assert_eq!(closed.admit(Arrival::New(Origin::User)), Err(RefusalReason::Draining));
        let more = with(closed, &[Arrival::ChildOf(Origin::User), Arrival::New(Origin::Internal)]);
        assert_eq!(more.in_flight(), InFlight { user: 2, internal: 1 });
    }

    #[test]
    fn the_last_one_out_of_a_held_gate_seals_it() {
        let one = with(OPEN, &[Arrival::New(Origin::Internal)]);
        let held = one.perform(Effect::CloseGate { hold_internal: true }).expect("closes");
        assert!(!held.is_sealed(), "work in flight is never sealed in by a drain");
        let sealed = held.release(Origin::Internal);
        assert!(sealed.is_at_rest());
        assert_eq!(sealed.admit(Arrival::New(Origin::Internal)), Err(RefusalReason::Quiesced));
        let amended = sealed.perform(Effect::AmendDrain { hold_internal: false }).expect("amends");
        assert!(amended.admit(Arrival::New(Origin::Internal)).is_ok());
    }

    #[test]
    fn nothing_clears_shut_and_a_shut_word_never_reopens() {
        let effects = [
            Effect::CloseGate { hold_internal: false },
            Effect::CloseGate { hold_internal: true },
            Effect::AmendDrain { hold_internal: false },
            Effect::AmendDrain { hold_internal: true },
            Effect::ReopenGate,
            Effect::ShutGate,
            Effect::SealGate,
        ];
        for word in small_words().filter(|word| !word.is_shut()) {
            let shut = word.perform(Effect::ShutGate).expect("shuts");
            assert!(shut.is_shut() && shut.is_closed(), "{word:?}");
        }
        for word in small_words().filter(|word| word.is_shut() && word.is_closed()) {
            for effect in effects {
                let after = word.perform(effect).unwrap_or(word);
                assert!(after.is_shut() && after.is_closed(), "{word:?} {effect:?}");
                assert_eq!(
                    after.in_flight(),
                    word.in_flight(),
                    "an order never ends a turn (TG-S6)"
                );
            }
        }
    }

    #[test]
    fn a_sealed_word_admits_nothing_and_a_full_one_says_so() {
        for word in small_words().filter(|word| word.is_sealed()) {
            for origin in Origin::ALL {
                assert!(word.admit(Arrival::New(origin)).is_err());
                assert!(word.admit(Arrival::ChildOf(origin)).is_err());
            }
        }
        let full = Word(u64::from(IN_FLIGHT_MAX) << USER_SHIFT);
        assert_eq!(full.admit(Arrival::New(Origin::User)), Err(RefusalReason::Full));
        assert_eq!(
            full.admit(Arrival::New(Origin::Internal)).expect("room").in_flight().user,
            IN_FLIGHT_MAX
        );
    }

    #[test]
    fn admit_then_release_gives_the_word_back() {
        for word in small_words() {
            for origin in Origin::ALL {
                if let Ok(admitted) = word.admit(Arrival::New(origin)) {
                    assert_eq!(admitted.in_flight().total(), word.in_flight().total() + 1);
                    assert_eq!(admitted.release(origin), word.sealed_if_held_and_idle());
                }
            }
        }
    }
}
