//! The directory a gateway and its controllers share: what its files are called, and the lock that
//! says whether a gateway is alive there. It decides nothing about drains.
//!
//! | file | what | written by |
//! |---|---|---|
//! | `.drain_request.json` | the marker: present means drain | controllers, operators |
//! | `.drain_requests/<holder>.<request_id>.json` | a named holder's request: present means drain | that holder |
//! | `gateway_state.json` | the status | the gateway |
//! | `.tidegate.lock` | locked (`flock`) while the gateway is alive; holds its pid | the gateway |

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, OFlags};

use crate::epoch::{Epoch, Now};
use crate::error::{ControlError, StartError};
use crate::holder::{Holder, Slot};
use crate::json::RawObject;
use crate::marker::{self, Eyes, Look, RealDisk};
use crate::reconcile::{Listing, Sighting, Verdict, judge};
use crate::request::{DrainRequest, Request, Standing};
use crate::status::{Reading, STATUS_BYTES_MAX};

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
/// let deployer = Holder::named("deployer")?;
/// home.begin_drain(&DrainRequest::by("alice").holder(deployer.clone()))?;
/// home.begin_drain(&DrainRequest::by("bob"))?;
/// assert!(home.cancel_drain(&deployer)?);
/// assert!(home.observe().verdict().asks_for_drain(), "bob still does");
/// assert!(!home.status()?.is_alive());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    path: PathBuf,
    mode: u32,
}

impl Home {
    /// The home in this directory. Touches nothing.
    pub fn at(path: impl Into<PathBuf>) -> Home {
        Home { path: path.into(), mode: marker::DEFAULT_MODE }
    }

    /// The same home, whose files are written with these permission bits instead of
    /// [`DEFAULT_MODE`](marker::DEFAULT_MODE): `0o640` on both sides where gateway and controllers are
    /// different users of one group, in a home that is the group's and that the group may write (2770).
    /// The owner can always read and write what he writes. The directory of named requests is made like
    /// the home itself: who may make the one marker may make named requests.
    #[must_use]
    pub fn with_mode(self, mode: u32) -> Home {
        Home { mode: mode & 0o777 | 0o600, ..self }
    }

