//! An exhaustive breadth-first search over any [`stateright::Model`], for safety: `always` and
//! `sometimes`. It is fast because it keeps little: the states of two layers, and a fingerprint of 64 bits
//! for each other state. It finds each state at its shortest distance. The path to a state is searched
//! again when it is asked for.
//!
//! Two states with the same fingerprint would count as one. So stateright's own checker also runs on every
//! model. It uses another hash, and must count the same. A test compares the small configurations with a search
//! over whole states.

use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, Hash};
use std::num::NonZeroU64;

use foldhash::quality::FixedState;
use rustc_hash::FxHashMap;
use stateright::{Expectation, Model};

/// The result of a search.
#[derive(Clone, Debug)]
pub struct Exploration {
    /// The number of distinct states seen.
    pub states: u64,
    /// The number of steps taken, also to states already seen.
    pub transitions: u64,
    /// The largest distance of a state from an initial state, in steps.
    pub depth: u64,
    /// Whether every reachable state was seen.
    pub exhaustive: bool,
    /// The first state found for each property that is broken or reached.
    pub findings: Vec<Finding>,
}

/// A state that breaks an `always`, or reaches a `sometimes`. No other such state is nearer.
#[derive(Clone, Copy, Debug)]
pub struct Finding {
    /// The property's name.
    pub property: &'static str,
    /// Whether it breaks an `always`.
    pub is_failure: bool,
    /// The distance from an initial state, in steps.
    pub depth: u64,
    state: Fingerprint,
}

/// An initial state, and each action with the state it led to.
pub struct Trace<M: Model> {
    /// The initial state.
    pub start: M::State,
    /// The steps from there.
    pub steps: Vec<(M::Action, M::State)>,
}

impl Exploration {
    /// The finding for a property, if there is one.
    #[must_use]
    pub fn finding(&self, property: &str) -> Option<&Finding> {
        self.findings.iter().find(|finding| finding.property == property)
    }
}

/// When to stop before everything is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Never.
    Exhausted,
    /// When this `always` is broken, or this `sometimes` is reached.
    Found(&'static str),
}

/// A hash that represents a state.
type Fingerprint = NonZeroU64;

fn fingerprint<S: Hash>(state: &S) -> Fingerprint {
    // This hasher mixes every bit into every other. rustc's own hasher is for tables that compare what they find.
    // It gave some thirty of forty million packed states the fingerprint of another one.
    let hash = FixedState::with_seed(0).hash_one(state);
    NonZeroU64::new(hash).unwrap_or(NonZeroU64::MIN)
}

/// The fingerprints seen: a table with open addressing, half full at most. Nearly every look-up reads one place of
/// memory. At millions of states a second, a search waits for little else.
struct FingerprintSet {
    /// Zero is an empty place.
    places: Vec<u64>,
    len: usize,
}

impl FingerprintSet {
    fn new() -> FingerprintSet {
        FingerprintSet { places: vec![0; 1 << 12], len: 0 }
    }

    #[expect(clippy::cast_possible_truncation, reason = "it is smaller than the table")]
    fn place_of(&self, fingerprint: Fingerprint) -> usize {
        // The table's size is a power of two. The high bits are the well-mixed ones.
        (fingerprint.get() >> (64 - self.places.len().trailing_zeros())) as usize
    }

    /// Fetches their places from memory, all at once.
    fn fetch(&self, fingerprints: impl Iterator<Item = Fingerprint>) {
        let all = fingerprints.fold(0, |all, it| all ^ self.places[self.place_of(it)]);
        std::hint::black_box(all);
    }

    /// Adds a fingerprint. Returns whether it was not there before.
    fn insert(&mut self, fingerprint: Fingerprint) -> bool {
        if self.len * 2 >= self.places.len() {
            self.grow();
        }
        let is_new = self.put(fingerprint);
        self.len += usize::from(is_new);
        is_new
    }

    fn put(&mut self, fingerprint: Fingerprint) -> bool {
        let mask = self.places.len() - 1;
        let mut at = self.place_of(fingerprint);
        loop {
            match self.places[at] {
                0 => {
                    self.places[at] = fingerprint.get();
                    return true;
                }
                other if other == fingerprint.get() => return false,
                _ => at = (at + 1) & mask,
            }
        }
    }

    fn grow(&mut self) {
        let larger = vec![0; self.places.len() * 2];
        for fingerprint in std::mem::replace(&mut self.places, larger) {
            if let Some(fingerprint) = NonZeroU64::new(fingerprint) {
                self.put(fingerprint);
            }
        }
    }
}

