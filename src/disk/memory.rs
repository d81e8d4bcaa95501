//! A disk in memory for tests. The test sets all times and numbers, and a hook can run before each call. It supports
//! the calls of a look, but no writer.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;

use super::{Access, Clocks, Disk, FileId, FileKind, Flock, LockHolder, Owner, Stat, User};

/// A file with its metadata.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) stat: Stat,
    pub(crate) bytes: Vec<u8>,
}

/// The two directories of a home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dir {
    Home,
    Requests,
}

/// A hook that runs before each call. It gets the call's name and the disk.
type Hook = Box<dyn FnMut(&'static str, &MemoryDisk)>;

/// The disk.
pub(crate) struct MemoryDisk {
    pub(crate) home: RefCell<BTreeMap<OsString, Node>>,
    pub(crate) requests: RefCell<BTreeMap<OsString, Node>>,
    /// The directory of requests; `None` if there is none.
    pub(crate) directory: Cell<Option<Stat>>,
    /// The error for the directory if there is none.
    pub(crate) missing: Cell<io::ErrorKind>,
    /// The wall clock, from which files get their times.
    pub(crate) second: Cell<i64>,
    /// The time since boot, which cannot be set.
    pub(crate) since_boot: Cell<i64>,
    pub(crate) calls: RefCell<Vec<&'static str>>,
    hook: RefCell<Option<Hook>>,
    inodes: Cell<u64>,
}

/// The metadata of a file or directory that the only user last changed at this second.
pub(crate) fn stat(kind: FileKind, inode: u64, size: usize, second: i64) -> Stat {
    let (mode, links, uid, gid) = (0o700, 1, 1, 1);
    let (id, size) = (FileId { device: 1, inode }, size as u64);
    Stat { id, kind, mode, links, uid, gid, size, modified: (second, 0), changed: (second, 0) }
}

impl MemoryDisk {
    /// An empty home at this second. Its directory of requests was made at second 0.
    pub(crate) fn at(second: i64) -> MemoryDisk {
        MemoryDisk {
            home: RefCell::default(),
            requests: RefCell::default(),
            directory: Cell::new(Some(stat(FileKind::Directory, 2, 0, 0))),
            missing: Cell::new(io::ErrorKind::NotFound),
            second: Cell::new(second),
            since_boot: Cell::new(second),
            calls: RefCell::default(),
            hook: RefCell::default(),
            inodes: Cell::new(2),
        }
    }

    /// Runs this hook before each call from now on.
    pub(crate) fn before_each(&self, hook: impl FnMut(&'static str, &MemoryDisk) + 'static) {
        *self.hook.borrow_mut() = Some(Box::new(hook));
    }

    fn called(&self, call: &'static str) {
        self.calls.borrow_mut().push(call);
        // The hook is taken out, because it may itself call the disk.
        let hook = self.hook.borrow_mut().take();
        if let Some(mut hook) = hook {
            hook(call, self);
            self.hook.borrow_mut().get_or_insert(hook);
        }
    }

    /// Adds a named request that was written at this second.
    pub(crate) fn lay(&self, name: &str, text: &str, second: i64) {
        self.inodes.set(self.inodes.get() + 1);
        let stat = stat(FileKind::File, self.inodes.get(), text.len(), second);
        self.requests.borrow_mut().insert(name.into(), Node { stat, bytes: text.into() });
        self.touch(second);
    }

    /// Removes a named request.
    pub(crate) fn remove(&self, name: &str, second: i64) {
        self.requests.borrow_mut().remove(OsStr::new(name));
        self.touch(second);
    }

    /// Changes the metadata or the bytes of a named request, and nothing else.
    pub(crate) fn alter(&self, name: &str, alter: impl FnOnce(&mut Node)) {
        alter(self.requests.borrow_mut().get_mut(OsStr::new(name)).expect("it is there"));
    }

    /// Changes the times of the directory of requests.
    pub(crate) fn touch(&self, second: i64) {
        let found = self.directory.get();
        self.directory.set(found.map(|it| Stat {
            modified: (second, it.modified.1 + 1),
            changed: (second, it.changed.1 + 1),
            ..it
        }));
    }

    /// The number of calls with this name.
    pub(crate) fn count(&self, call: &str) -> usize {
        self.calls.borrow().iter().filter(|it| **it == call).count()
    }

    fn node(&self, at: Dir, name: &OsStr) -> io::Result<Node> {
        let files = match at {
            Dir::Home => &self.home,
            Dir::Requests => &self.requests,
        };
        files.borrow().get(name).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

fn unused<T>() -> io::Result<T> {
    Err(io::Error::other("no look does this"))
}

impl Disk for MemoryDisk {
    type Dir = Dir;
    type File = Node;
    type Listing = Vec<OsString>;

    fn open_home(&self, _: &Path) -> io::Result<Dir> {
        Ok(Dir::Home)
    }

    fn stat_path(&self, _: &Path) -> io::Result<Stat> {
        unused()
    }

    fn stat_link(&self, _: &Path) -> io::Result<Stat> {
        unused()
    }

    fn open_dir(&self, _: &Dir, _: &OsStr) -> io::Result<Dir> {
        self.called("open_dir");
        self.directory.get().map(|_| Dir::Requests).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn stat_dir(&self, dir: &Dir) -> io::Result<Stat> {
        self.called("stat_dir");
        match dir {
            Dir::Home => Ok(stat(FileKind::Directory, 1, 0, 0)),
            Dir::Requests => self.directory.get().ok_or_else(|| io::ErrorKind::NotFound.into()),
        }
    }

    fn stat(&self, at: &Dir, name: &OsStr) -> io::Result<Stat> {
        if (*at, name) == (Dir::Home, OsStr::new(".drain_requests")) {
            self.called("stat requests");
            return self.directory.get().ok_or_else(|| self.missing.get().into());
        }
        self.called("stat");
        self.node(*at, name).map(|it| it.stat)
    }

    fn open(&self, at: &Dir, name: &OsStr, _: Access) -> io::Result<Node> {
        self.called("open");
        self.node(*at, name)
    }

    fn create(&self, _: &Dir, _: &OsStr) -> io::Result<Node> {
        unused()
    }

    fn stat_file(&self, file: &Node) -> io::Result<Stat> {
        Ok(file.stat)
    }

    fn read(&self, file: &Node, bytes_max: u64) -> io::Result<Vec<u8>> {
        let max = usize::try_from(bytes_max).unwrap_or(usize::MAX).saturating_add(1);
        Ok(file.bytes.iter().copied().take(max).collect())
    }

    fn write(&self, _: &Node, _: &[u8]) -> io::Result<()> {
        unused()
    }

    fn truncate(&self, _: &Node) -> io::Result<()> {
        unused()
    }

    fn sync(&self, _: &Node) -> io::Result<()> {
        unused()
    }

    fn sync_dir(&self, _: &Dir) -> io::Result<()> {
        unused()
    }

    fn rename(&self, _: &Dir, _: &OsStr, _: &OsStr) -> io::Result<()> {
        unused()
    }

    fn unlink(&self, _: &Dir, _: &OsStr) -> io::Result<()> {
        unused()
    }

    fn make_dir(&self, _: &Dir, _: &OsStr, _: Owner, _: u32) -> io::Result<io::Result<()>> {
        unused()
    }

    fn remove_dir(&self, _: &Dir, _: &OsStr) -> io::Result<()> {
        unused()
    }

    fn list(&self, _: &Dir) -> io::Result<Vec<OsString>> {
        self.called("list");
        Ok(self.requests.borrow().keys().cloned().collect())
    }

    fn next_names(&self, listing: &mut Vec<OsString>) -> io::Result<Vec<OsString>> {
        Ok(std::mem::take(listing))
    }

    fn chmod(&self, _: &Node, _: u32) -> io::Result<()> {
        unused()
    }

    fn chown(&self, _: &Node, _: Owner) -> io::Result<()> {
        unused()
    }

    fn lock(&self, _: &Node) -> io::Result<bool> {
        unused()
    }

    fn is_locked(&self, _: &Node) -> io::Result<bool> {
        unused()
    }

    fn lock_dir(&self, _: &Dir) -> io::Result<bool> {
        unused()
    }

    fn flocked_by(&self, _: FileId) -> Option<LockHolder> {
        None
    }

    fn flock_of(&self, _: &Node) -> io::Result<Flock> {
        Ok(Flock::Free)
    }

    fn has_reliable_times(&self, _: &Dir) -> bool {
        true
    }

    fn clocks(&self) -> Clocks {
        Clocks { wall: self.second.get(), since_boot: self.since_boot.get() }
    }

    fn user(&self) -> User {
        User { uid: 1, unmapped: None }
    }
}
