//! In which order a directory is looked at, so that no request that is there throughout is missed. It touches no
//! directory.

use crate::faults::fault;

/// How often a listing is repeated that does not equal the one before it.
const LISTINGS_MAX: u8 = 4;

/// The order of one look at a directory: list, look at what is listed or known, list again, until two
/// listings in a row agree.
///
/// One listing is not enough. It may pass the place of a renewed request before the new one is there, and that of the
/// old one after it has gone. The old one is then found gone *after* the new one was made, so a listing begun after
/// that has the new one, unless it was renewed again during this listing too. Two such listings agree, so they count
/// only if the directory's times did not move either. Where times are too coarse to tell, a request renewed twice
/// within one look may be missed.
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
    /// To look at each of these, in place of what was seen of them before, and then to list again.
    Sight(Vec<S>),
    /// The look is over: what was sighted last is a [whole](super::Listing::Whole) listing's.
    Whole,
    /// The look is over: requests come and go faster than they can be listed.
    Partial,
}

impl<S: Ord + Clone> Scan<S> {
    /// Begins a look of one who knows of these.
    #[must_use]
    pub const fn begin(known: Vec<S>) -> Scan<S> {
        Scan { known, listed: None, listings: 0 }
    }

    /// One listing is over, and found these names, in any order. `moved` says whether the directory's
    /// times are other now than they were before the listing that came before this one.
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
            "what is known, too"
        );
        assert_eq!(scan.listed(vec![1], true), ScanStep::Sight(vec![1, 7]));
        assert_eq!(
            scan.listed(vec![1], true),
            ScanStep::Sight(vec![1, 7]),
            "it may have been away"
        );
        assert_eq!(scan.listed(vec![1], false), ScanStep::Whole);

        let mut scan = Scan::begin(Vec::new());
        let ends = (0..=LISTINGS_MAX)
            .map(|name| scan.listed(vec![name], false))
            .position(|next| next == ScanStep::Partial);
        assert_eq!(ends, Some(usize::from(LISTINGS_MAX) - 1));
    }
}
