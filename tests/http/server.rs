//! The server ends with its gateway, and no client holds up its end.

use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::{get, post};
use hyper::StatusCode;
use tidegate::http::{GateLayer, Server, drain_router, health_router};
use tidegate::machine::ShutdownCause;
use tidegate::{Ended, Gateway};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::client::{Client, PATIENCE, Reply, in_flight, verifier};

struct Scene {
    gateway: Gateway,
    address: std::net::SocketAddr,
    hold: std::sync::Arc<tokio::sync::Notify>,
    end: oneshot::Sender<Duration>,
    served: tokio::task::JoinHandle<Ended>,
}

impl Scene {
    async fn new(patience: Duration) -> Scene {
        let gateway = Gateway::in_memory().start().expect("starts");
        let hold = std::sync::Arc::new(tokio::sync::Notify::new());
        let held = std::sync::Arc::clone(&hold);
        let app = Router::new()
            .route(
                "/hold",
                get(async move || {
                    held.notified().await;
                    "held"
                }),
            )
            .route("/", get(async || "hello"))
            .route("/echo", post(async |body: Bytes| body))
            .route("/big", get(async || vec![b'x'; 32 << 20]))
            .layer(GateLayer::new(gateway.clone()))
            .merge(drain_router(gateway.clone(), verifier()))
            .merge(health_router(gateway.clone()));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (end, asked) = oneshot::channel();
        let server = Server::new(&gateway).client_timeout(patience).keep_alive(patience);
        let served = tokio::spawn(server.serve(listener, app, async {
            (ShutdownCause::Sigterm, asked.await.expect("the test asks"))
        }));
        Scene { gateway, address, hold, end, served }
    }

    async fn in_flight(&self, user: u32) {
        in_flight(&self.gateway, user).await;
    }
}

