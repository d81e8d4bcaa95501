//! The status over HTTP: the original's fields, this library's own fields, and readiness.

use axum::Router;
use axum::body::Body;
use http_body_util::BodyExt;
use hyper::{Request, StatusCode};
use serde_json::{Value, json};
use tidegate::home::Home;
use tidegate::http::{drain_router, drain_router_for, health_router};
use tidegate::machine::ShutdownCause;
use tidegate::request::DrainRequest;
use tidegate::{Gateway, Origin};
use tower::ServiceExt;

use super::client::{PATIENCE, Reply, SECRET, verifier};
use super::kept_log::KeptLog;

async fn get(router: &Router, path: &str, token: Option<&str>) -> Reply {
    let mut request = Request::get(path);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let request = request.body(Body::empty()).expect("a request");
    Reply::of(router.clone().oneshot(request).await.expect("infallible")).await
}

/// The fields of the contract have the values that the original has for a running gateway.
#[tokio::test]
async fn status_has_the_original_s_fields() {
    const KEPT: [&str; 10] = [
        "version",
        "gateway_running",
        "gateway_state",
        "gateway_platforms",
        "gateway_exit_reason",
        "gateway_updated_at",
        "gateway_pid",
        "active_agents",
        "gateway_busy",
        "gateway_drainable",
    ];
    let vector: Value =
        serde_json::from_str(include_str!("../vectors/api_status.json")).expect("a vector");
    let dir = tempfile::tempdir().expect("temp dir");
    let gateway = Gateway::builder(dir.path()).start().expect("starts");
    let routers: [Router; 2] = [
        drain_router(gateway.clone(), verifier()),
        drain_router_for(Home::at(dir.path()), verifier()),
    ];
    for router in routers {
        let ours = get(&router, "/api/status", None).await.json();
        for name in KEPT {
            let (ours, theirs) = (&ours[name], &vector["json"][name]);
            match name {
                "version" | "gateway_updated_at" => assert!(ours.is_string(), "{name}: {ours}"),
                "gateway_pid" => assert_eq!(*ours, json!(std::process::id())),
                _ => assert_eq!(ours, theirs, "{name}"),
            }
        }
        assert_eq!((&ours["lifecycle"], &ours["ready"]), (&json!("running"), &json!(true)));
    }
}

#[tokio::test]
async fn who_asks_and_what_is_at_work_is_told_to_those_with_a_token() {
    let dir = tempfile::tempdir().expect("temp dir");
    let gateway = Gateway::builder(dir.path()).start().expect("starts");
    let routers: [Router; 2] = [
        drain_router(gateway.clone(), verifier()),
        drain_router_for(Home::at(dir.path()), verifier()),
    ];
    let work = gateway.admit_labelled(Origin::User, "private words").expect("open");
    let receipt = gateway.begin_drain(&DrainRequest::new("alice")).expect("writes");
    for router in routers {
        let public = get(&router, "/api/status", None).await;
        assert!(!public.text.contains("alice") && !public.text.contains("private words"));
        assert_eq!(public.json()["gateway_state"], "draining");
        assert_eq!(public.json()["gateway_busy"], false, "as the original has it (U25)");
        assert_eq!(public.json()["idle"], false);
        let within = get(&router, "/api/status", Some(SECRET)).await.json();
        assert_eq!(within["holders"][0]["principal"], "alice");
        assert_eq!(within["holders"][0]["request_id"].as_str(), receipt.request.request_id());
        assert_eq!(within["active_work"][0]["label"], "private words");
        let wrong = get(&router, "/api/status", Some("wrong")).await;
        assert_eq!(wrong.status, StatusCode::UNAUTHORIZED, "a wrong token is not treated as none");
    }
    drop(work);
}

/// The status of a dead gateway is history, and never counts as idle (F10). U41.
#[tokio::test]
async fn a_dead_gateway_is_neither_running_nor_idle() {
    let dir = tempfile::tempdir().expect("temp dir");
    let router: Router = drain_router_for(Home::at(dir.path()), verifier());
    let nothing = get(&router, "/api/status", None).await.json();
    assert_eq!(nothing["active_agents"], Value::Null, "unknown is not idle");
    for left_behind in [
        r#"{"gateway_state":"draining","active_agents":0,"idle":true,"quiesced":true,"pid":1}"#,
        r#"{"gateway_state":"running","active_agents":0,"ready":true,"pid":1}"#,
        "{",
    ] {
        std::fs::write(dir.path().join("gateway_state.json"), left_behind).expect("writes");
        let said = get(&router, "/api/status", None).await.json();
        assert_eq!(said["gateway_running"], false);
        assert_eq!(said["gateway_state"], "stopped");
        for flag in ["idle", "quiesced", "ready", "gateway_busy", "gateway_drainable"] {
            assert_eq!(said[flag], false, "{flag} of {left_behind}");
        }
        for unknown in ["active_agents", "gateway_pid", "in_flight"] {
            assert_eq!(said[unknown], Value::Null, "{unknown} of {left_behind}");
        }
    }
}

