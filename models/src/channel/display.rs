//! The model's actions and states in words, for counterexamples.

use std::fmt;

use super::{Action, LookStage, RequestHolder, State};

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Action::FirstBegins => "the first holder begins a drain",
            Action::FirstRenews => "the first holder renews: the new request is written",
            Action::FirstRemovesOld => "the first holder removes the old request",
            Action::FirstCancels => "the first holder cancels",
            Action::LeaseRunsOut => "the first holder's lease runs out",
            Action::SecondBegins => "the second holder begins a drain",
            Action::SecondCancels => "the second holder cancels",
            Action::ForeignBegins => "a controller of another epoch begins a drain",
            Action::LookBegins => "the watcher begins an observation",
            Action::LookGoesOn => "the observation continues",
            Action::LookFails => "the observation meets an error",
            Action::LookIsApplied => "the observation is applied",
            Action::InternalArrives => "internal work starts",
            Action::InternalEnds => "internal work ends",
            Action::QuiescedIsRead => "the first holder reads that the gate is quiesced for it",
            Action::ProcessDies => "the process is killed",
            Action::ProcessStarts => "the process starts",
        })
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("requests")?;
        for (place, file) in self.files.iter().enumerate() {
            let Some(request) = file else { continue };
            let by = match request.by {
                RequestHolder::First => "first",
                RequestHolder::Second => "second",
                RequestHolder::Foreign => "foreign",
            };
            write!(f, " {place}:{by}.{}", request.number)?;
        }
        match &self.process {
            None => f.write_str(", no process"),
            Some(process) => {
                write!(f, ", {}, gate {:?}", process.shell.phase(), process.shell.gate)?;
                f.write_str(match process.look.as_ref().map(|look| look.stage) {
                    Some(LookStage::Listing { .. }) => ", watcher lists",
                    Some(LookStage::Sighting(_)) => ", watcher reads",
                    Some(LookStage::Done { whole: true }) => ", watcher is done",
                    Some(LookStage::Done { whole: false }) => ", watcher broke off",
                    None => "",
                })
            }
        }
    }
}
