//! Turns observations of the home into the event for the machine. It observes nothing itself.
//!
//! Requests are in several places, and a look at them is not a snapshot: they appear and go during the look. The
//! [`RequestTable`] holds what is believed of each place. A look changes it place by place. What was seen counts, and
//! what could not be seen stays as it was ([F4]). A known request goes only when its own place is found empty. At the
//! start of an incarnation there is nothing to keep. Then a place that cannot be seen counts as a request, because a
//! closed gate does no harm.
//!
//! Looks do not overlap ([F23]): the [engine](crate::engine) has one at a time.
//!
//! # Invariants
//!
//! * **TG-S7 owner_release**: no sighting of one place changes what is believed of another.
//! * **TG-S10 fail_safe**: neither [`Sighting::Unreadable`] nor a corrupt request removes a live request from the
//!   table. At the start, a place that cannot be seen counts as a request.
//! * **TG-S15 held_by_each**: the combined terms of all live requests hold as long as one of them lives.
//!
//! [F4]: crate::guide::requirements#f4
//! [F23]: crate::guide::requirements#f23

mod scan;
mod sighting;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::faults::fault;
use crate::judge::LeaseEnd;
use crate::machine::{Event, Terms};
use crate::request::Request;

pub use scan::{Scan, ScanStep};
pub use sighting::{Listing, Sighting, Verdict};

/// What the [`RequestTable`] needs from a request. It is a trait so that a model can hold something smaller.
pub trait Demand: PartialEq {
    /// The terms that it asks for; `None` if it has no readable content.
    fn terms(&self) -> Option<Terms>;
}

impl Demand for Request {
    fn terms(&self) -> Option<Terms> {
        (!self.is_contentless()).then(|| Request::terms(self))
    }
}

/// What is believed of one place.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Entry<R, I = Duration> {
    request: Option<R>,
    /// The request from before the corruption in place, and the time since which it was there.
    whole: Option<(R, I)>,
    terms: Terms,
    live: bool,
    /// Whether the look that is being applied could see it.
    seen: bool,
    since: I,
}

impl<R: Demand, I> Entry<R, I> {
    /// Whether nothing is known of its terms: it could not be seen since the start, or it has no readable content.
    fn says_nothing(&self) -> bool {
        self.request.as_ref().is_none_or(|request| request.terms().is_none())
    }
}

impl<R, I: Copy> Entry<R, I> {
    /// The request; `None` if the place could not be seen since the start.
    pub const fn request(&self) -> Option<&R> {
        self.request.as_ref()
    }

    /// Whether it asks for a drain.
    pub const fn is_live(&self) -> bool {
        self.live
    }

    /// The terms that it asks for. A live request that was corrupted in place keeps its terms: corrupt bytes do not
    /// break the promise of a seal.
    ///
    /// [F9](crate::guide::requirements#f9)
    pub const fn terms(&self) -> Terms {
        self.terms
    }

    /// The request whose lease was promised to last: the current one or, if it was corrupted, the one before. Corrupt
    /// bytes release nothing. A writer that puts *another request* there releases the old one, as a removal does.
    pub const fn promised(&self) -> Option<&R> {
        match &self.whole {
            Some((whole, _)) => Some(whole),
            None => self.request(),
        }
    }

    /// The time since boot at which the [promised](Entry::promised) request was first seen.
    const fn promised_since(&self) -> I {
        match &self.whole {
            Some((_, since)) => *since,
            None => self.since,
        }
    }

    /// The time since boot at which the request was first seen. For a dead request, the time at which it was found
    /// dead.
    pub const fn since(&self) -> I {
        self.since
    }
}

/// What is believed of every place for a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestTable<S, R, I = Duration> {
    entries: BTreeMap<S, Entry<R, I>>,
    /// Whether the named requests have not been listed completely since the start.
    unlisted: bool,
    /// The time until which a request that is unseen since the start holds internal work. A predecessor may have
    /// promised that.
    unseen_held_until: Option<I>,
    /// Whether another process holds the home. Then the gate is closed and internal work is held until that ends.
    is_taken: bool,
}

