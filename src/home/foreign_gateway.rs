//! Detects a foreign gateway on the same home: the original implementation, which holds its own lock and does not
//! know ours. Callers decide what follows from that.
//!
//! # Invariants
//!
//! * No file of a foreign gateway is ever written. Its lock is tried only if the system's list of locks does not show
//!   all locks. It is then released at once, as the foreign gateway's own readers do.

use crate::disk::{Access, Disk, FileKind, Flock, LockHolder};
use crate::error::StartError;
use crate::faults::fault;
use crate::json::RawObject;

use super::{Name, OpenHome, ownership};

/// No more than this is read from the foreign gateway's lock file.
const RECORD_BYTES_MAX: u64 = 64 * 1024;

/// A foreign gateway that runs on a home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ForeignGateway {
    /// Its process id, as it wrote it down, or as the system reports it.
    pub(crate) pid: Option<u32>,
}

impl<D: Disk> OpenHome<D> {
    /// The foreign gateway that runs here, if there is one. A lock file that a stranger owns is ignored.
    pub(crate) fn neighbour(&self) -> Option<ForeignGateway> {
        let name = Name::ForeignLock;
        // Most homes have none: then no further call is needed.
        let found = self.disk.stat(&self.dir, name.as_os_str()).ok()?;
        let home = self.stat().ok()?;
        let is_trusted = !ownership::has_untrusted_owner(self.disk.user(), &home, None, &found);
        if found.kind != FileKind::File || !is_trusted {
            return None;
        }
        // A process that may only read the home cannot be a gateway, whatever it locks.
        let counts = |it: &LockHolder| {
            !it.uid.is_some_and(|uid| ownership::cannot_write(uid, self.disk.user(), &home))
        };
        let Ok(file) = self.disk.open(&self.dir, name.as_os_str(), Access::Read) else {
            // A process that may not read the file can still ask the system.
            let holder = self.disk.flocked_by(found.id).filter(counts);
            return holder.map(|it| ForeignGateway { pid: Some(it.pid) });
        };
        let from_system_clock = match self.disk.flock_of(&file).ok()? {
            Flock::Free => return None,
            Flock::Held(Some(holder)) if !counts(&holder) => return None,
            Flock::Held(holder) => holder.map(|it| it.pid),
        };
        let record = self.disk.read(&file, RECORD_BYTES_MAX).ok();
        let record = record.and_then(|bytes| RawObject::parse(&bytes));
        Some(ForeignGateway { pid: record.and_then(|it| it.read("pid")).or(from_system_clock) })
    }

    /// Refuses to start beside a foreign gateway.
    ///
    /// # Errors
    ///
    /// [`StartError::HomeInUseByForeignGateway`].
    // Property: TG-S8 status_is_faithful.
    pub(crate) fn require_no_foreign_gateway(&self) -> Result<(), StartError> {
        match self.neighbour().filter(|_| !fault!(NeighbourIgnored)) {
            Some(ForeignGateway { pid }) => Err(StartError::HomeInUseByForeignGateway {
                home: self.names().path().to_owned(),
                pid,
            }),
            None => Ok(()),
        }
    }
}
