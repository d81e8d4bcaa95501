//! The request files. They are written and removed durably, and a look at them never blocks or fails.
//! This module does not decide what they *mean*: `request` and `reconcile` do.
//!
//! # Invariants
//!
//! * **TG-S7 owner_release**: a named holder's begin, renewal and cancel touch only the holder's own files.
//! * **TG-S12 no_torn_request**: a writer makes a whole file in the same directory, syncs it, renames it and syncs
//!   the directory. So a reader sees a whole request or none, and an acknowledged begin or cancel survives power
//!   loss. A renewal removes the old request after the new one is durable. If the old one was cancelled meanwhile, the
//!   renewal removes the new one again.
//! * At a request's name no link is followed, no FIFO is waited for, and every read is bounded. In the original a FIFO
//!   caused an endless wait ([U33]), and a symlink caused it to overwrite another file ([U37]). If the directory of
//!   requests is a link, it is not followed either. The directory is opened once, and used by its handle.
//!
//! [U33]: crate::guide::incidents#u33
//! [U37]: crate::guide::incidents#u37

mod scan;
mod sweep;

#[cfg(test)]
mod crash_tests;

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;

use crate::disk::{Access, Disk, FileKind, Stat};
use crate::error::ControlError;
use crate::faults::fault;
use crate::holder::{Holder, Slot};
use crate::home::{Name, OpenHome};
use crate::id::fresh_id;
use crate::reconcile::Sighting;
use crate::request::Request;

pub(crate) use scan::{Observer, RawObservation, Reader, observe_own};
pub use scan::{REQUEST_BYTES_MAX, REQUESTS_MAX, Stamp};
pub(crate) use sweep::sweep_drafts;

/// A marker longer than this is a request without content, which drains.
pub const MARKER_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Looks once at the request in a slot. Never fails, and never blocks on an entry that is not a regular file.
pub(crate) fn observe<D: Disk>(home: &OpenHome<D>, slot: &Slot) -> Sighting {
    match slot {
        Slot::Shared => look(home, home.dir(), Name::Marker.as_os_str(), MARKER_BYTES_MAX),
        Slot::File(name) => match home.open_requests() {
            Ok(requests) => look(home, &requests, name, REQUEST_BYTES_MAX),
            Err(error) => seen(Err(error), REQUEST_BYTES_MAX),
        },
    }
}

fn look<D: Disk>(home: &OpenHome<D>, at: &D::Dir, name: &OsStr, bytes_max: u64) -> Sighting {
    seen(read(home, at, name, bytes_max), bytes_max)
}

