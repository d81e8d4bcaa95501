//! The one writer of the status file, and of the log. It has no opinion: it writes what a snapshot of
//! machine, gate and request says.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::home::{HomeLock, Name};
use crate::machine::Phase;
use crate::marker::{self, Durability};
use crate::status::{Complaint, Condition, Degraded, condition};

use super::changes::Change;
use super::place::Place;
use super::shared::Shared;
use super::work::Listed;

#[derive(Debug)]
pub(super) struct Publisher {
    /// Given back when the last status is written (F17, U18).
    lock: Option<HomeLock>,
    on_disk: Option<(Condition, u64, u64)>,
    pub(super) finished: bool,
    /// The changes logged so far.
    told_changes: u64,
    /// When the drain in force began, as told: the time since boot.
    drain_began: Option<Duration>,
    /// The complaints about requests that were logged last.
    told_complaints: BTreeSet<Complaint>,
}

impl Publisher {
    /// One that has published nothing yet, and gives `lock` back with the last status. A gateway that
    /// starts draining has done so since `drain_began`.
    pub(super) fn new(lock: Option<HomeLock>, drain_began: Option<Duration>) -> Publisher {
        Publisher {
            lock,
            on_disk: None,
            finished: false,
            told_changes: 0,
            drain_began,
            told_complaints: BTreeSet::new(),
        }
    }
}

impl Shared {
    /// Brings the status file to what is meant, where it is not there yet, and then the log. Whoever
    /// holds the publisher writes the newest state there is, so the file never goes back. Nothing is
    /// written under the transition lock, and nothing is logged under any: a blocked disk or pipe, or
    /// a subscriber that panics, holds up no transition.
    // Property: TG-S8 status_is_faithful.
    pub(super) fn publish(&self) {
        let news = self.publish_status();
        self.measure(&news);
        news.log();
    }

    /// Says to the recorder what the log says to people, and how things stand. It is a stranger's code,
    /// so no lock is held.
    fn measure(&self, news: &News) {
        let meters = &self.gate.meters;
        for change in &news.changes {
            if change.to == Phase::ExternallyDraining {
                meters.drain_began();
            }
        }
        for lasted in &news.drains_over {
            meters.drain_ended(*lasted);
        }
        let is_error = |code: &str| {
            matches!(code, "request_unreadable" | "requests_unlisted" | "status_unwritten")
        };
        for _ in news.begun.iter().filter(|(code, _)| is_error(code)) {
            meters.watcher_error();
        }
        #[cfg(feature = "metrics")]
        {
            let (condition, lease_left) = {
                let state = self.state.lock();
                let now = self.rules.clock.now();
                let condition = condition(state.lifecycle.machine(), self.gate.word());
                let left = crate::status::lease_left(&state.roll, &self.rules.epoch, now);
                (condition, left)
            };
            meters.round(condition.phase, condition.in_flight, lease_left);
        }
    }

