//! One request and its reply on a connection of [`serve`](super::serve), counted while it is active. The server waits
//! for the client to send or to read only within its time limits. This module decides nothing about turns.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::AtomicU8;
use std::task::{Context, Poll, ready};

use axum::BoxError;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::ConnectInfo;
use axum::http::{Method, Request, Response, Version};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::rt::Executor;
use pin_project_lite::pin_project;
use tokio::runtime::Handle;
use tokio::time::timeout;
use tower::Service;

use super::client_wait::{ClientWait, DrainClock};
use super::connection::{ActiveRequest, DiscardSlot, Link, is_upgrade};
use super::linger::LingerPool;
use super::pace::ProgressSignal;
use super::service_call::ServiceCall;
use crate::sync::{Arc, AtomicU64, Ordering};

/// Gives each request of a connection to the app.
#[derive(Clone)]
pub(super) struct ExchangeService<S> {
    pub(super) app: S,
    pub(super) link: Link,
    pub(super) clock: DrainClock,
    pub(super) lingering: Arc<LingerPool>,
    /// The client's address, for a connection over TCP.
    pub(super) peer: Option<SocketAddr>,
}

impl<S, B> hyper::service::Service<Request<Incoming>> for ExchangeService<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible> + Clone,
{
    type Response = Response<ReplyBody<B>>;
    type Error = Infallible;
    type Future = Exchange<S>;

    fn call(&self, request: Request<Incoming>) -> Exchange<S> {
        let is_http_2 = request.version() == Version::HTTP_2;
        let at_work = self.link.on_request(is_http_2);
        let (mut parts, body) = request.into_parts();
        parts.extensions.insert(self.link.clone());
        if let Some(peer) = self.peer {
            parts.extensions.insert(ConnectInfo(peer));
        }
        // Most requests have no body, and need no timer.
        let body = if body.is_end_stream() {
            Body::empty()
        } else {
            let wait = ClientWait::for_sender(&self.clock);
            let read_on = is_http_2.then(|| (self.link.clone(), Arc::clone(&self.lingering)));
            Body::new(TimedBody { body: Some(body), wait, read_on })
        };
        let connects = parts.method == Method::CONNECT;
        let progress = is_http_2.then(|| {
            let progress = Arc::new(StreamProgress::default());
            // hyper makes a stream of the future that this call returns. It spawns the stream before it does anything
            // else on this thread: see `Streams`.
            NEXT_STREAM.set(Some(Arc::clone(&progress)));
            progress
        });
        let reply = ServiceCall::new(&mut self.app.clone(), Request::from_parts(parts, body));
        Exchange { reply, at_work: Some(at_work), progress, connects }
    }
}

pin_project! {
    /// The future reply to one request.
    pub(super) struct Exchange<S: Service<Request<Body>>> {
        #[pin]
        reply: ServiceCall<S, Request<Body>>,
        at_work: Option<ActiveRequest>,
        progress: Option<Arc<StreamProgress>>,
        connects: bool,
    }
}

impl<S, B> Future for Exchange<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible>,
{
    type Output = Result<Response<ReplyBody<B>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let reply = ready!(this.reply.poll(cx))?;
        let (at_work, progress) = (this.at_work.take(), this.progress.take());
        if is_upgrade(*this.connects, reply.status())
            && progress.is_none()
            && let Some(at_work) = &at_work
        {
            at_work.link().on_upgrade();
        }
        if let Some(progress) = &progress {
            // The client must take the head first. The body, if there is one, then shows whom it waits for.
            progress.on_frame(true, 0);
        }
        Poll::Ready(Ok(reply.map(|inner| ReplyBody::new(inner, progress, at_work))))
    }
}

pin_project! {
    /// The body of a reply.
    ///
    /// Over HTTP/2 the last byte is a separate piece. The reason is in hyper: it accepts a whole piece as soon as there
    /// is a window for one byte of it. It drops the body with the last piece. So when this is dropped, at most one
    /// byte is left, not a whole piece.
    pub(super) struct ReplyBody<B> {
        #[pin]
        inner: B,
        last: Option<Bytes>,
        progress: Option<Arc<StreamProgress>>,
        _at_work: Option<ActiveRequest>,
    }
}

/// The least size of a last piece that is split. A shorter piece is handed over whole.
const SPLIT_FROM: usize = 1024;

impl<B> ReplyBody<B> {
    fn new(
        inner: B,
        progress: Option<Arc<StreamProgress>>,
        at_work: Option<ActiveRequest>,
    ) -> ReplyBody<B> {
        ReplyBody { inner, last: None, progress, _at_work: at_work }
    }
}

impl<B: HttpBody<Data = Bytes>> HttpBody for ReplyBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut this = self.project();
        let Some(progress) = this.progress else { return this.inner.poll_frame(cx) };
        if let Some(last) = this.last.take() {
            progress.on_frame(true, last.len());
            return Poll::Ready(Some(Ok(Frame::data(last))));
        }
        let mut frame = this.inner.as_mut().poll_frame(cx);
        let mut bytes = 0;
        if let Poll::Ready(Some(Ok(frame))) = &mut frame
            && let Some(data) = frame.data_mut()
        {
            if data.len() >= SPLIT_FROM && this.inner.is_end_stream() {
                *this.last = Some(data.split_off(data.len() - 1));
            }
            bytes = data.len();
        }
        progress.on_frame(frame.is_ready(), bytes);
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.last.is_none() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (inner, last) = (self.inner.size_hint(), self.last.as_ref().map_or(0, Bytes::len));
        match inner.exact() {
            Some(exact) => SizeHint::with_exact(exact.saturating_add(last as u64)),
            None => inner,
        }
    }
}

