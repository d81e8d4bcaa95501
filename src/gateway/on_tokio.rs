//! What touches files, for callers on a tokio runtime (feature `tokio`): on its threads for blocking
//! work, so that no disk holds up a worker. Everything else on a [`Gateway`] that waits is a future
//! already, and needs no particular runtime.

use crate::error::ControlError;
use crate::holder::Holder;
use crate::request::DrainRequest;

use super::{Gateway, Receipt};

impl Gateway {
    /// As [`begin_drain`](Gateway::begin_drain), without blocking a worker. Once called, the request is
    /// made also where the future is dropped.
    ///
    /// # Errors
    ///
    /// As `begin_drain`.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime, or on one that is shutting down.
    pub async fn begin_drain_async(&self, ask: DrainRequest) -> Result<Receipt, ControlError> {
        let gateway = self.clone();
        off_the_workers(move || gateway.begin_drain(&ask)).await
    }

    /// As [`cancel_drain`](Gateway::cancel_drain), without blocking a worker. Once called, the request
    /// is removed also where the future is dropped.
    ///
    /// # Errors
    ///
    /// As `cancel_drain`.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime, or on one that is shutting down.
    pub async fn cancel_drain_async(&self, holder: Holder) -> Result<bool, ControlError> {
        let gateway = self.clone();
        off_the_workers(move || gateway.cancel_drain(&holder)).await
    }
}

async fn off_the_workers<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        // The work never panics, and is never cancelled once it runs.
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
