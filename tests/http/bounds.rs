//! What the server waits for, and for how long: each bound applies to the clients that it is for, and to no others.

use std::future::pending;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use http_body_util::BodyExt;
use http_body_util::channel::Channel;
use hyper::StatusCode;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tidegate::http::{GateLayer, Server, health_router};
use tidegate::machine::ShutdownCause;
use tidegate::request::DrainRequest;
use tidegate::{Ended, Gateway};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use super::client::{Client, PATIENCE, SOON};
use super::scene::BIG;

/// Longer than any test waits.
const LONG: Duration = Duration::from_secs(3600);

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

struct Scene {
    gateway: Gateway,
    address: SocketAddr,
    served: tokio::task::JoinHandle<Ended>,
    /// Lets `/hold` go on.
    release: Arc<Notify>,
    /// The bytes that the handler of an upgraded connection has read, once it has read to the end.
    heard: Arc<Mutex<Option<Vec<u8>>>>,
}

impl Scene {
    async fn new(adjust: impl FnOnce(Server) -> Server) -> Scene {
        let gateway = Gateway::in_memory().start().expect("starts");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let server = adjust(Server::new(&gateway).client_timeout(LONG).keep_alive(LONG));
        let (release, heard) = (Arc::new(Notify::new()), Arc::new(Mutex::new(None)));
        let (held, hears) = (Arc::clone(&release), Arc::clone(&heard));
        let hold = async move || {
            held.notified().await;
            "held"
        };
        let upgrades = async move |request: Request| upgrades(request, Arc::clone(&hears));
        let app = Router::new()
            .route("/", get(async || "hello"))
            .route("/pausing", get(pausing))
            .route("/echo", post(async |body: Result<Bytes, _>| body.is_ok().to_string()))
            .route("/slowly", post(slowly))
            .route("/mb", get(async || vec![b'x'; 1 << 20]))
            .route("/big", get(async || vec![b'x'; BIG]))
            .route("/hold", get(hold))
            .fallback(any(upgrades))
            .layer(GateLayer::new(gateway.clone()))
            .merge(health_router(gateway.clone()));
        let served = tokio::spawn(server.serve(listener, app, pending()));
        Scene { gateway, address, served, release, heard }
    }

    fn close(&self) {
        self.gateway.begin_drain(&DrainRequest::default()).expect("in memory");
    }

    fn shut_down(&self, grace: Duration) {
        drop(self.gateway.shut_down(ShutdownCause::Sigterm, grace));
    }

    async fn in_flight(&self, user: u32) {
        let reached = async {
            while self.gateway.in_flight().user != user {
                tokio::task::yield_now().await;
            }
        };
        let waited = tokio::time::timeout(SOON, reached).await;
        waited.unwrap_or_else(|_| panic!("{:?}, not {user}", self.gateway.in_flight()));
    }

    /// Opens a connection and sends these bytes.
    async fn sends(&self, bytes: impl AsRef<[u8]>) -> TcpStream {
        let mut socket = TcpStream::connect(self.address).await.expect("listens");
        socket.write_all(bytes.as_ref()).await.expect("writes");
        socket
    }

    /// Begins a request that stays in flight.
    async fn holds(&self) {
        let mut client = Client::one(self.address).await;
        let request = client.request("GET", "/hold").body(Body::empty()).expect("a request");
        tokio::spawn(async move { client.send(request).await.map(|it| it.status()) });
        self.in_flight(1).await;
    }

    async fn ends_soon(self) {
        let ended = tokio::time::timeout(SOON, self.served).await.expect("in time");
        assert_eq!(ended.expect("no panic"), Ended::Clean);
    }
}

