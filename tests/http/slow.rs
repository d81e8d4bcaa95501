//! Clients that are slow, idle or gone: each gets its reply within the limits, and none holds up a drain.

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::{get, post};
use http_body_util::BodyExt;
use http_body_util::channel::Channel;
use hyper::StatusCode;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tidegate::http::{GateLayer, Server, drain_router, health_router};
use tidegate::machine::ShutdownCause;
use tidegate::request::{DrainRequest, Holder};
use tidegate::{Ended, Gateway};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

use super::client::{Client, PATIENCE, Reply, SECRET, in_flight, verifier};
use super::scene::BIG;

/// Longer than any test waits.
const LONG: Duration = Duration::from_secs(3600);

/// Less than the pieces that a server takes, and more than the window that its client grants.
const WINDOW: usize = 32 * 1024;

struct Scene {
    gateway: Gateway,
    address: SocketAddr,
    served: tokio::task::JoinHandle<Ended>,
}

fn app(gateway: &Gateway) -> Router {
    Router::new()
        .route("/", get(async || "hello"))
        .route(
            "/echo",
            post(async |body: Result<Bytes, _>| {
                body.map(|it| it.len().to_string()).is_ok().to_string()
            }),
        )
        .route("/ignore", post(async || StatusCode::PAYLOAD_TOO_LARGE))
        .route("/big", get(async || vec![b'x'; BIG]))
        .route("/window", get(async || vec![b'x'; WINDOW]))
        .layer(GateLayer::new(gateway.clone()))
        .merge(drain_router(gateway.clone(), verifier()))
        .merge(health_router(gateway.clone()))
}

impl Scene {
    async fn new(adjust: impl FnOnce(Server) -> Server) -> Scene {
        let gateway = Gateway::in_memory().start().expect("starts");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let server = adjust(Server::new(&gateway).client_timeout(LONG));
        let served = tokio::spawn(server.serve(listener, app(&gateway), pending()));
        Scene { gateway, address, served }
    }

    fn close(&self) {
        self.gateway.begin_drain(&DrainRequest::default()).expect("in memory");
    }

    async fn in_flight(&self, user: u32) {
        in_flight(&self.gateway, user).await;
    }

    async fn idle(&self) {
        tokio::time::timeout(PATIENCE, self.gateway.idle()).await.expect("nobody holds it");
    }
}

/// Found in use: a client that sent its whole body before it read never read its 503. The connection was reset.
#[tokio::test]
async fn a_client_that_sends_all_first_reads_its_refusal() {
    const BODY: usize = 20 << 20;
    let scene = Scene::new(|server| server).await;
    scene.close();
    for path in ["/echo", "/ignore"] {
        let mut socket = TcpStream::connect(scene.address).await.expect("listens");
        let head = format!("POST {path} HTTP/1.1\r\nhost: test\r\ncontent-length: {BODY}\r\n\r\n");
        socket.write_all(head.as_bytes()).await.expect("writes");
        let sent = tokio::time::timeout(PATIENCE, socket.write_all(&vec![0; BODY])).await;
        sent.expect("in time").expect("nothing is reset");
        let mut reply = String::new();
        let read = tokio::time::timeout(PATIENCE, socket.read_to_string(&mut reply)).await;
        read.expect("in time").expect("nothing is reset");
        assert!(reply.starts_with("HTTP/1.1 503"), "{reply}");
        assert!(reply.ends_with('}'), "the whole document: {reply}");
    }
    assert_eq!(scene.gateway.in_flight().total(), 0);
}

/// The same holds over HTTP/2: the server reads the rest of the stream, and does not reset it after the reply.
#[tokio::test]
async fn a_stream_that_sends_on_behind_its_refusal_is_read_on() {
    let scene = Scene::new(|server| server).await;
    for (path, status) in
        [("/echo", StatusCode::SERVICE_UNAVAILABLE), ("/ignore", StatusCode::PAYLOAD_TOO_LARGE)]
    {
        if status == StatusCode::SERVICE_UNAVAILABLE {
            scene.close();
        } else {
            scene.gateway.cancel_drain(&Holder::Shared).expect("in memory");
        }
        let mut client = Client::two(scene.address).await;
        let (mut sender, body) = Channel::<Bytes>::new(1);
        let request = client.request("POST", path).body(Body::new(body)).expect("a request");
        let reply = Reply::of(client.send(request).await.expect("a reply")).await;
        assert_eq!(reply.status, status);
        // It is no longer a turn, and 4 MB are still to come: more than its window.
        scene.in_flight(0).await;
        for _ in 0..256 {
            let sent = sender.send_data(Bytes::from(vec![0; 16 << 10]));
            let sent = tokio::time::timeout(PATIENCE, sent).await;
            sent.expect("in time").expect("it is taken");
        }
    }
}