impl<S: Ord, R: Demand, I: Copy + Ord> RequestTable<S, R, I> {
    /// The table after the first look of an incarnation. A place that the look could not see counts as a request. Such
    /// a place, and a request without readable content, holds internal work until `held_until`.
    ///
    /// [F22](crate::guide::requirements#f22)
    // Property: TG-S10 fail_safe, TG-S4 quiesced_means_idle.
    pub fn first<W>(
        sightings: impl IntoIterator<Item = (S, Sighting<R, W>)>,
        listing: &Listing<W>,
        held_until: Option<I>,
        at: I,
        is_live: impl Fn(&R, I) -> bool,
    ) -> RequestTable<S, R, I> {
        let mut table = RequestTable {
            entries: BTreeMap::new(),
            unlisted: matches!(listing, Listing::Partial(_) | Listing::Taken(_)),
            unseen_held_until: held_until.filter(|until| *until > at),
            is_taken: matches!(listing, Listing::Taken(_)),
        };
        for (slot, sighting) in sightings {
            if matches!(sighting, Sighting::Unreadable(_)) {
                let terms = Terms::default();
                let (request, whole) = (None, None);
                let live = !fault!(UnseenIsAbsent);
                let unseen = Entry { request, whole, terms, live, seen: false, since: at };
                table.entries.insert(slot, unseen);
            } else {
                table.see(slot, sighting, at);
            }
        }
        table.judge(at, is_live);
        table.expire_unseen_hold(at);
        table
    }

    /// Applies a later look. Returns whether it changes what is believed.
    ///
    /// `at` is the time of the look. `is_live` gets a request and the time at which it was first seen, and returns
    /// whether the request asks for a drain now.
    // Property: TG-S10 fail_safe, TG-S7 owner_release, TG-S13 stale_never_closes.
    pub fn apply<W>(
        &mut self,
        sightings: impl IntoIterator<Item = (S, Sighting<R, W>)>,
        listing: &Listing<W>,
        at: I,
        is_live: impl Fn(&R, I) -> bool,
    ) -> bool {
        let is_taken = matches!(listing, Listing::Taken(_));
        let mut news = std::mem::replace(&mut self.is_taken, is_taken) != is_taken;
        match listing {
            Listing::Whole => news |= std::mem::take(&mut self.unlisted),
            Listing::Unchanged => {}
            // A place that is not sighted stays as it was until it is.
            Listing::Partial(_) | Listing::Taken(_) => {
                self.entries.values_mut().for_each(|entry| entry.seen = false);
            }
        }
        for (slot, sighting) in sightings {
            news |= self.see(slot, sighting, at);
        }
        news |= self.judge(at, is_live);
        news | self.expire_unseen_hold(at)
    }

    /// Ends the hold for unseen requests once all of them are seen or the time is over. Returns whether that is a
    /// change.
    fn expire_unseen_hold(&mut self, at: I) -> bool {
        let is_unseen = self.unlisted || self.entries.values().any(Entry::says_nothing);
        let is_over = self.unseen_held_until.is_some_and(|until| until <= at || !is_unseen);
        is_over && self.unseen_held_until.take().is_some() && is_unseen
    }

    /// The terms of a request that is unseen since the start or has no readable content. A predecessor may have known
    /// more of it.
    fn unseen_terms(&self) -> Terms {
        Terms { hold_internal: self.unseen_held_until.is_some(), ..Terms::default() }
    }

