//! The model's actions and states in words, for counterexamples.

use std::fmt;

use super::{Action, Asker, State};

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Action::FirstBegins => "the first holder begins a drain",
            Action::FirstRenews => "the first holder renews: the new request is there",
            Action::FirstRemovesOld => "the first holder has removed the old request",
            Action::FirstCancels => "the first holder cancels",
            Action::LeaseRunsOut => "the first holder's lease runs out",
            Action::SecondBegins => "the second holder begins a drain",
            Action::SecondCancels => "the second holder cancels",
            Action::ForeignBegins => "somebody of another epoch begins a drain",
            Action::LookBegins => "the watcher begins a look",
            Action::LookGoesOn => "the look goes on",
            Action::LookFails => "the look meets an error",
            Action::LookIsApplied => "the look is applied",
            Action::InternalArrives => "internal work starts",
            Action::InternalEnds => "internal work ends",
            Action::QuiescedIsRead => "the first holder reads that the gate is quiesced for him",
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
                Asker::First => "first",
                Asker::Second => "second",
                Asker::Foreign => "foreign",
            };
            write!(f, " {place}:{by}.{}", request.number)?;
        }
        match &self.process {
            None => f.write_str(", no process"),
            Some(process) => {
                write!(f, ", {}, gate {:?}", process.machine.phase(), process.word)?;
                match &process.look {
                    Some(look) => write!(f, ", {:?}", look.doing),
                    None => Ok(()),
                }
            }
        }
    }
}
