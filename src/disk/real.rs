//! The disk of the machine. A method makes one system call, or a few if there is no other way.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::OnceLock;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, FileType, FlockOperation, Gid, Mode, OFlags, Uid};

use super::{Access, Clocks, Disk, FileId, FileKind, Flock, LockHolder, Owner, Stat, User};
use crate::id::fresh_id;

/// The pid namespace in which every process of the machine has a number.
const FIRST_PID_NAMESPACE: &str = "pid:[4026531836]";

/// The most names that one call of `next_names` returns.
const BATCH: usize = 256;

/// The disk of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RealDisk;

/// An open directory.
#[derive(Debug)]
pub(crate) struct Dir {
    fd: OwnedFd,
    /// Whether it can be listed, synced and locked. If its mode forbids that, its files can be used all the same.
    is_readable: bool,
}

impl Dir {
    fn open(at: impl AsFd, path: impl rustix::path::Arg + Copy, more: OFlags) -> io::Result<Dir> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NONBLOCK | more;
        match rustix::fs::openat(&at, path, flags | OFlags::RDONLY, Mode::empty()) {
            Ok(fd) => Ok(Dir { fd, is_readable: true }),
            #[cfg(any(target_os = "linux", target_os = "android"))]
            Err(rustix::io::Errno::ACCESS) => {
                let fd = rustix::fs::openat(at, path, flags | OFlags::PATH, Mode::empty())?;
                Ok(Dir { fd, is_readable: false })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The handle to list, sync and lock it by. The error says why its mode forbids that to this user.
    fn readable(&self) -> io::Result<&OwnedFd> {
        if self.is_readable {
            return Ok(&self.fd);
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let refused = rustix::fs::openat(&self.fd, ".", flags, Mode::empty());
        Err(refused.err().unwrap_or(rustix::io::Errno::ACCESS).into())
    }
}

/// An open file.
#[derive(Debug)]
pub(crate) struct File(std::fs::File);

/// A listing in progress.
pub(crate) struct Listing(rustix::fs::Dir);

/// Flags with which an open follows no link and waits for no FIFO, whatever has the name by now.
const NEVER_WAITS: OFlags =
    OFlags::CLOEXEC.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

impl Disk for RealDisk {
    type Dir = Dir;
    type File = File;
    type Listing = Listing;

    fn open_home(&self, path: &Path) -> io::Result<Dir> {
        Dir::open(CWD, path, OFlags::empty())
    }

    fn stat_path(&self, path: &Path) -> io::Result<Stat> {
        Ok(Stat::from(&rustix::fs::stat(path)?))
    }

    fn stat_link(&self, path: &Path) -> io::Result<Stat> {
        Ok(Stat::from(&rustix::fs::lstat(path)?))
    }

    fn open_dir(&self, at: &Dir, name: &OsStr) -> io::Result<Dir> {
        Dir::open(&at.fd, name, OFlags::NOFOLLOW)
    }

    fn stat_dir(&self, dir: &Dir) -> io::Result<Stat> {
        Ok(Stat::from(&rustix::fs::fstat(&dir.fd)?))
    }

    fn stat(&self, at: &Dir, name: &OsStr) -> io::Result<Stat> {
        Ok(Stat::from(&rustix::fs::statat(&at.fd, name, AtFlags::SYMLINK_NOFOLLOW)?))
    }

    fn open(&self, at: &Dir, name: &OsStr, access: Access) -> io::Result<File> {
        let mode = match access {
            Access::Read => OFlags::RDONLY,
            Access::Write => OFlags::RDWR,
        };
        let file = rustix::fs::openat(&at.fd, name, mode | NEVER_WAITS, Mode::empty())?;
        Ok(File(file.into()))
    }

    fn create(&self, at: &Dir, name: &OsStr) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | NEVER_WAITS;
        let file = rustix::fs::openat(&at.fd, name, flags, Mode::RUSR | Mode::WUSR)?;
        Ok(File(file.into()))
    }

    fn stat_file(&self, file: &File) -> io::Result<Stat> {
        Ok(Stat::from(&rustix::fs::fstat(&file.0)?))
    }

    fn read(&self, file: &File, bytes_max: u64) -> io::Result<Vec<u8>> {
        // One of our requests fits, so that the second read finds the end.
        let mut bytes = Vec::with_capacity(1024);
        FromStart { file: &file.0, at: 0 }
            .take(bytes_max.saturating_add(1))
            .read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn write(&self, file: &File, bytes: &[u8]) -> io::Result<()> {
        file.0.write_all_at(bytes, 0)
    }

    fn truncate(&self, file: &File) -> io::Result<()> {
        file.0.set_len(0)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.0.sync_all()
    }

    fn sync_dir(&self, dir: &Dir) -> io::Result<()> {
        Ok(rustix::fs::fsync(dir.readable()?)?)
    }

    fn rename(&self, at: &Dir, from: &OsStr, to: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::renameat(&at.fd, from, &at.fd, to)?)
    }

    fn unlink(&self, at: &Dir, name: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&at.fd, name, AtFlags::empty())?)
    }

