//! The calls that a writer makes to a disk, in the order of the shipped code. A writer is that code. It runs on a disk
//! that gives the recorded answers, and then stops. The call at which it stops is what the writer does next. So this
//! module contains no order of calls.

use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{LazyLock, OnceLock};
use std::time::Duration;

use tidegate::ControlError;
use tidegate::epoch::{Epoch, Now};
use tidegate::home::Home;
use tidegate::internals::disk::{
    Access, Clocks, Disk, FileId, FileKind, Flock, LockHolder, Owner as FileOwner, Stat, User,
};
use tidegate::internals::home::OpenHome;
use tidegate::internals::marker;
use tidegate::request::{DrainRequest, Holder, HolderName, Request, Slot};

use crate::faults;
use crate::packed::{Intern, Interner};

/// A request, by its number in the order in which they were made.
pub(super) type Id = u8;

/// The most requests.
pub(super) const IDS: usize = SHARED as usize;

/// A slot: that of the named request with this number, or the shared one.
pub(super) type SlotIndex = u8;

/// The shared slot.
pub(super) const SHARED: SlotIndex = 4;

/// The number of slots.
pub(super) const SLOTS: usize = IDS + 1;

/// A set of named slots, a bit for each.
pub(super) type SlotSet = u8;

/// The owner of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Owner {
    /// The holder with a name. It has two processes.
    Named,
    /// All users of the shared slot.
    Shared,
}

/// The task of a writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Task {
    /// `marker::begin`, with the holder's older requests.
    Begin { id: Id, place: SlotIndex, older: SlotSet },
    /// `marker::renew`, for the request in the slot `first`.
    Renew { id: Id, place: SlotIndex, first: SlotIndex, others: SlotSet },
    /// Without a guard: a renewal that makes the new request and removes the old ones, whether or not they
    /// still existed.
    RenewRegardless { id: Id, place: SlotIndex, older: SlotSet },
    /// Without a guard: a renewal that removes the old request before it makes the new one.
    RemoveThenBegin { id: Id, place: SlotIndex, older: SlotSet },
    /// `marker::cancel_all_of`.
    Cancel(Owner),
    /// Without a guard: a cancel that looks once.
    CancelOnce(Owner),
    /// `marker::cancel` of one dead request, by the gateway that sweeps.
    Sweep(SlotIndex),
}

/// What a writer does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Call {
    Draft(SlotIndex),
    Fill(SlotIndex),
    Sync(SlotIndex),
    Put(SlotIndex),
    Remove(SlotIndex),
    MakeDirectory,
    SyncHome,
    SyncRequests,
    List,
    /// It makes no further call, and reports this.
    Ends(Receipt),
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Call::Draft(slot) => write!(f, "create the new file for slot {slot}"),
            Call::Fill(slot) => write!(f, "write the new file for slot {slot}"),
            Call::Sync(slot) => write!(f, "sync the new file for slot {slot}"),
            Call::Put(slot) => write!(f, "rename the new file to slot {slot}"),
            Call::Remove(slot) => write!(f, "remove slot {slot}"),
            Call::MakeDirectory => f.write_str("make the directory"),
            Call::SyncHome => f.write_str("sync the home"),
            Call::SyncRequests => f.write_str("sync the directory"),
            Call::List => f.write_str("list the directory"),
            Call::Ends(receipt) => f.write_str(match receipt {
                Receipt::Begun => "report the drain begun",
                Receipt::Renewed(true) => "report the drain renewed",
                Receipt::Renewed(false) => "report that there was nothing to renew",
                Receipt::Cancelled(true) => "report the drain cancelled",
                Receipt::Cancelled(false) => "report that there was nothing to cancel",
                Receipt::Swept => "report the sweep done",
                Receipt::Failed => "report an error",
            }),
        }
    }
}

/// What a writer reports at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Receipt {
    /// The request exists, durably.
    Begun,
    /// Whether the request was renewed. If not, the old one was gone.
    Renewed(bool),
    /// Whether a request was removed.
    Cancelled(bool),
    /// The sweep has ended. Nobody reads its result.
    Swept,
    /// An error.
    Failed,
}

/// An answer of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Answer {
    Done,
    /// Whether there was a file to remove, or whether the directory is new.
    Was(bool),
    Listed(SlotSet),
    NoDirectory,
}

/// A task, and the disk's answers so far.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) task: Task,
    answers: Vec<Answer>,
    /// The faults that the shipped code has in this run.
    faults: u128,
    next: OnceLock<Call>,
}

