//! Whether a request counts, for one reader at one time. This module reads no clock and no file. What the request says
//! is [`request`](crate::request)'s part.
//!
//! # Invariants
//!
//! * **TG-S10 fail_safe**: a request without content counts.
//! * **TG-S13 stale_never_closes**: a request that states another epoch, or whose lease has ended, is not
//!   [live](Validity::Live).

use std::time::Duration;

use crate::epoch::{Epoch, Now};
use crate::faults::fault;
use crate::request::Request;

/// Whether a request counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Validity {
    /// It asks for a drain now.
    Live,
    /// It was made in another boot or container.
    ///
    /// [F1](crate::guide::requirements#f1)
    StaleEpoch,
    /// Its lease has ended.
    ///
    /// [F2](crate::guide::requirements#f2)
    Expired,
    /// It was made for one run of the gateway, and that run is over.
    ///
    /// [F20](crate::guide::requirements#f20)
    OtherRun,
}

/// The time left of a request's lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseLeft {
    /// It has no lease that can be judged: it lives until it is removed.
    Unleased,
    /// This much time; zero once the lease has ended.
    For(Duration),
}

/// When a request's lease ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LeaseEnd<I = Duration> {
    /// It has no lease, and nothing bounds it: it lives until it is removed.
    Never,
    /// At this time since boot.
    At(I),
    /// When the wall clock says so. Nothing can be promised about that time.
    ByWallClock,
}

/// A judge of requests: the epoch of one reader, its clocks at one time, and its bound for requests without a lease.
///
/// ```
/// use tidegate::epoch::{Epoch, Now};
/// use tidegate::judge::{Judge, Validity};
/// use tidegate::request::Request;
/// let epoch = Epoch::from_texts(Some("this-boot"), None);
/// let judge = Judge::new(&epoch, Now::from_system_clock());
/// let stale = Request::parse(br#"{"action":"drain","epoch":"another-boot:"}"#);
/// assert_eq!(judge.validity(&stale), Validity::StaleEpoch);
/// assert_eq!(judge.validity(&Request::parse(b"")), Validity::Live);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Judge<'a> {
    epoch: &'a Epoch,
    now: Now,
    unleased_max_age: Option<Duration>,
    /// The incarnation of the running gateway. Empty if none runs, `None` if that is not known.
    run: Option<&'a str>,
    /// Whether `now` is on the boot clock of the gateway.
    has_boot_clock: bool,
    /// The time since boot until which a predecessor may have promised that nothing starts.
    promised: Option<Duration>,
}

impl<'a> Judge<'a> {
    /// A judge of this epoch at this time, without a bound.
    #[must_use]
    pub const fn new(epoch: &'a Epoch, now: Now) -> Judge<'a> {
        let (unleased_max_age, run, has_boot_clock, promised) = (None, None, true, None);
        Judge { epoch, now, unleased_max_age, run, has_boot_clock, promised }
    }

    /// The same judge at a start. A predecessor may have promised that nothing starts before `promised`, a time since
    /// boot. It may have counted a lease down on its own boot clock. So a lease on the wall clock ends no earlier than
    /// `promised`, and no later than its full length from now.
    #[must_use]
    pub const fn after_promise(self, promised: Option<Duration>) -> Judge<'a> {
        Judge { promised, ..self }
    }

    /// The same judge, for the gateway's run with this incarnation. Empty means that no gateway runs.
    #[must_use]
    pub const fn for_run(self, incarnation: &'a str) -> Judge<'a> {
        Judge { run: Some(incarnation), ..self }
    }

    /// The same judge, if its boot clock is not the gateway's: it judges a lease by the wall clock.
    #[must_use]
    pub const fn with_wall_clock_only(self) -> Judge<'a> {
        Judge { has_boot_clock: false, ..self }
    }

    /// Whether its boot clock is the gateway's.
    #[must_use]
    pub const fn has_boot_clock(&self) -> bool {
        self.has_boot_clock
    }

