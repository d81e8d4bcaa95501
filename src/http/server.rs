//! A server for one gateway: it knows when a reply has left the process, and ends when the gateway has ended. It
//! decides nothing about turns, and ends no turn whose client keeps up.
//!
//! While a shutdown waits for its turns, the server still accepts connections. A new request is refused with a
//! reason. A load balancer learns from `/readyz` to go elsewhere, and a control plane can still read the status.
//!
//! Once the shutdown has begun, connections at rest (without an active request) are closed at once. The others are
//! closed after their reply.

use std::any::Any;
use std::convert::Infallible;
use std::future::{pending, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{Request, Response};
use axum::serve::Listener;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tower::Service;

use super::body::PIECE_BYTES_MAX;
use super::client_wait::DrainClock;
use super::connection::{DeliveryIo, Link, RestState};
use super::exchange::{ExchangeService, Streams};
use super::keep_alive_timer::{KeepAliveExpiry, KeepAliveTimer};
use super::linger::LingerPool;
use super::pace::{CLIENT_TIMEOUT_MAX, ClientLimits};
use crate::gateway::{Ended, Gateway};
use crate::machine::{Phase, ShutdownCause};
use crate::sync::Arc;

/// See [`Server::client_timeout`].
const CLIENT_TIMEOUT: Duration = Duration::from_secs(30);

/// The shortest client timeout. A shorter one is raised to this.
const CLIENT_TIMEOUT_MIN: Duration = Duration::from_millis(1);

/// See [`Server::keep_alive`].
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// See [`Server::linger`].
const LINGER_IDLE: Duration = Duration::from_secs(2);
const LINGER_TOTAL: Duration = Duration::from_secs(10);

/// See [`Server::drain_rate`].
const DRAIN_RATE: u32 = 1024;

/// See [`Server::drain_limit`].
const DRAIN_LIMIT: Duration = Duration::from_secs(300);

/// See [`Server::connections`].
const CONNECTIONS_MAX: usize = 65_536;

/// How long connections may take to end after the gateway has ended and its grace is over.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// How often the end of the grace is read again: a second signal may have brought it forward.
const LAST_LOOK_EVERY: Duration = Duration::from_millis(50);

/// Serves `app` over HTTP/1 and HTTP/2 until the gateway has ended, with the defaults of [`Server`].
///
/// When `asked_to_end` is ready, the gateway shuts down for the cause and with the grace that it returns.
/// [`signals`](fn@crate::signals) makes such a future. `serve` returns once the clients have their replies, or the
/// grace is over.
pub async fn serve<L, S, B>(
    listener: L,
    app: S,
    gateway: &Gateway,
    asked_to_end: impl Future<Output = (ShutdownCause, Duration)>,
) -> Ended
where
    L: Listener,
    L::Addr: 'static,
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    Server::new(gateway).serve(listener, app, asked_to_end).await
}

/// A server for one gateway.
///
/// `axum::serve` is enough if the last bytes of a reply may be lost with the process. There a turn is over when the
/// server has *taken* its reply, and some hundred kilobytes of it may still be in a buffer. Here a turn is over when
/// the operating system has the reply. There are three special cases:
///
/// * Over HTTP/2, the last piece of a streamed reply, 16 KiB at most, may remain if the client grants no window for it.
/// * The turn of an upgraded HTTP/1 connection is over when the connection is.
/// * The turn of a tunnel over HTTP/2 (`CONNECT`) is over when its handler drops [`CurrentTurn`](super::CurrentTurn).
///
/// A reply that the operating system has taken can still be lost if the process is killed, even after `quiesced`.
/// The operating system then resets each connection that has unread bytes from its client. A process that ends by
/// [`serve`](Server::serve) waits until its clients have read, within [`linger`](Server::linger) and its grace.
///
/// Several servers may serve one gateway, each with a listener of its own. Put the control routes on a second
/// listener, on loopback or a Unix socket. Then a full public listener cannot block them:
///
/// ```no_run
/// use std::future::pending;
/// use axum::Router;
/// use tidegate::http::{SharedSecret, drain_router, health_router, serve};
/// use tokio::net::{TcpListener, UnixListener};
/// # async fn run(gateway: tidegate::Gateway, app: Router, secret: SharedSecret) -> Result<(), Box<dyn std::error::Error>> {
/// let control: Router = drain_router(gateway.clone(), secret);
/// let (ended, _) = tokio::join!(
///     serve(TcpListener::bind("0.0.0.0:8080").await?, app, &gateway, tidegate::signals(&gateway, std::time::Duration::from_secs(30))?),
///     serve(UnixListener::bind("/run/gateway/control.sock")?, control, &gateway, pending()),
/// );
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Server {
    gateway: Gateway,
    limits: ClientLimits,
    keep_alive: Duration,
    linger_idle: Duration,
    linger_total: Duration,
    half_close: bool,
    connections: Option<usize>,
}

