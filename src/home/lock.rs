//! The two locks of a home. The one on the lock file alone says that a gateway is alive. The one on the directory
//! keeps a second gateway from starting after the lock file was removed ([F17], [F18]).
//! A gateway that holds them checks at each look whether they are still its own. It decides nothing about drains.
//!
//! # Invariants
//!
//! * Only a process that may write the lock file can hold its lock: a mere reader neither holds nor fakes it.
//! * A lock file that is a stranger's, or a link, is refused and its owner named.
//! * The home is the directory that was locked. Where its name leads elsewhere, nothing there is locked, read or
//!   written.
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

/// How often, and how long apart, a start asks for a lock that somebody holds. A gateway that ends gives
/// its locks back one after the other.
const LOCK_ATTEMPTS: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// The lock's file is never read further.
const OWNER_BYTES_MAX: u64 = 4096;

/// How often a lock file that was removed or replaced is made again within one look.
const RECREATE_ATTEMPTS: u32 = 3;

/// The locks of a home, held. Dropping it says that the gateway is gone (F17).
#[derive(Debug)]
pub(crate) struct HomeLock {
    file: <RealDisk as Disk>::File,
    /// Holds the directory's lock. A handle of its own, so that it ends with this value.
    _dir: <RealDisk as Disk>::Dir,
    alone: Exclusivity,
    /// The directory that is locked.
    home: FileId,
    /// The file that the lock is on, and when it was last changed. It stays the same file if it is moved, with the
    /// other files, into another directory of the home's name.
    id: FileId,
    changed: (i64, i64),
    /// Its path, made once: an idle look allocates nothing.
    path: PathBuf,
    /// What it says.
    owner: String,
}

/// How a gateway that holds a home finds its name and its locks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum HomeCheck {
    /// As they were.
    #[default]
    Own,
    /// The home's name leads to another directory, or to none, for this reason.
    Elsewhere(String),
    /// Another process holds the lock file.
    Taken(String),
    /// The lock file is gone, and cannot be made again, for this reason.
    Unlocked(String),
}

impl HomeLock {
    /// Why a second gateway could start if the lock file were removed; `None` where none can.
    pub(crate) fn not_exclusive_reason(&self) -> Option<&str> {
        match &self.alone {
            Exclusivity::Yes => None,
            Exclusivity::No(reason) => Some(reason),
        }
    }
}

impl Drop for HomeLock {
    fn drop(&mut self) {
        // So that nobody reads the pid of a gateway that is gone. Failing that, it is merely stale.
        let _ = RealDisk.truncate(&self.file);
    }
}

/// Why the locks could not be taken.
enum LockFailed {
    /// A gateway holds the lock file's. This may pass.
    Busy { pid: Option<u32> },
    /// The lock file changed just now.
    Again,
    /// Somebody holds the directory's, and nobody the lock file's. This may pass.
    Held { pid: Option<u32> },
    /// They cannot be.
    Unusable(io::Error),
}

impl From<io::Error> for LockFailed {
    fn from(source: io::Error) -> LockFailed {
        LockFailed::Unusable(source)
    }
}

/// Whether every other gateway is kept out.
#[derive(Debug)]
enum Exclusivity {
    Yes,
    /// It is not, for this reason.
    No(String),
}

fn unusable(path: &Path, source: io::Error) -> StartError {
    StartError::Home { path: path.to_owned(), source }
}

impl<D: Disk> OpenHome<D> {
    /// What the lock's file says, if a gateway holds the lock.
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

