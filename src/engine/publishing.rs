//! Whether the status on disk is what is meant, and whose turn it is to write it. One write at a time; it is
//! repeated until it succeeds; after the last one the home is given back.

use crate::faults::fault;
use crate::machine::Phase;
use crate::status::Condition;

/// What a status says that decides whether another one is needed: the rest is `dirty`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IntendedStatus<L> {
    /// What machine and gate amount to.
    pub condition: Condition,
    /// Which labels work in flight has.
    pub labels: L,
}

/// What one who publishes does next.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PublishAction<L> {
    /// Nothing: what is on disk is what is meant.
    Clean,
    /// Another writes: ask again when that has ended.
    Wait,
    /// Write a status that says this, and report with `status_written`.
    Write(IntendedStatus<L>),
    /// The home is released, and its last status counts turns that have ended since. Write it again, unless another
    /// gateway has the home now, and report with `status_corrected`.
    Correct(IntendedStatus<L>),
}

/// What became of a correction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CorrectionOutcome {
    /// It is on disk.
    Written,
    /// Another gateway has been at the home: there is nothing left to correct.
    Overtaken,
    /// It is not known, or the write failed.
    NotYet,
}

/// Whether the gateway holds its home.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum HomeLockState {
    Held,
    /// The last status is written: the lock is about to be given back.
    Ending,
    GivenBack,
}

/// What is on disk, and what is on its way there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Publishing<L> {
    /// Something that a status says, besides what is meant, has changed since the last one was begun.
    dirty: bool,
    being_written: Option<IntendedStatus<L>>,
    on_disk: Option<IntendedStatus<L>>,
    home: HomeLockState,
}

impl<L: Clone + PartialEq> Publishing<L> {
    pub(super) const fn nothing_yet() -> Publishing<L> {
        let (being_written, on_disk) = (None, None);
        Publishing { dirty: true, being_written, on_disk, home: HomeLockState::Held }
    }

    /// A status says something else from now on.
    pub(super) fn changed(&mut self) {
        self.dirty = true;
    }

    /// Whether what is on disk is what is meant.
    pub(super) fn is_clean(&self, meant: &IntendedStatus<L>) -> bool {
        !self.dirty && self.being_written.is_none() && self.on_disk.as_ref() == Some(meant)
    }

    // Property: TG-S8 status_is_faithful.
    pub(super) fn turn(&mut self, meant: IntendedStatus<L>) -> PublishAction<L> {
        if self.being_written.is_some() && !fault!(WritesOverlap) {
            return PublishAction::Wait;
        }
        match self.home {
            HomeLockState::Held
                if (!self.dirty || fault!(DirtyForgotten))
                    && self.on_disk.as_ref() == Some(&meant) =>
            {
                PublishAction::Clean
            }
            HomeLockState::Held => {
                (self.dirty, self.being_written) = (false, Some(meant.clone()));
                PublishAction::Write(meant)
            }
            HomeLockState::GivenBack
                if self.on_disk.as_ref().is_some_and(|it| it.condition != meant.condition) =>
            {
                self.being_written = Some(meant.clone());
                PublishAction::Correct(meant)
            }
            HomeLockState::Ending | HomeLockState::GivenBack => PublishAction::Clean,
        }
    }

    /// The write has ended. Says whether the home's lock is to be given back now, which is answered by
    /// [`given_back`](Publishing::given_back).
    pub(super) fn written(&mut self, meant: IntendedStatus<L>, succeeded: bool) -> bool {
        self.being_written = None;
        let phase = meant.condition.phase;
        let is_last =
            if fault!(HomeGivenBackEarly) { phase.is_shut() } else { phase == Phase::Stopped };
        self.on_disk = Some(meant).filter(|_| succeeded || fault!(FailedWriteCounts));
        if fault!(HomeNeverGivenBack) {
            return false;
        }
        let gives_back = succeeded && is_last && self.home == HomeLockState::Held;
        if gives_back {
            self.home = HomeLockState::Ending;
        }
        gives_back
    }

    pub(super) fn given_back(&mut self) {
        self.home = HomeLockState::GivenBack;
    }

    pub(super) fn corrected(&mut self, meant: IntendedStatus<L>, outcome: CorrectionOutcome) {
        self.being_written = None;
        match outcome {
            CorrectionOutcome::Written => self.on_disk = Some(meant),
            CorrectionOutcome::Overtaken => self.on_disk = None,
            CorrectionOutcome::NotYet => {}
        }
    }

