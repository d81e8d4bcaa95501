//! Authorization: no client gets in without a valid token, and no principal goes beyond its scopes.

use axum::Router;
use axum::body::Body;
use hyper::{Request, StatusCode};
use serde_json::{Value, json};
use tidegate::Gateway;
use tidegate::http::{Principal, Scope, SharedSecret, TokenVerifier, Unverified, drain_router};
use tower::ServiceExt;

use super::client::{OPERATORS, Reply, SECRET, verifier};

/// The rules for a secret's strength are the original's, with the same messages.
#[test]
fn a_secret_is_as_strong_as_the_original_demands() {
    let vectors = include_str!("../vectors/secret.jsonl");
    for line in vectors.lines() {
        let vector: Value = serde_json::from_str(line).expect("a vector");
        let secret = vector["secret"].as_str().expect("text");
        let rejection = SharedSecret::new(secret).err().map(|weak| weak.to_string());
        assert_eq!(rejection.as_deref(), vector["rejection"].as_str(), "{vector}");
    }
    let short = SharedSecret::new(&SECRET[1..]).expect_err("42 characters").to_string();
    assert!(short.starts_with("secret too short: 42 chars (need >= 43"), "{short}");
}

async fn drain(router: &Router, authorization: &[&str]) -> Reply {
    let mut request = Request::post("/api/gateway/drain");
    for value in authorization {
        request = request.header("authorization", *value);
    }
    let request = request.body(Body::empty()).expect("a request");
    Reply::of(router.clone().oneshot(request).await.expect("infallible")).await
}

#[tokio::test]
async fn nobody_gets_in_without_a_token_that_is_one() {
    let gateway = Gateway::in_memory().start().expect("starts");
    let router: Router = drain_router(gateway.clone(), verifier());
    let right = format!("Bearer {SECRET}");
    let wrong = [
        vec![],
        vec![""],
        vec!["Bearer"],
        vec!["Bearer "],
        vec![SECRET],
        vec!["Basic Bnup1ELh1XNZaC3G4m7iTQi4-UM82W2lNpRooIKCngo"],
        vec!["Bearer Bnup1ELh1XNZaC3G4m7iTQi4-UM82W2lNpRooIKCng"],
        vec!["Bearer Bnup1ELh1XNZaC3G4m7iTQi4-UM82W2lNpRooIKCngoX"],
        vec!["Bearer bnup1ELh1XNZaC3G4m7iTQi4-UM82W2lNpRooIKCngo"],
        vec![&right, &right],
        vec!["Basic abc", &right],
    ];
    for authorization in wrong {
        let reply = drain(&router, &authorization).await;
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{authorization:?}");
        assert_eq!(reply.json(), json!({ "error": "unauthenticated", "detail": "Unauthorized" }));
        let challenge = reply.header("www-authenticate").expect("a challenge");
        assert!(challenge.starts_with("Bearer realm="), "{challenge}");
        assert!(gateway.is_ready(), "{authorization:?}");
    }
    assert_eq!(drain(&router, &[&right]).await.status, StatusCode::OK);
    assert!(!gateway.is_ready());
}

/// A verifier that answers as the test needs.
struct Provider(fn() -> Result<Principal, Unverified>);

impl TokenVerifier for Provider {
    async fn verify(&self, _: &[u8]) -> Result<Principal, Unverified> {
        (self.0)()
    }
}

/// A verifier that never answers.
struct Silent;

impl TokenVerifier for Silent {
    async fn verify(&self, _: &[u8]) -> Result<Principal, Unverified> {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_verifier_that_cannot_answer_lets_nobody_in() {
    let gateway = Gateway::in_memory().start().expect("starts");
    let down = || Err(Unverified::Unavailable { reason: "s3cret address refused".to_owned() });
    let routers: [Router; 2] =
        [drain_router(gateway.clone(), Provider(down)), drain_router(gateway.clone(), Silent)];
    for router in routers {
        let reply = drain(&router, &["Bearer x"]).await;
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(reply.json()["error"], "verifier_unavailable");
        assert!(reply.header("retry-after").is_some());
        assert!(!reply.text.contains("s3cret"), "the reason is not for clients");
        assert!(gateway.is_ready());
    }
}

#[tokio::test]
async fn a_principal_may_do_what_its_scopes_say() {
    let gateway = Gateway::in_memory().start().expect("starts");
    let nothing: Router = drain_router(gateway.clone(), Provider(|| Ok(Principal::new("guest"))));
    let reply = drain(&nothing, &["Bearer x"]).await;
    assert_eq!(
        (reply.status, &reply.json()["error"]),
        (StatusCode::FORBIDDEN, &json!("insufficient_scope"))
    );
    assert!(reply.header("www-authenticate").expect("a challenge").contains("scope=\"drain\""));
    assert!(gateway.is_ready());
    let may = || Ok(Principal::new("deployer").with_scope(Scope::Drain));
    let drains: Router = drain_router(gateway.clone(), Provider(may));
    assert_eq!(drain(&drains, &["Bearer x"]).await.status, StatusCode::OK);
    let signed = gateway.status().holders.first().and_then(|it| it.principal.clone());
    assert_eq!(signed.as_deref(), Some("deployer"), "the principal signs");
    let any: Router = drain_router(gateway.clone(), verifier());
    let reply = drain(&any, &[&format!("Bearer {OPERATORS}")]).await;
    assert_eq!(reply.status, StatusCode::OK, "drain:any includes drain");
}
