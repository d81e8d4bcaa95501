//! The model's actions and states in words, for counterexamples.

use std::fmt;

use super::{Action, State};

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let watcher_name =
            |watcher: usize| if watcher == 0 { "the watcher" } else { "another observer" };
        match *self {
            Action::ControllerBegins { hold: false } => f.write_str("a controller begins a drain"),
            Action::ControllerBegins { hold: true } => {
                f.write_str("a controller begins a drain that holds internal work")
            }
            Action::ControllerCancels => f.write_str("a controller cancels the drain"),
            Action::MarkerIsCorrupted => f.write_str("the marker's bytes are corrupted"),
            Action::CallerBegins => f.write_str("a caller in the process begins a drain"),
            Action::WatcherWaits { watcher } => {
                write!(f, "{} waits for an observation under way", watcher_name(watcher))
            }
            Action::WatcherFails { watcher } => {
                write!(f, "{} panics while it observes", watcher_name(watcher))
            }
            Action::QuiescedIsRead => {
                f.write_str("a controller reads that the gateway is quiesced")
            }
            Action::CallerReturns => f.write_str("the caller is served by another's observation"),
            Action::WatcherLooks { watcher, fails: false } => {
                write!(f, "{} observes the marker", watcher_name(watcher))
            }
            Action::WatcherLooks { watcher, fails: true } => {
                write!(f, "{} fails to read the marker", watcher_name(watcher))
            }
            Action::WatcherApplies { watcher } => {
                write!(f, "{} applies its observation", watcher_name(watcher))
            }
            Action::WatcherPerforms { watcher } => {
                write!(f, "{} performs the effect of its earlier step", watcher_name(watcher))
            }
            Action::UserArrives => f.write_str("a user turn starts"),
            Action::UserChecks => {
                f.write_str("a user turn sees the gate open, but is not counted yet")
            }
            Action::UserClaims => {
                f.write_str("the user turn that saw the gate open is counted and starts")
            }
            Action::UserTurnEnds => f.write_str("a user turn ends"),
            Action::InternalArrives => f.write_str("internal work starts"),
            Action::InternalTurnEnds => f.write_str("internal work ends"),
            Action::ChildArrives => f.write_str("a user turn starts a child"),
            Action::ChildStartsChild => f.write_str("the child starts a child of its own"),
            Action::ChildEnds => f.write_str("the child ends"),
            Action::SignalArrives => f.write_str("SIGTERM arrives"),
            Action::TimerRounds { late: false } => f.write_str("the timer makes a round"),
            Action::TimerRounds { late: true } => {
                f.write_str("every deadline passes, and the timer makes a round")
            }
            Action::LoopEnds => f.write_str("the embedder's loop ends"),
            Action::StatusIsPublished => f.write_str("the status is published"),
            Action::ProcessDies => f.write_str("the process is killed"),
            Action::MachineReboots => f.write_str("the machine reboots"),
            Action::ProcessStarts { fails: false } => f.write_str("the process starts"),
            Action::ProcessStarts { fails: true } => {
                f.write_str("the process starts and fails to read the marker")
            }
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "marker {:?}, ", self.marker)?;
        match &self.process {
            None => f.write_str("no process"),
            Some(process) => write!(f, "{}, gate {:?}", process.phase(), process.shell.gate),
        }?;
        match self.process.as_ref().and_then(|process| process.published) {
            Some((phase, ready)) => {
                write!(f, ", status {phase}{}", if ready { " and ready" } else { "" })
            }
            None => Ok(()),
        }
    }
}
