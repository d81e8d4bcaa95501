//! The errors of the library's entry points, as values. Each names the path and says what to do. The pure core has its
//! own errors, beside its functions.

use std::io;
use std::path::{Path, PathBuf};

use crate::holder::Holder;
use crate::machine::Phase;
use crate::request::Request;
use crate::text::printable;

/// A path for people, escaped: somebody else may have named a file in it.
fn shown(path: &Path) -> String {
    printable(&path.to_string_lossy()).into_owned()
}

/// Why a gateway did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Another gateway is running on this home.
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
        /// The other gateway's process id, as it wrote it down. If that gateway runs in another container, the id
        /// counts there.
        pid: Option<u32>,
    },
    /// A foreign gateway is running on this home: the original implementation, which does not know our locks. Both
    /// would write one status file.
    ///
    /// [F17](crate::guide::requirements#f17)
    #[error(
        "{} is in use by a gateway of another implementation, which holds `gateway.lock`{}; stop that gateway first, or use another home",
        shown(home),
        pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
    )]
    HomeInUseByForeignGateway {
        /// The home.
        home: PathBuf,
        /// Its process id, as it wrote it down.
        pid: Option<u32>,
    },
    /// A process locks the home's directory but not its lock file. It is a gateway whose lock file was removed, or
    /// another program.
    ///
    /// [F18](crate::guide::requirements#f18)
    #[error(
        "{} is locked by {}, but its lock file is not (a gateway whose lock file was removed, or another program); stop that process first",
        shown(home),
        pid.map_or("a process that is not visible from here".to_owned(), |pid| format!("process {pid}"))
    )]
    HomeHeld {
        /// The home.
        home: PathBuf,
        /// The process id, if it is visible from here.
        pid: Option<u32>,
    },
    /// The home cannot be used.
    #[error(
        "cannot use {}: {source}; a home must be a directory that this process can write to",
        shown(path)
    )]
    Home {
        /// The path that could not be opened or written.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The operating system could not start a thread.
    #[error("cannot start a thread of the gateway: {source}; check the limit on threads")]
    Thread {
        /// Why.
        source: io::Error,
    },
}

/// Why a request could not be written or removed, or a status could not be read. Unless a variant says otherwise,
/// nothing on disk was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// There is no such home, so there is no drain either.
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
    /// The request could not be written. A drain that began earlier stays in force.
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
    /// The request is written or removed, but that may not survive a power loss.
    #[error("{} was changed but not synced to disk: {source}; run the command again", shown(path))]
    NotDurable {
        /// The directory that could not be synced.
        path: PathBuf,
        /// The id of the request that may be in place, if one was made. The caller may prefer to remove it.
        request_id: Option<String>,
        /// Why.
        source: io::Error,
    },
    /// The named requests could not be listed, so it is unknown which of them are the holder's. A cancel may already
    /// have removed some of them.
    #[error("cannot list the drain requests in {}: {source}; run the command again", shown(path))]
    Unlisted {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The holder has no live request: it was cancelled, or its lease ended.
    #[error("{holder} has no live drain request to renew; the gate may be open: begin a new drain")]
    NoLiveRequest {
        /// The holder.
        holder: Holder,
    },
    /// The holder's request cannot be read.
    #[error("cannot read the drain request of {holder}: {reason}; nothing was changed")]
    Indeterminate {
        /// The holder.
        holder: Holder,
        /// Why.
        reason: String,
    },
    /// The request is to end with the gateway's run, but no gateway is running.
    ///
    /// [F20](crate::guide::requirements#f20)
    #[error(
        "no gateway is running on this home, so there is no run to end with; nothing was changed: start the gateway, or leave out `--this-run`"
    )]
    NoRun,
    /// The gateway was replaced twice while the request was written, so the request was for a gateway that is gone. It
    /// is removed again.
    ///
    /// [F20](crate::guide::requirements#f20)
    #[error(
        "the gateway was replaced twice while the drain request of {holder} was written; no request is left: run the command again"
    )]
    Replaced {
        /// The holder of the request.
        holder: Holder,
    },
    /// A foreign gateway is running on this home. It knows the shared marker only.
    #[error(
        "this home has a gateway of another implementation (lock `gateway.lock`{}), which knows only the shared marker; nothing was changed: leave out the holder and `--this-run`",
        pid.map(|pid| format!(", pid {pid}")).unwrap_or_default()
    )]
    ForeignGateway {
        /// Its process id, as it wrote it down.
        pid: Option<u32>,
    },
    /// The holder's requests were removed, or none was found, but the gateway cannot see that they are gone.
    #[error(
        "the drain of {holder} stays on: the gateway cannot confirm that its request is removed; `degraded` in its status has the reason"
    )]
    NotReleased {
        /// The holder.
        holder: Holder,
    },
    /// It could not be read whether a gateway is running, or what its status is.
    #[error("cannot read {}: {source}; the state of the gateway is not known", shown(path))]
    Unreadable {
        /// The path that could not be read.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The gateway is shutting down, so there is nothing left to drain or to release.
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
    /// The error for a home that cannot be opened.
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
    /// The error for a home that cannot be opened.
    pub(crate) fn of_home(path: &Path, source: io::Error) -> ControlError {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                ControlError::NoHome { path, source }
            }
            _ => ControlError::Home { path, source },
        }
    }

    /// The error for a change of this directory that could not be synced.
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
