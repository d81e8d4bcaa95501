//! A gateway behind a real server, with a handler for each way in which a request can go on and end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::request::Parts;
use axum::routing::{any, get, post};
use http_body_util::channel::Channel;
use hyper::header::{HeaderMap, HeaderValue};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tidegate::http::{Classification, CurrentTurn, GateLayer, Server, drain_router, health_router};
use tidegate::machine::ShutdownCause;
use tidegate::request::{DrainRequest, Holder};
use tidegate::{Gateway, Origin};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::sync::{Notify, mpsc};

use super::client::{Client, PATIENCE, Reply, in_flight, verifier};

/// More than all buffers between a server and a client that does not read.
pub const BIG: usize = 32 << 20;

/// Less than a server takes into its own buffer, and more than the sockets hold.
pub const TAIL: usize = 200 << 10;

pub const SOCKET_BUFFER: u32 = 8 << 10;

/// A gateway behind a real server.
pub struct Scene {
    pub gateway: Gateway,
    pub address: SocketAddr,
    /// Lets `/hold` go on.
    pub release: Arc<Notify>,
    /// The senders for the replies of `/stream`, one for each request.
    pub streams: mpsc::UnboundedReceiver<http_body_util::channel::Sender<Bytes>>,
    pub served: tokio::task::JoinHandle<tidegate::Ended>,
    pub ending: Arc<Notify>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum By {
    Ours,
    Axum,
}

fn classify(request: &Parts) -> Classification {
    match request.uri.path() {
        "/internal" => Classification::Turn(Origin::Internal),
        "/metrics" => Classification::Untracked,
        "/labelled" => Classification::Labelled(Origin::User, "a label".to_owned()),
        _ => Classification::Turn(Origin::User),
    }
}

impl Scene {
    pub fn new() -> Scene {
        Scene::with(By::Ours, |layer| layer)
    }

    pub fn with(by: By, adjust: impl FnOnce(GateLayer) -> GateLayer) -> Scene {
        Scene::build(by, None, adjust)
    }

    /// A scene with small socket buffers, so that unread bytes stay with the server.
    pub fn narrow(by: By) -> Scene {
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
        let (asked, server) = (Arc::clone(&ending), Server::new(&gateway));
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

    pub fn close(&self) {
        let ask = DrainRequest::default();
        assert!(self.gateway.begin_drain(&ask).expect("in memory").draining);
    }

    pub fn open(&self) {
        assert!(self.gateway.cancel_drain(&Holder::Shared).expect("in memory"));
    }

    /// Waits until this number of turns is in flight.
    pub async fn in_flight(&self, user: u32) {
        in_flight(&self.gateway, user).await;
    }

    /// Begins two requests and waits until both are parked. There are no more places.
    pub async fn park_two(&self) -> [tokio::task::JoinHandle<(Client, Reply)>; 2] {
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
pub fn begin(mut client: Client, path: &'static str) -> tokio::task::JoinHandle<(Client, Reply)> {
    tokio::spawn(async move {
        let reply = client.get(path).await;
        (client, reply)
    })
}

/// A body whose end is not known in advance.
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

/// Upgrades to a protocol that repeats each byte until the client hangs up.
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
