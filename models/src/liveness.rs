//! Liveness by searching for fair cycles: on every fair run, the goal is met in the end. This module owns the
//! graph of a model's reachable states and the search. The models have the liveness properties.
//!
//! stateright's own `eventually` follows only paths that do not repeat a state. On a cycle, or if two paths
//! join, it passes properties that are false (a test here shows both). A reversible drain *is* a cycle.
//!
//! A counterexample to a [`LivenessProperty`] is an infinite fair run. From some point on it keeps the premise and
//! never meets the goal. In a finite graph, such a run leads to a set of states and then visits them for ever. The set
//! lies within one strongly connected component of the states with the premise and without the goal. A component
//! is fair if two things hold. Every weakly fair class of steps is taken in it, or is disabled in some state of
//! it. Every strongly fair class is taken in it, or is disabled in all states of it. If a strongly fair class is
//! enabled and not taken, the states that enable it are removed, and the rest is searched again. A smaller cycle
//! may be fair even if the larger one is not.
//!
//! A run may also stop in any state in which no fair class is enabled. A step that is possible need not happen.
//! Only fairness makes it happen.

use std::hash::Hash;

use petgraph::algo::kosaraju_scc;
use petgraph::graph::{DiGraph, NodeIndex};
use rustc_hash::FxHashMap;
use stateright::Model;

/// How often a class of steps must be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fairness {
    /// If it stays enabled, it is taken in the end: for steps that nothing prevents.
    Weak,
    /// If it is enabled again and again, it is taken in the end: for steps that may fail and are tried again.
    Strong,
}

/// A class of steps that is taken fairly.
pub struct FairnessConstraint<A> {
    /// Its name in the catalogue.
    pub name: &'static str,
    /// How often it must be taken.
    pub fairness: Fairness,
    /// Which steps belong to it.
    pub includes: fn(&A) -> bool,
}

impl<A> FairnessConstraint<A> {
    /// A class with [`Fairness::Weak`].
    #[must_use]
    pub const fn weak(name: &'static str, includes: fn(&A) -> bool) -> FairnessConstraint<A> {
        FairnessConstraint { name, fairness: Fairness::Weak, includes }
    }

    /// A class with [`Fairness::Strong`].
    #[must_use]
    pub const fn strong(name: &'static str, includes: fn(&A) -> bool) -> FairnessConstraint<A> {
        FairnessConstraint { name, fairness: Fairness::Strong, includes }
    }
}

/// A liveness property: if the premise holds from some point on, the goal is met in the end.
pub struct LivenessProperty<M: Model> {
    /// Its name, ending in `_progress`.
    pub name: &'static str,
    /// What must hold from some point on.
    pub premise: fn(&M, &M::State) -> bool,
    /// What must then be met.
    pub goal: fn(&M, &M::State) -> bool,
    /// The steps that from some point on are no longer taken.
    pub ended: fn(&M::Action) -> bool,
    /// The classes of steps that are taken fairly. All other steps may stop at any time.
    pub fair: Vec<FairnessConstraint<M::Action>>,
}

/// A counterexample: a path to a state, and a fair cycle from there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lasso<S, A> {
    /// The initial state.
    pub start: S,
    /// The steps from there to the cycle.
    pub stem: Vec<(A, S)>,
    /// The steps once around the cycle. Empty if the run just stops.
    pub cycle: Vec<(A, S)>,
}

/// The result of checking a liveness property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LivenessResult<S, A> {
    /// The number of states in which the premise holds and the goal is not met yet. If it is zero, a pass shows
    /// nothing.
    pub waiting: usize,
    /// A counterexample, if there is one.
    pub broken: Option<Lasso<S, A>>,
}

/// Every reachable state of a model, and every step between them.
pub struct Graph<M: Model> {
    /// The states, in the order of a breadth-first search.
    states: Vec<M::State>,
    /// For each state, the step by which it was found first.
    found_by: Vec<Option<u32>>,
    steps: Vec<Step<M::Action>>,
    /// For each state, the index of its first step. At the end, the number of steps.
    begins: Vec<u32>,
}

struct Step<A> {
    from: u32,
    to: u32,
    action: A,
}

/// A set of the classes of one property: those that a step belongs to, or that a state enables.
type Classes = u32;

