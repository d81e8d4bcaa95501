//! The order in which a directory is observed, so that no request that is there throughout is missed. It touches no
//! directory.

use crate::faults::fault;

/// The number of listings after which a look gives up finding two equal ones.
const LISTINGS_MAX: u8 = 4;

/// The order of one look at a directory. It lists, looks at what is listed or known, and lists again, until two
/// listings in a row agree.
///
/// One listing is not enough. A renewal writes a new file and removes the old one. The listing may pass the new place
/// too early and the old place too late: it then has neither. The look then finds the old file gone *after* the new one
/// was made. So a listing that begins after that has the new one, unless the request is renewed again during this
/// listing. Two such listings agree, so they count only if the directory's times did not move either. If the times are
/// too coarse, a request that is renewed twice within one look may be missed.
///
/// [F9](crate::guide::requirements#f9)
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scan<S> {
    known: Vec<S>,
    listed: Option<Vec<S>>,
    listings: u8,
}

/// What comes next in a [`Scan`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ScanStep<S> {
    /// Look at each of these again, which replaces the earlier sighting, and then list again.
    Sight(Vec<S>),
    /// The look is over: the last sightings belong to a [whole](super::Listing::Whole) listing.
    Whole,
    /// The look is over: requests come and go faster than they can be listed.
    Partial,
}

impl<S: Ord + Clone> Scan<S> {
    /// Begins a look; `known` are the slots of the requests that are known already.
    #[must_use]
    pub const fn begin(known: Vec<S>) -> Scan<S> {
        Scan { known, listed: None, listings: 0 }
    }

    /// Takes the result of one listing: the names that it found, in any order. `moved` says whether the directory's
    /// times have changed since before the previous listing.
    // Property: TG-S4 quiesced_means_idle.
    pub fn listed(&mut self, mut names: Vec<S>, moved: bool) -> ScanStep<S> {
        names.sort_unstable();
        let moved = moved && !fault!(TimesIgnored);
        if fault!(OneListingCounts) && self.listed.is_some() {
            return ScanStep::Whole;
        }
        if !moved && self.listed.as_ref() == Some(&names) {
            return ScanStep::Whole;
        }
        self.listings += 1;
        if self.listings == LISTINGS_MAX {
            return ScanStep::Partial;
        }
        let mut slots = names.clone();
        slots.extend(self.known.iter().cloned());
        slots.sort_unstable();
        slots.dedup();
        self.listed = Some(names);
        ScanStep::Sight(slots)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scan_ends_with_two_equal_listings_or_says_that_it_did_not() {
        let mut scan = Scan::begin(vec![7]);
        assert_eq!(
            scan.listed(vec![2, 1], true),
            ScanStep::Sight(vec![1, 2, 7]),
            "known slots too"
        );
        assert_eq!(scan.listed(vec![1], true), ScanStep::Sight(vec![1, 7]));
        assert_eq!(
            scan.listed(vec![1], true),
            ScanStep::Sight(vec![1, 7]),
            "it may have gone and come back"
        );
        assert_eq!(scan.listed(vec![1], false), ScanStep::Whole);

        let mut scan = Scan::begin(Vec::new());
        let ends = (0..=LISTINGS_MAX)
            .map(|name| scan.listed(vec![name], false))
            .position(|next| next == ScanStep::Partial);
        assert_eq!(ends, Some(usize::from(LISTINGS_MAX) - 1));
    }
}