    /// See [`Home::with_mode`].
    #[must_use]
    pub fn mode(&self) -> u32 {
        self.mode
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

    /// The place of the named requests.
    #[must_use]
    pub fn requests_path(&self) -> PathBuf {
        self.path.join(".drain_requests")
    }

    /// The place of the request in this slot.
    #[must_use]
    pub fn slot_path(&self, slot: &Slot) -> PathBuf {
        match slot {
            Slot::Shared => self.marker_path(),
            Slot::File(name) => self.requests_path().join(name),
        }
    }

    /// The directory a slot's file stands in.
    pub(crate) fn directory_of(&self, slot: &Slot) -> PathBuf {
        match slot {
            Slot::Shared => self.path.clone(),
            Slot::File(_) => self.requests_path(),
        }
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
    /// Gives what it wrote. What the same holder asked before is replaced; what others ask is not
    /// touched (TG-S7). A gateway closes at its next look, or at its start.
    ///
    /// # Errors
    ///
    /// [`ControlError::NotWritten`], [`ControlError::NotDurable`], [`ControlError::Unlisted`].
    pub fn begin_drain(&self, ask: &DrainRequest) -> Result<Request, ControlError> {
        let request = ask.stamp(&fresh_id(), &Epoch::current(), Now::by_system());
        self.begin(ask.its_holder(), &request)?;
        Ok(request)
    }

    pub(crate) fn begin(&self, holder: &Holder, request: &Request) -> Result<(), ControlError> {
        let (slot, older) = match holder {
            Holder::Shared => (Slot::Shared, Vec::new()),
            Holder::Named(name) => (
                Slot::of(name, request.request_id().unwrap_or_default()),
                marker::slots_of(&RealDisk, self, holder)?,
            ),
        };
        marker::begin(&RealDisk, self, &slot, request, &older)
    }

    /// Asks again for what the holder asks already, for as long as `lease` from now, or as before. His
    /// request is in force throughout: the new one stands before the old one goes. It has a new
    /// [`request_id`](Request::request_id).
    ///
    /// Where the holder is the shared slot, a cancel that comes between looking and writing is undone.
    /// A named holder's is not.
    ///
    /// # Errors
    ///
    /// [`ControlError::NothingToRenew`] where he has no live request any more, or none that lasted until
    /// the new one stood: his drain is lost, and the gate may have been open since.
    /// [`ControlError::Unseen`] where that cannot be told. Otherwise as [`Home::begin_drain`].
    pub fn renew_drain(
        &self,
        holder: &Holder,
        lease: Option<Duration>,
    ) -> Result<Request, ControlError> {
        for _ in 0..marker::OWN_ROUNDS_MAX {
            if let Some(renewed) = self.renew_once(holder, lease)? {
                return Ok(renewed);
            }
        }
        Err(ControlError::NothingToRenew { holder: holder.clone() })
    }

    /// Renews what the holder asks now; `None` where it was gone before the new request was there, for
    /// it was cancelled, or renewed by another process of his.
    fn renew_once(
        &self,
        holder: &Holder,
        lease: Option<Duration>,
    ) -> Result<Option<Request>, ControlError> {
        let observation = self.observe();
        let is_his = |slot: &Slot| slot.is_held_by(holder);
        let mut live = observation.requests().filter(|it| is_his(it.0) && it.1.asks_for_drain());
        let Some((slot, _, request)) = live.next() else {
            return Err(observation
                .unseen_of(holder)
                .unwrap_or_else(|| ControlError::NothingToRenew { holder: holder.clone() }));
        };
        let again = DrainRequest::again(request, holder.clone());
        let again = match lease {
            Some(lease) => again.lease(lease),
            None => again,
        };
        let epoch = Epoch::current();
        let renewed = again.stamp(&fresh_id(), &epoch, Now::by_system());
        let stood = match holder {
            Holder::Shared => {
                self.begin(holder, &renewed)?;
                true
            }
            Holder::Named(name) => {
                let others = observation.requests().map(|(other, ..)| other);
                let others = others.filter(|other| is_his(other) && *other != slot);
                let old: Vec<Slot> = std::iter::once(slot).chain(others).cloned().collect();
                let new = Slot::of(name, renewed.request_id().unwrap_or_default());
                marker::renew(&RealDisk, self, &new, &renewed, &old)?
            }
        };
        if !stood {
            return Ok(None);
        }
        if request.standing(&epoch, Now::by_system()) == Standing::Live {
            return Ok(Some(renewed));
        }
        // The old one ran out before the new one was there for certain.
        self.cancel_request(holder, renewed.request_id().unwrap_or_default())?;
        Err(ControlError::NothingToRenew { holder: holder.clone() })
    }

    /// Takes the holder's request away, durably, and says whether there was one (R3). Idempotent.
    ///
    /// # Errors
    ///
    /// [`ControlError::NotRemoved`]: the drain stays on (U8); [`ControlError::NotDurable`],
    /// [`ControlError::Unlisted`].
    pub fn cancel_drain(&self, holder: &Holder) -> Result<bool, ControlError> {
        marker::cancel_all_of(&RealDisk, self, holder)
    }

    /// Takes this one request of the holder away, and says whether it still stood there: for who gives
    /// up what he has just begun, and must not hit what the same holder asked since. Where the holder
    /// is the shared slot it is first read whose request stands there, and another writer may come in
    /// between; a named holder's cannot be mistaken.
    ///
    /// # Errors
    ///
    /// As [`Home::cancel_drain`], and [`ControlError::Unseen`] where it cannot be told whose request
    /// stands there.
    pub fn cancel_request(&self, holder: &Holder, request_id: &str) -> Result<bool, ControlError> {
        let slots = match holder {
            Holder::Named(name) => vec![Slot::of(name, request_id)],
            Holder::Shared => match self.look_at(holder, request_id) {
                Sighting::Present(_) => vec![Slot::Shared],
                Sighting::Absent => return Ok(false),
                Sighting::Unreadable(reason) => {
                    return Err(ControlError::Unseen { holder: holder.clone(), reason });
                }
            },
        };
        Ok(marker::cancel(&RealDisk, self, &slots)? > 0)
    }

    /// Looks at this one request of the holder: [`Sighting::Absent`] also where another one stands in
    /// its place.
    #[must_use]
    pub fn look_at(&self, holder: &Holder, request_id: &str) -> Sighting {
        match holder {
            Holder::Named(name) => marker::observe(&self.slot_path(&Slot::of(name, request_id))),
            Holder::Shared => match marker::observe(&self.marker_path()) {
                Sighting::Present(other) if other.request_id() != Some(request_id) => {
                    Sighting::Absent
                }
                seen => seen,
            },
        }
    }

    /// Takes everybody's request away, also those of others: for people, when whoever asked is gone.
    /// Gives what it took away, each logged with `by`, who did this; and, as [`Home::cancel_drain`] does,
    /// why something stays, if anything does. What could be removed is removed all the same.
    pub fn cancel_all(&self, by: &str) -> (Vec<Removed>, Result<(), ControlError>) {
        let mut removed = Vec::new();
        let mut result = self.remove(&[Slot::Shared], by, &mut removed);
        // There may be more than one listing takes in, and some may be renewed meanwhile.
        for _ in 0..marker::OWN_ROUNDS_MAX {
            let before = removed.len();
            let named = match marker::some_slots(self) {
                Ok(slots) if slots.is_empty() => break,
                Ok(slots) => self.remove(&slots, by, &mut removed),
                Err(error) => Err(error),
            };
            let stuck = named.is_err() && removed.len() == before;
            result = result.and(named);
            if stuck {
                break;
            }
        }
        (removed, result)
    }

    fn remove(
        &self,
        slots: &[Slot],
        by: &str,
        removed: &mut Vec<Removed>,
    ) -> Result<(), ControlError> {
        let mut failed = None;
        for slot in slots {
            let seen = marker::observe(&self.slot_path(slot));
            match marker::cancel(&RealDisk, self, std::slice::from_ref(slot)) {
                Ok(0) => {}
                Ok(_) => {
                    let request = match seen {
                        Sighting::Present(request) => Some(request),
                        Sighting::Absent | Sighting::Unreadable(_) => None,
                    };
                    let principal = request.as_ref().and_then(Request::principal);
                    tracing::warn!(by, %slot, principal, "a drain is cancelled by force");
                    removed.push(Removed { slot: slot.clone(), request });
                }
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Looks at every request. Never fails or blocks (R5). Of a home that is not there nothing is
    /// known.
    #[must_use]
    pub fn observe(&self) -> Observation {
        let look = Eyes::of_visitor(self).look(None, &[]);
        Observation::of(look, Epoch::current(), Now::by_system())
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
        let bytes = match marker::read(&self.status_path(), STATUS_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(source) => {
                return Err(ControlError::Unreadable { path: self.status_path(), source });
            }
        };
        Ok(Reading::new(&bytes, lock.as_ref()))
    }

    /// What stands in the lock's file, if a gateway holds it.
    fn read_lock(&self) -> Result<Option<RawObject>, ControlError> {
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
        let options =
            OpenOptions::new().read(true).write(true).create(true).mode(self.mode).clone();
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
        // Who may read the status must be able to see whether it is a living gateway's. Not an error
        // where the file is another user's: then its mode is his affair.
        let _ = file.set_permissions(PermissionsExt::from_mode(self.mode));
        let owner = serde_json::json!({ "pid": std::process::id(), "incarnation": incarnation });
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(owner.to_string().as_bytes()))
            .map_err(unusable)?;
        let id = FileId::from(&rustix::fs::fstat(&file).map_err(|error| unusable(error.into()))?);
        Ok(HomeLock { file, id })
    }
}

/// A request that was [taken away by force](Home::cancel_all).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Removed {
    /// Where it stood.
    pub slot: Slot,
    /// What it said; `None` where that could not be read.
    pub request: Option<Request>,
}

/// What a visitor sees who looks at a home once, judged as a gateway on this machine would.
#[derive(Clone, Debug)]
pub struct Observation {
    sightings: Vec<(Slot, Sighting)>,
    listing: Listing,
    epoch: Epoch,
    now: Now,
}

impl Observation {
    pub(crate) fn of(look: Look, epoch: Epoch, now: Now) -> Observation {
        let listing = look.listing.clone();
        Observation { sightings: look.into_sightings().collect(), listing, epoch, now }
    }

    /// What it all amounts to.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let listing = match self.listing {
            Listing::Partial(_) => Verdict::Unreadable,
            Listing::Whole | Listing::Unchanged => Verdict::Absent,
        };
        self.sightings
            .iter()
            .map(|(_, sighting)| judge(sighting, &self.epoch, self.now))
            .fold(listing, Verdict::with)
    }

    /// The requests that could be read, live or not: the shared one first.
    pub fn requests(&self) -> impl Iterator<Item = (&Slot, Verdict, &Request)> {
        self.sightings.iter().filter_map(|(slot, sighting)| match sighting {
            Sighting::Present(request) => {
                Some((slot, judge(sighting, &self.epoch, self.now), request))
            }
            Sighting::Absent | Sighting::Unreadable(_) => None,
        })
    }

    /// Why it cannot be told what this holder asks, if that cannot be told.
    pub(crate) fn unseen_of(&self, holder: &Holder) -> Option<ControlError> {
        let unreadable = self.sightings.iter().find_map(|(slot, sighting)| match sighting {
            Sighting::Unreadable(reason) if slot.is_held_by(holder) => Some(reason),
            _ => None,
        });
        let reason = unreadable.or(match (&self.listing, holder) {
            (Listing::Partial(reason), Holder::Named(_)) => Some(reason),
            _ => None,
        })?;
        Some(ControlError::Unseen { holder: holder.clone(), reason: reason.clone() })
    }

    /// Why something could not be read, if anything could not.
    #[must_use]
    pub fn complaint(&self) -> Option<String> {
        let unreadable = self.sightings.iter().find_map(|(slot, sighting)| match sighting {
            Sighting::Unreadable(reason) => Some(format!("{slot}: {reason}")),
            Sighting::Absent | Sighting::Present(_) => None,
        });
        unreadable.or_else(|| match &self.listing {
            Listing::Partial(reason) => Some(reason.clone()),
            Listing::Whole | Listing::Unchanged => None,
        })
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

fn read_body(file: &mut File) -> Option<RawObject> {
    const OWNER_BYTES_MAX: u64 = 4096;
    let mut bytes = Vec::new();
    file.take(OWNER_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    RawObject::parse(&bytes)
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
