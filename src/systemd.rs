//! Reports to systemd, or to a service manager that understands its protocol (feature `systemd`). It reports the start,
//! the state and the health of the gateway, and a stop with the time that it still takes. It owns one thread and one
//! socket. It never drains, shuts down, keeps alive or blocks a gateway.
//!
//! | message | when |
//! |---|---|
//! | `READY=1` | at once: a [`Gateway`] that exists has made its first look |
//! | `STATUS=` | at each change of phase; while draining or shutting down also once a second, if a count, a holder or the time left has changed |
//! | `STOPPING=1` | when a shutdown begins |
//! | `EXTEND_TIMEOUT_USEC=` | once a second, from the beginning of a shutdown to its deadline |
//! | `WATCHDOG=1` | twice in each `WatchdogSec=`, while the gateway is healthy, until `STOPPING=1` |
//!
//! `deploy/systemd/gateway.service` in the repository is an example unit.
//!
//! # The stop timeout
//!
//! systemd kills a service that does not stop within `TimeoutStopSec=`. Each extension asks for at most ten seconds,
//! and for no more than the rest of the grace plus five seconds. So no turn is killed within its grace, even if the
//! timeout is short. A process that hangs is killed soon. `TimeoutStopSec=` itself must be long enough for the first
//! extension to arrive.
//!
//! # The meaning of a ping
//!
//! A `WATCHDOG=1` says three things about the last half of the period. The thread that sends it runs. The
//! lock under which the gateway changes its phase can be taken. No round of the gateway's own threads has
//! lasted that long. One of these threads looks at the home and writes the status, the other fires
//! deadlines and wakes waiters. So a disk that hangs, or a waker that never returns, ends the pings. Then
//! systemd ends the process within two periods. To keep the process while a disk hangs for a time, set
//! `WatchdogSec=` to more than that time.
//!
//! There are no pings in a shutdown, because systemd stops its watchdog then. The extensions replace it.
//!
//! A ping does not cover the embedder's own threads and runtime, the turns, or a round that ends with a panic. The log
//! reports such a panic. A gateway that is driven by hand ([`Builder::manual`]) has no thread that looks at its home,
//! so a ping does not cover those looks.
//!
//! # Child processes
//!
//! Child processes inherit `$NOTIFY_SOCKET`. With `NotifyAccess=main`, systemd ignores what they send. A program that
//! removes the variable from its environment calls [`notify_at`] with the address.
//!
//! [`Builder::manual`]: crate::Builder::manual

mod report;
mod socket;

use std::ffi::OsStr;
use std::io;
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

use crate::gateway::{Gateway, View};
use crate::sync::{Arc, AtomicBool, Ordering, Wakeup};
use crate::watcher::{NextRound, Worker};
use report::Reporter;
use socket::Socket;

/// The longest time that the drop waits for the thread to end.
const PATIENCE: Duration = Duration::from_secs(1);

/// Reports on this gateway to the service manager that `$NOTIFY_SOCKET` names. The reports end when the gateway has
/// stopped or the value is dropped. If the variable is not set, this does nothing, and
/// [`NotifyGuard::is_on`] is `false`. The watchdog is on if `$WATCHDOG_USEC` and `$WATCHDOG_PID` say so.
///
/// A service has one status, so a process with several gateways reports on only one of them.
///
/// Keep the value while the process runs: `let _ =` would drop it at once.
///
/// ```
/// use tidegate::Gateway;
/// let gateway = Gateway::in_memory().start()?;
/// let _notifying = tidegate::systemd::notify(&gateway)?;
/// // … serve, until a signal comes …
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`NotifyError`] if the socket cannot be used or the thread cannot start. Then nothing is reported, and systemd ends
/// a service of `Type=notify` that does not report its start.
pub fn notify(gateway: &Gateway) -> Result<NotifyGuard, NotifyError> {
    match std::env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty()) {
        Some(socket) => notify_at(gateway, socket, sd_notify::watchdog_enabled()),
        None => Ok(NotifyGuard { thread: None }),
    }
}

