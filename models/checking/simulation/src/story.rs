//! The events before a broken property, for people.

use std::ffi::OsStr;
use std::path::Path;

use tidegate::GatewayEvent;
use tidegate_world::log::{Entry, EventKind};

use crate::monitors::Finding;

/// The number of events that a story shows, up to the one that broke a property.
const EVENTS_MAX: usize = 60;

/// The events up to the finding, one line each, without those that a reader does not need.
pub fn story(log: &[Entry], finding: &Finding) -> String {
    let is_told = |entry: &&Entry| match &entry.what {
        EventKind::Put { name, .. } | EventKind::Gone { name, .. } => {
            Path::new(name).extension() != Some(OsStr::new("tmp"))
        }
        // Most observations see nothing new.
        what => what.program_event::<GatewayEvent>().is_none(),
    };
    let line = |entry: &Entry| {
        let what: String = format!("{:?}", entry.what).chars().take(200).collect();
        format!("  {:>10.3} s  process {}: {what}", entry.at.as_secs_f64(), entry.process.0)
    };
    let until = log.len().min(finding.at.saturating_add(1));
    let told: Vec<String> = log[..until].iter().filter(is_told).map(line).collect();
    let skipped = told.len().saturating_sub(EVENTS_MAX);
    let mut text = String::new();
    if skipped > 0 {
        text = format!("  ... {skipped} earlier events\n");
    }
    text + &told[skipped..].join("\n")
}
