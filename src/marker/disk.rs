//! The few things that are done to a disk, so that a test can do them to a disk that crashes or fails.
//! It decides nothing: what is done in which order is the business of `marker`.

use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use crate::holder::Slot;

/// Only its owner may read a file that was not asked to be otherwise: who may write a home may drain
/// a gateway, who may not read it need not know.
pub const DEFAULT_MODE: u32 = 0o600;

/// A disk. Every operation stands for itself: until it is synced, a crash may undo it. A trait so that a
/// test or a model can run what ships on a disk that crashes, fails, or stops between two calls.
///
/// # Errors
///
/// What the system says; `NotFound` where there is no such directory.
#[allow(clippy::missing_errors_doc, reason = "said once, above")]
pub trait Disk {
    /// A file that has no name yet that anybody would read. Gone when it is dropped.
    type Draft;

    /// Begins a file that is to stand at `path`, beside it: a rename is atomic only within one file
    /// system.
    fn draft(&self, path: &Path, mode: u32) -> io::Result<Self::Draft>;
    /// Gives the draft its bytes.
    fn fill(&self, draft: &mut Self::Draft, bytes: &[u8]) -> io::Result<()>;
    /// Brings the draft's bytes to the disk.
    fn sync(&self, draft: &Self::Draft) -> io::Result<()>;
    /// Gives the draft its name, in place of what had it.
    fn put(&self, draft: Self::Draft, path: &Path) -> io::Result<()>;
    /// Takes a name away. Says whether there was one.
    fn remove(&self, path: &Path) -> io::Result<bool>;
    /// Makes a directory that belongs to whom the one around it does, and lets in whom that lets in: who
    /// may make a request there may make one here. Says whether it was not there before.
    fn make_directory(&self, path: &Path) -> io::Result<bool>;
    /// Brings the names in a directory to the disk.
    fn sync_directory(&self, path: &Path) -> io::Result<()>;
    /// The requests in a directory that are wanted, and whether there are more files than are gone
    /// through. None where there is no directory.
    fn slots(
        &self,
        directory: &Path,
        wanted: &dyn Fn(&Slot) -> bool,
    ) -> io::Result<(Vec<Slot>, bool)>;
}

/// The disk there is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RealDisk;

impl Disk for RealDisk {
    type Draft = tempfile::NamedTempFile;

    fn draft(&self, path: &Path, mode: u32) -> io::Result<Self::Draft> {
        let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let draft = tempfile::Builder::new()
            .prefix(&format!(".{}.", name.to_string_lossy().trim_start_matches('.')))
            .suffix(DRAFT_SUFFIX)
            .tempfile_in(directory)?;
        if mode != DEFAULT_MODE {
            // Set, not asked for: what was asked for, the umask would narrow.
            draft.as_file().set_permissions(PermissionsExt::from_mode(mode))?;
        }
        Ok(draft)
    }

    fn fill(&self, draft: &mut Self::Draft, bytes: &[u8]) -> io::Result<()> {
        draft.write_all(bytes)
    }

    fn sync(&self, draft: &Self::Draft) -> io::Result<()> {
        draft.as_file().sync_all()
    }

    fn put(&self, draft: Self::Draft, path: &Path) -> io::Result<()> {
        draft.persist(path)?;
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<bool> {
        match std::fs::remove_file(path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn make_directory(&self, path: &Path) -> io::Result<bool> {
        match rustix::fs::mkdir(path, Mode::RWXU) {
            Ok(()) => {}
            Err(rustix::io::Errno::EXIST) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        let around = std::fs::metadata(path.parent().unwrap_or(path))?;
        // By its handle: its name may be something else's by now.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let made = std::fs::File::from(rustix::fs::open(path, flags, Mode::empty())?);
        if rustix::process::geteuid().is_root() {
            // A controller that is root must not keep the gateway out of its own home. Where the owner
            // is unknown here, as in a container that maps users, it stays root's.
            let _ = std::os::unix::fs::fchown(&made, Some(around.uid()), Some(around.gid()));
        }
        // Set, not asked for: what was asked for, the umask would narrow.
        made.set_permissions(around.permissions())?;
        Ok(true)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        // Not waited for, whatever stands there now.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        Ok(rustix::fs::fsync(rustix::fs::open(path, flags, Mode::empty())?)?)
    }

    fn slots(
        &self,
        directory: &Path,
        wanted: &dyn Fn(&Slot) -> bool,
    ) -> io::Result<(Vec<Slot>, bool)> {
        super::scan::slots_in(directory, wanted).map(|names| (names.slots, names.cut_short))
    }
}

/// How a draft's name ends. It begins with a dot and the name the file is to have.
pub(super) const DRAFT_SUFFIX: &str = ".tmp";