    fn publish_status(&self) -> News {
        let mut publisher = self.publisher.lock();
        if publisher.finished {
            self.correct_last_status(&mut publisher);
            return News::default();
        }
        let (meant, status, changes, complaints, listed) = {
            let state = self.state.lock();
            let labels = self.registry.lock().revision;
            let meant = |word| (condition(state.lifecycle.machine(), word), state.revision, labels);
            if publisher.on_disk == Some(meant(self.gate.word())) {
                return News::default();
            }
            // Listed before it is counted: whatever is in the list is in the count.
            let listed = self.registry.lock().listed();
            // Read once: what is remembered as written must be what is written, or a count that comes
            // back to what it was would go unpublished.
            let word = self.gate.word();
            let status = self.snapshot(&state, word, &listed, state.sequence + 1);
            let changes = state.changes.since(publisher.told_changes);
            (meant(word), status, changes, state.complaints.clone(), listed)
        };
        drop(listed);
        let written = match &self.place {
            Place::Files { home, .. } => marker::replace(
                home,
                home.dir(),
                Name::Status.as_os_str(),
                status.to_json().as_bytes(),
                Durability::Volatile,
            ),
            Place::Memory(_) => Ok(()),
        };
        let unwritten = written.err().map(|error| {
            let detail =
                format!("the status file cannot be written: {error}; the gateway keeps trying");
            Degraded::new("status_unwritten", detail)
        });
        publisher.on_disk = unwritten.is_none().then_some(meant);
        if unwritten.is_none() && meant.0.phase == Phase::Stopped {
            publisher.finished = true;
            // Given back before the ending is told, and before the transition lock is taken.
            publisher.lock = None;
        }
        let was_unwritten = {
            let mut state = self.state.lock();
            state.sequence += u64::from(unwritten.is_none());
            if publisher.finished {
                state.say_farewell();
                self.threads.keeper.ring();
            }
            std::mem::replace(&mut state.unwritten, unwritten.clone())
        };
        let mut news = News { changes: changes.0, ..News::default() };
        for change in &news.changes {
            if change.from == Phase::ExternallyDraining
                && let Some(began) = publisher.drain_began.take()
            {
                news.drains_over.push(change.at.saturating_sub(began));
            }
            if change.to == Phase::ExternallyDraining {
                publisher.drain_began = Some(change.at);
            }
        }
        let complaints: BTreeSet<Complaint> = complaints.into_iter().collect();
        let begun = complaints.difference(&publisher.told_complaints);
        news.begun.extend(begun.map(|it| (it.code, it.detail.clone())));
        news.over = publisher.told_complaints.difference(&complaints).count();
        match (was_unwritten, unwritten) {
            (None, Some(it)) => news.begun.push((it.code, it.detail)),
            (Some(_), None) => news.over += 1,
            _ => {}
        }
        (publisher.told_changes, publisher.told_complaints) = (changes.1, complaints);
        news
    }
}

impl Shared {
    /// Whether the last status is written, and will not be corrected: it counts no turns that may end later.
    pub(super) fn has_published_all(&self) -> bool {
        let publisher = self.publisher.lock();
        let counts_turns = |(condition, ..): (Condition, u64, u64)| condition.in_flight.total() > 0;
        publisher.finished && !publisher.on_disk.is_some_and(counts_turns)
    }

    /// After a shutdown that timed out the last status counts turns that end later. Counts them anew, where no
    /// other gateway has come to the home since: its locks are free, and the status is still this one's.
    // Property: TG-S8 status_is_faithful.
    fn correct_last_status(&self, publisher: &mut Publisher) {
        let Some((written, ..)) = publisher.on_disk else { return };
        let Place::Files { home, .. } = &self.place else { return };
        let (meant, status) = {
            let state = self.state.lock();
            let word = self.gate.word();
            let meant = condition(state.lifecycle.machine(), word);
            if meant == written {
                return;
            }
            let labels = self.registry.lock().revision;
            let status = self.snapshot(&state, word, &Listed::default(), state.sequence + 1);
            ((meant, state.revision, labels), status)
        };
        let Some(_kept_out) = home.keep_gateways_out() else { return };
        let Ok(found) = home.status() else { return };
        if found.body().read::<String>("incarnation") != Some(self.identity.incarnation.clone()) {
            // Another gateway has been here since: there is nothing left to correct.
            publisher.on_disk = None;
            return;
        }
        let (name, bytes) = (Name::Status.as_os_str(), status.to_json());
        if marker::replace(home, home.dir(), name, bytes.as_bytes(), Durability::Volatile).is_ok() {
            publisher.on_disk = Some(meant);
            self.state.lock().sequence += 1;
        }
    }
}

/// What is to be logged: each change once, and a complaint when it is new or over.
#[derive(Default)]
struct News {
    changes: Vec<Change>,
    begun: Vec<(&'static str, String)>,
    over: usize,
    /// How long each drain lasted that is over.
    drains_over: Vec<Duration>,
}

impl News {
    fn log(self) {
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
