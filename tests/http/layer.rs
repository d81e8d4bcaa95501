//! Every request is a turn, over both protocols and however it ends. A closed gate refuses, admits or parks it.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use http_body_util::BodyExt;
use hyper::StatusCode;
use serde_json::json;
use tidegate::http::{GateLayer, Parking, Server, drain_router, health_router};
use tidegate::request::DrainRequest;
use tidegate::{Gateway, Origin};
use tower::Layer;

use super::client::{Client, PATIENCE, Reply, ask, verifier};
use super::scene::{BIG, By, Scene, begin};

/// A closed gate refuses before the handler runs, with a text for programs and for people. TG-S2, R10.
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

/// Internal work is admitted at a closed gate and is counted. An untracked request passes and is not counted.
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
    let quiesce = DrainRequest::default().with_hold_internal(true);
    scene.gateway.begin_drain(&quiesce).expect("in memory");
    scene.gateway.quiesced().await.expect("nothing is in flight");
    let refused = Client::one(scene.address).await.get("/internal").await;
    assert_eq!(refused.json()["reason"], "quiesced");
}

/// A refused `HEAD` has the headers and no body: over HTTP/2 a body would be a protocol error. The layer is the
/// outermost here, so no router removes the body.
#[tokio::test]
async fn a_refused_head_is_a_refusal() {
    let gateway = Gateway::in_memory().start().expect("starts");
    gateway.begin_drain(&DrainRequest::default()).expect("in memory");
    let app: Router = Router::new().route("/", get(async || "hello"));
    let app = GateLayer::new(gateway.clone()).layer(app);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let server = Server::new(&gateway).client_timeout(Duration::MAX);
    tokio::spawn(server.serve(listener, app, std::future::pending()));
    for mut client in Client::each(address).await {
        let head = client.request("HEAD", "/").body(Body::empty()).expect("a request");
        let reply = Reply::of(client.send(head).await.expect("a reply")).await;
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
        let length: usize = reply.header("content-length").expect("one").parse().expect("one");
        assert!(length > 100 && reply.text.is_empty());
    }
}

/// An admitted request finishes, while others are refused. TG-S6.
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

/// A streamed reply is a turn until its end, with our server and with axum's.
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

/// A client that hangs up ends its turn, whether it closes its connection or resets its stream.
#[tokio::test]
async fn a_client_that_hangs_up_ends_its_turn() {
    for by in [By::Ours, By::Axum] {
        let mut scene = Scene::with(by, |layer| layer);
        for mut client in Client::each(scene.address).await {
            // While the handler runs.
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
            // While the reply is sent.
            let request = client.request("GET", "/stream").body(Body::empty());
            let response = client.send(request.expect("a request")).await.expect("a reply");
            let mut sender = scene.streams.recv().await.expect("the handler ran");
            sender.send_data("one".into()).await.expect("the reply is read");
            assert_eq!(scene.gateway.in_flight().user, 1);
            drop(response);
            drop(client);
            scene.in_flight(0).await;
        }
        // One stream of several is reset, and the others go on.
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

/// A handler that panics ends its turn like any other. I-32.
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

/// Beside the gated routes, the control routes answer at any time, so a drain can always be cancelled.
#[tokio::test]
async fn the_control_routes_are_never_turns() {
    let gateway = Gateway::in_memory().start().expect("starts");
    let app: Router = Router::new()
        .route("/chat", get(async || "hello"))
        .layer(GateLayer::new(gateway.clone()))
        .merge(drain_router(gateway.clone(), verifier()))
        .merge(health_router(gateway.clone()));
    let ask = async |method: &str, path: &str, body| ask(&app, method, path, body).await.status;
    assert_eq!(ask("POST", "/api/gateway/drain", r#"{"wait":20}"#).await, StatusCode::OK);
    assert_eq!(ask("GET", "/chat", "").await, StatusCode::SERVICE_UNAVAILABLE);
    for path in ["/healthz", "/api/status", "/api/gateway/openapi.json"] {
        assert_eq!(ask("GET", path, "").await, StatusCode::OK, "{path}");
    }
    let cancel = r#"{"action":"cancel"}"#;
    assert_eq!(ask("POST", "/api/gateway/drain", cancel).await, StatusCode::OK);
    assert_eq!(ask("GET", "/chat", "").await, StatusCode::OK);
}

/// A parked request enters when the gate opens. It is refused when its time is over, when all places are taken, or when
/// the gateway shuts down.
#[tokio::test]
async fn parked_requests_wait_and_no_longer_than_they_may() {
    let parking = Parking::new(2, PATIENCE);
    let scene = Scene::with(By::Ours, |layer| layer.park(parking));
    scene.close();
    let parked = scene.park_two().await;
    assert_eq!(scene.gateway.in_flight().user, 0, "a parked request is not a turn");
    scene.open();
    for parked in parked {
        assert_eq!(parked.await.expect("no panic").1.text, "User");
    }
    scene.in_flight(0).await;
    // A parked request does not wait for a gateway that is shutting down.
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
    let parking = Parking::new(1, Duration::ZERO);
    let scene = Scene::with(By::Ours, |layer| layer.park(parking));
    scene.close();
    for mut client in Client::each(scene.address).await {
        assert_eq!(client.get("/origin").await.json()["reason"], "draining");
    }
}
