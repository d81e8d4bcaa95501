//! The signals by which a process is asked to end (feature `tokio`). They shut the gateway down; how, the gateway
//! decides.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::gateway::Gateway;
use crate::ignored_signals::ignored_signals;
use crate::machine::ShutdownCause;

/// Waits for SIGTERM or SIGINT: for what [`serve`](crate::http::serve) ends at, and for programs without HTTP.
/// It comes to the cause and to `grace`, and a second signal then hurries the shutdown. What is left of the grace
/// is over at once, and turns that are still in flight are not waited for.
///
/// It listens from this call on, so a signal that comes before it is awaited is not lost. SIGINT is left alone
/// where the process was started to ignore it, as a script's `&` does.
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
/// The system does not let the process listen.
///
/// # Panics
///
/// Outside a tokio runtime with I/O.
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
    /// Absent where it is ignored.
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