/// A shutdown waits for its turns and then ends. Meanwhile it answers with a refusal, also on new connections.
#[tokio::test]
async fn a_shutdown_waits_for_its_turns_and_says_so_to_whoever_comes() {
    let scene = Scene::new(PATIENCE).await;
    let mut at_rest = Client::one(scene.address).await;
    assert_eq!(at_rest.get("/").await.text, "hello");
    for mut client in Client::each(scene.address).await {
        let request = client.request("GET", "/hold").body(Body::empty()).expect("a request");
        tokio::spawn(async move {
            let reply = client.send(request).await.expect("a reply");
            assert_eq!(Reply::of(reply).await.text, "held");
        });
    }
    scene.in_flight(2).await;
    let mut changes = scene.gateway.changes();
    scene.end.send(PATIENCE).expect("it serves");
    changes.next().await.expect("it shuts down");
    for mut client in Client::each(scene.address).await {
        let refused = client.get("/").await;
        assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(refused.json()["reason"], "shutting_down");
    }
    let mut prober = Client::one(scene.address).await;
    assert_eq!(prober.get("/readyz").await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(prober.get("/healthz").await.status, StatusCode::OK);
    assert_eq!(prober.get("/api/status").await.json()["lifecycle"], "shutting_down");
    let Client::One(mut sender) = at_rest else { unreachable!() };
    let closed = tokio::time::timeout(PATIENCE, async { while sender.ready().await.is_ok() {} });
    closed.await.expect("connections at rest are closed at once");
    scene.hold.notify_waiters();
    scene.hold.notify_one();
    scene.hold.notify_one();
    assert_eq!(scene.served.await.expect("no panic"), Ended::Clean);
    assert!(TcpStream::connect(scene.address).await.is_err(), "the port is closed");
}

/// A wedged turn does not hold up the end, and neither does a client that sends nothing. TG-L4.
#[tokio::test]
async fn a_wedged_turn_and_a_silent_client_do_not_hold_up_the_end() {
    let scene = Scene::new(PATIENCE).await;
    let silent = TcpStream::connect(scene.address).await.expect("listens");
    let mut half = TcpStream::connect(scene.address).await.expect("listens");
    half.write_all(b"GET / HTTP/1.1\r\nhos").await.expect("writes");
    let mut client = Client::one(scene.address).await;
    let request = client.request("GET", "/hold").body(Body::empty()).expect("a request");
    let wedged = tokio::spawn(async move { client.send(request).await.is_ok() });
    scene.in_flight(1).await;
    scene.end.send(Duration::ZERO).expect("it serves");
    let ended = tokio::time::timeout(PATIENCE, scene.served).await.expect("in time");
    assert_eq!(ended.expect("no panic"), Ended::TimedOut { in_flight: 1 });
    drop((silent, half));
    wedged.abort();
}

/// Other code shuts the gateway down, and the server ends with it.
#[tokio::test]
async fn the_server_ends_with_its_gateway_whoever_ends_that() {
    let scene = Scene::new(PATIENCE).await;
    let ended = scene.gateway.shut_down(ShutdownCause::Operator, PATIENCE).await;
    assert_eq!(ended, Ended::Clean);
    let served = tokio::time::timeout(PATIENCE, scene.served).await.expect("in time");
    assert_eq!(served.expect("no panic"), Ended::Clean);
    drop(scene.end);
}

/// A client that sends nothing, or only the beginning of a head or of a preface, is cut off (slow loris).
#[tokio::test]
async fn who_does_not_come_to_the_point_is_cut_off() {
    let scene = Scene::new(Duration::from_millis(50)).await;
    for beginning in [&b""[..], b"P", b"GET / HTTP/1.1\r\nhost: te", b"PRI * HTTP/2.0\r\n"] {
        let mut socket = TcpStream::connect(scene.address).await.expect("listens");
        socket.write_all(beginning).await.expect("writes");
        let mut told = Vec::new();
        let read = tokio::time::timeout(PATIENCE, socket.read_to_end(&mut told)).await;
        // Closed or reset.
        let _ = read.expect("cut off in time");
        assert!(!told.starts_with(b"HTTP/1.1 200"));
    }
    // This client is slow only with its second request. The first one is served.
    let mut socket = TcpStream::connect(scene.address).await.expect("listens");
    socket.write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n").await.expect("writes");
    let mut told = Vec::new();
    let read = tokio::time::timeout(PATIENCE, socket.read_to_end(&mut told)).await;
    let _ = read.expect("cut off in time");
    assert!(told.starts_with(b"HTTP/1.1 200"));
    assert_eq!(scene.gateway.in_flight().total(), 0);
}

/// A client cannot make its turn last for ever, neither with a body that never comes nor with a reply that it never
/// reads.
#[tokio::test]
async fn a_client_that_stalls_ends_his_turn() {
    let scene = Scene::new(Duration::from_millis(100)).await;
    let mut slow = TcpStream::connect(scene.address).await.expect("listens");
    let head = b"POST /echo HTTP/1.1\r\nhost: test\r\ncontent-length: 10\r\n\r\nx";
    slow.write_all(head).await.expect("writes");
    let mut unread = TcpStream::connect(scene.address).await.expect("listens");
    unread.write_all(b"GET /big HTTP/1.1\r\nhost: test\r\n\r\n").await.expect("writes");
    scene.in_flight(2).await;
    scene.in_flight(0).await;
    drop((slow, unread));
}

/// A client that reads on, however slowly, is not cut off.
#[tokio::test]
async fn a_client_that_reads_slowly_is_not_cut_off() {
    let scene = Scene::new(Duration::from_millis(20)).await;
    let mut slow = TcpStream::connect(scene.address).await.expect("listens");
    slow.write_all(b"GET /big HTTP/1.1\r\nhost: test\r\n\r\n").await.expect("writes");
    let mut piece = vec![0; 4 << 20];
    // All reads together last longer than the timeout for one.
    for _ in 0..8 {
        slow.read_exact(&mut piece).await.expect("it goes on");
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    scene.in_flight(0).await;
}
