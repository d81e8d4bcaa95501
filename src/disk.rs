//! The only access to files: a directory is opened once, and everything in it is reached through its handle.
//! This module decides nothing: `marker` and `home` decide what is done in which order.
//!
//! A path is looked up only by [`Disk::open_home`], [`Disk::stat_path`] and [`Disk::stat_link`]. A name below that is
//! one component, and a link there is never followed. So a user who replaces a directory by a link cannot redirect a
//! write or a removal.
//!
//! [`Disk`] is a trait. So a test or a model can run the shipped code on a disk that crashes, fails, or stops between
//! two calls.

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

/// The identity of a file or directory, independent of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileId {
    /// The device that it is on.
    pub device: u64,
    /// Its inode number there.
    pub inode: u64,
}

/// The kind of a directory entry.
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
    /// The name of the kind in messages, with its article.
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
    /// The error for an entry of this kind where `expected` should be.
    pub(crate) fn is_not(self, expected: &str) -> io::Error {
        io::Error::other(format!("found {} instead of {expected}; remove it", self.noun()))
    }
}

/// The metadata of a file or directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Its identity.
    pub id: FileId,
    /// Its kind.
    pub kind: FileKind,
    /// Its permission bits: the lower twelve.
    pub mode: u32,
    /// The number of its names; 0 once it is removed.
    pub links: u64,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its size, in bytes.
    pub size: u64,
    /// The time when its content was last written: seconds and nanoseconds.
    pub modified: (i64, i64),
    /// The time when content or metadata last changed: seconds and nanoseconds.
    pub changed: (i64, i64),
}

/// One reading of two clocks, in whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Clocks {
    /// The wall clock, from which files get their times. It can be set.
    pub wall: i64,
    /// The time since boot. It cannot be set.
    pub since_boot: i64,
}

impl Clocks {
    /// The current reading of the machine's clocks.
    pub(crate) fn now() -> Clocks {
        let since_boot = i64::try_from(host::uptime().as_secs()).unwrap_or(i64::MAX);
        Clocks { wall: host::wall().timestamp(), since_boot }
    }

    /// The offset of the wall clock to the time since boot. Rounding changes it by up to one second. A larger change
    /// means that the wall clock was set.
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
    /// The id under which all users appear that this user namespace does not map. `None` if it maps all users.
    pub unmapped: Option<u32>,
}

/// The owner that a file is to have; `None` leaves the user or the group as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// The user.
    pub uid: Option<u32>,
    /// The group.
    pub gid: Option<u32>,
}

impl Owner {
    /// Whether a user or a group is to be set.
    #[must_use]
    pub const fn is_given(self) -> bool {
        self.uid.is_some() || self.gid.is_some()
    }
}

/// A process that holds a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockHolder {
    /// The process id.
    pub pid: u32,
    /// The user that it acts as, if that can be seen.
    pub uid: Option<u32>,
}

/// Whether a whole file is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flock {
    /// It is not locked.
    Free,
    /// It is locked, by this process if that can be seen.
    Held(Option<LockHolder>),
}

/// The access for which a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// To read it.
    Read,
    /// To read and write it.
    Write,
}

/// A disk. No call waits for an entry that is not a regular file, and none follows a link below the home. A crash may
/// undo a change that is not synced.
///
/// # Errors
///
/// The errors of the system: `NotFound` if there is no such name, `AlreadyExists` if there is one already.
#[allow(clippy::missing_errors_doc, reason = "said once, above")]
pub trait Disk {
    /// An open directory.
    type Dir;
    /// An open file.
    type File;
    /// A listing in progress.
    type Listing;

    /// Opens a home. Its path may lead through links: the caller chose them.
    fn open_home(&self, path: &Path) -> io::Result<Self::Dir>;
    /// The metadata of the entry at this path now. Links are followed.
    fn stat_path(&self, path: &Path) -> io::Result<Stat>;
    /// The metadata of the entry at this path now. If the last component is a link, of the link itself.
    fn stat_link(&self, path: &Path) -> io::Result<Stat>;
    /// Opens a directory in a directory.
    fn open_dir(&self, at: &Self::Dir, name: &OsStr) -> io::Result<Self::Dir>;
    /// The metadata of an open directory.
    fn stat_dir(&self, dir: &Self::Dir) -> io::Result<Stat>;
    /// The metadata of the entry with this name. For a link, of the link itself.
    fn stat(&self, at: &Self::Dir, name: &OsStr) -> io::Result<Stat>;
    /// Opens the file with this name.
    fn open(&self, at: &Self::Dir, name: &OsStr, access: Access) -> io::Result<Self::File>;
    /// Makes a new file with this name, which only its owner may read and write.
    fn create(&self, at: &Self::Dir, name: &OsStr) -> io::Result<Self::File>;
    /// The metadata of an open file.
    fn stat_file(&self, file: &Self::File) -> io::Result<Stat>;
    /// The file's bytes from its beginning: at most `bytes_max` and one more, which shows that the file is longer.
    fn read(&self, file: &Self::File, bytes_max: u64) -> io::Result<Vec<u8>>;
    /// Writes these bytes at the file's beginning.
    fn write(&self, file: &Self::File, bytes: &[u8]) -> io::Result<()>;
    /// Removes the file's bytes.
    fn truncate(&self, file: &Self::File) -> io::Result<()>;
    /// Syncs the file's bytes to the disk.
    fn sync(&self, file: &Self::File) -> io::Result<()>;
    /// Syncs the names in a directory to the disk.
    fn sync_dir(&self, dir: &Self::Dir) -> io::Result<()>;
    /// Gives a file another name in its directory. It replaces a file that has that name.
    fn rename(&self, at: &Self::Dir, from: &OsStr, to: &OsStr) -> io::Result<()>;
    /// Removes a name. It must not be that of a directory.
    fn unlink(&self, at: &Self::Dir, name: &OsStr) -> io::Result<()>;
    /// Makes a directory. It gets its owner and mode before it gets its name. If the owner cannot be set, the directory
    /// is made all the same, and the inner result holds that error.
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
    /// The next names of a listing, in no order; none at the end.
    fn next_names(&self, listing: &mut Self::Listing) -> io::Result<Vec<OsString>>;
    /// Sets a file's permission bits.
    fn chmod(&self, file: &Self::File, mode: u32) -> io::Result<()>;
    /// Sets a file's owner.
    fn chown(&self, file: &Self::File, owner: Owner) -> io::Result<()>;
    /// Takes the write lock on a file that is open for writing, unless another open file holds a lock on it. Returns
    /// whether it was taken. Closing the file releases it.
    fn lock(&self, file: &Self::File) -> io::Result<bool>;
    /// Whether another open file holds the write lock on this file. A lock that a reader can take does not count.
    fn is_locked(&self, file: &Self::File) -> io::Result<bool>;
    /// Takes the lock on an open directory, unless another handle has it. Returns whether it was taken. Closing the
    /// directory releases it.
    fn lock_dir(&self, dir: &Self::Dir) -> io::Result<bool>;
    /// The process that holds the lock (`flock`) on this file or directory, if that can be seen.
    fn flocked_by(&self, id: FileId) -> Option<LockHolder>;
    /// Whether another process holds the lock on a whole file (`flock`), as the original implementation takes it.
    fn flock_of(&self, file: &Self::File) -> io::Result<Flock>;
    /// Whether the directory's times certainly show each added or removed entry.
    fn has_reliable_times(&self, dir: &Self::Dir) -> bool;
    /// The current reading of the clocks.
    fn clocks(&self) -> Clocks;
    /// The user that the process acts as.
    fn user(&self) -> User;
}
