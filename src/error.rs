//! What can go wrong at the edges, as values: each names the path and says what to do. The pure core
//! has errors of its own, beside its functions.

use std::io;
use std::path::{Path, PathBuf};

use crate::holder::Holder;
use crate::machine::Phase;
use crate::request::Request;
use crate::text::printable;

/// A path as people are shown it: others may have named a file in it.
fn shown(path: &Path) -> String {
    printable(&path.to_string_lossy()).into_owned()
}

/// Why a gateway did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Another gateway is alive on this home.
    ///
    /// [F17](crate::guide::requirements#f17)
    #[error(
        "{} is in use by another gateway{}; stop that gateway first, or use another home",
        shown(home),
        pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
    )]
    HomeInUse {
        /// The home.
        home: PathBuf,
        /// The other gateway's process, as it wrote it down; in another container it is a pid there.
        pid: Option<u32>,
    },
    /// A gateway of another make is alive on this home: the original implementation, which knows nothing of our
    /// locks. Both would write one status file.
    ///
    /// [F17](crate::guide::requirements#f17)
    #[error(
        "{} is in use by a gateway of another make, which holds `gateway.lock`{}; stop that gateway first, or use another home",
        shown(home),
        pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
    )]
    HomeInUseByForeignGateway {
        /// The home.
        home: PathBuf,
        /// Its process, as it wrote it down.
        pid: Option<u32>,
    },
    /// A process locks the home's directory and not its lock file: a gateway whose lock file was removed, or
    /// another program.
    ///
    /// [F18](crate::guide::requirements#f18)
    #[error(
        "{} is locked by {}, which does not hold the lock file in it: either a gateway whose lock file was removed, or another program; stop that process first",
        shown(home),
        pid.map_or("a process that is not visible from here".to_owned(), |pid| format!("process {pid}"))
    )]
    HomeHeld {
        /// The home.
        home: PathBuf,
        /// The process, where it can be seen.
        pid: Option<u32>,
    },
    /// The home cannot be used.
    #[error(
        "cannot use {}: {source}; a home must be a directory that this process can write to",
        shown(path)
    )]
    Home {
        /// What could not be opened or written.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The operating system gave no thread.
    #[error("cannot start a thread of the gateway: {source}; check the limit on threads")]
    Thread {
        /// Why.
        source: io::Error,
    },
}

/// Why a request was not begun or cancelled, or a status not read. Unless it says otherwise, nothing on
/// disk was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// There is no such home, so no drain either.
    #[error("there is no home at {}: {source}; nothing was changed: check the path", shown(path))]
    NoHome {
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The home cannot be opened.
    #[error("cannot open the home {}: {source}; nothing was changed", shown(path))]
    Home {
        /// The home.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The request could not be written. A drain that began before stays in force.
    #[error("cannot write the drain request {}: {source}; nothing was changed", shown(path))]
    NotWritten {
        /// The request's file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The request could not be removed.
    #[error(
        "cannot remove the drain request {}: {source}; the drain stays on until it is removed",
        shown(path)
    )]
    NotRemoved {
        /// The request's file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The request is in place, or gone, but may not survive a power loss.
    #[error("{} was changed but not synced to disk: {source}; run the command again", shown(path))]
    NotDurable {
        /// The directory that could not be synced.
        path: PathBuf,
        /// The request that may be in place, where one was made: for a caller that would rather remove it.
        request_id: Option<String>,
        /// Why.
        source: io::Error,
    },
    /// The named requests could not be listed, so the holder's own are not known. A cancel may have removed
    /// some of them before.
    #[error("cannot list the drain requests in {}: {source}; run the command again", shown(path))]
    Unlisted {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The holder has no live request: it was cancelled, or its lease ran out.
    #[error("{holder} has no live drain request to renew; the gate may be open: begin a new drain")]
    NoLiveRequest {
        /// Who.
        holder: Holder,
    },
    /// The holder's request cannot be read.
    #[error("cannot read the drain request of {holder}: {reason}; nothing was changed")]
    Indeterminate {
        /// Who.
        holder: Holder,
        /// Why.
        reason: String,
    },
    /// The request was to end with the gateway's run, and no gateway is running.
    ///
    /// [F20](crate::guide::requirements#f20)
    #[error(
        "no gateway is running on this home, so a request cannot end with its run; nothing was changed: start the gateway first, or leave out `--this-run`"
    )]
    NoRun,
    /// Gateways come and go while the request is written, so it was for one that is gone. It is removed again.
    ///
    /// [F20](crate::guide::requirements#f20)
    #[error(
        "the gateway was replaced twice while the drain request of {holder} was written; no request is left: run the command again"
    )]
    Replaced {
        /// Whose request.
        holder: Holder,
    },
    /// A gateway of another make lives on this home. It knows the shared marker only.
    #[error(
        "the gateway on this home is of another make (it holds `gateway.lock`{}) and knows the shared marker only; nothing was changed: leave out the holder and `--this-run`",
        pid.map(|pid| format!(", pid {pid}")).unwrap_or_default()
    )]
    ForeignGateway {
        /// Its process, as it wrote it down.
        pid: Option<u32>,
    },
    /// What the holder asks was removed, or nothing was found to remove, and the gateway cannot see that
    /// it is gone.
    #[error(
        "the drain of {holder} stays on: the gateway cannot confirm that its request is removed; `degraded` in its status has the reason"
    )]
    NotReleased {
        /// Who.
        holder: Holder,
    },
    /// Whether a gateway is alive, or what it says, could not be read.
    #[error("cannot read {}: {source}; the state of the gateway is not known", shown(path))]
    Unreadable {
        /// What could not be read.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The gateway is shutting down: there is nothing left to drain or to release.
    ///
    /// [TG-S1](crate::guide::verification#tg-s1)
    #[error(
        "the gateway is in phase {phase} and begins no drain; to drain the next gateway on this home, run `tidegate drain` or create a request file"
    )]
    ShuttingDown {
        /// Its phase.
        phase: Phase,
    },
}

impl StartError {
    /// A home that cannot be opened.
    pub(crate) fn of_home(error: ControlError) -> StartError {
        match error {
            ControlError::NoHome { path, source } | ControlError::Home { path, source } => {
                StartError::Home { path, source }
            }
            other => StartError::Home { path: PathBuf::new(), source: io::Error::other(other) },
        }
    }
}

impl ControlError {
    /// A home that cannot be opened.
    pub(crate) fn of_home(path: &Path, source: io::Error) -> ControlError {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                ControlError::NoHome { path, source }
            }
            _ => ControlError::Home { path, source },
        }
    }

    /// A change of this directory that could not be synced.
    pub(crate) fn not_durable(
        path: &Path,
        request: Option<&Request>,
        source: io::Error,
    ) -> ControlError {
        let request_id = request.and_then(Request::request_id).map(str::to_owned);
        ControlError::NotDurable { path: path.to_owned(), request_id, source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_s_name_forges_no_line_of_a_log() {
        let path =
            PathBuf::from("/home/x\n2026 WARN tidegate::audit: forged \u{1b}[31m\u{202e}.json");
        let source = || io::Error::other("why");
        let errors = [
            ControlError::NotRemoved { path: path.clone(), source: source() },
            ControlError::NotWritten { path: path.clone(), source: source() },
            ControlError::Unlisted { path: path.clone(), source: source() },
            ControlError::NoHome { path, source: source() },
        ];
        for error in errors {
            let text = error.to_string();
            assert!(!text.contains(['\n', '\u{1b}', '\u{202e}']), "{text}");
        }
    }
}
