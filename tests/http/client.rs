//! A client for the tests: one connection of hyper, without a pool.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tidegate::Gateway;
use tidegate::http::{Principal, Scope, SharedSecret};
use tokio::net::TcpStream;
use tower::ServiceExt;

/// Turns a hang into a failure.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// An event of a test comes within this time, which is shorter than the longest limit of the server.
pub const SOON: Duration = Duration::from_secs(10);

pub const SECRET: &str = "Bnup1ELh1XNZaC3G4m7iTQi4-UM82W2lNpRooIKCngo";
pub const OTHERS: &str = "Q7w9-Zr2LkXn5VtB8mYcHd3JfGs6PaEuTi4RoWz1KqM";
pub const OPERATORS: &str = "xJ4-kTz8Wq2NvR6bYh9LcMf3GpDs7UaEi5OoKt1ZrVm";

pub const FORGERS: &str = "kP3v-Yt7Rw1MxD9sFq5ZbLh8NcGj2UaEo6TiXuWe4Sg";

/// The name of a principal that tries to forge a line of the log.
pub const FORGER: &str = "eve\ntidegate::audit: done\u{202e}\u{9b}2J";

/// Four principals. `drain-control`, `other` and the forger may drain, and `operator` may change any holder.
pub fn verifier() -> Vec<SharedSecret> {
    let of = |secret: &str, principal| {
        SharedSecret::new(secret).expect("strong").with_principal(principal)
    };
    vec![
        SharedSecret::new(SECRET).expect("strong"),
        of(OTHERS, Principal::new("other").with_scope(Scope::Drain)),
        of(FORGERS, Principal::new(FORGER).with_scope(Scope::Drain)),
        of(OPERATORS, Principal::new("operator").with_scope(Scope::DrainAny)),
    ]
}

/// A whole reply.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Reply {
    pub async fn of<B>(response: Response<B>) -> Reply
    where
        B: hyper::body::Body,
        B::Error: std::fmt::Debug,
    {
        let (head, body) = response.into_parts();
        let bytes = body.collect().await.expect("a whole body").to_bytes();
        let text = String::from_utf8(bytes.to_vec()).expect("text");
        Reply { status: head.status, headers: head.headers, text }
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {}", self.text))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// One connection of either protocol.
pub enum Client {
    One(hyper::client::conn::http1::SendRequest<Body>),
    Two(hyper::client::conn::http2::SendRequest<Body>),
}

impl Client {
    pub async fn one(address: SocketAddr) -> Client {
        let io = TokioIo::new(TcpStream::connect(address).await.expect("listens"));
        let (sender, connection) =
            hyper::client::conn::http1::handshake(io).await.expect("speaks HTTP/1");
        tokio::spawn(connection.with_upgrades());
        Client::One(sender)
    }

    pub async fn two(address: SocketAddr) -> Client {
        let io = TokioIo::new(TcpStream::connect(address).await.expect("listens"));
        let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
            .await
            .expect("speaks HTTP/2");
        tokio::spawn(connection);
        Client::Two(sender)
    }

    /// A connection with HTTP/2, or with HTTP/1.
    pub async fn of(http_2: bool, address: SocketAddr) -> Client {
        if http_2 { Client::two(address).await } else { Client::one(address).await }
    }

    /// A connection of each protocol.
    pub async fn each(address: SocketAddr) -> [Client; 2] {
        [Client::one(address).await, Client::two(address).await]
    }

    pub async fn send(&mut self, request: Request<Body>) -> hyper::Result<Response<Incoming>> {
        match self {
            Client::One(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
            Client::Two(sender) => sender.send_request(request).await,
        }
    }

    pub async fn get(&mut self, path: &str) -> Reply {
        let request = self.request("GET", path).body(Body::empty()).expect("a request");
        Reply::of(self.send(request).await.expect("a reply")).await
    }

    /// A request to this path, as the protocol spells it.
    pub fn request(&self, method: &str, path: &str) -> hyper::http::request::Builder {
        let uri = match self {
            Client::One(_) => path.to_owned(),
            Client::Two(_) => format!("http://test{path}"),
        };
        Request::builder().method(method).uri(uri).header("host", "test")
    }

    /// Upgrades an HTTP/1 connection at this path.
    pub async fn upgrade(mut self, path: &str) -> TokioIo<hyper::upgrade::Upgraded> {
        let request = self
            .request("GET", path)
            .header("connection", "upgrade")
            .header("upgrade", "echo")
            .body(Body::empty())
            .expect("a request");
        let response = self.send(request).await.expect("a reply");
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
        TokioIo::new(hyper::upgrade::on(response).await.expect("upgrades"))
    }

    /// Waits until the server has closed the connection.
    pub async fn closed(self) {
        let closed = async {
            match self {
                Client::One(mut sender) => {
                    while sender.ready().await.is_ok() {
                        tokio::task::yield_now().await;
                    }
                }
                Client::Two(mut sender) => {
                    while sender.ready().await.is_ok() {
                        tokio::task::yield_now().await;
                    }
                }
            }
        };
        tokio::time::timeout(SOON, closed).await.expect("it is closed");
    }
}

/// Sends a request to a router, with the token of `drain-control`.
pub async fn ask(app: &Router, method: &str, path: &str, body: &'static str) -> Reply {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", format!("Bearer {SECRET}"))
        .body(Body::from(body))
        .expect("a request");
    Reply::of(app.clone().oneshot(request).await.expect("infallible")).await
}

/// Waits until this number of turns is in flight. The gate wakes no waiter for that, so this polls.
pub async fn in_flight(gateway: &Gateway, user: u32) {
    let reached = async {
        while gateway.in_flight().user != user {
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, reached).await;
    waited.unwrap_or_else(|_| panic!("{:?}, not {user}", gateway.in_flight()));
}