/// As [`notify()`], with this socket and this watchdog period. It does not read the environment. The socket is the
/// absolute path of a Unix datagram socket, or `@` and the name of an abstract one.
///
/// # Errors
///
/// As `notify`.
pub fn notify_at(
    gateway: &Gateway,
    socket: impl AsRef<OsStr>,
    watchdog: Option<Duration>,
) -> Result<NotifyGuard, NotifyError> {
    let socket = Socket::at(socket.as_ref())?;
    let mut rounds =
        Worker::prepare("tidegate-systemd").map_err(|source| NotifyError::Thread { source })?;
    let is_over = Arc::new(AtomicBool::new(false));
    let mut line = ManagerLink {
        view: gateway.view(),
        waker: Waker::from(Arc::new(WakeThread(rounds.wakeup()))),
        reporter: Reporter::new(watchdog),
        socket,
        is_over: Arc::clone(&is_over),
        is_failing: false,
    };
    // The first message is sent from here, so that the caller gets the error of a socket that nobody reads. A full
    // socket is no error: the thread tries again.
    let report = line.reporter.report(
        &line.view.state_snapshot(),
        &line.view.round_counts(),
        Instant::now(),
    );
    match line.socket.send(report.message()) {
        Ok(()) => line.reporter.sent(report),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
        Err(source) => {
            let socket = line.socket.name().to_owned();
            return Err(NotifyError::Unreachable { socket, source });
        }
    }
    rounds.begin(move || line.round(), || {});
    Ok(NotifyGuard { thread: Some(Thread { rounds, is_over }) })
}

/// Reports while it lives. Its drop sends the last report and ends the thread; the gateway continues. It does not keep
/// the gateway alive: after the last status of a stopped gateway, the thread ends by itself.
///
/// If the watchdog is on and this value is dropped before a shutdown, systemd ends the process.
#[derive(Debug)]
#[must_use = "the reports end when it is dropped"]
pub struct NotifyGuard {
    /// `None` if there is no service manager.
    thread: Option<Thread>,
}

#[derive(Debug)]
struct Thread {
    rounds: Worker,
    is_over: Arc<AtomicBool>,
}

impl NotifyGuard {
    /// Whether there is a service manager to report to.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.thread.is_some()
    }
}

impl Drop for NotifyGuard {
    fn drop(&mut self) {
        if let Some(Thread { rounds, is_over }) = &mut self.thread {
            // Relaxed: the wakeup after it publishes it.
            is_over.store(true, Ordering::Relaxed);
            rounds.wakeup().wake();
            rounds.join(PATIENCE);
        }
    }
}

/// The reason why nothing is reported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotifyError {
    /// The address is not that of a Unix socket.
    #[error(
        "cannot report to the service manager at {socket:?}: {source}; set NOTIFY_SOCKET to an absolute path, or to '@' and an abstract name"
    )]
    Address {
        /// The address as it was given.
        socket: String,
        /// The cause.
        source: io::Error,
    },
    /// The process cannot send to the socket.
    #[error(
        "cannot report to the service manager at {socket}: {source}; make this socket reachable, or unset NOTIFY_SOCKET if there is no service manager"
    )]
    Unreachable {
        /// The address of the socket.
        socket: String,
        /// The cause.
        source: io::Error,
    },
    /// The operating system could not start a thread.
    #[error("cannot start the thread that reports to the service manager: {source}")]
    Thread {
        /// The cause.
        source: io::Error,
    },
}

/// The state of the thread that reports to the service manager.
struct ManagerLink {
    view: View,
    waker: Waker,
    reporter: Reporter,
    socket: Socket,
    is_over: Arc<AtomicBool>,
    /// Whether the last message could not be sent. That was logged.
    is_failing: bool,
}

impl ManagerLink {
    fn round(&mut self) -> NextRound {
        // The waker is registered before the state is read, so that a later change starts the next round.
        // Relaxed: the wakeup after the store has woken this thread, or will.
        let is_over = self.is_over.load(Ordering::Relaxed);
        self.view.listen(&self.waker);
        let (state_snapshot, round_counts) = (self.view.state_snapshot(), self.view.round_counts());
        let now = Instant::now();
        let report = self.reporter.report(&state_snapshot, &round_counts, now);
        let sent = match report.message() {
            "" => Ok(()),
            message => self.socket.send(message),
        };
        let is_sent = sent.is_ok();
        if is_sent {
            self.reporter.sent(report);
        }
        self.log(sent);
        if is_over { NextRound::Never } else { self.reporter.next(&state_snapshot, is_sent, now) }
    }

    /// Logs the first failure, and the first success after it.
    fn log(&mut self, sent: io::Result<()>) {
        let was_failing = std::mem::replace(&mut self.is_failing, sent.is_err());
        let socket = self.socket.name();
        match sent {
            Err(error) if !was_failing => {
                tracing::warn!(socket, %error, "cannot report to the service manager; trying again");
            }
            Ok(()) if was_failing => {
                tracing::info!(socket, "reports reach the service manager again");
            }
            _ => {}
        }
    }
}

struct WakeThread(Arc<Wakeup>);

impl Wake for WakeThread {
    fn wake(self: Arc<Self>) {
        self.0.wake();
    }
}