impl PartialEq for Run {
    fn eq(&self, other: &Run) -> bool {
        (self.task, &self.answers, self.faults) == (other.task, &other.answers, other.faults)
    }
}

impl Eq for Run {}

impl std::hash::Hash for Run {
    fn hash<H: std::hash::Hasher>(&self, hasher: &mut H) {
        (self.task, &self.answers, self.faults).hash(hasher);
    }
}

impl Intern for Run {
    fn pool() -> &'static Interner<Run> {
        static POOL: Interner<Run> = Interner::new();
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

fn slot(place: SlotIndex) -> Slot {
    if place == SHARED { Slot::Shared } else { Slot::of(&name(), &place.to_string()) }
}

fn slots(places: SlotSet) -> Vec<Slot> {
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
        Run { task, answers: Vec::new(), faults: faults::current(), next: OnceLock::new() }
    }

    pub(super) fn answered(&self, answer: Answer) -> Run {
        let answers = self.answers.iter().copied().chain([answer]).collect();
        Run { task: self.task, answers, faults: self.faults, next: OnceLock::new() }
    }

    /// The next call.
    pub(super) fn next(&self) -> Call {
        *self.next.get_or_init(|| {
            let disk = Replay {
                answers: &self.answers,
                at: Cell::new(0),
                stopped_at: Cell::new(None),
                listed: Cell::new(None),
            };
            let home = OpenHome::open(disk, &home()).expect("it is there");
            let receipt = self.task.run(&home).unwrap_or(Receipt::Failed);
            home.disk().stopped_at.get().unwrap_or(Call::Ends(receipt))
        })
    }
}

