//! The two locks of a home. Only the lock on the lock file says that a gateway is alive. The lock on the directory
//! keeps a second gateway from starting after the lock file was removed ([F17], [F18]).
//! A gateway that holds them checks at each look whether they are still its own. This module decides nothing about
//! drains.
//!
//! # Invariants
//!
//! * Only a process that may write the lock file can hold its lock. A process that may only read it can neither hold
//!   nor fake the lock.
//! * A lock file that a stranger owns is refused, and the error names the owner. A link is refused too.
//! * The home is the directory that was locked. If its path leads to another directory, nothing there is locked, read
//!   or written.
//!
//! [F17]: crate::guide::requirements#f17
//! [F18]: crate::guide::requirements#f18

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::disk::{Access, Disk, FileId, FileKind, LockHolder, RealDisk, Stat};
use crate::error::{ControlError, StartError};
use crate::faults::fault;
use crate::json::RawObject;
use crate::sync::thread;

use super::{Name, OpenHome, ownership, strangers};

/// A start tries this often to take a lock that another process holds. A gateway that ends releases its two locks one
/// after the other, so a short wait is enough.
const LOCK_ATTEMPTS: u32 = 100;
/// The pause between two attempts to take a lock.
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// No more than this is read from the lock file.
const OWNER_BYTES_MAX: u64 = 4096;

/// The number of attempts within one look to make a removed or replaced lock file again.
const RECREATE_ATTEMPTS: u32 = 3;

/// The locks of a home, held. Dropping the value says that the gateway is gone (F17).
#[derive(Debug)]
pub(crate) struct HomeLock {
    file: <RealDisk as Disk>::File,
    /// Holds the directory's lock. It is a separate handle, so that the lock ends with this value.
    _dir: <RealDisk as Disk>::Dir,
    alone: Exclusivity,
    /// The directory that is locked.
    home: FileId,
    /// The file that is locked. It stays the same file if it is moved, with the other files, into another directory at
    /// the home's path.
    id: FileId,
    /// The time of the last change of the lock file.
    changed: (i64, i64),
    /// The path of the lock file, made once: an idle look allocates nothing.
    path: PathBuf,
    /// The text of the lock file.
    owner: String,
}

/// The state of the home's path and locks, as the gateway that holds the home finds it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum HomeCheck {
    /// Path and locks are unchanged.
    #[default]
    Own,
    /// The home's path leads to another directory, or to none, for this reason.
    Elsewhere(String),
    /// Another process holds the lock file.
    Taken(String),
    /// The lock file is gone, and cannot be made again, for this reason.
    Unlocked(String),
}

impl HomeLock {
    /// Why a second gateway could start if the lock file were removed; `None` if none could.
    pub(crate) fn not_exclusive_reason(&self) -> Option<&str> {
        match &self.alone {
            Exclusivity::Yes => None,
            Exclusivity::No(reason) => Some(reason),
        }
    }
}

impl Drop for HomeLock {
    fn drop(&mut self) {
        // So that no reader sees the pid of a gateway that is gone. If this fails, the pid is stale, which is harmless.
        let _ = RealDisk.truncate(&self.file);
    }
}

/// Why the locks could not be taken.
enum LockFailed {
    /// A gateway holds the lock on the lock file. This may pass.
    Busy { pid: Option<u32> },
    /// The lock file was replaced during the attempt.
    Again,
    /// A process holds the lock on the directory, but none holds the one on the lock file. This may pass.
    Held { pid: Option<u32> },
    /// An error that a further attempt does not solve.
    Unusable(io::Error),
}

impl From<io::Error> for LockFailed {
    fn from(source: io::Error) -> LockFailed {
        LockFailed::Unusable(source)
    }
}

/// Whether all other gateways are kept out.
#[derive(Debug)]
enum Exclusivity {
    Yes,
    /// They are not, for this reason.
    No(String),
}

fn unusable(path: &Path, source: io::Error) -> StartError {
    StartError::Home { path: path.to_owned(), source }
}

