//! Power loss and failing disks, at every point of every write. The shipped code runs on a disk that records all
//! operations. The tests take each prefix of the record, and each subset of the operations that are not synced by then.
//! They build the disk that a restart would find, and judge it.
//!
//! Each change of a name since the last sync of its directory may be lost or kept, in any combination (a rename is one
//! change). The bytes of a file that is not synced may be complete, half of them, or none. A real journalling file
//! system loses less.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::*;
use crate::disk::Flock;
use crate::disk::{Clocks, FileId, LockHolder, Owner, User};
use crate::epoch::{Epoch, Now};
use crate::home::Home;
use crate::request::DrainRequest;

#[derive(Clone, Debug, PartialEq)]
enum Op {
    Draft(usize, PathBuf),
    Fill(usize, Vec<u8>),
    Sync(usize),
    Put(usize, PathBuf),
    Remove(PathBuf),
    MakeDirectory(PathBuf),
    SyncDirectory(PathBuf),
}

/// A fault in the disk, to show that the matrix would find the same fault in the code.
#[derive(Clone, Copy, Debug, PartialEq)]
enum InjectedFault {
    None,
    /// `sync` does nothing.
    ForgetsBytes,
    /// `sync_directory` does nothing for the requests' directory, or for the home.
    ForgetsNames,
    ForgetsHome,
    /// The operation of this number fails with this error.
    Fails(usize, i32),
}

struct Record {
    ops: RefCell<Vec<Op>>,
    names: RefCell<BTreeSet<PathBuf>>,
    asked: RefCell<usize>,
    fault: InjectedFault,
}

impl Record {
    fn on(before: &Disks, fault: InjectedFault) -> Record {
        let names = before.files.keys().chain(&before.directories).cloned().collect();
        Record {
            ops: RefCell::new(before.pending.clone()),
            names: RefCell::new(names),
            asked: RefCell::new(0),
            fault,
        }
    }

    fn failed(&self) -> bool {
        matches!(self.fault, InjectedFault::Fails(at, _) if at < *self.asked.borrow())
    }

    fn done(&self, op: Op) -> io::Result<()> {
        let mut asked = self.asked.borrow_mut();
        *asked += 1;
        if let InjectedFault::Fails(at, code) = self.fault
            && at == *asked - 1
        {
            return Err(io::Error::from_raw_os_error(code));
        }
        self.ops.borrow_mut().push(op);
        Ok(())
    }
}

/// The handles of this disk: a path for a directory, and a number for a file.
impl Disk for Record {
    type Dir = PathBuf;
    type File = usize;
    type Listing = Vec<OsString>;

    fn open_home(&self, path: &Path) -> io::Result<PathBuf> {
        Ok(path.to_owned())
    }

    fn stat_path(&self, _: &Path) -> io::Result<Stat> {
        Ok(of_this_user(FileKind::Directory))
    }

