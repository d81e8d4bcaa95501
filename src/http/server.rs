//! A server that is one with its gateway: it knows when a reply has left the process, and ends when the
//! gateway has ended. It decides nothing about turns, and ends none whose client keeps up.
//!
//! While a shutdown waits for its turns the server goes on accepting: a new request is refused in words, a
//! load balancer reads from `/readyz` that it is to go elsewhere, and a control plane still reads the
//! status. Once the shutdown has begun, connections at rest are closed at once, the others after their reply.

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

/// A client that is given less is given this.
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

/// How long connections are given to end once the gateway has, where its grace is over.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// How often the end of the grace is asked for meanwhile: a second signal may have brought it forward.
const LAST_LOOK_EVERY: Duration = Duration::from_millis(50);

/// Serves `app` over HTTP/1 and HTTP/2 until `asked_to_end` says why, and with what grace, to shut the
/// gateway down, and the gateway has ended. [`Server`] as it is by default.
///
/// [`signals`](fn@crate::signals) is such an `asked_to_end`. It returns once the clients have their replies, or
/// the grace is over.
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
/// `axum::serve` will do where the last bytes of a reply may be lost with the process: there a turn is
/// over when the server has *taken* its reply, of which some hundred kilobytes may still be in a buffer.
/// Here it is over when the reply was handed to the operating system; over HTTP/2, except for the last piece of
/// a streamed reply, 16 KiB at most, where the client grants no window for it. The turn of an upgraded HTTP/1 connection is
/// over when the connection is; that of a tunnel over HTTP/2 (`CONNECT`), when its handler lets go of
/// [`CurrentTurn`](super::CurrentTurn).
///
/// What the operating system has taken it may still lose where the process is killed outright, also after
/// `quiesced`: unread bytes of the client make it reset the connection. A process that ends by
/// [`serve`](Server::serve) waits until its clients have read, within [`linger`](Server::linger) and its grace.
///
/// Several servers may serve one gateway, each a listener of its own. A control plane that must get through
/// while strangers crowd the public one has its routes on a second listener, on loopback or a Unix socket:
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

    /// How long a client may take over what only it can do: send the head of a request from its first byte on,
    /// send the next piece of a body, answer a ping. 30 seconds by default. A client that takes longer is cut off, and its turn is
    /// over: otherwise it would decide whether a drain ever ends.
    ///
    /// To read a reply it has ten times as long, since an operating system tells of room in its send
    /// buffer only when much of it was read: a client that reads some kilobytes a second is never cut off by
    /// default. Over HTTP/2 that holds for each stream.
    ///
    /// While the gateway drains, [`drain_rate`](Server::drain_rate) and
    /// [`drain_limit`](Server::drain_limit) hold besides.
    #[must_use]
    pub fn client_timeout(mut self, timeout: Duration) -> Server {
        // Beyond the years of a clock there is no waiting, and no client answers at once.
        self.limits.client_timeout = timeout.clamp(CLIENT_TIMEOUT_MIN, CLIENT_TIMEOUT_MAX);
        self
    }

    /// How long a connection may rest before its first request or between two before it is closed, over HTTP/1
    /// and HTTP/2: at least this long, at most twice. 75 seconds by default. Where a balancer keeps connections to the server,
    /// this must be *longer* than its own idle time (60 seconds with most): otherwise the balancer sends a
    /// request into a connection that is just being closed, and its client gets a 502.
    #[must_use]
    pub fn keep_alive(mut self, keep_alive: Duration) -> Server {
        self.keep_alive = keep_alive.min(CLIENT_TIMEOUT_MAX);
        self
    }

    /// How many bytes a second a client must send of a body, or read of a reply, while the gateway drains or
    /// shuts down: 1,024 by default, 0 for none. A client that is slower is cut off (over HTTP/2, its stream is
    /// reset), so that nobody holds a drain with a byte now and then. Only the time counts in which the client
    /// is waited for.
    ///
    /// For what a client sends, the rate is judged over [`client_timeout`](Server::client_timeout). For what it reads, over
    /// twice as long by its windows over HTTP/2, and over three times as long by the socket, since that progress
    /// is seen in lumps: an operating system tells of room when it has sent a third of its buffer. Where that
    /// is megabytes, as over loopback, a client that reads less than some 15 kilobytes a second looks like one
    /// that reads nothing.
    #[must_use]
    pub fn drain_rate(mut self, bytes_per_second: u32) -> Server {
        self.limits.drain_rate = bytes_per_second;
        self
    }

    /// How long one drain waits in all for what a client sends or reads: five minutes by default. The time
    /// that a handler takes does not count.
    #[must_use]
    pub fn drain_limit(mut self, limit: Duration) -> Server {
        self.limits.drain_limit = limit.min(CLIENT_TIMEOUT_MAX);
        self
    }

    /// How a connection that the server closes is read on, so that its client can read the last reply before
    /// the operating system resets the connection: until the client has sent nothing for `idle`, and not
    /// beyond `total`. Two and ten seconds by default. The same holds for the body of a request over HTTP/2
    /// that its handler leaves unread. 64 MiB are discarded of each; 256 connections and 256 bodies are read on
    /// at once, 8 bodies of one connection. What is read on is no turn. Once a shutdown has begun, `total` is
    /// what is left of its grace. Zero closes at once.
    #[must_use]
    pub fn linger(mut self, idle: Duration, total: Duration) -> Server {
        self.linger_idle = idle.min(CLIENT_TIMEOUT_MAX);
        self.linger_total = total.min(CLIENT_TIMEOUT_MAX);
        self
    }

    /// Whether an HTTP/1 client that has closed its half of the connection keeps its turn and gets its reply.
    /// No by default: a client that has gone looks the same, and would keep its turn until the reply cannot be
    /// written.
    #[must_use]
    pub fn half_close(mut self, half_close: bool) -> Server {
        self.half_close = half_close;
        self
    }

    /// How many connections there may be at once. Three quarters of the descriptors that the process may open
    /// by default, 65,536 at most. Where all are taken, those at rest are closed to make room, and a new one
    /// waits until there is some.
    #[must_use]
    pub fn connections(mut self, connections: usize) -> Server {
        self.connections = Some(connections.clamp(1, Semaphore::MAX_PERMITS));
        self
    }

    /// See [`serve`].
    ///
    /// The app finds [`ConnectInfo`](axum::extract::ConnectInfo) of a `SocketAddr` in each request that comes
    /// over TCP.
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
            // Waited for with `ended`, also where somebody else has begun it.
            drop(gateway.shut_down(cause, grace));
            pending::<Infallible>().await
        };
        let accept = async {
            // Moved in: a service need not be shared between threads.
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
        // No turn is on them any more, or the grace is over: so they are waited for, and not ended.
        let all_end = async { while connections.join_next().await.is_some() {} };
        tokio::select! {
            () = all_end => {}
            () = grace_is_over(gateway) => {}
        }
        connections.detach_all();
        ended
    }
}