/// Searches the model. `progress` is called now and then with the number of states. If it returns `false`, the
/// search ends early.
///
/// # Panics
///
/// If the model has an `eventually`, which a search over states cannot judge.
pub fn explore<M>(model: &M, until: Until, progress: impl Fn(u64) -> bool) -> Exploration
where
    M: Model<State: Hash>,
{
    /// The number of states whose successors are looked up together: their places are fetched from memory at the
    /// same time.
    const TOGETHER: usize = 16;
    /// `progress` is called once in this many groups of states.
    const PROGRESS_EVERY: usize = 1 << 10;

    let properties = model.properties();
    assert!(
        properties.iter().all(|property| property.expectation != Expectation::Eventually),
        "a search over states cannot judge an `eventually`"
    );

    let mut exploration =
        Exploration { states: 0, transitions: 0, depth: 0, exhaustive: true, findings: Vec::new() };
    let mut open: Vec<_> = properties.iter().collect();
    let mut seen = FingerprintSet::new();
    let mut layer = model.init_states();
    layer.retain(|state| seen.insert(fingerprint(state)));
    let mut next_layer = Vec::new();
    let mut successors = Successors::default();
    let mut unasked = 0;
    'layers: loop {
        for some in layer.chunks(TOGETHER) {
            if unasked == 0 {
                unasked = PROGRESS_EVERY;
                if !progress(seen.len as u64) {
                    exploration.exhaustive = false;
                    break 'layers;
                }
            }
            unasked -= 1;
            for state in some {
                open.retain(|property| {
                    let is_failure = property.expectation == Expectation::Always;
                    let found = (property.condition)(model, state) != is_failure;
                    if found {
                        let (property, depth) = (property.name, exploration.depth);
                        let state = fingerprint(state);
                        exploration.findings.push(Finding { property, is_failure, depth, state });
                    }
                    !found
                });
                if let Until::Found(property) = until
                    && exploration.finding(property).is_some()
                {
                    exploration.exhaustive = false;
                    break 'layers;
                }
                successors.find(model, state);
            }
            exploration.transitions += successors.states.len() as u64;
            seen.fetch(successors.states.iter().map(|it| it.1));
            for (next, of_next) in successors.states.drain(..) {
                if seen.insert(of_next) {
                    next_layer.push(next);
                }
            }
        }
        if next_layer.is_empty() {
            break;
        }
        exploration.depth += 1;
        std::mem::swap(&mut layer, &mut next_layer);
        next_layer.clear();
    }
    exploration.states = seen.len as u64;
    exploration
}

/// The successors of some states.
struct Successors<M: Model> {
    actions: Vec<M::Action>,
    states: Vec<(M::State, Fingerprint)>,
}

impl<M: Model> Default for Successors<M> {
    fn default() -> Successors<M> {
        Successors { actions: Vec::new(), states: Vec::new() }
    }
}

impl<M: Model<State: Hash>> Successors<M> {
    fn find(&mut self, model: &M, state: &M::State) {
        model.actions(state, &mut self.actions);
        for action in self.actions.drain(..) {
            let Some(next) = model.next_state(state, action) else { continue };
            if model.within_boundary(&next) {
                let of_next = fingerprint(&next);
                self.states.push((next, of_next));
            }
        }
    }
}

impl Finding {
    /// Returns a shortest way to it. It searches the same model again.
    ///
    /// # Panics
    ///
    /// If the model is not the one in which it was found.
    #[must_use]
    pub fn way<M>(&self, model: &M) -> Trace<M>
    where
        M: Model<State: Hash, Action: Clone>,
    {
        let from = self.search_again(model);
        let mut way = vec![self.state];
        while let Some(&Some(before)) = way.last().map(|state| &from[state]) {
            way.push(before);
        }
        way.reverse();
        let start = model.init_states().into_iter().find(|state| fingerprint(state) == way[0]);
        let start = start.expect("a way begins at an initial state");
        let mut steps: Vec<(M::Action, M::State)> = Vec::new();
        for wanted in &way[1..] {
            let state = steps.last().map_or(&start, |step| &step.1);
            let mut actions = Vec::new();
            model.actions(state, &mut actions);
            let step = actions.into_iter().find_map(|action| {
                let next = model.next_state(state, action.clone())?;
                (fingerprint(&next) == *wanted).then_some((action, next))
            });
            steps.push(step.expect("the model does again what it did"));
        }
        Trace { start, steps }
    }

    /// For each state, the state from which it was reached first. The search ends at this finding.
    fn search_again<M>(&self, model: &M) -> FxHashMap<Fingerprint, Option<Fingerprint>>
    where
        M: Model<State: Hash>,
    {
        let mut from: FxHashMap<Fingerprint, Option<Fingerprint>> = FxHashMap::default();
        let mut layer = model.init_states();
        layer.retain(|state| from.insert(fingerprint(state), None).is_none());
        let mut successors = Successors::default();
        while !from.contains_key(&self.state) {
            let mut next_layer = Vec::new();
            for state in &layer {
                let before = fingerprint(state);
                successors.find(model, state);
                for (next, of_next) in successors.states.drain(..) {
                    if let Entry::Vacant(entry) = from.entry(of_next) {
                        entry.insert(Some(before));
                        next_layer.push(next);
                    }
                }
            }
            assert!(!next_layer.is_empty(), "what was found is not in this model");
            layer = next_layer;
        }
        from
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
        for (property, depth) in [("below_inv", 4), ("corner_reach", 6)] {
            let finding = all.finding(property).expect("found");
            let way = finding.way(&Grid);
            assert_eq!((finding.depth, way.steps.len() as u64), (depth, depth));
            let mut at = way.start;
            for (action, state) in way.steps {
                assert_eq!(
                    Grid.next_state(&at, action),
                    Some(state),
                    "each step is one of the model's"
                );
                at = state;
            }
        }
        assert!(all.finding("beyond_reach").is_none());
    }

    #[test]
    fn a_search_cut_short_does_not_call_itself_exhaustive() {
        assert!(!explore(&Grid, Until::Found("below_inv"), |_| true).exhaustive);
        assert!(!explore(&Grid, Until::Exhausted, |_| false).exhaustive);
    }
}
