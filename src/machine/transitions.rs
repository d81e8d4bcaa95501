//! The transitions: which phase follows which event, and what the gate must do. Pure and total; the module keeps no
//! state.

use super::{Effect, Event, Phase, ShutdownCause, StepError, Terms};
use crate::faults::fault;

/// The whole state of the machine. It is small and `Copy`, and only the functions here make it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Machine {
    phase: Phase,
    generation: u64,
    terms: Terms,
    cause: Option<ShutdownCause>,
}

/// One edge that was taken: the machine after it, and what the gate must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use = "a step that is dropped has no effect"]
pub struct Step {
    /// The machine after the step.
    pub next: Machine,
    /// The effect for the gate.
    pub effect: Effect,
}

impl Machine {
    /// A machine whose home has no live request: running, generation 0.
    #[must_use]
    pub const fn running() -> Machine {
        Machine {
            phase: Phase::Running,
            generation: 0,
            terms: Terms { hold_internal: false, suppress_notification: false },
            cause: None,
        }
    }

    /// The first step of an incarnation, from the first look at the home. The gate is closed before this step. So
    /// nothing is admitted that this look would have refused.
    ///
    /// [F6](crate::guide::requirements#f6)
    pub const fn start(wanted: Option<Terms>) -> Step {
        let running = Machine::running();
        match wanted {
            Some(terms) => running.close(terms),
            None => Step { next: running, effect: Effect::ReopenGate },
        }
    }

    /// The phase.
    #[must_use]
    pub const fn phase(self) -> Phase {
        self.phase
    }

    /// The number of times that an open gate was closed in this incarnation.
    #[must_use]
    pub const fn generation(self) -> u64 {
        self.generation
    }

    /// The terms of the current drain; the default terms if there is none.
    #[must_use]
    pub const fn terms(self) -> Terms {
        self.terms
    }

    /// The cause of the shutdown; `None` before one.
    #[must_use]
    pub const fn cause(self) -> Option<ShutdownCause> {
        self.cause
    }

    pub(crate) const fn in_generation(self, generation: u64) -> Machine {
        Machine { generation, ..self }
    }

    // The five edges. Each is total and does not decide who may take it. `step` decides that at run time, and the
    // typestates of `lifecycle` at compile time.

    pub(crate) const fn close(self, terms: Terms) -> Step {
        let next = Machine {
            phase: Phase::ExternallyDraining,
            generation: self.generation.saturating_add(1),
            terms,
            ..self
        };
        Step { next, effect: Effect::CloseGate { hold_internal: terms.hold_internal } }
    }

    pub(crate) const fn amend(self, terms: Terms) -> Step {
        let effect = Effect::AmendDrain { hold_internal: terms.hold_internal };
        Step { next: Machine { terms, ..self }, effect }
    }

    pub(crate) const fn reopen(self) -> Step {
        let next =
            Machine { phase: Phase::Running, terms: Machine::running().terms, cause: None, ..self };
        Step { next, effect: Effect::ReopenGate }
    }

    pub(crate) const fn shut(self, cause: ShutdownCause) -> Step {
        let closes = matches!(self.phase, Phase::Running);
        let next = Machine {
            phase: Phase::ShuttingDown,
            generation: if closes { self.generation.saturating_add(1) } else { self.generation },
            cause: Some(cause),
            ..self
        };
        Step { next, effect: Effect::ShutGate }
    }

    pub(crate) const fn finish(self) -> Step {
        Step { next: Machine { phase: Phase::Stopped, ..self }, effect: Effect::SealGate }
    }
}

/// Applies `event` to `machine`. It is total and pure, and the only place that decides.
///
/// # Errors
///
/// [`StepError::NoOp`] if the event asks for the current state or for something that a shutdown forbids.
/// [`StepError::Invalid`] if the event cannot happen in this phase. Neither changes anything.
#[expect(clippy::match_same_arms, reason = "every cell of the table has its own line")]
pub fn step(machine: Machine, event: Event) -> Result<Step, StepError> {
    use Phase::{ExternallyDraining, Running, ShuttingDown, Stopped};

    let no_op = StepError::NoOp { from: machine.phase, event };
    let invalid = StepError::Invalid { from: machine.phase, event };
    match (machine.phase, event) {
        (Running, Event::DrainWanted(terms)) => Ok(machine.close(terms)),
        (Running, Event::DrainUnwanted) => Err(no_op),
        (Running, Event::ShutdownAsked(cause)) => Ok(machine.shut(cause)),
        (Running, Event::Emptied) => Err(invalid),
        (Running, Event::DeadlinePassed) => Err(invalid),
        (Running, Event::LoopEnded) => Ok(machine.shut(ShutdownCause::LoopEnded)),

        (ExternallyDraining, Event::DrainWanted(terms)) if terms == machine.terms => Err(no_op),
        (ExternallyDraining, Event::DrainWanted(_)) if fault!(NewTermsIgnored) => Err(no_op),
        (ExternallyDraining, Event::DrainWanted(terms)) => Ok(machine.amend(terms)),
        (ExternallyDraining, Event::DrainUnwanted) => Ok(machine.reopen()),
        (ExternallyDraining, Event::ShutdownAsked(cause)) => Ok(machine.shut(cause)),
        (ExternallyDraining, Event::Emptied) => Err(invalid),
        (ExternallyDraining, Event::DeadlinePassed) => Err(invalid),
        (ExternallyDraining, Event::LoopEnded) => Ok(machine.shut(ShutdownCause::LoopEnded)),

        // Property: TG-S1 shutdown_wins. Nothing a watcher or an operator says matters any more.
        (ShuttingDown, Event::DrainWanted(_)) => Err(no_op),
        (ShuttingDown, Event::DrainUnwanted) if fault!(ShutdownIsUndone) => Ok(machine.reopen()),
        (ShuttingDown, Event::DrainUnwanted) => Err(no_op),
        (ShuttingDown, Event::ShutdownAsked(_)) => Err(no_op),
        (ShuttingDown, Event::Emptied) => Ok(machine.finish()),
        (ShuttingDown, Event::DeadlinePassed) => Ok(machine.finish()),
        (ShuttingDown, Event::LoopEnded) => Ok(machine.finish()),

        (Stopped, Event::DrainWanted(_)) => Err(no_op),
        (Stopped, Event::DrainUnwanted) => Err(no_op),
        (Stopped, Event::ShutdownAsked(_)) => Err(no_op),
        (Stopped, Event::Emptied) => Err(no_op),
        (Stopped, Event::DeadlinePassed) => Err(no_op),
        (Stopped, Event::LoopEnded) => Err(no_op),
    }
}

