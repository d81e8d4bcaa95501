//! The log lines about requests, and how often they are written. The test has its own binary, since a logger belongs
//! to the process.

#[path = "support/kept_log.rs"]
mod kept_log;

use std::time::Duration;

use tidegate::epoch::{ManualClock, Now};
use tidegate::home::Home;
use tidegate::request::{DrainRequest, Holder};
use tidegate::{Gateway, Origin};

use kept_log::KeptLog;

#[test]
fn an_expiry_is_logged_once_and_a_cancel_by_force_with_who_and_what() {
    let log = KeptLog::install();
    let lines = |what: &str| log.lines(what);
    let dir = tempfile::tempdir().expect("temp dir");
    let clock = ManualClock::at(Now::from_system_clock());
    let gateway =
        Gateway::builder(dir.path()).manual().clock(clock.clone()).start().expect("starts");
    let ask = |name| DrainRequest::new(name).with_holder(Holder::named(name).expect("a name"));
    gateway.begin_drain(&ask("ci")).expect("writes");
    for _ in 0..5 {
        clock.advance(Duration::from_secs(3600));
        gateway.reconcile_now();
    }
    let expired = lines("request_expired");
    assert_eq!(expired.len(), 1, "{expired:?}");
    assert!(expired[0].contains("ci."), "{expired:?}");

    gateway.begin_drain(&ask("ops")).expect("writes");
    let (removed, result) = Home::at(dir.path()).cancel_all("root");
    result.expect("removes");
    assert_eq!(removed.len(), 1, "{removed:?}");
    let forced = lines("by force");
    assert!(forced.iter().any(|line| line.contains("root") && line.contains("ops")), "{forced:?}");
    gateway.reconcile_now();
    assert!(gateway.admit(Origin::User).is_ok());
}