    fn make_dir(
        &self,
        at: &Dir,
        name: &OsStr,
        owner: Owner,
        mode: u32,
    ) -> io::Result<io::Result<()>> {
        if self.stat(at, name).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let draft = format!("{}.{}.tmp", name.to_string_lossy(), &fresh_id()[..6]);
        rustix::fs::mkdirat(&at.fd, &*draft, Mode::RWXU)?;
        self.finish_dir(at, OsStr::new(&draft), name, owner, mode).inspect_err(|_| {
            // A draft that is not empty is not ours, and stays.
            let _ = self.remove_dir(at, OsStr::new(&draft));
        })
    }

    fn remove_dir(&self, at: &Dir, name: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&at.fd, name, AtFlags::REMOVEDIR)?)
    }

    fn list(&self, dir: &Dir) -> io::Result<Listing> {
        Ok(Listing(rustix::fs::Dir::read_from(dir.readable()?)?))
    }

    fn next_names(&self, listing: &mut Listing) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        while names.len() < BATCH
            && let Some(entry) = listing.0.read()
        {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(OsStr::from_bytes(name).to_owned());
            }
        }
        Ok(names)
    }

    fn chmod(&self, file: &File, mode: u32) -> io::Result<()> {
        chmod(&file.0, mode)
    }

    fn chown(&self, file: &File, owner: Owner) -> io::Result<()> {
        chown(&file.0, owner)
    }

    fn lock(&self, file: &File) -> io::Result<bool> {
        write_lock::take(&file.0)
    }

    fn is_locked(&self, file: &File) -> io::Result<bool> {
        write_lock::is_held(&file.0)
    }

    fn lock_dir(&self, dir: &Dir) -> io::Result<bool> {
        match rustix::fs::flock(dir.readable()?, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn flocked_by(&self, id: FileId) -> Option<LockHolder> {
        let pid = holder_in(&std::fs::read_to_string("/proc/locks").ok()?, id)?;
        let process = self.stat_path(Path::new(&format!("/proc/{pid}"))).ok();
        Some(LockHolder { pid, uid: process.map(|it| it.uid) })
    }

    fn flock_of(&self, file: &File) -> io::Result<Flock> {
        // The system's list comes first: a try of the lock could make the start of its owner fail. The list is complete
        // in the first pid namespace only.
        if let Some(holder) = self.flocked_by(self.stat_file(file)?.id) {
            return Ok(Flock::Held(Some(holder)));
        }
        if crate::host::namespace("pid").as_deref() == Some(FIRST_PID_NAMESPACE) {
            return Ok(Flock::Free);
        }
        match rustix::fs::flock(&file.0, FlockOperation::NonBlockingLockShared) {
            Ok(()) => rustix::fs::flock(&file.0, FlockOperation::Unlock)?,
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(Flock::Held(None)),
            Err(error) => return Err(error.into()),
        }
        Ok(Flock::Free)
    }

    fn has_reliable_times(&self, dir: &Dir) -> bool {
        has_reliable_times(&dir.fd)
    }

    fn clocks(&self) -> Clocks {
        Clocks::now()
    }

    fn user(&self) -> User {
        static UNMAPPED: OnceLock<Option<u32>> = OnceLock::new();
        let unmapped = *UNMAPPED.get_or_init(|| {
            let read = |path| std::fs::read_to_string(path).ok();
            unmapped_in(
                read("/proc/self/uid_map").as_deref(),
                read("/proc/sys/fs/overflowuid").as_deref(),
            )
        });
        User { uid: rustix::process::geteuid().as_raw(), unmapped }
    }
}

/// Reads from the beginning, wherever the file's own position is.
struct FromStart<'a> {
    file: &'a std::fs::File,
    at: u64,
}

impl Read for FromStart<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

fn chmod(file: impl AsFd, mode: u32) -> io::Result<()> {
    #[allow(clippy::unnecessary_cast, reason = "its type differs by system")]
    let mode = Mode::from_raw_mode(mode as rustix::fs::RawMode);
    Ok(rustix::fs::fchmod(file, mode)?)
}