impl Task {
    fn run(self, home: &OpenHome<Replay<'_>>) -> Result<Receipt, ControlError> {
        match self {
            Task::Begin { id, place, older } => {
                marker::begin(home, &slot(place), request(id), &slots(older))?;
                Ok(Receipt::Begun)
            }
            Task::Renew { id, place, first, others } => {
                let old = [vec![slot(first)], slots(others)].concat();
                marker::renew(home, &slot(place), request(id), &old).map(Receipt::Renewed)
            }
            Task::RenewRegardless { id, place, older } => {
                marker::begin(home, &slot(place), request(id), &slots(older))?;
                Ok(Receipt::Renewed(true))
            }
            Task::RemoveThenBegin { id, place, older } => {
                marker::cancel(home, &slots(older))?;
                marker::begin(home, &slot(place), request(id), &[])?;
                Ok(Receipt::Renewed(true))
            }
            Task::Cancel(owner) => {
                marker::cancel_all_of(home, &holder(owner)).map(Receipt::Cancelled)
            }
            Task::CancelOnce(owner) => {
                let slots = marker::slots_of(home, &holder(owner))?;
                marker::cancel(home, &slots).map(|removed| Receipt::Cancelled(removed > 0))
            }
            Task::Sweep(place) => {
                marker::cancel(home, &[slot(place)])?;
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

/// A disk that answers from a list, and stops at its end. A writer's checks of its own home are no steps: their answer,
/// that the directory belongs to its user, never changes.
struct Replay<'a> {
    answers: &'a [Answer],
    at: Cell<usize>,
    stopped_at: Cell<Option<Call>>,
    /// The last listing. The shipped code lists until two listings are equal. Here two listings are one step, so the
    /// second one answers as the first did.
    listed: Cell<Option<Answer>>,
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
}

/// A directory: that of the shared request, or that of the named ones.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dir {
    Home,
    Requests,
}

/// The slot to which the name of a file, or of its draft, belongs.
fn place(name: &OsStr) -> SlotIndex {
    let name = name.to_string_lossy();
    let draft = name.strip_suffix(".tmp").and_then(|name| name.rsplit_once('.'));
    let name = draft.map_or(&*name, |(name, _)| name.trim_start_matches('.'));
    let named = Slot::of_file(name.as_ref()).and_then(|slot| slot.request_id());
    named.and_then(|id| id.parse().ok()).unwrap_or(SHARED)
}

fn of_this_user(kind: FileKind) -> Stat {
    Stat {
        id: FileId { device: 0, inode: 0 },
        kind,
        mode: 0o700,
        links: 1,
        uid: 1,
        gid: 1,
        size: 0,
        modified: (0, 0),
        changed: (0, 0),
    }
}

fn unused<T>() -> io::Result<T> {
    Err(io::Error::other("no writer of requests does this"))
}

impl Disk for Replay<'_> {
    type Dir = Dir;
    type File = SlotIndex;
    type Listing = Option<Answer>;

    fn open_home(&self, _: &Path) -> io::Result<Dir> {
        Ok(Dir::Home)
    }

    fn stat_path(&self, _: &Path) -> io::Result<Stat> {
        unused()
    }

    fn stat_link(&self, _: &Path) -> io::Result<Stat> {
        unused()
    }

    /// This and the next call are one step. If that call found no directory, neither does this one.
    fn open_dir(&self, _: &Dir, _: &OsStr) -> io::Result<Dir> {
        match self.answers.get(self.at.get()) {
            Some(Answer::NoDirectory) => {
                self.at.set(self.at.get() + 1);
                Err(io::ErrorKind::NotFound.into())
            }
            _ => Ok(Dir::Requests),
        }
    }

    fn stat_dir(&self, _: &Dir) -> io::Result<Stat> {
        Ok(of_this_user(FileKind::Directory))
    }

    fn stat(&self, _: &Dir, _: &OsStr) -> io::Result<Stat> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn open(&self, _: &Dir, _: &OsStr, _: Access) -> io::Result<SlotIndex> {
        unused()
    }

    fn create(&self, _: &Dir, name: &OsStr) -> io::Result<SlotIndex> {
        let place = place(name);
        self.ask(Call::Draft(place)).map(|_| place)
    }

    fn stat_file(&self, _: &SlotIndex) -> io::Result<Stat> {
        Ok(of_this_user(FileKind::File))
    }

    fn read(&self, _: &SlotIndex, _: u64) -> io::Result<Vec<u8>> {
        unused()
    }

    fn write(&self, file: &SlotIndex, _: &[u8]) -> io::Result<()> {
        self.ask(Call::Fill(*file)).map(drop)
    }

    fn truncate(&self, _: &SlotIndex) -> io::Result<()> {
        unused()
    }

    fn sync(&self, file: &SlotIndex) -> io::Result<()> {
        self.ask(Call::Sync(*file)).map(drop)
    }

    fn sync_dir(&self, dir: &Dir) -> io::Result<()> {
        let call = if *dir == Dir::Home { Call::SyncHome } else { Call::SyncRequests };
        self.ask(call).map(drop)
    }

    fn rename(&self, _: &Dir, from: &OsStr, to: &OsStr) -> io::Result<()> {
        debug_assert_eq!(place(from), place(to));
        self.ask(Call::Put(place(to))).map(drop)
    }

    fn unlink(&self, _: &Dir, name: &OsStr) -> io::Result<()> {
        match self.ask(Call::Remove(place(name)))? {
            Answer::Was(true) => Ok(()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn make_dir(&self, _: &Dir, _: &OsStr, _: FileOwner, _: u32) -> io::Result<io::Result<()>> {
        match self.ask(Call::MakeDirectory)? {
            Answer::Was(true) => Ok(Ok(())),
            _ => Err(io::ErrorKind::AlreadyExists.into()),
        }
    }

    fn remove_dir(&self, _: &Dir, _: &OsStr) -> io::Result<()> {
        unreachable!("a writer of requests removes no directory")
    }

    fn list(&self, _: &Dir) -> io::Result<Option<Answer>> {
        if let Some(listed) = self.listed.take() {
            return Ok(Some(listed));
        }
        let listed = self.ask(Call::List)?;
        self.listed.set(Some(listed));
        Ok(Some(listed))
    }

    fn next_names(&self, listing: &mut Option<Answer>) -> io::Result<Vec<OsString>> {
        let Some(Answer::Listed(places)) = listing.take() else { return Ok(Vec::new()) };
        let names = slots(places)
            .into_iter()
            .filter_map(|slot| if let Slot::File(name) = slot { Some(name) } else { None });
        Ok(names.collect())
    }

    fn chmod(&self, _: &SlotIndex, _: u32) -> io::Result<()> {
        Ok(())
    }

    fn chown(&self, _: &SlotIndex, _: FileOwner) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, _: &SlotIndex) -> io::Result<bool> {
        unused()
    }

    fn is_locked(&self, _: &SlotIndex) -> io::Result<bool> {
        unused()
    }

    fn lock_dir(&self, _: &Dir) -> io::Result<bool> {
        unused()
    }

    fn flocked_by(&self, _: FileId) -> Option<LockHolder> {
        None
    }

    fn flock_of(&self, _: &SlotIndex) -> io::Result<Flock> {
        Ok(Flock::Free)
    }

    fn has_reliable_times(&self, _: &Dir) -> bool {
        true
    }

    fn clocks(&self) -> Clocks {
        Clocks { wall: 0, since_boot: 0 }
    }

    fn user(&self) -> User {
        User { uid: 1, unmapped: None }
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