    fn see<W>(&mut self, slot: S, sighting: Sighting<R, W>, at: I) -> bool {
        match (sighting, self.entries.get_mut(&slot)) {
            (Sighting::Unreadable(_), Some(_)) if fault!(UnreadableIsGone) => {
                self.entries.remove(&slot).is_some()
            }
            (Sighting::Present(request), Some(_))
                if request.terms().is_none() && fault!(RuinedIsGone) =>
            {
                self.entries.remove(&slot).is_some()
            }
            (Sighting::Absent | Sighting::Unreadable(_), None) => false,
            (Sighting::Absent, Some(_)) => self.entries.remove(&slot).is_some(),
            (Sighting::Unreadable(_), Some(entry)) => {
                entry.seen = false;
                false
            }
            (Sighting::Present(request), Some(entry)) => {
                entry.seen = true;
                if entry.request.as_ref() == Some(&request) {
                    // The same request, in the file that was read last: the next look finds it equal at once.
                    entry.request = Some(request);
                    return false;
                }
                let asks = request.terms();
                // A dead request has nothing to keep.
                if asks.is_none() && entry.live {
                    let since = entry.since;
                    let whole = entry.request.take().filter(|it| it.terms().is_some());
                    entry.whole = whole.map(|it| (it, since)).or(entry.whole.take());
                } else {
                    (entry.terms, entry.whole) = (asks.unwrap_or_default(), None);
                }
                (entry.request, entry.live, entry.since) = (Some(request), true, at);
                true
            }
            (Sighting::Present(request), None) => {
                let terms = request.terms().unwrap_or_default();
                let (request, whole) = (Some(request), None);
                let entry = Entry { request, whole, terms, live: true, seen: true, since: at };
                self.entries.insert(slot, entry);
                true
            }
        }
    }

    fn judge(&mut self, at: I, is_live: impl Fn(&R, I) -> bool) -> bool {
        let mut news = false;
        for entry in self.entries.values_mut() {
            // For this look only. The next look says itself what it could not see.
            let seen = std::mem::replace(&mut entry.seen, true);
            let Some(request) = entry.request.as_ref().filter(|_| seen && entry.live) else {
                continue;
            };
            let promised = entry.whole.as_ref().is_some_and(|(whole, at)| is_live(whole, *at));
            if !promised && entry.whole.take().is_some() {
                // The old request would be dead by now. Only the presence of the new one is known.
                (entry.terms, news) = (Terms::default(), true);
            }
            // A dead request stays dead until another request replaces it. Otherwise a clock that is set back would
            // revive it, and nobody asked for that drain again.
            if !promised && !is_live(request, entry.since) {
                (entry.live, entry.since, news) = (false, at, true);
            }
        }
        news
    }

    /// The [combined](Terms::with) terms of all live requests; `None` if there is none. The gate is also closed while
    /// another process holds the home, or while the named requests are unlisted since the start.
    #[must_use]
    pub fn wanted(&self) -> Option<Terms> {
        let unseen = self.unseen_terms();
        let live = self.entries.values().filter(|entry| entry.live);
        let live = live.map(|entry| Terms {
            hold_internal: entry.terms.hold_internal
                || (entry.says_nothing() && unseen.hold_internal),
            ..entry.terms
        });
        let unlisted = self.unlisted.then_some(unseen);
        let taken = self.is_taken.then_some(Terms { hold_internal: true, ..Terms::default() });
        if fault!(RequestsNeverAdd) {
            return self.entries.values().next_back().filter(|it| it.live).map(|it| it.terms);
        }
        live.chain(unlisted).chain(taken).reduce(Terms::with)
    }

    /// The time since boot before which no lease of a holder of internal work ends. It may be promised to all of them.
    /// `None` if one of the leases is not on the boot clock, or none ends.
    ///
    /// `lease_end` gets a request and the time since boot at which it was first seen, and returns when its lease ends.
    // Property: TG-S4 quiesced_means_idle.
    pub fn held_until(&self, lease_end: impl Fn(&R, I) -> LeaseEnd<I>) -> Option<I> {
        let held = self.entries.values().filter(|entry| entry.live && entry.terms.hold_internal);
        let mut earliest = None;
        for entry in held {
            let Some(request) = entry.promised() else { continue };
            match lease_end(request, entry.promised_since()) {
                LeaseEnd::Never => {}
                LeaseEnd::ByWallClock => return None,
                LeaseEnd::At(end) => {
                    earliest = Some(earliest.map_or(end, |other: I| {
                        if fault!(PromiseOfTheLongest) { other.max(end) } else { other.min(end) }
                    }));
                }
            }
        }
        earliest
    }

