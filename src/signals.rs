//! The signals that ask a process to end (feature `tokio`). They begin the shutdown of the gateway. This module decides
//! nothing about how the shutdown proceeds.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::gateway::Gateway;
use crate::ignored_signals::ignored_signals;
use crate::machine::ShutdownCause;

/// Waits for SIGTERM or SIGINT. Use it as the end condition of [`serve`](crate::http::serve), or in a program without
/// HTTP. The future returns the cause of the shutdown, and `grace` unchanged.
///
/// A second signal ends the shutdown's grace at once: turns that are still in flight are not waited for.
///
/// The call itself begins to listen, so a signal before the first poll is not lost. SIGINT is not handled if the
/// process was started to ignore it, as a script does with `&`.
///
/// ```no_run
/// use std::time::Duration;
/// use tidegate::Gateway;
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let gateway = Gateway::builder("/srv/gateway").start()?;
/// let signals = tidegate::signals(&gateway, Duration::from_secs(30))?;
/// // … admit turns …
/// let (cause, grace) = signals.await;
/// println!("{:?}", gateway.shut_down(cause, grace).await);
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// The system does not allow the process to listen for signals.
///
/// # Panics
///
/// Panics outside a tokio runtime with I/O enabled.
pub fn signals(
    gateway: &Gateway,
    grace: Duration,
) -> io::Result<impl Future<Output = (ShutdownCause, Duration)> + Send + 'static> {
    let mut signals = Signals::listen()?;
    let gateway = gateway.downgrade();
    Ok(async move {
        let cause = signals.next().await;
        tokio::spawn(async move {
            let cause = signals.next().await;
            if let Some(gateway) = gateway.upgrade() {
                drop(gateway.shut_down(cause, Duration::ZERO));
            }
        });
        (cause, grace)
    })
}

struct Signals {
    terminate: Signal,
    /// `None` if the process ignores SIGINT.
    interrupt: Option<Signal>,
}

impl Signals {
    fn listen() -> io::Result<Signals> {
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = SignalKind::interrupt();
        let is_ignored = ignored_signals() & 1 << (interrupt.as_raw_value() - 1) != 0;
        let interrupt = (!is_ignored).then(|| signal(interrupt)).transpose()?;
        Ok(Signals { terminate, interrupt })
    }

    async fn next(&mut self) -> ShutdownCause {
        let interrupt = async {
            match &mut self.interrupt {
                Some(interrupt) => interrupt.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => ShutdownCause::Sigterm,
            _ = interrupt => ShutdownCause::Sigint,
        }
    }
}
