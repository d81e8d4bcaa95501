//! Power loss and failing disks, at every point of every write: the shipped code runs on a disk that
//! records what was done to it. From each prefix of the record, and each subset of what had not been
//! synced by then, the disk as it would be found is made and judged.
//!
//! What may happen to what is not synced: each name that was made, moved or removed in a directory
//! since that directory was last synced may be so or not, in any combination (a rename is one); the
//! bytes of a file that was not synced may all be there, half of them, or none. That is more than any
//! journalling file system does.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use super::*;
use crate::epoch::{Epoch, Now};
use crate::holder::Holder;
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

/// A fault in the disk, to show that the matrix would find one in the code.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
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
    fault: Fault,
}

impl Record {
    fn on(before: &Disks, fault: Fault) -> Record {
        let names = before.files.keys().chain(&before.directories).cloned().collect();
        Record {
            ops: RefCell::new(before.pending.clone()),
            names: RefCell::new(names),
            asked: RefCell::new(0),
            fault,
        }
    }

    fn failed(&self) -> bool {
        matches!(self.fault, Fault::Fails(at, _) if at < *self.asked.borrow())
    }

    fn done(&self, op: Op) -> io::Result<()> {
        let mut asked = self.asked.borrow_mut();
        *asked += 1;
        if let Fault::Fails(at, code) = self.fault
            && at == *asked - 1
        {
            return Err(io::Error::from_raw_os_error(code));
        }
        self.ops.borrow_mut().push(op);
        Ok(())
    }
}

impl Disk for Record {
    type Draft = usize;

    fn draft(&self, path: &Path, _mode: u32) -> io::Result<usize> {
        let number = self.ops.borrow().len();
        let beside = path.with_file_name(format!(".{number}.tmp"));
        self.done(Op::Draft(number, beside)).map(|()| number)
    }

    fn fill(&self, draft: &mut usize, bytes: &[u8]) -> io::Result<()> {
        self.done(Op::Fill(*draft, bytes.to_vec()))
    }

    fn sync(&self, draft: &usize) -> io::Result<()> {
        if self.fault == Fault::ForgetsBytes { Ok(()) } else { self.done(Op::Sync(*draft)) }
    }

    fn put(&self, draft: usize, path: &Path) -> io::Result<()> {
        self.done(Op::Put(draft, path.to_owned()))?;
        self.names.borrow_mut().insert(path.to_owned());
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<bool> {
        self.done(Op::Remove(path.to_owned()))?;
        Ok(self.names.borrow_mut().remove(path))
    }

    fn make_directory(&self, path: &Path) -> io::Result<bool> {
        if self.names.borrow().contains(path) {
            return Ok(false);
        }
        self.done(Op::MakeDirectory(path.to_owned()))?;
        Ok(self.names.borrow_mut().insert(path.to_owned()))
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        let forgotten = match self.fault {
            Fault::ForgetsNames => path != home().path(),
            Fault::ForgetsHome => path == home().path(),
            _ => false,
        };
        if forgotten { Ok(()) } else { self.done(Op::SyncDirectory(path.to_owned())) }
    }

    fn slots(
        &self,
        directory: &Path,
        wanted: &dyn Fn(&Slot) -> bool,
    ) -> io::Result<(Vec<Slot>, bool)> {
        let names = self.names.borrow();
        let here = names.iter().filter(|path| path.parent() == Some(directory));
        let slots = here.filter_map(|path| Slot::of_file(path.file_name()?));
        Ok((slots.filter(wanted).collect(), false))
    }
}

/// What is on the disk, and what was done to it that is not there for certain yet.
#[derive(Clone, Debug, Default)]
struct Disks {
    files: BTreeMap<PathBuf, Vec<u8>>,
    directories: BTreeSet<PathBuf>,
    pending: Vec<Op>,
}

/// A disk as it is found after a crash: files whose directory is there, drafts left out.
type Found = BTreeMap<PathBuf, Vec<u8>>;

impl Disks {
    /// Everything that may be found if power is lost after these operations.
    fn after_power_loss(&self, ops: &[Op]) -> Vec<Found> {
        // Which effects on names are not certain, and which drafts' bytes are not.
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

    /// What is found if only the process is killed after these operations: everything it had done.
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

fn ci() -> Holder {
    Holder::named("ci").expect("a name")
}

fn request(id: &str) -> Request {
    DrainRequest::by(id).holder(ci()).stamp(id, &Epoch::default(), Now::by_system())
}

fn slot(id: &str) -> Slot {
    let Holder::Named(name) = ci() else { unreachable!("it is named") };
    Slot::of(&name, id)
}

/// One write: what stands before, what is done, and what must be so at every point and at its end.
struct Case {
    name: &'static str,
    before: Disks,
    run: fn(&Record) -> Result<(), ControlError>,
    /// Holds at every point, whatever was lost.
    always: fn(&Found) -> bool,
    /// Holds from the acknowledgement on.
    acknowledged: fn(&Found) -> bool,
}

fn before(slots: &[&Slot]) -> Disks {
    let files = slots.iter().map(|slot| (home().slot_path(slot), old().into_bytes())).collect();
    let directories = BTreeSet::from([home().path().to_owned(), home().requests_path()]);
    Disks { files, directories, pending: Vec::new() }
}

fn old() -> String {
    // Of one instant, so that whole can be told from torn.
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
    let shared_begins =
        |record: &Record| begin(record, &home(), &Slot::Shared, &request("new"), &[]);
    let named_begins = |record: &Record| begin(record, &home(), &slot("new"), &request("new"), &[]);
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
            run: |record| cancel_all_of(record, &home(), &Holder::Shared).map(drop),
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
            run: |record| begin(record, &home(), &slot("new"), &request("new"), &[slot("old")]),
            // At every point one of the two is in force.
            always: |found| whole(found) && !found.is_empty(),
            acknowledged: |found| has(found, &slot("new"), "new") && found.len() == 1,
        },
        Case {
            name: "renew, named, after it was cancelled",
            before: before(&[]),
            run: |record| {
                let stood = renew(record, &home(), &slot("new"), &request("new"), &[slot("old")])?;
                // On a disk that fails to look, it may have stood.
                assert!(!stood || record.failed());
                Ok(())
            },
            always: whole,
            acknowledged: Found::is_empty,
        },
        Case {
            name: "renew, named",
            before: before(&[&slot("old")]),
            run: |record| {
                renew(record, &home(), &slot("new"), &request("new"), &[slot("old")]).map(drop)
            },
            // At every point one of the two is in force.
            always: |found| whole(found) && !found.is_empty(),
            acknowledged: |found| has(found, &slot("new"), "new") && found.len() == 1,
        },
        Case {
            name: "cancel, named, of two",
            before: before(&[&slot("old"), &slot("older")]),
            run: |record| cancel_all_of(record, &home(), &ci()).map(drop),
            always: whole,
            acknowledged: Found::is_empty,
        },
        Case {
            name: "cancel, while another holder asks",
            before: before(&[&slot("old"), &Slot::Shared]),
            run: |record| cancel(record, &home(), &[slot("old")]).map(drop),
            always: |found| whole(found) && has(found, &Slot::Shared, "old"),
            acknowledged: |found| found.len() == 1,
        },
    ]
}

/// Every crash point of a case. Gives how many points and disks there were, or what was found wrong.
fn replay(case: &Case, fault: Fault) -> Result<(usize, usize), String> {
    let record = Record::on(&case.before, fault);
    (case.run)(&record).map_err(|error| error.to_string())?;
    let ops = record.ops.into_inner();
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
        let (points, disks) = replay(&case, Fault::None).expect("holds");
        assert!(points > 2 && disks >= points, "{}", case.name);
        println!("{:62} {points:>6} {disks:>6}", case.name);
    }
}

