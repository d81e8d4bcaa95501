//! Whose turn it is to look. Looks do not overlap: a caller that asks while one is under way waits for the next,
//! and that one serves all who wait.

use crate::faults::fault;

/// What is remembered of a directory, to tell later whether anything has come or gone in it.
pub trait DirectoryStamp: Clone {
    /// Whether equal times prove on this file system, always, that nothing changed.
    fn is_always_conclusive(&self) -> bool;
    /// Whether nothing has come or gone between this and `now`.
    fn proves_unchanged(&self, now: &Self) -> bool;
}

/// A caller's place among those who want a look. It is good for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[must_use = "a caller that asks for a look continues until one is applied"]
pub struct ObserveCall(usize);

impl ObserveCall {
    /// Its number among the calls under way: the smallest that was free.
    #[must_use]
    pub const fn number(self) -> usize {
        self.0
    }
}

/// What a caller does next.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ObserveAction<T> {
    /// Look, and report with `observed`.
    Look(ObserveMode<T>),
    /// Another look is under way: ask again when it has ended.
    Wait,
    /// A look that began after the call is applied, or the gateway has stopped.
    Done,
}

/// How to look.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ObserveMode<T> {
    /// The stamp of the last look that saw everything.
    since: Option<T>,
    /// Whatever the directory's times say.
    lists: bool,
}

impl<T: DirectoryStamp> ObserveMode<T> {
    /// The first look, which knows nothing.
    #[must_use]
    pub const fn first() -> ObserveMode<T> {
        ObserveMode { since: None, lists: true }
    }

    /// A look that may skip the listing, by one who remembers this.
    #[cfg(test)]
    pub(crate) const fn since_stamp(since: Option<T>) -> ObserveMode<T> {
        ObserveMode { since, lists: false }
    }

    /// What the last look that saw everything remembers.
    #[must_use]
    pub const fn since(&self) -> Option<&T> {
        self.since.as_ref()
    }

    /// Whether a directory that is `now` so need not be listed: nothing has come or gone in it since.
    #[must_use]
    // Property: TG-L1 closes.
    pub fn may_skip_listing(&self, now: &T) -> bool {
        let is_unchanged = self.since.as_ref().is_some_and(|since| since.proves_unchanged(now));
        is_unchanged && !self.lists
    }
}

/// Where a caller is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Call {
    Free,
    /// It asked, and no look has begun since.
    Waits,
    /// The look under way began after it asked.
    Joined,
    /// That look is applied.
    Served,
}

/// The look under way, who waits for it, and what the last one remembers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ObservationQueue<T> {
    under_way: bool,
    /// By their numbers. The last one is not free, so that this is no longer than the callers are many.
    calls: Vec<Call>,
    stamp: Option<T>,
    /// How many more looks may skip the listing.
    skips_left: u8,
}

impl<T: DirectoryStamp> ObservationQueue<T> {
    pub(super) const fn after_first(stamp: Option<T>, skips: u8) -> ObservationQueue<T> {
        ObservationQueue { under_way: false, calls: Vec::new(), stamp, skips_left: skips }
    }

    pub(super) const fn stamp(&self) -> Option<&T> {
        self.stamp.as_ref()
    }

    pub(super) fn ask(&mut self) -> ObserveCall {
        match self.calls.iter().position(|call| *call == Call::Free) {
            Some(free) => {
                self.calls[free] = Call::Waits;
                ObserveCall(free)
            }
            None => {
                self.calls.push(Call::Waits);
                ObserveCall(self.calls.len() - 1)
            }
        }
    }

    pub(super) fn leave(&mut self, call: ObserveCall) {
        if let Some(it) = self.calls.get_mut(call.0) {
            *it = Call::Free;
        }
        while self.calls.last() == Some(&Call::Free) {
            self.calls.pop();
        }
    }