impl Server {
    /// A server that ends with this gateway.
    #[must_use]
    pub fn new(gateway: &Gateway) -> Server {
        Server {
            gateway: gateway.clone(),
            limits: ClientLimits {
                client_timeout: CLIENT_TIMEOUT,
                drain_rate: DRAIN_RATE,
                drain_limit: DRAIN_LIMIT,
            },
            keep_alive: KEEP_ALIVE,
            linger_idle: LINGER_IDLE,
            linger_total: LINGER_TOTAL,
            half_close: false,
            connections: None,
        }
    }

    /// How long a client may take to send a request head or the next piece of a body, or to answer a ping. For a
    /// head, the time starts with its first byte. The default is 30 seconds. Values are clamped to 1 ms … 366 days.
    ///
    /// A client that takes longer is disconnected, and its turn is over. Otherwise a client could block a drain for
    /// ever.
    ///
    /// To read a reply, a client has ten times as long. An operating system reports room in its send buffer only
    /// after the client has read much of it. By default a client that reads some kilobytes a second is never
    /// disconnected. Over HTTP/2 this holds for each stream.
    ///
    /// While the gateway drains, [`drain_rate`](Server::drain_rate) and [`drain_limit`](Server::drain_limit) apply
    /// too.
    #[must_use]
    pub fn client_timeout(mut self, timeout: Duration) -> Server {
        // A clock cannot count a longer wait, and no client answers in no time.
        self.limits.client_timeout = timeout.clamp(CLIENT_TIMEOUT_MIN, CLIENT_TIMEOUT_MAX);
        self
    }

    /// How long a connection may rest before its first request, or between two requests. It is closed after this time
    /// at the earliest, and after twice this time at the latest. The default is 75 seconds.
    ///
    /// If a load balancer keeps connections to the server, this must be *longer* than the balancer's own idle time
    /// (often 60 seconds). Otherwise the balancer may send a request into a connection that is just being closed, and
    /// its client gets a 502.
    #[must_use]
    pub fn keep_alive(mut self, keep_alive: Duration) -> Server {
        self.keep_alive = keep_alive.min(CLIENT_TIMEOUT_MAX);
        self
    }

    /// The least rate of a client while the gateway drains or shuts down, in bytes a second. It applies to a body
    /// that the client sends and to a reply that it reads. The default is 1,024; 0 asks for none.
    ///
    /// A slower client is disconnected, or over HTTP/2 its stream is reset. So no client can delay a drain with a byte
    /// now and then. Only the time in which the server waits for the client counts.
    ///
    /// When a client sends, the rate is measured over [`client_timeout`](Server::client_timeout). When it reads, the
    /// rate is measured over twice that time by its HTTP/2 windows, and over three times that time by the socket.
    /// These show progress only in large steps.
    ///
    /// An operating system reports room once it has sent a third of its buffer. If the buffer holds megabytes, as over
    /// loopback, a client that reads less than some 15 kilobytes a second seems to read nothing.
    #[must_use]
    pub fn drain_rate(mut self, bytes_per_second: u32) -> Server {
        self.limits.drain_rate = bytes_per_second;
        self
    }

    /// How long one drain waits in total for a client to send or read. The default is five minutes. The time that a
    /// handler takes does not count.
    #[must_use]
    pub fn drain_limit(mut self, limit: Duration) -> Server {
        self.limits.drain_limit = limit.min(CLIENT_TIMEOUT_MAX);
        self
    }

    /// How long the server still reads from a connection that it closes: until the client has sent nothing for
    /// `idle`, and for `total` at most. The defaults are two and ten seconds. Zero closes at once.
    ///
    /// Without this, the operating system could reset the connection before the client has read the last reply. The
    /// same applies to the body of a request over HTTP/2 that its handler leaves unread.
    ///
    /// At most 64 MiB of each are read and discarded. The server does this for at most 256 connections and 256 bodies
    /// at once, and for 8 bodies of one connection. It is not part of a turn. Once a shutdown has begun, `total` is
    /// what is left of its grace.
    #[must_use]
    pub fn linger(mut self, idle: Duration, total: Duration) -> Server {
        self.linger_idle = idle.min(CLIENT_TIMEOUT_MAX);
        self.linger_total = total.min(CLIENT_TIMEOUT_MAX);
        self
    }

