//! The disk of the simulated machine, which a checking build uses instead of the real one. It only forwards calls.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;

use tidegate_world::disk as world;

use super::{Access, Clocks, Disk, FileId, FileKind, Flock, LockHolder, Owner, Stat, User};

/// The disk of the simulated machine.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RealDisk;

/// The only user.
const USER: u32 = 1;

impl From<world::Stat> for Stat {
    fn from(found: world::Stat) -> Stat {
        let world::Stat { inode, kind, mode, links, uid, size, modified, changed } = found;
        let kind = match kind {
            world::Kind::File => FileKind::File,
            world::Kind::Directory => FileKind::Directory,
            world::Kind::Link => FileKind::Link,
            world::Kind::Fifo => FileKind::Fifo,
        };
        let id = FileId { device: 1, inode };
        Stat { id, kind, mode, links, uid, gid: uid, size, modified, changed }
    }
}

impl Disk for RealDisk {
    type Dir = world::Dir;
    type File = world::File;
    type Listing = world::Listing;

    fn open_home(&self, path: &Path) -> io::Result<world::Dir> {
        world::open_home(path)
    }

    fn stat_path(&self, path: &Path) -> io::Result<Stat> {
        world::stat_path(path).map(Stat::from)
    }

    fn stat_link(&self, path: &Path) -> io::Result<Stat> {
        world::stat_link(path).map(Stat::from)
    }

    fn open_dir(&self, at: &world::Dir, name: &OsStr) -> io::Result<world::Dir> {
        at.open_dir(name)
    }

    fn stat_dir(&self, dir: &world::Dir) -> io::Result<Stat> {
        dir.stat().map(Stat::from)
    }

    fn stat(&self, at: &world::Dir, name: &OsStr) -> io::Result<Stat> {
        at.stat_named(name).map(Stat::from)
    }

    fn open(&self, at: &world::Dir, name: &OsStr, _: Access) -> io::Result<world::File> {
        at.open(name)
    }

    fn create(&self, at: &world::Dir, name: &OsStr) -> io::Result<world::File> {
        at.create(name)
    }

    fn stat_file(&self, file: &world::File) -> io::Result<Stat> {
        file.stat().map(Stat::from)
    }

    fn read(&self, file: &world::File, bytes_max: u64) -> io::Result<Vec<u8>> {
        file.read(usize::try_from(bytes_max).unwrap_or(usize::MAX).saturating_add(1))
    }

    fn write(&self, file: &world::File, bytes: &[u8]) -> io::Result<()> {
        file.write(bytes)
    }

    fn truncate(&self, file: &world::File) -> io::Result<()> {
        file.truncate()
    }

    fn sync(&self, file: &world::File) -> io::Result<()> {
        file.sync()
    }

    fn sync_dir(&self, dir: &world::Dir) -> io::Result<()> {
        dir.sync()
    }

    fn rename(&self, at: &world::Dir, from: &OsStr, to: &OsStr) -> io::Result<()> {
        at.rename(from, to)
    }

    fn unlink(&self, at: &world::Dir, name: &OsStr) -> io::Result<()> {
        at.unlink(name)
    }

    fn make_dir(
        &self,
        at: &world::Dir,
        name: &OsStr,
        _: Owner,
        mode: u32,
    ) -> io::Result<io::Result<()>> {
        at.make_dir(name, mode).map(Ok)
    }

    fn remove_dir(&self, at: &world::Dir, name: &OsStr) -> io::Result<()> {
        at.remove_dir(name)
    }

    fn list(&self, dir: &world::Dir) -> io::Result<world::Listing> {
        dir.list()
    }

    fn next_names(&self, listing: &mut world::Listing) -> io::Result<Vec<OsString>> {
        world::next_names(listing)
    }

    fn chmod(&self, file: &world::File, mode: u32) -> io::Result<()> {
        file.chmod(mode)
    }

    /// There is only one user, so nothing changes.
    fn chown(&self, _: &world::File, _: Owner) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, file: &world::File) -> io::Result<bool> {
        file.lock()
    }

    fn is_locked(&self, file: &world::File) -> io::Result<bool> {
        file.is_locked()
    }

    fn lock_dir(&self, dir: &world::Dir) -> io::Result<bool> {
        dir.lock()
    }

    fn flocked_by(&self, id: FileId) -> Option<LockHolder> {
        let pid = tidegate_world::host::pid_of(world::locked_by(id.inode)?);
        Some(LockHolder { pid, uid: Some(USER) })
    }

    /// A file has only one lock in the simulation.
    fn flock_of(&self, file: &world::File) -> io::Result<Flock> {
        Ok(if file.is_locked()? { Flock::Held(None) } else { Flock::Free })
    }

    fn has_reliable_times(&self, _: &world::Dir) -> bool {
        world::has_reliable_times()
    }

    fn clocks(&self) -> Clocks {
        Clocks::now()
    }

    fn user(&self) -> User {
        User { uid: USER, unmapped: None }
    }
}
