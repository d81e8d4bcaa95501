//! The locks of a home: one on the lock file, which alone says that a gateway is alive, and one on the
//! directory, which keeps a second gateway from starting where the lock file was removed ([F17], [F18]).
//!
//! # Invariants
//!
//! * Only who may write the lock file can hold its lock: a mere reader neither holds nor fakes it.
//! * A lock file that is a stranger's, or a link, is refused and its owner named.
//!
//! [F17]: crate::guide::requirements#f17
//! [F18]: crate::guide::requirements#f18

use std::io;
use std::path::Path;
use std::time::Duration;

use crate::disk::{Access, Disk, FileId, Kind, LockHolder, RealDisk, Stat};
use crate::error::{ControlError, StartError};
use crate::host;
use crate::json::RawObject;
use crate::sync::thread;

use super::{Name, OpenHome, ownership, strangers};

/// How often, and how long apart, a start asks for a lock that somebody holds: a gateway that ends gives
/// its locks back one after the other.
const LOCK_ATTEMPTS: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// The lock's file is never read further.
const OWNER_BYTES_MAX: u64 = 4096;

/// The locks of a home, held. Dropping it says that the gateway is gone (F17).
#[derive(Debug)]
pub(crate) struct HomeLock {
    file: <RealDisk as Disk>::File,
    /// Holds the directory's lock. A handle of its own, so that it ends with this value.
    _dir: <RealDisk as Disk>::Dir,
    home: FileId,
    id: FileId,
}

impl HomeLock {
    /// Which directory is locked.
    pub(crate) fn home(&self) -> FileId {
        self.home
    }

    /// Which file the lock is on.
    pub(crate) fn id(&self) -> FileId {
        self.id
    }
}

impl Drop for HomeLock {
    fn drop(&mut self) {
        // So that nobody reads the pid of a gateway that is gone. Failing that, it is merely stale.
        let _ = RealDisk.truncate(&self.file);
    }
}

/// Why the locks could not be taken.
enum NotLocked {
    /// A gateway holds the lock file's, or it changed just now. This may pass.
    Busy { pid: Option<u32> },
    /// Somebody holds the directory's, and nobody the lock file's. This may pass.
    Held { pid: Option<u32> },
    /// They cannot be.
    Unusable(io::Error),
}

impl From<io::Error> for NotLocked {
    fn from(source: io::Error) -> NotLocked {
        NotLocked::Unusable(source)
    }
}

/// Whether every other gateway is kept out.
enum Alone {
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
        if found.kind != Kind::File {
            return Err(found.kind.is_not("a lock file"));
        }
        let home = self.stat()?;
        if ownership::is_strangers(self.disk.user(), &home, None, found) {
            return Err(strangers("the lock file", found, &home));
        }
        Ok(())
    }
}

impl OpenHome<RealDisk> {
    /// Takes both locks for a gateway, for as long as the value lives.
    // Property: TG-S8 status_is_faithful. One gateway a home (F17).
    pub(crate) fn lock(&self, incarnation: &str) -> Result<HomeLock, StartError> {
        let home = self.stat().map_err(|source| unusable(self.names().path(), source))?;
        if ownership::is_strangers_home(self.disk.user(), &home) {
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
            match self.try_lock(incarnation, &home) {
                Ok(lock) => return Ok(lock),
                Err(NotLocked::Unusable(source)) => {
                    return Err(unusable(&self.names().lock_path(), source));
                }
                Err(_) if attempt < LOCK_ATTEMPTS => thread::sleep(LOCK_PAUSE),
                Err(NotLocked::Busy { pid }) => {
                    return Err(StartError::HomeInUse { home: path(), pid });
                }
                Err(NotLocked::Held { pid }) => {
                    return Err(StartError::HomeHeld { home: path(), pid });
                }
            }
            attempt += 1;
        }
    }

