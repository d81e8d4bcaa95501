//! Compositions that authors build: layers in layers, limits, routes beside the gate, upgrades, other servers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::response::IntoResponse;
use axum::routing::{any, get};
use hyper::StatusCode;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tidegate::http::{
    Classification, CurrentTurn, GateLayer, Parking, Server, UpgradeInTurn, drain_router,
    health_router,
};
use tidegate::request::{DrainRequest, Holder};
use tidegate::{Gateway, Origin};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tower::Layer;
use tower::limit::ConcurrencyLimitLayer;

use super::client::{Client, PATIENCE, Reply, ask, verifier};
use super::kept_log::KeptLog;

fn open() -> Gateway {
    Gateway::in_memory().start().expect("starts")
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let so = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, so).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// A path gives no exemption. Behind a handler that takes any path, each request is a turn, and a closed gate refuses
/// it.
#[tokio::test]
async fn a_path_is_no_way_around_the_gate() {
    let paths = ["/healthz", "/readyz", "/api/status", "/api/gateway/drain", "/chat"];
    let gateway = open();
    let counted = gateway.clone();
    let counts = async move || counted.in_flight().user.to_string();
    let everything =
        || Router::new().fallback(any(counts.clone())).layer(GateLayer::new(gateway.clone()));
    let nested = Router::new().nest("/below", everything());
    let beside: Router = everything()
        .merge(drain_router(gateway.clone(), verifier()))
        .merge(health_router(gateway.clone()));
    for path in paths {
        assert_eq!(ask(&everything(), "POST", path, "").await.text, "1", "{path} is a turn");
        assert_eq!(ask(&nested, "POST", &format!("/below{path}"), "").await.text, "1");
    }
    gateway.begin_drain(&DrainRequest::default()).expect("in memory");
    for path in paths {
        for (app, path) in [(&everything(), path.to_owned()), (&nested, format!("/below{path}"))] {
            let refused = ask(app, "POST", &path, "").await;
            assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
            assert_eq!(refused.json()["reason"], "draining");
        }
    }
    // Beside the gate, the routes of this library answer, and no request for them reaches the handler.
    assert_eq!(ask(&beside, "POST", "/healthz", "").await.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(ask(&beside, "GET", "/healthz", "").await.status, StatusCode::OK);
    assert_eq!(ask(&beside, "POST", "/healthz/", "").await.status, StatusCode::SERVICE_UNAVAILABLE);
    let cancel = r#"{"action":"cancel"}"#;
    assert_eq!(ask(&beside, "POST", "/api/gateway/drain", cancel).await.status, StatusCode::OK);
    assert!(gateway.admit(Origin::User).is_ok());
}

/// A drain order that came through its own gate would be the last order: a cancel could not get in. So it is refused
/// before it is done.
#[tokio::test]
async fn drain_routes_behind_their_own_gate_say_so() {
    let gateway = open();
    let app: Router =
        drain_router(gateway.clone(), verifier()).layer(GateLayer::new(gateway.clone()));
    let refused = ask(&app, "POST", "/api/gateway/drain", "").await;
    assert_eq!(refused.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(refused.json()["error"], "behind_the_gate");
    assert!(gateway.admit(Origin::User).is_ok(), "nothing was done");
    // The gate of another gateway does not matter.
    let other = open();
    let app: Router = drain_router(gateway.clone(), verifier()).layer(GateLayer::new(other));
    assert_eq!(ask(&app, "POST", "/api/gateway/drain", "").await.status, StatusCode::OK);
}

/// A request that is refused or parked takes no place of a limit behind the gate, so no other request waits for it.
#[tokio::test]
async fn a_limit_behind_the_gate_is_for_turns() {
    let (gateway, hold) = (open(), Arc::new(Notify::new()));
    let held = Arc::clone(&hold);
    let slow = async move || {
        held.notified().await;
        "done"
    };
    let turns = Router::new().route("/slow", get(slow)).route("/", get(async || "hello"));
    let parking = Parking::new(8, PATIENCE);
    let limited = ConcurrencyLimitLayer::new(1).layer(turns);
    let gated = GateLayer::new(gateway.clone()).park(parking).layer(limited);
    let app: Router = drain_router(gateway.clone(), verifier())
        .merge(health_router(gateway.clone()))
        .fallback_service(gated);
    let spawn = |path: &'static str| {
        let app = app.clone();
        tokio::spawn(async move { ask(&app, "GET", path, "").await })
    };

    let first = spawn("/slow");
    until("it is let in", || gateway.in_flight().user == 1).await;
    // This one is admitted and waits for the limit's only place. It is a turn, and a drain waits for it.
    let second = spawn("/");
    until("it is let in", || gateway.in_flight().user == 2).await;
    gateway.begin_drain(&DrainRequest::default()).expect("in memory");
    let parked = [(); 8].map(|()| spawn("/"));
    // There is one thread, so each of them has been polled by now, and is parked.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    let refused = ask(&app, "GET", "/", "").await;
    assert_eq!(refused.json()["reason"], "draining");
    assert_eq!(ask(&app, "GET", "/healthz", "").await.status, StatusCode::OK);
    let cancelled = ask(&app, "POST", "/api/gateway/drain", r#"{"action":"cancel"}"#).await;
    assert_eq!(cancelled.status, StatusCode::OK);
    hold.notify_one();
    assert_eq!(first.await.expect("no panic").text, "done");
    assert_eq!(second.await.expect("no panic").text, "hello");
    for parked in parked {
        assert_eq!(parked.await.expect("no panic").text, "hello");
    }
    assert_eq!(gateway.in_flight().total(), 0);
}

/// A request is one turn of each gateway, however many layers of that gateway it passes.
#[tokio::test]
async fn a_request_that_is_let_in_stays_let_in() {
    let (outer, inner) = (open(), open());
    let (seen, also) = (outer.clone(), inner.clone());
    let closes_and_counts = async move |turn: CurrentTurn| {
        let counts = (seen.in_flight().user, also.in_flight().user);
        assert!(turn.child().is_ok());
        format!("{counts:?}")
    };
    let innermost =
        Router::new().route("/", get(closes_and_counts)).layer(GateLayer::new(outer.clone()));
    let closing = outer.clone();
    // This closes the gate between the layers.
    let close = axum::middleware::map_request(move |request: axum::extract::Request| {
        closing.begin_drain(&DrainRequest::default()).expect("in memory");
        std::future::ready(request)
    });
    let app: Router = innermost
        .layer(GateLayer::new(inner.clone()))
        .layer(close)
        .layer(GateLayer::new(outer.clone()));
    let reply = ask(&app, "GET", "/", "").await;
    assert_eq!((reply.status, &*reply.text), (StatusCode::OK, "(1, 1)"));
    let refused = ask(&app, "GET", "/", "").await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    outer.cancel_drain(&Holder::Shared).expect("in memory");
    inner.begin_drain(&DrainRequest::default()).expect("in memory");
    assert_eq!(ask(&app, "GET", "/", "").await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!((outer.in_flight().total(), inner.in_flight().total()), (0, 0));
}

/// A refusal has the author's own text, and has no body if the request is a `HEAD`.
#[tokio::test]
async fn an_author_refuses_in_their_own_words() {
    let gateway = open();
    let layer = GateLayer::new(gateway.clone()).refuse_with(|request, refused| {
        let text = format!("{} {}", request.uri.path(), refused.reason.as_str());
        (StatusCode::IM_A_TEAPOT, [("x-own", "yes")], text).into_response()
    });
    let app = layer.layer(Router::new().route("/chat", get(async || "hello")));
    gateway.begin_drain(&DrainRequest::default()).expect("in memory");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(Server::new(&gateway).serve(listener, app, std::future::pending()));
    for mut client in Client::each(address).await {
        let reply = client.get("/chat").await;
        assert_eq!((reply.status, &*reply.text), (StatusCode::IM_A_TEAPOT, "/chat draining"));
        let head = client.request("HEAD", "/chat").body(Body::empty()).expect("a request");
        let reply = Reply::of(client.send(head).await.expect("a reply")).await;
        assert_eq!((reply.header("x-own"), &*reply.text), (Some("yes"), ""));
    }
}

/// A parked request keeps its class when it is admitted, and is refused like any other request.
#[tokio::test]
async fn a_parked_request_keeps_its_label_and_is_refused_in_the_author_s_words() {
    let gateway = open();
    let counted = gateway.clone();
    let labels = async move || counted.status().active_work.len().to_string();
    let layer = |patience| {
        GateLayer::new(gateway.clone())
            .classify(|_| Classification::Labelled(Origin::User, "chat".to_owned()))
            .park(Parking::new(1, patience))
            .refuse_with(|_, _| (StatusCode::IM_A_TEAPOT, "mine").into_response())
    };
    let app = |patience| Router::new().route("/", get(labels.clone())).layer(layer(patience));
    gateway.begin_drain(&DrainRequest::default()).expect("in memory");
    let refused = ask(&app(Duration::from_millis(10)), "GET", "/", "").await;
    assert_eq!((refused.status, &*refused.text), (StatusCode::IM_A_TEAPOT, "mine"));
    let patient = app(PATIENCE);
    let parked = tokio::spawn(async move { ask(&patient, "GET", "/", "").await });
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    gateway.cancel_drain(&Holder::Shared).expect("in memory");
    assert_eq!(parked.await.expect("no panic").text, "1");
}

/// `retry-after` is rounded up and never zero: a client that reads 0 comes back at once.
#[tokio::test]
async fn retry_after_is_rounded_up() {
    let gateway = open();
    gateway.begin_drain(&DrainRequest::default()).expect("in memory");
    for (milliseconds, expected) in [(0, "1"), (1, "1"), (1500, "2"), (2000, "2")] {
        let after = Duration::from_millis(milliseconds);
        let layer = GateLayer::new(gateway.clone()).retry_after(after);
        let app = Router::new().route("/", get(async || "never")).layer(layer);
        let refused = ask(&app, "GET", "/", "").await;
        assert_eq!(refused.header("retry-after"), Some(expected), "{milliseconds}");
        assert_eq!(refused.header("cache-control"), Some("no-store"));
    }
}

/// A handler gets the address of its client, with our server as with axum's.
#[tokio::test]
async fn a_handler_is_given_its_peer() {
    let gateway = open();
    let peer = async |ConnectInfo(peer): ConnectInfo<SocketAddr>| peer.ip().to_string();
    let app = Router::new().route("/", get(peer)).layer(GateLayer::new(gateway.clone()));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(Server::new(&gateway).serve(listener, app, std::future::pending()));
    for mut client in Client::each(address).await {
        assert_eq!(client.get("/").await.text, "127.0.0.1");
    }
}

/// With another server, an upgraded connection is in flight if its handler keeps the turn with it. If no handler keeps
/// the turn, one warning is logged.
#[tokio::test(flavor = "current_thread")]
async fn an_upgrade_is_kept_with_its_turn() {
    const SWITCHED: (StatusCode, [(&str, &str); 2]) =
        (StatusCode::SWITCHING_PROTOCOLS, [("connection", "upgrade"), ("upgrade", "echo")]);
    let (log, _guard) = KeptLog::on_this_thread();
    let gateway = open();
    let kept = async |upgrade: UpgradeInTurn| {
        tokio::spawn(async move {
            let mut io = upgrade.connected().await.expect("upgrades");
            let byte = io.read_u8().await.expect("reads");
            io.write_u8(byte + 1).await.expect("writes");
            // This reads until the client hangs up.
            let _ = io.read_u8().await;
        });
        SWITCHED
    };
    let lost = async |mut request: axum::extract::Request| {
        let upgrading = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let mut io = TokioIo::new(upgrading.await.expect("upgrades"));
            let _ = io.read_u8().await;
        });
        SWITCHED
    };
    let app = Router::new()
        .route("/kept", any(kept))
        .route("/lost", any(lost))
        .layer(GateLayer::new(gateway.clone()));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, app).await });

    let mut io = Client::one(address).await.upgrade("/kept").await;
    gateway.begin_drain(&DrainRequest::default()).expect("in memory");
    io.write_u8(1).await.expect("writes");
    assert_eq!(io.read_u8().await.expect("reads"), 2);
    assert_eq!(gateway.in_flight().user, 1);
    assert_eq!(log.lines("a drain does not wait for an upgraded connection").len(), 0);
    drop(io);
    tokio::time::timeout(PATIENCE, gateway.idle()).await.expect("it has ended");
    gateway.cancel_drain(&Holder::Shared).expect("in memory");

    let lost = [
        Client::one(address).await.upgrade("/lost").await,
        Client::one(address).await.upgrade("/lost").await,
    ];
    until("nobody keeps them", || gateway.in_flight().user == 0).await;
    assert_eq!(log.lines("a drain does not wait for an upgraded connection").len(), 1, "once");
    drop(lost);

    let plain = Client::one(address).await.get("/kept").await;
    assert_eq!(
        (plain.status, &plain.json()["error"]),
        (StatusCode::UPGRADE_REQUIRED, &json!("no_upgrade"))
    );
}

/// A task that goes on after the reply is part of the turn if it has the turn.
#[tokio::test]
async fn what_goes_on_after_the_reply_is_held() {
    let (gateway, hold) = (open(), Arc::new(Notify::new()));
    let held = Arc::clone(&hold);
    let handler = async move |turn: CurrentTurn| {
        tokio::spawn(turn.hold(async move { held.notified().await }));
        "replied"
    };
    let app = Router::new().route("/", get(handler)).layer(GateLayer::new(gateway.clone()));
    assert_eq!(ask(&app, "GET", "/", "").await.text, "replied");
    gateway.begin_drain(&DrainRequest::default()).expect("in memory");
    assert_eq!(gateway.in_flight().user, 1);
    hold.notify_one();
    tokio::time::timeout(PATIENCE, gateway.idle()).await.expect("it has ended");
}
