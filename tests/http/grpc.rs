//! Refusals as gRPC clients read them: tonic with a codec that does not change bytes, and a browser.

use axum::Router;
use axum::body::Body;
use axum::http::uri::PathAndQuery;
use axum::routing::post;
use bytes::{Buf, BufMut};
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use tidegate::Gateway;
use tidegate::http::{GateLayer, Server};
use tidegate::request::DrainRequest;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::{Code, Status};

use super::client::{Client, Reply};

#[derive(Clone, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let length = buffer.remaining();
        Ok(Some(buffer.copy_to_bytes(length)))
    }
}

/// A gateway whose gate is closed, behind a real server.
async fn closed() -> (Gateway, std::net::SocketAddr) {
    let gateway = Gateway::in_memory().start().expect("starts");
    gateway.begin_drain(&DrainRequest::default()).expect("in memory");
    let app = Router::new()
        .route("/chat.Chat/Say", post(async || "never"))
        .layer(GateLayer::new(gateway.clone()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(Server::new(&gateway).serve(listener, app, std::future::pending()));
    (gateway, address)
}

/// Found in use: tonic read the problem document as a frame. Retry policies retry only `UNAVAILABLE`.
#[tokio::test]
async fn a_grpc_client_reads_unavailable() {
    let (_gateway, address) = closed().await;
    let endpoint =
        tonic::transport::Endpoint::new(format!("http://{address}")).expect("an address");
    let channel = endpoint.connect().await.expect("listens");
    let path = || PathAndQuery::from_static("/chat.Chat/Say");
    let mut client = tonic::client::Grpc::new(channel);
    let hello = || tonic::Request::new(Bytes::from_static(b"hello"));

    client.ready().await.expect("ready");
    let unary = client.unary(hello(), path(), Raw).await.expect_err("refused");
    client.ready().await.expect("ready");
    let streaming = client.server_streaming(hello(), path(), Raw).await;
    let streaming = streaming.map(|_| "a stream").expect_err("refused, and at once");
    for refused in [unary, streaming] {
        assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
        assert!(refused.message().contains("draining for maintenance"), "{refused:?}");
        let pushback = refused.metadata().get("grpc-retry-pushback-ms").expect("pushback");
        assert_eq!(pushback, "5000");
    }
}

/// A refusal has a form that its client can read: by the request's content type, and by what it accepts.
#[tokio::test]
async fn a_refusal_speaks_the_protocol_of_its_request() {
    let (_gateway, address) = closed().await;
    for (one, mut client) in [true, false].into_iter().zip(Client::each(address).await) {
        for (content_type, body) in [
            ("application/grpc-web+proto", &b"\0\0\0\0\0"[..]),
            ("application/grpc-web-text", b"AAAAAAA="),
            ("application/grpc", b"\0\0\0\0\0"),
        ] {
            if one {
                client = Client::one(address).await;
            }
            let request =
                client.request("POST", "/chat.Chat/Say").header("content-type", content_type);
            let request = request.body(Body::from(body)).expect("a request");
            let reply = Reply::of(client.send(request).await.expect("a reply")).await;
            assert_eq!((reply.status, &*reply.text), (StatusCode::OK, ""), "{content_type}");
            assert_eq!(reply.header("content-type"), Some(content_type));
            assert_eq!(reply.header("grpc-status"), Some("14"));
            assert_eq!(reply.header("retry-after"), None);
            assert!(reply.header("grpc-message").expect("words").contains("draining"));
            assert_eq!(reply.header("connection"), one.then_some("close"));
        }
        for (accept, content_type) in [
            ("text/plain", "text/plain; charset=utf-8"),
            ("*/*", "application/problem+json"),
            ("text/html,application/xhtml+xml,*/*;q=0.8", "application/problem+json"),
        ] {
            if one {
                client = Client::one(address).await;
            }
            let request = client.request("POST", "/chat.Chat/Say").header("accept", accept);
            let request: Request<Body> = request.body(Body::empty()).expect("a request");
            let reply = Reply::of(client.send(request).await.expect("a reply")).await;
            assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE, "{accept}");
            assert_eq!(reply.header("content-type"), Some(content_type), "{accept}");
            assert_eq!(reply.header("retry-after"), Some("5"));
            assert!(reply.text.contains("draining for maintenance"), "{accept}");
        }
    }
}
