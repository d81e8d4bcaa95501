//! Counters and gauges through the [`metrics`](https://docs.rs/metrics) facade (feature `metrics`). This module
//! measures and decides nothing. Without the feature it compiles to nothing.
//!
//! | name | kind | labels | meaning |
//! |---|---|---|---|
//! | `tidegate_phase` | gauge | `phase` | 1 for the gateway's current phase, 0 for the others |
//! | `tidegate_in_flight` | gauge | `origin` | turns in flight |
//! | `tidegate_admitted_total` | counter | `origin` | turns and child turns that were admitted |
//! | `tidegate_refused_total` | counter | `reason` | turns that were refused; reasons: `draining`, `quiesced`, `shutting_down`, `full` |
//! | `tidegate_drains_total` | counter | | drains that began |
//! | `tidegate_drain_duration_seconds` | histogram | | the duration of each drain, from closed to open or shut |
//! | `tidegate_watcher_errors_total` | counter | | problems that the watcher began to report: requests or a directory it cannot read, a status it cannot write, a round that panicked |
//! | `tidegate_lease_left_seconds` | gauge | | the time until the first of the current leases ends; +Inf if none ends, 0 without a drain |
//!
//! Each also has the label `gateway`: the kind the gateway was [built with](crate::Builder::kind). The
//! names are stable. The recorder must be installed before the gateway starts: a gateway that starts without one is
//! not measured. Counters are exact. Gauges show the watcher's last round, at most a second ago unless the interval is
//! longer. With the feature, a turn costs one more increment of the recorder, no lock, and no allocation of ours.

#[cfg(feature = "metrics")]
mod imp {
    use std::time::Duration;

    use ::metrics::{Counter, Gauge, Histogram};

    use crate::gate::word::{InFlight, Origin, RefusalReason};
    use crate::machine::Phase;

    /// The recorder's handles for one gateway. They are requested once.
    pub(crate) struct Metrics {
        admitted: [Counter; 2],
        in_flight: [Gauge; 2],
        refused: [(RefusalReason, Counter); 4],
        phases: Vec<(Phase, Gauge)>,
        drains: Counter,
        drain_duration: Histogram,
        watcher_errors: Counter,
        lease_left: Gauge,
    }

    impl Metrics {
        pub(crate) fn of(kind: &str) -> Metrics {
            describe();
            let kind = || kind.to_owned();
            let admitted = |origin| ::metrics::counter!("tidegate_admitted_total", "gateway" => kind(), "origin" => origin);
            let in_flight = |origin| ::metrics::gauge!("tidegate_in_flight", "gateway" => kind(), "origin" => origin);
            let refused = |reason: RefusalReason| {
                let name = reason.as_str();
                let counter = ::metrics::counter!("tidegate_refused_total", "gateway" => kind(), "reason" => name);
                (reason, counter)
            };
            let phase = |phase: Phase| {
                let name = phase.as_str();
                (phase, ::metrics::gauge!("tidegate_phase", "gateway" => kind(), "phase" => name))
            };
            Metrics {
                admitted: ["user", "internal"].map(admitted),
                in_flight: ["user", "internal"].map(in_flight),
                refused: RefusalReason::ALL.map(refused),
                phases: Phase::ALL.into_iter().map(phase).collect(),
                drains: ::metrics::counter!("tidegate_drains_total", "gateway" => kind()),
                drain_duration: ::metrics::histogram!("tidegate_drain_duration_seconds", "gateway" => kind()),
                watcher_errors: ::metrics::counter!("tidegate_watcher_errors_total", "gateway" => kind()),
                lease_left: ::metrics::gauge!("tidegate_lease_left_seconds", "gateway" => kind()),
            }
        }

        fn admitted(&self, origin: Origin) {
            let [user, internal] = &self.admitted;
            match origin {
                Origin::User => user.increment(1),
                Origin::Internal => internal.increment(1),
            }
        }

        /// An arrival was admitted, or refused for this reason.
        pub(crate) fn answered(&self, origin: Origin, refused: Option<RefusalReason>) {
            match refused {
                None => self.admitted(origin),
                Some(reason) => self.refused(reason),
            }
        }

        fn refused(&self, reason: RefusalReason) {
            if let Some((_, counter)) = self.refused.iter().find(|(it, _)| *it == reason) {
                counter.increment(1);
            }
        }

        /// Sets the gauges after a round of the watcher. `lease_left` is `None` without a drain.
        pub(crate) fn round(
            &self,
            current: Phase,
            in_flight: InFlight,
            lease_left: Option<Duration>,
        ) {
            let InFlight { user, internal } = in_flight;
            let [users, internals] = &self.in_flight;
            users.set(f64::from(user));
            internals.set(f64::from(internal));
            for (phase, gauge) in &self.phases {
                gauge.set(f64::from(u8::from(*phase == current)));
            }
            self.lease_left.set(match lease_left {
                None => 0.0,
                Some(Duration::MAX) => f64::INFINITY,
                Some(left) => left.as_secs_f64(),
            });
        }

        pub(crate) fn drain_began(&self) {
            self.drains.increment(1);
        }

        pub(crate) fn drain_ended(&self, lasted: Duration) {
            self.drain_duration.record(lasted.as_secs_f64());
        }

        pub(crate) fn watcher_error(&self) {
            self.watcher_errors.increment(1);
        }
    }

    fn describe() {
        use ::metrics::{describe_counter, describe_gauge, describe_histogram};
        describe_gauge!(
            "tidegate_phase",
            "1 for the gateway's current phase, 0 for each other phase"
        );
        describe_gauge!("tidegate_in_flight", "Turns in flight, by origin");
        describe_counter!(
            "tidegate_admitted_total",
            "Turns and child turns that were admitted, by origin"
        );
        describe_counter!("tidegate_refused_total", "Turns that were refused, by reason");
        describe_counter!("tidegate_drains_total", "Drains that began");
        describe_histogram!(
            "tidegate_drain_duration_seconds",
            ::metrics::Unit::Seconds,
            "The duration of each drain"
        );
        describe_counter!(
            "tidegate_watcher_errors_total",
            "Problems that the watcher began to report"
        );
        describe_gauge!(
            "tidegate_lease_left_seconds",
            ::metrics::Unit::Seconds,
            "The time until the first of the current leases expires; 0 without a drain"
        );
    }
}

#[cfg(not(feature = "metrics"))]
mod imp {
    use std::time::Duration;

    use crate::gate::word::{Origin, RefusalReason};

    /// Measures nothing.
    pub(crate) struct Metrics;

    #[expect(clippy::unused_self, reason = "the version with the feature uses it")]
    impl Metrics {
        pub(crate) const fn of(_: &str) -> Metrics {
            Metrics
        }
        pub(crate) const fn answered(&self, _: Origin, _: Option<RefusalReason>) {}
        pub(crate) const fn drain_began(&self) {}
        pub(crate) const fn drain_ended(&self, _: Duration) {}
        pub(crate) const fn watcher_error(&self) {}
    }
}

pub(crate) use imp::Metrics;

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}
