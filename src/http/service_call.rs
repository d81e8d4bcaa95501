//! A call of a service that may not be ready. Most services are always ready and are called at once. A wait costs an
//! allocation for the waiting request.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use pin_project_lite::pin_project;
use tower::util::Oneshot;
use tower::{Service, ServiceExt};

pin_project! {
    /// The future reply of a service that was called, or that will be called once it is ready.
    #[project = CallingProjected]
    pub(super) enum ServiceCall<S: Service<R>, R> {
        Called { #[pin] reply: S::Future },
        Waits { reply: Pin<Box<Oneshot<S, R>>> },
    }
}

impl<S: Service<R> + Clone, R> ServiceCall<S, R> {
    #[inline]
    pub(super) fn new(service: &mut S, request: R) -> ServiceCall<S, R> {
        // A first check. If the service is not ready, `Oneshot` polls it again with a real waker.
        let mut nobody = Context::from_waker(Waker::noop());
        if let Poll::Ready(Ok(())) = service.poll_ready(&mut nobody) {
            return ServiceCall::Called { reply: service.call(request) };
        }
        // The service that was polled goes with the request: it may have a place in a queue already.
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
