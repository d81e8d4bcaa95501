//! A process without free file handles. The test has its own binary, since handles belong to the process.

use std::fs::File;

use tidegate::control::Verdict;
use tidegate::home::Home;
use tidegate::request::{DrainRequest, Holder};
use tidegate::{Gateway, Origin};

/// Opens files until no handle is left.
fn exhaust() -> Vec<File> {
    // Few, so that it does not take long.
    let few = rustix::process::Rlimit { current: Some(64), maximum: Some(64) };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, few).expect("a lower limit");
    let mut held = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        held.push(file);
    }
    held
}

/// In the original, one look that failed with EMFILE released the drain. TG-S10 fail_safe, U3.
#[test]
fn without_file_handles_nothing_changes_and_it_is_told() {
    let dirs = [(); 3].map(|()| tempfile::tempdir().expect("temp dir"));
    let [open, closed, fresh] = dirs.each_ref().map(|dir| Home::at(dir.path()));
    let start = |home: &Home| Gateway::builder(home.path()).manual().start().expect("starts");
    let (opened, drained) = (start(&open), start(&closed));
    let ci = Holder::named("ci").expect("a name");
    drained.begin_drain(&DrainRequest::new("ci").with_holder(ci.clone())).expect("writes");
    open.begin_drain(&DrainRequest::default()).expect("writes");

    let held = exhaust();
    for _ in 0..3 {
        opened.reconcile_now();
        drained.reconcile_now();
    }
    assert!(opened.admit(Origin::User).is_ok(), "it was open, and stays so");
    assert!(drained.admit(Origin::User).is_err(), "it was closed, and stays so");
    let degraded = opened.status().degraded;
    let told = |code| degraded.iter().any(|it| it.code == code && it.detail.contains("open files"));
    assert!(told("request_unreadable") && told("status_unwritten"), "{degraded:?}");
    assert_eq!(open.observe().verdict(), Verdict::Unreadable);
    assert!(fresh.begin_drain(&DrainRequest::default()).is_err(), "and nothing is half written");
    drop(held);

    opened.reconcile_now();
    drained.reconcile_now();
    assert!(opened.admit(Origin::User).is_err());
    assert!(opened.status().degraded.is_empty() && drained.status().degraded.is_empty());
    assert_eq!(fresh.observe().verdict(), Verdict::Absent);
    drained.cancel_drain(&ci).expect("removes");
    assert!(drained.admit(Origin::User).is_ok());
}
