//! What a gateway says of itself, read under the transition lock. It changes nothing.

#[cfg(any(feature = "http", feature = "systemd"))]
use std::time::Duration;

use crate::engine::{Ended, NotQuiesced};
use crate::gate::GateState;
#[cfg(feature = "http")]
use crate::holder::Holder;
use crate::home::HomeCheck;
#[cfg(feature = "systemd")]
use crate::machine::ShutdownCause;
use crate::recipient::Recipient;
#[cfg(any(feature = "http", feature = "systemd"))]
use crate::status::Condition;
use crate::status::{self, Issue, SnapshotInputs, Status};

use super::labels::LabelledWork;
use super::outcome::{Idle, Quiesced};
use super::shared::{Shared, State};

/// What one look under the transition lock shows.
#[cfg(feature = "systemd")]
#[derive(Clone, Debug)]
pub(crate) struct StateSnapshot {
    pub(crate) condition: Condition,
    /// Why the shutdown began, once one has.
    pub(crate) cause: Option<ShutdownCause>,
    /// The name in each live request; `None` is the shared marker.
    pub(crate) holders: Vec<Option<String>>,
    /// The time until the shutdown's deadline, while one waits for its turns.
    pub(crate) grace_left: Option<Duration>,
    /// How the shutdown ended, once it has.
    pub(crate) ended: Option<Ended>,
}

impl Shared {
    pub(super) fn status(&self) -> Status {
        let state = self.state.lock();
        // Listed before it is counted: whatever is in the list is in the count.
        let listed = self.registry.lock().listed();
        let complaints = self.complaints(&state);
        let gate = self.gate.state();
        let mut status = self.snapshot(&state, gate, &listed, &complaints, state.sequence);
        status.degraded.extend(state.unwritten.clone());
        drop(state);
        drop(listed);
        status
    }

    /// What is wrong with the home and the requests.
    pub(super) fn complaints(&self, state: &State) -> Vec<Issue> {
        let single = self.store.not_exclusive_reason().map(|reason| {
            let detail =
                format!("a second gateway can start if the lock file is removed: {reason}");
            Issue::new("home_singly_locked", detail)
        });
        let home_check = match &state.home_check {
            HomeCheck::Own => None,
            HomeCheck::Elsewhere(reason) => Some(("home_elsewhere", reason)),
            HomeCheck::Taken(reason) => Some(("home_taken", reason)),
            HomeCheck::Unlocked(reason) => Some(("home_unlocked", reason)),
        };
        let unseen = state.engine.unseen();
        let judge = self.settings.judge(self.settings.clock.now());
        // What the home itself explains is said once.
        let is_said = |reason: &String| home_check.is_some_and(|(_, said)| said == reason);
        let unlisted = unseen.listing.as_ref().filter(|reason| !is_said(reason));
        let requests: Vec<_> =
            unseen.requests.iter().filter(|(_, reason)| !is_said(reason)).cloned().collect();
        let home_check = home_check.map(|(code, reason)| Issue::new(code, reason.clone()));
        let mut all: Vec<Issue> = single.into_iter().chain(home_check).collect();
        let unlisted = unlisted.map(String::as_str);
        all.extend(status::complaints(&requests, unlisted, state.engine.table(), &judge));
        all
    }

    pub(super) fn snapshot(
        &self,
        state: &State,
        gate: GateState,
        listed: &LabelledWork,
        complaints: &[Issue],
        sequence: u64,
    ) -> Status {
        let now = self.settings.clock.now();
        let (judge, engine) = (self.settings.judge(now), &state.engine);
        let inputs = SnapshotInputs {
            machine: engine.machine(),
            gate,
            drain_wanted: engine.table().wanted().is_some(),
            holders: status::holders(engine.table(), &judge),
            held_until: status::held_until(engine.table(), &judge),
            unseen_held_until: engine.table().unseen_held_until(),
            active_work: listed.active_work(now.uptime),
            degraded: status::degraded(complaints, now),
            now,
            sequence,
        };
        Status::snapshot(&self.identity, inputs)
    }

    /// What a status would say, as a mark to compare with later.
    #[cfg(feature = "http")]
    pub(super) fn seen(&self) -> (Condition, u64) {
        let state = self.state.lock();
        (state.engine.condition(self.gate.state()), state.revision)
    }

    /// What one look under the transition lock shows.
    #[cfg(feature = "systemd")]
    pub(super) fn state_snapshot(&self) -> StateSnapshot {
        let state = self.state.lock();
        let (engine, now) = (&state.engine, self.settings.clock.now());
        let holders = status::holders(engine.table(), &self.settings.judge(now));
        StateSnapshot {
            condition: engine.condition(self.gate.state()),
            cause: engine.machine().cause(),
            holders: holders.into_iter().map(|it| it.holder).collect(),
            grace_left: engine.deadline().map(|deadline| deadline.saturating_sub(now.uptime)),
            ended: engine.ended(),
        }
    }

    pub(super) fn check_idle(&self) -> Option<Idle> {
        // Under the lock, so that word and generation are of one close.
        let state = self.state.lock();
        let generation = state.engine.machine().generation();
        self.gate.word().is_idle().then_some(Idle { generation })
    }

    pub(super) fn check_quiesced(&self) -> Option<Result<Quiesced, NotQuiesced>> {
        let state = self.state.lock();
        let quiesced = state.engine.quiesced(self.gate.state())?;
        Some(quiesced.map(|()| {
            let (table, now) = (state.engine.table(), self.settings.clock.now());
            Quiesced {
                generation: state.engine.machine().generation(),
                request_ids: status::held_for(table),
                until: status::held_until(table, &self.settings.judge(now)),
            }
        }))
    }

    pub(super) fn check_ended(&self) -> Option<Ended> {
        self.state.lock().engine.outcome()
    }

    /// What is left of a shutdown's grace; `None` where no shutdown was asked for.
    #[cfg(feature = "http")]
    pub(super) fn grace_left(&self) -> Option<Duration> {
        let until = self.state.lock().engine.grace_until()?;
        Some(until.saturating_sub(self.settings.clock.now().uptime))
    }

    /// Whom a request in this gateway is for: itself.
    pub(super) fn recipient(&self) -> Recipient {
        Recipient::itself(&self.settings.epoch, &self.settings.incarnation)
    }

    /// Looks at what this holder asks, and believes nothing.
    #[cfg(feature = "http")]
    pub(super) fn observe_holder(&self, holder: &Holder) -> crate::control::Observation {
        self.store.observe_holder(holder, self.recipient(), self.settings.clock.now())
    }

    /// How many live named requests this principal has signed, besides those of `holder`.
    #[cfg(feature = "http")]
    pub(super) fn signed_by(&self, principal: &str, holder: &Holder) -> usize {
        status::signed_by(self.state.lock().engine.table(), principal, holder)
    }
}
