//! What the work in flight is called, for people who wait for it. It counts nothing: the gate does.

use std::ops::Deref;
use std::time::Duration;

use crate::gate::Turn;
use crate::status::{ACTIVE_WORK_MAX, ActiveWork};
use crate::sync::Arc;

/// A turn that the status file lists by its label while it lives: see
/// [`Gateway::admit_labelled`](crate::Gateway::admit_labelled). In all else it is the [`Turn`].
#[derive(Debug)]
#[must_use = "a turn ends when it is dropped; keep it until its work is done"]
pub struct LabelledTurn {
    work: Arc<Work>,
}

impl Deref for LabelledTurn {
    type Target = Turn;

    fn deref(&self) -> &Turn {
        &self.work.turn
    }
}

/// A turn with its label: where the one is listed, the other is in flight.
#[derive(Debug)]
struct Work {
    label: String,
    /// The time since boot of its admission.
    since: Duration,
    turn: Turn,
}

/// What was listed, kept in flight until it is counted.
#[derive(Debug, Default)]
pub(super) struct LabelledWork {
    work: Vec<Arc<Work>>,
}

impl LabelledWork {
    pub(super) fn active_work(&self, now: Duration) -> Vec<ActiveWork> {
        let age = |work: &Work| now.saturating_sub(work.since);
        let active = |work: &Arc<Work>| ActiveWork::new(&work.label, work.turn.origin(), age(work));
        self.work.iter().map(active).collect()
    }
}

/// The labels of turns that may still be in flight.
#[derive(Debug, Default)]
pub(super) struct Registry {
    labels: Vec<std::sync::Weak<Work>>,
    /// Rises with each label, so that publishing nothing new costs a comparison of numbers.
    pub(super) revision: u64,
    /// From this many labels on, those of ended turns are forgotten first.
    forget_at: usize,
}

impl Registry {
    pub(super) fn label(&mut self, turn: Turn, label: String, since: Duration) -> LabelledTurn {
        if self.labels.len() >= self.forget_at {
            self.labels.retain(|label| label.strong_count() > 0);
            // Doubling, so that forgetting costs a constant per label however many there are.
            self.forget_at = (2 * self.labels.len()).max(16);
        }
        let work = Arc::new(Work { label, since, turn });
        self.labels.push(Arc::downgrade(&work));
        self.revision += 1;
        LabelledTurn { work }
    }

    /// The oldest first, and not the youngest where there are many. Drop it under no lock: what has ended
    /// meanwhile ends then.
    pub(super) fn listed(&self) -> LabelledWork {
        let living = self.labels.iter().filter_map(std::sync::Weak::upgrade);
        LabelledWork { work: living.take(ACTIVE_WORK_MAX).collect() }
    }
}

#[cfg(test)]
mod tests {
    use crate::{Gateway, Origin};

    #[test]
    fn what_is_listed_is_in_flight_and_what_has_ended_is_forgotten() {
        let gateway = Gateway::in_memory().start().expect("starts");
        let work = gateway.admit_labelled(Origin::Internal, "compaction").expect("open");
        for _ in 0..1000 {
            drop(gateway.admit_labelled(Origin::User, "chat").expect("open"));
        }
        assert_eq!(work.origin(), Origin::Internal);
        let listed = gateway.status().active_work;
        assert_eq!(listed.len(), 1, "{listed:?}");
        assert_eq!((listed[0].label.as_str(), listed[0].origin), ("compaction", Origin::Internal));
        let shared = &gateway.handle.shared;
        assert!(shared.registry.lock().labels.len() < 64, "memory follows what is in flight");
        drop(work);
        assert!(gateway.status().active_work.is_empty());
        assert_eq!(gateway.in_flight().total(), 0);
    }
}
