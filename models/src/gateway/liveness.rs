//! The liveness properties of the gateway and the fairness that they assume, for [`Graph::check`].
//!
//! [`Graph::check`]: crate::liveness::Graph::check

use tidegate::internals::gate::{Arrival, Origin};
use tidegate::machine::Phase;

use super::{Action, GatewayModel, Marker, Process, State};
use crate::liveness::{FairnessConstraint, LivenessProperty};

// A read may fail, and is tried again.
const LOOKS: FairnessConstraint<Action> =
    FairnessConstraint::strong("a watcher's read succeeds (strong)", |action| {
        matches!(action, Action::WatcherLooks { fails: false, .. })
    });

const APPLIES: FairnessConstraint<Action> =
    FairnessConstraint::weak("a watcher applies its observation", |action| {
        matches!(action, Action::WatcherApplies { .. })
    });

const TURNS_END: FairnessConstraint<Action> =
    FairnessConstraint::weak("user turns end", |action| matches!(action, Action::UserTurnEnds));

const CHILDREN_END: FairnessConstraint<Action> =
    FairnessConstraint::weak("children end", |action| matches!(action, Action::ChildEnds));

const INTERNAL_WORK_ENDS: FairnessConstraint<Action> =
    FairnessConstraint::weak("internal work ends", |action| {
        matches!(action, Action::InternalTurnEnds)
    });

const DEADLINE_PASSES: FairnessConstraint<Action> =
    FairnessConstraint::weak("time passes", |action| {
        matches!(action, Action::TimerRounds { late: true })
    });

fn lives(state: &State, holds: impl Fn(&Process) -> bool) -> bool {
    state.process.as_ref().is_some_and(holds)
}

fn rounds_panic(action: &Action) -> bool {
    matches!(action, Action::WatcherFails { .. })
}

/// TG-L1 to TG-L4.
#[must_use]
pub fn liveness_properties() -> Vec<LivenessProperty<GatewayModel>> {
    vec![
        // Property: TG-L1 closes
        LivenessProperty {
            name: "closes_progress",
            premise: |_, state| {
                let asks = !matches!(state.marker, Marker::Absent | Marker::Stale);
                asks && lives(state, |it| !it.shut)
            },
            goal: |_, state| {
                lives(state, |it| {
                    it.phase() == Phase::ExternallyDraining && it.shell.gate.state().is_closed()
                })
            },
            ended: rounds_panic,
            fair: vec![LOOKS, APPLIES],
        },
        // Property: TG-L2 drains
        LivenessProperty {
            name: "drains_progress",
            premise: |_, state| lives(state, |it| it.phase() == Phase::ExternallyDraining),
            goal: |_, state| {
                lives(state, |it| {
                    let condition = it.shell.condition();
                    let wanted = it.shell.engine.table().wanted();
                    let holds = wanted.is_some_and(|terms| terms.hold_internal);
                    condition.quiesced || (condition.idle && !holds)
                })
            },
            ended: |action| matches!(action, Action::InternalArrives | Action::ChildStartsChild),
            fair: vec![TURNS_END, CHILDREN_END, INTERNAL_WORK_ENDS],
        },
        // Property: TG-L3 reopens
        LivenessProperty {
            name: "reopens_progress",
            premise: |_, state| {
                let asks_nothing = matches!(state.marker, Marker::Absent | Marker::Stale);
                asks_nothing && lives(state, |it| !it.shut)
            },
            goal: |_, state| {
                lives(state, |it| {
                    let admits = it.shell.gate.admit(Arrival::New(Origin::User)).is_ok();
                    it.phase() == Phase::Running && admits
                })
            },
            ended: rounds_panic,
            fair: vec![LOOKS, APPLIES],
        },
        // Property: TG-L4 stops. Turns need not end: a wedged one does not.
        LivenessProperty {
            name: "stops_progress",
            premise: |_, state| lives(state, |it| it.phase() == Phase::ShuttingDown),
            goal: |_, _| false,
            ended: |_| false,
            fair: vec![DEADLINE_PASSES],
        },
    ]
}
