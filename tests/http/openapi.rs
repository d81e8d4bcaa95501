//! The recorded OpenAPI document is the one that the code renders. To accept a change, run with `TIDEGATE_BLESS=1` and
//! read the diff.

use std::path::Path;

use axum::Router;
use axum::body::Body;
use hyper::Request;
use serde_json::Value;
use tidegate::Gateway;
use tidegate::http::{document, drain_router};
use tower::ServiceExt;

use super::client::{Reply, verifier};

#[test]
fn the_document_is_what_was_read_last() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/http/openapi.json");
    let rendered = document().to_pretty_json().expect("serializes") + "\n";
    if std::env::var_os("TIDEGATE_BLESS").is_some() {
        std::fs::write(&path, &rendered).expect("writes");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == rendered, "{} is not what the code renders:\n{rendered}", path.display());
}

#[tokio::test]
async fn the_document_is_served() {
    let gateway = Gateway::in_memory().start().expect("starts");
    let router: Router = drain_router(gateway, verifier());
    let request = Request::get("/api/gateway/openapi.json").body(Body::empty());
    let reply = router.oneshot(request.expect("a request")).await.expect("infallible");
    let served = Reply::of(reply).await.json();
    assert_eq!(served, serde_json::to_value(document()).expect("serializes"));
    let paths = served["paths"].as_object().expect("paths");
    let documented: Vec<&str> = paths.keys().map(String::as_str).collect();
    let all =
        ["/api/gateway/drain", "/api/gateway/openapi.json", "/api/status", "/healthz", "/readyz"];
    assert_eq!(documented, all);
    assert!(matches!(served["components"]["securitySchemes"]["bearer"], Value::Object(_)));
}
