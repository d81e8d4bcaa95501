//! The one writer of the status file. It has no opinion. The engine decides whether to write a status, and its
//! content is a snapshot of machine, gate and requests.

use std::io;

use crate::engine::{CorrectionOutcome, IntendedStatus, PublishAction};
use crate::faults::fault;
use crate::gate::GateState;
use crate::home::{HomeCheck, Name, OpenHome};
use crate::marker::{self, Durability};
use crate::probe::probe;
use crate::status::{Degraded, Status};
use crate::sync::MutexGuard;

use super::announcements::Announcements;
use super::labels::LabelledWork;
use super::shared::{Shared, State};

impl Shared {
    /// Brings the status file to what is meant, where it is not there yet, and then the log. Nothing is written
    /// under the transition lock, and nothing is logged under it. A blocked disk or pipe, or a subscriber that
    /// panics, holds up no transition.
    // Property: TG-S8 status_is_faithful.
    pub(super) fn publish(&self) {
        let announcements = self.publish_status();
        announcements.measure(self.gate.metrics());
        #[cfg(feature = "metrics")]
        self.measure();
        announcements.log();
    }

    fn publish_status(&self) -> Announcements {
        let stale = fault!(StaleWord).then(|| self.gate.state());
        let mut state = self.state.lock();
        loop {
            let labels = self.registry.lock().revision;
            if state.engine.is_published(self.gate.state(), labels) {
                return Announcements::default();
            }
            // Listed before it is counted: whatever is in the list is in the count.
            let listed = self.registry.lock().listed();
            // Read once: what is remembered as written must be what is written, or a count that comes
            // back to what it was would go unpublished.
            let gate = stale.unwrap_or_else(|| self.gate.state());
            match state.engine.publish_turn(gate, labels) {
                PublishAction::Clean => {
                    drop(state);
                    return Announcements::default();
                }
                PublishAction::Wait => {
                    drop(listed);
                    state = self.turns.wait(state);
                }
                PublishAction::Write(meant) => return self.write(state, gate, listed, meant),
                PublishAction::Correct(meant) => {
                    self.correct(state, gate, meant);
                    return Announcements::default();
                }
            }
        }
    }

    /// Writes a status, and reports what came of it.
    fn write(
        &self,
        state: MutexGuard<'_, State>,
        gate: GateState,
        listed: LabelledWork,
        meant: IntendedStatus<u64>,
    ) -> Announcements {
        let (complaints, taken_at) = (self.complaints(&state), self.settings.clock.now().uptime);
        let status = self.snapshot(&state, gate, &listed, &complaints, state.sequence + 1);
        probe!(super::shared::GatewayEvent::StatusDerived(state.sequence + 1));
        // The status file is the other one's then.
        let is_taken = matches!(state.home_check, HomeCheck::Taken(_));
        drop(state);
        drop(listed);
        let writing = WriteGuard { shared: self, meant: Some(meant) };
        let error = match self.store.home() {
            Some(_) if is_taken => Some(io::Error::other("another process holds the home")),
            Some(home) => replace(home, &status).err(),
            None => None,
        };
        let unwritten = error.map(|error| {
            let detail =
                format!("the status file cannot be written: {error}; the gateway keeps trying");
            Degraded::new("status_unwritten", detail)
        });
        let (mut state, gives_back) = writing.ended(unwritten.is_none());
        if unwritten.is_none() {
            state.sequence += 1;
            state.published_at = taken_at;
        }
        let was_unwritten = std::mem::replace(&mut state.unwritten, unwritten.clone());
        let State { announced, changes, .. } = &mut *state;
        let announcements = announced.of(changes, complaints, was_unwritten, unwritten);
        if !fault!(LostWrite) {
            self.turns.pass();
        }
        drop(state);
        if gives_back {
            // Released before the end is reported.
            self.store.give_back();
            self.state.lock().engine.home_given_back();
            self.threads.timer.wake();
        }
        announcements
    }

    /// After a shutdown that timed out the last status counts turns that end later. Counts them anew, where no
    /// other gateway has come to the home since: its locks are free, and the status is still this one's.
    // Property: TG-S8 status_is_faithful.
    fn correct(&self, state: MutexGuard<'_, State>, gate: GateState, meant: IntendedStatus<u64>) {
        let status = self.snapshot(&state, gate, &LabelledWork::default(), &[], state.sequence + 1);
        probe!(super::shared::GatewayEvent::StatusDerived(state.sequence + 1));
        drop(state);
        let corrected = self.store.home().map_or(CorrectionOutcome::Written, |home| {
            let Some(_kept_out) = home.lock_directory_if_unused() else {
                return CorrectionOutcome::NotYet;
            };
            let Ok(found) = home.status() else { return CorrectionOutcome::NotYet };
            if found.body().read::<String>("incarnation") != Some(self.identity.incarnation.clone())
            {
                return CorrectionOutcome::Overtaken;
            }
            replace(home, &status)
                .map_or(CorrectionOutcome::NotYet, |()| CorrectionOutcome::Written)
        });
        let mut state = self.state.lock();
        state.sequence += u64::from(corrected == CorrectionOutcome::Written);
        state.engine.status_corrected(meant, corrected);
        self.turns.pass();
    }

    /// Reports the current values to the recorder. The recorder is foreign code, so no lock is held.
    #[cfg(feature = "metrics")]
    fn measure(&self) {
        let (condition, lease_left) = {
            let state = self.state.lock();
            let judge = self.settings.judge(self.settings.clock.now());
            let left = crate::status::lease_left(state.engine.table(), &judge);
            (state.engine.condition(self.gate.state()), left)
        };
        self.gate.metrics().round(condition.phase, condition.in_flight, lease_left);
    }
}

fn replace(home: &OpenHome<crate::disk::RealDisk>, status: &Status) -> io::Result<()> {
    let (name, text) = (Name::Status.as_os_str(), status.to_json());
    marker::replace(home, home.dir(), name, text.as_bytes(), Durability::Volatile)
}

/// A write that is under way. Where it panics it has failed, and those who wait for it must not wait for ever.
struct WriteGuard<'a> {
    shared: &'a Shared,
    meant: Option<IntendedStatus<u64>>,
}

impl<'a> WriteGuard<'a> {
    fn ended(mut self, succeeded: bool) -> (MutexGuard<'a, State>, bool) {
        let mut state = self.shared.state.lock();
        let meant = self.meant.take();
        let gives_back = meant.is_some_and(|it| state.engine.status_written(it, succeeded));
        (state, gives_back)
    }
}

impl Drop for WriteGuard<'_> {
    fn drop(&mut self) {
        if let Some(meant) = self.meant.take() {
            self.shared.state.lock().engine.status_written(meant, false);
            self.shared.turns.pass();
        }
    }
}