impl<M> Graph<M>
where
    M: Model,
    M::State: Clone + Eq + Hash,
    M::Action: Clone,
{
    /// Finds all states and steps. `None` if there are more than `states_max` states.
    ///
    /// # Panics
    ///
    /// If there are 2³² steps or more.
    pub fn of(model: &M, states_max: usize) -> Option<Graph<M>> {
        let mut graph: Graph<M> =
            Graph { states: Vec::new(), found_by: Vec::new(), steps: Vec::new(), begins: vec![0] };
        let mut numbers: FxHashMap<M::State, u32> = FxHashMap::default();
        for start in model.init_states() {
            graph.number(&mut numbers, start, None);
        }
        let mut actions = Vec::new();
        let mut at = 0;
        while at < graph.states.len() {
            if graph.states.len() > states_max {
                return None;
            }
            let state = graph.states[at].clone();
            model.actions(&state, &mut actions);
            for action in actions.drain(..) {
                let Some(next) = model.next_state(&state, action.clone()) else { continue };
                if model.within_boundary(&next) {
                    let to = graph.number(&mut numbers, next, Some(small(graph.steps.len())));
                    graph.steps.push(Step { from: small(at), to, action });
                }
            }
            graph.begins.push(small(graph.steps.len()));
            at += 1;
        }
        Some(graph)
    }

    fn number(
        &mut self,
        numbers: &mut FxHashMap<M::State, u32>,
        state: M::State,
        found_by: Option<u32>,
    ) -> u32 {
        *numbers.entry(state).or_insert_with_key(|state| {
            self.states.push(state.clone());
            self.found_by.push(found_by);
            small(self.states.len() - 1)
        })
    }

    /// The number of states.
    #[must_use]
    pub fn len(&self) -> usize {
        self.states.len()
    }

    /// Whether the model has no initial state.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.states.is_empty()
    }

    /// Searches for a counterexample.
    ///
    /// # Panics
    ///
    /// If the property has more than 32 fair classes.
    pub fn check(
        &self,
        model: &M,
        progress: &LivenessProperty<M>,
    ) -> LivenessResult<M::State, M::Action> {
        assert!(progress.fair.len() <= 32, "a class is a bit of a word");
        let search = Search {
            graph: self,
            weak: progress.classes_with(Fairness::Weak),
            strong: progress.classes_with(Fairness::Strong),
            classes: self.steps.iter().map(|step| progress.classes_of(&step.action)).collect(),
            ended: self.steps.iter().map(|step| (progress.ended)(&step.action)).collect(),
        };
        let waits =
            |state: &M::State| (progress.premise)(model, state) && !(progress.goal)(model, state);
        let region: Vec<u32> =
            (0..small(self.len())).filter(|at| waits(&self.states[*at as usize])).collect();
        let waiting = region.len();
        let broken = search.fair_component(region).map(|component| search.lasso(&component));
        LivenessResult { waiting, broken }
    }

    fn steps_from(&self, state: u32) -> std::ops::Range<usize> {
        let at = state as usize;
        self.begins[at] as usize..self.begins[at + 1] as usize
    }
}

impl<M: Model> LivenessProperty<M> {
    fn classes_with(&self, fairness: Fairness) -> Classes {
        self.classes(|fair| fair.fairness == fairness)
    }

    fn classes_of(&self, action: &M::Action) -> Classes {
        if (self.ended)(action) { 0 } else { self.classes(|fair| (fair.includes)(action)) }
    }

    fn classes(&self, is: impl Fn(&FairnessConstraint<M::Action>) -> bool) -> Classes {
        let classes = self.fair.iter().enumerate().filter(|(_, fair)| is(fair));
        classes.fold(0, |all, (at, _)| all | 1 << at)
    }
}

/// One search: the graph, and the classes of its steps for one property.
struct Search<'a, M: Model> {
    graph: &'a Graph<M>,
    weak: Classes,
    strong: Classes,
    /// The classes of each step.
    classes: Vec<Classes>,
    /// Whether each step is no longer taken.
    ended: Vec<bool>,
}

