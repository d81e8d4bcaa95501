//! The directory that a gateway and its controllers share: the names of its files, and how it is opened. This module
//! decides nothing about drains.
//!
//! | file | content | written by |
//! |---|---|---|
//! | `.drain_request.json` | the marker: present means drain | controllers, operators |
//! | `.drain_requests/<holder>.<request_id>.json` | a named holder's request: present means drain | that holder |
//! | `gateway_state.json` | the status | the gateway |
//! | `.tidegate.lock` | the gateway's pid; locked while the gateway is alive | the gateway |
//! | `gateway.lock` | locked while a foreign gateway is alive; never written by this library | the foreign gateway |
//!
//! # Invariants
//!
//! * A home is opened once, and everything in it is reached through that handle. So a user who replaces the
//!   directory by a link cannot redirect a process to another directory ([F18]).
//! * A file that is written in a home belongs to the home's owner ([F19]).
//!
//! [F18]: crate::guide::requirements#f18
//! [F19]: crate::guide::requirements#f19

mod foreign_gateway;
mod lock;
mod ownership;

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::disk::{Disk, FileKind, Owner, RealDisk, Stat, User};
use crate::error::ControlError;
use crate::holder::Slot;

pub(crate) use foreign_gateway::ForeignGateway;
pub(crate) use lock::{HomeCheck, HomeLock};
pub use ownership::DEFAULT_MODE;
use ownership::Ownership;

const MARKER: &str = ".drain_request.json";
const REQUESTS: &str = ".drain_requests";
const STATUS: &str = "gateway_state.json";
const LOCK: &str = ".tidegate.lock";
const FOREIGN_LOCK: &str = "gateway.lock";

/// A home, as a control plane or the `tidegate` command uses it. A gateway embeds [`Gateway`](crate::Gateway) instead.
///
/// ```
/// use tidegate::{home::Home, request::{DrainRequest, Holder}};
/// # let dir = tempfile::tempdir()?;
/// let home = Home::at(dir.path());
/// let deployer = Holder::named("deployer")?;
/// home.begin_drain(&DrainRequest::new("alice").with_holder(deployer.clone()))?;
/// home.begin_drain(&DrainRequest::new("bob"))?;
/// assert!(home.cancel_drain(&deployer)?);
/// assert!(home.observe().verdict().asks_for_drain(), "bob still does");
/// assert!(!home.status()?.is_alive());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Home {
    path: PathBuf,
    mode: Option<u32>,
    held: Option<Arc<OpenHome<RealDisk>>>,
}

/// Homes are equal if path and mode are equal, whether or not one is kept open.
impl PartialEq for Home {
    fn eq(&self, other: &Home) -> bool {
        (&self.path, self.mode) == (&other.path, other.mode)
    }
}

impl Eq for Home {}

impl Home {
    /// The home in this directory. Reads and writes nothing.
    pub fn at(path: impl Into<PathBuf>) -> Home {
        Home { path: path.into(), mode: None, held: None }
    }

    /// The same home, not kept open, with these permission bits for the files that are written. The owner's read and
    /// write bits are always set.
    ///
    /// By default only the owner can use a file ([`DEFAULT_MODE`]). If the group can read the gateway's lock file, the
    /// group can read the new file too. A gateway sets that with [`Builder::mode`](crate::Builder::mode): for example
    /// `0o640` if gateway and controllers are different users of one group. The home must then belong to the group,
    /// with write permission for it (2770). The directory of named requests gets the mode of the home itself. So a
    /// user who can write the marker can also write named requests.
    #[must_use]
    pub fn with_mode(self, mode: u32) -> Home {
        Home { mode: Some(mode & 0o777 | DEFAULT_MODE), held: None, ..self }
    }

    /// The permission bits that were set with [`Home::with_mode`], if any.
    #[must_use]
    pub fn mode(&self) -> Option<u32> {
        self.mode
    }

    /// The path of the directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of the marker.
    #[must_use]
    pub fn marker_path(&self) -> PathBuf {
        self.path.join(MARKER)
    }

    /// The path of the directory of named requests.
    #[must_use]
    pub fn requests_path(&self) -> PathBuf {
        self.path.join(REQUESTS)
    }

    /// The path of the request in this slot.
    #[must_use]
    pub fn slot_path(&self, slot: &Slot) -> PathBuf {
        match slot {
            Slot::Shared => self.marker_path(),
            Slot::File(name) => self.requests_path().join(name),
        }
    }

    /// The path of the directory that contains a slot's file.
    pub(crate) fn directory_of(&self, slot: &Slot) -> PathBuf {
        match slot {
            Slot::Shared => self.path.clone(),
            Slot::File(_) => self.requests_path(),
        }
    }

    /// The path of the status file.
    #[must_use]
    pub fn status_path(&self) -> PathBuf {
        self.path.join(STATUS)
    }

