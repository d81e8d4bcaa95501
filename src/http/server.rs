//! A server that is one with its gateway: it knows when a reply has left the process, and ends when the
//! gateway has ended. It decides nothing about turns, and ends none.
//!
//! While a shutdown waits for its turns the server goes on accepting: whoever comes is refused in words, a
//! load balancer reads from `/readyz` that it is to go elsewhere, and a control plane still reads the
//! status. Once it was asked to end, connections at rest are closed at once, the others after their reply.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{Request, Response};
use axum::serve::Listener;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tower::Service;

use super::body::PIECE_BYTES_MAX;
use super::connection::{Delivering, Outbox, Patience, PatientBody};
use crate::gateway::{Ended, Gateway};
use crate::machine::ShutdownCause;
use crate::sync::{Arc, AtomicBool, Ordering};

/// See [`Server::patience`].
const PATIENCE: Duration = Duration::from_secs(30);

/// A year: as good as without end.
const PATIENCE_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

/// How long connections are given to end once the gateway has: no turn is on them any more, or its
/// deadline has passed.
const LAST_PATIENCE: Duration = Duration::from_secs(1);

/// Serves `app` over HTTP/1 and HTTP/2 until `asked_to_end` tells why, and with what grace, to shut the
/// gateway down, and the gateway has ended. [`Server`] as it is by default.
pub async fn serve<L, S, B>(
    listener: L,
    app: S,
    gateway: &Gateway,
    asked_to_end: impl Future<Output = (ShutdownCause, Duration)>,
) -> Ended
where
    L: Listener,
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    Server::of(gateway).serve(listener, app, asked_to_end).await
}

/// A server for one gateway.
///
/// `axum::serve` will do where the last bytes of a reply may be lost with the process: there a turn is
/// over when the server has *taken* its reply, of which some hundred kilobytes may still be in a buffer.
/// Here it is over when the reply was handed to the operating system (F11); over HTTP/2, but for its last
/// 32 KiB at most where the client grants no window for them. The turn of an upgraded HTTP/1 connection is
/// over when the connection is; that of a tunnel over HTTP/2 (`CONNECT`), when its handler lets go of
/// [`CurrentTurn`](super::CurrentTurn).
#[derive(Clone, Debug)]
pub struct Server {
    gateway: Gateway,
    patience: Duration,
}

impl Server {
    /// A server that ends with this gateway.
    #[must_use]
    pub fn of(gateway: &Gateway) -> Server {
        Server { gateway: gateway.clone(), patience: PATIENCE }
    }

