//! A logger that panics (a closed pipe is enough) does not stop the gateway. The test has its own binary, since a
//! logger belongs to the process.

use std::time::Duration;

use tidegate::Gateway;
use tidegate::home::Home;
use tidegate::machine::Phase;
use tidegate::request::{DrainRequest, Holder};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

struct Panicking;

impl Subscriber for Panicking {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}

    fn event(&self, _: &Event<'_>) {
        panic!("the log is gone");
    }
}

#[test]
fn the_watcher_outlives_a_logger_that_panics() {
    tracing::subscriber::set_global_default(Panicking).expect("the only one");
    let dir = tempfile::tempdir().expect("temp dir");
    let home = Home::at(dir.path());
    let interval = Duration::from_millis(1);
    let gateway = Gateway::builder(dir.path()).interval(interval).start().expect("starts");
    let mut changes = gateway.changes();
    for _ in 0..2 {
        home.begin_drain(&DrainRequest::default()).expect("written");
        assert_eq!(changes.recv().expect("a change").to, Phase::ExternallyDraining);
        home.cancel_drain(&Holder::Shared).expect("removed");
        assert_eq!(changes.recv().expect("a change").to, Phase::Running);
    }
}