    /// The same judge, with a bound for requests without a lease. Such a request lives for `age` after the time since
    /// boot at which it was first seen.
    #[must_use]
    pub const fn with_unleased_max_age(self, age: Option<Duration>) -> Judge<'a> {
        Judge { unleased_max_age: age, ..self }
    }

    /// The reader's epoch.
    #[must_use]
    pub const fn epoch(&self) -> &'a Epoch {
        self.epoch
    }

    /// The reading of the reader's clocks.
    #[must_use]
    pub const fn now(&self) -> Now {
        self.now
    }

    /// The longest life of a request without a lease; `None` if there is no bound.
    #[must_use]
    pub const fn unleased_max_age(&self) -> Option<Duration> {
        self.unleased_max_age
    }

    /// Whether the request counts, or why it does not.
    #[must_use]
    // Property: TG-S13 stale_never_closes.
    pub fn validity(&self, request: &Request) -> Validity {
        if !fault!(EpochIgnored)
            && request.stated_epoch().is_some_and(|stated| self.epoch.is_other_than(stated))
        {
            Validity::StaleEpoch
        } else if self.is_of_another_run(request) {
            Validity::OtherRun
        } else if self.lease_left(request) == LeaseLeft::For(Duration::ZERO)
            && !fault!(LeaseIgnored)
        {
            Validity::Expired
        } else {
            Validity::Live
        }
    }

    /// Whether the request was made for another run of the gateway.
    fn is_of_another_run(&self, request: &Request) -> bool {
        let made_for = request.incarnation().filter(|_| !fault!(RunIgnored));
        made_for.is_some_and(|made_for| self.run.is_some_and(|run| run != made_for))
    }

    /// The request as this judge keeps it at first sight. If its lease is not on the judge's boot clock, the wall clock
    /// says what is left now. From then on the boot clock counts that down. So setting a clock makes the lease neither
    /// longer nor shorter.
    ///
    /// [F20](crate::guide::requirements#f20)
    #[must_use]
    // Property: TG-L3 reopens.
    pub fn first_seen(&self, request: Request) -> Request {
        if fault!(WallAtEachLook) || self.lease_ends_at_uptime(&request).is_some() {
            return request;
        }
        match (self.lease_left(&request), request.lease()) {
            (LeaseLeft::For(left), Some(lease)) => {
                let [end, latest] = [left, lease].map(|more| self.now.uptime.saturating_add(more));
                request.ending_at(end.max(self.promised.unwrap_or_default()).min(latest))
            }
            _ => request,
        }
    }

    /// Whether the request, first seen at this time since boot, asks for a drain now. It does if it is
    /// [live](Validity::Live) and within the bound.
    #[must_use]
    pub fn is_live(&self, request: &Request, first_seen: Duration) -> bool {
        let outlived = || {
            self.lease_left(request) == LeaseLeft::Unleased
                && self
                    .unleased_max_age
                    .is_some_and(|age| self.now.uptime.saturating_sub(first_seen) >= age)
        };
        self.validity(request) == Validity::Live && !outlived()
    }

    /// The time left of the request's lease. The boot clock measures it if the request was made in this epoch and says
    /// when. Otherwise the wall clock measures it.
    #[must_use]
    pub fn lease_left(&self, request: &Request) -> LeaseLeft {
        let Some(lease) = request.lease() else {
            return LeaseLeft::Unleased;
        };
        if let Some(end) = self.lease_ends_at_uptime(request) {
            return LeaseLeft::For(end.saturating_sub(self.now.uptime));
        }
        let Some(made) = request.requested_at() else {
            return LeaseLeft::Unleased;
        };
        let age = self.now.wall.signed_duration_since(made);
        // A stamp in the future by this wall clock does not make the lease longer.
        let left = lease.saturating_sub(age.to_std().unwrap_or(Duration::ZERO));
        LeaseLeft::For(left)
    }

    /// The time since boot at which the request's lease ends, if the boot clock can show it.
    #[must_use]
    pub fn lease_ends_at_uptime(&self, request: &Request) -> Option<Duration> {
        if let Some(end) = request.ends_at() {
            return Some(end);
        }
        let same_boot = self.has_boot_clock
            && request.stated_epoch().is_some_and(|stated| self.epoch.is_same_boot_as(stated));
        let made = request.requested_uptime().filter(|_| same_boot && !fault!(LeaseByTheWall))?;
        Some(made.saturating_add(request.lease()?))
    }

    /// When the request's lease ends, for a promise about it. A request without a lease, first seen at this time since
    /// boot, ends at the bound. Without a bound it never ends.
    #[must_use]
    pub fn lease_end(&self, request: &Request, first_seen: Duration) -> LeaseEnd {
        match self.lease_left(request) {
            LeaseLeft::Unleased => self
                .unleased_max_age
                .map_or(LeaseEnd::Never, |age| LeaseEnd::At(first_seen.saturating_add(age))),
            // This also holds for a lease that has ended. Until a look finds the request dead, its promise lies in the
            // past. Another holder's later end must not replace it.
            LeaseLeft::For(_) => match self.lease_ends_at_uptime(request) {
                Some(end) => LeaseEnd::At(end),
                None => LeaseEnd::ByWallClock,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::epoch::examples::{epoch, now_at};
    use crate::request::DrainRequest;

    #[test]
    fn a_lease_runs_out_on_the_boot_clock_whatever_the_wall_says() {
        let request = DrainRequest::default().with_lease(Duration::from_secs(60)).stamp(
            "r",
            &epoch(),
            now_at(100),
        );
        for (uptime, validity) in [(159, Validity::Live), (160, Validity::Expired)] {
            for wall in [0, 100, 1_000_000] {
                let now = Now { wall: now_at(wall).wall, ..now_at(uptime) };
                assert_eq!(
                    Judge::new(&epoch(), now).validity(&request),
                    validity,
                    "uptime {uptime} wall {wall}"
                );
            }
        }
        assert_eq!(
            Judge::new(&epoch(), now_at(150)).lease_left(&request),
            LeaseLeft::For(Duration::from_secs(10))
        );
        let end = Duration::from_secs(160);
        assert_eq!(Judge::new(&epoch(), now_at(150)).lease_ends_at_uptime(&request), Some(end));
        // Found by the model with three controllers: a holder whose lease had ended got the end of another's lease.
        for now in [100, 160, 1000].map(now_at) {
            assert_eq!(
                Judge::new(&epoch(), now).lease_end(&request, now.uptime),
                LeaseEnd::At(end)
            );
        }
        let unleased = Request::parse(br#"{"action":"drain"}"#);
        let (now, age) = (now_at(160), Duration::from_secs(60));
        assert_eq!(Judge::new(&epoch(), now).lease_end(&unleased, now.uptime), LeaseEnd::Never);
        assert_eq!(
            Judge::new(&epoch(), now)
                .with_unleased_max_age(Some(age))
                .lease_end(&unleased, Duration::from_secs(130)),
            LeaseEnd::At(Duration::from_secs(190))
        );
    }

    /// The bound applies to requests without a lease. It counts from when the request was first seen.
    #[test]
    fn only_what_has_no_lease_is_bounded() {
        let with_unleased_max_age = |request: &Request, uptime, first_seen| {
            let judge_epoch = epoch();
            let judge = Judge::new(&judge_epoch, now_at(uptime))
                .with_unleased_max_age(Some(Duration::from_secs(60)));
            assert_eq!(judge.unleased_max_age(), Some(Duration::from_secs(60)));
            judge.is_live(request, Duration::from_secs(first_seen))
        };
        let unleased = Request::parse(b"{}");
        assert!(
            with_unleased_max_age(&unleased, 159, 100)
                && !with_unleased_max_age(&unleased, 160, 100)
        );
        assert!(with_unleased_max_age(&unleased, 160, 101));
        let ask = DrainRequest::default().with_lease(Duration::from_secs(600));
        let leased = ask.stamp("r", &epoch(), now_at(100));
        assert!(
            with_unleased_max_age(&leased, 699, 100) && !with_unleased_max_age(&leased, 700, 100)
        );
        let stale = Request::parse(br#"{"epoch":"other:1"}"#);
        assert!(!with_unleased_max_age(&stale, 100, 100));
        assert!(Judge::new(&epoch(), now_at(10_000)).is_live(&unleased, Duration::ZERO));
    }

    #[test]
    fn where_the_epoch_is_unknown_the_wall_clock_judges() {
        let unknown = Epoch::default();
        let request = DrainRequest::default().with_lease(Duration::from_secs(60)).stamp(
            "r",
            &unknown,
            now_at(100),
        );
        let rebooted = Now { uptime: Duration::from_secs(1), ..now_at(159) };
        assert_eq!(Judge::new(&unknown, rebooted).validity(&request), Validity::Live);
        assert_eq!(
            Judge::new(&unknown, Now { wall: now_at(160).wall, ..rebooted }).validity(&request),
            Validity::Expired
        );
    }

    /// What the wall clock says is left at first sight is counted down on the boot clock (F20).
    #[test]
    fn a_lease_of_another_clock_is_counted_down_from_its_first_sight() {
        let epoch = epoch();
        let at =
            |uptime, wall| Judge::new(&epoch, Now { wall: now_at(wall).wall, ..now_at(uptime) });
        // Made at 22:13:20, which is 0 on the wall clock here.
        let text = br#"{"lease_s": 60, "requested_at": "2023-11-14T22:13:20Z"}"#;
        let request = Request::parse(text);
        let kept = at(5000, 20).first_seen(request.clone());
        for wall in [0, 20, 1_000_000] {
            assert_eq!(at(5039, wall).validity(&kept), Validity::Live);
            assert_eq!(at(5040, wall).validity(&kept), Validity::Expired);
        }
        let end = LeaseEnd::At(Duration::from_secs(5040));
        assert_eq!(at(5000, 20).lease_end(&kept, Duration::ZERO), end);
        // Never longer than the full lease, and never below zero.
        let early = Now { wall: now_at(0).wall - Duration::from_secs(100), ..now_at(5000) };
        let kept = Judge::new(&epoch, early).first_seen(request.clone());
        assert_eq!(at(5000, 0).lease_left(&kept), LeaseLeft::For(Duration::from_secs(60)));
        let kept = at(5000, 61).first_seen(request.clone());
        assert_eq!(at(5000, 0).validity(&kept), Validity::Expired);
        // A predecessor counted from an earlier first sight, and gave a promise by it.
        let promised = Some(Duration::from_secs(5030));
        let kept = at(5000, 61).after_promise(promised).first_seen(request.clone());
        assert_eq!(at(5000, 0).lease_left(&kept), LeaseLeft::For(Duration::from_secs(30)));
        let promised = Some(Duration::from_secs(9000));
        let kept = at(5000, 61).after_promise(promised).first_seen(request.clone());
        assert_eq!(at(5000, 0).lease_left(&kept), LeaseLeft::For(Duration::from_secs(60)));
        // A lease on the boot clock is kept as it is. So is a request that never ends.
        let own = DrainRequest::default().stamp("r", &epoch, now_at(1));
        let unleased = Request::parse(b"{}");
        for request in [own, unleased] {
            assert_eq!(at(5000, 0).first_seen(request.clone()), request);
        }
    }

    /// The wall clock judges if the boot is not known. A stamp without an offset is UTC.
    #[test]
    fn a_stamp_without_an_offset_is_utc() {
        let lease_left = |stamp: &str| {
            let text = format!(r#"{{"lease_s": 60, "requested_at": "{stamp}"}}"#);
            Judge::new(&epoch(), now_at(50)).lease_left(&Request::parse(text.as_bytes()))
        };
        // The clock of `now_at(0)`.
        for stamp in [
            "2023-11-14T22:13:20+00:00",
            "2023-11-14T22:13:20Z",
            "2023-11-14T22:13:20.000000",
            "2023-11-14T22:13:20",
            "2023-11-14 22:13:20",
            "2023-11-14T23:13:20+0100",
            "2023-11-14T23:13:20.0+01",
            " 2023-11-14T22:13:20 ",
        ] {
            assert_eq!(lease_left(stamp), LeaseLeft::For(Duration::from_secs(10)), "{stamp}");
        }
        assert_eq!(lease_left("2023-11-14T22:13:30Z"), LeaseLeft::For(Duration::from_secs(20)));
        // A stamp in the future does not make the lease longer.
        assert_eq!(lease_left("2023-11-14T22:14:20Z"), LeaseLeft::For(Duration::from_secs(60)));
        for none in
            ["", "yesterday", "2023-11-14", "2023-11-14T", "14.11.2023 22:13:20", "20231114é"]
        {
            assert_eq!(lease_left(none), LeaseLeft::Unleased, "{none}");
        }
    }

    #[test]
    fn a_lease_that_is_no_number_is_none() {
        for lease in ["\"60\"", "-1", "null", "[]", "NaN", "{}"] {
            let text = format!(
                "{{\"lease_s\": {lease}, \"requested_at\": \"2001-01-01T00:00:00+00:00\"}}"
            );
            let request = Request::parse(text.as_bytes());
            assert_eq!(
                Judge::new(&epoch(), now_at(0)).lease_left(&request),
                LeaseLeft::Unleased,
                "{lease}"
            );
            assert!(!request.is_contentless());
        }
        let endless = Request::parse(
            b"{\"lease_s\": 1e300, \"requested_at\": \"2001-01-01T00:00:00+00:00\"}",
        );
        assert_eq!(Judge::new(&epoch(), now_at(0)).validity(&endless), Validity::Live);
        let undated = Request::parse(b"{\"lease_s\": 1}");
        assert_eq!(Judge::new(&epoch(), now_at(0)).lease_left(&undated), LeaseLeft::Unleased);
    }
}