impl<M> Search<'_, M>
where
    M: Model,
    M::State: Clone + Eq + Hash,
    M::Action: Clone,
{
    /// The classes that are enabled in this state, wherever their steps lead.
    fn enabled(&self, state: u32) -> Classes {
        self.graph.steps_from(state).fold(0, |all, step| all | self.classes[step])
    }

    /// The steps from a state that stay within a set of states.
    fn within<'s>(&'s self, state: u32, member: &'s [bool]) -> impl Iterator<Item = usize> + 's {
        self.graph
            .steps_from(state)
            .filter(|step| !self.ended[*step] && member[self.graph.steps[*step].to as usize])
    }

    /// The nearest set of strongly connected states in which a fair run can cycle for ever, or stop.
    fn fair_component(&self, region: Vec<u32>) -> Option<Vec<u32>> {
        let mut member = vec![false; self.graph.len()];
        let mut place = vec![NodeIndex::end(); self.graph.len()];
        let mut to_search = vec![region];
        // The component with the shortest path to it: states are numbered in the order of a breadth-first search.
        let mut nearest: Option<Vec<u32>> = None;
        while let Some(states) = to_search.pop() {
            for component in self.components(&states, &mut member, &mut place) {
                mark(&mut member, &component, true);
                let taken = component
                    .iter()
                    .flat_map(|state| self.within(*state, &member))
                    .fold(0, |all, step| all | self.classes[step]);
                mark(&mut member, &component, false);
                let enabled = component.iter().map(|state| self.enabled(*state));
                let (always, sometimes) =
                    enabled.fold((!0, 0), |(all, any), one| (all & one, any | one));
                if self.weak & always & !taken != 0 {
                    continue;
                }
                let starved = self.strong & sometimes & !taken;
                if starved == 0 {
                    if nearest.as_ref().is_none_or(|it| component.iter().min() < it.iter().min()) {
                        nearest = Some(component);
                    }
                    continue;
                }
                let mut rest = component;
                rest.retain(|state| self.enabled(*state) & starved == 0);
                if !rest.is_empty() {
                    to_search.push(rest);
                }
            }
        }
        nearest
    }

    /// The strongly connected components of these states. `member` and `place` are scratch memory.
    fn components(
        &self,
        states: &[u32],
        member: &mut [bool],
        place: &mut [NodeIndex],
    ) -> Vec<Vec<u32>> {
        let mut graph = DiGraph::<u32, ()>::with_capacity(states.len(), states.len());
        for state in states {
            member[*state as usize] = true;
            place[*state as usize] = graph.add_node(*state);
        }
        for state in states {
            for step in self.within(*state, member) {
                let to = self.graph.steps[step].to;
                graph.add_edge(place[*state as usize], place[to as usize], ());
            }
        }
        mark(member, states, false);
        let components = kosaraju_scc(&graph).into_iter();
        components.map(|nodes| nodes.into_iter().map(|node| graph[node]).collect()).collect()
    }

    /// A shortest way to a fair component, and a fair cycle in it.
    fn lasso(&self, component: &[u32]) -> Lasso<M::State, M::Action> {
        let fair = self.weak | self.strong;
        // If a run may just stop, that is the simplest counterexample.
        let stops = component.iter().filter(|state| self.enabled(**state) & fair == 0).min();
        let entry = *stops.or(component.iter().min()).unwrap_or(&0);
        let mut cycle = Vec::new();
        if stops.is_none() {
            let mut member = vec![false; self.graph.len()];
            mark(&mut member, component, true);
            let mut at = entry;
            for class in (0..32).map(|bit| 1 << bit).filter(|class| fair & class != 0) {
                self.satisfy(class, component, &member, &mut at, &mut cycle);
            }
            cycle.extend(self.way(at, &member, |state| state == entry));
        }
        let mut stem = Vec::new();
        let mut at = entry;
        while let Some(step) = self.graph.found_by[at as usize] {
            stem.push(step as usize);
            at = self.graph.steps[step as usize].from;
        }
        stem.reverse();
        Lasso {
            start: self.graph.states[at as usize].clone(),
            stem: self.with_states(&stem),
            cycle: self.with_states(&cycle),
        }
    }

    /// Extends the cycle, within the component, until it is fair to this class. A step of the class is taken; or, if
    /// the class is weakly fair, the cycle passes a state that does not enable it.
    fn satisfy(
        &self,
        class: Classes,
        component: &[u32],
        member: &[bool],
        at: &mut u32,
        cycle: &mut Vec<usize>,
    ) {
        let enabled = |state: u32| self.enabled(state) & class != 0;
        let passes_where_disabled = self.weak & class != 0
            && (!enabled(*at) || cycle.iter().any(|step| !enabled(self.graph.steps[*step].from)));
        let is_taken = cycle.iter().any(|step| self.classes[*step] & class != 0);
        let is_nowhere = component.iter().all(|state| !enabled(*state));
        if passes_where_disabled || is_taken || is_nowhere {
            return;
        }
        let takes =
            |state: u32| self.within(state, member).find(|step| self.classes[*step] & class != 0);
        cycle.extend(self.way(*at, member, |state| {
            takes(state).is_some() || (self.weak & class != 0 && !enabled(state))
        }));
        *at = cycle.last().map_or(*at, |step| self.graph.steps[*step].to);
        if let Some(step) = takes(*at).filter(|_| enabled(*at)) {
            cycle.push(step);
            *at = self.graph.steps[step].to;
        }
    }

    /// A shortest way from a state to a wanted state, within a set of states.
    fn way(&self, from: u32, member: &[bool], wanted: impl Fn(u32) -> bool) -> Vec<usize> {
        let mut found_by: FxHashMap<u32, usize> = FxHashMap::default();
        let mut queue = std::collections::VecDeque::from([from]);
        while let Some(state) = queue.pop_front() {
            if wanted(state) {
                let mut way = Vec::new();
                let mut at = state;
                while at != from {
                    let step = found_by[&at];
                    way.push(step);
                    at = self.graph.steps[step].from;
                }
                way.reverse();
                return way;
            }
            for step in self.within(state, member) {
                let to = self.graph.steps[step].to;
                if to != from && !found_by.contains_key(&to) {
                    found_by.insert(to, step);
                    queue.push_back(to);
                }
            }
        }
        Vec::new()
    }

    fn with_states(&self, steps: &[usize]) -> Vec<(M::Action, M::State)> {
        let steps = steps.iter().map(|step| &self.graph.steps[*step]);
        steps.map(|it| (it.action.clone(), self.graph.states[it.to as usize].clone())).collect()
    }
}

