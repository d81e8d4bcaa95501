//! The request files: written durably, removed durably, looked at without ever blocking or failing.
//! What they *mean* is decided elsewhere (`request`, `reconcile`).
//!
//! # Invariants
//!
//! * **TG-S7 owner_release**: a named holder's begin, renewal and cancel touch no file but his own.
//! * **TG-S12 no_torn_request**: a writer makes a whole file beside the place, syncs it, renames it
//!   over and syncs the directory, so a reader sees a whole request or none, and an acknowledged begin
//!   or cancel survives power loss. A renewal removes the old request after the new one is durable, and
//!   takes the new one back where the old one had been cancelled meanwhile.
//! * Nothing at a request's name is followed, waited for or read without bound: a FIFO hung the
//!   original for good (U33), a symlink had it overwrite somebody else's file (U37).

mod disk;
mod scan;
mod sweep;

#[cfg(test)]
mod crash_tests;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustix::fd::AsFd;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat};

use crate::error::ControlError;
use crate::holder::{Holder, Slot};
use crate::home::Home;
use crate::reconcile::Sighting;
use crate::request::Request;

pub(crate) use disk::RealDisk;
pub use disk::{DEFAULT_MODE, Disk};
pub(crate) use scan::{Eyes, Look, Stamp};
pub use scan::{REQUEST_BYTES_MAX, REQUESTS_MAX};
pub(crate) use sweep::sweep_drafts;

/// A marker longer than this is a request without content, which drains.
pub const MARKER_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Looks once. Does not block on anything that is no regular file, and never fails.
#[must_use]
pub fn observe(path: &Path) -> Sighting {
    sighting_of(read(path, MARKER_BYTES_MAX), MARKER_BYTES_MAX)
}

