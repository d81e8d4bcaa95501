//! The recipient of a request: the gateway that runs on a home, as its lock says, or else the one that starts there
//! next. A request states the epoch of its recipient, and is judged as its recipient judges it ([F20]). A controller
//! may run in another container, or in another time namespace. This module touches no home.
//!
//! # Invariants
//!
//! * **TG-S13 stale_never_closes**: a request gets a time since boot only if the recipient has the same boot clock.
//!
//! [F20]: crate::guide::requirements#f20

use crate::epoch::{Epoch, Now, ProcessContext};
use crate::faults::fault;
use crate::json::RawObject;
use crate::judge::Judge;
use crate::request::{DrainRequest, Request};

/// The recipient of a request, which judges it.
///
/// ```
/// use tidegate::home::Home;
/// # let dir = tempfile::tempdir()?;
/// let gateway = tidegate::Gateway::builder(dir.path()).start()?;
/// let recipient = Home::at(dir.path()).recipient()?;
/// assert!(recipient.is_running());
/// assert_eq!(recipient.incarnation(), Some(&*gateway.status().incarnation));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    epoch: Epoch,
    /// Empty if no gateway is running; `None` if that cannot be seen.
    incarnation: Option<String>,
    /// Whether it has the same boot clock as this process.
    shares_clock: bool,
}

impl Recipient {
    /// The gateway that starts next, in this process's boot and container. No gateway is running now.
    #[must_use]
    pub fn next_local() -> Recipient {
        Recipient { incarnation: Some(String::new()), ..Recipient::unseen() }
    }

    /// The same, if it cannot be seen whether a gateway is running. Then the run that a request is for cannot be
    /// judged.
    pub(crate) fn unseen() -> Recipient {
        Recipient { epoch: Epoch::current(), incarnation: None, shares_clock: true }
    }

    /// The gateway of this process.
    pub(crate) fn itself(epoch: &Epoch, incarnation: &str) -> Recipient {
        let (epoch, incarnation) = (epoch.clone(), Some(incarnation.to_owned()));
        Recipient { epoch, incarnation, shares_clock: true }
    }

    /// The gateway that this lock or status describes. Values that it does not state are taken from this process.
    pub(crate) fn stated(owner: &RawObject) -> Recipient {
        let (here, incarnation) = (ProcessContext::here(), owner.string("incarnation"));
        let incarnation = Some(incarnation.unwrap_or_default());
        let Some(epoch) = owner.string("epoch").filter(|_| !fault!(RecipientIgnored)) else {
            return Recipient { incarnation, ..Recipient::next_local() };
        };
        let epoch = Epoch::stated(&epoch);
        let shares_clock = here.epoch.is_same_boot_or_unknown(&epoch)
            && owner.string("time_ns") == here.time_namespace;
        Recipient { epoch, incarnation, shares_clock }
    }

    /// Its boot and container.
    #[must_use]
    pub const fn epoch(&self) -> &Epoch {
        &self.epoch
    }

    /// The incarnation of the gateway; `None` if no gateway is running, or if it does not say.
    #[must_use]
    pub fn incarnation(&self) -> Option<&str> {
        self.incarnation.as_deref().filter(|it| !it.is_empty())
    }