    /// Opens the lock file, where it can be trusted.
    fn open_lock(&self, access: Access) -> io::Result<D::File> {
        // Looked at before it is opened, since opening a device can itself do something.
        let found = self.stat_named(Name::Lock)?;
        self.require_trusted_lock(&found)?;
        let doing = if access == Access::Read { "reading" } else { "writing" };
        let opened = self.disk.open(&self.dir, Name::Lock.as_os_str(), access);
        let file = opened.map_err(|error| self.denied(error, &found, doing))?;
        // It may be another file by now.
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
    /// Takes both locks for a gateway, for as long as the value lives. `owner` is what the lock file is to say.
    // Property: TG-S8 status_is_faithful. One gateway a home (F17).
    pub(crate) fn lock(&self, owner: &str) -> Result<HomeLock, StartError> {
        let home = self.stat().map_err(|source| unusable(self.names().path(), source))?;
        if ownership::is_untrusted_home(self.disk.user(), &home) {
            let me = self.disk.user().uid;
            let reason = format!(
                "the home belongs to user {}, but this process is user {me}; use a home of your own, or one that its owner shares with your group",
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

    /// Keeps every gateway out of the home while the value lives. It does not say that a gateway is alive. `None` if
    /// a gateway lives, or if the lock cannot be taken.
    pub(crate) fn lock_directory_if_unused(&self) -> Option<<RealDisk as Disk>::Dir> {
        let dir = self.disk.open_dir(&self.dir, ".".as_ref()).ok()?;
        let is_locked = self.disk.lock_dir(&dir).ok()?;
        // The lock file is asked after the directory is locked: a gateway takes them in this order.
        let lives = self.read_lock().ok()?.is_some() || self.neighbour().is_some();
        (is_locked && !lives).then_some(dir)
    }

    /// One attempt.
    fn try_lock(&self, owner: &str, home: &Stat) -> Result<HomeLock, LockFailed> {
        // The directory's first: who has it is alone here, and may replace the lock file.
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

    /// Takes the lock on the lock file, which is made where there is none, and writes into it whose it is.
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
            // A process that holds that file keeps it, and gets no other.
            match self.disk.unlink(&self.dir, Name::Lock.as_os_str()) {
                Ok(()) => LockFailed::Again,
                Err(error) => error.into(),
            }
        };
        let found = self.disk.stat_file(&file)?;
        if found.links > 1 {
            // What is written into it would be written into a file elsewhere.
            let links = found.links;
            let reason = format!("the lock file has {links} hard links; remove it");
            return Err(if is_alone { again() } else { io::Error::other(reason).into() });
        }
        // The file is signed before it is locked. Otherwise a reader could find the lock held with the name of a
        // killed predecessor in the file, and believe its status.
        if is_alone {
            self.write_lock_owner(&file, owner, home, made)?;
        }
        if !self.disk.lock(&file)? {
            // A mere reader has locked it, which no gateway does.
            return Err(if is_alone { again() } else { LockFailed::Busy { pid: None } });
        }
        if !is_alone {
            self.write_lock_owner(&file, owner, home, made)?;
        }
        match self.stat_named(Name::Lock) {
            Ok(named) if named.id == found.id => Ok((file, named)),
            // It was removed or replaced meanwhile: what is locked is not what others will ask.
            _ => Err(LockFailed::Again),
        }
    }

    /// Whether the home's name and its locks are as they were. A lock file that is gone, or has been replaced, is
    /// made again; one that was emptied is written again. One system call where nothing has happened to it.
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
        // A process with another name for the directory must find the gateway alive, too.
        let held = match self.stat_named(Name::Lock) {
            Ok(found) if found.id == lock.id => {
                self.repair_lock_file(lock, &found);
                HomeCheck::Own
            }
            _ if fault!(LostLockStays) => HomeCheck::Own,
            // It is not known whether it is gone.
            Err(error) if error.kind() != io::ErrorKind::NotFound => HomeCheck::Own,
            _ => self.recreate_lock_file(lock),
        };
        match (held, elsewhere) {
            (HomeCheck::Taken(reason), _) => HomeCheck::Taken(reason),
            (_, Some(reason)) => HomeCheck::Elsewhere(reason),
            (held, None) => held,
        }
    }

    /// Writes a lock file anew that was emptied, and lets its owner read it again.
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
                        "the lock file had been changed; it is written again");
                }
            }
            Err(error) => tracing::debug!(%error, "the lock file cannot be written again"),
        }
    }

    /// Makes the lock file again, and takes it.
    fn recreate_lock_file(&self, lock: &mut HomeLock) -> HomeCheck {
        let Ok(home) = self.stat() else {
            return HomeCheck::Unlocked("the home's directory is gone".to_owned());
        };
        let mut why = "the lock file is replaced as fast as it is made".to_owned();
        for _ in 0..RECREATE_ATTEMPTS {
            match self.take_lock_file(&lock.owner, &home, &lock.alone) {
                Ok((file, found)) => {
                    tracing::warn!(path = %lock.path.display(),
                        "the lock file had been removed or replaced; it is made again and locked");
                    (lock.file, lock.id, lock.changed) = (file, found.id, found.changed);
                    return HomeCheck::Own;
                }
                Err(LockFailed::Busy { pid } | LockFailed::Held { pid }) => {
                    // It was put back meanwhile.
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

    /// Takes the directory's lock.
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

    /// A gateway holds the lock on this file.
    fn busy_with(&self, file: &<RealDisk as Disk>::File) -> LockFailed {
        LockFailed::Busy { pid: self.read_owner(file).and_then(|owner| owner.read("pid")) }
    }

    /// Writes who holds the lock into its file.
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

    /// Gives the lock file to whom it is to belong. One that was there before keeps its owner, and where
    /// that is another user, its mode too: it is locked all the same.
    fn set_lock_ownership(&self, file: &<RealDisk as Disk>::File, home: &Stat, made: bool) {
        let target_ownership =
            ownership::of_new_file(self.disk.user(), self.names().mode(), home, None, None);
        let target_ownership =
            if made { target_ownership } else { target_ownership.of_its_owner() };
        if let Err(error) = self.give(file, target_ownership, Name::Lock.as_os_str()) {
            tracing::debug!(%error, "cannot change the owner or the mode of the lock file; using it as it is");
        }
    }

    /// Opens the lock file, or makes it. Says whether it was made.
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
        assert!(home.read_lock().expect("reads").is_none(), "what it left behind says nothing");
        open(&dir).lock(&text_of("third")).expect("free again");
    }

    /// Who corrects a last status keeps every gateway out meanwhile, and is no gateway.
    #[test]
    fn gateways_are_kept_out_and_none_is_said_to_live() {
        let dir = tempfile::tempdir().expect("temp dir");
        let home = open(&dir);
        let held = home.lock(&text_of("first")).expect("free");
        assert!(open(&dir).lock_directory_if_unused().is_none(), "one lives");
        drop(held);
        let kept_out = home.lock_directory_if_unused().expect("nobody lives");
        assert!(home.read_lock().expect("reads").is_none(), "nobody is said to live");
        assert!(open(&dir).lock_directory_if_unused().is_none(), "somebody else does the same");
        let Err(StartError::HomeHeld { .. }) = open(&dir).lock(&text_of("second")) else {
            panic!("a gateway has started");
        };
        drop(kept_out);
        open(&dir).lock(&text_of("second")).expect("free again");
    }

    /// Found in review: between the lock and its owner's name in it, a reader found a killed predecessor's name,
    /// and so believed its status. Here a reader's own lock shows what comes first.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[test]
    fn a_lock_is_signed_before_it_is_taken() {
        use std::io::Read;

        let dir = tempfile::tempdir().expect("temp dir");
        let path = Home::at(dir.path()).lock_path();
        std::fs::write(&path, r#"{"incarnation":"killed"}"#).expect("writes");
        let mut reader = std::fs::File::open(&path).expect("opens");
        crate::disk::take_as_reader(&reader).expect("read lock");
        let held = open(&dir).lock(&text_of("new")).expect("it makes a file of its own");
        let mut signed = String::new();
        reader.read_to_string(&mut signed).expect("reads");
        assert!(signed.contains("new"), "the file that could not be locked: {signed}");
        drop(held);
    }

    #[test]
    fn what_a_lock_file_says_is_the_holder_s_alone() {
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
        // Emptied under its holder, it is still held.
        std::fs::write(&path, "").expect("empties");
        assert!(open(&dir).read_lock().expect("reads").is_some());
        drop(held);
        assert_eq!(std::fs::metadata(&path).expect("exists").len(), 0);
    }

    /// A backup by hard links is no reason to refuse anything, and nothing is written into its file.
    #[test]
    fn a_lock_file_with_a_second_name_is_made_anew() {
        let dir = tempfile::tempdir().expect("temp dir");
        drop(open(&dir).lock(&text_of("first")).expect("free"));
        let (path, copy) = (Home::at(dir.path()).lock_path(), dir.path().join("backup"));
        std::fs::write(&path, "precious").expect("writes");
        std::fs::hard_link(&path, &copy).expect("links");
        let held = open(&dir).lock(&text_of("second")).expect("free");
        assert_eq!(std::fs::read_to_string(&copy).expect("reads"), "precious");
        std::fs::hard_link(&path, dir.path().join("another")).expect("links");
        assert!(open(&dir).read_lock().expect("reads").is_some(), "a reader does not mind");
        drop(held);
    }

    /// F18: the lock file was removed under a living gateway, and its directory is still held.
    #[test]
    fn a_second_gateway_is_kept_out_where_the_lock_file_is_gone() {
        let dir = tempfile::tempdir().expect("temp dir");
        let held = open(&dir).lock(&text_of("first")).expect("free");
        std::fs::remove_file(Home::at(dir.path()).lock_path()).expect("removes");
        let error = open(&dir).lock(&text_of("second")).expect_err("the first one lives");
        let StartError::HomeHeld { pid, .. } = &error else { panic!("{error}") };
        assert_eq!(*pid, Some(std::process::id()), "{error}");
        drop(held);
        open(&dir).lock(&text_of("third")).expect("free again");
    }

    /// F18: where a process has taken the new lock file, it is not taken from it, and where the home's own is put
    /// back, it is as before.
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
            let HomeCheck::Taken(reason) = home.check_lock(&mut held) else { panic!("it is not") };
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