    /// The path of the lock file.
    #[must_use]
    pub fn lock_path(&self) -> PathBuf {
        self.path.join(LOCK)
    }

    /// The same home, kept open, for a series of steps that belong together. All steps use one handle to the directory
    /// that has this path now, even if the path leads to another directory later. The value uses one file descriptor
    /// while it lives.
    ///
    /// Without this, each step opens the directory that has the path at that moment. That is right for a service whose
    /// homes are replaced while it runs.
    ///
    /// # Errors
    ///
    /// [`ControlError::NoHome`], [`ControlError::Home`].
    pub fn keep_open(self) -> Result<Home, ControlError> {
        let held = Some(Arc::new(OpenHome::open(RealDisk, &self)?));
        Ok(Home { held, ..self })
    }

    /// Opens the directory, or uses the one that is kept open.
    pub(crate) fn open(&self) -> Result<Arc<OpenHome<RealDisk>>, ControlError> {
        match &self.held {
            Some(held) => Ok(Arc::clone(held)),
            None => OpenHome::open(RealDisk, self).map(Arc::new),
        }
    }
}

/// An open home. Everything in it is reached through its handle, whatever its path leads to by now.
#[derive(Debug)]
pub struct OpenHome<D: Disk> {
    home: Home,
    disk: D,
    dir: D::Dir,
    /// Whether a failed change of owner was already logged.
    reported: AtomicBool,
}

impl<D: Disk> OpenHome<D> {
    /// Opens a home on a disk.
    ///
    /// # Errors
    ///
    /// [`ControlError::NoHome`] if there is no such directory; otherwise [`ControlError::Home`].
    pub fn open(disk: D, home: &Home) -> Result<OpenHome<D>, ControlError> {
        match disk.open_home(home.path()) {
            Ok(dir) => {
                let home = Home { held: None, ..home.clone() };
                Ok(OpenHome { home, disk, dir, reported: AtomicBool::new(false) })
            }
            Err(source) => {
                let source = match disk.stat_path(home.path()) {
                    Ok(found) => denied(source, &found, disk.user(), "its", "opening"),
                    Err(_) => source,
                };
                Err(ControlError::of_home(home.path(), source))
            }
        }
    }

    /// The disk that the home is on.
    pub fn disk(&self) -> &D {
        &self.disk
    }

    /// The paths of the home and its files.
    pub fn names(&self) -> &Home {
        &self.home
    }

    pub(crate) fn dir(&self) -> &D::Dir {
        &self.dir
    }

    /// The metadata of the home's directory.
    pub(crate) fn stat(&self) -> io::Result<Stat> {
        self.disk.stat_dir(&self.dir)
    }

    pub(crate) fn stat_named(&self, name: Name) -> io::Result<Stat> {
        self.stat_in(&self.dir, name.as_os_str())
    }

    /// The metadata of the entry with this name in one of the home's directories.
    pub(crate) fn stat_in(&self, dir: &D::Dir, name: &OsStr) -> io::Result<Stat> {
        self.disk.stat(dir, name).map_err(|error| self.denied_in(dir, error, "searching"))
    }

    /// The metadata of the lock file, unless its owner is a stranger.
    fn trusted_lock(&self, home: &Stat) -> Option<Stat> {
        let lock = self.stat_named(Name::Lock).ok()?;
        (!ownership::has_untrusted_owner(self.disk.user(), home, None, &lock)).then_some(lock)
    }

    /// Opens the directory of named requests.
    ///
    /// # Errors
    ///
    /// `NotFound` if there is none. `PermissionDenied`, with the owner's user id, if the owner is a stranger.
    pub(crate) fn open_requests(&self) -> io::Result<D::Dir> {
        let name = Name::Requests.as_os_str();
        let dir = self.disk.open_dir(&self.dir, name).map_err(|error| {
            match self.disk.stat(&self.dir, name) {
                Ok(found) if found.kind != FileKind::Directory => found.kind.is_not("a directory"),
                Ok(found) => self.denied(error, &found, "opening"),
                Err(_) => error,
            }
        })?;
        let found = self.disk.stat_dir(&dir)?;
        let (me, home) = (self.disk.user(), self.stat()?);
        // Most homes have one owner: then no further call is needed.
        if found.uid != home.uid && found.uid != me.uid {
            let lock = self.trusted_lock(&home);
            if ownership::has_untrusted_owner(me, &home, lock.as_ref(), &found) {
                return Err(strangers("the directory of requests", &found, &home));
            }
        }
        Ok(dir)
    }