/// From the start and in each phase, readiness agrees with admission. F12.
#[tokio::test]
async fn ready_is_what_admission_says() {
    let gateway = Gateway::in_memory().start().expect("starts");
    let router: Router = health_router(gateway.clone());
    let ready = async || {
        let reply = get(&router, "/readyz", None).await;
        let is_ready = reply.status == StatusCode::OK;
        assert_eq!(is_ready, gateway.is_ready());
        assert_eq!(is_ready, gateway.admit(Origin::User).is_ok());
        assert_eq!(is_ready, gateway.status().ready);
        assert_eq!(reply.json()["status"], if is_ready { "ready" } else { "not_ready" });
        assert_eq!(get(&router, "/healthz", None).await.status, StatusCode::OK, "alive all along");
        is_ready
    };
    assert!(ready().await);
    let turn = gateway.admit(Origin::User).expect("open");
    gateway.begin_drain(&DrainRequest::default()).expect("in memory");
    assert!(!ready().await, "work is in flight, and no new work is wanted");
    gateway.cancel_drain(&tidegate::request::Holder::Shared).expect("in memory");
    assert!(ready().await);
    let ending = gateway.shut_down(ShutdownCause::Sigterm, PATIENCE);
    assert!(!ready().await);
    drop(turn);
    let _ = ending.await;
    assert!(!ready().await);
}

#[tokio::test]
async fn every_refusal_of_a_method_is_json_and_names_those_that_will_do() {
    let gateway = Gateway::in_memory().start().expect("starts");
    let router: Router = drain_router(gateway.clone(), verifier());
    let router = router.merge(health_router(gateway));
    for (path, allowed) in [
        ("/api/gateway/drain", "POST"),
        ("/api/status", "GET,HEAD"),
        ("/api/gateway/openapi.json", "GET,HEAD"),
        ("/healthz", "GET,HEAD"),
        ("/readyz", "GET,HEAD"),
    ] {
        let request = Request::delete(path).body(Body::empty()).expect("a request");
        let reply = Reply::of(router.clone().oneshot(request).await.expect("infallible")).await;
        assert_eq!(reply.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
        assert_eq!(reply.header("allow"), Some(allowed), "{path}");
        assert_eq!(reply.json()["error"], "no_such_method", "{path}");
    }
}

/// If the status cannot be read, only the log and clients with a token get the reason, since it names paths.
#[tokio::test(flavor = "current_thread")]
async fn why_a_status_cannot_be_read_is_not_for_everybody() {
    let (log, _guard) = KeptLog::on_this_thread();
    let dir = tempfile::tempdir().expect("temp dir");
    // A directory has the lock file's name.
    std::fs::create_dir(dir.path().join(".tidegate.lock")).expect("mkdir");
    let router: Router = drain_router_for(Home::at(dir.path()), verifier());
    let path = dir.path().to_str().expect("text");
    let stranger = get(&router, "/api/status", None).await;
    assert_eq!(stranger.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(!stranger.text.contains(path), "{stranger:?}");
    assert_eq!(log.lines(path).len(), 1);
    let known = get(&router, "/api/status", Some(SECRET)).await;
    assert_eq!(known.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(known.text.contains(path), "{known:?}");
}

/// The bytes of the document are rendered once, however often clients request it.
#[tokio::test]
async fn the_document_is_one() {
    let router: Router = drain_router(Gateway::in_memory().start().expect("starts"), verifier());
    let bytes = async || {
        let request = Request::get("/api/gateway/openapi.json").body(Body::empty());
        let reply = router.clone().oneshot(request.expect("a request")).await.expect("infallible");
        let frame = reply.into_body().frame().await.expect("a frame").expect("data");
        frame.into_data().expect("data")
    };
    let (first, second) = (bytes().await, bytes().await);
    assert_eq!(first.as_ptr(), second.as_ptr());
}
