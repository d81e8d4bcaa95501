//! The one way to a file: a directory is opened once, and everything in it is reached through its handle.
//! It decides nothing: what is done in which order is the business of `marker` and `home`.
//!
//! A path is looked up only by [`Disk::open_home`], [`Disk::stat_path`] and [`Disk::stat_link`]. A name below
//! that is one component, and its link is never followed. So a user who swaps a directory for a link cannot
//! lead a write or a removal elsewhere.
//!
//! It is a trait so that a test or a model can run what ships on a disk that crashes, fails, or stops
//! between two calls.

#[cfg(test)]
pub(crate) mod memory;
#[cfg(not(tidegate_checking))]
mod real;
#[cfg(tidegate_checking)]
#[path = "disk/simulated.rs"]
mod real;
#[cfg_attr(tidegate_loom, allow(dead_code))]
mod volatile;

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;

use crate::host;

pub(crate) use real::RealDisk;
#[cfg(all(test, any(target_os = "linux", target_os = "android")))]
pub(crate) use real::write_lock::take_as_reader;
#[cfg(all(test, feature = "tokio"))]
pub(crate) use volatile::Files as VolatileFiles;
pub(crate) use volatile::VolatileDisk;

/// Which file or directory, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileId {
    /// The device it is on.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
}

/// What kind of thing has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A FIFO.
    Fifo,
    /// A socket.
    Socket,
    /// A device.
    Device,
}

impl FileKind {
    /// As a person calls it.
    #[must_use]
    pub const fn noun(self) -> &'static str {
        match self {
            FileKind::File => "a file",
            FileKind::Directory => "a directory",
            FileKind::Link => "a symbolic link",
            FileKind::Fifo => "a FIFO",
            FileKind::Socket => "a socket",
            FileKind::Device => "a device",
        }
    }
}

impl FileKind {
    /// The error where something else was expected.
    pub(crate) fn is_not(self, expected: &str) -> io::Error {
        io::Error::other(format!("found {} instead of {expected}; remove it", self.noun()))
    }
}

/// What a disk knows of a file or directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Which it is.
    pub id: FileId,
    /// What it is.
    pub kind: FileKind,
    /// Its permission bits: the lower twelve.
    pub mode: u32,
    /// How many names it has; 0 once it is removed.
    pub links: u64,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its size, in bytes.
    pub size: u64,
    /// When it was last written: seconds and nanoseconds.
    pub modified: (i64, i64),
    /// When it was last changed in any way: seconds and nanoseconds.
    pub changed: (i64, i64),
}

/// One reading of two clocks, in whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Clocks {
    /// The wall clock, by which files are stamped. It can be set.
    pub wall: i64,
    /// The time since boot. It cannot.
    pub since_boot: i64,
}

impl Clocks {
    /// What the machine's clocks show.
    pub(crate) fn now() -> Clocks {
        let since_boot = i64::try_from(host::uptime().as_secs()).unwrap_or(i64::MAX);
        Clocks { wall: host::wall().timestamp(), since_boot }
    }

    /// What the wall clock is ahead by. It changes by more than the second that rounding makes only where that
    /// clock is set.
    #[must_use]
    pub const fn ahead(self) -> i64 {
        self.wall.saturating_sub(self.since_boot)
    }
}

/// The user that the process acts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    /// The effective user.
    pub uid: u32,
    /// The id under which every user appears that this user namespace does not map. `None` where it maps
    /// all of them.
    pub unmapped: Option<u32>,
}

/// Whose a file is to be; `None` leaves it the writer's, or its group's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// The user.
    pub uid: Option<u32>,
    /// The group.
    pub gid: Option<u32>,
}

impl Owner {
    /// Whether anything is to be given to anybody.
    #[must_use]
    pub const fn is_given(self) -> bool {
        self.uid.is_some() || self.gid.is_some()
    }
}

/// A process that holds a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockHolder {
    /// The process.
    pub pid: u32,
    /// The user that it acts as, where that can be seen.
    pub uid: Option<u32>,
}

/// Whether a whole file is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flock {
    /// It is not.
    Free,
    /// It is, by this process where that can be seen.
    Held(Option<LockHolder>),
}

/// What a file is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// To read it.
    Read,
    /// To read and write it.
    Write,
}

/// A disk. No call waits for what is no regular file, and none follows a link below the home. Until it is
/// synced, a crash may undo what a call did.
///
/// # Errors
///
/// What the system says: `NotFound` where there is no such name, `AlreadyExists` where there is one.
#[allow(clippy::missing_errors_doc, reason = "said once, above")]
pub trait Disk {
    /// An open directory.
    type Dir;
    /// An open file.
    type File;
    /// A listing on its way.
    type Listing;

