//! Every request a turn, from before its handler to the last byte of its reply, over both protocols and
//! however it ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::request::Parts;
use axum::routing::{any, get, post};
use http_body_util::BodyExt;
use http_body_util::channel::Channel;
use hyper::header::{HeaderMap, HeaderValue};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tidegate::http::{CurrentTurn, GateLayer, Kind, Parking, Server, drain_router, health_router};
use tidegate::machine::ShutdownCause;
use tidegate::request::{DrainRequest, Holder};
use tidegate::{Gateway, Origin};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Notify, mpsc};
use tower::{Layer, ServiceExt};

use super::client::{Client, PATIENCE, Reply, SECRET, verifier};

/// More than all buffers between a server and a client that does not read.
const BIG: usize = 32 << 20;

/// Less than a server takes into its own buffer, and more than the sockets hold.
const TAIL: usize = 200 << 10;

const SOCKET_BUFFER: u32 = 8 << 10;

/// A gateway behind a real server.
struct Scene {
    gateway: Gateway,
    address: SocketAddr,
    /// Lets `/hold` go on.
    release: Arc<Notify>,
    /// What `/stream` sends, given to it one by one.
    streams: mpsc::UnboundedReceiver<http_body_util::channel::Sender<Bytes>>,
    served: tokio::task::JoinHandle<tidegate::Ended>,
    ending: Arc<Notify>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Ours,
    Axum,
}

fn classify(request: &Parts) -> Kind {
    match request.uri.path() {
        "/internal" => Kind::Turn(Origin::Internal),
        "/metrics" => Kind::NotATurn,
        "/labelled" => Kind::Labelled(Origin::User, "a label".to_owned()),
        _ => Kind::Turn(Origin::User),
    }
}

impl Scene {
    fn new() -> Scene {
        Scene::with(By::Ours, |layer| layer)
    }

    fn with(by: By, adjust: impl FnOnce(GateLayer) -> GateLayer) -> Scene {
        Scene::build(by, None, adjust)
    }

    /// One whose sockets hold little, so that what is not read stays with the server.
    fn narrow(by: By) -> Scene {
        Scene::build(by, Some(SOCKET_BUFFER), |layer| layer)
    }

