//! The contents of a disk: files and directories, and the handles that have them open or locked. It knows no steps.
//! It fails only if something does not exist.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use crate::entry::ProcessId;

/// The kind of what has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A FIFO.
    Fifo,
}

/// The metadata of a file or directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Its inode number.
    pub inode: u64,
    /// Its kind.
    pub kind: Kind,
    /// Its permission bits.
    pub mode: u32,
    /// The number of its names.
    pub links: u64,
    /// Its owner.
    pub uid: u32,
    /// Its size.
    pub size: u64,
    /// The time of the last change of its bytes or names.
    pub modified: (i64, i64),
    /// The time of the last change, also of its mode or its own name.
    pub changed: (i64, i64),
}

/// The properties of a disk.
#[derive(Clone, Copy, Debug)]
pub struct DiskProperties {
    /// The number of nanoseconds that times are rounded down to.
    pub tick_ns: i64,
    /// Whether it is known as a file system whose directory times change with each change of names.
    pub is_known: bool,
    /// Whether a directory's times really change when a name is added or removed.
    pub times_move: bool,
    /// The number of names that one call lists.
    pub batch: usize,
    /// Whether it can lock a directory.
    pub locks_directories: bool,
}

impl DiskProperties {
    /// The properties of a local disk.
    pub const LOCAL: DiskProperties = DiskProperties {
        tick_ns: 4_000_000,
        is_known: true,
        times_move: true,
        batch: 2,
        locks_directories: true,
    };
}

/// The faults that are injected into the calls of exposed processes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// How many calls in a thousand fail.
    pub failing: u64,
    /// How many calls in a thousand take up to `slow_for`.
    pub slow: u64,
    /// The longest time of a slow call.
    pub slow_for: Duration,
    /// How many calls in a thousand take up to three milliseconds.
    pub brief: u64,
    /// How many calls in ten thousand panic, as a program with a bug there does.
    pub panicking: u64,
    /// The time at which faults end.
    pub until: Duration,
}

#[derive(Debug)]
pub(crate) struct Inode {
    pub(crate) stat: Stat,
    pub(crate) bytes: Rc<[u8]>,
    /// The bytes at the last sync.
    pub(crate) synced: Rc<[u8]>,
    pub(crate) names: BTreeMap<OsString, u64>,
    pub(crate) synced_names: BTreeMap<OsString, u64>,
    /// The changes of names since the directory was last synced.
    pub(crate) since: Vec<(OsString, Option<u64>)>,
    /// The handle that holds its lock.
    pub(crate) locked_by: Option<u64>,
}

#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) inode: u64,
    pub(crate) process: ProcessId,
}

/// The disk of one world.
#[derive(Debug)]
pub(crate) struct Disk {
    pub(crate) inodes: BTreeMap<u64, Inode>,
    pub(crate) handles: BTreeMap<u64, Handle>,
    /// The directory that each absolute path leads to.
    pub(crate) paths: BTreeMap<PathBuf, u64>,
    made: u64,
    pub(crate) properties: DiskProperties,
    pub(crate) faults: Faults,
}

impl Disk {
    pub(crate) fn new() -> Disk {
        Disk {
            inodes: BTreeMap::new(),
            handles: BTreeMap::new(),
            paths: BTreeMap::new(),
            made: 0,
            properties: DiskProperties::LOCAL,
            faults: Faults::default(),
        }
    }

    pub(crate) fn make(&mut self, kind: Kind, mode: u32, at: (i64, i64)) -> u64 {
        self.made += 1;
        let inode = self.made;
        let (links, uid, size) = (1, 1, 0);
        let stat = Stat { inode, kind, mode, links, uid, size, modified: at, changed: at };
        let none: Rc<[u8]> = Rc::from([]);
        self.inodes.insert(
            inode,
            Inode {
                stat,
                bytes: Rc::clone(&none),
                synced: none,
                names: BTreeMap::new(),
                synced_names: BTreeMap::new(),
                since: Vec::new(),
                locked_by: None,
            },
        );
        inode
    }

    pub(crate) fn open(&mut self, inode: u64, process: ProcessId) -> u64 {
        self.made += 1;
        self.handles.insert(self.made, Handle { inode, process });
        self.made
    }

    pub(crate) fn close(&mut self, handle: u64) {
        if let Some(Handle { inode, .. }) = self.handles.remove(&handle)
            && let Some(inode) = self.inodes.get_mut(&inode)
            && inode.locked_by == Some(handle)
        {
            inode.locked_by = None;
        }
    }

    pub(crate) fn close_all(&mut self, process: ProcessId) {
        let held = self.handles.iter().filter(|(_, it)| it.process == process);
        let held: Vec<u64> = held.map(|(handle, _)| *handle).collect();
        for handle in held {
            self.close(handle);
        }
    }

    pub(crate) fn of(&self, handle: u64) -> io::Result<u64> {
        self.handles.get(&handle).map(|it| it.inode).ok_or_else(bad_handle)
    }

    pub(crate) fn inode(&self, handle: u64) -> io::Result<&Inode> {
        self.inodes.get(&self.of(handle)?).ok_or_else(bad_handle)
    }

    pub(crate) fn inode_mut(&mut self, handle: u64) -> io::Result<&mut Inode> {
        let inode = self.of(handle)?;
        self.inodes.get_mut(&inode).ok_or_else(bad_handle)
    }

    pub(crate) fn named(&self, at: u64, name: &OsStr) -> io::Result<u64> {
        if name == "." {
            return self.of(at);
        }
        self.inode(at)?.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(crate) fn set(&mut self, dir: u64, name: &OsStr, to: Option<u64>, at: (i64, i64)) {
        let times_move = self.properties.times_move;
        let Some(found) = self.inodes.get_mut(&dir) else { return };
        let was = match to {
            Some(inode) => found.names.insert(name.to_owned(), inode),
            None => found.names.remove(name),
        };
        found.since.push((name.to_owned(), to));
        if times_move {
            (found.stat.modified, found.stat.changed) = (at, at);
        }
        if let Some(was) = was.filter(|was| Some(*was) != to)
            && let Some(was) = self.inodes.get_mut(&was)
        {
            was.stat.links = was.stat.links.saturating_sub(1);
        }
    }
}

fn bad_handle() -> io::Error {
    io::Error::from_raw_os_error(5)
}