/// Waits until a shutdown's grace is over, and a little longer for what is on its way.
async fn grace_is_over(gateway: &Gateway) {
    let last = Instant::now() + CLOSE_TIMEOUT;
    while gateway.grace_left().is_some_and(|left| !left.is_zero()) {
        tokio::time::sleep(LAST_LOOK_EVERY).await;
    }
    tokio::time::sleep_until(last).await;
}

/// What connections are to do. Each sees what has changed since it came.
#[derive(Clone, Copy, Debug, Default)]
struct Stage {
    /// Rises when those that are there are to end, after their replies.
    ending: u32,
    /// The gateway has ended clean: what is still at work is no turn.
    has_ended: bool,
    /// Rises when those at rest are to make room.
    crowded: u32,
}

/// What all connections of one server go by.
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
        // Heads and rests are timed by the connection's own task: hyper has one time for both.
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
            // What a stream has in here that its client grants no window for is not known to have gone.
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

    /// A place for one more connection. Where there is none, those at rest make room.
    async fn place(&self, stage: &watch::Sender<Stage>) -> OwnedSemaphorePermit {
        loop {
            if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
                return place;
            }
            stage.send_modify(|stage| stage.crowded += 1);
            // One that comes to rest meanwhile makes room when it is asked again.
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
                // Who comes from now on sees no change of the stage, and is served until the end.
                return pending().await;
            }
            if changes.next().await.is_none() {
                return pending().await;
            }
        }
    }
}

/// While all places are taken, those at rest are asked this often to make room.
const ROOM_EVERY: Duration = Duration::from_millis(250);

/// Three quarters of what the process may open: the rest is for its own files and for what its handlers open.
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
                    // Where nobody leads it any more, it ends by itself.
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
                    // Cut off.
                    KeepAliveExpiry::TooLong => return,
                },
            }
        };
        if let Err(error) = served {
            tracing::debug!(error, "a connection ended with an error");
        }
    }
}
