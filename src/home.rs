//! The directory a gateway and its controllers share: what its files are called, and the lock that
//! says whether a gateway is alive there. It decides nothing about drains.
//!
//! | file | what | written by |
//! |---|---|---|
//! | `.drain_request.json` | the marker: present means drain | controllers, operators |
//! | `gateway_state.json` | the status | the gateway |
//! | `.tidegate.lock` | locked (`flock`) while the gateway is alive; holds its pid | the gateway |

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, OFlags};

use crate::body::Body;
use crate::epoch::{Clock, Epoch};
use crate::error::{ControlError, StartError};
use crate::marker;
use crate::reconcile::{Sighting, Verdict, judge};
use crate::request::{DrainRequest, Holder, Request};
use crate::status::Reading;

/// How often, and how long apart, a start asks for a lock that somebody holds. A reader who asks
/// whether a gateway is alive holds it for microseconds; a gateway holds it for good.
const LOCK_ATTEMPTS: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// A home, seen from outside: what a control plane or the `tidegate` command uses. A gateway embeds
/// [`Gateway`](crate::Gateway) instead.
///
/// ```
/// use tidegate::{home::Home, request::{DrainRequest, Holder}};
/// # let dir = tempfile::tempdir()?;
/// let home = Home::at(dir.path());
/// let request = home.begin_drain(&DrainRequest::by("deployer"))?;
/// assert!(request.request_id().is_some());
/// assert!(home.cancel_drain(&Holder::Shared)?);
/// assert!(!home.status()?.is_alive());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    path: PathBuf,
}

impl Home {
    /// The home in this directory. Touches nothing.
    pub fn at(path: impl Into<PathBuf>) -> Home {
        Home { path: path.into() }
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The marker's place.
    #[must_use]
    pub fn marker_path(&self) -> PathBuf {
        self.path.join(".drain_request.json")
    }

    /// The status file's place.
    #[must_use]
    pub fn status_path(&self) -> PathBuf {
        self.path.join("gateway_state.json")
    }

    /// The lock's place.
    #[must_use]
    pub fn lock_path(&self) -> PathBuf {
        self.path.join(".tidegate.lock")
    }

    /// Asks for a drain, durably: when this returns, the request survives power loss (R2, TG-S12).
    /// Gives what it wrote. A gateway closes at its next look, or at its start.
    ///
    /// # Errors
    ///
    /// [`ControlError::NotWritten`], [`ControlError::NotDurable`].
    pub fn begin_drain(&self, ask: &DrainRequest) -> Result<Request, ControlError> {
        let request = ask.stamp(&fresh_id(), &Epoch::current(), Clock::System.now());
        marker::write(&self.marker_path(), &request)?;
        Ok(request)
    }

    /// Takes the holder's request away, durably, and says whether there was one (R3). Idempotent.
    ///
    /// # Errors
    ///
    /// [`ControlError::NotRemoved`]: the drain stays on (U8); [`ControlError::NotDurable`].
    pub fn cancel_drain(&self, holder: &Holder) -> Result<bool, ControlError> {
        match holder {
            Holder::Shared => marker::remove(&self.marker_path()),
        }
    }

    /// Looks at the marker. Never fails or blocks (R5). Of a home that is not there nothing is known.
    #[must_use]
    pub fn observe(&self) -> Sighting {
        match (marker::observe(&self.marker_path()), rustix::fs::stat(&self.path)) {
            (Sighting::Absent, Err(error)) => {
                Sighting::Unreadable(format!("the home cannot be seen: {error}"))
            }
            (sighting, _) => sighting,
        }
    }

    /// What a gateway on this machine would make of a sighting now.
    #[must_use]
    pub fn judge(&self, sighting: &Sighting) -> Verdict {
        judge(sighting, &Epoch::current(), Clock::System.now())
    }

    /// What the gateway says of itself, and whether it is alive to say so. A status file that is
    /// missing or broken is an empty reading, and idle is never inferred from it (F10).
    ///
    /// # Errors
    ///
    /// [`ControlError::Unreadable`] where it cannot be told whether a gateway is alive.
    pub fn status(&self) -> Result<Reading, ControlError> {
        // The lock first: a status read after it was seen held is of that gateway or a later one.
        let lock = self.read_lock()?;
        let bytes = match marker::read(&self.status_path()) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(source) => {
                return Err(ControlError::Unreadable { path: self.status_path(), source });
            }
        };
        Ok(Reading::new(&bytes, lock.as_ref()))
    }