impl<D: Disk> OpenHome<D> {
    /// The content of the lock file, if a gateway holds its lock. It is empty if the content cannot be parsed.
    pub(crate) fn read_lock(&self) -> Result<Option<RawObject>, ControlError> {
        let unreadable =
            |source| ControlError::Unreadable { path: self.names().lock_path(), source };
        let file = match self.open_lock(Access::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(error)),
        };
        if !self.disk.is_locked(&file).map_err(unreadable)? {
            return Ok(None);
        }
        Ok(Some(self.read_owner(&file).unwrap_or_default()))
    }

    fn read_owner(&self, file: &D::File) -> Option<RawObject> {
        RawObject::parse(&self.disk.read(file, OWNER_BYTES_MAX).ok()?)
    }

    /// Opens the lock file if it can be trusted.
    fn open_lock(&self, access: Access) -> io::Result<D::File> {
        // The kind is checked before the open, because opening a device can have side effects.
        let found = self.stat_named(Name::Lock)?;
        self.require_trusted_lock(&found)?;
        let doing = if access == Access::Read { "reading" } else { "writing" };
        let opened = self.disk.open(&self.dir, Name::Lock.as_os_str(), access);
        let file = opened.map_err(|error| self.denied(error, &found, doing))?;
        // The name may lead to another file by now.
        self.require_trusted_lock(&self.disk.stat_file(&file)?)?;
        Ok(file)
    }

    fn require_trusted_lock(&self, found: &Stat) -> io::Result<()> {
        if found.kind != FileKind::File {
            return Err(found.kind.is_not("a lock file"));
        }
        let home = self.stat()?;
        if ownership::has_untrusted_owner(self.disk.user(), &home, None, found) {
            return Err(strangers("the lock file", found, &home));
        }
        Ok(())
    }
}

impl OpenHome<RealDisk> {
    /// Takes both locks for a gateway. They are held while the value lives. `owner` is the text for the lock file.
    // Property: TG-S8 status_is_faithful. One gateway a home (F17).
    pub(crate) fn lock(&self, owner: &str) -> Result<HomeLock, StartError> {
        let home = self.stat().map_err(|source| unusable(self.names().path(), source))?;
        if ownership::is_untrusted_home(self.disk.user(), &home) {
            let me = self.disk.user().uid;
            let reason = format!(
                "the home belongs to user {}, but this process is user {me}; use your own home, or one that is shared with your group",
                home.uid
            );
            let source = io::Error::new(io::ErrorKind::PermissionDenied, reason);
            return Err(unusable(self.names().path(), source));
        }
        let path = || self.names().path().to_owned();
        let mut attempt = 0;
        loop {
            match self.try_lock(owner, &home) {
                Ok(lock) => return Ok(lock),
                Err(LockFailed::Unusable(source)) => {
                    return Err(unusable(&self.names().lock_path(), source));
                }
                Err(_) if attempt < LOCK_ATTEMPTS => thread::sleep(LOCK_PAUSE),
                Err(LockFailed::Again) => {
                    return Err(StartError::HomeInUse { home: path(), pid: None });
                }
                Err(LockFailed::Busy { pid }) => {
                    return Err(StartError::HomeInUse { home: path(), pid });
                }
                Err(LockFailed::Held { pid }) => {
                    return Err(StartError::HomeHeld { home: path(), pid });
                }
            }
            attempt += 1;
        }
    }

    /// Keeps every gateway out of the home while the value lives. It does not say that a gateway is alive. Returns
    /// `None` if a gateway is alive, or if the lock cannot be taken.
    pub(crate) fn lock_directory_if_unused(&self) -> Option<<RealDisk as Disk>::Dir> {
        let dir = self.disk.open_dir(&self.dir, ".".as_ref()).ok()?;
        let is_locked = self.disk.lock_dir(&dir).ok()?;
        // The lock file is checked after the directory is locked, because a gateway takes them in this order.
        let lives = self.read_lock().ok()?.is_some() || self.neighbour().is_some();
        (is_locked && !lives).then_some(dir)
    }