fn chown(file: impl AsFd, owner: Owner) -> io::Result<()> {
    let (uid, gid) = (owner.uid.map(Uid::from_raw), owner.gid.map(Gid::from_raw));
    Ok(rustix::fs::fchown(file, uid, gid)?)
}

impl RealDisk {
    /// Gives the draft of a directory its owner, its mode and its name.
    fn finish_dir(
        self,
        at: &Dir,
        draft: &OsStr,
        name: &OsStr,
        owner: Owner,
        mode: u32,
    ) -> io::Result<io::Result<()>> {
        // All changes go through the handle: the draft's name may lead to another entry by now.
        let made = self.open_dir(at, draft)?;
        self.require_just_made(&made)?;
        let given = if owner.is_given() { chown(&made.fd, owner) } else { Ok(()) };
        // The mode is set afterwards, because the umask would narrow a mode that is given at creation.
        chmod(&made.fd, mode)?;
        rename_to_free_name(at, draft, name)?;
        Ok(given)
    }

    /// Requires that the draft of a directory is one that this user has just made. An attacker with write permission
    /// could put another directory of this user in its place. Then the owner of that directory would change. This check
    /// limits that to an empty directory. Nothing is ever written into a draft.
    fn require_just_made(self, dir: &Dir) -> io::Result<()> {
        let found = self.stat_dir(dir)?;
        let is_own = found.uid == self.user().uid && found.mode & 0o777 & !0o700 == 0;
        if is_own && self.next_names(&mut self.list(dir)?)?.is_empty() {
            return Ok(());
        }
        let reason = "the new directory was replaced while it was made; try again, or stop the process that does this";
        Err(io::Error::new(io::ErrorKind::PermissionDenied, reason))
    }
}

/// Renames a directory, unless another entry has the new name by now.
fn rename_to_free_name(at: &Dir, from: &OsStr, to: &OsStr) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    match rustix::fs::renameat_with(&at.fd, from, &at.fd, to, rustix::fs::RenameFlags::NOREPLACE) {
        // This file system does not support the flag.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {}
        renamed => return Ok(renamed?),
    }
    match rustix::fs::renameat(&at.fd, from, &at.fd, to) {
        Err(rustix::io::Errno::NOTEMPTY | rustix::io::Errno::NOTDIR) => {
            Err(io::ErrorKind::AlreadyExists.into())
        }
        renamed => Ok(renamed?),
    }
}

impl From<&rustix::fs::Stat> for Stat {
    #[allow(
        clippy::unnecessary_cast,
        clippy::cast_sign_loss,
        clippy::cast_possible_wrap,
        clippy::cast_lossless,
        clippy::useless_conversion,
        reason = "their types differ by system"
    )]
    fn from(found: &rustix::fs::Stat) -> Stat {
        let kind = match FileType::from_raw_mode(found.st_mode) {
            FileType::RegularFile => FileKind::File,
            FileType::Directory => FileKind::Directory,
            FileType::Symlink => FileKind::Link,
            FileType::Fifo => FileKind::Fifo,
            FileType::Socket => FileKind::Socket,
            _ => FileKind::Device,
        };
        Stat {
            id: FileId { device: found.st_dev as u64, inode: found.st_ino as u64 },
            kind,
            mode: found.st_mode as u32 & 0o7777,
            links: found.st_nlink as u64,
            uid: found.st_uid,
            gid: found.st_gid,
            size: found.st_size as u64,
            modified: (found.st_mtime as i64, found.st_mtime_nsec as i64),
            changed: (found.st_ctime as i64, found.st_ctime_nsec as i64),
        }
    }
}

impl FileId {
    /// The identity of the entry at this path now, for file events, which go by path. For a link, of the link itself.
    /// `None` if there is no entry.
    #[cfg(feature = "notify")]
    pub(crate) fn of(path: &Path) -> Option<FileId> {
        let found = rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        Some(Stat::from(&found).id)
    }
}

