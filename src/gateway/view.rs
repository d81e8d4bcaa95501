//! A gateway as a reporter sees it (feature `systemd`): what it shows at one instant, and when to look
//! again. A view changes nothing, and it keeps no gateway alive.
//!
//! It holds what the gateway's own threads hold, and no handle. A weak handle would not do. A reporter that upgrades
//! it could hold the last one. Then the author's last drop would return before the gateway has ended.

use std::task::Waker;

use crate::sync::Arc;
use crate::watcher::RoundCounter;

use super::readings::StateSnapshot;
use super::shared::Shared;

#[derive(Debug)]
pub(crate) struct View {
    shared: Arc<Shared>,
    /// Those of the gateway's own threads.
    round_counts: Vec<Arc<RoundCounter>>,
    /// The place in the list of those who wait.
    place: Option<u64>,
}

impl View {
    pub(super) fn of(shared: Arc<Shared>, round_counts: Vec<Arc<RoundCounter>>) -> View {
        View { shared, round_counts, place: None }
    }

    /// Has the waker woken at the next change, once. A caller that looks *after* this
    /// misses no change.
    pub(crate) fn listen(&mut self, waker: &Waker) {
        self.shared.waiters.register(&mut self.place, waker);
    }

    /// Takes the transition lock: it returns only where the gateway can still change its phase.
    pub(crate) fn state_snapshot(&self) -> StateSnapshot {
        self.shared.state_snapshot()
    }

    /// The counts of the rounds of the gateway's threads.
    pub(crate) fn round_counts(&self) -> Vec<u64> {
        self.round_counts.iter().map(|pulse| pulse.count()).collect()
    }
}

impl Drop for View {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            self.shared.waiters.leave(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::machine::{Phase, ShutdownCause};
    use crate::{Ended, Gateway, Origin};

    #[test]
    fn a_view_shows_the_grace_that_is_left_and_keeps_no_gateway_alive() {
        let gateway = Gateway::in_memory().start().expect("starts");
        let view = gateway.view();
        assert_eq!(view.state_snapshot().grace_left, None);
        let turn = gateway.admit(Origin::User).expect("open");
        let grace = Duration::from_secs(600);
        let ending = gateway.shut_down(ShutdownCause::Sigterm, grace);
        let left = view.state_snapshot().grace_left.expect("a deadline");
        assert!(left <= grace && left > grace / 2, "{left:?}");
        drop((ending, gateway));
        let state_snapshot = view.state_snapshot();
        assert_eq!(state_snapshot.condition.phase, Phase::Stopped);
        assert_eq!(state_snapshot.ended, Some(Ended::TimedOut { in_flight: 1 }));
        assert_eq!(state_snapshot.grace_left, None);
        drop(turn);
    }
}
