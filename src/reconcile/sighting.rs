//! What one look found: at a place, and in the directory. It says nothing of what that means.

use crate::judge::{Judge, Validity};
use crate::machine::Terms;
use crate::request::Request;

/// What one look at a request's place found.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Sighting<R = Request, W = String> {
    /// There is nothing there.
    Absent,
    /// There is a request.
    Present(R),
    /// It is unknown: the reason, for people.
    Unreadable(W),
}

/// What one look at the place where named requests are listed found.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Listing<W = String> {
    /// Every request that was there throughout the look is among its sightings: two listings in a
    /// row were equal, the second begun after all of the first had been looked at.
    Whole,
    /// Nothing has come or gone since the last whole listing, so nothing was looked at again.
    Unchanged,
    /// It could not be listed whole: the reason, for people.
    Partial(W),
    /// Another process holds the home, so nothing in it is this gateway's: the reason, for people.
    ///
    /// [F18](crate::guide::requirements#f18)
    Taken(W),
}

/// What a sighting means to a gateway of one epoch at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Verdict {
    /// Nothing is asked.
    Absent,
    /// A drain is asked for, on these terms. A request that says nothing readable asks on the default
    /// ones: presence means drain.
    Active(Terms),
    /// There is a request of another boot or container.
    StaleEpoch,
    /// There is a request for a run of the gateway that is over.
    OtherRun,
    /// There is a request whose lease has run out.
    Expired,
    /// It is unknown.
    Unreadable,
}

impl Verdict {
    /// What the judge makes of one sighting.
    #[must_use]
    pub fn of(sighting: &Sighting, judge: &Judge<'_>) -> Verdict {
        match sighting {
            Sighting::Absent => Verdict::Absent,
            Sighting::Unreadable(_) => Verdict::Unreadable,
            Sighting::Present(request) => match judge.validity(request) {
                Validity::Live => Verdict::Active(request.terms()),
                Validity::StaleEpoch => Verdict::StaleEpoch,
                Validity::OtherRun => Verdict::OtherRun,
                Validity::Expired => Verdict::Expired,
            },
        }
    }

    /// The word the command line uses for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Verdict::Absent => "absent",
            Verdict::Active(_) => "active",
            Verdict::StaleEpoch => "stale_epoch",
            Verdict::OtherRun => "other_run",
            Verdict::Expired => "expired",
            Verdict::Unreadable => "unreadable",
        }
    }

    /// What this and another place together amount to: who asks is heard first, then who cannot be
    /// heard.
    #[must_use]
    pub const fn with(self, other: Verdict) -> Verdict {
        match (self, other) {
            (Verdict::Active(one), Verdict::Active(other)) => Verdict::Active(one.with(other)),
            (Verdict::Active(terms), _) | (_, Verdict::Active(terms)) => Verdict::Active(terms),
            (Verdict::Unreadable, _) | (_, Verdict::Unreadable) => Verdict::Unreadable,
            (Verdict::Expired, _) | (_, Verdict::Expired) => Verdict::Expired,
            (Verdict::OtherRun, _) | (_, Verdict::OtherRun) => Verdict::OtherRun,
            (Verdict::StaleEpoch, _) | (_, Verdict::StaleEpoch) => Verdict::StaleEpoch,
            (Verdict::Absent, Verdict::Absent) => Verdict::Absent,
        }
    }

    /// Whether a drain is asked for.
    #[must_use]
    pub const fn asks_for_drain(self) -> bool {
        matches!(self, Verdict::Active(_))
    }
}