/// An open-file-description lock. Only a process that may write the file can take it.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) mod write_lock {
    use std::fs::File;
    use std::io;

    use nix::errno::Errno;
    use nix::fcntl::{FcntlArg, fcntl};
    use nix::libc;

    /// A lock on the whole file, however long the file gets.
    fn whole(kind: libc::c_int) -> libc::flock {
        #[allow(clippy::cast_possible_truncation, reason = "its type differs by system")]
        libc::flock {
            l_type: kind as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: 0,
            l_len: 0,
            l_pid: 0,
        }
    }

    pub(super) fn take(file: &File) -> io::Result<bool> {
        match fcntl(file, FcntlArg::F_OFD_SETLK(&whole(libc::F_WRLCK))) {
            Ok(_) => Ok(true),
            Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes the lock that a reader can take.
    #[cfg(test)]
    pub(crate) fn take_as_reader(file: &File) -> io::Result<()> {
        fcntl(file, FcntlArg::F_OFD_SETLK(&whole(libc::F_RDLCK)))?;
        Ok(())
    }

    pub(super) fn is_held(file: &File) -> io::Result<bool> {
        // Only a write lock conflicts with a read lock.
        let mut lock = whole(libc::F_RDLCK);
        fcntl(file, FcntlArg::F_OFD_GETLK(&mut lock))?;
        Ok(libc::c_int::from(lock.l_type) != libc::F_UNLCK)
    }
}

/// The same on other systems, with `flock`. A process that may only read the file can take that lock too.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod write_lock {
    use std::fs::File;
    use std::io;

    use rustix::fs::FlockOperation;
    use rustix::io::Errno;

    fn flock(file: &File, operation: FlockOperation) -> io::Result<bool> {
        match rustix::fs::flock(file, operation) {
            Ok(()) => Ok(true),
            Err(Errno::WOULDBLOCK) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn take(file: &File) -> io::Result<bool> {
        flock(file, FlockOperation::NonBlockingLockExclusive)
    }

    pub(super) fn is_held(file: &File) -> io::Result<bool> {
        // Closing the file releases the lock.
        flock(file, FlockOperation::NonBlockingLockShared).map(|taken| !taken)
    }
}

/// The times are reliable on the file systems that this machine's kernel implements. A network file system, or one that
/// a program implements, may not update a directory's times.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn has_reliable_times(dir: impl AsFd) -> bool {
    const EXT: u64 = 0xef53;
    const XFS: u64 = 0x5846_5342;
    const BTRFS: u64 = 0x9123_683e;
    const F2FS: u64 = 0xf2f5_2010;
    const TMPFS: u64 = 0x0102_1994;

    #[allow(
        clippy::unnecessary_cast,
        clippy::cast_sign_loss,
        reason = "its type differs by system"
    )]
    rustix::fs::fstatfs(dir).is_ok_and(|found| {
        [EXT, XFS, BTRFS, F2FS, TMPFS].contains(&(found.f_type as u64 & 0xffff_ffff))
    })
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn has_reliable_times(_: impl AsFd) -> bool {
    false
}

/// The process that holds a `flock` on this file, as `/proc/locks` lists it:
/// `7: FLOCK  ADVISORY  WRITE 4711 fd:01:131073 0 EOF`.
fn holder_in(locks: &str, id: FileId) -> Option<u32> {
    let device =
        format!("{:02x}:{:02x}", rustix::fs::major(id.device), rustix::fs::minor(id.device));
    let mut held = locks.lines().filter_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        // A process that waits for the lock has an arrow before the kind, and holds nothing.
        (fields.next()? == "FLOCK").then_some(())?;
        // Neither a gateway nor the original holds a shared lock.
        (fields.nth(1)? == "WRITE").then_some(())?;
        let pid: u32 = fields.next()?.parse().ok()?;
        let (on, inode) = fields.next()?.rsplit_once(':')?;
        (on == device && inode.parse() == Ok(id.inode)).then_some(pid)
    });
    // The pid of a process in another namespace is 0.
    held.next().filter(|pid| *pid > 0)
}

