//! What touches files, for callers on a tokio runtime (feature `tokio`): on its threads for blocking
//! work, so that no disk holds up a worker. Everything else on a [`Gateway`] that waits is a future
//! already, and needs no particular runtime.

use crate::error::ControlError;
use crate::holder::Holder;
use crate::request::DrainRequest;

use super::{Gateway, Receipt};

impl Gateway {
    /// As [`begin_drain`](Gateway::begin_drain), without blocking a worker. It begins with the call, and
    /// goes on where the future is dropped.
    ///
    /// # Errors
    ///
    /// As `begin_drain`.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime, or on one that is shutting down.
    pub fn begin_drain_async(
        &self,
        ask: DrainRequest,
    ) -> impl Future<Output = Result<Receipt, ControlError>> + Send + use<> {
        let gateway = self.clone();
        off_the_workers(move || gateway.begin_drain(&ask))
    }

    /// As [`cancel_drain`](Gateway::cancel_drain), without blocking a worker. It begins with the call,
    /// and goes on where the future is dropped.
    ///
    /// # Errors
    ///
    /// As `cancel_drain`.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime, or on one that is shutting down.
    pub fn cancel_drain_async(
        &self,
        holder: Holder,
    ) -> impl Future<Output = Result<bool, ControlError>> + Send + use<> {
        let gateway = self.clone();
        off_the_workers(move || gateway.cancel_drain(&holder))
    }
}

fn off_the_workers<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> impl Future<Output = T> + Send {
    let working = tokio::task::spawn_blocking(work);
    async {
        match working.await {
            Ok(done) => done,
            // The work never panics, and is never cancelled once it runs.
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use crate::Gateway;
    use crate::holder::Holder;
    use crate::request::DrainRequest;

    /// A place that takes its time, as a disk may: who asks goes on meanwhile.
    #[test]
    fn a_slow_place_blocks_no_worker() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let _within = runtime.enter();
        let gateway = Gateway::in_memory().start().expect("starts");
        let place = &gateway.handle.shared.store;

        let busy = place.keep_busy();
        let mut begun = pin!(gateway.begin_drain_async(DrainRequest::default()));
        assert!(begun.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        drop(busy);
        assert!(runtime.block_on(begun).expect("in memory").draining);

        let busy = place.keep_busy();
        let mut cancelled = pin!(gateway.cancel_drain_async(Holder::Shared));
        assert!(cancelled.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        drop(busy);
        assert!(runtime.block_on(cancelled).expect("in memory"));
    }
}
