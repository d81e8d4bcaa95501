//! Reports to systemd, or to a service manager that understands its protocol (feature `systemd`). It reports that
//! the gateway has started, its state, that it stops and for how much longer, and that it is healthy. It owns one thread
//! and one socket. It never drains, shuts down or keeps alive a gateway, and it never blocks one.
//!
//! | message | when |
//! |---|---|
//! | `READY=1` | at once: a [`Gateway`] that exists has made its first look |
//! | `STATUS=` | at each change of phase; while draining or shutting down also once a second where a count, a holder or the time left has changed |
//! | `STOPPING=1` | when a shutdown begins |
//! | `EXTEND_TIMEOUT_USEC=` | from then to the shutdown's deadline, once a second |
//! | `WATCHDOG=1` | every half of `WatchdogSec=`, while the gateway is sound, until `STOPPING=1` |
//!
//! `deploy/systemd/gateway.service` in the repository is a unit to begin with.
//!
//! # The stop timeout
//!
//! systemd kills a service that does not stop within `TimeoutStopSec=`. Each extension asks for ten seconds at most,
//! and for no more than the rest of the grace and five seconds. So no turn is killed within its grace, however short
//! the timeout is. A process that hangs is killed soon. `TimeoutStopSec=` itself must be long enough for the first
//! extension to arrive.
//!
//! # What a ping says
//!
//! A `WATCHDOG=1` says three things about the last half of the period. The thread that sends it runs. The
//! lock under which the gateway changes its phase can be taken. No round of the gateway's own threads has
//! lasted that long. One thread looks at the home and writes the status, the other fires
//! deadlines and wakes waiters. So a disk that hangs, or a waker that never returns, ends the pings, and
//! systemd ends the process within two periods of that. A `WatchdogSec=` that is longer than the disk may
//! hang keeps such a process.
//!
//! There are no pings in a shutdown: systemd ends its watchdog then. The extensions take its place.
//!
//! A ping says nothing about the author's own threads and runtime, about turns, or about a round that ends by
//! a panic. The log reports that one. A gateway that is driven by hand ([`Builder::manual`]) has no thread
//! that looks at its home, so nothing is said about that.
//!
//! # Child processes
//!
//! They inherit `$NOTIFY_SOCKET`. `NotifyAccess=main` has systemd ignore what they send. An author who
//! takes the variable out of the environment first calls [`notify_at`].
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

/// How long the drop waits for the thread to end.
const PATIENCE: Duration = Duration::from_secs(1);

/// Reports on this gateway to the service manager that `$NOTIFY_SOCKET` names, until the gateway has
/// stopped or the value is dropped. Where the variable is not set it does nothing, and
/// [`NotifyGuard::is_on`] is `false`. The watchdog is on where `$WATCHDOG_USEC` and `$WATCHDOG_PID` say so.
///
/// A service has one status, so a process with several gateways reports on one of them.
///
/// Keep the value for as long as the process runs: `let _ =` would drop it at once.
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
/// [`NotifyError`], where the socket cannot be used or there is no thread to be had. Nothing is reported
/// then, and systemd ends a service of `Type=notify` that does not report its start.
pub fn notify(gateway: &Gateway) -> Result<NotifyGuard, NotifyError> {
    match std::env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty()) {
        Some(socket) => notify_at(gateway, socket, sd_notify::watchdog_enabled()),
        None => Ok(NotifyGuard { thread: None }),
    }
}

/// As [`notify()`], to this socket and with this period of the watchdog, and without a look at the
/// environment. The socket is the absolute path of a Unix datagram socket, or `@` and the name of an
/// abstract one.
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
    // The first message goes from here, so that a socket that leads nowhere is the caller's to know. A full
    // one is not: the thread tries again.
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

/// Reports for as long as it lives. Its drop sends what is still to be said and ends the thread; the
/// gateway goes on. It keeps no gateway alive: after the last status of one that has stopped the thread
/// ends by itself.
///
/// With a watchdog, a drop before a shutdown has systemd end the process.
#[derive(Debug)]
#[must_use = "the reports end when it is dropped"]
pub struct NotifyGuard {
    /// `None` where there is no service manager.
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
            // Relaxed: published by the wakeup.
            is_over.store(true, Ordering::Relaxed);
            rounds.wakeup().wake();
            rounds.join(PATIENCE);
        }
    }
}

/// Why nothing is reported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotifyError {
    /// This is no address of a socket that can be sent to.
    #[error(
        "cannot report to the service manager at {socket:?}: {source}; NOTIFY_SOCKET must be an absolute path, or '@' and the name of an abstract socket"
    )]
    Address {
        /// The address as it was given.
        socket: String,
        /// Why.
        source: io::Error,
    },
    /// The socket cannot be sent to.
    #[error(
        "cannot report to the service manager at {socket}: {source}; make this socket reachable for the process, or unset NOTIFY_SOCKET if there is no service manager"
    )]
    Unreachable {
        /// The socket.
        socket: String,
        /// Why.
        source: io::Error,
    },
    /// The operating system gave no thread.
    #[error("cannot start the thread that reports to the service manager: {source}")]
    Thread {
        /// Why.
        source: io::Error,
    },
}

/// The line to the service manager: what the thread owns.
struct ManagerLink {
    view: View,
    waker: Waker,
    reporter: Reporter,
    socket: Socket,
    is_over: Arc<AtomicBool>,
    /// The last message could not be sent, and that was logged.
    is_failing: bool,
}

impl ManagerLink {
    fn round(&mut self) -> NextRound {
        // Before all that is looked at: what changes after the look brings the next round.
        // Relaxed: the wake-up that came after the store woke this thread, or will.
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

    /// Once when it begins to fail, and once when that is over.
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
