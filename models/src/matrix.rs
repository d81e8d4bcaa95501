//! Guard by property: everything that breaks in a model without one of its guards, and the steps of the shortest
//! counterexample. `ablations` says what *must* break. This module says what *does* break.

use crate::catalogue::{CATALOGUE, ModelName, entry_of};
use crate::design::Guard;
use crate::explorer::{Until, explore};
use crate::liveness::Graph;
use crate::registry::{ModelVisitor, Size, VerifiedModel};

/// How many states are explored without a guard. There may be infinitely many. What breaks, breaks early.
pub(crate) const fn states_max(size: Size) -> u64 {
    match size {
        Size::Small => 300_000,
        Size::Full => 3_500_000,
    }
}

/// A larger graph is not searched for fair cycles.
const GRAPH_MAX: usize = 600_000;

/// What one model breaks without one guard.
#[derive(Clone, Debug)]
pub struct MatrixRow {
    /// The guard that was off.
    pub guard: Guard,
    /// The model.
    pub model: ModelName,
    /// The properties that break, each with the steps of its shortest counterexample. For a liveness property these
    /// are the steps to the fair cycle, and once around it.
    pub broken: Vec<(&'static str, u64)>,
}

/// Searches for everything that breaks, safety or liveness. The function is called now and then, with the number of
/// states; `false` ends the search.
pub(crate) enum FindAllBroken<F> {
    /// Among this many states.
    Safety(u64, F),
    /// In the whole graph.
    Liveness,
}

impl<F: Fn(u64) -> bool> ModelVisitor for FindAllBroken<F> {
    type Out = Vec<(&'static str, u64)>;

    fn visit<M: VerifiedModel>(self, model: M) -> Vec<(&'static str, u64)> {
        if let FindAllBroken::Safety(states_max, going_on) = self {
            let within = |states| going_on(states) && states < states_max;
            let found = explore(&model, Until::Exhausted, within).findings;
            let broken = found.into_iter().filter(|it| it.is_failure);
            return broken.map(|it| (it.property, it.depth)).collect();
        }
        let Some(graph) = Graph::of(&model, GRAPH_MAX) else { return Vec::new() };
        let broken = model.liveness_properties().into_iter().filter_map(|promise| {
            let lasso = graph.check(&model, &promise).broken?;
            Some((promise.name, (lasso.stem.len() + lasso.cycle.len()) as u64))
        });
        broken.collect()
    }
}

/// The number of columns: the guard, and each property.
pub(crate) const COLUMNS: usize = CATALOGUE.len() + 1;

/// The matrix, its head first. A cell has the steps of the shortest counterexample, if there is one.
pub(crate) fn rows(runs: &[MatrixRow]) -> Vec<[String; COLUMNS]> {
    let head = std::array::from_fn(|column| match column.checked_sub(1) {
        None => "without".to_owned(),
        Some(entry) => CATALOGUE[entry].id.trim_start_matches("TG-").to_owned(),
    });
    let guards = Guard::ALL.into_iter().filter(|guard| runs.iter().any(|it| it.guard == *guard));
    let row = |guard: Guard| {
        let broken = || {
            let of_guard = runs.iter().filter(move |it| it.guard == guard);
            of_guard.flat_map(|it| it.broken.iter().copied())
        };
        std::array::from_fn(|column| match column.checked_sub(1) {
            None => guard.to_string(),
            Some(entry) => {
                let of_entry = broken().filter(|(property, _)| {
                    entry_of(property).is_some_and(|(it, _)| it.id == CATALOGUE[entry].id)
                });
                of_entry.map(|(_, steps)| steps).min().map_or_else(String::new, |it| it.to_string())
            }
        })
    };
    std::iter::once(head).chain(guards.map(row)).collect()
}
