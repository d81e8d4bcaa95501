//! A disk in the process's own memory, for a gateway without files. It has one home with one directory of requests, and
//! no locks. Its content ends with the process.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;

use super::{Access, Clocks, Disk, FileId, FileKind, Flock, LockHolder, Owner, Stat, User};
use crate::sync::{Arc, Mutex};

/// One of its two directories.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum VolatileDir {
    Home,
    Requests,
}

/// A file, independent of its name. Who has opened it can read it even after its name is gone, as on a real disk: a
/// look that meets a renewal sees the old request or the new one, and never none.
#[derive(Clone, Debug)]
pub(crate) struct VolatileFile {
    number: u64,
    bytes: Arc<Mutex<Vec<u8>>>,
}

#[derive(Debug, Default)]
pub(crate) struct Files {
    names: BTreeMap<(VolatileDir, OsString), VolatileFile>,
    /// Counts the added and removed names. It numbers the files and gives the directories their times.
    changes: u64,
}

/// The disk.
#[derive(Debug)]
pub(crate) struct VolatileDisk {
    /// The name of the directory of requests in the home.
    requests: &'static OsStr,
    /// Guards the names; held for one call. The bytes of a file have a lock of their own, taken last.
    files: Mutex<Files>,
}

impl VolatileDisk {
    /// An empty home, whose directory of requests has this name.
    pub(crate) fn with_requests(requests: &'static OsStr) -> VolatileDisk {
        VolatileDisk { requests, files: Mutex::default() }
    }

    /// Blocks all other calls, as a disk that hangs does.
    #[cfg(all(test, feature = "tokio"))]
    pub(crate) fn lock_all(&self) -> crate::sync::MutexGuard<'_, Files> {
        self.files.lock()
    }
}

const OPEN_TO_ITS_OWNER: u32 = 0o700;

impl Files {
    fn changed(&mut self) -> u64 {
        self.changes += 1;
        self.changes
    }

    fn stat(file: &VolatileFile) -> Stat {
        let size = file.bytes.lock().len() as u64;
        known(FileKind::File, file.number, size, file.number)
    }

    fn stat_dir(&self, dir: VolatileDir) -> Stat {
        // File numbers begin at 1. The two directories differ by their devices.
        let stat = known(FileKind::Directory, 0, 0, self.changes);
        Stat { id: FileId { device: dir as u64 + 1, inode: 0 }, ..stat }
    }

