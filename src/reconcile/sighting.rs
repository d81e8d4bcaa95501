//! The results of one look: at one place, and in the directory. It does not say what they mean.

use crate::judge::{Judge, Validity};
use crate::machine::Terms;
use crate::request::Request;

/// The result of one look at the place of a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Sighting<R = Request, W = String> {
    /// There is no request.
    Absent,
    /// There is a request.
    Present(R),
    /// It could not be read: the reason, for people.
    Unreadable(W),
}

/// The result of one look at the directory of named requests.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Listing<W = String> {
    /// Every request that was there throughout the look is among its sightings. Two listings in a row were equal, and
    /// the second began after everything in the first had been looked at.
    Whole,
    /// Nothing has changed since the last whole listing, so nothing was looked at again.
    Unchanged,
    /// The directory could not be listed completely: the reason, for people.
    Partial(W),
    /// Another process holds the home, so nothing in it belongs to this gateway: the reason, for people.
    ///
    /// [F18](crate::guide::requirements#f18)
    Taken(W),
}

/// What a sighting means to a gateway of one epoch at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Verdict {
    /// There is no request.
    Absent,
    /// A drain is requested, on these terms. A request without readable content has the default terms: presence means
    /// drain.
    Active(Terms),
    /// There is a request from another boot or container.
    StaleEpoch,
    /// There is a request for a run of the gateway that is over.
    OtherRun,
    /// There is a request whose lease has ended.
    Expired,
    /// The request could not be read.
    Unreadable,
}

impl Verdict {
    /// The judge's verdict on one sighting.
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

    /// The word that the command line uses for it.
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

    /// The verdict on this and another place together. A live request comes first, then a place that cannot be read.
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

    /// Whether a drain is requested.
    #[must_use]
    pub const fn asks_for_drain(self) -> bool {
        matches!(self, Verdict::Active(_))
    }
}