    /// Makes the directory of named requests if there is none. Returns whether it was made.
    pub(crate) fn make_requests(&self) -> io::Result<bool> {
        let name = Name::Requests.as_os_str();
        // Most homes have one: then no further call is needed.
        if self.disk.stat(&self.dir, name).is_ok() {
            return Ok(false);
        }
        let home = self.stat()?;
        let lock = self.trusted_lock(&home);
        let target_ownership = ownership::of_new_directory(self.disk.user(), &home, lock.as_ref());
        match self.disk.make_dir(&self.dir, name, target_ownership.owner, target_ownership.mode) {
            Ok(given) => {
                self.report(given, target_ownership, &self.home.requests_path());
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(self.denied_in(&self.dir, error, "making a directory in")),
        }
    }

    /// Sets the owner and mode of a new file, before the file is renamed to `name`.
    pub(crate) fn settle(&self, at: &D::Dir, name: &OsStr, file: &D::File) -> io::Result<()> {
        let (me, home) = (self.disk.user(), self.stat()?);
        let lock = self.trusted_lock(&home);
        let replaced = self.disk.stat(at, name).ok();
        let target_ownership =
            ownership::of_new_file(me, self.home.mode, &home, lock.as_ref(), replaced.as_ref());
        self.give(file, target_ownership, name)
    }

    fn give(&self, file: &D::File, target_ownership: Ownership, name: &OsStr) -> io::Result<()> {
        if target_ownership.owner.is_given() {
            let given = self.disk.chown(file, target_ownership.owner);
            self.report(given, target_ownership, &self.home.path.join(name));
        }
        // The mode is set afterwards, because the umask would narrow a mode that is given at creation. Most files
        // already have the right mode.
        if self.disk.stat_file(file)?.mode == target_ownership.mode {
            return Ok(());
        }
        self.disk.chmod(file, target_ownership.mode)
    }

    /// Logs a failed change of owner, once per open home. The write itself does not fail.
    fn report(&self, given: io::Result<()>, target_ownership: Ownership, path: &Path) {
        let Err(error) = given else { return };
        // Relaxed: the flag guards no other data. At worst two threads log the same failure.
        if !self.reported.swap(true, Ordering::Relaxed) {
            let Owner { uid, gid } = target_ownership.owner;
            tracing::warn!(path = %path.display(), uid, gid, %error,
                "the owner of a file cannot be changed; other users may not be able to read it");
        }
    }

    /// The error of an operation in a directory. A denial names the directory's owner and mode.
    pub(crate) fn denied_in(&self, dir: &D::Dir, error: io::Error, doing: &str) -> io::Error {
        // Most errors are not a denial: a missing marker costs no further call.
        if error.kind() != io::ErrorKind::PermissionDenied {
            return error;
        }
        match self.disk.stat_dir(dir) {
            Ok(found) => denied(error, &found, self.disk.user(), "the directory's", doing),
            Err(_) => error,
        }
    }

    /// The error of an operation on a file. A denial names the file's owner and mode.
    pub(crate) fn denied(&self, error: io::Error, found: &Stat, doing: &str) -> io::Error {
        denied(error, found, self.disk.user(), "its", doing)
    }
}

/// A user who may not use a file must learn who owns it, which user this process has, and how to get access.
fn denied(error: io::Error, found: &Stat, me: User, whose: &str, doing: &str) -> io::Error {
    if error.kind() != io::ErrorKind::PermissionDenied {
        return error;
    }
    let (Stat { mode, uid, .. }, me) = (found, me.uid);
    // A mode does not keep root out: the cause is a file attribute, a mount, or a namespace.
    let reason = if me == ownership::ROOT {
        format!(
            "{error} while {doing} it as user 0; {whose} mode is {mode:04o} and owner {uid}: check file attributes, the mount and user namespaces"
        )
    } else {
        format!(
            "{whose} mode {mode:04o} and owner {uid} keep user {me} from {doing} it; run this as user {uid}, or let your group do it"
        )
    };
    io::Error::new(io::ErrorKind::PermissionDenied, reason)
}

/// The names in a home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    Marker,
    Requests,
    Status,
    Lock,
    /// The lock of a foreign gateway.
    ForeignLock,
}

impl Name {
    /// The name as its drafts contain it: without the leading dot.
    pub(crate) fn in_drafts(self) -> &'static str {
        self.as_str().trim_start_matches('.')
    }

    const fn as_str(self) -> &'static str {
        match self {
            Name::Marker => MARKER,
            Name::Requests => REQUESTS,
            Name::Status => STATUS,
            Name::Lock => LOCK,
            Name::ForeignLock => FOREIGN_LOCK,
        }
    }

    pub(crate) fn as_os_str(self) -> &'static OsStr {
        OsStr::new(self.as_str())
    }
}

/// The error for a file or directory that is refused because of its owner, whom it names.
fn strangers(what: &str, found: &Stat, home: &Stat) -> io::Error {
    let (owner, home) = (found.uid, home.uid);
    io::Error::new(
        io::ErrorKind::PermissionDenied,
        format!(
            "{what} belongs to user {owner}, but the home belongs to user {home}; remove it, or change its owner to user {home}"
        ),
    )
}