fn mark(member: &mut [bool], states: &[u32], is: bool) {
    for state in states {
        member[*state as usize] = is;
    }
}

fn small(number: usize) -> u32 {
    u32::try_from(number).expect("fewer than 2^32")
}

#[cfg(test)]
mod tests {
    use stateright::{Checker, Property};

    use super::*;

    /// A graph written by hand. Steps are `(from, class, to)`, and the run begins in 0.
    #[derive(Clone, Debug, PartialEq)]
    struct TestGraph {
        steps: Vec<(u8, u8, u8)>,
        waiting: Vec<u8>,
    }

    /// The class, and the number, of a step.
    type Arrow = (u8, usize);

    impl Model for TestGraph {
        type State = u8;
        type Action = Arrow;

        fn init_states(&self) -> Vec<u8> {
            vec![0]
        }

        fn actions(&self, state: &u8, actions: &mut Vec<Arrow>) {
            let steps = self.steps.iter().enumerate();
            actions.extend(steps.filter(|(_, it)| it.0 == *state).map(|(at, it)| (it.1, at)));
        }

        fn next_state(&self, _: &u8, (_, at): Arrow) -> Option<u8> {
            Some(self.steps[at].2)
        }

        fn properties(&self) -> Vec<Property<TestGraph>> {
            vec![
                Property::eventually("goal", |model: &TestGraph, state| {
                    !model.waiting.contains(state)
                }),
                // stateright stops as soon as no property is undecided. This one stays undecided to the end.
                Property::always("always", |_, _| true),
            ]
        }
    }

    const WEAK: u8 = 1;
    const STRONG: u8 = 2;

    fn promise() -> LivenessProperty<TestGraph> {
        LivenessProperty {
            name: "drawn_progress",
            premise: |_, _| true,
            goal: |model, state| !model.waiting.contains(state),
            ended: |_| false,
            fair: vec![
                FairnessConstraint::weak("weak", |step| step.0 == WEAK),
                FairnessConstraint::strong("strong", |it| it.0 == STRONG),
            ],
        }
    }