/// After a refusal, the server reads on for a limited time: without a byte, and in total.
#[tokio::test]
async fn a_connection_is_read_on_for_so_long_and_no_longer() {
    let soon = Duration::from_millis(50);
    for (idle, total, sends) in [(soon, LONG, false), (LONG, soon, false), (LONG, soon, true)] {
        let scene = Scene::new(|server| server.linger(idle, total)).await;
        scene.close();
        let mut socket = TcpStream::connect(scene.address).await.expect("listens");
        let head = b"POST /echo HTTP/1.1\r\nhost: test\r\ncontent-length: 1000000000\r\n\r\n";
        socket.write_all(head).await.expect("writes");
        let mut reply = vec![0; 12];
        socket.read_exact(&mut reply).await.expect("reads");
        assert_eq!(reply, b"HTTP/1.1 503");
        let (mut reads, mut writes) = socket.into_split();
        let mut rest = Vec::new();
        let read = tokio::time::timeout(PATIENCE, reads.read_to_end(&mut rest)).await;
        // The server closes its half after the reply, although it reads on.
        let _ = read.expect("in time");
        // Once it is closed, a byte is answered with a reset. Too many bytes would keep it from being idle.
        let pause = Duration::from_millis(if sends { 5 } else { 120 });
        let over = async {
            while writes.write_all(b"x").await.is_ok() {
                tokio::time::sleep(pause).await;
            }
        };
        tokio::time::timeout(PATIENCE, over).await.expect("it is closed");
    }
}

