//! Removes what was left behind: requests that have been dead for long enough to have been reported, and
//! drafts of writers that were killed.

use std::time::Duration;

use crate::disk::RealDisk;
use crate::epoch::Now;
use crate::faults::fault;
use crate::holder::Slot;
use crate::home::{Name, OpenHome};
use crate::judge::Validity;
use crate::marker;
use crate::reconcile::{Entry, Sighting};
use crate::request::Request;

use super::shared::Shared;

/// How often drafts that were left behind are swept, and how long a request of another epoch is kept, for
/// the status to say so. Its holder may be alive, in another container.
const SWEEP_EVERY: Duration = Duration::from_secs(3600);

/// How long a request whose lease has run out is kept, for the status to say so.
const EXPIRED_KEPT: Duration = Duration::from_secs(60);

/// This many dead requests are removed in one round at most: a round must not take long.
const SWEPT_AT_ONCE: usize = 512;

impl Shared {
    /// Removes what was left behind (U36).
    pub(super) fn sweep(&self) {
        let Some(home) = self.store.home() else { return };
        let now = self.settings.clock.now();
        self.sweep_dead(home, now);
        {
            let sweeps = &mut self.state.lock().sweeps;
            if now.uptime < sweeps.drafts_at {
                return;
            }
            sweeps.drafts_at = now.uptime.saturating_add(SWEEP_EVERY);
        }
        let ours = [Name::Marker, Name::Requests, Name::Status].map(Name::in_drafts);
        let mut swept = marker::sweep_drafts(home, home.dir(), &ours);
        if let Ok(requests) = home.open_requests() {
            swept += marker::sweep_drafts(home, &requests, &[]);
        }
        if swept > 0 {
            tracing::info!(swept, "removed temporary files of writers that were killed");
        }
    }

    fn sweep_dead(&self, home: &OpenHome<RealDisk>, now: Now) {
        let dead: Vec<(Slot, Request)> = {
            let state = &mut *self.state.lock();
            if now.uptime < state.sweeps.dead_at {
                return;
            }
            let judge = self.settings.judge(now);
            let is_due = |entry: &Entry<Request>, request: &Request| {
                let kept = match judge.validity(request) {
                    Validity::StaleEpoch | Validity::OtherRun => SWEEP_EVERY,
                    Validity::Expired | Validity::Live => EXPIRED_KEPT,
                };
                (!entry.is_live() || fault!(SweepsLive))
                    && now.uptime.saturating_sub(entry.since()) >= kept
            };
            let named = state.engine.table().entries().filter(|(slot, _)| **slot != Slot::Shared);
            let dead = named.filter_map(|(slot, entry)| {
                let request = entry.request()?;
                is_due(entry, request).then(|| (slot.clone(), request.clone()))
            });
            let after_last =
                |(slot, _): &(Slot, Request)| Some(slot) > state.sweeps.swept_to.as_ref();
            let dead: Vec<_> = dead.filter(after_last).take(SWEPT_AT_ONCE).collect();
            // The next round goes on from here, so that what cannot be removed is in nothing's way.
            state.sweeps.swept_to = dead.last().map(|(slot, _)| slot.clone());
            let is_over = dead.len() < SWEPT_AT_ONCE;
            let pause = if is_over { EXPIRED_KEPT } else { Duration::ZERO };
            state.sweeps.dead_at = now.uptime.saturating_add(pause);
            dead
        };
        // A file among the named requests is never written twice, so once dead it stays dead. A file that a
        // person writes to is the exception: it is read once more.
        let as_it_was = |(slot, request): &(Slot, Request)| matches!(marker::observe(home, slot), Sighting::Present(found) if found.has_same_content(request));
        let dead: Vec<Slot> = dead.into_iter().filter(as_it_was).map(|(slot, _)| slot).collect();
        if !dead.is_empty() {
            match marker::cancel(home, &dead) {
                Ok(swept) => tracing::info!(swept, "removed drain requests that no longer count"),
                Err(error) => {
                    tracing::warn!(%error, "cannot remove drain requests that no longer count");
                }
            }
        }
    }
}