/// Upgrades to a handler that writes something, closes its half, and reads on.
fn upgrades(mut request: Request, hears: Arc<Mutex<Option<Vec<u8>>>>) -> Response {
    let is_tunnel = request.method() == hyper::Method::CONNECT;
    let upgrading = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let mut io = TokioIo::new(upgrading.await.expect("upgrades"));
        io.write_all(b"first").await.expect("writes");
        io.shutdown().await.expect("shuts");
        let mut rest = Vec::new();
        let _ = io.read_to_end(&mut rest).await;
        *hears.lock().expect("not poisoned") = Some(rest);
    });
    if is_tunnel {
        return StatusCode::OK.into_response();
    }
    let headers = [("connection", "upgrade"), ("upgrade", "echo")];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

/// A reply with pauses between its pieces.
async fn pausing() -> Body {
    let (mut sender, body) = Channel::<Bytes>::new(1);
    tokio::spawn(async move {
        for _ in 0..3 {
            if sender.send_data(Bytes::from_static(b"tick")).await.is_err() {
                return;
            }
            tokio::time::sleep(ms(700)).await;
        }
    });
    Body::new(body)
}

/// A handler that pauses after each piece of the body.
async fn slowly(body: Body) -> String {
    let (mut body, mut bytes) = (body, 0);
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return "cut off".to_owned() };
        bytes += frame.into_data().map_or(0, |data| data.len());
        tokio::time::sleep(ms(700)).await;
    }
    bytes.to_string()
}

const UPLOAD: &str = "POST /echo HTTP/1.1\r\nhost: test\r\ncontent-length: 100000\r\n\r\n";
const HELLO: &str = "GET / HTTP/1.1\r\nhost: test\r\n\r\n";

/// The time that a handler takes does not count against its client, in a drain or not.
#[tokio::test]
async fn a_handler_takes_its_time() {
    let scene =
        Scene::new(|server| server.client_timeout(ms(400)).drain_limit(ms(800)).drain_rate(1024))
            .await;
    let mut replies = Vec::new();
    for mut client in Client::each(scene.address).await {
        let request = client.request("GET", "/pausing").body(Body::empty()).expect("a request");
        replies.push((client.send(request).await.expect("a reply"), client));
    }
    let mut uploads = Vec::new();
    for mut client in Client::each(scene.address).await {
        let (mut sender, body) = Channel::<Bytes>::new(1);
        let request = client.request("POST", "/slowly").body(Body::new(body)).expect("a request");
        uploads.push(tokio::spawn(async move {
            let reply = client.send(request).await.expect("a reply");
            reply.into_body().collect().await.expect("a body").to_bytes()
        }));
        tokio::spawn(async move {
            for _ in 0..3 {
                let _ = sender.send_data(Bytes::from_static(b"xxxx")).await;
            }
        });
    }
    scene.in_flight(4).await;
    scene.close();
    for (reply, _client) in replies {
        assert_eq!(reply.into_body().collect().await.expect("a body").to_bytes().len(), 12);
    }
    for upload in uploads {
        assert_eq!(upload.await.expect("no panic"), "12");
    }
}

/// A client that keeps to the rate is not cut off in a drain, whether it sends or reads.
#[tokio::test]
async fn a_client_that_keeps_to_the_rate_is_waited_for() {
    let scene =
        Scene::new(|server| server.client_timeout(Duration::from_secs(1)).drain_rate(1024)).await;
    let mut upload = scene.sends(UPLOAD.replace("100000", "20000")).await;
    let mut download = scene.sends(HELLO.replace("/ ", "/big ")).await;
    let io = TokioIo::new(TcpStream::connect(scene.address).await.expect("listens"));
    let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let handshake = builder.initial_stream_window_size(64 << 10).handshake(io).await;
    let (sender, connection) = handshake.expect("speaks HTTP/2");
    tokio::spawn(connection);
    let mut two = Client::Two(sender);
    let request = two.request("GET", "/mb").body(Body::empty()).expect("a request");
    let mut body = two.send(request).await.expect("a reply").into_body();
    scene.in_flight(3).await;
    scene.close();
    let sends = async {
        for _ in 0..20 {
            upload.write_all(&[b'x'; 1000]).await.expect("it is read");
            tokio::time::sleep(ms(100)).await;
        }
        let mut reply = [0; 12];
        upload.read_exact(&mut reply).await.expect("reads");
        assert_eq!(&reply, b"HTTP/1.1 200");
    };
    let reads = async {
        let mut piece = vec![0; 1 << 20];
        for megabyte in 0..32 {
            let read = download.read_exact(&mut piece).await;
            read.unwrap_or_else(|error| panic!("{megabyte} MB: {error}"));
            tokio::time::sleep(ms(120)).await;
        }
    };
    let streams = async {
        let mut bytes = 0;
        while let Some(frame) = body.frame().await {
            bytes += frame.expect("it is sent").into_data().map_or(0, |data| data.len());
            tokio::time::sleep(ms(50)).await;
        }
        assert_eq!(bytes, 1 << 20);
    };
    tokio::join!(sends, reads, streams);
}