/// Found in review: a cancel that found nothing synced nothing, and what another process had removed and
/// died over came back.
#[test]
fn a_cancel_that_finds_nothing_makes_the_removal_it_was_too_late_for_durable() {
    let mut removed = before(&[&slot("old")]);
    removed.pending = vec![Op::Remove(home().slot_path(&slot("old")))];
    let case = Case {
        name: "cancel, named, of what is gone",
        before: removed,
        run: |record| cancel(record, &home(), &[]).map(drop),
        always: whole,
        acknowledged: Found::is_empty,
    };
    assert_eq!(replay(&case, Fault::None), Ok((2, 3)));
    replay(&case, Fault::ForgetsNames).expect_err("without the sync it may come back");
}

/// The matrix would find it if a step were missing.
#[test]
fn a_forgotten_sync_is_found() {
    let found = |fault, name: &str| {
        let case = cases().into_iter().find(|case| case.name == name).expect("a case");
        replay(&case, fault).expect_err(name)
    };
    let torn = found(Fault::ForgetsBytes, "begin, shared");
    assert!(torn.contains("after"), "{torn}");
    for (fault, name) in [
        (Fault::ForgetsHome, "begin, shared"),
        (Fault::ForgetsHome, "cancel, shared"),
        (Fault::ForgetsHome, "begin, named, after one whose directory is not durable yet"),
        (Fault::ForgetsNames, "begin, named, the first ever"),
        (Fault::ForgetsNames, "renew, named"),
        (Fault::ForgetsNames, "cancel, named, of two"),
    ] {
        found(fault, name);
    }
}

/// The status is not synced: it speaks of a living process, and after a power loss none lives. A kill
/// tears it no more than a request.
#[test]
fn a_status_is_whole_whenever_its_gateway_is_killed() {
    let path = home().status_path();
    let mut before = before(&[]);
    before.files.insert(path.clone(), b"old".to_vec());
    let record = Record::on(&before, Fault::None);
    replace(&record, &path, 0o600, b"new status", Durability::Volatile).expect("writes");
    let ops = record.ops.into_inner();
    let whole = |found: &Found| found[&path] == b"old" || found[&path] == b"new status";
    assert!((0..=ops.len()).all(|crash| whole(&before.after_kill(&ops[..crash]))));
    let torn = before.after_power_loss(&ops).iter().any(|found| !whole(found));
    assert!(torn, "which is why no status is believed but that of a gateway that holds the lock");
}

/// A disk that fails at any one step: full, broken, or out of file handles. What stood there stands, or
/// what was asked for does, and the error says which.
#[test]
fn every_step_may_fail_and_nothing_is_torn_or_lost() {
    const ENOSPC: i32 = 28;
    const EIO: i32 = 5;
    const EMFILE: i32 = 24;

    for case in cases() {
        for code in [ENOSPC, EIO, EMFILE] {
            let mut failures = 0;
            for at in 0.. {
                let record = Record::on(&case.before, Fault::Fails(at, code));
                let result = (case.run)(&record);
                if at >= *record.asked.borrow() {
                    break;
                }
                let found = case.before.after_kill(&record.ops.into_inner());
                let what = format!("{}, step {at}, error {code}: {result:?}", case.name);
                assert!((case.always)(&found), "{what}");
                match result {
                    // Only the removal of an old request after a new one may fail unsaid.
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