    /// Tries once to take both locks.
    fn try_lock(&self, owner: &str, home: &Stat) -> Result<HomeLock, LockFailed> {
        // The directory comes first. The process that has its lock is alone here, and may replace the lock file.
        let dir = self.disk.open_dir(&self.dir, ".".as_ref())?;
        let alone = self.lock_dir(&dir, home)?;
        let (file, found) = self.take_lock_file(owner, home, &alone)?;
        let (id, changed) = (found.id, found.changed);
        if let Exclusivity::No(reason) = &alone {
            tracing::warn!(home = %self.names().path().display(),
                "a second gateway can start if the lock file is removed: {reason}");
        }
        let (path, owner) = (self.names().lock_path(), owner.to_owned());
        Ok(HomeLock { file, _dir: dir, alone, home: home.id, id, changed, path, owner })
    }

    /// Takes the lock on the lock file and writes the owner into it. Makes the file if there is none.
    fn take_lock_file(
        &self,
        owner: &str,
        home: &Stat,
        alone: &Exclusivity,
    ) -> Result<(<RealDisk as Disk>::File, Stat), LockFailed> {
        let is_alone = matches!(alone, Exclusivity::Yes);
        let (file, made) = self.open_or_make_lock()?;
        if self.disk.is_locked(&file)? {
            return Err(self.busy_with(&file));
        }
        let again = || {
            // A process that has locked the old file keeps only that one. The next attempt makes a new file.
            match self.disk.unlink(&self.dir, Name::Lock.as_os_str()) {
                Ok(()) => LockFailed::Again,
                Err(error) => error.into(),
            }
        };
        let found = self.disk.stat_file(&file)?;
        if found.links > 1 {
            // Writing into it would change a file with another name, perhaps outside the home.
            let links = found.links;
            let reason = format!("the lock file has {links} hard links; remove it");
            return Err(if is_alone { again() } else { io::Error::other(reason).into() });
        }
        // The owner is written before the file is locked. Otherwise the lock could be held while the file still names a
        // killed predecessor. Then a reader would believe the status of that predecessor.
        if is_alone {
            self.write_lock_owner(&file, owner, home, made)?;
        }
        if !self.disk.lock(&file)? {
            // A process that may only read the file has locked it. No gateway does that.
            return Err(if is_alone { again() } else { LockFailed::Busy { pid: None } });
        }
        if !is_alone {
            self.write_lock_owner(&file, owner, home, made)?;
        }
        match self.stat_named(Name::Lock) {
            Ok(named) if named.id == found.id => Ok((file, named)),
            // The file was removed or replaced meanwhile: other processes would check another file than the locked one.
            _ => Err(LockFailed::Again),
        }
    }

    /// Checks the home's path and its locks, and repairs the lock file. A removed or replaced lock file is made again,
    /// and an emptied one is written again. If the lock file is unchanged, this costs one system call.
    // Property: TG-S8 status_is_faithful.
    pub(crate) fn check_lock(&self, lock: &mut HomeLock) -> HomeCheck {
        let named = self.disk.stat_link(&lock.path);
        if let Ok(found) = &named
            && (found.id, found.changed) == (lock.id, lock.changed)
        {
            return HomeCheck::Own;
        }
        let elsewhere = match self.disk.stat_path(self.names().path()) {
            Ok(found) if found.id == lock.home => None,
            Ok(_) => Some("the home's path leads to another directory; restart the gateway, or restore the directory".to_owned()),
            Err(error) => Some(format!("the home's path leads to no directory: {error}; restore the directory")),
        };
        // Also if the path leads elsewhere: a process that uses another path to the directory must find the gateway
        // alive, too.
        let held = match self.stat_named(Name::Lock) {
            Ok(found) if found.id == lock.id => {
                self.repair_lock_file(lock, &found);
                HomeCheck::Own
            }
            _ if fault!(LostLockStays) => HomeCheck::Own,
            // It is unknown whether the file is gone.
            Err(error) if error.kind() != io::ErrorKind::NotFound => HomeCheck::Own,
            _ => self.recreate_lock_file(lock),
        };
        match (held, elsewhere) {
            (HomeCheck::Taken(reason), _) => HomeCheck::Taken(reason),
            (_, Some(reason)) => HomeCheck::Elsewhere(reason),
            (held, None) => held,
        }
    }

