//! The properties that must hold in every state of the gateway model, and the states that must be reachable.

use stateright::Property;
use tidegate::internals::engine::Ended;
use tidegate::internals::gate::{Arrival, Origin};
use tidegate::internals::status::gateway_state;
use tidegate::machine::Phase;

use super::GatewayModel;
use super::marker::{Marker, ReadOutcome};
use super::state::{ObserverState, Process, State};

fn process(state: &State, holds: impl Fn(&Process) -> bool) -> bool {
    state.process.as_ref().is_some_and(holds)
}

/// Whether a snapshot with this phase and readiness says running or ready.
fn says_running((phase, ready): (Phase, bool)) -> bool {
    ready || !phase.is_shut() || gateway_state(phase) == "running"
}

pub(super) fn properties() -> Vec<Property<GatewayModel>> {
    let of_the_gate = of_the_gate();
    of_the_gate.into_iter().chain(of_observations()).chain(of_what_is_told()).collect()
}

fn of_the_gate() -> Vec<Property<GatewayModel>> {
    vec![
        // Property: TG-S1 shutdown_wins
        Property::always("shutdown_wins_inv", |_, state: &State| {
            !process(state, |it| {
                it.shut
                    && (!it.shell.gate.state().is_closed()
                        || it.published.is_some_and(says_running))
            })
        }),
        Property::sometimes("shutdown_wins_reach", |_, state: &State| {
            process(state, |it| {
                let about_to_release = |observer: &ObserverState| {
                    matches!(
                        observer,
                        ObserverState::Looked {
                            seen: ReadOutcome::Marker(Marker::Absent),
                            current: true,
                            ..
                        }
                    )
                };
                it.phase() == Phase::ShuttingDown
                    && it.shell.machine().generation() > 0
                    && it.users > 0
                    && it.observers.iter().any(about_to_release)
            })
        }),
        // Property: TG-S2 no_new_turn_while_draining
        Property::always("no_new_turn_while_draining_step", |_, state: &State| {
            !state.started_while_draining
        }),
        Property::sometimes("no_new_turn_while_draining_reach", |_, state: &State| {
            let refused = |it: &Process| it.shell.gate.admit(Arrival::New(Origin::User)).is_err();
            state.confirmed && process(state, |it| refused(it) && it.users > 0 && !it.shut)
        }),
        Property::sometimes("drain_is_undone_reach", |_, state: &State| {
            state.begins_left == 0
                && process(state, |it| {
                    it.phase() == Phase::Running
                        && it.shell.machine().generation() > 1
                        && it.users > 0
                })
        }),
        // Property: TG-S5 ack_means_closed
        Property::always("ack_means_closed_inv", |_, state: &State| {
            state
                .process
                .as_ref()
                .is_none_or(|it| it.phase() == Phase::Running || it.shell.gate.state().is_closed())
        }),
        Property::sometimes("ack_means_closed_reach", |_, state: &State| {
            state.confirmed && process(state, |it| it.shell.gate.state().is_closed())
        }),
        // Property: TG-S3 bypass_is_bounded
        Property::always("bypass_is_bounded_inv", |_, state: &State| {
            !state.admitted_wrongly
                && state
                    .process
                    .as_ref()
                    .is_none_or(|it| it.shell.gate.state().in_flight() == it.live())
        }),
        Property::sometimes("bypass_is_bounded_reach", |_, state: &State| {
            state.confirmed && process(state, |it| it.internals > 0 && it.children > 0)
        }),
    ]
}

fn of_observations() -> Vec<Property<GatewayModel>> {
    vec![
        // Property: TG-S10 fail_safe
        Property::always("fail_safe_inv", |_, state: &State| !state.opened_wrongly),
        Property::sometimes("fail_safe_reach", |_, state: &State| {
            let blind = |observer: &ObserverState| {
                matches!(observer, ObserverState::Looked { seen: ReadOutcome::Error, .. })
            };
            state.marker == Marker::Corrupt
                && process(state, |it| {
                    it.phase() == Phase::ExternallyDraining && it.observers.iter().any(blind)
                })
        }),
        // Property: TG-S11 observations_never_overlap
        Property::always("observations_never_overlap_inv", |_, state: &State| {
            let looks = |it: &Process| {
                it.observers.iter().filter(|it| matches!(it, ObserverState::Looked { .. })).count()
            };
            !process(state, |it| looks(it) > 1) && !state.answered_early
        }),
        Property::sometimes("observations_never_overlap_reach", |model, state: &State| {
            // The caller has asked during a look that did not see its request.
            let late =
                |it: &Process| matches!(it.observers[model.watchers], ObserverState::Waits(_));
            let looks = |it: &Process| {
                let outdated =
                    |it: &ObserverState| matches!(it, ObserverState::Looked { current: false, .. });
                it.observers.iter().any(outdated)
            };
            state.marker == Marker::Called && process(state, |it| late(it) && looks(it))
        }),
    ]
}

fn of_what_is_told() -> Vec<Property<GatewayModel>> {
    vec![
        // Property: TG-S4 quiesced_means_idle
        Property::always("promise_outlives_inv", |_, state: &State| !state.promise_broken),
        Property::sometimes("promise_outlives_reach", |model, state: &State| {
            // The process that promised is gone, and its successor has not seen the request.
            state.promised
                && state.restarts_left < model.restarts
                && process(state, |it| !it.shell.engine.unseen().requests.is_empty())
        }),
        // Property: TG-S14 receipt_is_true
        Property::always("clean_means_empty_inv", |_, state: &State| {
            !process(state, |it| {
                it.shell.engine.ended() == Some(Ended::Clean) && it.live().total() > 0
            })
        }),
        Property::sometimes("clean_means_empty_reach", |_, state: &State| {
            process(state, |it| matches!(it.shell.engine.ended(), Some(Ended::TimedOut { .. })))
        }),
        // Property: TG-S5 ack_means_closed
        Property::always("receipt_means_closed_inv", |_, state: &State| !state.receipt_lied),
        Property::sometimes("receipt_means_closed_reach", |_, state: &State| {
            state.marker == Marker::Called && state.confirmed
        }),
        Property::sometimes("seal_reach", |_, state: &State| {
            state.confirmed && process(state, |it| it.shell.condition().quiesced)
        }),
    ]
}
