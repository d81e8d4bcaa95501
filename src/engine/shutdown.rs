//! How a shutdown ends: when it no longer waits for turns, how it ended, and when that may be reported. It knows no
//! clock.

use crate::faults::fault;
use crate::gate::GateState;
use crate::gate::word::InFlight;
use crate::machine::Event;

/// How a shutdown ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use = "the shutdown may have cut off work"]
#[non_exhaustive]
pub enum Ended {
    /// The gate was sealed and empty: nothing was cut off.
    ///
    /// [F14](crate::guide::requirements#f14)
    Clean,
    /// The deadline passed, or the last handle was dropped, with work in flight.
    TimedOut {
        /// How many turns were left behind.
        in_flight: u64,
    },
}

impl Ended {
    /// The turns that were in flight when the gate was sealed for good say how the shutdown ended. Each word of the
    /// gate is sealed in the step that counts its turns, so none is admitted after it was counted.
    // Property: TG-S14 receipt_is_true. Clean means sealed and empty (F14).
    pub(super) fn with(found: InFlight) -> Ended {
        if found.total() == 0 || fault!(CleanWhateverIsLeft) {
            Ended::Clean
        } else {
            Ended::TimedOut { in_flight: found.total() }
        }
    }
}

/// How far a shutdown is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ShutdownProgress<I> {
    /// None was asked for.
    NotRequested,
    /// It waits for the turns in flight.
    Waiting {
        /// Until then; `None` where the loop has ended, which gives no grace.
        until: Option<I>,
    },
    /// It has ended.
    Stopped {
        /// How.
        ended: Ended,
        /// When the grace is over: what goes on in the process beside the gateway may take so long.
        until: Option<I>,
        /// Whether waiters may learn of it.
        report: EndReport<I>,
    },
}

/// Whether the end may be reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndReport<I> {
    /// Once the last status is written, and at this time whether it is or not.
    Due(I),
    /// Now.
    Done,
}

impl<I: Copy + Ord> ShutdownProgress<I> {
    /// A shutdown was asked for, with this deadline: the earlier of two counts.
    pub(super) fn asked(&mut self, deadline: I) {
        let earlier = |until: &mut Option<I>| {
            *until = Some(until.map_or(deadline, |it| it.min(deadline)));
        };
        match self {
            ShutdownProgress::NotRequested => {
                *self = ShutdownProgress::Waiting { until: Some(deadline) };
            }
            ShutdownProgress::Waiting { until } | ShutdownProgress::Stopped { until, .. } => {
                earlier(until);
            }
        }
    }

    /// The loop has ended: nobody is left to finish a turn.
    pub(super) fn loop_ended(&mut self) {
        if matches!(self, ShutdownProgress::NotRequested) {
            *self = ShutdownProgress::Waiting { until: None };
        }
    }

    /// The machine has stopped.
    pub(super) fn stopped(&mut self, ended: Ended, report: EndReport<I>) {
        let until = self.grace_until();
        *self = ShutdownProgress::Stopped { ended, until, report };
    }

    /// The event for the machine, where the gate is so.
    // Property: TG-L4 stops.
    pub(super) fn due(&self, gate: GateState, now: I) -> Option<Event> {
        match self {
            ShutdownProgress::Waiting { .. } if gate.is_at_rest() && !fault!(EmptyGateIgnored) => {
                Some(Event::Emptied)
            }
            ShutdownProgress::Waiting { until: Some(until) }
                if *until <= now && !fault!(DeadlineIgnored) =>
            {
                Some(Event::DeadlinePassed)
            }
            ShutdownProgress::NotRequested
            | ShutdownProgress::Waiting { .. }
            | ShutdownProgress::Stopped { .. } => None,
        }
    }

    /// The last status is written.
    pub(super) fn reported(&mut self) {
        if let ShutdownProgress::Stopped { report, .. } = self {
            *report = EndReport::Done;
        }
    }

    /// Time has passed: the last status is not waited for any longer than was said.
    pub(super) fn on_time(&mut self, now: I) {
        if let ShutdownProgress::Stopped { report: EndReport::Due(until), .. } = self
            && *until <= now
        {
            self.reported();
        }
    }

    /// The next time at which something is due by itself.
    pub(super) const fn next_due(&self) -> Option<I> {
        match self {
            ShutdownProgress::NotRequested
            | ShutdownProgress::Stopped { report: EndReport::Done, .. } => None,
            ShutdownProgress::Waiting { until } => *until,
            ShutdownProgress::Stopped { report: EndReport::Due(until), .. } => Some(*until),
        }
    }