/// The id under which unmapped users appear, if the namespace does not map all users.
fn unmapped_in(uid_map: Option<&str>, overflow: Option<&str>) -> Option<u32> {
    let maps_all = |line: &str| line.split_ascii_whitespace().eq(["0", "0", "4294967295"]);
    if uid_map?.lines().any(maps_all) {
        return None;
    }
    Some(overflow.and_then(|text| text.trim().parse().ok()).unwrap_or(65534))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_holds_a_directory_is_read_from_the_kernel_s_list() {
        let id = FileId { device: rustix::fs::makedev(0xfd, 1), inode: 131_073 };
        let locks = "1: OFDLCK ADVISORY  WRITE -1 fd:01:131073 0 EOF\n\
            2: FLOCK  ADVISORY  WRITE 4711 fd:01:131073 0 EOF\n\
            2: -> FLOCK  ADVISORY  WRITE 4712 fd:01:131073 0 EOF\n";
        assert_eq!(holder_in(locks, id), Some(4711));
        assert_eq!(holder_in(locks, FileId { inode: 13, ..id }), None);
        let elsewhere = FileId { device: rustix::fs::makedev(0xfd, 2), ..id };
        assert_eq!(holder_in(locks, elsewhere), None, "the same number on another file system");
        assert_eq!(holder_in("3: FLOCK ADVISORY WRITE 0 fd:01:131073 0 EOF", id), None);
        assert_eq!(holder_in("\n3:\n3: FLOCK\n", id), None);
    }

    #[test]
    fn a_namespace_that_maps_everybody_hides_nobody() {
        let all = Some("         0          0 4294967295\n");
        assert_eq!(unmapped_in(all, Some("65534\n")), None);
        assert_eq!(unmapped_in(Some("0 1000 1\n"), Some("65534\n")), Some(65534));
        assert_eq!(unmapped_in(Some("0 1000 1\n"), None), Some(65534));
        assert_eq!(unmapped_in(None, None), None, "other systems have no such map");
    }

    /// A directory that replaces a draft keeps its owner, and an existing directory keeps its name (F19).
    #[test]
    fn only_a_directory_that_was_just_made_is_finished() {
        let dir = tempfile::tempdir().expect("temp dir");
        let home = RealDisk.open_home(dir.path()).expect("opens");
        let mode = |name: &str| RealDisk.stat(&home, OsStr::new(name)).map(|it| it.mode).ok();
        let finish = |draft: &str| {
            let (draft, name) = (OsStr::new(draft), OsStr::new("requests"));
            RealDisk.finish_dir(&home, draft, name, Owner::default(), 0o2755)
        };
        let make = |name: &str, mode: u32| {
            let path = dir.path().join(name);
            std::fs::create_dir(&path).expect("mkdir");
            chmod(std::fs::File::open(&path).expect("opens"), mode).expect("chmod");
            path
        };
        let secret = make("secret", 0o700).join("secret");
        std::fs::write(&secret, "precious").expect("writes");
        make("open", 0o755);
        for (replaced, was) in [("secret", 0o700), ("open", 0o755)] {
            assert!(finish(replaced).is_err(), "{replaced}");
            assert_eq!((mode(replaced), mode("requests")), (Some(was), None), "{replaced}");
        }
        make("draft", 0o700);
        finish("draft").expect("finishes").expect("nothing is given");
        assert_eq!((mode("draft"), mode("requests")), (None, Some(0o2755)));
        make("second", 0o700);
        let error = finish("second").expect_err("the name is taken");
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    }

    /// An open follows no link and waits for no FIFO, whatever has the name by then.
    #[test]
    fn an_open_follows_no_link_and_waits_for_no_fifo() {
        let dir = tempfile::tempdir().expect("temp dir");
        let home = RealDisk.open_home(dir.path()).expect("opens");
        std::fs::write(dir.path().join("target"), "x").expect("writes");
        std::os::unix::fs::symlink("target", dir.path().join("link")).expect("links");
        rustix::fs::mknodat(CWD, dir.path().join("fifo"), FileType::Fifo, Mode::RUSR, 0)
            .expect("mkfifo");
        for access in [Access::Read, Access::Write] {
            assert!(RealDisk.open(&home, OsStr::new("link"), access).is_err());
        }
        let fifo = RealDisk.open(&home, OsStr::new("fifo"), Access::Read).expect("at once");
        assert_eq!(RealDisk.stat_file(&fifo).expect("stat").kind, FileKind::Fifo);
        std::os::unix::fs::symlink(".", dir.path().join("here")).expect("links");
        assert!(RealDisk.open_dir(&home, OsStr::new("here")).is_err());
        let proc = RealDisk.open_home(Path::new("/proc")).expect("opens");
        assert!(!RealDisk.has_reliable_times(&proc), "its times do not show its entries");
    }

    /// A lock that a reader takes is ignored (F18).
    #[test]
    fn a_reader_can_neither_take_nor_fake_the_write_lock() {
        let dir = tempfile::tempdir().expect("temp dir");
        let home = RealDisk.open_home(dir.path()).expect("opens");
        let name = OsStr::new("lock");
        let writer = RealDisk.create(&home, name).expect("makes");
        let reader = || RealDisk.open(&home, name, Access::Read).expect("opens");
        let fake = reader();
        rustix::fs::flock(&fake.0, FlockOperation::NonBlockingLockExclusive).expect("flock");
        #[cfg(any(target_os = "linux", target_os = "android"))]
        {
            assert!(RealDisk.lock(&fake).is_err(), "it is open for reading only");
            assert!(!RealDisk.is_locked(&reader()).expect("asks"));
        }
        drop(fake);
        assert!(RealDisk.lock(&writer).expect("free"));
        assert!(RealDisk.is_locked(&reader()).expect("asks"));
        let second = RealDisk.open(&home, name, Access::Write).expect("opens");
        assert!(!RealDisk.lock(&second).expect("asks"), "another handle has it");
        drop(writer);
        assert!(!RealDisk.is_locked(&reader()).expect("asks"));
    }
}