    /// Writes the text of a changed lock file again, and makes the file readable for its owner again.
    fn repair_lock_file(&self, lock: &mut HomeLock, found: &Stat) {
        let says = self.disk.read(&lock.file, OWNER_BYTES_MAX);
        let is_whole = says.is_ok_and(|says| says == lock.owner.as_bytes());
        let is_readable = found.mode & 0o400 != 0;
        let mended = || {
            if !is_readable {
                self.disk.chmod(&lock.file, found.mode | 0o600)?;
            }
            if !is_whole {
                self.disk.truncate(&lock.file)?;
                self.disk.write(&lock.file, lock.owner.as_bytes())?;
            }
            self.disk.stat_file(&lock.file)
        };
        match mended() {
            Ok(found) => {
                lock.changed = found.changed;
                if !is_whole || !is_readable {
                    tracing::warn!(path = %lock.path.display(),
                        "the lock file was changed by another process; it is written again");
                }
            }
            Err(error) => tracing::debug!(%error, "the lock file cannot be written again"),
        }
    }

    /// Makes the lock file again and locks it.
    fn recreate_lock_file(&self, lock: &mut HomeLock) -> HomeCheck {
        let Ok(home) = self.stat() else {
            return HomeCheck::Unlocked("the home's directory is gone; restore it".to_owned());
        };
        let mut why = "another process replaces the lock file each time this gateway makes it; stop that process".to_owned();
        for _ in 0..RECREATE_ATTEMPTS {
            match self.take_lock_file(&lock.owner, &home, &lock.alone) {
                Ok((file, found)) => {
                    tracing::warn!(path = %lock.path.display(),
                        "the lock file was removed or replaced; it is made again and locked");
                    (lock.file, lock.id, lock.changed) = (file, found.id, found.changed);
                    return HomeCheck::Own;
                }
                Err(LockFailed::Busy { pid } | LockFailed::Held { pid }) => {
                    // Our lock file may be back at its path by now.
                    if self.stat_named(Name::Lock).is_ok_and(|found| found.id == lock.id) {
                        return HomeCheck::Own;
                    }
                    let by =
                        pid.map_or_else(|| "a process".to_owned(), |pid| format!("process {pid}"));
                    return HomeCheck::Taken(format!(
                        "{by} holds the home's lock file, so this gateway stays closed and writes no status; stop one of the two"
                    ));
                }
                Err(LockFailed::Again) => {}
                Err(LockFailed::Unusable(error)) => {
                    why = error.to_string();
                    break;
                }
            }
        }
        HomeCheck::Unlocked(format!(
            "the home's lock file is gone and cannot be made again, so this gateway looks dead to others: {why}"
        ))
    }

    /// Takes the lock on the directory, and returns whether that keeps all other gateways out.
    fn lock_dir(
        &self,
        dir: &<RealDisk as Disk>::Dir,
        home: &Stat,
    ) -> Result<Exclusivity, LockFailed> {
        match self.disk.lock_dir(dir) {
            Ok(true) => return Ok(Exclusivity::Yes),
            Ok(false) => {}
            Err(error) => {
                return Ok(Exclusivity::No(format!(
                    "this file system cannot lock a directory: {error}"
                )));
            }
        }
        if let Ok(file) = self.open_lock(Access::Read)
            && self.disk.is_locked(&file)?
        {
            return Err(self.busy_with(&file));
        }
        match self.disk.flocked_by(home.id) {
            Some(LockHolder { pid, uid: Some(uid) })
                if ownership::cannot_write(uid, self.disk.user(), home) =>
            {
                Ok(Exclusivity::No(format!(
                    "process {pid} of user {uid} holds the directory's lock but may only read the home; it cannot be a gateway, so its lock is ignored"
                )))
            }
            holder => Err(LockFailed::Held { pid: holder.map(|it| it.pid) }),
        }
    }

    /// The failure for a lock file that a gateway holds, with the pid that the file states.
    fn busy_with(&self, file: &<RealDisk as Disk>::File) -> LockFailed {
        LockFailed::Busy { pid: self.read_owner(file).and_then(|owner| owner.read("pid")) }
    }