/// A shutdown limits a client as a drain does, and a shutdown after a drain does not start the limit again.
#[tokio::test]
async fn a_drip_holds_no_shutdown() {
    for drains_first in [false, true] {
        let scene = Scene::new(|server| {
            server.client_timeout(LONG).drain_rate(1).drain_limit(Duration::from_secs(2))
        })
        .await;
        let mut drip = scene.sends(UPLOAD).await;
        scene.in_flight(1).await;
        let drip = tokio::spawn(async move {
            while drip.write_all(b"xxxx").await.is_ok() {
                tokio::time::sleep(ms(20)).await;
            }
        });
        let began = Instant::now();
        if drains_first {
            scene.close();
            tokio::time::sleep(ms(1500)).await;
        }
        scene.shut_down(PATIENCE);
        scene.in_flight(0).await;
        assert!(began.elapsed() < ms(3200), "{drains_first}: {:?}", began.elapsed());
        drip.abort();
    }
}

/// The server notices a drain that begins while it waits for a client.
#[tokio::test]
async fn a_drain_that_begins_in_a_wait_is_noticed() {
    let scene =
        Scene::new(|server| server.client_timeout(Duration::from_secs(20)).drain_limit(ms(300)))
            .await;
    let _upload = scene.sends(UPLOAD).await;
    scene.in_flight(1).await;
    tokio::time::sleep(ms(100)).await;
    scene.close();
    scene.in_flight(0).await;
}

/// A client that has vanished answers no ping. For example, its machine has lost its power.
#[tokio::test]
async fn a_client_that_has_vanished_keeps_no_turn() {
    let scene = Scene::new(|server| server.client_timeout(ms(150))).await;
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend([0, 0, 0, 4, 0, 0, 0, 0, 0]);
    bytes.extend([0, 0, 15, 1, 5, 0, 0, 0, 1, 0x82, 0x86, 0x04, 5]);
    bytes.extend(b"/hold\x41\x04test");
    let _silent = scene.sends(&bytes).await;
    scene.in_flight(1).await;
    scene.in_flight(0).await;
}