fn seen(read: io::Result<Vec<u8>>, bytes_max: u64) -> Sighting {
    match read {
        Ok(bytes) if bytes.len() as u64 > bytes_max => Sighting::Present(Request::default()),
        Ok(bytes) => Sighting::Present(Request::parse(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Sighting::Absent,
        Err(error) => Sighting::Unreadable(error.to_string()),
    }
}

/// The bytes of a regular file in a directory: at most `bytes_max` and one more, which shows that the file is longer.
pub(crate) fn read<D: Disk>(
    home: &OpenHome<D>,
    at: &D::Dir,
    name: &OsStr,
    bytes_max: u64,
) -> io::Result<Vec<u8>> {
    // The kind is checked before the open, because opening a device can have side effects.
    let found = home.stat_in(at, name)?;
    read_found(home, at, name, &found, bytes_max).map(|(bytes, _)| bytes)
}

/// As [`read`], for an entry whose metadata `found` is known. Also returns the metadata of the file that was read.
fn read_found<D: Disk>(
    home: &OpenHome<D>,
    at: &D::Dir,
    name: &OsStr,
    found: &Stat,
    bytes_max: u64,
) -> io::Result<(Vec<u8>, Stat)> {
    require_regular_file(found)?;
    let opened = home.disk().open(at, name, Access::Read);
    let file = opened.map_err(|error| home.denied(error, found, "reading"))?;
    // The name may lead to another file by now.
    let opened = home.disk().stat_file(&file)?;
    require_regular_file(&opened)?;
    Ok((home.disk().read(&file, bytes_max)?, opened))
}

fn require_regular_file(found: &Stat) -> io::Result<()> {
    match found.kind {
        FileKind::File => Ok(()),
        other => Err(other.is_not("a file")),
    }
}

/// The name of a slot's file in its directory.
fn name_of(slot: &Slot) -> &OsStr {
    match slot {
        Slot::Shared => Name::Marker.as_os_str(),
        Slot::File(name) => name,
    }
}

/// The longest request that is written. A reader would take a longer one for a request without content.
const fn bytes_max(slot: &Slot) -> u64 {
    match slot {
        Slot::Shared => MARKER_BYTES_MAX,
        Slot::File(_) => REQUEST_BYTES_MAX,
    }
}

/// Writes a request into its slot, durably, and then removes the same holder's `older` requests.
/// [`Home::begin_drain`](crate::home::Home::begin_drain) calls this once it has chosen the slot.
///
/// # Errors
///
/// [`ControlError::NotWritten`]: nothing was changed. [`ControlError::NotDurable`]: the request is written,
/// but may not survive power loss.
// Property: TG-S12 no_torn_request.
pub fn begin<D: Disk>(
    home: &OpenHome<D>,
    slot: &Slot,
    request: &Request,
    older: &[Slot],
) -> Result<(), ControlError> {
    let path = home.names().slot_path(slot);
    let not_written = |source| ControlError::NotWritten { path: path.clone(), source };
    let text = request.to_json();
    if text.len() as u64 > bytes_max(slot) {
        let reason = format!(
            "a request has at most {} bytes, but this one has {}",
            bytes_max(slot),
            text.len()
        );
        return Err(not_written(io::Error::new(io::ErrorKind::InvalidInput, reason)));
    }
    let requests;
    let dir = match slot {
        Slot::Shared => home.dir(),
        Slot::File(_) => {
            home.make_requests().map_err(not_written)?;
            // Also if the directory was there before: the process that made it may not have synced it yet.
            sync(home, home.dir(), home.names().path(), Some(request))?;
            requests = home.open_requests().map_err(not_written)?;
            &requests
        }
    };
    replace(home, dir, name_of(slot), text.as_bytes(), Durability::Synced).map_err(not_written)?;
    let directory = home.names().directory_of(slot);
    sync(home, dir, &directory, Some(request))?;
    // The new request is in force even if an old one cannot be removed. An old one ends with its lease.
    for error in older.iter().filter_map(|slot| remove(home, dir, slot).err()) {
        tracing::warn!(%error, "cannot remove the old request after a new one was written; it counts until its lease ends or it is removed");
    }
    if older.is_empty() { Ok(()) } else { sync(home, dir, &directory, Some(request)) }
}

/// Writes the new request, durably, and then removes `old`. `old[0]` is the request that is renewed. If it is already
/// gone, another process of the holder cancelled or renewed it. Then the new request is removed again, no other
/// request is touched, and `false` is returned. [`Home::renew_drain`](crate::home::Home::renew_drain) calls this.
///
/// # Errors
///
/// As [`begin`], and as [`cancel`] if the new request is removed again.
// Property: TG-S14 receipt_is_true.
pub fn renew<D: Disk>(
    home: &OpenHome<D>,
    slot: &Slot,
    request: &Request,
    old: &[Slot],
) -> Result<bool, ControlError> {
    if fault!(RenewalRemovesFirst) {
        cancel(home, old)?;
        return begin(home, slot, request, &[]).map(|()| true);
    }
    begin(home, slot, request, &[])?;
    let not_durable =
        |source| ControlError::not_durable(&home.names().directory_of(slot), Some(request), source);
    let requests = home.open_requests().map_err(not_durable)?;
    for (at, old) in old.iter().enumerate() {
        match remove(home, &requests, old) {
            Ok(false) if at == 0 && !fault!(RenewalStays) => {
                cancel(home, std::slice::from_ref(slot))?;
                return Ok(false);
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot remove the old request after a new one was written; it counts until its lease ends or it is removed");
            }
        }
    }
    home.disk().sync_dir(&requests).map_err(not_durable)?;
    Ok(true)
}

/// Removes these requests, durably. Returns how many were there.
///
/// # Errors
///
/// [`ControlError::NotRemoved`]: one request is still there; the others are removed all the same.
/// [`ControlError::NotDurable`]: the removed requests may come back after power loss.
pub fn cancel<D: Disk>(home: &OpenHome<D>, slots: &[Slot]) -> Result<usize, ControlError> {
    let mut removed = 0;
    let mut failed = None;
    let mut remove_in = |dir: &D::Dir, slot: &Slot| match remove(home, dir, slot) {
        Ok(was_there) => removed += usize::from(was_there),
        // The others are removed all the same.
        Err(source) => {
            let path = home.names().slot_path(slot);
            failed = Some(ControlError::NotRemoved { path, source });
        }
    };
    // The sync also happens if there was no request: another process may have removed it and not synced yet.
    if slots.contains(&Slot::Shared) {
        remove_in(home.dir(), &Slot::Shared);
        sync(home, home.dir(), home.names().path(), None)?;
    }
    if slots.iter().any(|slot| *slot != Slot::Shared) || slots.is_empty() {
        let path = home.names().requests_path();
        match home.open_requests() {
            Ok(requests) => {
                let named = slots.iter().filter(|slot| **slot != Slot::Shared);
                named.for_each(|slot| remove_in(&requests, slot));
                sync(home, &requests, &path, None)?;
            }
            // Without a directory there are no named requests.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(ControlError::NotRemoved { path, source }),
        }
    }
    failed.map_or(Ok(removed), Err)
}

/// Removes a request's file. Returns whether there was one.
fn remove<D: Disk>(home: &OpenHome<D>, dir: &D::Dir, slot: &Slot) -> io::Result<bool> {
    match home.disk().unlink(dir, name_of(slot)) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(home.denied_in(dir, error, "removing a file from")),
    }
}

/// The number of rounds in which a holder's requests are listed and removed or renewed. Another process of the holder
/// may change them meanwhile.
pub(crate) const OWN_ROUNDS_MAX: u32 = 64;

/// Removes all requests of a holder, durably, and returns whether there was one. Repeats until none is found, because
/// another process of the holder may renew one after it was listed.
///
/// # Errors
///
/// As [`cancel`], and [`ControlError::Unlisted`].
// Property: TG-S14 receipt_is_true.
pub fn cancel_all_of<D: Disk>(home: &OpenHome<D>, holder: &Holder) -> Result<bool, ControlError> {
    let mut removed = 0;
    for round in 0..OWN_ROUNDS_MAX {
        let slots = slots_of(home, holder)?;
        if slots.is_empty() && round > 0 {
            return Ok(removed > 0);
        }
        removed += cancel(home, &slots)?;
        if slots.is_empty() || *holder == Holder::Shared {
            return Ok(removed > 0);
        }
    }
    let source = io::Error::other(
        "another process renews the holder's requests as fast as they are removed; stop it first",
    );
    Err(ControlError::Unlisted { path: home.names().requests_path(), source })
}

/// The slots in which this holder's requests are now. For the shared holder it is always the shared slot, also if that
/// is empty.
///
/// # Errors
///
/// [`ControlError::Unlisted`].
pub fn slots_of<D: Disk>(home: &OpenHome<D>, holder: &Holder) -> Result<Vec<Slot>, ControlError> {
    match holder {
        Holder::Shared => Ok(vec![Slot::Shared]),
        Holder::Named(_) => match slots_in(home, &|slot| slot.is_held_by(holder))? {
            (slots, false) => Ok(slots),
            (_, true) => Err(too_many(home)),
        },
    }
}

/// The slots of the named requests that exist now, or some of them if there are too many to list.
pub(crate) fn some_slots<D: Disk>(home: &OpenHome<D>) -> Result<Vec<Slot>, ControlError> {
    match slots_in(home, &|_| true)? {
        (slots, true) if slots.is_empty() => Err(too_many(home)),
        (slots, _) => Ok(slots),
    }
}

fn slots_in<D: Disk>(
    home: &OpenHome<D>,
    wanted: &dyn Fn(&Slot) -> bool,
) -> Result<(Vec<Slot>, bool), ControlError> {
    let path = home.names().requests_path();
    let listed = scan::slots_in(home, wanted);
    let names = listed.map_err(|source| ControlError::Unlisted { path, source })?;
    Ok((names.slots, names.cut_short))
}

fn too_many<D: Disk>(home: &OpenHome<D>) -> ControlError {
    let source = io::Error::other(
        "there are too many files; remove those that are not requests, and expired requests",
    );
    ControlError::Unlisted { path: home.names().requests_path(), source }
}

/// Whether a file's bytes must be on disk before its name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// They must: the file outlives the process that wrote it.
    Synced,
    /// They need not: the file is only about the running process.
    Volatile,
}

