//! Whatever bytes are in the marker, reading them ends. They mean drain, unless they say that they are of another boot
//! or have run out.

use std::time::Duration;

use chrono::{DateTime, Utc};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use tidegate::epoch::{Epoch, Now};
use tidegate::judge::{Judge, LeaseLeft, Validity};
use tidegate::request::{DrainRequest, Request};

fn config() -> ProptestConfig {
    let regressions = concat!(env!("CARGO_MANIFEST_DIR"), "/proptest-regressions/prop_request.txt");
    let persistence = FileFailurePersistence::Direct(regressions);
    ProptestConfig { failure_persistence: Some(Box::new(persistence)), ..ProptestConfig::default() }
}

fn now(uptime_s: u64, wall_s: i64) -> Now {
    let wall = DateTime::<Utc>::from_timestamp(wall_s, 0).expect("in range");
    Now { uptime: Duration::from_secs(uptime_s), wall }
}

fn here() -> Epoch {
    Epoch::from_texts(Some("here"), None)
}

/// Bytes that look like a marker, or nearly.
fn nearly_a_marker() -> impl Strategy<Value = Vec<u8>> {
    let value = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("NaN".to_owned()),
        Just("[]".to_owned()),
        Just("\"here:\"".to_owned()),
        Just("1e999".to_owned()),
        Just("\"\\ud800\"".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| number.to_string()),
        any::<String>().prop_map(|text| format!("{text:?}")),
    ];
    let key = prop_oneof![
        Just("epoch"),
        Just("lease_s"),
        Just("requested_at"),
        Just("requested_uptime_ms"),
        Just("suppress_notification"),
        Just("hold_internal"),
        Just("principal"),
        Just("x"),
    ];
    let fields = prop::collection::vec((key, value), 0..8);
    (fields, any::<prop::sample::Index>(), any::<bool>()).prop_map(|(fields, cut, whole)| {
        let fields: Vec<_> =
            fields.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
        let mut bytes = format!("{{{}}}", fields.join(",")).into_bytes();
        if !whole {
            bytes.truncate(cut.index(bytes.len()));
        }
        bytes
    })
}

proptest! {
    #![proptest_config(config())]

    /// Reading never panics, and bytes without content are a drain. TG-S10.
    #[test]
    fn any_bytes_are_a_request(bytes in prop_oneof![any::<Vec<u8>>(), nearly_a_marker()]) {
        let request = Request::parse(&bytes);
        let here = here();
        let validity = Judge::new(&here, now(1000, 1_700_000_000)).validity(&request);
        if request.is_contentless() {
            prop_assert_eq!(validity, Validity::Live);
        }
        // Writing the request and reading it again changes nothing.
        let again = Request::parse(request.to_json().as_bytes());
        prop_assert_eq!(again.body(), request.body());
    }

    /// A lease ends by the boot clock, whatever the wall clock does. TG-S13.
    #[test]
    fn a_lease_ends_on_the_boot_clock(
        lease_s in 0..10_000u64, made_s in 0..10_000u64, later_s in 0..20_000u64, wall_s in 0..2_000_000_000i64,
    ) {
        let ask = DrainRequest::default().with_lease(Duration::from_secs(lease_s));
        let request = ask.stamp("r", &here(), now(made_s, 1_700_000_000));
        let then = now(made_s + later_s, wall_s);
        let expected = if later_s < lease_s { Validity::Live } else { Validity::Expired };
        let here = here();
        let judge = Judge::new(&here, then);
        prop_assert_eq!(judge.validity(&request), expected);
        let left = LeaseLeft::For(Duration::from_secs(lease_s.saturating_sub(later_s)));
        prop_assert_eq!(judge.lease_left(&request), left);
        let elsewhere = Epoch::from_texts(Some("elsewhere"), None);
        prop_assert_eq!(Judge::new(&elsewhere, then).validity(&request), Validity::StaleEpoch);
    }
}
