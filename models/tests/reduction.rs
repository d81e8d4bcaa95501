//! A reduced model leaves out nothing. Its states are exactly the representatives of the unreduced model's
//! states. Both models give the same result for every property.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::Hash;

use stateright::Model;
use tidegate_models::design::Design;
use tidegate_models::explorer::{Until, explore};
use tidegate_models::gateway::GatewayModel;
use tidegate_models::gateway::any_number::{AnyNumberModel, State as Crowd};
use tidegate_models::marker::MarkerModel;

fn reachable<M: Model<State: Copy + Eq + Hash>>(model: &M) -> HashSet<M::State> {
    let mut open = model.init_states();
    let mut seen: HashSet<M::State> = open.iter().copied().collect();
    let mut actions = Vec::new();
    while let Some(state) = open.pop() {
        model.actions(&state, &mut actions);
        for action in actions.drain(..) {
            open.extend(model.next_state(&state, action).filter(|next| seen.insert(*next)));
        }
    }
    seen
}

fn compare<M: Model<State: Copy + Eq + Hash>>(
    whole: &M,
    reduced: &M,
    representative: impl Fn(M::State) -> M::State,
) {
    let all = reachable(whole);
    let expected: HashSet<M::State> = all.iter().copied().map(representative).collect();
    let found = reachable(reduced);
    assert!(found == expected, "{} of {}, and {}", expected.len(), all.len(), found.len());
    assert!(found.len() * 3 < all.len() * 2, "{} of {} are left", found.len(), all.len());
    let [whole, reduced] = [whole, reduced].map(|model| explore(model, Until::Exhausted, |_| true));
    assert_eq!(reduced.states, found.len() as u64);
    let properties = |findings: &[tidegate_models::explorer::Finding]| {
        findings.iter().map(|it| it.property).collect::<BTreeSet<_>>()
    };
    assert_eq!(properties(&whole.findings), properties(&reduced.findings));
}

#[test]
fn watchers_are_alike() {
    let whole = GatewayModel::for_liveness(Design::tidegate());
    let reduced = GatewayModel { reduced: true, ..whole };
    compare(&whole, &reduced, |state| whole.representative(state));
}

#[test]
fn a_holder_s_processes_are_alike_and_drafts_are_nobody_s_business() {
    let whole = MarkerModel { shared: false, ..MarkerModel::small(Design::tidegate()) };
    let reduced = MarkerModel { reduced: true, ..whole };
    compare(&whole, &reduced, |state| whole.representative(state));
}

/// The crowd model covers every state that the gateway model reaches with these small numbers.
#[test]
fn a_crowd_covers_every_small_number() {
    let crowd = AnyNumberModel::any(Design::tidegate());
    let mut of_gateway: HashMap<_, Vec<Crowd>> = HashMap::new();
    for state in reachable(&crowd) {
        of_gateway.entry(*state.gateway()).or_default().push(state);
    }
    let few = GatewayModel::for_liveness(Design::tidegate());
    let more_turns = GatewayModel { users: 3, children: 2, others: 2, watchers: 1, ..few };
    let more_watchers = GatewayModel { watchers: 3, reduced: true, ..few };
    for model in [GatewayModel { begins: 2, restarts: 0, ..few }, more_turns, more_watchers] {
        for state in reachable(&model) {
            let state = Crowd::of(state);
            let covers = |crowd: &Crowd| crowd.covers(&state);
            let is_covered =
                of_gateway.get(state.gateway()).is_some_and(|it| it.iter().any(covers));
            assert!(is_covered, "{state:?} of {model:?}");
        }
    }
}