    /// Opens a home. Its path may lead through links: the caller chose them.
    fn open_home(&self, path: &Path) -> io::Result<Self::Dir>;
    /// What is at this path now, its links followed.
    fn stat_path(&self, path: &Path) -> io::Result<Stat>;
    /// What is at this path now; a link itself, where its last name is one.
    fn stat_link(&self, path: &Path) -> io::Result<Stat>;
    /// Opens a directory in a directory.
    fn open_dir(&self, at: &Self::Dir, name: &OsStr) -> io::Result<Self::Dir>;
    /// What is known of an open directory.
    fn stat_dir(&self, dir: &Self::Dir) -> io::Result<Stat>;
    /// What has this name; a link itself, not what it leads to.
    fn stat(&self, at: &Self::Dir, name: &OsStr) -> io::Result<Stat>;
    /// Opens what has this name.
    fn open(&self, at: &Self::Dir, name: &OsStr, access: Access) -> io::Result<Self::File>;
    /// Makes a file that only its owner may read and write, where nothing has this name.
    fn create(&self, at: &Self::Dir, name: &OsStr) -> io::Result<Self::File>;
    /// What is known of an open file.
    fn stat_file(&self, file: &Self::File) -> io::Result<Stat>;
    /// The file's bytes from its beginning, `bytes_max` and one more at most.
    fn read(&self, file: &Self::File, bytes_max: u64) -> io::Result<Vec<u8>>;
    /// Writes these bytes at the file's beginning.
    fn write(&self, file: &Self::File, bytes: &[u8]) -> io::Result<()>;
    /// Removes the file's bytes.
    fn truncate(&self, file: &Self::File) -> io::Result<()>;
    /// Brings the file's bytes to the disk.
    fn sync(&self, file: &Self::File) -> io::Result<()>;
    /// Brings the names in a directory to the disk.
    fn sync_dir(&self, dir: &Self::Dir) -> io::Result<()>;
    /// Gives a file another name in its directory, instead of what had that name.
    fn rename(&self, at: &Self::Dir, from: &OsStr, to: &OsStr) -> io::Result<()>;
    /// Removes a name that is no directory's.
    fn unlink(&self, at: &Self::Dir, name: &OsStr) -> io::Result<()>;
    /// Makes a directory that is its owner's, and of this mode, before it has its name. An owner that cannot be
    /// set is no failure of this, and is returned.
    fn make_dir(
        &self,
        at: &Self::Dir,
        name: &OsStr,
        owner: Owner,
        mode: u32,
    ) -> io::Result<io::Result<()>>;
    /// Removes a directory that is empty.
    fn remove_dir(&self, at: &Self::Dir, name: &OsStr) -> io::Result<()>;
    /// Begins to list a directory.
    fn list(&self, dir: &Self::Dir) -> io::Result<Self::Listing>;
    /// The next names of a listing, in no order; none once it is over.
    fn next_names(&self, listing: &mut Self::Listing) -> io::Result<Vec<OsString>>;
    /// Sets a file's permission bits.
    fn chmod(&self, file: &Self::File, mode: u32) -> io::Result<()>;
    /// Gives a file to this owner.
    fn chown(&self, file: &Self::File, owner: Owner) -> io::Result<()>;
    /// Takes the write lock on a file that is open to write, unless somebody else has a lock on it. Says
    /// whether it was taken. Closing the file gives it back.
    fn lock(&self, file: &Self::File) -> io::Result<bool>;
    /// Whether somebody else holds the write lock on a file. A lock that a mere reader can take does not
    /// count.
    fn is_locked(&self, file: &Self::File) -> io::Result<bool>;
    /// Takes the lock on an open directory, unless somebody else has it. Says whether it was taken.
    /// Closing the directory gives it back.
    fn lock_dir(&self, dir: &Self::Dir) -> io::Result<bool>;
    /// The process that holds the lock (`flock`) on this file or directory, where that can be seen.
    fn flocked_by(&self, id: FileId) -> Option<LockHolder>;
    /// Whether somebody else holds the lock on a whole file (`flock`), as the original implementation takes it.
    fn flock_of(&self, file: &Self::File) -> io::Result<Flock>;
    /// Whether the directory's times tell of all that comes and goes in it for certain.
    fn has_reliable_times(&self, dir: &Self::Dir) -> bool;
    /// What the clocks show now.
    fn clocks(&self) -> Clocks;
    /// Whom the process acts as.
    fn user(&self) -> User;
}