    /// Whether a running gateway was seen.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.incarnation().is_some()
    }

    /// Whether a time since boot means the same to it and to this process: they share one boot and one time namespace.
    #[must_use]
    pub const fn shares_clock(&self) -> bool {
        self.shares_clock
    }

    /// A judge that judges as the recipient does. If its boot clock is another one, the wall clock judges leases.
    #[must_use]
    pub fn judge(&self, now: Now) -> Judge<'_> {
        let judge = Judge::new(&self.epoch, now);
        let judge = match &self.incarnation {
            Some(incarnation) => judge.for_run(incarnation),
            None => judge,
        };
        if self.shares_clock { judge } else { judge.with_wall_clock_only() }
    }

    /// The request for this recipient, dated `now`. `None` if it must end with the gateway's run and no gateway is
    /// running.
    // Property: TG-S13 stale_never_closes.
    #[must_use]
    pub fn stamp(&self, ask: &DrainRequest, request_id: &str, now: Now) -> Option<Request> {
        if ask.is_for_this_run() && !self.is_running() {
            return None;
        }
        let uptime = (self.shares_clock || fault!(ForeignClockStamped)).then_some(now.uptime);
        let incarnation = self.incarnation().unwrap_or_default();
        Some(ask.stamped(request_id, &self.epoch, uptime, now.wall, incarnation))
    }

    /// Whether a request that was stamped for `before` is now for another gateway.
    #[must_use]
    pub fn has_replaced(&self, before: &Recipient, request: &Request) -> bool {
        let is_another = self.epoch.is_other_than(before.epoch.as_str())
            || (request.incarnation().is_some() && self.incarnation != before.incarnation);
        self.is_running() && is_another
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::epoch::examples::now_at;
    use crate::judge::Validity;

    fn stated(epoch: &str, time_namespace: Option<&str>) -> Recipient {
        let owner = serde_json::json!({
            "pid": 7, "incarnation": "g", "epoch": epoch, "time_ns": time_namespace,
        });
        Recipient::stated(&RawObject::parse(owner.to_string().as_bytes()).expect("an object"))
    }

    /// Found with a controller in another container: to the gateway its requests had another epoch (F20).
    #[test]
    fn a_request_has_the_epoch_of_its_recipient() {
        let here = ProcessContext::here();
        let boot = here.epoch.as_str().split(':').next().expect("a boot id");
        let (ask, now) = (DrainRequest::default(), now_at(1000));
        let container = format!("{boot}:424242");
        for (epoch, time_namespace, shares_clock) in [
            (here.epoch.as_str(), here.time_namespace.as_deref(), true),
            (&*container, here.time_namespace.as_deref(), true),
            (&*container, Some("time:[1]"), false),
            ("another-boot:1", here.time_namespace.as_deref(), false),
        ] {
            let recipient = stated(epoch, time_namespace);
            assert!(recipient.is_running());
            let request = recipient.stamp(&ask, "r", now).expect("stamps");
            assert_eq!(request.stated_epoch(), Some(epoch));
            assert_eq!(request.requested_uptime().is_some(), shares_clock, "{epoch}");
            assert_eq!(recipient.judge(now).validity(&request), Validity::Live);
            let later = recipient.judge(now_at(1000 + 3600)).validity(&request);
            assert_eq!(later, Validity::Expired, "{epoch}");
        }
        assert!(Recipient::stated(&RawObject::default()).shares_clock(), "it does not say");
    }

    #[test]
    fn a_request_for_this_run_ends_with_it() {
        let (ask, now) = (DrainRequest::default().with_this_run(true), now_at(1000));
        assert_eq!(Recipient::next_local().stamp(&ask, "r", now), None, "there is no run");
        let first = Recipient::itself(&Epoch::current(), "first");
        let second = Recipient::itself(&Epoch::current(), "second");
        let request = first.stamp(&ask, "r", now).expect("stamps");
        assert_eq!(request.incarnation(), Some("first"));
        assert_eq!(first.judge(now).validity(&request), Validity::Live);
        for other in [&second, &Recipient::next_local()] {
            assert_eq!(other.judge(now).validity(&request), Validity::OtherRun);
        }
        assert!(second.has_replaced(&first, &request) && !first.has_replaced(&first, &request));
        let any_run = first.stamp(&DrainRequest::default(), "r", now).expect("stamps");
        assert!(!second.has_replaced(&first, &any_run));
        // A renewal is for the same run.
        let again = DrainRequest::renewal_of(&request, crate::holder::Holder::Shared);
        assert!(again.is_for_this_run());
    }

    #[test]
    fn a_request_for_another_epoch_is_made_again() {
        let here = Recipient::next_local();
        let request = here.stamp(&DrainRequest::default(), "r", now_at(1)).expect("stamps");
        let other = stated("another-boot:1", None);
        assert!(other.has_replaced(&here, &request));
        assert!(!here.has_replaced(&other, &request), "nobody lives by now");
        let same = Recipient::itself(&Epoch::current(), "g");
        assert!(!same.has_replaced(&here, &request));
    }
}