    fn lasso(drawn: &TestGraph) -> Option<Lasso<u8, Arrow>> {
        Graph::of(drawn, 1000).expect("small").check(drawn, &promise()).broken
    }

    fn drawn(steps: &[(u8, u8, u8)], waiting: &[u8]) -> TestGraph {
        TestGraph { steps: steps.to_vec(), waiting: waiting.to_vec() }
    }

    #[test]
    fn verdicts_that_can_be_seen_by_looking() {
        // 0 waits; 1 is the goal. A step that is not fair need not be taken.
        assert!(lasso(&drawn(&[(0, 0, 1)], &[0])).is_some(), "it may stop");
        assert!(lasso(&drawn(&[(0, WEAK, 1)], &[0])).is_none());
        assert!(lasso(&drawn(&[(0, STRONG, 1)], &[0])).is_none());
        // A cycle whose way out is enabled in every state, or only in one.
        assert!(
            lasso(&drawn(&[(0, 0, 2), (2, 0, 0), (0, WEAK, 1), (2, WEAK, 1)], &[0, 2])).is_none()
        );
        assert!(lasso(&drawn(&[(0, 0, 2), (2, 0, 0), (0, WEAK, 1)], &[0, 2])).is_some());
        assert!(lasso(&drawn(&[(0, WEAK, 2), (2, WEAK, 0), (0, STRONG, 1)], &[0, 2])).is_none());
        // A smaller cycle never enables the strong way out: the rest is searched again.
        let inner = drawn(
            &[(0, WEAK, 2), (2, WEAK, 0), (2, WEAK, 3), (3, WEAK, 2), (0, STRONG, 1)],
            &[0, 2, 3],
        );
        let found = lasso(&inner).expect("2 and 3 for ever");
        assert_eq!(found.stem.iter().map(|it| it.1).collect::<Vec<_>>(), [2]);
        let mut around: Vec<u8> = found.cycle.iter().map(|it| it.1).collect();
        around.sort_unstable();
        assert_eq!(around, [2, 3]);
        // A run stays in a state without steps.
        let stuck = lasso(&drawn(&[(0, WEAK, 2)], &[0, 2])).expect("2 is the end");
        assert!(stuck.cycle.is_empty());
    }

    /// A run without the premise, or with a step that is no longer taken, does not count.
    #[test]
    fn a_run_that_leaves_the_premise_or_takes_what_has_ended_is_no_counterexample() {
        let model = drawn(&[(0, WEAK, 2), (2, WEAK, 0)], &[0, 2]);
        let graph = Graph::of(&model, 10).expect("small");
        assert!(graph.check(&model, &promise()).broken.is_some());
        let only_0 = LivenessProperty { premise: |_, state| *state == 0, ..promise() };
        assert_eq!(graph.check(&model, &only_0), LivenessResult { waiting: 1, broken: None });
        let ended = LivenessProperty { ended: |step: &Arrow| step.1 == 1, ..promise() };
        let stays = graph.check(&model, &ended).broken.expect("in 2, for the way back has ended");
        assert_eq!((stays.stem.len(), stays.cycle.len()), (1, 0));
    }

    #[test]
    fn a_graph_that_is_too_large_is_none() {
        assert!(Graph::of(&drawn(&[(0, 0, 1), (1, 0, 2)], &[]), 2).is_none());
    }

    /// Why stateright's `eventually` is not used.
    #[test]
    fn stateright_passes_what_is_false_on_cycles_and_joins() {
        let passes = |model: &TestGraph| {
            model.clone().checker().spawn_bfs().join().discovery("goal").is_none()
        };
        let straight = drawn(&[(0, WEAK, 2)], &[0, 2]);
        assert!(!passes(&straight), "it does see a run that ends without");
        let cycle = drawn(&[(0, WEAK, 2), (2, WEAK, 0), (0, 0, 1)], &[0, 2]);
        assert!(passes(&cycle) && lasso(&cycle).is_some());
        // One way leads through 1, the goal, and one through 2, which is not the goal. Both end in 3.
        let join = drawn(&[(0, WEAK, 1), (0, WEAK, 2), (1, WEAK, 3), (2, WEAK, 3)], &[0, 2, 3]);
        assert!(passes(&join));
        // For the fair-cycle search, the goal must be met in the end of the run, and not once before.
        assert!(lasso(&join).is_some(), "in 3 for ever, which waits");
    }

