//! What is to be logged and counted: each change once, and a complaint when it is new or over.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::machine::Phase;
use crate::metrics::Metrics;
use crate::status::{Degraded, Issue};

use super::change_log::{Change, ChangeLog};

/// What has been announced so far.
#[derive(Debug)]
pub(super) struct Announced {
    /// The changes up to this number.
    changes: u64,
    /// When the drain in force began, as announced: the time since boot.
    drain_began: Option<Duration>,
    /// The complaints about requests.
    complaints: BTreeSet<Issue>,
}

impl Announced {
    /// Nothing yet. A gateway that starts draining has done so since `drain_began`.
    pub(super) const fn nothing_yet(drain_began: Option<Duration>) -> Announced {
        Announced { changes: 0, drain_began, complaints: BTreeSet::new() }
    }

    /// What is to be announced after a write.
    pub(super) fn of(
        &mut self,
        changes: &ChangeLog,
        complaints: Vec<Issue>,
        was_unwritten: Option<Degraded>,
        unwritten: Option<Degraded>,
    ) -> Announcements {
        let (changes, end) = changes.since(self.changes);
        self.changes = end;
        let mut all = Announcements { changes, ..Announcements::default() };
        for change in &all.changes {
            if change.from == Phase::ExternallyDraining
                && let Some(began) = self.drain_began.take()
            {
                all.drains_over.push(change.at.saturating_sub(began));
            }
            if change.to == Phase::ExternallyDraining {
                self.drain_began = Some(change.at);
            }
        }
        let complaints: BTreeSet<Issue> = complaints.into_iter().collect();
        let begun = complaints.difference(&self.complaints);
        all.begun.extend(begun.map(|it| (it.code, it.detail.clone())));
        all.over = self.complaints.difference(&complaints).count();
        match (was_unwritten, unwritten) {
            (None, Some(it)) => all.begun.push((it.code, it.detail)),
            (Some(_), None) => all.over += 1,
            _ => {}
        }
        self.complaints = complaints;
        all
    }
}

/// What is to be announced.
#[derive(Debug, Default)]
pub(super) struct Announcements {
    changes: Vec<Change>,
    begun: Vec<(&'static str, String)>,
    over: usize,
    /// How long each drain lasted that is over.
    drains_over: Vec<Duration>,
}

impl Announcements {
    /// Counts what happened. The recorder is a stranger's code, so no lock is held.
    pub(super) fn measure(&self, metrics: &Metrics) {
        for change in &self.changes {
            if change.to == Phase::ExternallyDraining {
                metrics.drain_began();
            }
        }
        for lasted in &self.drains_over {
            metrics.drain_ended(*lasted);
        }
        let is_error = |code: &str| {
            matches!(
                code,
                "request_unreadable"
                    | "requests_unlisted"
                    | "status_unwritten"
                    | "home_elsewhere"
                    | "home_taken"
                    | "home_unlocked"
            )
        };
        for _ in self.begun.iter().filter(|(code, _)| is_error(code)) {
            metrics.watcher_error();
        }
    }

    pub(super) fn log(self) {
        for Change { from, to, generation, .. } in self.changes {
            tracing::info!(%from, %to, generation, "phase changed");
        }
        for (code, detail) in self.begun {
            match code {
                // What an operator does with `touch` is no fault.
                "request_unleased" => tracing::info!(code, "{detail}"),
                _ => tracing::warn!(code, "{detail}"),
            }
        }
        if self.over > 0 {
            tracing::info!(complaints = self.over, "degraded condition cleared");
        }
    }
}