/// A machine in `phase`, reached by ordinary steps, on default terms.
#[must_use]
pub fn example_of(phase: Phase) -> Machine {
    let running = Machine::running();
    match phase {
        Phase::Running => running,
        Phase::ExternallyDraining => running.close(Terms::default()).next,
        Phase::ShuttingDown => running.shut(ShutdownCause::Operator).next,
        Phase::Stopped => running.shut(ShutdownCause::Operator).next.finish().next,
    }
}

/// The transition table as Markdown, rendered from [`step`].
#[must_use]
pub fn table() -> String {
    let mut lines = vec![
        format!(
            "| phase | {} |",
            Event::KINDS.map(|event| format!("`{}`", event.name())).join(" | ")
        ),
        format!("|---|{}", "---|".repeat(Event::KINDS.len())),
    ];
    for phase in Phase::ALL {
        let cells = Event::KINDS.map(|event| match step(example_of(phase), event) {
            Ok(step) => format!("**{}**, {}", step.next.phase(), step.effect.name()),
            Err(StepError::NoOp { .. }) => "no-op".to_owned(),
            Err(StepError::Invalid { .. }) => "invalid".to_owned(),
        });
        lines.push(format!("| {phase} | {} |", cells.join(" | ")));
    }
    lines.push(String::new());
    lines.push(
        "`DrainWanted` on terms other than those in force keeps the phase and orders `AmendDrain`."
            .to_owned(),
    );
    lines.join("\n")
}

/// The state diagram in Mermaid's notation, rendered from [`step`].
#[must_use]
pub fn diagram() -> String {
    let mut lines = vec!["stateDiagram-v2".to_owned()];
    lines.push(format!("    [*] --> {}: first look finds no live request", Phase::Running));
    lines.push(format!(
        "    [*] --> {}: first look finds one, or cannot tell",
        Phase::ExternallyDraining
    ));
    for from in Phase::ALL {
        for to in Phase::ALL {
            let events: Vec<_> = Event::KINDS
                .into_iter()
                .filter(|&event| {
                    step(example_of(from), event).is_ok_and(|step| step.next.phase() == to)
                })
                .map(Event::name)
                .collect();
            if !events.is_empty() {
                lines.push(format!("    {from} --> {to}: {}", events.join(", ")));
            }
        }
    }
    lines.push(format!("    {} --> [*]", Phase::Stopped));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_edge_leaves_a_shutdown_but_to_stopped() {
        for event in Event::KINDS {
            for from in [Phase::ShuttingDown, Phase::Stopped] {
                if let Ok(step) = step(example_of(from), event) {
                    assert_eq!((from, step.next.phase()), (Phase::ShuttingDown, Phase::Stopped));
                    assert_eq!(step.effect, Effect::SealGate);
                }
            }
        }
    }

    #[test]
    fn the_generation_rises_at_each_close_and_at_nothing_else() {
        for from in Phase::ALL {
            for event in Event::KINDS {
                let before = example_of(from);
                if let Ok(step) = step(before, event) {
                    let closes = from == Phase::Running;
                    assert_eq!(
                        step.next.generation() - before.generation(),
                        u64::from(closes),
                        "{from} {event:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn asking_twice_is_a_no_op_and_new_terms_amend() {
        let draining = example_of(Phase::ExternallyDraining);
        let same = Event::DrainWanted(Terms::default());
        assert_eq!(
            step(draining, same),
            Err(StepError::NoOp { from: Phase::ExternallyDraining, event: same })
        );
        let held = Terms { hold_internal: true, ..Terms::default() };
        let amended = step(draining, Event::DrainWanted(held)).expect("new terms amend");
        assert_eq!(amended.effect, Effect::AmendDrain { hold_internal: true });
        assert_eq!(amended.next.generation(), draining.generation());
        assert_eq!(amended.next.terms(), held);
    }

    #[test]
    fn a_shutdown_keeps_its_first_cause() {
        let shutting = Machine::running().shut(ShutdownCause::Sigterm).next;
        let again = Event::ShutdownAsked(ShutdownCause::Operator);
        assert!(matches!(step(shutting, again), Err(StepError::NoOp { .. })));
        assert_eq!(shutting.finish().next.cause(), Some(ShutdownCause::Sigterm));
    }
}