/// A request's body with a time limit. The time counts only while a reader waits for the next piece. Over HTTP/2 the
/// rest is read on if its handler drops the body early: see [`read_on`].
struct TimedBody {
    /// The body. It is taken only when this is dropped.
    body: Option<Incoming>,
    wait: ClientWait,
    /// What [`read_on`] needs, over HTTP/2 only: over HTTP/1 the connection itself is read on.
    read_on: Option<(Link, Arc<LingerPool>)>,
}

impl HttpBody for TimedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Self { body: Some(body), wait, .. } = &mut *self else { return Poll::Ready(None) };
        // A piece that has arrived counts as progress, however long it waited for its reader.
        match Pin::new(body).poll_frame(cx) {
            Poll::Ready(frame) => {
                let data = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
                wait.progress(data.map_or(0, |data| data.len() as u64));
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
            Poll::Pending => {
                let too_slow = ready!(wait.poll_too_slow(cx));
                // The server no longer waits for it, and does not read on either.
                self.read_on = None;
                Poll::Ready(Some(Err(too_slow.into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(HttpBody::size_hint).unwrap_or_default()
    }
}

impl Drop for TimedBody {
    fn drop(&mut self) {
        let (Some(body), Some((link, lingering))) = (self.body.take(), self.read_on.take()) else {
            return;
        };
        if body.is_end_stream() {
            return;
        }
        // Without a runtime the connection no longer exists.
        if let (Some(place), Ok(runtime)) = (link.read_on_body(&lingering), Handle::try_current()) {
            runtime.spawn(read_on(body, place));
        }
    }
}

/// Reads and discards the rest of a body that its handler has dropped, within the limits for a closing connection.
/// Otherwise the stream is reset once its reply is complete, and many clients then lose the reply.
async fn read_on(mut body: Incoming, mut place: DiscardSlot) {
    while let Some(within) = place.limit.left() {
        let frame = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx));
        match timeout(within, frame).await {
            Ok(Some(Ok(frame))) => place.limit.has_read(frame.data_ref().map_or(0, Bytes::len)),
            _ => return,
        }
    }
}

/// The progress of one HTTP/2 stream's reply, as its body sees it.
#[derive(Debug, Default)]
pub(super) struct StreamProgress {
    /// [`HANDLER`] or [`CLIENT`]. It is [`CLIENT`] after a piece was taken: the piece is sent as soon as the client
    /// grants a window for it.
    waits_for: AtomicU8,
    /// The number of bytes taken.
    bytes: AtomicU64,
}

/// The stream waits for the handler.
const HANDLER: u8 = 0;
/// The stream waits for the client.
const CLIENT: u8 = 1;

impl StreamProgress {
    fn on_frame(&self, is_ready: bool, bytes: usize) {
        // Relaxed, here and below: the stream's own task writes and reads both.
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.waits_for.store(if is_ready { CLIENT } else { HANDLER }, Ordering::Relaxed);
    }
}

thread_local! {
    /// Passes the progress from the call that makes a stream's future to the executor that gets it, on one thread.
    static NEXT_STREAM: RefCell<Option<Arc<StreamProgress>>> = const { RefCell::new(None) };
}

/// Runs the HTTP/2 streams of one server, each on its own task. It resets a stream whose client grants no window for
/// its reply. While there is no window, hyper does not poll the body, so the body cannot know.
#[derive(Clone, Debug)]
pub(super) struct Streams {
    pub(super) clock: DrainClock,
}

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, future: F) {
        match NEXT_STREAM.take() {
            Some(progress) => {
                let wait = ClientWait::for_reader(&self.clock, ProgressSignal::Window);
                tokio::spawn(Stream { future, progress, wait, seen: 0 });
            }
            // A task of hyper's for an upgraded stream.
            None => {
                tokio::spawn(future);
            }
        }
    }
}

pin_project! {
    /// An HTTP/2 stream. If its future ends early, hyper resets the stream.
    struct Stream<F> {
        #[pin]
        future: F,
        progress: Arc<StreamProgress>,
        wait: ClientWait,
        // How many bytes of the reply had been taken at the last poll.
        seen: u64,
    }
}

impl<F: Future<Output = ()>> Future for Stream<F> {
    type Output = ();

    // Property: TG-L2 drains.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        if this.future.poll(cx).is_ready() {
            return Poll::Ready(());
        }
        // Relaxed: see `on_frame`.
        let bytes = this.progress.bytes.load(Ordering::Relaxed);
        let waits_for_client = this.progress.waits_for.load(Ordering::Relaxed) == CLIENT;
        if bytes > *this.seen || !waits_for_client {
            this.wait.progress(bytes - *this.seen);
            *this.seen = bytes;
        }
        if !waits_for_client {
            return Poll::Pending;
        }
        let too_slow = ready!(this.wait.poll_too_slow(cx));
        tracing::debug!(%too_slow, "reset a stream of a slow client");
        Poll::Ready(())
    }
}
