//! A component of your own, added to the gateway model from outside the crate. A watcher puts a gateway to
//! sleep when nothing comes in, and wakes it at the first message. In its naive form it writes the status
//! itself (U16). A property of the suite catches that.

use stateright::{Model, Property};
use tidegate::machine::Phase;
use tidegate_models::design::Design;
use tidegate_models::explorer::{Until, explore};
use tidegate_models::gateway::{self, GatewayModel};

/// The gateway, and a scaler beside it.
struct Scaled {
    gateway: GatewayModel,
    /// Whether the scaler writes what it thinks, instead of leaving the status to its one writer.
    writes_the_status: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    gateway: gateway::State,
    asleep: bool,
    /// The content of the status file.
    status: Option<Phase>,
    /// The gateway's phase has changed, and is not published yet.
    pending: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum Action {
    Gateway(gateway::Action),
    StatusIsPublished,
    NothingComesIn,
    MessageWakes,
}

impl Model for Scaled {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let gateways = self.gateway.init_states().into_iter();
        gateways
            .map(|gateway| {
                let status = gateway.condition().map(|it| it.phase);
                State { gateway, asleep: false, status, pending: false }
            })
            .collect()
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let mut gateways = Vec::new();
        self.gateway.actions(&state.gateway, &mut gateways);
        actions.extend(gateways.into_iter().map(Action::Gateway));
        actions.extend([Action::StatusIsPublished, Action::NothingComesIn, Action::MessageWakes]);
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        let phase = |state: &State| state.gateway.condition().map(|it| it.phase);
        match action {
            Action::Gateway(action) => {
                state.gateway = self.gateway.next_state(&state.gateway, action)?;
                state.pending |= phase(&state) != phase(before);
            }
            Action::StatusIsPublished => {
                state.status = Some(phase(&state)?);
                state.pending = false;
            }
            Action::NothingComesIn => state.asleep = true,
            Action::MessageWakes => {
                state.asleep.then_some(())?;
                state.asleep = false;
                if self.writes_the_status {
                    state.status = Some(Phase::Running);
                }
            }
        }
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Scaled>> {
        vec![
            Property::always("status_is_faithful_inv", |_, state: &State| {
                let phase = state.gateway.condition().map(|it| it.phase);
                state.pending || phase.is_none() || state.status == phase
            }),
            // The gateway's properties must also hold with the scaler beside it.
            Property::always("no_new_turn_while_draining_step", |model: &Scaled, state: &State| {
                let own = model.gateway.properties().into_iter();
                let mut own = own.filter(|it| it.name == "no_new_turn_while_draining_step");
                own.all(|it| (it.condition)(&model.gateway, &state.gateway))
            }),
            Property::sometimes("wakes_while_draining_reach", |_, state: &State| {
                let drains = |it: tidegate::internals::status::Condition| {
                    it.phase == Phase::ExternallyDraining
                };
                state.asleep && state.gateway.condition().is_some_and(drains)
            }),
        ]
    }
}

fn scaled(writes_the_status: bool) -> Scaled {
    let gateway = GatewayModel { restarts: 0, ..GatewayModel::for_liveness(Design::tidegate()) };
    Scaled { gateway, writes_the_status }
}

#[test]
fn one_that_leaves_the_status_to_its_writer_breaks_nothing() {
    let found = explore(&scaled(false), Until::Exhausted, |_| true);
    assert!(found.exhaustive);
    assert!(found.findings.iter().all(|it| !it.is_failure));
    assert!(found.finding("wakes_while_draining_reach").is_some());
}

#[test]
fn one_that_writes_what_it_thinks_breaks_tg_s8() {
    let naive = scaled(true);
    let found = explore(&naive, Until::Found("status_is_faithful_inv"), |_| true);
    let broken = found.finding("status_is_faithful_inv").expect("U16").way(&naive);
    let steps: Vec<_> = broken.steps.iter().map(|(action, _)| action.clone()).collect();
    // The gateway leaves the phase running, that is published, and then the message comes.
    assert_eq!(steps.last(), Some(&Action::MessageWakes), "{steps:?}");
    assert!(steps.contains(&Action::StatusIsPublished) && steps.len() <= 6, "{steps:?}");
}