    /// Whether an HTTP/1 client that has closed its half of the connection keeps its turn and gets its reply.
    ///
    /// The default is no. A client that has gone looks the same, and would keep its turn until a write of the reply
    /// fails.
    #[must_use]
    pub fn half_close(mut self, half_close: bool) -> Server {
        self.half_close = half_close;
        self
    }

    /// How many connections there may be at once. The default is three quarters of the descriptors that the process
    /// may open, 65,536 at most. If all are taken, connections at rest are closed, and a new connection waits for
    /// room.
    #[must_use]
    pub fn connections(mut self, connections: usize) -> Server {
        self.connections = Some(connections.clamp(1, Semaphore::MAX_PERMITS));
        self
    }

    /// See [`serve`].
    ///
    /// Each request that comes over TCP carries [`ConnectInfo`](axum::extract::ConnectInfo) of a `SocketAddr`.
    ///
    /// # Panics
    ///
    /// Panics outside a tokio runtime with time and I/O.
    pub async fn serve<L, S, B>(
        self,
        mut listener: L,
        app: S,
        asked_to_end: impl Future<Output = (ShutdownCause, Duration)>,
    ) -> Ended
    where
        L: Listener,
        L::Addr: 'static,
        S: Service<Request<Body>, Response = Response<B>, Error = Infallible>,
        S: Clone + Send + 'static,
        S::Future: Send,
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<axum::BoxError>,
    {
        let gateway = &self.gateway;
        let rules = Arc::new(ServerConfig::new(&self));
        let (stage, _) = watch::channel(Stage::default());
        let mut connections = JoinSet::new();
        let asked = async {
            let (cause, grace) = asked_to_end.await;
            // `ended` waits for it, also if another caller has begun it.
            drop(gateway.shut_down(cause, grace));
            pending::<Infallible>().await
        };
        let accept = async {
            // Moved in, since a service need not be `Sync`.
            let app = app;
            loop {
                let accepted = async {
                    let (io, addr) = listener.accept().await;
                    (io, addr, rules.place(&stage).await)
                };
                let mut accepted = pin!(accepted);
                let (io, addr, place) = loop {
                    tokio::select! {
                        accepted = &mut accepted => break accepted,
                        Some(_) = connections.join_next(), if !connections.is_empty() => {}
                    }
                };
                let peer = (&addr as &dyn Any).downcast_ref::<SocketAddr>().copied();
                let connection =
                    Connection { rules: Arc::clone(&rules), stage: stage.subscribe(), peer };
                connections.spawn(connection.serve(io, place, app.clone()));
            }
        };
        let ended = tokio::select! {
            ended = gateway.ended() => ended,
            never = asked => match never {},
            never = rules.follow(gateway, &stage) => match never {},
            never = accept => never,
        };
        drop(listener);
        if let Some(left) = gateway.grace_left() {
            rules
                .lingering
                .ends_at(Instant::now() + left.max(CLOSE_TIMEOUT).min(CLIENT_TIMEOUT_MAX));
        }
        stage.send_modify(|stage| {
            stage.ending += 1;
            stage.has_ended = ended == Ended::Clean;
        });
        // They no longer carry a turn, or the grace is over. So the server waits for them and does not end them.
        let all_end = async { while connections.join_next().await.is_some() {} };
        tokio::select! {
            () = all_end => {}
            () = grace_is_over(gateway) => {}
        }
        connections.detach_all();
        ended
    }
}

/// Waits until the grace of a shutdown is over, and at least [`CLOSE_TIMEOUT`] for the last bytes.
async fn grace_is_over(gateway: &Gateway) {
    let last = Instant::now() + CLOSE_TIMEOUT;
    while gateway.grace_left().is_some_and(|left| !left.is_zero()) {
        tokio::time::sleep(LAST_LOOK_EVERY).await;
    }
    tokio::time::sleep_until(last).await;
}

/// What connections must do. Each connection sees the changes since it was accepted.
#[derive(Clone, Copy, Debug, Default)]
struct Stage {
    /// Rises when the present connections must end after their replies.
    ending: u32,
    /// Whether the gateway has ended clean: a request that is still active is not a turn.
    has_ended: bool,
    /// Rises when connections at rest must close to make room.
    crowded: u32,
}

/// What all connections of one server share.
struct ServerConfig {
    protocol: Builder<Streams>,
    clock: DrainClock,
    keep_alive: Duration,
    lingering: Arc<LingerPool>,
    places: Arc<Semaphore>,
}

