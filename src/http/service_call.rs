//! A call of a service that may not be ready. Most always are, and are called at once: waiting has a price, the
//! place that the request waits in.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use pin_project_lite::pin_project;
use tower::util::Oneshot;
use tower::{Service, ServiceExt};

pin_project! {
    /// The reply to come of a service that was called, or will be once it is ready.
    #[project = CallingProjected]
    pub(super) enum ServiceCall<S: Service<R>, R> {
        Called { #[pin] reply: S::Future },
        Waits { reply: Pin<Box<Oneshot<S, R>>> },
    }
}

impl<S: Service<R> + Clone, R> ServiceCall<S, R> {
    #[inline]
    pub(super) fn new(service: &mut S, request: R) -> ServiceCall<S, R> {
        // Asked again by a waker that wakes, where it is not ready.
        let mut nobody = Context::from_waker(Waker::noop());
        if let Poll::Ready(Ok(())) = service.poll_ready(&mut nobody) {
            return ServiceCall::Called { reply: service.call(request) };
        }
        // The one that was asked goes with the request: it may have a place in a queue already.
        let clone = service.clone();
        let service = std::mem::replace(service, clone);
        ServiceCall::Waits { reply: Box::pin(service.oneshot(request)) }
    }
}

impl<S: Service<R>, R> Future for ServiceCall<S, R> {
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            CallingProjected::Called { reply } => reply.poll(cx),
            CallingProjected::Waits { reply } => reply.as_mut().poll(cx),
        }
    }
}