    fn build(
        by: By,
        send_buffer: Option<u32>,
        adjust: impl FnOnce(GateLayer) -> GateLayer,
    ) -> Scene {
        let gateway = Gateway::in_memory().start().expect("starts");
        let release = Arc::new(Notify::new());
        let (to_test, streams) = mpsc::unbounded_channel();
        let held = Arc::clone(&release);
        let hold = async move || {
            held.notified().await;
            "held"
        };
        let stream = async move || {
            let (sender, body) = Channel::<Bytes>::new(1);
            to_test.send(sender).expect("the test listens");
            Body::new(body)
        };
        let app = Router::new()
            .route("/echo", post(async |body: Bytes| body))
            .route("/hold", get(hold.clone()))
            .route("/labelled", get(hold))
            .route("/stream", get(stream))
            .route("/panic", get(async || -> &'static str { panic!("on purpose") }))
            .route("/big", get(async || vec![b'x'; BIG]))
            .route("/tail", get(async || vec![b'x'; TAIL]))
            .route("/piece", get(async || vec![b'x'; 15_000]))
            .route("/trailers", get(trailers))
            .route("/empty", get(async || StatusCode::NO_CONTENT))
            .route("/internal", get(async || "internal"))
            .route("/metrics", get(async |turn: Option<CurrentTurn>| turn.is_none().to_string()))
            .route("/child", get(child))
            .route("/origin", get(async |turn: CurrentTurn| format!("{:?}", turn.origin())))
            .route("/upgrade", any(upgrade))
            .layer(adjust(GateLayer::new(gateway.clone()).classify(classify)))
            .route("/outside", get(async |_: CurrentTurn| "never"))
            .merge(drain_router(gateway.clone(), verifier()))
            .merge(health_router(gateway.clone()));
        let socket = TcpSocket::new_v4().expect("a socket");
        if let Some(bytes) = send_buffer {
            socket.set_send_buffer_size(bytes).expect("sets");
        }
        socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
        let listener = socket.listen(1024).expect("listens");
        let address = listener.local_addr().expect("an address");
        let ending = Arc::new(Notify::new());
        let (asked, server) = (Arc::clone(&ending), Server::of(&gateway));
        let served = match by {
            By::Ours => tokio::spawn(server.serve(listener, app, async move {
                asked.notified().await;
                (ShutdownCause::Operator, PATIENCE)
            })),
            By::Axum => tokio::spawn(async move {
                axum::serve(listener, app).await.expect("serves");
                unreachable!("it serves for ever")
            }),
        };
        Scene { gateway, address, release, streams, served, ending }
    }

    fn close(&self) {
        let ask = DrainRequest::default();
        assert!(self.gateway.begin_drain(&ask).expect("in memory").draining);
    }

    fn open(&self) {
        assert!(self.gateway.cancel_drain(&Holder::Shared).expect("in memory"));
    }

    /// Waits until so many turns are in flight. The gate wakes nobody for that, so this looks.
    async fn in_flight(&self, user: u32) {
        let reached = async {
            while self.gateway.in_flight().user != user {
                tokio::task::yield_now().await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, reached).await;
        waited.unwrap_or_else(|_| panic!("{:?}, not {user}", self.gateway.in_flight()));
    }

    /// Begins two requests and waits until both are parked, which are as many as may be.
    async fn park_two(&self) -> [tokio::task::JoinHandle<(Client, Reply)>; 2] {
        let parked = Client::each(self.address).await.map(|client| begin(client, "/origin"));
        // Both places are taken as soon as a third is refused.
        let mut third = Client::two(self.address).await;
        let refused = async {
            loop {
                let request = third.request("GET", "/origin").body(Body::empty());
                let asked = third.send(request.expect("a request"));
                match tokio::time::timeout(Duration::from_millis(50), asked).await {
                    Ok(reply) => break Reply::of(reply.expect("a reply")).await,
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        };
        let refused = tokio::time::timeout(PATIENCE, refused).await.expect("in time");
        assert_eq!(refused.json()["reason"], "draining");
        parked
    }
}

/// Begins a request and does not wait for its reply.
fn begin(mut client: Client, path: &'static str) -> tokio::task::JoinHandle<(Client, Reply)> {
    tokio::spawn(async move {
        let reply = client.get(path).await;
        (client, reply)
    })
}

/// A body that does not know of its end before it has come.
async fn trailers() -> Body {
    let (mut sender, body) = Channel::<Bytes>::new(2);
    sender.send_data("x".into()).await.expect("there is room");
    let mut trailers = HeaderMap::new();
    trailers.insert("x-checked", HeaderValue::from_static("yes"));
    sender.send_trailers(trailers).await.expect("there is room");
    Body::new(body)
}

async fn child(turn: CurrentTurn) -> String {
    match turn.child() {
        Ok(_) => "admitted".to_owned(),
        Err(refused) => refused.to_string(),
    }
}

/// Speaks a protocol of its own: repeats each byte, until its client hangs up.
async fn upgrade(mut request: Request<Body>) -> Response<Body> {
    let upgrading = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let mut io = TokioIo::new(upgrading.await.expect("upgrades"));
        let mut byte = [0];
        while io.read_exact(&mut byte).await.is_ok() {
            io.write_all(&byte).await.expect("writes");
        }
    });
    Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header("connection", "upgrade")
        .header("upgrade", "echo")
        .body(Body::empty())
        .expect("a reply")
}

/// TG-S2, and R10: refused before the handler runs, in words for programs and for people.
#[tokio::test]
async fn closed_refuses() {
    let scene = Scene::new();
    for (http_1, mut client) in [true, false].into_iter().zip(Client::each(scene.address).await) {
        assert_eq!(client.get("/origin").await.text, "User");
        scene.close();
        let reply = client.get("/echo").await;
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(reply.header("content-type"), Some("application/problem+json"));
        assert_eq!(reply.header("retry-after"), Some("5"));
        assert_eq!(reply.header("connection"), http_1.then_some("close"));
        let problem = reply.json();
        assert_eq!((&problem["status"], &problem["reason"]), (&json!(503), &json!("draining")));
        assert_eq!(problem["generation"], scene.gateway.status().generation);
        let detail = problem["detail"].as_str().expect("text");
        assert!(detail.contains("draining for maintenance"), "{detail}");
        scene.open();
    }
}

/// Internal work passes a closed gate and is counted; what is no turn passes and is not.
#[tokio::test]
async fn what_passes_a_closed_gate() {
    let scene = Scene::new();
    scene.close();
    for mut client in Client::each(scene.address).await {
        assert_eq!(client.get("/internal").await.text, "internal");
        assert_eq!(client.get("/metrics").await.text, "true");
        assert_eq!(client.get("/healthz").await.status, StatusCode::OK);
        assert_eq!(client.get("/readyz").await.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(client.get("/api/status").await.status, StatusCode::OK);
    }
    scene.open();
    let quiesce = DrainRequest::default().hold_internal(true);
    scene.gateway.begin_drain(&quiesce).expect("in memory");
    scene.gateway.quiesced().await.expect("nothing is in flight");
    let refused = Client::one(scene.address).await.get("/internal").await;
    assert_eq!(refused.json()["reason"], "quiesced");
}

/// A refused `HEAD` has the headers and no body: over HTTP/2 one would be an error of the protocol. The
/// layer is the outermost here, so no router takes the body away.
#[tokio::test]
async fn a_refused_head_is_a_refusal() {
    let gateway = Gateway::in_memory().start().expect("starts");
    gateway.begin_drain(&DrainRequest::default()).expect("in memory");
    let app: Router = Router::new().route("/", get(async || "hello"));
    let app = GateLayer::new(gateway.clone()).layer(app);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let server = Server::of(&gateway).patience(Duration::MAX);
    tokio::spawn(server.serve(listener, app, std::future::pending()));
    for mut client in Client::each(address).await {
        let head = client.request("HEAD", "/").body(Body::empty()).expect("a request");
        let reply = Reply::of(client.send(head).await.expect("a reply")).await;
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
        let length: usize = reply.header("content-length").expect("one").parse().expect("one");
        assert!(length > 100 && reply.text.is_empty());
    }
}

/// TG-S6: what was let in finishes, with what it needs, while others are refused.
#[tokio::test]
async fn in_flight_untouched() {
    let scene = Scene::new();
    for client in Client::each(scene.address).await {
        let held = begin(client, "/hold");
        scene.in_flight(1).await;
        scene.close();
        let refused = Client::one(scene.address).await.get("/hold").await;
        assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(scene.gateway.in_flight().user, 1, "a refusal is no turn");
        scene.release.notify_one();
        let (_, reply) = held.await.expect("no panic");
        assert_eq!(reply.text, "held");
        scene.gateway.idle().await;
        scene.open();
    }
}

#[tokio::test]
async fn a_child_passes_a_closed_gate() {
    let scene = Scene::new();
    let turn = scene.gateway.admit(Origin::User).expect("open");
    assert_eq!(Client::one(scene.address).await.get("/child").await.text, "admitted");
    scene.close();
    drop(turn);
    let outside = Client::one(scene.address).await.get("/outside").await;
    assert_eq!(outside.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(outside.json()["error"], "not_in_a_turn");
}

#[tokio::test]
async fn a_label_is_listed_while_its_turn_lives() {
    let scene = Scene::new();
    let held = begin(Client::one(scene.address).await, "/labelled");
    scene.in_flight(1).await;
    assert_eq!(scene.gateway.status().active_work[0].label, "a label");
    scene.release.notify_one();
    held.await.expect("no panic");
    scene.in_flight(0).await;
    assert!(scene.gateway.status().active_work.is_empty());
}

/// A streamed reply is a turn until its end, with either server.
#[tokio::test]
async fn a_stream_is_a_turn_until_its_last_byte() {
    for by in [By::Ours, By::Axum] {
        let mut scene = Scene::with(by, |layer| layer);
        for mut client in Client::each(scene.address).await {
            let request = client.request("GET", "/stream").body(Body::empty());
            let response = client.send(request.expect("a request")).await.expect("a reply");
            let mut sender = scene.streams.recv().await.expect("the handler ran");
            scene.close();
            let mut body = response.into_body();
            for piece in ["one", "two", "three"] {
                sender.send_data(piece.into()).await.expect("the reply is read");
                let frame = body.frame().await.expect("a frame").expect("sent");
                assert_eq!(frame.into_data().expect("data"), piece);
                assert_eq!(scene.gateway.in_flight().user, 1);
            }
            drop(sender);
            assert!(body.collect().await.expect("an end").to_bytes().is_empty());
            scene.gateway.idle().await;
            scene.open();
        }
    }
}

/// A client that goes away ends its turn, with its connection or with its stream.
#[tokio::test]
async fn a_client_that_hangs_up_ends_its_turn() {
    for by in [By::Ours, By::Axum] {
        let mut scene = Scene::with(by, |layer| layer);
        for mut client in Client::each(scene.address).await {
            // In its handler.
            let request = client.request("GET", "/hold").body(Body::empty()).expect("a request");
            let asking = tokio::spawn(async move {
                let _ = client.send(request).await;
                client
            });
            scene.in_flight(1).await;
            asking.abort();
            scene.in_flight(0).await;
        }
        for mut client in Client::each(scene.address).await {
            // In the midst of its reply.
            let request = client.request("GET", "/stream").body(Body::empty());
            let response = client.send(request.expect("a request")).await.expect("a reply");
            let mut sender = scene.streams.recv().await.expect("the handler ran");
            sender.send_data("one".into()).await.expect("the reply is read");
            assert_eq!(scene.gateway.in_flight().user, 1);
            drop(response);
            drop(client);
            scene.in_flight(0).await;
        }
        // One stream of several is reset, and the others live.
        let mut client = Client::two(scene.address).await;
        let Client::Two(sender) = &client else { unreachable!() };
        let other = begin(Client::Two(sender.clone()), "/hold");
        let request = client.request("GET", "/stream").body(Body::empty()).expect("a request");
        let response = client.send(request).await.expect("a reply");
        let stream = scene.streams.recv().await.expect("the handler ran");
        scene.in_flight(2).await;
        drop(response);
        scene.in_flight(1).await;
        scene.release.notify_one();
        assert_eq!(other.await.expect("no panic").1.text, "held");
        scene.in_flight(0).await;
        drop(stream);
    }
}

/// I-32: a handler that panics ends its turn all the same.
#[tokio::test]
async fn a_handler_that_panics_ends_its_turn() {
    let scene = Scene::new();
    for mut client in Client::each(scene.address).await {
        let request = client.request("GET", "/panic").body(Body::empty()).expect("a request");
        assert!(client.send(request).await.is_err(), "the connection or stream is reset");
        scene.in_flight(0).await;
    }
}

#[tokio::test]
async fn replies_without_a_body_end_their_turns() {
    let scene = Scene::new();
    for mut client in Client::each(scene.address).await {
        assert_eq!(client.get("/empty").await.status, StatusCode::NO_CONTENT);
        scene.in_flight(0).await;
        let head = client.request("HEAD", "/big").body(Body::empty()).expect("a request");
        let reply = Reply::of(client.send(head).await.expect("a reply")).await;
        assert_eq!(reply.header("content-length"), Some(&*BIG.to_string()));
        scene.in_flight(0).await;
        assert_eq!(client.get("/nowhere").await.status, StatusCode::NOT_FOUND);
        scene.in_flight(0).await;
    }
}

/// F11, I-14: what the server has taken and not sent is not delivered.
#[tokio::test]
async fn a_reply_that_is_not_read_is_in_flight() {
    let scene = Scene::new();
    let mut socket = TcpStream::connect(scene.address).await.expect("listens");
    socket.write_all(b"GET /big HTTP/1.1\r\nhost: test\r\n\r\n").await.expect("writes");
    scene.in_flight(1).await;
    let mut head = [0; 1024];
    socket.read_exact(&mut head).await.expect("it begins");
    scene.close();
    // It stays so for as long as nobody reads: hyper has long taken what it can.
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(scene.gateway.in_flight().user, 1);
    let mut rest = vec![0; BIG - 1024];
    socket.read_exact(&mut rest).await.expect("the rest");
    assert!(rest.ends_with(b"xxx"));
    let idle = tokio::time::timeout(PATIENCE, scene.gateway.idle());
    idle.await.expect("delivered, but for what the sockets hold");
}

/// Connects with little room for what is sent.
async fn narrow(address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(SOCKET_BUFFER).expect("sets");
    socket.connect(address).await.expect("listens")
}

/// The server has taken the whole reply, and the sockets have not: with ours the turn lasts until they have.
/// With another it is over by then, which is the difference.
#[tokio::test]
async fn what_the_server_has_taken_and_not_sent_is_in_flight() {
    for by in [By::Ours, By::Axum] {
        let scene = Scene::narrow(by);
        let mut socket = narrow(scene.address).await;
        socket.write_all(b"GET /tail HTTP/1.1\r\nhost: test\r\n\r\n").await.expect("writes");
        let mut head = [0; 1024];
        socket.read_exact(&mut head).await.expect("it begins");
        scene.close();
        if by == By::Axum {
            scene.in_flight(0).await;
            continue;
        }
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        assert_eq!(scene.gateway.in_flight().user, 1);
        let mut rest = vec![0; TAIL - 1024];
        socket.read_exact(&mut rest).await.expect("the rest");
        tokio::time::timeout(PATIENCE, scene.gateway.idle()).await.expect("delivered");
    }
}

/// An HTTP/2 client, spelled by hand: hyper's would read on by itself. Grants a window that takes everything.
struct ByHand(TcpStream);

impl ByHand {
    async fn connect(address: SocketAddr) -> ByHand {
        let mut socket = narrow(address).await;
        let window = (1_u32 << 24).to_be_bytes();
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        // SETTINGS: INITIAL_WINDOW_SIZE. WINDOW_UPDATE, of the connection.
        bytes.extend([0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4]);
        bytes.extend(window);
        bytes.extend([0, 0, 4, 8, 0, 0, 0, 0, 0]);
        bytes.extend(window);
        socket.write_all(&bytes).await.expect("writes");
        ByHand(socket)
    }

    /// HEADERS, all of them and no body: GET, http, the path, an authority.
    async fn get(&mut self, stream: u8, path: &str) {
        let length = u8::try_from(path.len()).expect("short");
        let mut bytes = vec![0, 0, length + 10, 1, 5, 0, 0, 0, stream, 0x82, 0x86, 0x04, length];
        bytes.extend(path.as_bytes());
        bytes.extend([0x41, 4]);
        bytes.extend(b"test");
        self.0.write_all(&bytes).await.expect("writes");
    }

    /// Reads on until the gateway is idle.
    async fn reads_until_idle(&mut self, gateway: &Gateway) {
        let mut piece = vec![0; 64 << 10];
        let over = async {
            let mut idle = gateway.idle();
            loop {
                tokio::select! {
                    _ = &mut idle => break,
                    read = self.0.read(&mut piece) => assert_ne!(read.expect("reads"), 0),
                }
            }
        };
        tokio::time::timeout(PATIENCE, over).await.expect("delivered");
    }
}

/// The same over HTTP/2, of a reply that is longer than a stream's buffer, of a short one behind it, and of
/// many short ones, which the server takes at once and cannot send.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_server_has_taken_and_not_sent_over_http_2_is_in_flight() {
    for paths in [vec!["/tail", "/origin"], vec!["/piece"; 50], vec!["/trailers"; 50]] {
        let scene = Scene::narrow(By::Ours);
        let mut client = ByHand::connect(scene.address).await;
        let mut turns = 0;
        // What fills the sockets goes before, so that what comes is not sent.
        client.get(1, "/tail").await;
        scene.in_flight(1).await;
        for (stream, path) in (3..).step_by(2).zip(&paths) {
            client.get(stream, path).await;
            turns += 1;
            scene.in_flight(1 + turns).await;
        }
        scene.close();
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        assert_eq!(scene.gateway.in_flight().user, 1 + turns, "{paths:?}");
        client.reads_until_idle(&scene.gateway).await;
    }
}

/// Around the whole app, the layer leaves the routes alone that undo a drain.
#[tokio::test]
async fn the_control_routes_are_never_turns() {
    let gateway = Gateway::in_memory().start().expect("starts");
    let app: Router = Router::new()
        .route("/chat", get(async || "hello"))
        .merge(drain_router(gateway.clone(), verifier()))
        .merge(health_router(gateway.clone()));
    let app = GateLayer::new(gateway.clone()).layer(app);
    let ask = async |method: &str, path: &str, body: &'static str| {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {SECRET}"))
            .body(Body::from(body))
            .expect("a request");
        Reply::of(app.clone().oneshot(request).await.expect("infallible")).await.status
    };
    assert_eq!(ask("POST", "/api/gateway/drain", r#"{"wait":20}"#).await, StatusCode::OK);
    assert_eq!(ask("GET", "/chat", "").await, StatusCode::SERVICE_UNAVAILABLE);
    for path in ["/healthz", "/api/status", "/api/gateway/openapi.json"] {
        assert_eq!(ask("GET", path, "").await, StatusCode::OK, "{path}");
    }
    let cancel = r#"{"action":"cancel"}"#;
    assert_eq!(ask("POST", "/api/gateway/drain", cancel).await, StatusCode::OK);
    assert_eq!(ask("GET", "/chat", "").await, StatusCode::OK);
}

/// A reply that a client grants no window for is not read.
#[tokio::test]
async fn a_reply_that_the_client_grants_no_window_for_is_in_flight() {
    let scene = Scene::new();
    let mut client = Client::two(scene.address).await;
    let request = client.request("GET", "/big").body(Body::empty()).expect("a request");
    let response = client.send(request).await.expect("a reply");
    scene.close();
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(scene.gateway.in_flight().user, 1);
    let body = response.into_body().collect().await.expect("the rest").to_bytes();
    assert_eq!(body.len(), BIG);
    let idle = tokio::time::timeout(PATIENCE, scene.gateway.idle());
    idle.await.expect("delivered");
}

/// An upgraded connection is a turn until it ends, though its handler keeps nothing.
#[tokio::test]
async fn an_upgraded_connection_is_a_turn_until_it_ends() {
    let scene = Scene::new();
    let mut client = Client::one(scene.address).await;
    let request = client
        .request("GET", "/upgrade")
        .header("connection", "upgrade")
        .header("upgrade", "echo")
        .body(Body::empty())
        .expect("a request");
    let response = client.send(request).await.expect("a reply");
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    let upgraded = hyper::upgrade::on(response).await.expect("upgrades");
    scene.close();
    let mut io = TokioIo::new(upgraded);
    for byte in 0..100 {
        io.write_all(&[byte]).await.expect("writes");
        assert_eq!(io.read_u8().await.expect("reads"), byte);
        assert_eq!(scene.gateway.in_flight().user, 1);
    }
    drop(io);
    tokio::time::timeout(PATIENCE, scene.gateway.idle()).await.expect("it has ended");
}

/// Whoever waits at a closed gate goes in when it opens, is refused when his patience or the places are
/// over, and takes nothing with him when he leaves.
#[tokio::test]
async fn parked_requests_wait_and_no_longer_than_they_may() {
    let parking = Parking { places: 2, patience: PATIENCE };
    let scene = Scene::with(By::Ours, |layer| layer.park(parking));
    scene.close();
    let parked = scene.park_two().await;
    assert_eq!(scene.gateway.in_flight().user, 0, "who waits is no turn");
    scene.open();
    for parked in parked {
        assert_eq!(parked.await.expect("no panic").1.text, "User");
    }
    scene.in_flight(0).await;
    // Nobody waits for a gateway that is going down.
    scene.close();
    let parked = scene.park_two().await;
    scene.ending.notify_one();
    for parked in parked {
        assert_eq!(parked.await.expect("no panic").1.json()["reason"], "shutting_down");
    }
    let _ = scene.served.await.expect("no panic");
}

#[tokio::test]
async fn a_parked_request_whose_patience_is_over_is_refused() {
    let parking = Parking { places: 1, patience: Duration::ZERO };
    let scene = Scene::with(By::Ours, |layer| layer.park(parking));
    scene.close();
    for mut client in Client::each(scene.address).await {
        assert_eq!(client.get("/origin").await.json()["reason"], "draining");
    }
}

/// However the threads of a server take turns: a reply that is read is no turn any more, and does not wait
/// for the next ping.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_reply_that_is_read_ends_its_turn_on_any_thread() {
    let scene = Scene::new();
    let Client::Two(sender) = Client::two(scene.address).await else { unreachable!() };
    for _ in 0..40 {
        let mut asking = tokio::task::JoinSet::new();
        for path in ["/origin", "/empty", "/child", "/nowhere"].repeat(16) {
            let mut client = Client::Two(sender.clone());
            asking.spawn(async move { client.get(path).await.status });
        }
        asking.join_all().await;
        let ended = async {
            while scene.gateway.in_flight().user > 0 {
                tokio::task::yield_now().await;
            }
        };
        let soon = Duration::from_secs(5);
        tokio::time::timeout(soon, ended).await.expect("it is over");
    }
}
