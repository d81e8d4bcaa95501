//! The marker file: written durably, removed durably, looked at without ever blocking or failing. What
//! it *means* is decided elsewhere (`request`, `reconcile`).
//!
//! # Invariants
//!
//! * **TG-S12 no_torn_request**: a writer makes a whole file beside the marker, syncs it, renames it
//!   over and syncs the directory, so a reader sees a whole request or none, and an acknowledged begin
//!   or cancel survives power loss.
//! * Nothing at the marker's name is followed, waited for or read without bound: a FIFO hung the
//!   original for good (U33), a symlink had it overwrite somebody else's file (U37).

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags};

use crate::error::ControlError;
use crate::reconcile::Sighting;
use crate::request::Request;

/// A marker longer than this is a request without content, which drains.
pub const MARKER_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Looks once. Does not block on anything that is no regular file, and never fails.
#[must_use]
pub fn observe(path: &Path) -> Sighting {
    match read(path) {
        Ok(bytes) if bytes.len() as u64 > MARKER_BYTES_MAX => Sighting::Present(Request::default()),
        Ok(bytes) => Sighting::Present(Request::parse(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Sighting::Absent,
        Err(error) => Sighting::Unreadable(error.to_string()),
    }
}

/// The bytes of a regular file, [`MARKER_BYTES_MAX`] and one more at most.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    // Looked at before it is opened, since opening a device can itself do something.
    let found = rustix::fs::lstat(path)?;
    require_regular_file(FileType::from_raw_mode(found.st_mode))?;
    // It may be another file by now: not followed, not waited for, and asked once more what it is.
    let flags =
        OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = File::from(rustix::fs::openat(CWD, path, flags, Mode::empty())?);
    require_regular_file(FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode))?;
    let mut bytes = Vec::new();
    file.take(MARKER_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn require_regular_file(found: FileType) -> io::Result<()> {
    if found.is_file() {
        return Ok(());
    }
    let kind = match found {
        FileType::Directory => "a directory",
        FileType::Symlink => "a symbolic link",
        FileType::Fifo => "a FIFO",
        FileType::Socket => "a socket",
        _ => "a device",
    };
    Err(io::Error::other(format!("{kind} stands there, not a file; remove it")))
}

/// Puts the request there, in place of whatever request stood there before.
pub(crate) fn write(path: &Path, request: &Request) -> Result<(), ControlError> {
    let not_written = |source| ControlError::NotWritten { path: path.to_owned(), source };
    let home = path.parent().ok_or_else(|| not_written(io::ErrorKind::InvalidInput.into()))?;
    replace(path, request.to_json().as_bytes(), Durability::Synced).map_err(not_written)?;
    sync_directory(home)
}

/// Takes away whatever stands there. Says whether anything did.
pub(crate) fn remove(path: &Path) -> Result<bool, ControlError> {
    let removed = match std::fs::remove_file(path) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(source) => return Err(ControlError::NotRemoved { path: path.to_owned(), source }),
    };
    // Also where nothing stood: the removal that somebody else began may not be on disk yet.
    sync_directory(path.parent().unwrap_or(path))?;
    Ok(removed)
}

/// Whether a replaced file's bytes must be on disk before its name is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// They must: the file outlives the process that wrote it.
    Synced,
    /// They need not: the file says something of the living process only.
    Volatile,
}

/// Replaces a file as a whole: no reader ever sees half of it.
pub(crate) fn replace(path: &Path, bytes: &[u8], durability: Durability) -> io::Result<()> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    // Beside the file, since a rename is atomic only within one file system; readable by its owner
    // only. Removed again by its guard if any step fails.
    let mut temporary = tempfile::Builder::new()
        .prefix(&format!(".{}.", name.to_string_lossy().trim_start_matches('.')))
        .suffix(".tmp")
        .tempfile_in(directory)?;
    temporary.write_all(bytes)?;
    if durability == Durability::Synced {
        temporary.as_file().sync_all()?;
    }
    temporary.persist(path)?;
    Ok(())
}

fn sync_directory(directory: &Path) -> Result<(), ControlError> {
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(|source| ControlError::NotDurable { path: directory.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::DrainRequest;
    use rustix::fs::mknodat;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn marker_in(home: &tempfile::TempDir) -> std::path::PathBuf {
        home.path().join(".drain_request.json")
    }

    fn request() -> Request {
        let now = crate::epoch::Clock::System.now();
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
