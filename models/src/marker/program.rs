//! What a writer does to a disk, call by call, as the shipped code has it. A writer is that code, run on a
//! disk that answers as far as the answers go and then stops: the call it stopped at is what the writer
//! does next. Nothing of the order of calls is written down here.

use std::cell::Cell;
use std::io;
use std::path::Path;
use std::sync::{LazyLock, OnceLock};
use std::time::Duration;

use tidegate::ControlError;
use tidegate::epoch::{Epoch, Now};
use tidegate::home::Home;
use tidegate::marker::{self, Disk};
use tidegate::request::{DrainRequest, Holder, HolderName, Request, Slot};

use crate::packed::{InPool, Pool};

/// A request, by the order in which they were made.
pub(super) type Id = u8;

/// The most requests there can be.
pub(super) const IDS: usize = SHARED as usize;

/// Where a request stands: in the place of the named request of that number, or in the shared one.
pub(super) type Place = u8;

/// The shared place.
pub(super) const SHARED: Place = 4;

/// All of them.
pub(super) const PLACES: usize = IDS + 1;

/// Some of the named places, a bit each.
pub(super) type Places = u8;

/// Whose a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Owner {
    /// The one holder who has a name, and two processes.
    Named,
    /// Everybody who uses the shared place.
    Shared,
}

/// What a writer was asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Task {
    /// `marker::begin`, with the holder's older requests.
    Begin { id: Id, place: Place, older: Places },
    /// `marker::renew`, of the request in the first of these places.
    Renew { id: Id, place: Place, first: Place, others: Places },
    /// What a renewal would be that makes the new request and removes the old ones, whether or not they
    /// still stood.
    RenewRegardless { id: Id, place: Place, older: Places },
    /// What a renewal would be that removes the old request before it makes the new one.
    RemoveThenBegin { id: Id, place: Place, older: Places },
    /// `marker::cancel_all_of`.
    Cancel(Owner),
    /// What a cancel would be that looks once.
    CancelOnce(Owner),
    /// `marker::cancel` of one dead request, by the gateway that sweeps it.
    Sweep(Place),
}

/// What a writer does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Call {
    Draft(Place),
    Fill(Place),
    Sync(Place),
    Put(Place),
    Remove(Place),
    MakeDirectory,
    SyncHome,
    SyncRequests,
    List,
    /// Nothing more: it says this.
    Ends(Receipt),
}

/// What a writer says at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Receipt {
    /// The request stands, durably.
    Begun,
    /// It was renewed, or what was to be renewed was gone.
    Renewed(bool),
    /// Whether anything stood there.
    Cancelled(bool),
    /// It is no use to anybody what was swept.
    Swept,
    /// An error.
    Failed,
}

/// What the disk answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Answer {
    Done,
    /// Whether there was one, or whether it is new.
    Was(bool),
    Listed(Places),
    NoDirectory,
}

/// A task, and what the disk has answered so far.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) task: Task,
    answers: Vec<Answer>,
    next: OnceLock<Call>,
}

impl PartialEq for Run {
    fn eq(&self, other: &Run) -> bool {
        (self.task, &self.answers) == (other.task, &other.answers)
    }
}

impl Eq for Run {}

impl std::hash::Hash for Run {
    fn hash<H: std::hash::Hasher>(&self, hasher: &mut H) {
        (self.task, &self.answers).hash(hasher);
    }
}

impl InPool for Run {
    fn pool() -> &'static Pool<Run> {
        static POOL: Pool<Run> = Pool::new();
        &POOL
    }
}

fn home() -> Home {
    Home::at("/home")
}

/// The named holder.
fn name() -> HolderName {
    "ci".parse().expect("a holder's name")
}

fn holder(owner: Owner) -> Holder {
    match owner {
        Owner::Named => Holder::Named(name()),
        Owner::Shared => Holder::Shared,
    }
}

fn slot(place: Place) -> Slot {
    if place == SHARED { Slot::Shared } else { Slot::of(&name(), &place.to_string()) }
}

fn slots(places: Places) -> Vec<Slot> {
    (0..SHARED).filter(|place| places & 1 << place != 0).map(slot).collect()
}

fn request(id: Id) -> &'static Request {
    static REQUESTS: LazyLock<[Request; IDS]> = LazyLock::new(|| {
        let now = Now { uptime: Duration::from_secs(60), wall: std::time::UNIX_EPOCH.into() };
        std::array::from_fn(|id| {
            DrainRequest::default().stamp(&id.to_string(), &Epoch::default(), now)
        })
    });
    &REQUESTS[usize::from(id)]
}

impl Run {
    pub(super) fn of(task: Task) -> Run {
        Run { task, answers: Vec::new(), next: OnceLock::new() }
    }

    pub(super) fn answered(&self, answer: Answer) -> Run {
        let answers = self.answers.iter().copied().chain([answer]).collect();
        Run { task: self.task, answers, next: OnceLock::new() }
    }

    /// What comes next.
    pub(super) fn next(&self) -> Call {
        *self.next.get_or_init(|| {
            let disk =
                Replay { answers: &self.answers, at: Cell::new(0), stopped_at: Cell::new(None) };
            let receipt = self.task.run(&disk).unwrap_or(Receipt::Failed);
            disk.stopped_at.get().unwrap_or(Call::Ends(receipt))
        })
    }
}