    fn file(&self, at: VolatileDir, name: &OsStr) -> io::Result<VolatileFile> {
        let found = self.names.get(&(at, name.to_owned())).cloned();
        found.ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

fn known(kind: FileKind, inode: u64, size: u64, changed: u64) -> Stat {
    let id = FileId { device: 0, inode };
    let at = (0, i64::try_from(changed).unwrap_or(i64::MAX));
    let (mode, links, uid, gid) = (OPEN_TO_ITS_OWNER, 1, 0, 0);
    Stat { id, kind, mode, links, uid, gid, size, modified: at, changed: at }
}

fn has_none<T>(what: &str) -> io::Result<T> {
    Err(io::Error::other(format!("a home in memory has no {what}")))
}

impl Disk for VolatileDisk {
    type Dir = VolatileDir;
    type File = VolatileFile;
    type Listing = Vec<OsString>;

    fn open_home(&self, _: &Path) -> io::Result<VolatileDir> {
        Ok(VolatileDir::Home)
    }

    fn stat_path(&self, _: &Path) -> io::Result<Stat> {
        Ok(self.files.lock().stat_dir(VolatileDir::Home))
    }

    fn stat_link(&self, path: &Path) -> io::Result<Stat> {
        self.stat(&VolatileDir::Home, path.file_name().unwrap_or_default())
    }

    fn open_dir(&self, _: &VolatileDir, _: &OsStr) -> io::Result<VolatileDir> {
        Ok(VolatileDir::Requests)
    }

    fn stat_dir(&self, dir: &VolatileDir) -> io::Result<Stat> {
        Ok(self.files.lock().stat_dir(*dir))
    }

    fn stat(&self, at: &VolatileDir, name: &OsStr) -> io::Result<Stat> {
        let files = self.files.lock();
        if (*at, name) == (VolatileDir::Home, self.requests) {
            return Ok(files.stat_dir(VolatileDir::Requests));
        }
        files.file(*at, name).map(|file| Files::stat(&file))
    }

    fn open(&self, at: &VolatileDir, name: &OsStr, _: Access) -> io::Result<VolatileFile> {
        self.files.lock().file(*at, name)
    }

    fn create(&self, at: &VolatileDir, name: &OsStr) -> io::Result<VolatileFile> {
        let mut files = self.files.lock();
        if files.file(*at, name).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = VolatileFile { number: files.changed(), bytes: Arc::default() };
        files.names.insert((*at, name.to_owned()), file.clone());
        Ok(file)
    }

    fn stat_file(&self, file: &VolatileFile) -> io::Result<Stat> {
        Ok(Files::stat(file))
    }

    fn read(&self, file: &VolatileFile, bytes_max: u64) -> io::Result<Vec<u8>> {
        let max = usize::try_from(bytes_max).unwrap_or(usize::MAX).saturating_add(1);
        Ok(file.bytes.lock().iter().copied().take(max).collect())
    }

    fn write(&self, file: &VolatileFile, bytes: &[u8]) -> io::Result<()> {
        *file.bytes.lock() = bytes.to_vec();
        Ok(())
    }

    fn truncate(&self, file: &VolatileFile) -> io::Result<()> {
        self.write(file, &[])
    }

    fn sync(&self, _: &VolatileFile) -> io::Result<()> {
        Ok(())
    }

    fn sync_dir(&self, _: &VolatileDir) -> io::Result<()> {
        Ok(())
    }

    fn rename(&self, at: &VolatileDir, from: &OsStr, to: &OsStr) -> io::Result<()> {
        let mut files = self.files.lock();
        let file = files.file(*at, from)?;
        files.names.remove(&(*at, from.to_owned()));
        files.names.insert((*at, to.to_owned()), file);
        files.changed();
        Ok(())
    }

    fn unlink(&self, at: &VolatileDir, name: &OsStr) -> io::Result<()> {
        let mut files = self.files.lock();
        files.file(*at, name)?;
        files.names.remove(&(*at, name.to_owned()));
        files.changed();
        Ok(())
    }

    fn make_dir(&self, _: &VolatileDir, _: &OsStr, _: Owner, _: u32) -> io::Result<io::Result<()>> {
        Err(io::ErrorKind::AlreadyExists.into())
    }

    fn remove_dir(&self, _: &VolatileDir, _: &OsStr) -> io::Result<()> {
        Err(io::ErrorKind::DirectoryNotEmpty.into())
    }

    fn list(&self, dir: &VolatileDir) -> io::Result<Vec<OsString>> {
        let files = self.files.lock();
        Ok(files.names.keys().filter(|(at, _)| at == dir).map(|(_, name)| name.clone()).collect())
    }

    fn next_names(&self, listing: &mut Vec<OsString>) -> io::Result<Vec<OsString>> {
        Ok(std::mem::take(listing))
    }

    fn chmod(&self, _: &VolatileFile, _: u32) -> io::Result<()> {
        Ok(())
    }

    fn chown(&self, _: &VolatileFile, _: Owner) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, _: &VolatileFile) -> io::Result<bool> {
        has_none("lock")
    }

    fn is_locked(&self, _: &VolatileFile) -> io::Result<bool> {
        has_none("lock")
    }

    fn lock_dir(&self, _: &VolatileDir) -> io::Result<bool> {
        has_none("lock")
    }

    fn flocked_by(&self, _: FileId) -> Option<LockHolder> {
        None
    }

    fn flock_of(&self, _: &VolatileFile) -> io::Result<Flock> {
        Ok(Flock::Free)
    }

    fn has_reliable_times(&self, _: &VolatileDir) -> bool {
        true
    }

    /// The wall clock is later than every file time. Each change has its own number as its time, so equal times prove
    /// that nothing changed.
    fn clocks(&self) -> Clocks {
        Clocks { wall: i64::MAX, since_boot: 0 }
    }

    fn user(&self) -> User {
        User { uid: 0, unmapped: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A look that has opened a request, and meets its replacement, reads the request that it opened.
    #[test]
    fn an_open_file_outlives_its_name() {
        let disk = VolatileDisk::with_requests(OsStr::new("requests"));
        let (home, name, draft) = (VolatileDir::Home, OsStr::new("a"), OsStr::new("b"));
        let old = disk.create(&home, name).expect("creates");
        disk.write(&old, b"old").expect("writes");
        let opened = disk.open(&home, name, Access::Read).expect("opens");
        let new = disk.create(&home, draft).expect("creates");
        disk.write(&new, b"new").expect("writes");
        disk.rename(&home, draft, name).expect("renames");
        assert_eq!(disk.read(&opened, 9).expect("reads"), b"old");
        let opened = disk.open(&home, name, Access::Read).expect("opens");
        assert_eq!(disk.read(&opened, 9).expect("reads"), b"new");
        disk.unlink(&home, name).expect("removes");
        assert_eq!(disk.read(&opened, 9).expect("reads"), b"new");
    }
}