impl ServerConfig {
    fn new(server: &Server) -> ServerConfig {
        let clock = DrainClock::new(server.limits);
        let mut protocol = Builder::new(Streams { clock: clock.clone() });
        // The connection's own task times request heads and rests: hyper has one timeout for both.
        protocol
            .http1()
            .half_close(server.half_close)
            .timer(TokioTimer::new())
            .header_read_timeout(None);
        // A client that has vanished must not keep its turns for ever.
        protocol
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(server.limits.client_timeout)
            .keep_alive_timeout(server.limits.client_timeout)
            // Bytes in this buffer for which the client grants no window are not known to have left.
            .max_send_buf_size(PIECE_BYTES_MAX)
            .enable_connect_protocol();
        let places = server.connections.unwrap_or_else(places_by_descriptors);
        ServerConfig {
            protocol,
            clock,
            keep_alive: server.keep_alive,
            lingering: Arc::new(LingerPool::new(server.linger_idle, server.linger_total)),
            places: Arc::new(Semaphore::new(places)),
        }
    }

    /// Waits for a place for one more connection. If there is none, connections at rest close to make room.
    async fn place(&self, stage: &watch::Sender<Stage>) -> OwnedSemaphorePermit {
        loop {
            if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
                return place;
            }
            stage.send_modify(|stage| stage.crowded += 1);
            // A connection that rests only later makes room in the next round.
            let coming = Arc::clone(&self.places).acquire_owned();
            if let Ok(Ok(place)) = tokio::time::timeout(ROOM_EVERY, coming).await {
                return place;
            }
        }
    }

    /// Follows the gateway's phases.
    async fn follow(&self, gateway: &Gateway, stage: &watch::Sender<Stage>) -> Infallible {
        let mut changes = gateway.changes();
        loop {
            let phase = gateway.phase();
            self.clock.is_closed(phase != Phase::Running);
            if phase == Phase::ShuttingDown {
                if let Some(left) = gateway.grace_left() {
                    self.lingering.ends_at(Instant::now() + left.min(CLIENT_TIMEOUT_MAX));
                }
                stage.send_modify(|stage| stage.ending += 1);
                // A connection accepted from now on sees no change of the stage, and is served until the end.
                return pending().await;
            }
            if changes.next().await.is_none() {
                return pending().await;
            }
        }
    }
}

/// How often connections at rest are asked to make room, while all places are taken.
const ROOM_EVERY: Duration = Duration::from_millis(250);

/// Three quarters of the descriptors that the process may open. The rest is for other files and sockets of the
/// process and its handlers.
fn places_by_descriptors() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
    (limit / 4 * 3).clamp(1, CONNECTIONS_MAX)
}

struct Connection {
    rules: Arc<ServerConfig>,
    stage: watch::Receiver<Stage>,
    peer: Option<SocketAddr>,
}

impl Connection {
    async fn serve<Io, S, B>(mut self, io: Io, place: OwnedSemaphorePermit, app: S)
    where
        Io: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
        S: Service<Request<Body>, Response = Response<B>, Error = Infallible>,
        S: Clone + Send + 'static,
        S::Future: Send,
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<axum::BoxError>,
    {
        let (link, clock) = (Link::new(), &self.rules.clock);
        let io = DeliveryIo::new(
            TokioIo::new(io),
            link.clone(),
            clock,
            Arc::clone(&self.rules.lingering),
            place,
        );
        let app = ExchangeService {
            app,
            link: link.clone(),
            clock: clock.clone(),
            lingering: Arc::clone(&self.rules.lingering),
            peer: self.peer,
        };
        let mut connection = pin!(self.rules.protocol.serve_connection_with_upgrades(io, app));
        let mut timer = KeepAliveTimer::new(
            link.clone(),
            clock.limits().client_timeout,
            self.rules.keep_alive,
            Arc::clone(&self.rules.lingering),
        );
        let (mut known, mut is_led) = (*self.stage.borrow_and_update(), true);
        let served = loop {
            tokio::select! {
                biased;
                served = poll_fn(|cx| link.poll_connection(cx, |cx| connection.as_mut().poll(cx))) => break served,
                led = self.stage.changed(), if is_led => {
                    // If the server no longer exists, the connection ends by itself.
                    is_led = led.is_ok();
                    let stage = *self.stage.borrow_and_update();
                    if stage.ending != known.ending || link.rest() != RestState::No {
                        connection.as_mut().graceful_shutdown();
                        timer.closes(stage.has_ended);
                    }
                    known = stage;
                }
                rested = poll_fn(|cx| timer.poll(cx)) => match rested {
                    KeepAliveExpiry::Long => {
                        connection.as_mut().graceful_shutdown();
                        timer.closes(false);
                    }
                    // Dropped, which closes the connection.
                    KeepAliveExpiry::TooLong => return,
                },
            }
        };
        if let Err(error) = served {
            tracing::debug!(error, "a connection ended with an error");
        }
    }
}