    pub(super) const fn uncounted(self) -> ShutdownProgress<I> {
        match self {
            ShutdownProgress::Stopped { ended: Ended::TimedOut { .. }, until, report } => {
                let ended = Ended::TimedOut { in_flight: 1 };
                ShutdownProgress::Stopped { ended, until, report }
            }
            ShutdownProgress::NotRequested
            | ShutdownProgress::Waiting { .. }
            | ShutdownProgress::Stopped { ended: Ended::Clean, .. } => self,
        }
    }

    /// When the grace is over, once a shutdown was asked for.
    pub(super) const fn grace_until(&self) -> Option<I> {
        match self {
            ShutdownProgress::NotRequested => None,
            ShutdownProgress::Waiting { until } | ShutdownProgress::Stopped { until, .. } => *until,
        }
    }

    /// How it ended, once that may be reported.
    pub(super) const fn outcome(&self) -> Option<Ended> {
        match self {
            ShutdownProgress::Stopped { ended, report: EndReport::Done, .. } => Some(*ended),
            ShutdownProgress::NotRequested
            | ShutdownProgress::Waiting { .. }
            | ShutdownProgress::Stopped { report: EndReport::Due(_), .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::PlainGate;
    use crate::machine::Effect;

    const WAITING: ShutdownProgress<u8> = ShutdownProgress::Waiting { until: Some(5) };

    fn stopped(report: EndReport<u8>) -> ShutdownProgress<u8> {
        ShutdownProgress::Stopped { ended: Ended::Clean, until: Some(5), report }
    }

    fn after(
        mut progress: ShutdownProgress<u8>,
        step: fn(&mut ShutdownProgress<u8>),
    ) -> ShutdownProgress<u8> {
        step(&mut progress);
        progress
    }

    /// Every state and every input.
    #[test]
    fn the_whole_table() {
        let [none, loop_only] =
            [ShutdownProgress::NotRequested, ShutdownProgress::Waiting { until: None }];
        let (due, done) = (stopped(EndReport::Due(7)), stopped(EndReport::Done));
        let asked_late = |it| after(it, |it| it.asked(9));
        assert_eq!(asked_late(none), ShutdownProgress::Waiting { until: Some(9) });
        assert_eq!(asked_late(loop_only), ShutdownProgress::Waiting { until: Some(9) });
        assert_eq!(
            [WAITING, due, done].map(asked_late),
            [WAITING, due, done],
            "the earlier one counts"
        );
        assert_eq!(after(WAITING, |it| it.asked(3)), ShutdownProgress::Waiting { until: Some(3) });
        let ends = |it| after(it, ShutdownProgress::loop_ended);
        assert_eq!(ends(none), loop_only);
        assert_eq!([WAITING, due, done].map(ends), [WAITING, due, done]);
        let reported = |it| after(it, ShutdownProgress::reported);
        assert_eq!([none, WAITING, due, done].map(reported), [none, WAITING, done, done]);
        let at_7 = |it| after(it, |it| it.on_time(7));
        assert_eq!([none, WAITING, due, done].map(at_7), [none, WAITING, done, done]);
        assert_eq!(after(due, |it| it.on_time(6)), due);
        assert_eq!(after(WAITING, |it| it.stopped(Ended::Clean, EndReport::Due(7))), due);
        assert_eq!(
            [none, WAITING, loop_only, due, done].map(|it| it.next_due()),
            [None, Some(5), None, Some(7), None]
        );
        assert_eq!(
            [none, WAITING, due, done].map(|it| it.outcome()),
            [None, None, None, Some(Ended::Clean)]
        );
    }

    #[test]
    fn an_empty_gate_is_not_waited_for_and_a_wedged_turn_not_beyond_the_deadline() {
        let shut = |turns| PlainGate::starting().with_in_flight(turns).perform(Effect::ShutGate).0;
        let empty = shut(InFlight::default()).state();
        let busy = shut(InFlight::new(1, 0)).state();
        assert_eq!(WAITING.due(empty, 0), Some(Event::Emptied));
        assert_eq!(WAITING.due(busy, 4), None);
        assert_eq!(WAITING.due(busy, 5), Some(Event::DeadlinePassed));
        for over in [ShutdownProgress::NotRequested, stopped(EndReport::Done)] {
            assert_eq!(over.due(empty, 9), None);
        }
    }
}
