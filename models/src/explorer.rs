//! An exhaustive breadth-first search over any [`stateright::Model`] that keeps whole states, not
//! fingerprints of them, and so gives an exact count and the shortest way to every finding. It checks
//! safety only: `always` and `sometimes`.
//!
//! stateright's own checker runs beside it on every model; the two must agree on the count.

use std::hash::Hash;

use indexmap::IndexMap;
use rustc_hash::FxBuildHasher;
use stateright::{Expectation, Model};

/// What a search found.
pub struct Exploration<M: Model> {
    /// Distinct states seen.
    pub states: u64,
    /// Steps taken, also to states already seen.
    pub transitions: u64,
    /// The longest of the shortest ways to a state, in steps.
    pub depth: u64,
    /// Whether every reachable state was seen.
    pub exhaustive: bool,
    /// The first state found for each property that is broken or reached.
    pub findings: Vec<Finding<M>>,
}

/// A shortest way to a state that breaks an `always`, or reaches a `sometimes`.
pub struct Finding<M: Model> {
    /// The property's name.
    pub property: &'static str,
    /// Whether it breaks an `always`.
    pub is_failure: bool,
    /// The initial state.
    pub start: M::State,
    /// Each action, and the state it led to.
    pub steps: Vec<(M::Action, M::State)>,
}

impl<M: Model> Exploration<M> {
    /// The finding for a property, if there is one.
    #[must_use]
    pub fn finding(&self, property: &str) -> Option<&Finding<M>> {
        self.findings.iter().find(|finding| finding.property == property)
    }
}

/// When to stop before everything is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Never.
    Exhausted,
    /// When this `always` is broken.
    Broken(&'static str),
}

/// Searches. `progress` is told the number of states now and then, and ends the search early by
/// answering `false`.
///
/// # Panics
///
/// On a model with an `eventually`, which a search over states cannot judge, or with 2³² states.
pub fn explore<M>(model: &M, until: Until, progress: impl Fn(u64) -> bool) -> Exploration<M>
where
    M: Model,
    M::State: Clone + Eq + Hash,
    M::Action: Clone,
{
    const PROGRESS_EVERY: usize = 1 << 14;

    let properties = model.properties();
    assert!(
        properties.iter().all(|property| property.expectation != Expectation::Eventually),
        "a search over states cannot judge an `eventually`"
    );

    let mut seen: Seen<M::State, M::Action> = IndexMap::default();
    let mut exploration =
        Exploration { states: 0, transitions: 0, depth: 0, exhaustive: true, findings: Vec::new() };
    for start in model.init_states() {
        seen.entry(start).or_insert(None);
    }
    let mut layer_end = seen.len();
    let (mut actions, mut nexts) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < seen.len() {
        if at == layer_end {
            exploration.depth += 1;
            layer_end = seen.len();
        }
        if at % PROGRESS_EVERY == 0 && !progress(seen.len() as u64) {
            exploration.exhaustive = false;
            break;
        }
        let Some((state, _)) = seen.get_index(at) else { break };
        for property in &properties {
            let holds = (property.condition)(model, state);
            let is_failure = property.expectation == Expectation::Always;
            if holds != is_failure && exploration.finding(property.name).is_none() {
                let (start, steps) = way_to(at, &seen);
                let property = property.name;
                exploration.findings.push(Finding { property, is_failure, start, steps });
            }
        }
        if let Until::Broken(property) = until
            && exploration.finding(property).is_some()
        {
            exploration.exhaustive = false;
            break;
        }
        let number = u32::try_from(at).expect("fewer than 2^32 states");
        model.actions(state, &mut actions);
        for action in actions.drain(..) {
            let Some(next) = model.next_state(state, action.clone()) else { continue };
            if model.within_boundary(&next) {
                nexts.push((next, action));
            }
        }
        exploration.transitions += nexts.len() as u64;
        for (next, action) in nexts.drain(..) {
            seen.entry(next).or_insert(Some((number, action)));
        }
        at += 1;
    }
    exploration.states = seen.len() as u64;
    exploration
}

/// Each state, by its number: with the number of the state it was first reached from, and by what.
type Seen<S, A> = IndexMap<S, Option<(u32, A)>, FxBuildHasher>;

type Way<S, A> = (S, Vec<(A, S)>);

fn way_to<S: Clone, A: Clone>(end: usize, seen: &Seen<S, A>) -> Way<S, A> {
    let mut steps = Vec::new();
    let mut at = end;
    loop {
        let (state, from) = seen.get_index(at).expect("it was reached");
        match from {
            Some((from, action)) => {
                steps.push((action.clone(), state.clone()));
                at = *from as usize;
            }
            None => {
                steps.reverse();
                return (state.clone(), steps);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stateright::Property;

    /// Two counters up to three: sixteen states on a grid.
    struct Grid;

    impl Model for Grid {
        type State = (u8, u8);
        type Action = bool;

        fn init_states(&self) -> Vec<(u8, u8)> {
            vec![(0, 0)]
        }

        fn actions(&self, _: &(u8, u8), actions: &mut Vec<bool>) {
            actions.extend([false, true]);
        }

        fn next_state(&self, &(x, y): &(u8, u8), right: bool) -> Option<(u8, u8)> {
            let next = if right { (x + 1, y) } else { (x, y + 1) };
            (next.0 <= 3 && next.1 <= 3).then_some(next)
        }

        fn properties(&self) -> Vec<Property<Grid>> {
            vec![
                Property::always("below_inv", |_, &(x, y)| x + y < 4),
                Property::sometimes("corner_reach", |_, &state| state == (3, 3)),
                Property::sometimes("beyond_reach", |_, &(x, _)| x == 4),
            ]
        }
    }

    #[test]
    fn counts_are_exact_and_ways_shortest() {
        let all = explore(&Grid, Until::Exhausted, |_| true);
        assert_eq!((all.states, all.transitions, all.depth), (16, 24, 6));
        assert!(all.exhaustive);
        assert_eq!(all.finding("below_inv").expect("broken").steps.len(), 4);
        assert_eq!(all.finding("corner_reach").expect("reached").steps.len(), 6);
        assert!(all.finding("beyond_reach").is_none());
    }

    #[test]
    fn a_search_cut_short_does_not_call_itself_exhaustive() {
        assert!(!explore(&Grid, Until::Broken("below_inv"), |_| true).exhaustive);
        assert!(!explore(&Grid, Until::Exhausted, |_| false).exhaustive);
    }
}
