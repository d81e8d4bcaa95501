//! HTTP (feature `http`): a drain endpoint, status and health. A layer makes each request a turn, and a server knows
//! when a reply has been sent.
//!
//! This module decides nothing. [`control_order`](crate::internals::control_order) reads orders,
//! [`pending`](crate::pending) judges their results, and the gateway owns every transition ([R11]).
//!
//! | route | what | who may |
//! |---|---|---|
//! | `POST /api/gateway/drain` | begins or cancels a drain | a token with the scope `drain` |
//! | `GET /api/status` | the state of the gateway | anybody; holders and active work only with a token |
//! | `GET /api/gateway/openapi.json` | this table and the bodies, as OpenAPI | anybody |
//! | `GET /healthz` | whether the process answers | anybody |
//! | `GET /readyz` | whether it takes new work: 503 from the first instant of a drain or shutdown ([F12]) | anybody |
//!
//! An order is a JSON object. An empty body orders a drain:
//!
//! | field | used by | what it says |
//! |---|---|---|
//! | `action` | | `drain` (the default) or `cancel` |
//! | `holder` | both | whose request it is; the default is the shared marker |
//! | `lease_s` | drain | how many seconds the request lives, unless the holder begins it again; the default is 3600 |
//! | `hold_internal` | drain | internal work is held too, so that the gateway can be quiesced |
//! | `suppress_notification` | drain | users are not notified |
//! | `this_run` | drain | the request ends with this run of the gateway: the next start admits again |
//! | `wait` | drain | answer once the gateway is quiesced; after this many seconds, cancel the request and fail |
//! | `idle_is_enough` | drain | with `wait`: an idle gateway is enough |
//!
//! If a client disconnects while it waits, its request is cancelled as soon as the server notices. If the client has
//! sent extra bytes, hyper does not notice, and the lease ends the request. One principal has at most 32 orders in
//! progress, and 64 named drains.
//!
//! Two routers on one home do not exclude each other: two principals can claim the same free holder at once. Use
//! one router.
//!
//! Status 200 means success. After a drain with `wait`, it is safe to act until `safe_until`. Without `wait`, the
//! gate is closed (`draining`), or the request is written and no running gateway has confirmed it yet (`pending`).
//!
//! An order that failed has another status. The body is a JSON object with `error`, for programs, and `detail`, for
//! people:
//!
//! | status | why the order failed |
//! |---|---|
//! | 400, 408, 413 | the body is not a valid order, did not arrive in time, or is too long |
//! | 401, 403 | the caller is not authorized |
//! | 409 | the drain was lost or timed out, or the gateway is shutting down, not running or foreign |
//! | 429 | the principal has too many orders in progress, or too many drains |
//! | 500 | the order failed; after a failed cancel the drain stays on |
//! | 503 | a token or a request cannot be read at the moment, or the server is shutting down |
//! | 504 | the home's disk did not answer in time; the order may still be carried out |
//!
//! # Examples
//!
//! ```no_run
//! use std::time::Duration;
//! use axum::{Router, routing::post};
//! use tidegate::http::{GateLayer, SharedSecret, drain_router, health_router, serve};
//! use tidegate::Gateway;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let gateway = Gateway::builder("/srv/gateway").kind("my-gateway").start()?;
//! let verifier = SharedSecret::new(std::env::var("DRAIN_SECRET")?)?;
//! let turns = Router::new()
//!     .route("/chat", post(async || "hello"))
//!     .layer(GateLayer::new(gateway.clone()));
//! // These routes go beside the gated routes, not behind the gate.
//! let app: Router = turns
//!     .merge(drain_router(gateway.clone(), verifier))
//!     .merge(health_router(gateway.clone()));
//!
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
//! let signals = tidegate::signals(&gateway, Duration::from_secs(30))?;
//! let ended = serve(listener, app, &gateway, signals).await;
//! println!("{ended:?}");
//! # Ok(())
//! # }
//! ```
//!
//! [R11]: crate::guide::requirements#r11
//! [F12]: crate::guide::requirements#f12

mod audit;
mod auth;
mod body;
mod client_wait;
mod connection;
mod control;
mod current;
mod exchange;
mod keep_alive_timer;
mod layer;
mod linger;
mod openapi;
mod orders_in_flight;
mod pace;
mod refusal;
mod reply;
mod routes;
mod schema;
mod secret;
mod server;
mod service_call;
mod status;
mod target;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};

use crate::gateway::Gateway;
use crate::home::Home;
use control::Control;
use routes::{DRAIN_PATH, OPENAPI_PATH, STATUS_PATH, no_such_method};
use target::Target;

pub use auth::{Principal, Scope, TokenVerifier, UnknownScope, Unverified};
pub use body::TurnBody;
pub use current::{CurrentTurn, NoUpgrade, NotInATurn, UpgradeInTurn, UpgradedInTurn};
pub use layer::{Classification, GateFuture, GateLayer, GateService, Parking};
pub use openapi::document;
pub use secret::{SharedSecret, WeakSecret};
pub use server::{Server, serve};
pub use status::health_router;

/// The routes that drain this process's gateway and report its state: see the [module](self).
///
/// An order is written to the home and reconciled before it is answered. So `draining: true` means that the gate is
/// closed. Blocking work does not run on tokio's worker threads.
///
/// Merge this router beside the routes that a [`GateLayer`] gates, never behind the layer. A closed gate would
/// refuse the cancel that opens it. An order that arrives as a turn of this gateway is therefore refused with 500
/// before anything is done.
///
/// A router without a verifier does not compile (E0061):
///
/// ```compile_fail,E0061
/// # let gateway = tidegate::Gateway::in_memory().start().unwrap();
/// let open_to_everybody: axum::Router = tidegate::http::drain_router(gateway);
/// ```
///
/// [TG-S5](crate::guide::verification#tg-s5)
pub fn drain_router<S>(gateway: Gateway, verifier: impl TokenVerifier) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    router(Control::new(Target::Here(gateway), verifier))
}

/// The same routes for a gateway in another process on the same home: for a control plane beside it.
///
/// It answers from the status of the running gateway: `draining: true` if that gateway reports it. It answers
/// `pending: true` if no running gateway has reported it within five seconds.
pub fn drain_router_for<S>(home: Home, verifier: impl TokenVerifier) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    router(Control::new(Target::Apart(home), verifier))
}

fn router<S: Clone + Send + Sync + 'static>(control: Control) -> Router<S> {
    Router::new()
        .route(DRAIN_PATH, post(control::drain).fallback(no_such_method))
        .layer(DefaultBodyLimit::max(control::BODY_BYTES_MAX))
        .route(STATUS_PATH, get(status::status).fallback(no_such_method))
        .route(OPENAPI_PATH, get(openapi::openapi).fallback(no_such_method))
        .with_state(Arc::new(control))
}
