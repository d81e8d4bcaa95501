//! A logger that keeps every line of all threads, for tests of the log. A logger belongs to the process, so only one
//! test of a process can install it.

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

#[derive(Clone, Default)]
pub struct KeptLog(Arc<Mutex<Vec<String>>>);

impl KeptLog {
    /// Installs the logger, which keeps every line from now on.
    pub fn install() -> KeptLog {
        let log = KeptLog::default();
        tracing::subscriber::set_global_default(log.clone()).expect("the only one");
        log
    }

    /// Installs the logger for this thread, as long as the guard lives.
    #[allow(dead_code, reason = "not every test has it")]
    pub fn on_this_thread() -> (KeptLog, tracing::subscriber::DefaultGuard) {
        let log = KeptLog::default();
        let guard = tracing::subscriber::set_default(log.clone());
        (log, guard)
    }

    /// The lines that contain this text. A line is the target, and each field as `name=value`.
    pub fn lines(&self, what: &str) -> Vec<String> {
        let lines = self.0.lock().expect("not poisoned");
        lines.iter().filter(|line| line.contains(what)).cloned().collect()
    }
}

impl Subscriber for KeptLog {
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
    fn event(&self, event: &Event<'_>) {
        struct Text(String);
        impl Visit for Text {
            // Unchanged: a debug form would escape characters that the code itself must escape.
            fn record_str(&mut self, field: &Field, value: &str) {
                let _ = write!(self.0, "{}=\"{value}\" ", field.name());
            }

            fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
                let _ = write!(self.0, "{}={value:?} ", field.name());
            }
        }
        let mut text = Text(format!("{} ", event.metadata().target()));
        event.record(&mut text);
        self.0.lock().expect("not poisoned").push(text.0);
    }
}