    /// The time until which requests that are unseen since the start hold internal work; `None` if they hold none.
    #[must_use]
    pub const fn unseen_held_until(&self) -> Option<I> {
        self.unseen_held_until
    }

    /// The event for the machine.
    #[must_use]
    pub fn event(&self) -> Event {
        self.wanted().map_or(Event::DrainUnwanted, Event::DrainWanted)
    }

    /// What is believed, place by place.
    pub fn entries(&self) -> impl Iterator<Item = (&S, &Entry<R, I>)> {
        self.entries.iter()
    }

    /// What is believed of this place.
    #[must_use]
    pub fn entry(&self, slot: &S) -> Option<&Entry<R, I>> {
        self.entries.get(slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: Listing = Listing::Whole;

    /// A test request: live unless it is `Dead`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum TestRequest {
        Live(Terms),
        Ruined,
        Dead,
    }

    impl Demand for TestRequest {
        fn terms(&self) -> Option<Terms> {
            match self {
                TestRequest::Live(terms) => Some(*terms),
                TestRequest::Dead => Some(Terms::default()),
                TestRequest::Ruined => None,
            }
        }
    }

    /// A number is a request that holds internal work, except 2.
    impl Demand for u8 {
        fn terms(&self) -> Option<Terms> {
            Some(Terms { hold_internal: *self != 2, suppress_notification: false })
        }
    }

    const PLAIN: Terms = Terms { hold_internal: false, suppress_notification: false };
    const HOLD: Terms = Terms { hold_internal: true, suppress_notification: false };
    const QUIET: Terms = Terms { hold_internal: false, suppress_notification: true };

    fn lives() -> impl Fn(&TestRequest, Duration) -> bool {
        |ask, _| *ask != TestRequest::Dead
    }

    fn partial() -> Listing {
        Listing::Partial("EIO".to_owned())
    }

    fn unreadable() -> Sighting<TestRequest> {
        Sighting::Unreadable("EIO".to_owned())
    }

    fn first(
        sightings: &[(u8, Sighting<TestRequest>)],
        listing: &Listing,
    ) -> RequestTable<u8, TestRequest> {
        RequestTable::first(sightings.iter().cloned(), listing, None, Duration::ZERO, lives())
    }

    impl RequestTable<u8, TestRequest> {
        fn look(&mut self, sightings: &[(u8, Sighting<TestRequest>)], listing: &Listing) -> bool {
            self.apply(sightings.iter().cloned(), listing, Duration::from_secs(1), lives())
        }
    }

    #[test]
    fn what_cannot_be_seen_changes_nothing_and_starts_closed() {
        for nothing in [(unreadable(), Listing::Whole), (Sighting::Absent, partial())] {
            let mut table = first(&[(0, nothing.0.clone())], &nothing.1);
            assert_eq!(table.wanted(), Some(PLAIN), "at the start");
            assert!(!table.look(&[(0, nothing.0)], &nothing.1), "still not seen");
            assert_eq!(table.wanted(), Some(PLAIN));
            assert!(table.look(&[(0, Sighting::Absent)], &WHOLE));
            assert_eq!(table.event(), Event::DrainUnwanted);
            assert!(!table.look(&[(0, unreadable())], &partial()), "open, and stays open");
            assert_eq!(table.wanted(), None);
        }
    }

    #[test]
    fn a_live_request_that_can_no_longer_be_seen_stays_live() {
        let mut table = first(&[(1, Sighting::Present(TestRequest::Live(HOLD)))], &WHOLE);
        let nothing_lives = |_: &TestRequest, _| false;
        assert!(!table.apply([(1, unreadable())], &WHOLE, Duration::MAX, nothing_lives));
        assert!(!table.apply([], &partial(), Duration::MAX, nothing_lives));
        assert_eq!(table.wanted(), Some(HOLD));
        // Its place is as it was when it was last seen. Now its lease counts.
        assert!(table.apply(
            [(1, Sighting::Present(TestRequest::Live(HOLD)))],
            &WHOLE,
            Duration::MAX,
            nothing_lives
        ));
        assert_eq!(table.wanted(), None);
    }

    /// One look returns one change, whether it shows one or several: here a request, and a hold that ends.
    #[test]
    fn several_things_that_are_new_at_once_are_news() {
        let live = |terms| Sighting::Present(TestRequest::Live(terms));
        let mut table = first(&[], &WHOLE);
        assert!(table.look(&[(0, live(PLAIN)), (1, live(PLAIN))], &WHOLE), "two join at once");
        assert!(!table.look(&[(0, live(PLAIN)), (1, live(PLAIN))], &WHOLE));
        let until = Some(Duration::from_secs(1));
        let begun = || [(0_u8, unreadable()), (1, live(PLAIN))];
        let mut table = RequestTable::first(begun(), &WHOLE, until, Duration::ZERO, lives());
        assert_eq!(table.unseen_held_until(), until);
        // At this second the hold ends, and the other request has gone.
        assert!(table.look(&[(0, unreadable()), (1, Sighting::Absent)], &WHOLE));
        assert_eq!(table.unseen_held_until(), None);
        assert_eq!(table.entries().count(), 1);
    }

    /// A promise of a predecessor holds only while a request that it may have known is unseen (F22).
    #[test]
    fn a_predecessor_s_promise_holds_nothing_that_is_seen() {
        let until = Some(Duration::from_secs(9));
        let begun = |sighting| {
            RequestTable::first([(0_u8, sighting)], &WHOLE, until, Duration::ZERO, lives())
        };
        let table = begun(Sighting::Present(TestRequest::Live(PLAIN)));
        assert_eq!((table.unseen_held_until(), table.wanted()), (None, Some(PLAIN)));
        for unseen in [unreadable(), Sighting::Present(TestRequest::Ruined)] {
            let table = begun(unseen);
            assert_eq!((table.unseen_held_until(), table.wanted()), (until, Some(HOLD)));
        }
    }

    /// While another process holds the home, it is closed and held. Then it is as before (F18).
    #[test]
    fn a_home_that_is_taken_is_closed_and_held() {
        let taken = Listing::Taken("why".to_owned());
        let mut table = first(&[], &WHOLE);
        assert_eq!(table.wanted(), None);
        assert!(table.look(&[], &taken), "it is news");
        assert!(!table.look(&[], &taken), "it is no longer news");
        assert_eq!(table.wanted(), Some(HOLD));
        assert!(table.look(&[], &WHOLE));
        assert_eq!(table.wanted(), None);
        let table = first(&[(0, Sighting::Present(TestRequest::Live(QUIET)))], &taken);
        assert_eq!(table.wanted(), Some(HOLD));
    }

    #[test]
    fn only_its_own_place_takes_a_request_off_the_table() {
        let mut table = first(
            &[
                (0, Sighting::Present(TestRequest::Live(PLAIN))),
                (1, Sighting::Present(TestRequest::Live(HOLD))),
            ],
            &WHOLE,
        );
        assert!(!table.look(&[], &WHOLE), "a listing without it proves nothing");
        assert!(table.look(&[(0, Sighting::Absent)], &WHOLE));
        assert_eq!(table.wanted(), Some(HOLD));
        assert!(table.look(&[(1, Sighting::Absent)], &WHOLE));
        assert_eq!(table.wanted(), None);
    }

    #[test]
    fn holding_takes_one_and_silence_takes_all() {
        let present = |terms| Sighting::Present(TestRequest::Live(terms));
        let table = first(&[(0, present(QUIET)), (1, present(QUIET))], &WHOLE);
        assert_eq!(table.wanted(), Some(QUIET));
        let table = first(&[(0, present(QUIET)), (1, present(HOLD))], &WHOLE);
        assert_eq!(table.wanted(), Some(HOLD));
        let table = first(
            &[
                (0, present(QUIET)),
                (1, Sighting::Present(TestRequest::Dead)),
                (2, Sighting::Absent),
            ],
            &WHOLE,
        );
        assert_eq!(table.wanted(), Some(QUIET), "dead requests do not count");
    }

    #[test]
    fn a_ruined_request_keeps_its_own_terms() {
        let mut table = first(&[(0, Sighting::Present(TestRequest::Live(HOLD)))], &WHOLE);
        table.look(
            &[
                (0, Sighting::Present(TestRequest::Ruined)),
                (1, Sighting::Present(TestRequest::Ruined)),
            ],
            &WHOLE,
        );
        assert_eq!(table.entry(&0).map(Entry::terms), Some(HOLD));
        assert_eq!(table.entry(&1).map(Entry::terms), Some(PLAIN), "it never had any");
        assert_eq!(table.wanted(), Some(HOLD));
    }

    /// Found in review: a corrupt request was bounded by the maximum age for requests without a lease. It was dropped
    /// before the end of the lease that had been promised.
    #[test]
    fn a_ruined_request_keeps_what_was_promised_of_its_lease() {
        let mut table = first(&[(0, Sighting::Present(TestRequest::Live(HOLD)))], &WHOLE);
        let until = |end: u64| {
            move |ask: &TestRequest, _: Duration| matches!(ask, TestRequest::Live(_)) && end > 10
        };
        let ruined = || [(0, Sighting::Present(TestRequest::Ruined))];
        for _ in 0..2 {
            table.apply(ruined(), &WHOLE, Duration::from_secs(1), until(11));
            assert_eq!(table.wanted(), Some(HOLD), "even if its bytes no longer count");
            assert_eq!(table.entry(&0).and_then(Entry::promised), Some(&TestRequest::Live(HOLD)));
        }
        assert!(table.apply(ruined(), &WHOLE, Duration::from_secs(2), until(10)));
        assert_eq!(table.wanted(), None);
    }

    #[test]
    fn a_ruined_request_that_would_be_dead_by_now_keeps_no_terms() {
        let ruined = || [(0, Sighting::Present(TestRequest::Ruined))];
        let only_the_ruined = |ask: &TestRequest, _: Duration| *ask == TestRequest::Ruined;
        let table = || first(&[(0, Sighting::Present(TestRequest::Live(HOLD)))], &WHOLE);
        // First corrupted, then expired; or both within one look.
        let mut slow = table();
        slow.look(&ruined(), &WHOLE);
        assert_eq!(slow.wanted(), Some(HOLD));
        let mut fast = table();
        for table in [&mut slow, &mut fast] {
            assert!(table.apply(ruined(), &WHOLE, Duration::MAX, only_the_ruined));
            assert_eq!(table.wanted(), Some(PLAIN));
        }
    }

    #[test]
    fn a_ruined_request_inherits_nothing_from_a_dead_one() {
        let mut table = first(&[(0, Sighting::Present(TestRequest::Live(HOLD)))], &WHOLE);
        let nothing_lives = |_: &TestRequest, _| false;
        let lives_no_more = [(0, Sighting::Present(TestRequest::Live(HOLD)))];
        assert!(table.apply(lives_no_more, &WHOLE, Duration::MAX, nothing_lives));
        assert!(table.look(&[(0, Sighting::Present(TestRequest::Ruined))], &WHOLE));
        assert_eq!(table.wanted(), Some(PLAIN));
    }

    #[test]
    fn what_is_promised_to_all_is_the_least_that_is_promised_to_one() {
        let end = |ask: &u8, _| match ask {
            0 => LeaseEnd::Never,
            9 => LeaseEnd::ByWallClock,
            end => LeaseEnd::At(Duration::from_secs(u64::from(*end))),
        };
        let until = |asks: &[u8]| {
            let sightings = asks.iter().map(|ask| (*ask, Sighting::Present(*ask)));
            let dead = |ask: &u8, _| *ask != 1;
            RequestTable::first(sightings, &WHOLE, None, Duration::ZERO, dead).held_until(end)
        };
        assert_eq!(until(&[7, 5, 0]), Some(Duration::from_secs(5)));
        assert_eq!(until(&[7, 5, 1]), Some(Duration::from_secs(5)), "dead requests do not count");
        assert_eq!(until(&[7, 5, 2]), Some(Duration::from_secs(5)), "nor one that does not hold");
        assert_eq!((until(&[7, 9]), until(&[0]), until(&[])), (None, None, None));
    }

    #[test]
    fn the_dead_do_not_rise() {
        let mut table = first(&[(0, Sighting::Present(TestRequest::Ruined))], &WHOLE);
        let sighting = || [(0, Sighting::Present(TestRequest::Ruined))];
        let until = |end: u64| move |_: &TestRequest, _: Duration| end > 10;
        assert!(table.apply(sighting(), &WHOLE, Duration::from_secs(10), until(10)));
        assert_eq!(table.entry(&0).map(Entry::since), Some(Duration::from_secs(10)));
        assert!(!table.apply(sighting(), &WHOLE, Duration::from_secs(11), until(99)));
        assert_eq!(table.wanted(), None, "its clock was set back; it is still dead");
    }

    /// A predecessor may have promised that nothing starts (F22).
    #[test]
    fn what_is_unseen_at_the_start_holds_until_it_is_seen_or_the_promise_is_over() {
        let at = Duration::from_secs;
        let blind = |until: Option<Duration>| {
            RequestTable::first([(0, unreadable())], &partial(), until, at(1), lives())
        };
        assert_eq!(blind(None).wanted(), Some(PLAIN));
        assert_eq!(blind(Some(at(1))).wanted(), Some(PLAIN), "it is over already");
        let mut table = blind(Some(at(9)));
        assert_eq!(table.wanted(), Some(HOLD));
        assert!(!table.apply([(0, unreadable())], &partial(), at(8), lives()));
        assert_eq!(table.wanted(), Some(HOLD));
        assert!(table.apply([(0, unreadable())], &partial(), at(9), lives()));
        assert_eq!((table.wanted(), table.unseen_held_until()), (Some(PLAIN), None));
        let mut table = blind(Some(at(9)));
        table.apply([(0, Sighting::Absent)], &partial(), at(2), lives());
        assert_eq!(table.wanted(), Some(HOLD), "the named requests are still unseen");
        assert!(table.apply([(0, Sighting::Absent)], &WHOLE, at(3), lives()));
        assert_eq!((table.wanted(), table.unseen_held_until()), (None, None));
    }

    /// Found by the gateway model: after a restart, a corrupt request no longer held internal work.
    #[test]
    fn what_says_nothing_at_the_start_holds_as_long_as_may_have_been_promised() {
        let at = Duration::from_secs;
        let ruined = || [(0, Sighting::Present(TestRequest::Ruined))];
        let mut table = RequestTable::first(ruined(), &WHOLE, Some(at(9)), at(1), lives());
        assert_eq!(table.wanted(), Some(HOLD));
        table.apply(ruined(), &WHOLE, at(8), lives());
        assert_eq!(table.wanted(), Some(HOLD));
        assert!(table.apply(ruined(), &WHOLE, at(9), lives()));
        assert_eq!(table.wanted(), Some(PLAIN));
    }
}
