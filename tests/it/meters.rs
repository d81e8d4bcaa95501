//! The metrics have the documented names and count what happened. Everything runs on this thread, which has the
//! recorder.

#![allow(clippy::float_cmp, clippy::cast_precision_loss, reason = "small whole numbers")]

use std::collections::BTreeMap;
use std::time::Duration;

use metrics_util::MetricKind;
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use tidegate::epoch::{ManualClock, Now};
use tidegate::machine::ShutdownCause;
use tidegate::request::{DrainRequest, Holder};
use tidegate::{Ended, Gateway, Origin};

/// Every value, by its name and labels. Counters and histograms count since the last call, and a histogram's value is
/// its sum.
fn values(snapshotter: &Snapshotter) -> BTreeMap<String, f64> {
    let snapshot = snapshotter.snapshot().into_vec();
    let values = snapshot.into_iter().map(|(key, _, _, value)| {
        let (kind, key) = key.into_parts();
        let labels: Vec<String> =
            key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        let value = match value {
            DebugValue::Counter(count) => count as f64,
            DebugValue::Gauge(value) => value.into_inner(),
            DebugValue::Histogram(values) => values.iter().map(|it| it.into_inner()).sum(),
        };
        assert!((kind == MetricKind::Counter) == key.name().ends_with("_total"), "{key}");
        (format!("{}{{{}}}", key.name(), labels.join(",")), value)
    });
    values.collect()
}

#[test]
fn what_happens_is_measured_under_the_documented_names() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    metrics::with_local_recorder(&recorder, || {
        let dir = tempfile::tempdir().expect("temp dir");
        let clock = ManualClock::at(Now::from_system_clock());
        let gateway = Gateway::builder(dir.path()).kind("k").manual().clock(clock.clone());
        let gateway = gateway.start().expect("starts");
        let look = |gateway: &Gateway| {
            gateway.reconcile_now();
            values(&snapshotter)
        };
        let turn = gateway.admit(Origin::User).expect("open");
        let child = turn.child().expect("live");
        let seen = look(&gateway);
        assert_eq!(seen["tidegate_in_flight{gateway=k,origin=user}"], 2.0);
        assert_eq!(seen["tidegate_admitted_total{gateway=k,origin=user}"], 2.0);
        assert_eq!(seen["tidegate_phase{gateway=k,phase=running}"], 1.0);
        assert_eq!(seen["tidegate_lease_left_seconds{gateway=k}"], 0.0, "nobody asks");

        let ci = Holder::named("ci").expect("a name");
        let ask =
            DrainRequest::new("ci").with_holder(ci.clone()).with_lease(Duration::from_secs(600));
        gateway.begin_drain(&ask).expect("writes");
        assert!(gateway.admit(Origin::User).is_err());
        clock.advance(Duration::from_secs(60));
        let seen = look(&gateway);
        assert_eq!(seen["tidegate_refused_total{gateway=k,reason=draining}"], 1.0);
        assert_eq!(seen["tidegate_drains_total{gateway=k}"], 1.0);
        assert_eq!(seen["tidegate_phase{gateway=k,phase=externally_draining}"], 1.0);
        assert_eq!(seen["tidegate_phase{gateway=k,phase=running}"], 0.0);
        let left = seen["tidegate_lease_left_seconds{gateway=k}"];
        assert!((left - 540.0).abs() < 1.0, "{left}");
        std::fs::write(dir.path().join(".drain_request.json"), "").expect("writes");
        gateway.cancel_drain(&ci).expect("removes");
        let seen = look(&gateway);
        assert_eq!(seen["tidegate_lease_left_seconds{gateway=k}"], f64::INFINITY);
        std::fs::remove_file(dir.path().join(".drain_request.json")).expect("removes");
        clock.advance(Duration::from_secs(40));
        let seen = look(&gateway);
        assert_eq!(seen["tidegate_drain_duration_seconds{gateway=k}"], 100.0);

        std::fs::create_dir(dir.path().join(".drain_request.json")).expect("mkdir");
        let seen = look(&gateway);
        assert_eq!(seen["tidegate_watcher_errors_total{gateway=k}"], 1.0);
        drop((turn, child));
        let ended = gateway.shut_down(ShutdownCause::Operator, Duration::ZERO).wait();
        assert_eq!(ended, Ended::Clean);
        let seen = look(&gateway);
        assert_eq!(seen["tidegate_phase{gateway=k,phase=stopped}"], 1.0);
        assert_eq!(seen["tidegate_in_flight{gateway=k,origin=user}"], 0.0);
        assert_eq!(seen.len(), 16, "{seen:#?}");

        // A drain that the gateway finds at its start is counted too.
        drop(gateway);
        std::fs::remove_dir(dir.path().join(".drain_request.json")).expect("removes");
        std::fs::write(dir.path().join(".drain_request.json"), "").expect("writes");
        let again = Gateway::builder(dir.path()).kind("k").manual().start().expect("starts");
        assert_eq!(look(&again)["tidegate_drains_total{gateway=k}"], 1.0);
    });
}