    /// Writes `owner` into the lock file.
    fn write_lock_owner(
        &self,
        file: &<RealDisk as Disk>::File,
        owner: &str,
        home: &Stat,
        made: bool,
    ) -> io::Result<()> {
        self.set_lock_ownership(file, home, made);
        self.disk.truncate(file)?;
        self.disk.write(file, owner.as_bytes())
    }

    /// Sets the owner and mode of the lock file. A file that was there before keeps its owner. A failure is only
    /// logged: a file of another user keeps its mode and is locked all the same.
    fn set_lock_ownership(&self, file: &<RealDisk as Disk>::File, home: &Stat, made: bool) {
        let target_ownership =
            ownership::of_new_file(self.disk.user(), self.names().mode(), home, None, None);
        let target_ownership =
            if made { target_ownership } else { target_ownership.of_its_owner() };
        if let Err(error) = self.give(file, target_ownership, Name::Lock.as_os_str()) {
            tracing::debug!(%error, "cannot change the owner or the mode of the lock file; it is used as it is");
        }
    }

    /// Opens the lock file, or makes it. Returns whether it was made.
    fn open_or_make_lock(&self) -> io::Result<(<RealDisk as Disk>::File, bool)> {
        match self.open_lock(Access::Write) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            opened => return opened.map(|file| (file, false)),
        }
        match self.disk.create(&self.dir, Name::Lock.as_os_str()) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.open_lock(Access::Write).map(|file| (file, false))
            }
            Err(error) => Err(self.denied_in(&self.dir, error, "writing in")),
            Ok(file) => Ok((file, true)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::home::Home;

    fn text_of(incarnation: &str) -> String {
        format!(r#"{{"pid":{},"incarnation":"{incarnation}"}}"#, std::process::id())
    }

    fn open(dir: &tempfile::TempDir) -> OpenHome<RealDisk> {
        OpenHome::open(RealDisk, &Home::at(dir.path())).expect("opens")
    }

    #[test]
    fn one_gateway_a_home_and_readers_do_not_disturb() {
        let dir = tempfile::tempdir().expect("temp dir");
        let home = open(&dir);
        assert!(home.read_lock().expect("reads").is_none());
        let held = home.lock(&text_of("first")).expect("free");
        let Err(StartError::HomeInUse { pid, .. }) = open(&dir).lock(&text_of("second")) else {
            panic!("two gateways on one home");
        };
        assert_eq!(pid, Some(std::process::id()));
        let owner = home.read_lock().expect("reads").expect("held");
        assert_eq!(owner.string("incarnation").as_deref(), Some("first"));
        drop(held);
        assert!(
            home.read_lock().expect("reads").is_none(),
            "a lock file without a lock is ignored"
        );
        open(&dir).lock(&text_of("third")).expect("free again");
    }

    /// A process that corrects a last status keeps every gateway out meanwhile, and is not taken for a gateway.
    #[test]
    fn gateways_are_kept_out_and_none_is_said_to_live() {
        let dir = tempfile::tempdir().expect("temp dir");
        let home = open(&dir);
        let held = home.lock(&text_of("first")).expect("free");
        assert!(open(&dir).lock_directory_if_unused().is_none(), "a gateway is alive");
        drop(held);
        let kept_out = home.lock_directory_if_unused().expect("no gateway is alive");
        assert!(home.read_lock().expect("reads").is_none(), "no gateway is reported as alive");
        assert!(open(&dir).lock_directory_if_unused().is_none(), "another process does the same");
        let Err(StartError::HomeHeld { .. }) = open(&dir).lock(&text_of("second")) else {
            panic!("a gateway has started");
        };
        drop(kept_out);
        open(&dir).lock(&text_of("second")).expect("free again");
    }

    /// Found in review: after the lock was taken and before its owner was written, a reader found the name of a killed
    /// predecessor. So it believed that one's status. Here a read lock shows which of the two steps comes first.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[test]
    fn a_lock_is_signed_before_it_is_taken() {
        use std::io::Read;

        let dir = tempfile::tempdir().expect("temp dir");
        let path = Home::at(dir.path()).lock_path();
        std::fs::write(&path, r#"{"incarnation":"killed"}"#).expect("writes");
        let mut reader = std::fs::File::open(&path).expect("opens");
        crate::disk::take_as_reader(&reader).expect("read lock");
        let held = open(&dir).lock(&text_of("new")).expect("it makes a new file");
        let mut signed = String::new();
        reader.read_to_string(&mut signed).expect("reads");
        assert!(
            signed.contains("new"),
            "the owner is written into the file that cannot be locked: {signed}"
        );
        drop(held);
    }

    #[test]
    fn a_lock_file_contains_only_what_its_holder_wrote() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = Home::at(dir.path()).lock_path();
        std::fs::write(&path, "{".repeat(500)).expect("writes");
        let held = open(&dir).lock(&text_of("new")).expect("free");
        let owner = open(&dir).read_lock().expect("reads").expect("held");
        assert_eq!(
            owner.string("incarnation").as_deref(),
            Some("new"),
            "nothing else is left in it"
        );
        // The file is emptied, but its lock is still held.
        std::fs::write(&path, "").expect("empties");
        assert!(open(&dir).read_lock().expect("reads").is_some());
        drop(held);
        assert_eq!(std::fs::metadata(&path).expect("exists").len(), 0);
    }

    /// A backup by hard links does not keep a gateway from starting, and nothing is written into the backup.
    #[test]
    fn a_lock_file_with_a_second_name_is_replaced() {
        let dir = tempfile::tempdir().expect("temp dir");
        drop(open(&dir).lock(&text_of("first")).expect("free"));
        let (path, copy) = (Home::at(dir.path()).lock_path(), dir.path().join("backup"));
        std::fs::write(&path, "precious").expect("writes");
        std::fs::hard_link(&path, &copy).expect("links");
        let held = open(&dir).lock(&text_of("second")).expect("free");
        assert_eq!(std::fs::read_to_string(&copy).expect("reads"), "precious");
        std::fs::hard_link(&path, dir.path().join("another")).expect("links");
        assert!(open(&dir).read_lock().expect("reads").is_some(), "a reader accepts two names");
        drop(held);
    }

    /// The lock file was removed while a gateway is alive, and the directory is still locked (F18).
    #[test]
    fn a_second_gateway_is_kept_out_if_the_lock_file_is_gone() {
        let dir = tempfile::tempdir().expect("temp dir");
        let held = open(&dir).lock(&text_of("first")).expect("free");
        std::fs::remove_file(Home::at(dir.path()).lock_path()).expect("removes");
        let error = open(&dir).lock(&text_of("second")).expect_err("the first one is alive");
        let StartError::HomeHeld { pid, .. } = &error else { panic!("{error}") };
        assert_eq!(*pid, Some(std::process::id()), "{error}");
        drop(held);
        open(&dir).lock(&text_of("third")).expect("free again");
    }

    /// A process that has locked the new lock file keeps it. If the gateway's own lock file is moved back, everything
    /// is as before (F18).
    #[test]
    fn a_lock_file_that_another_process_holds_is_left_to_it() {
        let dir = tempfile::tempdir().expect("temp dir");
        let (home, path) = (open(&dir), Home::at(dir.path()).lock_path());
        let mut held = home.lock(&text_of("first")).expect("free");
        let aside = dir.path().join("aside");
        std::fs::rename(&path, &aside).expect("moves");
        std::fs::write(&path, r#"{"pid":7,"incarnation":"second"}"#).expect("writes");
        let other = home.open_lock(Access::Write).expect("opens");
        assert!(RealDisk.lock(&other).expect("locks"));
        for _ in 0..2 {
            let HomeCheck::Taken(reason) = home.check_lock(&mut held) else {
                panic!("process 7 holds it")
            };
            assert!(reason.contains("process 7 holds"), "{reason}");
        }
        std::fs::rename(&aside, &path).expect("puts back");
        assert_eq!(home.check_lock(&mut held), HomeCheck::Own);
        drop(other);
        std::fs::remove_file(&path).expect("removes");
        assert_eq!(home.check_lock(&mut held), HomeCheck::Own, "made again");
        let owner = home.read_lock().expect("reads").expect("held");
        assert_eq!(owner.string("incarnation").as_deref(), Some("first"));
    }
}