    /// Keeps every gateway out of the home while the value lives, without saying that one is alive; `None`
    /// where one is, or where that cannot be had.
    pub(crate) fn keep_gateways_out(&self) -> Option<<RealDisk as Disk>::Dir> {
        let dir = self.disk.open_dir(&self.dir, ".".as_ref()).ok()?;
        let is_locked = self.disk.lock_dir(&dir).ok()?;
        // The lock file is asked after the directory is locked: a gateway takes them in this order.
        let lives = self.read_lock().ok()?.is_some();
        (is_locked && !lives).then_some(dir)
    }

    /// One attempt.
    fn try_lock(&self, incarnation: &str, home: &Stat) -> Result<HomeLock, NotLocked> {
        // The directory's first: who has it is alone here, and may replace the lock file.
        let dir = self.disk.open_dir(&self.dir, ".".as_ref())?;
        let alone = self.lock_dir(&dir, home)?;
        let is_alone = matches!(alone, Alone::Yes);
        let (file, made) = self.open_or_make_lock()?;
        if self.disk.is_locked(&file)? {
            return Err(self.busy_with(&file));
        }
        let again = || {
            // Whoever holds that file keeps it, and gets no other.
            match self.disk.unlink(&self.dir, Name::Lock.as_os_str()) {
                Ok(()) => NotLocked::Busy { pid: None },
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
        // Signed before it is locked: else a reader could find the lock held, and in the file the name of a
        // predecessor that was killed, whose status would then be believed.
        if is_alone {
            self.sign_lock(&file, incarnation, home, made)?;
        }
        if !self.disk.lock(&file)? {
            // A mere reader has locked it, which no gateway does.
            return Err(if is_alone { again() } else { NotLocked::Busy { pid: None } });
        }
        if !is_alone {
            self.sign_lock(&file, incarnation, home, made)?;
        }
        if !self.stat_named(Name::Lock).is_ok_and(|named| named.id == found.id) {
            // It was removed or replaced meanwhile: what is locked is not what others will ask.
            return Err(NotLocked::Busy { pid: None });
        }
        if let Alone::No(reason) = alone {
            tracing::warn!(home = %self.names().path().display(),
                "a second gateway can start if the lock file is removed: {reason}");
        }
        Ok(HomeLock { file, _dir: dir, home: home.id, id: found.id })
    }

    /// Takes the directory's lock.
    fn lock_dir(&self, dir: &<RealDisk as Disk>::Dir, home: &Stat) -> Result<Alone, NotLocked> {
        match self.disk.lock_dir(dir) {
            Ok(true) => return Ok(Alone::Yes),
            Ok(false) => {}
            Err(error) => {
                return Ok(Alone::No(format!("this file system cannot lock a directory: {error}")));
            }
        }
        if let Ok(file) = self.open_lock(Access::Read)
            && self.disk.is_locked(&file)?
        {
            return Err(self.busy_with(&file));
        }
        match self.disk.dir_locked_by(dir) {
            Some(LockHolder { pid, uid: Some(uid) })
                if ownership::cannot_write(uid, self.disk.user(), home) =>
            {
                Ok(Alone::No(format!(
                    "process {pid} of user {uid} holds the directory's lock but may only read the home; it cannot be a gateway, so its lock is ignored"
                )))
            }
            holder => Err(NotLocked::Held { pid: holder.map(|it| it.pid) }),
        }
    }

    /// A gateway holds the lock on this file.
    fn busy_with(&self, file: &<RealDisk as Disk>::File) -> NotLocked {
        NotLocked::Busy { pid: self.read_owner(file).and_then(|owner| owner.read("pid")) }
    }

    /// Writes who holds the lock into its file.
    fn sign_lock(
        &self,
        file: &<RealDisk as Disk>::File,
        incarnation: &str,
        home: &Stat,
        made: bool,
    ) -> io::Result<()> {
        self.settle_lock(file, home, made);
        let owner = serde_json::json!({ "pid": host::pid(), "incarnation": incarnation });
        self.disk.truncate(file)?;
        self.disk.write(file, owner.to_string().as_bytes())
    }

    /// Gives the lock file to whom it is to belong. One that was there before keeps its owner, and where
    /// that is another user, its mode too: it is locked all the same.
    fn settle_lock(&self, file: &<RealDisk as Disk>::File, home: &Stat, made: bool) {
        let is_to_be =
            ownership::of_new_file(self.disk.user(), self.names().mode(), home, None, None);
        let is_to_be = if made { is_to_be } else { is_to_be.of_its_owner() };
        if let Err(error) = self.give(file, is_to_be, Name::Lock.as_os_str()) {
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

    fn open(dir: &tempfile::TempDir) -> OpenHome<RealDisk> {
        OpenHome::open(RealDisk, &Home::at(dir.path())).expect("opens")
    }

    #[test]
    fn one_gateway_a_home_and_readers_do_not_disturb() {
        let dir = tempfile::tempdir().expect("temp dir");
        let home = open(&dir);
        assert!(home.read_lock().expect("reads").is_none());
        let held = home.lock("first").expect("free");
        let Err(StartError::HomeInUse { pid, .. }) = open(&dir).lock("second") else {
            panic!("two gateways on one home");
        };
        assert_eq!(pid, Some(std::process::id()));
        let owner = home.read_lock().expect("reads").expect("held");
        assert_eq!(owner.string("incarnation").as_deref(), Some("first"));
        drop(held);
        assert!(home.read_lock().expect("reads").is_none(), "what it left behind says nothing");
        open(&dir).lock("third").expect("free again");
    }

    /// Who corrects a last status keeps every gateway out meanwhile, and is no gateway.
    #[test]
    fn gateways_are_kept_out_and_none_is_said_to_live() {
        let dir = tempfile::tempdir().expect("temp dir");
        let home = open(&dir);
        let held = home.lock("first").expect("free");
        assert!(open(&dir).keep_gateways_out().is_none(), "one lives");
        drop(held);
        let kept_out = home.keep_gateways_out().expect("nobody lives");
        assert!(home.read_lock().expect("reads").is_none(), "nobody is said to live");
        assert!(open(&dir).keep_gateways_out().is_none(), "somebody else does the same");
        let Err(StartError::HomeHeld { .. }) = open(&dir).lock("second") else {
            panic!("a gateway has started");
        };
        drop(kept_out);
        open(&dir).lock("second").expect("free again");
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
        let held = open(&dir).lock("new").expect("it makes a file of its own");
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
        let held = open(&dir).lock("new").expect("free");
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
        drop(open(&dir).lock("first").expect("free"));
        let (path, copy) = (Home::at(dir.path()).lock_path(), dir.path().join("backup"));
        std::fs::write(&path, "precious").expect("writes");
        std::fs::hard_link(&path, &copy).expect("links");
        let held = open(&dir).lock("second").expect("free");
        assert_eq!(std::fs::read_to_string(&copy).expect("reads"), "precious");
        std::fs::hard_link(&path, dir.path().join("another")).expect("links");
        assert!(open(&dir).read_lock().expect("reads").is_some(), "a reader does not mind");
        drop(held);
    }

    /// F18: the lock file was removed under a living gateway, and its directory is still held.
    #[test]
    fn a_second_gateway_is_kept_out_where_the_lock_file_is_gone() {
        let dir = tempfile::tempdir().expect("temp dir");
        let held = open(&dir).lock("first").expect("free");
        std::fs::remove_file(Home::at(dir.path()).lock_path()).expect("removes");
        let error = open(&dir).lock("second").expect_err("the first one lives");
        let StartError::HomeHeld { pid, .. } = &error else { panic!("{error}") };
        assert_eq!(*pid, Some(std::process::id()), "{error}");
        drop(held);
        open(&dir).lock("third").expect("free again");
    }
}