/// The end of a draft's name. The name begins with a dot and the final name of the file.
const DRAFT_SUFFIX: &str = ".tmp";

/// The number of characters that distinguish one draft of a file from another.
const DRAFT_ID: usize = 6;

fn draft_of(name: &OsStr) -> OsString {
    let name = name.to_string_lossy();
    let id = &fresh_id()[..DRAFT_ID];
    format!(".{}.{id}{DRAFT_SUFFIX}", name.trim_start_matches('.')).into()
}

/// Replaces a file as a whole: no reader sees a part of it.
// Property: TG-S12 no_torn_request.
pub(crate) fn replace<D: Disk>(
    home: &OpenHome<D>,
    dir: &D::Dir,
    name: &OsStr,
    bytes: &[u8],
    durability: Durability,
) -> io::Result<()> {
    let (disk, draft) = (home.disk(), draft_of(name));
    let created = disk.create(dir, &draft);
    let file = created.map_err(|error| home.denied_in(dir, error, "writing in"))?;
    let put = || {
        disk.write(&file, bytes)?;
        home.settle(dir, name, &file)?;
        if durability == Durability::Synced && !fault!(FileNotSynced) {
            disk.sync(&file)?;
        }
        disk.rename(dir, &draft, name).map_err(|error| home.denied_in(dir, error, "writing in"))
    };
    put().inspect_err(|_| {
        // If this fails, a gateway removes the draft later.
        let _ = disk.unlink(dir, &draft);
    })
}