/// After a refusal, the server reads on until the client is idle for a time, or has sent a number of bytes. Then the
/// connection's place is free again.
#[tokio::test]
async fn what_is_read_on_is_bounded_by_each_bound() {
    let scene = Scene::new(|server| server.linger(ms(600), LONG)).await;
    scene.close();
    let mut socket = scene.sends(UPLOAD).await;
    for _ in 0..16 {
        socket.write_all(b"x").await.expect("it sends on, and is read on");
        tokio::time::sleep(ms(60)).await;
    }
    let over = async {
        while socket.write_all(b"x").await.is_ok() {
            tokio::time::sleep(ms(1300)).await;
        }
    };
    tokio::time::timeout(SOON, over).await.expect("it is idle, and is closed");

    let scene = Scene::new(|server| server.linger(LONG, LONG)).await;
    scene.close();
    for _ in 0..300 {
        let mut socket = scene.sends(HELLO).await;
        let mut reply = String::new();
        socket.read_to_string(&mut reply).await.expect("reads");
        assert!(reply.starts_with("HTTP/1.1 503"));
    }
    let piece = vec![0; 1 << 20];
    let mut socket = scene.sends(UPLOAD.replace("100000", "1000000000")).await;
    let mut megabytes = 0;
    let over = async {
        while megabytes < 120 && socket.write_all(&piece).await.is_ok() {
            megabytes += 1;
        }
    };
    tokio::time::timeout(PATIENCE, over).await.expect("in time");
    assert!((60..=100).contains(&megabytes), "{megabytes}");

    let mut client = Client::two(scene.address).await;
    let (mut sender, body) = Channel::<Bytes>::new(1);
    let request = client.request("POST", "/echo").body(Body::new(body)).expect("a request");
    let reply = client.send(request).await.expect("a reply");
    assert_eq!(reply.status(), StatusCode::SERVICE_UNAVAILABLE);
    let _ = reply.into_body().collect().await;
    let mut megabytes = 0;
    let over = async {
        while megabytes < 120 && sender.send_data(Bytes::from(vec![0; 1 << 20])).await.is_ok() {
            megabytes += 1;
        }
    };
    tokio::time::timeout(PATIENCE, over).await.expect("in time");
    assert!((60..=100).contains(&megabytes), "{megabytes}");
}

/// In a shutdown, clients have the whole grace to read, and not the shorter time that they have otherwise.
#[tokio::test]
async fn in_a_shutdown_clients_have_the_grace_to_read() {
    for has_turn in [false, true] {
        let scene = Scene::new(|server| server.linger(LONG, ms(100))).await;
        if has_turn {
            scene.holds().await;
        }
        let mut socket = scene.sends(HELLO).await;
        let mut byte = [0];
        socket.read_exact(&mut byte).await.expect("it begins");
        scene.shut_down(PATIENCE);
        // Waits until the server has closed its half. Before that, a byte is the head of a request, and the server
        // does not wait for a head.
        tokio::time::sleep(ms(200)).await;
        for _ in 0..20 {
            socket.write_all(b"x").await.expect("it is read on");
            tokio::time::sleep(ms(110)).await;
        }
        assert!(!scene.served.is_finished(), "{has_turn}: a client has not read to the end");
        drop(socket);
        scene.release.notify_waiters();
        scene.ends_soon().await;
    }
}

/// A connection with half a head, or an idle one, does not hold up the end, even if it came during the shutdown.
#[tokio::test]
async fn connections_that_are_owed_nothing_do_not_hold_the_end() {
    let half_a_preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    for begun in [&b"GET / HTTP/1.1\r\nhos"[..], half_a_preface, b""] {
        let scene = Scene::new(|server| server.linger(ms(200), ms(400))).await;
        let _begun = scene.sends(begun).await;
        assert_eq!(Client::one(scene.address).await.get("/").await.text, "hello");
        scene.shut_down(LONG);
        scene.ends_soon().await;
    }
    for http_2 in [false, true] {
        let scene = Scene::new(|server| server.linger(ms(200), ms(400))).await;
        scene.holds().await;
        let mut before = Client::one(scene.address).await;
        assert_eq!(before.get("/").await.text, "hello");
        let mut changes = scene.gateway.changes();
        scene.shut_down(LONG);
        changes.next().await.expect("it shuts down");
        before.closed().await;
        let mut prober = Client::of(http_2, scene.address).await;
        assert_eq!(prober.get("/healthz").await.status, StatusCode::OK);
        scene.release.notify_waiters();
        scene.ends_soon().await;
    }
}