    /// Whether the last status is written and counts no turns that may end later.
    pub(super) fn is_over(&self) -> bool {
        let counts_turns = |it: &IntendedStatus<L>| it.condition.in_flight.total() > 0;
        self.home == HomeLockState::GivenBack && !self.on_disk.as_ref().is_some_and(counts_turns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::PlainGate;
    use crate::gate::word::{Arrival, Origin};
    use crate::lifecycle::AnyLifecycle;
    use crate::machine::Effect;
    use crate::status::condition;

    /// A status of a running gateway with so many turns, or of one that has stopped and left them behind.
    fn meant(turns: usize, is_stopped: bool) -> IntendedStatus<u8> {
        let (open, _) = PlainGate::starting().perform(Effect::ReopenGate);
        let let_in = |gate: PlainGate, _| gate.admit(Arrival::New(Origin::User)).expect("open");
        let gate = (0..turns).fold(open, let_in);
        let (lifecycle, _) = AnyLifecycle::start(None);
        let mut condition = condition(lifecycle.machine(), gate.state());
        if is_stopped {
            condition.phase = Phase::Stopped;
        }
        IntendedStatus { condition, labels: 0 }
    }

    fn written(publishing: &mut Publishing<u8>, what: &IntendedStatus<u8>, succeeds: bool) -> bool {
        assert_eq!(publishing.turn(what.clone()), PublishAction::Write(what.clone()));
        assert_eq!(publishing.turn(what.clone()), PublishAction::Wait, "one write at a time");
        assert!(!publishing.is_clean(what), "not before it is written");
        publishing.written(what.clone(), succeeds)
    }

    #[test]
    fn a_status_is_written_until_what_is_meant_is_on_disk() {
        let mut publishing = Publishing::nothing_yet();
        let (running, busy) = (meant(0, false), meant(1, false));
        assert!(!publishing.is_clean(&running));
        assert!(!written(&mut publishing, &running, false));
        assert!(!written(&mut publishing, &running, true), "again, where it failed");
        assert_eq!(publishing.turn(running.clone()), PublishAction::Clean);
        assert!(publishing.is_clean(&running) && !publishing.is_clean(&busy));
        assert!(!written(&mut publishing, &busy, true));
        // What is not in the condition: a holder, a complaint.
        publishing.changed();
        assert!(!publishing.is_clean(&busy));
        assert!(!written(&mut publishing, &busy, true));
        assert!(publishing.is_clean(&busy) && !publishing.is_over());
    }

    #[test]
    fn the_home_is_given_back_once_and_after_the_last_status() {
        let mut publishing = Publishing::nothing_yet();
        let stopped = meant(0, true);
        assert!(!written(&mut publishing, &stopped, false), "it is not on disk");
        assert!(written(&mut publishing, &stopped, true));
        assert!(!publishing.is_over(), "the lock is about to be given back");
        publishing.changed();
        assert_eq!(
            publishing.turn(meant(1, true)),
            PublishAction::Clean,
            "nothing is written meanwhile"
        );
        publishing.given_back();
        assert!(publishing.is_over());
        assert_eq!(publishing.turn(stopped), PublishAction::Clean);
    }

    #[test]
    fn the_last_status_is_corrected_as_turns_end() {
        let after_two = || {
            let mut publishing = Publishing::nothing_yet();
            assert!(written(&mut publishing, &meant(2, true), true));
            publishing.given_back();
            publishing
        };
        let (one, none) = (meant(1, true), meant(0, true));
        let mut publishing = after_two();
        assert!(!publishing.is_over(), "it counts turns that may end");
        assert_eq!(publishing.turn(meant(2, true)), PublishAction::Clean);
        assert_eq!(publishing.turn(one.clone()), PublishAction::Correct(one.clone()));
        assert_eq!(publishing.turn(none.clone()), PublishAction::Wait);
        publishing.corrected(one.clone(), CorrectionOutcome::NotYet);
        assert_eq!(publishing.turn(none.clone()), PublishAction::Correct(none.clone()));
        publishing.corrected(none.clone(), CorrectionOutcome::Written);
        assert!(publishing.is_over());
        assert_eq!(publishing.turn(none), PublishAction::Clean);

        let mut publishing = after_two();
        assert!(matches!(publishing.turn(one.clone()), PublishAction::Correct(_)));
        publishing.corrected(one.clone(), CorrectionOutcome::Overtaken);
        assert!(publishing.is_over(), "another gateway's status is there");
        assert_eq!(publishing.turn(one), PublishAction::Clean);
    }
}