fn sighting_of(read: io::Result<Vec<u8>>, bytes_max: u64) -> Sighting {
    match read {
        Ok(bytes) if bytes.len() as u64 > bytes_max => Sighting::Present(Request::default()),
        Ok(bytes) => Sighting::Present(Request::parse(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Sighting::Absent,
        Err(error) => Sighting::Unreadable(error.to_string()),
    }
}

/// The bytes of a regular file, `bytes_max` and one more at most.
pub(crate) fn read(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    read_at(CWD, path, bytes_max)
}

/// The bytes of a regular file in a directory, `bytes_max` and one more at most.
fn read_at(directory: impl AsFd, name: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    // Looked at before it is opened, since opening a device can itself do something.
    let found = rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    require_regular_file(&found)?;
    // It may be another file by now: not followed, not waited for, and asked once more what it is.
    let flags =
        OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = rustix::fs::openat(&directory, name, flags, Mode::empty())
        .map_err(|error| name_the_owner(error, &found))?;
    let file = File::from(file);
    let found = rustix::fs::fstat(&file)?;
    require_regular_file(&found)?;
    let mut bytes =
        Vec::with_capacity(usize::try_from(found.st_size.clamp(0, 4095)).unwrap_or(0) + 1);
    file.take(bytes_max + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Whoever may not read a request must learn whose it is, and what would let him.
fn name_the_owner(error: rustix::io::Errno, found: &Stat) -> io::Error {
    if error != rustix::io::Errno::ACCESS {
        return error.into();
    }
    io::Error::new(
        io::ErrorKind::PermissionDenied,
        format!(
            "its mode {:04o} and owner {} keep user {} from reading it; write it as the gateway's user, or with a mode that lets its group read",
            found.st_mode & 0o7777,
            found.st_uid,
            rustix::process::geteuid().as_raw(),
        ),
    )
}

fn require_regular_file(found: &Stat) -> io::Result<()> {
    let kind = match FileType::from_raw_mode(found.st_mode) {
        FileType::RegularFile => return Ok(()),
        FileType::Directory => "a directory",
        FileType::Symlink => "a symbolic link",
        FileType::Fifo => "a FIFO",
        FileType::Socket => "a socket",
        _ => "a device",
    };
    Err(io::Error::other(format!("{kind} stands there, not a file; remove it")))
}

/// Puts a request in its slot, durably, and then takes the same holder's `older` ones away. What
/// [`Home::begin_drain`] does once it has chosen the slot.
///
/// # Errors
///
/// [`ControlError::NotWritten`]: what stood there stands. [`ControlError::NotDurable`]: the request
/// stands, but may not survive power loss.
// Property: TG-S12 no_torn_request.
pub fn begin(
    disk: &impl Disk,
    home: &Home,
    slot: &Slot,
    request: &Request,
    older: &[Slot],
) -> Result<(), ControlError> {
    let path = home.slot_path(slot);
    let not_written = |source| ControlError::NotWritten { path: path.clone(), source };
    let directory = home.directory_of(slot);
    if directory != home.path() {
        disk.make_directory(&home.requests_path()).map_err(not_written)?;
        // Also where it was there before: whoever made it may not have synced it yet.
        sync(disk, home.path(), Some(request))?;
    }
    replace(disk, &path, home.mode(), request.to_json().as_bytes(), Durability::Synced)
        .map_err(not_written)?;
    sync(disk, &directory, Some(request))?;
    // The new request is in force, whatever becomes of the old: that one dies of its own lease.
    for error in older.iter().filter_map(|slot| disk.remove(&home.slot_path(slot)).err()) {
        tracing::warn!(%error, "a request that was renewed cannot be removed");
    }
    if older.is_empty() { Ok(()) } else { sync(disk, &directory, Some(request)) }
}

/// Puts a request in its slot, durably, and then takes the holder's `old` ones away, of which the first
/// is the one it renews. Says whether that still stood there: if not, the holder has cancelled it
/// meanwhile, or renewed it elsewhere. Then the new one is taken away again, and nothing else is: what
/// else is his may be what it was renewed to. What [`Home::renew_drain`] does with what it saw.
///
/// # Errors
///
/// As [`begin`], and as [`cancel`] where the new one is taken away again.
// Property: TG-S14 receipt_is_true.
pub fn renew(
    disk: &impl Disk,
    home: &Home,
    slot: &Slot,
    request: &Request,
    old: &[Slot],
) -> Result<bool, ControlError> {
    begin(disk, home, slot, request, &[])?;
    for (at, old) in old.iter().enumerate() {
        match disk.remove(&home.slot_path(old)) {
            Ok(false) if at == 0 => {
                cancel(disk, home, std::slice::from_ref(slot))?;
                return Ok(false);
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "a request that was renewed cannot be removed"),
        }
    }
    sync(disk, &home.directory_of(slot), Some(request))?;
    Ok(true)
}

/// Takes these requests away, durably. Says how many stood there.
///
/// # Errors
///
/// [`ControlError::NotRemoved`]: it stands, and what could be removed is removed all the same.
/// [`ControlError::NotDurable`]: what is gone may come back after power loss.
pub fn cancel(disk: &impl Disk, home: &Home, slots: &[Slot]) -> Result<usize, ControlError> {
    let mut removed = 0;
    let mut failed = None;
    for slot in slots {
        let path = home.slot_path(slot);
        match disk.remove(&path) {
            Ok(was_there) => removed += usize::from(was_there),
            // The others all the same.
            Err(source) => failed = Some(ControlError::NotRemoved { path, source }),
        }
    }
    // Also where nothing stood: the removal that somebody else began may not be on disk yet.
    if slots.contains(&Slot::Shared) {
        sync(disk, home.path(), None)?;
    }
    if slots.iter().any(|slot| *slot != Slot::Shared) || slots.is_empty() {
        match disk.sync_directory(&home.requests_path()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(not_durable(&home.requests_path(), None, error));
            }
            // Where there is no directory, nothing stands in it.
            _ => {}
        }
    }
    failed.map_or(Ok(removed), Err)
}

/// How often a holder's own requests are looked for again, where another process of his changes them
/// meanwhile.
pub(crate) const OWN_ROUNDS_MAX: u32 = 64;

/// Takes all of a holder's requests away, durably, and says whether there was one. Looks until there is
/// none: another process of his may renew one after it was listed.
///
/// # Errors
///
/// As [`cancel`], and [`ControlError::Unlisted`].
// Property: TG-S14 receipt_is_true.
pub fn cancel_all_of(disk: &impl Disk, home: &Home, holder: &Holder) -> Result<bool, ControlError> {
    let mut removed = 0;
    for round in 0..OWN_ROUNDS_MAX {
        let slots = slots_of(disk, home, holder)?;
        if slots.is_empty() && round > 0 {
            return Ok(removed > 0);
        }
        removed += cancel(disk, home, &slots)?;
        if slots.is_empty() || *holder == Holder::Shared {
            return Ok(removed > 0);
        }
    }
    let source = io::Error::other("its requests are renewed as fast as they are removed");
    Err(ControlError::Unlisted { path: home.requests_path(), source })
}

/// The slots in which this holder's requests stand now; the shared one whether or not one does.
///
/// # Errors
///
/// [`ControlError::Unlisted`].
pub fn slots_of(disk: &impl Disk, home: &Home, holder: &Holder) -> Result<Vec<Slot>, ControlError> {
    match holder {
        Holder::Shared => Ok(vec![Slot::Shared]),
        Holder::Named(_) => match slots_in(disk, home, &|slot| slot.is_held_by(holder))? {
            (slots, false) => Ok(slots),
            (_, true) => Err(too_many(home)),
        },
    }
}

/// The slots of named requests that stand there now, or some of them where there are many.
pub(crate) fn some_slots(home: &Home) -> Result<Vec<Slot>, ControlError> {
    match slots_in(&RealDisk, home, &|_| true)? {
        (slots, true) if slots.is_empty() => Err(too_many(home)),
        (slots, _) => Ok(slots),
    }
}

fn slots_in(
    disk: &impl Disk,
    home: &Home,
    wanted: &dyn Fn(&Slot) -> bool,
) -> Result<(Vec<Slot>, bool), ControlError> {
    let path = home.requests_path();
    disk.slots(&path, wanted).map_err(|source| ControlError::Unlisted { path, source })
}

fn too_many(home: &Home) -> ControlError {
    let source =
        io::Error::other("there are too many files; remove what is no request, or is dead");
    ControlError::Unlisted { path: home.requests_path(), source }
}

/// Whether a replaced file's bytes must be on disk before its name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// They must: the file outlives the process that wrote it.
    Synced,
    /// They need not: the file says something of the living process only.
    Volatile,
}

/// Replaces a file as a whole: no reader ever sees half of it.
// Property: TG-S12 no_torn_request.
pub(crate) fn replace(
    disk: &impl Disk,
    path: &Path,
    mode: u32,
    bytes: &[u8],
    durability: Durability,
) -> io::Result<()> {
    let mut draft = disk.draft(path, mode)?;
    disk.fill(&mut draft, bytes)?;
    if durability == Durability::Synced {
        disk.sync(&draft)?;
    }
    disk.put(draft, path)
}

/// Brings the names in a directory to the disk: that of a new request, or of what is gone.
fn sync(disk: &impl Disk, directory: &Path, request: Option<&Request>) -> Result<(), ControlError> {
    disk.sync_directory(directory).map_err(|error| not_durable(directory, request, error))
}

fn not_durable(directory: &Path, request: Option<&Request>, source: io::Error) -> ControlError {
    let request_id = request.and_then(Request::request_id).map(str::to_owned);
    ControlError::NotDurable { path: directory.to_owned(), request_id, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::DrainRequest;
    use rustix::fs::mknodat;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn marker_in(dir: &tempfile::TempDir) -> std::path::PathBuf {
        Home::at(dir.path()).marker_path()
    }

    fn write(marker: &Path, request: &Request) -> Result<(), ControlError> {
        let home = Home::at(marker.parent().expect("a home"));
        begin(&RealDisk, &home, &Slot::Shared, request, &[])
    }

    fn remove(marker: &Path) -> Result<bool, ControlError> {
        let home = Home::at(marker.parent().expect("a home"));
        cancel(&RealDisk, &home, &[Slot::Shared]).map(|removed| removed > 0)
    }

    fn request() -> Request {
        let now = crate::epoch::Now::by_system();
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
    fn what_is_no_file_is_unreadable_at_once_and_never_followed() {
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

    #[test]
    fn a_home_that_is_not_there_takes_no_request_and_says_where() {
        let home = tempfile::tempdir().expect("temp dir");
        let marker = home.path().join("gone").join(".drain_request.json");
        let error = write(&marker, &request()).expect_err("there is no such directory");
        assert!(error.to_string().contains(&marker.display().to_string()), "{error}");
    }
}
