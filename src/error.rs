//! What can go wrong at the edges, as values: each names the path and says what to do. The pure core
//! has errors of its own, beside its functions.

use std::io;
use std::path::PathBuf;

use crate::holder::Holder;
use crate::machine::Phase;

/// Why a gateway did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Another gateway is alive on this home (F17).
    #[error(
        "{} is in use by another gateway{}; stop that one first, or give this one a home of its own",
        home.display(),
        pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
    )]
    HomeInUse {
        /// The home.
        home: PathBuf,
        /// The other gateway's process, as it wrote it down; in another container it is a pid there.
        pid: Option<u32>,
    },
    /// The home cannot be used.
    #[error("cannot use {}: {source}; a home must be a directory this process can write to", path.display())]
    Home {
        /// What could not be opened or written.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The operating system gave no thread.
    #[error("cannot start the gateway's own thread: {source}")]
    Thread {
        /// Why.
        source: io::Error,
    },
}

/// Why a request was not begun or cancelled, or a status not read. Unless it says
/// otherwise, what stood on disk before still stands.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// The request could not be written.
    #[error("cannot write the drain request {}: {source}; no drain was begun", path.display())]
    NotWritten {
        /// The request's file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The request could not be removed.
    #[error("cannot remove the drain request {}: {source}; the drain stays on", path.display())]
    NotRemoved {
        /// The request's file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The request is in place, or gone, but may not survive a power loss.
    #[error("cannot make the change of {} durable: {source}; repeat it", path.display())]
    NotDurable {
        /// The directory that could not be synced.
        path: PathBuf,
        /// The request that may be in place, where one was made: for who would rather take it back.
        request_id: Option<String>,
        /// Why.
        source: io::Error,
    },
    /// The named requests could not be listed, so that one's own could not be told from others'.
    #[error("cannot list the drain requests in {}: {source}; nothing was changed", path.display())]
    Unlisted {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The holder has no live request: it was cancelled, or its lease ran out.
    #[error("{holder} has no live drain request to renew; the gate may be open: begin again")]
    NothingToRenew {
        /// Who.
        holder: Holder,
    },
    /// It cannot be told what the holder asks.
    #[error("cannot see the drain request of {holder}: {reason}; nothing was changed")]
    Unseen {
        /// Who.
        holder: Holder,
        /// Why.
        reason: String,
    },
    /// What the holder asks was removed, or nothing was found to remove, and the gateway cannot see that
    /// it is gone.
    #[error(
        "the drain of {holder} stays on: the gateway cannot see that its request is gone; `degraded` in its status says why"
    )]
    StaysOn {
        /// Who.
        holder: Holder,
    },
    /// Whether a gateway is alive, or what it says, could not be read.
    #[error("cannot read {}: {source}; nothing is known of the gateway", path.display())]
    Unreadable {
        /// What could not be read.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The gateway is going down: there is nothing left to drain or to release (TG-S1).
    #[error("the gateway is {phase}; a drain can only be asked of its successor, through the file")]
    GoingDown {
        /// Its phase.
        phase: Phase,
    },
}