/// Syncs a directory, so that a new or removed name in it survives power loss.
fn sync<D: Disk>(
    home: &OpenHome<D>,
    dir: &D::Dir,
    path: &Path,
    request: Option<&Request>,
) -> Result<(), ControlError> {
    if fault!(DirectoryNotSynced) {
        return Ok(());
    }
    let synced = home.disk().sync_dir(dir);
    synced.map_err(|source| ControlError::not_durable(path, request, source))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;
    use crate::home::Home;
    use crate::request::DrainRequest;
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use std::fs::File;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::PathBuf;

    fn marker_in(dir: &tempfile::TempDir) -> PathBuf {
        Home::at(dir.path()).marker_path()
    }

    fn open(marker: &Path) -> Result<OpenHome<RealDisk>, ControlError> {
        OpenHome::open(RealDisk, &Home::at(marker.parent().expect("a home")))
    }

    fn write(marker: &Path, request: &Request) -> Result<(), ControlError> {
        begin(&open(marker)?, &Slot::Shared, request, &[])
    }

    fn remove(marker: &Path) -> Result<bool, ControlError> {
        cancel(&open(marker)?, &[Slot::Shared]).map(|removed| removed > 0)
    }

    fn observe(marker: &Path) -> Sighting {
        super::observe(&open(marker).expect("opens"), &Slot::Shared)
    }

    fn request() -> Request {
        let now = crate::epoch::Now::from_system_clock();
        DrainRequest::default().stamp("r-1", &crate::epoch::Epoch::current(), now)
    }

    #[test]
    fn what_is_written_is_seen_and_what_is_removed_is_not() {
        let home = tempfile::tempdir().expect("temp dir");
        let marker = marker_in(&home);
        assert!(matches!(observe(&marker), Sighting::Absent));
        write(&marker, &request()).expect("writes");
        assert!(
            matches!(observe(&marker), Sighting::Present(seen) if seen.request_id() == Some("r-1"))
        );
        let mode = std::fs::metadata(&marker).expect("exists").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(remove(&marker).expect("removes"));
        assert!(!remove(&marker).expect("is idempotent"));
        let left = std::fs::read_dir(home.path()).expect("lists").count();
        assert_eq!(left, 0, "no temporary file stays behind");
    }

    #[test]
    fn a_marker_that_is_not_a_file_is_unreadable_at_once_and_never_followed() {
        let home = tempfile::tempdir().expect("temp dir");
        let marker = marker_in(&home);
        let unreadable = |what: &str| {
            let Sighting::Unreadable(reason) = observe(&marker) else {
                panic!("{what} was read");
            };
            assert!(reason.contains(what), "{reason}");
        };

        mknodat(CWD, &marker, FileType::Fifo, Mode::RUSR, 0).expect("mkfifo");
        unreadable("FIFO");
        remove(&marker).expect("a FIFO can be removed");

        std::fs::create_dir(&marker).expect("mkdir");
        unreadable("directory");
        assert!(matches!(remove(&marker), Err(ControlError::NotRemoved { .. })));
        assert!(matches!(write(&marker, &request()), Err(ControlError::NotWritten { .. })));
        std::fs::remove_dir(&marker).expect("rmdir");

        let target = home.path().join("somebody-else's");
        std::fs::write(&target, "precious").expect("writes");
        symlink(&target, &marker).expect("symlink");
        unreadable("symbolic link");
        write(&marker, &request()).expect("replaces the link itself");
        assert_eq!(std::fs::read_to_string(&target).expect("reads"), "precious");
        assert!(matches!(observe(&marker), Sighting::Present(_)));
    }

    #[test]
    fn a_marker_past_the_bound_drains_without_content() {
        let home = tempfile::tempdir().expect("temp dir");
        let marker = marker_in(&home);
        let file = File::create(&marker).expect("creates");
        file.set_len(MARKER_BYTES_MAX * 100).expect("sparse");
        assert!(matches!(observe(&marker), Sighting::Present(seen) if seen.is_contentless()));
    }

    /// An I/O error and a device, which both occur without a broken disk.
    #[test]
    fn an_i_o_error_and_a_device_are_unreadable_at_once() {
        for (at, name, what) in
            [("/proc/self", "mem", "Input/output error"), ("/dev", "zero", "a device")]
        {
            let home = Home::at(at).open().expect("opens");
            let looked = look(&home, home.dir(), OsStr::new(name), MARKER_BYTES_MAX);
            let Sighting::Unreadable(reason) = looked else { panic!("{at}/{name} was read") };
            assert!(reason.contains(what), "{reason}");
        }
    }

    #[test]
    fn a_missing_home_takes_no_request_and_the_error_names_it() {
        let home = tempfile::tempdir().expect("temp dir");
        let marker = home.path().join("gone").join(".drain_request.json");
        let error = write(&marker, &request()).expect_err("there is no such directory");
        let home = marker.parent().expect("a home").display().to_string();
        assert!(error.to_string().contains(&home), "{error}");
    }

    /// A reader takes a request that is too long for one without content, which has no lease.
    #[test]
    fn a_request_that_no_reader_would_read_is_not_written() {
        let home = tempfile::tempdir().expect("temp dir");
        let opened = Home::at(home.path()).open().expect("opens");
        let slot = Slot::of_file(OsStr::new("ci.1.json")).expect("a slot");
        let now = crate::epoch::Now::from_system_clock();
        let ask = |length| {
            DrainRequest::new("x".repeat(length)).stamp("1", &crate::epoch::Epoch::current(), now)
        };
        let error = begin(&opened, &slot, &ask(20_000), &[]).expect_err("too long");
        assert!(error.to_string().contains("at most 16384 bytes"), "{error}");
        assert_eq!(super::observe(&opened, &slot), Sighting::Absent);
        begin(&opened, &slot, &ask(10_000), &[]).expect("writes");
        let Sighting::Present(read) = super::observe(&opened, &slot) else { panic!("unread") };
        assert_eq!(read.request_id(), Some("1"));
    }
}