    /// `knows_none`: no named request is known. Then a directory with conclusive times need not be listed only
    /// because its last listing is old. One whose times may not tell is listed each time.
    // Property: TG-S11 observations_never_overlap.
    pub(super) fn turn(&mut self, call: ObserveCall, knows_none: bool) -> ObserveAction<T> {
        match self.calls.get(call.0) {
            None | Some(Call::Free) => ObserveAction::Done,
            Some(Call::Served) => {
                self.leave(call);
                ObserveAction::Done
            }
            Some(Call::Waits | Call::Joined) if self.under_way && !fault!(LooksOverlap) => {
                ObserveAction::Wait
            }
            Some(Call::Waits | Call::Joined) => {
                self.under_way = true;
                self.pass(Call::Waits, Call::Joined);
                let is_sure = self.stamp.as_ref().is_some_and(T::is_always_conclusive)
                    || fault!(TimesNeverDoubted);
                let is_due = self.skips_left == 0 && !knows_none && !fault!(NeverListsAnew);
                let lists = !is_sure || is_due;
                ObserveAction::Look(ObserveMode { since: self.stamp.clone(), lists })
            }
        }
    }

    /// `skips`: how many looks may skip the listing before one must not.
    pub(super) fn ended(&mut self, stamp: Option<T>, skips: u8) {
        self.under_way = fault!(LookNeverEnds);
        self.stamp = stamp;
        self.skips_left = self.skips_left.checked_sub(1).unwrap_or(skips);
        if fault!(LookServesLateCallers) {
            self.pass(Call::Waits, Call::Served);
        }
        self.pass(Call::Joined, Call::Served);
    }

    /// The look came to nothing: who rode on it waits for the next.
    pub(super) fn abandoned(&mut self) {
        self.under_way = false;
        self.pass(
            Call::Joined,
            if fault!(AbandonedLookServes) { Call::Served } else { Call::Waits },
        );
    }

    fn pass(&mut self, from: Call, to: Call) {
        for call in self.calls.iter_mut().filter(|call| **call == from) {
            *call = to;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl DirectoryStamp for u8 {
        fn is_always_conclusive(&self) -> bool {
            *self < 10
        }

        fn proves_unchanged(&self, now: &u8) -> bool {
            self == now
        }
    }

    fn looks(turn: &ObserveAction<u8>) -> bool {
        matches!(turn, ObserveAction::Look(_))
    }

    #[test]
    fn who_asks_during_a_look_is_served_by_the_next_one_with_all_the_others() {
        let mut looking = ObservationQueue::after_first(None, 1);
        let (first, rides) = (looking.ask(), looking.ask());
        assert!(looks(&looking.turn(first, true)));
        let (late, later) = (looking.ask(), looking.ask());
        assert_eq!(
            [rides, late].map(|it| looking.turn(it, true)),
            [ObserveAction::Wait, ObserveAction::Wait]
        );
        looking.ended(Some(1), 1);
        assert_eq!(
            [first, rides].map(|it| looking.turn(it, true)),
            [ObserveAction::Done, ObserveAction::Done]
        );
        assert!(looks(&looking.turn(later, true)));
        assert_eq!(looking.turn(late, true), ObserveAction::Wait);
        looking.ended(Some(1), 1);
        assert_eq!(
            [late, later].map(|it| looking.turn(it, true)),
            [ObserveAction::Done, ObserveAction::Done]
        );
        assert!(looking.calls.is_empty(), "no caller leaves anything behind");
    }

    #[test]
    fn a_look_that_came_to_nothing_serves_nobody() {
        let mut looking: ObservationQueue<u8> = ObservationQueue::after_first(None, 1);
        let (one, other) = (looking.ask(), looking.ask());
        assert!(looks(&looking.turn(one, true)));
        looking.abandoned();
        assert!(looks(&looking.turn(other, true)));
    }

    /// A directory's times do not tell that a file in it was written to.
    #[test]
    fn a_look_lists_now_and_then_whatever_the_times_say() {
        let lists = |stamp: u8, knows_none: bool| {
            let mut looking = ObservationQueue::after_first(Some(stamp), 2);
            let mut all = Vec::new();
            for _ in 0..6 {
                let call = looking.ask();
                let ObserveAction::Look(order) = looking.turn(call, knows_none) else {
                    panic!("it is free")
                };
                all.push(!order.may_skip_listing(&stamp));
                assert!(
                    !order.may_skip_listing(&(stamp + 1)),
                    "times that moved are never believed"
                );
                looking.ended(Some(stamp), 2);
                assert_eq!(looking.turn(call, knows_none), ObserveAction::Done);
            }
            all
        };
        let now_and_then = vec![false, false, true, false, false, true];
        assert_eq!(lists(1, false), now_and_then, "there is a request");
        assert_eq!(lists(11, true), vec![true; 6], "the file system's times may not tell");
        assert_eq!(lists(1, true), vec![false; 6]);
    }
}