impl Task {
    fn run(self, disk: &Replay<'_>) -> Result<Receipt, ControlError> {
        let home = home();
        match self {
            Task::Begin { id, place, older } => {
                marker::begin(disk, &home, &slot(place), request(id), &slots(older))?;
                Ok(Receipt::Begun)
            }
            Task::Renew { id, place, first, others } => {
                let old = [vec![slot(first)], slots(others)].concat();
                marker::renew(disk, &home, &slot(place), request(id), &old).map(Receipt::Renewed)
            }
            Task::RenewRegardless { id, place, older } => {
                marker::begin(disk, &home, &slot(place), request(id), &slots(older))?;
                Ok(Receipt::Renewed(true))
            }
            Task::RemoveThenBegin { id, place, older } => {
                marker::cancel(disk, &home, &slots(older))?;
                marker::begin(disk, &home, &slot(place), request(id), &[])?;
                Ok(Receipt::Renewed(true))
            }
            Task::Cancel(owner) => {
                marker::cancel_all_of(disk, &home, &holder(owner)).map(Receipt::Cancelled)
            }
            Task::CancelOnce(owner) => {
                let slots = marker::slots_of(disk, &home, &holder(owner))?;
                marker::cancel(disk, &home, &slots).map(|removed| Receipt::Cancelled(removed > 0))
            }
            Task::Sweep(place) => {
                marker::cancel(disk, &home, &[slot(place)])?;
                Ok(Receipt::Swept)
            }
        }
    }

    pub(super) fn owner(self) -> Owner {
        match self {
            Task::Begin { place: SHARED, .. } => Owner::Shared,
            Task::Cancel(owner) | Task::CancelOnce(owner) => owner,
            _ => Owner::Named,
        }
    }

    pub(super) fn cancels(self) -> bool {
        matches!(self, Task::Cancel(_) | Task::CancelOnce(_))
    }

    pub(super) fn renews(self) -> bool {
        matches!(
            self,
            Task::Renew { .. } | Task::RenewRegardless { .. } | Task::RemoveThenBegin { .. }
        )
    }

    /// The request it makes.
    pub(super) fn id(self) -> Option<Id> {
        match self {
            Task::Begin { id, .. }
            | Task::Renew { id, .. }
            | Task::RenewRegardless { id, .. }
            | Task::RemoveThenBegin { id, .. } => Some(id),
            Task::Cancel(_) | Task::CancelOnce(_) | Task::Sweep(_) => None,
        }
    }
}

/// A disk that answers from a list, and stops where it ends.
struct Replay<'a> {
    answers: &'a [Answer],
    at: Cell<usize>,
    stopped_at: Cell<Option<Call>>,
}

impl Replay<'_> {
    fn ask(&self, call: Call) -> io::Result<Answer> {
        let stopped = || io::Error::other("the model goes on from here");
        if self.stopped_at.get().is_some() {
            return Err(stopped());
        }
        let Some(answer) = self.answers.get(self.at.get()) else {
            self.stopped_at.set(Some(call));
            return Err(stopped());
        };
        self.at.set(self.at.get() + 1);
        match answer {
            Answer::NoDirectory => Err(io::ErrorKind::NotFound.into()),
            answer => Ok(*answer),
        }
    }

    fn was(&self, call: Call) -> io::Result<bool> {
        self.ask(call).map(|answer| answer == Answer::Was(true))
    }
}

fn place(path: &Path) -> Place {
    let named = path.file_name().and_then(Slot::of_file).and_then(|slot| slot.request_id());
    named.and_then(|id| id.parse().ok()).unwrap_or(SHARED)
}

impl Disk for Replay<'_> {
    type Draft = Place;

    fn draft(&self, path: &Path, _mode: u32) -> io::Result<Place> {
        let place = place(path);
        self.ask(Call::Draft(place)).map(|_| place)
    }

    fn fill(&self, draft: &mut Place, _bytes: &[u8]) -> io::Result<()> {
        self.ask(Call::Fill(*draft)).map(drop)
    }

    fn sync(&self, draft: &Place) -> io::Result<()> {
        self.ask(Call::Sync(*draft)).map(drop)
    }

    fn put(&self, draft: Place, path: &Path) -> io::Result<()> {
        debug_assert_eq!(draft, place(path));
        self.ask(Call::Put(draft)).map(drop)
    }

    fn remove(&self, path: &Path) -> io::Result<bool> {
        self.was(Call::Remove(place(path)))
    }

    fn make_directory(&self, _path: &Path) -> io::Result<bool> {
        self.was(Call::MakeDirectory)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        let is_home = path == home().path();
        self.ask(if is_home { Call::SyncHome } else { Call::SyncRequests }).map(drop)
    }

    fn slots(
        &self,
        _directory: &Path,
        wanted: &dyn Fn(&Slot) -> bool,
    ) -> io::Result<(Vec<Slot>, bool)> {
        let Answer::Listed(places) = self.ask(Call::List)? else { return Ok((Vec::new(), false)) };
        let mut slots = slots(places);
        slots.retain(wanted);
        Ok((slots, false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_does_what_the_shipped_code_does() {
        use Call::{Draft, Ends, Fill, MakeDirectory, Put, Remove, Sync, SyncHome, SyncRequests};

        let mut run = Run::of(Task::Renew { id: 1, place: 1, first: 0, others: 0 });
        let mut calls = Vec::new();
        loop {
            let answer = match run.next() {
                Call::Ends(receipt) => break calls.push(Call::Ends(receipt)),
                Call::Remove(_) => Answer::Was(true),
                _ => Answer::Done,
            };
            calls.push(run.next());
            run = run.answered(answer);
        }
        let expected = [
            MakeDirectory,
            SyncHome,
            Draft(1),
            Fill(1),
            Sync(1),
            Put(1),
            SyncRequests,
            Remove(0),
            SyncRequests,
            Ends(Receipt::Renewed(true)),
        ];
        assert_eq!(calls, expected);
    }
}
