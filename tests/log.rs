//! What is logged of requests, and how often. In a file of its own, since a logger is the process's.

#![cfg(feature = "test-util")]

use std::fmt::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidegate::epoch::{ManualClock, Now};
use tidegate::home::Home;
use tidegate::request::{DrainRequest, Holder};
use tidegate::{Gateway, Origin};

/// Keeps what is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl tracing::Subscriber for Log {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        struct Text(String);
        impl tracing::field::Visit for Text {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                let _ = write!(self.0, "{}={value:?} ", field.name());
            }
        }
        let mut text = Text(String::new());
        event.record(&mut text);
        self.0.lock().expect("not poisoned").push(text.0);
    }
}

#[test]
fn an_expiry_is_logged_once_and_a_cancel_by_force_with_who_and_what() {
    let log = Log::default();
    tracing::subscriber::set_global_default(log.clone()).expect("the only one");
    let lines = |what: &str| {
        let lines = log.0.lock().expect("not poisoned");
        lines.iter().filter(|line| line.contains(what)).cloned().collect::<Vec<_>>()
    };
    let dir = tempfile::tempdir().expect("temp dir");
    let clock = ManualClock::at(Now::by_system());
    let gateway =
        Gateway::builder(dir.path()).manual().clock(clock.clone()).start().expect("starts");
    let ask = |name| DrainRequest::by(name).holder(Holder::named(name).expect("a name"));
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
