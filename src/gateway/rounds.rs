//! What the gateway's two threads do in a round. The watcher looks, publishes and sweeps; the timer touches no
//! file, so no disk can hold it up.

use std::time::Duration;

use crate::engine::TimerSleeps;
use crate::faults::fault;
use crate::machine::Phase;
use crate::watcher::NextRound;

use super::shared::Shared;

/// How long the timer sleeps at most while a deadline is coming: a deadline counts suspend, and sleeping does not.
const TIMER_SLEEP_MAX: Duration = Duration::from_secs(1);

impl Shared {
    /// One round of the watcher: look, apply, publish.
    // Property: TG-L1 closes, TG-L3 reopens. Each round looks, whatever came of the last.
    pub(super) fn watch_round(&self) -> NextRound {
        self.observe();
        self.beat();
        // As it was *before* publishing: the last handle goes only after the last event, so what is published
        // from here on is the last status.
        let (was_abandoned, has_stopped) = {
            let state = self.state.lock();
            (state.engine.has_no_handles(), state.engine.phase() == Phase::Stopped)
        };
        self.publish();
        if !has_stopped {
            self.sweep();
        }
        if was_abandoned || self.state.lock().engine.has_published_all() {
            NextRound::Never
        } else {
            NextRound::Within(self.settings.interval)
        }
    }

    /// Has the status written again where it has not been for so long.
    fn beat(&self) {
        let now = self.settings.clock.now().uptime;
        let mut state = self.state.lock();
        let is_due = now.saturating_sub(state.published_at) >= self.settings.heartbeat;
        if is_due && state.engine.phase() != Phase::Stopped {
            state.engine.mark_status_changed();
        }
    }

    /// One round of the timer: fire what is due, wake those who wait, have it published (I-12).
    // Property: TG-L4 stops, TG-L2 drains.
    pub(super) fn timer_round(&self) -> NextRound {
        let sleeps = {
            let mut state = self.state.lock();
            self.on_time(&mut state);
            state.engine.timer_sleeps()
        };
        if !fault!(TimerWakesNobody) {
            self.waiters.wake_all();
        }
        if let Some(watcher) = &self.threads.watcher {
            watcher.wake();
        }
        match sleeps {
            TimerSleeps::ForGood => NextRound::Never,
            TimerSleeps::Until(at) if self.settings.clock.runs_by_itself() => NextRound::Within(
                at.saturating_sub(self.settings.clock.now().uptime).min(TIMER_SLEEP_MAX),
            ),
            TimerSleeps::Until(_) | TimerSleeps::UntilWoken => NextRound::WhenWoken,
        }
    }
}