    /// How long a client may take over what only he can do: send the head of a request, come back on a
    /// connection that he keeps, send the next piece of a body, answer a ping. 30 seconds unless told
    /// otherwise. Whoever takes longer is cut off, and his turn is over: else it would be his to decide
    /// whether a drain ever ends.
    ///
    /// For reading a reply he has ten times as long, since an operating system tells of room in its send
    /// buffer only when much of it was read: over some kilobytes a second nobody is cut off by default.
    ///
    /// Over HTTP/2 a client that reads, and grants one reply no window, is not told from one that is
    /// busy: a shutdown's deadline ends that.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Server {
        // Beyond the years of a clock there is no waiting.
        self.patience = patience.min(PATIENCE_MAX);
        self
    }

    /// See [`serve`].
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with time and I/O.
    pub async fn serve<L, S, B>(
        self,
        mut listener: L,
        app: S,
        asked_to_end: impl Future<Output = (ShutdownCause, Duration)>,
    ) -> Ended
    where
        L: Listener,
        S: Service<Request<Body>, Response = Response<B>, Error = Infallible>,
        S: Clone + Send + 'static,
        S::Future: Send,
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let protocol = Arc::new(self.protocol());
        let mut connections = JoinSet::new();
        // Those that come before the shutdown, and those that come while it waits.
        let mut watched = GracefulShutdown::new();
        let (mut asked_to_end, mut ended) = (pin!(asked_to_end), self.gateway.ended());
        let mut is_asked = false;
        let ended = loop {
            tokio::select! {
                (io, _) = listener.accept() => {
                    let connection = Connection {
                        protocol: Arc::clone(&protocol),
                        watcher: watched.watcher(),
                        patience: self.patience,
                    };
                    connections.spawn(connection.serve(io, app.clone()));
                }
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                (cause, grace) = &mut asked_to_end, if !is_asked => {
                    is_asked = true;
                    // Waited for with `ended`, also where somebody else has begun it.
                    drop(self.gateway.shut_down(cause, grace));
                    let earlier = std::mem::take(&mut watched);
                    connections.spawn(earlier.shutdown());
                }
                ended = &mut ended => break ended,
            }
        };
        drop(listener);
        connections.spawn(watched.shutdown());
        let all_end = async { while connections.join_next().await.is_some() {} };
        // What is left is no turn, or one whose deadline has passed: waited for no longer, and not ended.
        let _ = timeout(LAST_PATIENCE, all_end).await;
        connections.detach_all();
        ended
    }

    fn protocol(&self) -> Builder<TokioExecutor> {
        let mut builder = Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(self.patience);
        // A client that has vanished must not keep its turns for ever.
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(self.patience)
            .keep_alive_timeout(self.patience)
            // What a stream has in here that its client grants no window for is not known to have gone.
            .max_send_buf_size(PIECE_BYTES_MAX)
            .enable_connect_protocol();
        builder
    }
}

struct Connection {
    protocol: Arc<Builder<TokioExecutor>>,
    watcher: Watcher,
    patience: Duration,
}

impl Connection {
    async fn serve<Io, S, B>(self, io: Io, app: S)
    where
        Io: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
        S: Service<Request<Body>, Response = Response<B>, Error = Infallible>,
        S: Clone + Send + 'static,
        S::Future: Send,
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let outbox = Outbox::new();
        let asked = Arc::new(AtomicBool::new(false));
        let patience = self.patience;
        let reads = Patience::new(patience.saturating_mul(10).min(PATIENCE_MAX));
        let io = Delivering::new(TokioIo::new(io), outbox.clone(), reads);
        let app = Entering { app, outbox: outbox.clone(), asked: Arc::clone(&asked), patience };
        let service = TowerToHyperService::new(app);
        let connection = self.protocol.serve_connection_with_upgrades(io, service);
        let mut watched = pin!(self.watcher.watch(connection));
        let mut connection = pin!(poll_fn(|cx| outbox.around(cx, |cx| watched.as_mut().poll(cx))));
        // The protocol's own timer runs once it knows which protocol it is: whoever sends nothing at all,
        // or the beginning of a preface, would stay for ever.
        let served = match timeout(patience, &mut connection).await {
            Ok(served) => served,
            // Relaxed: it says nothing of any other memory.
            Err(_) if asked.load(Ordering::Relaxed) => connection.await,
            Err(_) => return,
        };
        if let Err(error) = served {
            tracing::debug!(error, "a connection ended early");
        }
    }
}

/// Gives each request its connection's outbox, and its body no more time than it may take.
#[derive(Clone)]
struct Entering<S> {
    app: S,
    outbox: Outbox,
    /// A request has come on this connection.
    asked: Arc<AtomicBool>,
    patience: Duration,
}

impl<S: Service<Request<Body>>> Service<Request<Incoming>> for Entering<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.app.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Incoming>) -> S::Future {
        // Relaxed: see where it is read.
        self.asked.store(true, Ordering::Relaxed);
        let (mut parts, body) = request.into_parts();
        parts.extensions.insert(self.outbox.clone());
        // Most requests have none, and need no timer.
        let body = if body.is_end_stream() {
            Body::empty()
        } else {
            Body::new(PatientBody { body, patience: Patience::new(self.patience) })
        };
        self.app.call(Request::from_parts(parts, body))
    }
}