    /// What stands in the lock's file, if a gateway holds it.
    fn read_lock(&self) -> Result<Option<Body>, ControlError> {
        let path = self.lock_path();
        let unreadable = |source| ControlError::Unreadable { path: path.clone(), source };
        let mut file = match open_lock(&path, OpenOptions::new().read(true)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(error)),
        };
        if try_lock(&file, FlockOperation::NonBlockingLockShared).map_err(unreadable)? {
            // Nobody had it. Closing the file gives it back.
            return Ok(None);
        }
        Ok(Some(read_body(&mut file).unwrap_or_default()))
    }

    /// Takes the lock for a gateway, for as long as the value lives.
    pub(crate) fn lock(&self, incarnation: &str) -> Result<HomeLock, StartError> {
        let path = self.lock_path();
        let unusable = |source| StartError::Home { path: path.clone(), source };
        let options = OpenOptions::new().read(true).write(true).create(true).mode(0o600).clone();
        let mut file = open_lock(&path, &options).map_err(unusable)?;
        for attempt in 1.. {
            if try_lock(&file, FlockOperation::NonBlockingLockExclusive).map_err(unusable)? {
                break;
            }
            if attempt == LOCK_ATTEMPTS {
                let pid = read_body(&mut file).and_then(|body| body.read("pid"));
                return Err(StartError::HomeInUse { home: self.path.clone(), pid });
            }
            std::thread::sleep(LOCK_PAUSE);
        }
        let owner = serde_json::json!({ "pid": std::process::id(), "incarnation": incarnation });
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(owner.to_string().as_bytes()))
            .map_err(unusable)?;
        let id = FileId::from(&rustix::fs::fstat(&file).map_err(|error| unusable(error.into()))?);
        Ok(HomeLock { file, id })
    }
}

/// The home lock, held. Dropping it says that the gateway is gone (F17).
#[derive(Debug)]
pub(crate) struct HomeLock {
    file: File,
    id: FileId,
}

impl HomeLock {
    pub(crate) fn id(&self) -> FileId {
        self.id
    }
}

impl Drop for HomeLock {
    fn drop(&mut self) {
        // So that nobody is told the pid of a gateway that is gone. Failing that, it is merely stale.
        let _ = self.file.set_len(0);
    }
}

/// Which file, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// Of the file that has this name now, if one has.
    pub(crate) fn of(path: &Path) -> Option<FileId> {
        rustix::fs::lstat(path).ok().map(|found| FileId::from(&found))
    }
}

impl From<&rustix::fs::Stat> for FileId {
    #[allow(
        clippy::unnecessary_cast,
        clippy::cast_sign_loss,
        reason = "their types differ by system"
    )]
    fn from(found: &rustix::fs::Stat) -> FileId {
        FileId { device: found.st_dev as u64, inode: found.st_ino as u64 }
    }
}

fn open_lock(path: &Path, options: &OpenOptions) -> io::Result<File> {
    // Neither followed nor waited for, like the marker.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    options.clone().custom_flags(flags.bits().cast_signed()).open(path)
}

fn try_lock(file: &File, operation: FlockOperation) -> io::Result<bool> {
    match rustix::fs::flock(file, operation) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn read_body(file: &mut File) -> Option<Body> {
    const OWNER_BYTES_MAX: u64 = 4096;
    let mut bytes = Vec::new();
    file.take(OWNER_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    Body::parse(&bytes)
}

/// A name nobody else has: 128 bits from the operating system's seed, this process and this instant.
pub(crate) fn fresh_id() -> String {
    use std::hash::{BuildHasher, RandomState};

    let here_and_now = (std::process::id(), std::time::SystemTime::now());
    let half = || RandomState::new().hash_one(here_and_now);
    format!("{:016x}{:016x}", half(), half())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ() {
        let ids: std::collections::HashSet<_> = (0..1000).map(|_| fresh_id()).collect();
        assert_eq!(ids.len(), 1000);
        assert!(ids.iter().all(|id| id.len() == 32));
    }

    #[test]
    fn one_gateway_a_home_and_readers_do_not_disturb() {
        let dir = tempfile::tempdir().expect("temp dir");
        let home = Home::at(dir.path());
        assert!(home.read_lock().expect("reads").is_none());
        let held = home.lock("first").expect("free");
        let Err(StartError::HomeInUse { pid, .. }) = home.lock("second") else {
            panic!("two gateways on one home");
        };
        assert_eq!(pid, Some(std::process::id()));
        let owner = home.read_lock().expect("reads").expect("held");
        assert_eq!(owner.string("incarnation").as_deref(), Some("first"));
        drop(held);
        assert!(home.read_lock().expect("reads").is_none(), "what it left behind says nothing");
        home.lock("third").expect("free again");
    }
}
