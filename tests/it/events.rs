//! File events wake the watcher (feature `notify`), and its interval is the backstop for lost events. With an interval
//! of an hour, only an event can wake it. After the home has become another directory, only the interval can.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use tidegate::home::Home;
use tidegate::machine::Phase;
use tidegate::request::{DrainRequest, Holder};
use tidegate::{Changes, ControlError, Gateway, Origin};

const NEVER: Duration = Duration::from_secs(3600);
const OFTEN: Duration = Duration::from_millis(2);

fn becomes(changes: &mut Changes, phase: Phase) {
    assert_eq!(changes.recv().expect("the gateway lives").to, phase);
}

#[test]
fn requests_that_come_and_go_are_seen_at_once() {
    let dir = tempfile::tempdir().expect("temp dir");
    let home = Home::at(dir.path());
    let gateway = Gateway::builder(dir.path()).interval(NEVER).start().expect("starts");
    let mut changes = gateway.changes();
    for holder in [Holder::Shared, Holder::named("ci").expect("a name")] {
        let ask = DrainRequest::new("test").with_holder(holder.clone());
        home.begin_drain(&ask).expect("writes");
        becomes(&mut changes, Phase::ExternallyDraining);
        home.cancel_drain(&holder).expect("removes");
        becomes(&mut changes, Phase::Running);
    }
    // By hand, as people do.
    fs::write(home.marker_path(), "").expect("touches");
    becomes(&mut changes, Phase::ExternallyDraining);
    fs::remove_file(home.marker_path()).expect("removes");
    becomes(&mut changes, Phase::Running);
}

#[test]
fn the_directory_of_requests_is_followed_where_it_is_made_anew() {
    let dir = tempfile::tempdir().expect("temp dir");
    let home = Home::at(dir.path());
    let gateway = Gateway::builder(dir.path()).interval(NEVER).start().expect("starts");
    let mut changes = gateway.changes();
    let ask = DrainRequest::new("test").with_holder(Holder::named("ci").expect("a name"));
    for _ in 0..3 {
        fs::remove_dir(home.requests_path()).expect("rmdir");
        home.begin_drain(&ask).expect("makes it anew");
        becomes(&mut changes, Phase::ExternallyDraining);
        home.cancel_drain(ask.holder()).expect("removes");
        becomes(&mut changes, Phase::Running);
    }
}

/// The home is a symbolic link that is swapped, as deployments do. The home stays the directory that was locked. A
/// request in the other directory closes nothing, and a missing one there releases nothing. The status says so. F18.
#[test]
fn a_home_that_is_swapped_is_held_and_another_directory_is_believed_nothing() {
    let dir = tempfile::tempdir().expect("temp dir");
    let [home, first, second] = ["home", "first", "second"].map(|name| dir.path().join(name));
    let swap = |to| {
        let aside = dir.path().join("aside");
        symlink(to, &aside).expect("links");
        fs::rename(aside, &home).expect("swaps");
    };
    fs::create_dir(&first).expect("mkdir");
    fs::create_dir(&second).expect("mkdir");
    swap(&first);
    let gateway = Gateway::builder(&home).interval(OFTEN).start().expect("starts");
    let mut changes = gateway.changes();
    let complains = || {
        gateway.reconcile_now();
        let degraded = gateway.status().degraded;
        degraded.iter().any(|it| it.detail.contains("leads to another directory"))
    };
    assert!(!complains());
    swap(&second);
    let ask = DrainRequest::new("test").with_holder(Holder::named("ci").expect("a name"));
    Home::at(&home).begin_drain(&ask).expect("writes");
    assert!(complains());
    assert!(gateway.admit(Origin::User).is_ok(), "it is another directory's request");
    let status = Home::at(&home).status_path();
    assert!(!status.exists(), "and the status of this gateway is not written there");

    Home::at(&first).begin_drain(&ask).expect("writes");
    becomes(&mut changes, Phase::ExternallyDraining);
    let cancelled = gateway.cancel_drain(ask.holder());
    assert!(matches!(cancelled, Err(ControlError::NotReleased { .. })), "{cancelled:?}");
    assert!(complains());
    assert!(gateway.admit(Origin::User).is_err(), "an unmounted home looks like this too");
    swap(&first);
    becomes(&mut changes, Phase::Running);
}