/// In a shutdown, a connection with a request in flight is closed after its reply.
#[tokio::test]
async fn in_a_shutdown_a_connection_is_closed_after_its_reply() {
    for http_2 in [false, true] {
        let scene = Scene::new(|server| server).await;
        let _another_turn = scene.sends(UPLOAD).await;
        let mut client = Client::of(http_2, scene.address).await;
        let request = client.request("GET", "/hold").body(Body::empty()).expect("a request");
        let asking = tokio::spawn(async move {
            let reply = client.send(request).await.expect("a reply");
            reply.into_body().collect().await.expect("a body");
            client
        });
        scene.in_flight(2).await;
        let mut changes = scene.gateway.changes();
        scene.shut_down(LONG);
        changes.next().await.expect("it shuts down");
        tokio::time::sleep(ms(100)).await;
        scene.release.notify_waiters();
        asking.await.expect("no panic").closed().await;
    }
}

/// A turn that is still in flight when the grace is over is not aborted: the process may live on.
#[tokio::test]
async fn what_is_left_at_the_end_goes_on() {
    let scene = Scene::new(|server| server).await;
    let mut socket = scene.sends(HELLO.replace("/ ", "/hold ")).await;
    scene.in_flight(1).await;
    scene.shut_down(Duration::ZERO);
    let ended = tokio::time::timeout(SOON, scene.served).await.expect("in time");
    assert_eq!(ended.expect("no panic"), Ended::TimedOut { in_flight: 1 });
    scene.release.notify_waiters();
    let mut reply = String::new();
    let read = tokio::time::timeout(SOON, socket.read_to_string(&mut reply)).await;
    read.expect("in time").expect("reads");
    assert!(reply.ends_with("held"), "{reply}");
}

/// A connection that is used often is kept, although its idle time is limited. It is closed once it is no longer used.
#[tokio::test]
async fn a_connection_in_use_is_kept_and_then_closed() {
    for http_2 in [false, true] {
        let scene = Scene::new(|server| server.keep_alive(ms(800))).await;
        let mut client = Client::of(http_2, scene.address).await;
        for _ in 0..14 {
            assert_eq!(client.get("/").await.text, "hello");
            tokio::time::sleep(ms(130)).await;
        }
        client.closed().await;
    }
}

/// A connection that becomes idle after the server needed its place makes room then.
#[tokio::test]
async fn one_that_comes_to_rest_later_makes_room() {
    let scene = Scene::new(|server| server.connections(1)).await;
    let mut first = scene.sends(HELLO.replace("/ ", "/hold ")).await;
    scene.in_flight(1).await;
    let mut second = scene.sends(HELLO.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n")).await;
    tokio::time::sleep(ms(400)).await;
    scene.release.notify_waiters();
    let mut reply = [0; 12];
    first.read_exact(&mut reply).await.expect("reads");
    let mut reply = String::new();
    let read = tokio::time::timeout(SOON, second.read_to_string(&mut reply)).await;
    read.expect("there is room").expect("reads");
    assert!(reply.ends_with("hello"), "{reply}");
}

/// An upgraded connection and a tunnel belong to their handler. Only the handler reads what the client sends, also
/// after the handler has closed its half. The connection is in flight until it ends.
#[tokio::test]
async fn an_upgraded_connection_is_read_by_its_handler_alone() {
    let upgrade = "GET /any HTTP/1.1\r\nhost: test\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
    let tunnel = "CONNECT a.test:80 HTTP/1.1\r\nhost: a.test:80\r\n\r\n";
    for begins in [upgrade, tunnel] {
        let scene = Scene::new(|server| server).await;
        let mut socket = scene.sends(begins).await;
        let mut first = Vec::new();
        let read = tokio::time::timeout(SOON, socket.read_to_end(&mut first)).await;
        read.expect("half-closed").expect("reads");
        assert!(first.ends_with(b"first"), "{}", String::from_utf8_lossy(&first));
        assert_eq!(scene.gateway.in_flight().user, 1, "{begins}");
        socket.write_all(b"the rest").await.expect("writes");
        socket.shutdown().await.expect("shuts");
        scene.in_flight(0).await;
        let heard = || scene.heard.lock().expect("not poisoned").clone();
        let reached = async {
            while heard().is_none() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(SOON, reached).await.expect("it reads to the end");
        assert_eq!(heard().as_deref(), Some(&b"the rest"[..]), "{begins}");
    }
}