    fn stat_link(&self, _: &Path) -> io::Result<Stat> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn open_dir(&self, at: &PathBuf, name: &OsStr) -> io::Result<PathBuf> {
        let path = at.join(name);
        let is_there = self.names.borrow().contains(&path);
        is_there.then_some(path).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn stat_dir(&self, _: &PathBuf) -> io::Result<Stat> {
        Ok(of_this_user(FileKind::Directory))
    }

    fn stat(&self, at: &PathBuf, name: &OsStr) -> io::Result<Stat> {
        let is_there = self.names.borrow().contains(&at.join(name));
        is_there.then(|| of_this_user(FileKind::File)).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn open(&self, _: &PathBuf, _: &OsStr, _: Access) -> io::Result<usize> {
        unreachable!("a writer reads nothing")
    }

    fn create(&self, at: &PathBuf, name: &OsStr) -> io::Result<usize> {
        let number = self.ops.borrow().len();
        self.done(Op::Draft(number, at.join(name))).map(|()| number)
    }

    fn stat_file(&self, _: &usize) -> io::Result<Stat> {
        Ok(of_this_user(FileKind::File))
    }

    fn read(&self, _: &usize, _: u64) -> io::Result<Vec<u8>> {
        unreachable!("a writer reads nothing")
    }

    fn write(&self, file: &usize, bytes: &[u8]) -> io::Result<()> {
        self.done(Op::Fill(*file, bytes.to_vec()))
    }

    fn truncate(&self, _: &usize) -> io::Result<()> {
        unreachable!("a writer makes new files")
    }

    fn sync(&self, file: &usize) -> io::Result<()> {
        if self.fault == InjectedFault::ForgetsBytes { Ok(()) } else { self.done(Op::Sync(*file)) }
    }

    fn sync_dir(&self, dir: &PathBuf) -> io::Result<()> {
        let forgotten = match self.fault {
            InjectedFault::ForgetsNames => dir != home().path(),
            InjectedFault::ForgetsHome => dir == home().path(),
            _ => false,
        };
        if forgotten { Ok(()) } else { self.done(Op::SyncDirectory(dir.clone())) }
    }

    fn rename(&self, at: &PathBuf, from: &OsStr, to: &OsStr) -> io::Result<()> {
        let (draft, path) = (at.join(from), at.join(to));
        let number = self.ops.borrow().iter().rev().find_map(|op| match op {
            Op::Draft(number, name) if *name == draft => Some(*number),
            _ => None,
        });
        self.done(Op::Put(number.expect("it was made"), path.clone()))?;
        self.names.borrow_mut().insert(path);
        Ok(())
    }

    fn unlink(&self, at: &PathBuf, name: &OsStr) -> io::Result<()> {
        let path = at.join(name);
        self.done(Op::Remove(path.clone()))?;
        let was_there = self.names.borrow_mut().remove(&path);
        was_there.then_some(()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn make_dir(&self, at: &PathBuf, name: &OsStr, _: Owner, _: u32) -> io::Result<io::Result<()>> {
        let path = at.join(name);
        if self.names.borrow().contains(&path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.done(Op::MakeDirectory(path.clone()))?;
        self.names.borrow_mut().insert(path);
        Ok(Ok(()))
    }

    fn remove_dir(&self, _: &PathBuf, _: &OsStr) -> io::Result<()> {
        unreachable!("a writer of requests removes no directory")
    }

    fn list(&self, dir: &PathBuf) -> io::Result<Vec<OsString>> {
        let names = self.names.borrow();
        let here = names.iter().filter(|path| path.parent() == Some(dir));
        Ok(here.filter_map(|path| path.file_name().map(OsStr::to_owned)).collect())
    }

    fn next_names(&self, listing: &mut Vec<OsString>) -> io::Result<Vec<OsString>> {
        Ok(std::mem::take(listing))
    }

    fn chmod(&self, _: &usize, _: u32) -> io::Result<()> {
        Ok(())
    }

    fn chown(&self, _: &usize, _: Owner) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, _: &usize) -> io::Result<bool> {
        unreachable!("a writer of requests takes no lock")
    }

    fn is_locked(&self, _: &usize) -> io::Result<bool> {
        unreachable!("a writer of requests asks for no lock")
    }

    fn lock_dir(&self, _: &PathBuf) -> io::Result<bool> {
        unreachable!("a writer of requests takes no lock")
    }

    fn flocked_by(&self, _: FileId) -> Option<LockHolder> {
        None
    }

    fn flock_of(&self, _: &usize) -> io::Result<Flock> {
        Ok(Flock::Free)
    }

    fn has_reliable_times(&self, _: &PathBuf) -> bool {
        true
    }

    fn clocks(&self) -> Clocks {
        Clocks { wall: 0, since_boot: 0 }
    }

    fn user(&self) -> User {
        User { uid: 1, unmapped: None }
    }
}

/// The metadata of everything on this disk, which has one user.
fn of_this_user(kind: FileKind) -> Stat {
    crate::disk::memory::stat(kind, 0, 0, 0)
}

/// The durable content of the disk, and the operations that are not durable yet.
#[derive(Clone, Debug, Default)]
struct Disks {
    files: BTreeMap<PathBuf, Vec<u8>>,
    directories: BTreeSet<PathBuf>,
    pending: Vec<Op>,
}

/// The files that are found after a crash: those whose directory exists, without drafts.
type Found = BTreeMap<PathBuf, Vec<u8>>;

impl Disks {
    /// All disks that may be found if power is lost after these operations.
    fn after_power_loss(&self, ops: &[Op]) -> Vec<Found> {
        // The changes of names that are not synced, and below the drafts whose bytes are not.
        let mut loose: Vec<usize> = Vec::new();
        for (at, op) in ops.iter().enumerate() {
            match op {
                Op::Draft(..) | Op::Put(..) | Op::Remove(_) | Op::MakeDirectory(_) => {
                    loose.push(at);
                }
                Op::SyncDirectory(directory) => {
                    loose.retain(|&at| directory_of(&ops[at]) != Some(directory));
                }
                Op::Fill(..) | Op::Sync(_) => {}
            }
        }
        let unsynced: Vec<usize> = ops
            .iter()
            .filter_map(|op| match op {
                Op::Fill(draft, _) if !ops.contains(&Op::Sync(*draft)) => Some(*draft),
                _ => None,
            })
            .collect();
        assert!(loose.len() < 16 && unsynced.len() < 4, "the matrix would not end");
        let mut found = Vec::new();
        for lost in 0..1u32 << loose.len() {
            let is_lost = |at: usize| {
                loose.iter().position(|&it| it == at).is_some_and(|bit| lost & 1 << bit != 0)
            };
            for torn in 0..3u32.pow(u32::try_from(unsynced.len()).expect("few")) {
                found.push(self.found(ops, is_lost, |draft, bytes| {
                    let Some(place) = unsynced.iter().position(|&it| it == draft) else {
                        return bytes.to_vec();
                    };
                    match torn / 3u32.pow(u32::try_from(place).expect("few")) % 3 {
                        0 => bytes.to_vec(),
                        1 => bytes[..bytes.len() / 2].to_vec(),
                        _ => Vec::new(),
                    }
                }));
            }
        }
        found
    }

    /// The disk that is found if only the process is killed after these operations: all of them count.
    fn after_kill(&self, ops: &[Op]) -> Found {
        self.found(ops, |_| false, |_, bytes| bytes.to_vec())
    }

    fn found(
        &self,
        ops: &[Op],
        is_lost: impl Fn(usize) -> bool,
        bytes_of: impl Fn(usize, &[u8]) -> Vec<u8>,
    ) -> Found {
        let (mut files, mut directories) = (self.files.clone(), self.directories.clone());
        for (at, op) in ops.iter().enumerate().filter(|(at, _)| !is_lost(*at)) {
            match op {
                Op::Put(draft, path) => {
                    let filled = ops[..at].iter().find_map(|op| match op {
                        Op::Fill(it, bytes) if it == draft => Some(bytes_of(*draft, bytes)),
                        _ => None,
                    });
                    files.insert(path.clone(), filled.unwrap_or_default());
                }
                Op::Remove(path) => drop(files.remove(path)),
                Op::MakeDirectory(path) => drop(directories.insert(path.clone())),
                Op::Draft(..) | Op::Fill(..) | Op::Sync(_) | Op::SyncDirectory(_) => {}
            }
        }
        files.retain(|path, _| path.parent().is_some_and(|parent| directories.contains(parent)));
        files
    }
}

fn directory_of(op: &Op) -> Option<&Path> {
    match op {
        Op::Draft(_, path) | Op::Put(_, path) | Op::Remove(path) | Op::MakeDirectory(path) => {
            path.parent()
        }
        Op::Fill(..) | Op::Sync(_) | Op::SyncDirectory(_) => None,
    }
}

fn home() -> Home {
    Home::at("/home")
}

fn opened(disk: Record) -> OpenHome<Record> {
    OpenHome::open(disk, &home()).expect("it is there")
}

fn ci() -> Holder {
    Holder::named("ci").expect("a name")
}

fn request(id: &str) -> Request {
    DrainRequest::new(id).with_holder(ci()).stamp(id, &Epoch::default(), Now::from_system_clock())
}

fn slot(id: &str) -> Slot {
    let Holder::Named(name) = ci() else { unreachable!("it is named") };
    Slot::of(&name, id)
}

/// One write: the disk before it, the operation, and the conditions at every point and at its end.
struct Case {
    name: &'static str,
    before: Disks,
    run: fn(&OpenHome<Record>) -> Result<(), ControlError>,
    /// The condition at every point, whatever was lost.
    always: fn(&Found) -> bool,
    /// The condition after the acknowledgement.
    acknowledged: fn(&Found) -> bool,
}

fn before(slots: &[&Slot]) -> Disks {
    let files = slots.iter().map(|slot| (home().slot_path(slot), old().into_bytes())).collect();
    let directories = BTreeSet::from([home().path().to_owned(), home().requests_path()]);
    Disks { files, directories, pending: Vec::new() }
}

fn old() -> String {
    // All calls return one text with one time, so that a whole request can be compared byte by byte.
    static OLD: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    OLD.get_or_init(|| request("old").to_json()).clone()
}

/// Whether every request that is found is whole.
fn whole(found: &Found) -> bool {
    found
        .values()
        .all(|bytes| bytes == old().as_bytes() || Request::parse(bytes).request_id() == Some("new"))
}

fn has(found: &Found, slot: &Slot, id: &str) -> bool {
    found
        .get(&home().slot_path(slot))
        .is_some_and(|bytes| Request::parse(bytes).request_id() == Some(id))
}

fn cases() -> Vec<Case> {
    let shared_begins = |home: &OpenHome<Record>| begin(home, &Slot::Shared, &request("new"), &[]);
    let named_begins = |home: &OpenHome<Record>| begin(home, &slot("new"), &request("new"), &[]);
    let mut no_directory = before(&[]);
    no_directory.directories.remove(&home().requests_path());
    let mut young_directory = no_directory.clone();
    young_directory.directories.insert(home().path().to_owned());
    young_directory.pending = vec![Op::MakeDirectory(home().requests_path())];
    vec![
        Case {
            name: "begin, shared",
            before: before(&[]),
            run: shared_begins,
            always: whole,
            acknowledged: |found| has(found, &Slot::Shared, "new"),
        },
        Case {
            name: "begin again, shared",
            before: before(&[&Slot::Shared]),
            run: shared_begins,
            always: |found| whole(found) && found.len() == 1,
            acknowledged: |found| has(found, &Slot::Shared, "new"),
        },
        Case {
            name: "cancel, shared",
            before: before(&[&Slot::Shared]),
            run: |home| cancel_all_of(home, &Holder::Shared).map(drop),
            always: whole,
            acknowledged: Found::is_empty,
        },
        Case {
            name: "begin, named, the first ever",
            before: no_directory,
            run: named_begins,
            always: whole,
            acknowledged: |found| has(found, &slot("new"), "new"),
        },
        Case {
            name: "begin, named, after one whose directory is not durable yet",
            before: young_directory,
            run: named_begins,
            always: whole,
            acknowledged: |found| has(found, &slot("new"), "new"),
        },
        Case {
            name: "begin again, named",
            before: before(&[&slot("old")]),
            run: |home| begin(home, &slot("new"), &request("new"), &[slot("old")]),
            // At every point one of the two is in force.
            always: |found| whole(found) && !found.is_empty(),
            acknowledged: |found| has(found, &slot("new"), "new") && found.len() == 1,
        },
        Case {
            name: "renew, named, after it was cancelled",
            before: before(&[]),
            run: |home| {
                let was_there = renew(home, &slot("new"), &request("new"), &[slot("old")])?;
                // If the removal failed, it is unknown whether the old request existed.
                assert!(!was_there || home.disk().failed());
                Ok(())
            },
            always: whole,
            acknowledged: Found::is_empty,
        },
        Case {
            name: "renew, named",
            before: before(&[&slot("old")]),
            run: |home| renew(home, &slot("new"), &request("new"), &[slot("old")]).map(drop),
            // At every point one of the two is in force.
            always: |found| whole(found) && !found.is_empty(),
            acknowledged: |found| has(found, &slot("new"), "new") && found.len() == 1,
        },
        Case {
            name: "cancel, named, of two",
            before: before(&[&slot("old"), &slot("older")]),
            run: |home| cancel_all_of(home, &ci()).map(drop),
            always: whole,
            acknowledged: Found::is_empty,
        },
        Case {
            name: "cancel, while another holder asks",
            before: before(&[&slot("old"), &Slot::Shared]),
            run: |home| cancel(home, &[slot("old")]).map(drop),
            always: |found| whole(found) && has(found, &Slot::Shared, "old"),
            acknowledged: |found| found.len() == 1,
        },
    ]
}

/// Replays every crash point of a case. Returns the numbers of points and disks, or the first violation.
fn replay(case: &Case, fault: InjectedFault) -> Result<(usize, usize), String> {
    let home = opened(Record::on(&case.before, fault));
    (case.run)(&home).map_err(|error| error.to_string())?;
    let ops = home.disk().ops.take();
    let mut disks = 0;
    for crash in case.before.pending.len()..=ops.len() {
        for found in case.before.after_power_loss(&ops[..crash]) {
            disks += 1;
            let names: Vec<_> = found.keys().collect();
            if !(case.always)(&found) {
                return Err(format!("{}: after {crash} of {ops:?}: {names:?}", case.name));
            }
            if crash == ops.len() && !(case.acknowledged)(&found) {
                return Err(format!("{}: acknowledged, and then {names:?}", case.name));
            }
        }
        if !(case.always)(&case.before.after_kill(&ops[..crash])) {
            return Err(format!("{}: killed after {crash} of {ops:?}", case.name));
        }
    }
    Ok((ops.len() - case.before.pending.len() + 1, disks))
}

/// Property: TG-S12 no_torn_request. Run with `--nocapture` to see the matrix.
#[test]
fn no_torn_request() {
    println!("{:62} {:>6} {:>6}", "write", "points", "disks");
    for case in cases() {
        let (points, disks) = replay(&case, InjectedFault::None).expect("holds");
        assert!(points > 2 && disks >= points, "{}", case.name);
        println!("{:62} {points:>6} {disks:>6}", case.name);
    }
}

/// Found in review: a cancel that found nothing did not sync. Another process had removed the request and died before
/// its sync, so the request came back after power loss.
#[test]
fn a_cancel_that_finds_nothing_makes_an_earlier_removal_durable() {
    let mut removed = before(&[&slot("old")]);
    removed.pending = vec![Op::Remove(home().slot_path(&slot("old")))];
    let case = Case {
        name: "cancel, named, of what is gone",
        before: removed,
        run: |home| cancel(home, &[]).map(drop),
        always: whole,
        acknowledged: Found::is_empty,
    };
    assert_eq!(replay(&case, InjectedFault::None), Ok((2, 3)));
    replay(&case, InjectedFault::ForgetsNames).expect_err("without the sync it may come back");
}

/// The matrix finds a missing step.
#[test]
fn a_forgotten_sync_is_found() {
    let found = |fault, name: &str| {
        let case = cases().into_iter().find(|case| case.name == name).expect("a case");
        replay(&case, fault).expect_err(name)
    };
    let torn = found(InjectedFault::ForgetsBytes, "begin, shared");
    assert!(torn.contains("after"), "{torn}");
    for (fault, name) in [
        (InjectedFault::ForgetsHome, "begin, shared"),
        (InjectedFault::ForgetsHome, "cancel, shared"),
        (InjectedFault::ForgetsHome, "begin, named, after one whose directory is not durable yet"),
        (InjectedFault::ForgetsNames, "begin, named, the first ever"),
        (InjectedFault::ForgetsNames, "renew, named"),
        (InjectedFault::ForgetsNames, "cancel, named, of two"),
    ] {
        found(fault, name);
    }
}

/// The status is not synced: it describes a running process, and after a power loss there is none. A kill leaves it
/// whole, as it does a request.
#[test]
fn a_status_is_whole_whenever_its_gateway_is_killed() {
    let path = home().status_path();
    let mut before = before(&[]);
    before.files.insert(path.clone(), b"old".to_vec());
    let home = opened(Record::on(&before, InjectedFault::None));
    let name = Name::Status.as_os_str();
    replace(&home, home.dir(), name, b"new status", Durability::Volatile).expect("writes");
    let ops = home.disk().ops.take();
    let whole = |found: &Found| found[&path] == b"old" || found[&path] == b"new status";
    assert!((0..=ops.len()).all(|crash| whole(&before.after_kill(&ops[..crash]))));
    let torn = before.after_power_loss(&ops).iter().any(|found| !whole(found));
    assert!(torn, "therefore a status is believed only if its gateway holds the lock");
}

/// A disk that fails at any one step: full, broken, or out of file handles. The disk holds the old request or the new
/// one, and the error says which.
#[test]
fn every_step_may_fail_and_nothing_is_torn_or_lost() {
    const ENOSPC: i32 = 28;
    const EIO: i32 = 5;
    const EMFILE: i32 = 24;

    for case in cases() {
        for code in [ENOSPC, EIO, EMFILE] {
            let mut failures = 0;
            for at in 0.. {
                let home = opened(Record::on(&case.before, InjectedFault::Fails(at, code)));
                let result = (case.run)(&home);
                if at >= *home.disk().asked.borrow() {
                    break;
                }
                let found = case.before.after_kill(&home.disk().ops.take());
                let what = format!("{}, step {at}, error {code}: {result:?}", case.name);
                assert!((case.always)(&found), "{what}");
                match result {
                    // Only the removal of an old request after a new one may fail without an error.
                    Ok(()) => assert!(has(&found, &slot("new"), "new"), "{what}"),
                    Err(ControlError::NotWritten { .. }) => {
                        assert_eq!(found, case.before.after_kill(&case.before.pending), "{what}");
                        failures += 1;
                    }
                    Err(ControlError::NotRemoved { .. }) => {
                        assert!(!found.is_empty(), "{what}");
                        failures += 1;
                    }
                    Err(ControlError::NotDurable { .. }) => failures += 1,
                    Err(other) => panic!("{what}: {other}"),
                }
            }
            assert!(failures > 1, "{}", case.name);
        }
    }
}