/// One byte now and then counts as progress, except in a drain.
#[tokio::test]
async fn a_drip_holds_no_drain() {
    let patience = Duration::from_millis(600);
    let scene = Scene::new(|server| server.client_timeout(patience).drain_rate(1 << 20)).await;
    let drips = async |mut socket: TcpStream, byte: &'static [u8]| loop {
        if socket.write_all(byte).await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let mut one = TcpStream::connect(scene.address).await.expect("listens");
    one.write_all(b"POST /echo HTTP/1.1\r\nhost: test\r\ncontent-length: 100000\r\n\r\n")
        .await
        .expect("writes");
    let one = tokio::spawn(drips(one, b"x"));
    let mut client = Client::two(scene.address).await;
    let (mut sender, body) = Channel::<Bytes>::new(1);
    let request = client.request("POST", "/echo").body(Body::new(body)).expect("a request");
    let two = tokio::spawn(async move { client.send(request).await.map(|it| it.status()) });
    let drip = tokio::spawn(async move {
        while sender.send_data(Bytes::from_static(b"x")).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    scene.in_flight(2).await;
    // It takes longer than the timeout, and it is not cut off: it makes progress.
    tokio::time::sleep(3 * patience).await;
    assert_eq!(scene.gateway.in_flight().user, 2);
    scene.close();
    let began = Instant::now();
    scene.idle().await;
    assert!(began.elapsed() >= patience / 2, "not before its time was over");
    drip.abort();
    one.abort();
    drop(two);
}

/// A drain waits for a client only up to the limit, even if the client keeps to the rate.
#[tokio::test]
async fn a_drain_waits_for_no_client_longer_than_its_limit() {
    let limit = Duration::from_millis(300);
    let scene =
        Scene::new(|server| server.client_timeout(PATIENCE).drain_rate(1).drain_limit(limit)).await;
    let mut one = TcpStream::connect(scene.address).await.expect("listens");
    one.write_all(b"POST /echo HTTP/1.1\r\nhost: test\r\ncontent-length: 100000\r\n\r\n")
        .await
        .expect("writes");
    scene.in_flight(1).await;
    scene.close();
    let sends = async {
        while one.write_all(&[b'x'; 100]).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        () = scene.idle() => {}
        () = sends => scene.idle().await,
    }
}

/// In a drain, the stream of a client that grants no window is reset, and the connection lives.
#[tokio::test]
async fn a_stream_that_grants_nothing_is_reset() {
    let patience = Duration::from_millis(300);
    let scene = Scene::new(|server| server.client_timeout(patience).drain_rate(1 << 20)).await;
    let mut client = Client::two(scene.address).await;
    let request = client.request("GET", "/big").body(Body::empty()).expect("a request");
    // The reply is not read, and hyper's client grants a window only for what it reads.
    let unread = client.send(request).await.expect("a reply");
    scene.in_flight(1).await;
    tokio::time::sleep(2 * patience).await;
    assert_eq!(scene.gateway.in_flight().user, 1, "outside a drain it has ten times as long");
    scene.close();
    scene.idle().await;
    let body = unread.into_body().collect().await;
    assert!(body.is_err(), "it was reset");
    assert_eq!(client.get("/healthz").await.status, StatusCode::OK, "and the connection lives");
}

/// Outside a drain such a stream does not last for ever either.
#[tokio::test]
async fn a_stream_that_grants_nothing_is_reset_at_any_time() {
    let scene = Scene::new(|server| server.client_timeout(Duration::from_millis(30))).await;
    let mut client = Client::two(scene.address).await;
    let request = client.request("GET", "/big").body(Body::empty()).expect("a request");
    let unread = client.send(request).await.expect("a reply");
    scene.in_flight(0).await;
    assert!(unread.into_body().collect().await.is_err());
}

/// A load balancer keeps idle connections longer than a client may take for a head.
#[tokio::test]
async fn a_connection_may_rest_longer_than_a_head_may_take() {
    let patience = Duration::from_millis(100);
    let scene = Scene::new(|server| server.client_timeout(patience).keep_alive(LONG)).await;
    for http_2 in [false, true] {
        let mut client = Client::of(http_2, scene.address).await;
        assert_eq!(client.get("/").await.text, "hello");
        tokio::time::sleep(3 * patience).await;
        assert_eq!(client.get("/").await.text, "hello", "on the same connection");
    }
    // But the server does not wait longer for a second head than for a first one.
    let mut socket = TcpStream::connect(scene.address).await.expect("listens");
    socket.write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\nGET / HT").await.expect("writes");
    let mut told = Vec::new();
    let read = tokio::time::timeout(PATIENCE, async {
        while socket.read_buf(&mut told).await.is_ok_and(|read| read > 0) {
            // The rest of the second head, byte by byte, and never its end.
            let _ = socket.write_all(b"x").await;
        }
    });
    read.await.expect("cut off in time");
    assert!(told.starts_with(b"HTTP/1.1 200"));
}

/// Found in use: idle HTTP/2 connections that answer pings were kept for ever.
#[tokio::test]
async fn a_connection_that_rests_too_long_is_closed() {
    let scene = Scene::new(|server| server.keep_alive(Duration::from_millis(50))).await;
    for mut client in Client::each(scene.address).await {
        assert_eq!(client.get("/").await.text, "hello");
        client.closed().await;
    }
}

/// A connection is not idle while it sends a long reply.
#[tokio::test]
async fn a_connection_at_work_does_not_rest() {
    let scene = Scene::new(|server| server.keep_alive(Duration::from_millis(30))).await;
    for mut client in Client::each(scene.address).await {
        let request = client.request("GET", "/big").body(Body::empty()).expect("a request");
        let reply = client.send(request).await.expect("a reply");
        tokio::time::sleep(Duration::from_millis(150)).await;
        let body = reply.into_body().collect().await.expect("the rest").to_bytes();
        assert_eq!(body.len(), BIG);
    }
}

/// If all places are taken, idle connections are closed to make room for an order.
#[tokio::test]
async fn connections_at_rest_make_room() {
    let scene = Scene::new(|server| server.connections(4).keep_alive(LONG)).await;
    let mut crowd = Vec::new();
    for _ in 0..2 {
        for mut client in Client::each(scene.address).await {
            assert_eq!(client.get("/").await.text, "hello");
            crowd.push(client);
        }
    }
    for _ in 0..4 {
        let order = async {
            let mut client = Client::one(scene.address).await;
            let request = client
                .request("POST", "/api/gateway/drain")
                .header("authorization", format!("Bearer {SECRET}"))
                .body(Body::from(r#"{"wait":20}"#));
            Reply::of(client.send(request.expect("a request")).await.expect("a reply")).await
        };
        let reply = tokio::time::timeout(PATIENCE, order).await.expect("there is room");
        assert_eq!(reply.status, StatusCode::OK);
    }
    drop(crowd);
}

/// A client may have closed its half and still wait for its reply.
#[tokio::test]
async fn a_half_closed_client_keeps_its_turn_where_the_author_says_so() {
    for half_close in [true, false] {
        let scene = Scene::new(|server| server.half_close(half_close)).await;
        let mut socket = TcpStream::connect(scene.address).await.expect("listens");
        socket.write_all(b"GET /big HTTP/1.1\r\nhost: test\r\n\r\n").await.expect("writes");
        scene.in_flight(1).await;
        socket.shutdown().await.expect("shuts");
        if half_close {
            let mut reply = Vec::new();
            let read = tokio::time::timeout(PATIENCE, socket.read_to_end(&mut reply)).await;
            read.expect("in time").expect("reads");
            assert!(reply.len() > BIG, "{}", reply.len());
        }
        scene.in_flight(0).await;
    }
}

/// A transport that takes bytes and does not send them, as TLS does with a client that stopped reading.
struct Buffers(TcpStream);

impl AsyncRead for Buffers {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Buffers {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

/// A listener that wraps each connection in a transport.
struct Through<Io> {
    listener: TcpListener,
    transport: fn(TcpStream) -> Io,
}

impl<Io: AsyncRead + AsyncWrite + Unpin + Send + 'static> axum::serve::Listener for Through<Io> {
    type Io = Io;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Io, SocketAddr) {
        let (io, address) = self.listener.accept().await.expect("accepts");
        ((self.transport)(io), address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Bytes that a transport holds back are in flight, and the server waits for them only for a limited time.
#[tokio::test]
async fn what_a_transport_holds_back_is_waited_for_no_longer_than_it_may() {
    let gateway = Gateway::in_memory().start().expect("starts");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let patience = Duration::from_millis(20);
    let server = Server::new(&gateway).client_timeout(patience);
    tokio::spawn(server.serve(Through { listener, transport: Buffers }, app(&gateway), pending()));
    let mut socket = TcpStream::connect(address).await.expect("listens");
    let began = Instant::now();
    socket.write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n").await.expect("writes");
    let reached = async {
        while gateway.in_flight().user == 0 {
            tokio::task::yield_now().await;
        }
        while gateway.in_flight().user > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, reached).await.expect("it ends");
    assert!(began.elapsed() >= 10 * patience, "{:?}", began.elapsed());
}

/// The bytes that a transport sends count as progress, even if each flush is slow.
#[tokio::test]
async fn a_transport_that_flushes_slowly_is_no_slow_client() {
    const PIECES: usize = 20;
    let gateway = Gateway::in_memory().start().expect("starts");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let patience = Duration::from_millis(100);
    let server = Server::new(&gateway).client_timeout(patience).drain_rate(1);
    let pieces = async || {
        let (mut sender, body) = Channel::<Bytes>::new(1);
        tokio::spawn(async move {
            for _ in 0..PIECES {
                sender.send_data(Bytes::from_static(b"piece")).await.expect("it is read");
            }
        });
        Body::new(body)
    };
    let app = Router::new().route("/", get(pieces)).layer(GateLayer::new(gateway.clone()));
    tokio::spawn(server.serve(Through { listener, transport: FlushesSlowly::new }, app, pending()));
    let mut socket = TcpStream::connect(address).await.expect("listens");
    socket
        .write_all(b"GET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n")
        .await
        .expect("writes");
    let mut head = [0; 12];
    socket.read_exact(&mut head).await.expect("it begins");
    gateway.begin_drain(&DrainRequest::default()).expect("in memory");
    let mut reply = String::new();
    let read = tokio::time::timeout(PATIENCE, socket.read_to_string(&mut reply)).await;
    read.expect("in time").expect("reads");
    assert_eq!(reply.matches("piece").count(), PIECES, "{reply}");
}

/// A transport whose flush takes a third of the client's timeout. All flushes together take longer than the timeout.
struct FlushesSlowly {
    io: TcpStream,
    flush: Option<Pin<Box<tokio::time::Sleep>>>,
    is_flushed: bool,
}

impl FlushesSlowly {
    fn new(io: TcpStream) -> FlushesSlowly {
        FlushesSlowly { io, flush: None, is_flushed: true }
    }
}

impl AsyncRead for FlushesSlowly {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl AsyncWrite for FlushesSlowly {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.is_flushed = false;
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_flushed {
            let third = Duration::from_millis(33);
            let flush = self.flush.get_or_insert_with(|| Box::pin(tokio::time::sleep(third)));
            std::task::ready!(flush.as_mut().poll(cx));
            self.flush = None;
            self.is_flushed = true;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Found by an attack: a connection counted as idle while its client had not read the reply that the server had taken.
#[tokio::test]
async fn a_reply_that_is_still_to_be_sent_is_no_rest() {
    const PAUSE: Duration = Duration::from_millis(400);
    let soon = Duration::from_millis(20);
    for ends in [false, true] {
        let scene = Scene::new(|server| server.keep_alive(soon).linger(soon, LONG)).await;
        let mut one = Client::one(scene.address).await;
        let request = one.request("GET", "/big").body(Body::empty()).expect("a request");
        let one = one.send(request).await.expect("a reply");
        // Over HTTP/2 the window is smaller than the reply, and the server has taken the whole reply.
        let io = TokioIo::new(TcpStream::connect(scene.address).await.expect("listens"));
        let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        let handshake = builder.initial_stream_window_size(20_000).handshake(io);
        let (sender, connection) = handshake.await.expect("speaks HTTP/2");
        tokio::spawn(connection);
        let mut two = Client::Two(sender);
        let request = two.request("GET", "/window").body(Body::empty()).expect("a request");
        let two = two.send(request).await.expect("a reply");
        if ends {
            drop(scene.gateway.shut_down(ShutdownCause::Sigterm, PATIENCE));
        }
        tokio::time::sleep(PAUSE).await;
        assert_eq!(two.into_body().collect().await.expect("the rest").to_bytes().len(), WINDOW);
        assert_eq!(one.into_body().collect().await.expect("the rest").to_bytes().len(), BIG);
    }
}

/// Found by an attack: with all places taken, heads that never end got their time again and again.
#[tokio::test]
async fn half_heads_do_not_fill_the_server() {
    let scene = Scene::new(|server| {
        server.connections(4).client_timeout(Duration::from_millis(200)).keep_alive(LONG)
    })
    .await;
    let mut crowd = Vec::new();
    for _ in 0..8 {
        let mut socket = TcpStream::connect(scene.address).await.expect("listens");
        socket.write_all(b"GET / HTTP/1.1\r\nhost: te").await.expect("writes");
        crowd.push(socket);
    }
    let asked = async { Client::one(scene.address).await.get("/healthz").await.status };
    let status = tokio::time::timeout(PATIENCE, asked).await.expect("there is room in time");
    assert_eq!(status, StatusCode::OK);
    drop(crowd);
}

/// Found by an attack: a client that sends a byte now and then held up the end.
#[tokio::test]
async fn a_trickle_does_not_hold_up_the_end() {
    let (idle, total) = (Duration::from_millis(100), Duration::from_millis(400));
    let scene = Scene::new(|server| server.linger(idle, total)).await;
    let mut socket = TcpStream::connect(scene.address).await.expect("listens");
    socket.write_all(b"GET / HTTP/1.1\r\nhost: ").await.expect("writes");
    let trickle = tokio::spawn(async move {
        while socket.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    // The trickle is connected by now.
    assert_eq!(Client::one(scene.address).await.get("/").await.text, "hello");
    drop(scene.gateway.shut_down(ShutdownCause::Sigterm, LONG));
    let ended = tokio::time::timeout(PATIENCE, scene.served).await.expect("in time");
    assert_eq!(ended.expect("no panic"), Ended::Clean);
    tokio::time::timeout(PATIENCE, trickle).await.expect("it is cut off").expect("no panic");
}

/// A client's time counts only while the handler waits for its bytes, and not while the handler does something else.
#[tokio::test]
async fn a_handler_that_asks_now_and_then_is_not_its_client_s_fault() {
    let patience = Duration::from_millis(400);
    let gateway = Gateway::in_memory().start().expect("starts");
    let handler = async |body: Body| {
        let mut body = body;
        let mut frames = 0;
        while frames < 2 {
            match tokio::time::timeout(Duration::from_millis(50), body.frame()).await {
                Ok(Some(Ok(_))) => frames += 1,
                Ok(other) => return format!("{other:?}"),
                Err(_) => tokio::time::sleep(Duration::from_millis(600)).await,
            }
        }
        "both".to_owned()
    };
    let app = Router::new().route("/", post(handler)).layer(GateLayer::new(gateway.clone()));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(Server::new(&gateway).client_timeout(patience).serve(listener, app, pending()));
    for http_2 in [false, true] {
        let mut client = Client::of(http_2, address).await;
        let (mut sender, body) = Channel::<Bytes>::new(1);
        let request = client.request("POST", "/").body(Body::new(body)).expect("a request");
        let reply =
            tokio::spawn(
                async move { Reply::of(client.send(request).await.expect("a reply")).await },
            );
        sender.send_data(Bytes::from_static(b"one")).await.expect("it is read");
        // Meanwhile the handler has waited for bytes twice, and has slept in between.
        tokio::time::sleep(Duration::from_secs(1)).await;
        sender.send_data(Bytes::from_static(b"two")).await.expect("it is read");
        assert_eq!(reply.await.expect("no panic").text, "both");
    }
}

/// The server ends once its clients have read their replies, and not before.
#[tokio::test]
async fn the_server_ends_when_its_clients_have_their_replies() {
    let scene = Scene::new(|server| server.linger(PATIENCE, PATIENCE)).await;
    let mut sockets = Vec::new();
    for _ in 0..2 {
        let mut socket = TcpStream::connect(scene.address).await.expect("listens");
        socket.write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n").await.expect("writes");
        let mut byte = [0];
        socket.read_exact(&mut byte).await.expect("it begins");
        sockets.push(socket);
    }
    scene.in_flight(0).await;
    let ended = scene.gateway.shut_down(ShutdownCause::Sigterm, PATIENCE).await;
    assert_eq!(ended, Ended::Clean);
    let mut served = scene.served;
    // One client closes, and the other has not read to the end.
    let first = sockets.pop().expect("two");
    drop(first);
    tokio::time::timeout(Duration::from_millis(200), &mut served)
        .await
        .expect_err("one client is left");
    let mut rest = String::new();
    sockets[0].read_to_string(&mut rest).await.expect("to the end");
    assert!(rest.ends_with("hello"), "{rest}");
    drop(sockets);
    let served = tokio::time::timeout(PATIENCE, served).await.expect("in time");
    assert_eq!(served.expect("no panic"), Ended::Clean);
}

/// A hurried shutdown does not wait for any client, even one that still reads.
#[tokio::test]
async fn a_shutdown_that_is_hurried_ends_the_server_at_once() {
    let scene = Scene::new(|server| server.linger(LONG, LONG)).await;
    let mut socket = TcpStream::connect(scene.address).await.expect("listens");
    socket.write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n").await.expect("writes");
    let mut byte = [0];
    socket.read_exact(&mut byte).await.expect("it begins");
    scene.in_flight(0).await;
    assert_eq!(scene.gateway.shut_down(ShutdownCause::Sigterm, LONG).await, Ended::Clean);
    let mut served = scene.served;
    tokio::time::timeout(Duration::from_millis(100), &mut served).await.expect_err("it is read on");
    drop(scene.gateway.shut_down(ShutdownCause::Sigterm, Duration::ZERO));
    let served = tokio::time::timeout(PATIENCE, served).await.expect("in time");
    assert_eq!(served.expect("no panic"), Ended::Clean);
}