    /// Tries every set of states in which a run could cycle.
    fn by_brute_force(model: &TestGraph, graph: &Graph<TestGraph>) -> bool {
        let states = &graph.states;
        (1u32..1 << states.len()).any(|set| {
            let members: Vec<u8> =
                (0..states.len()).filter(|at| set & 1 << at != 0).map(|at| states[at]).collect();
            let inside: Vec<_> = model
                .steps
                .iter()
                .filter(|it| members.contains(&it.0) && members.contains(&it.2))
                .collect();
            let reaches_all = |from: u8| {
                let mut seen = vec![from];
                let mut at = 0;
                while at < seen.len() {
                    let next = inside.iter().filter(|it| it.0 == seen[at]).map(|it| it.2);
                    let new: Vec<u8> = next.filter(|it| !seen.contains(it)).collect();
                    seen.extend(new);
                    seen.dedup();
                    at += 1;
                }
                members.iter().all(|it| seen.contains(it))
            };
            let enabled =
                |state: u8, class: u8| model.steps.iter().any(|it| it.0 == state && it.1 == class);
            let taken = |class: u8| inside.iter().any(|it| it.1 == class);
            members.iter().all(|it| model.waiting.contains(it) && reaches_all(*it))
                && (taken(WEAK) || members.iter().any(|it| !enabled(*it, WEAK)))
                && (taken(STRONG) || members.iter().all(|it| !enabled(*it, STRONG)))
        })
    }

    /// Whether the lasso is a counterexample: its steps exist, every state of its cycle waits, and it is fair.
    fn is_a_fair_lasso(model: &TestGraph, lasso: &Lasso<u8, Arrow>) -> bool {
        let mut at = lasso.start;
        let mut follow = |(arrow, to): &(Arrow, u8)| {
            let step = model.steps[arrow.1];
            let follows = (step.0, step.2) == (at, *to);
            at = *to;
            follows
        };
        let stem_holds = lasso.stem.iter().all(&mut follow);
        let entry = lasso.stem.last().map_or(lasso.start, |it| it.1);
        let cycle_holds = lasso.cycle.iter().all(&mut follow);
        let around: Vec<u8> = if lasso.cycle.is_empty() {
            vec![entry]
        } else {
            lasso.cycle.iter().map(|it| it.1).collect()
        };
        let enabled =
            |state: &u8, class: u8| model.steps.iter().any(|it| it.0 == *state && it.1 == class);
        let taken = |class: u8| lasso.cycle.iter().any(|it| it.0.0 == class);
        stem_holds
            && cycle_holds
            && at == entry
            && around.iter().all(|it| model.waiting.contains(it))
            && (taken(WEAK) || around.iter().any(|it| !enabled(it, WEAK)))
            && (taken(STRONG) || around.iter().all(|it| !enabled(it, STRONG)))
    }

    #[test]
    fn random_graphs_are_judged_as_by_brute_force() {
        let seed = 0x71de_6a7e_u64;
        println!("seed {seed}");
        let mut dice = fastrand::Rng::with_seed(seed);
        let (mut broken, mut kept) = (0, 0);
        for _ in 0..20_000 {
            let states = dice.u8(2..7);
            let steps = (0..dice.usize(1..12))
                .map(|_| (dice.u8(..states), dice.u8(..3), dice.u8(..states)))
                .collect();
            let waiting = (0..states).filter(|_| dice.u8(..4) != 0).collect();
            let model = TestGraph { steps, waiting };
            let graph = Graph::of(&model, 10).expect("small");
            let found = graph.check(&model, &promise()).broken;
            assert_eq!(found.is_some(), by_brute_force(&model, &graph), "{model:?}");
            if let Some(lasso) = &found {
                assert!(is_a_fair_lasso(&model, lasso), "{model:?}: {lasso:?}");
            }
            *(if found.is_some() { &mut broken } else { &mut kept }) += 1;
        }
        println!("{broken} broken, {kept} kept");
        assert!(broken > 1000 && kept > 1000, "{broken} broken, {kept} kept");
    }
}
