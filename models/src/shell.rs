//! What the shell does between two decisions, for every model alike: it carries the machine's effect to
//! the gate. It decides nothing; both functions it calls are shipped.

use tidegate::gate::word::Word;
use tidegate::lifecycle::AnyLifecycle;
use tidegate::machine::{self, Event, Machine, Terms};

/// A process that has just started, as in `Shared::start`: with a drain wanted, or none.
pub(crate) fn started(wanted: Option<Terms>) -> (Machine, Word) {
    let (lifecycle, effect) = AnyLifecycle::start(wanted);
    let word = Word::starting();
    (lifecycle.machine(), word.perform(effect).unwrap_or(word))
}

/// An event applied under the transition lock, as in `Shared::apply`; `None` where it changes nothing.
pub(crate) fn applied(machine: Machine, word: Word, event: Event) -> Option<(Machine, Word)> {
    let step = machine::step(machine, event).ok()?;
    Some((step.next, word.perform(step.effect).unwrap_or(word)))
}
