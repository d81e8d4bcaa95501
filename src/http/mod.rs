//! The outside, over HTTP (feature `http`): an endpoint that drains a gateway and releases it again, its
//! status and health, a layer that makes requests turns, and a server that knows when a reply has gone.
//! It decides nothing: orders are read by [`control_order`](crate::internals::control_order), what became of one is judged by
//! [`pending`](crate::pending), and the gateway owns every transition ([R11]).
//!
//! | route | what | who may |
//! |---|---|---|
//! | `POST /api/gateway/drain` | begins or cancels a drain | a token with the scope `drain` |
//! | `GET /api/status` | how the gateway stands | anybody; who asks and what is at work, with a token |
//! | `GET /api/gateway/openapi.json` | all of this, as OpenAPI | anybody |
//! | `GET /healthz` | whether the process answers | anybody |
//! | `GET /readyz` | whether it takes new work: 503 from the first instant of a drain or shutdown ([F12]) | anybody |
//!
//! An order is a JSON object, or no body at all, which orders a drain:
//!
//! | field | of | what it says |
//! |---|---|---|
//! | `action` | | `drain` (also where it is left out) or `cancel` |
//! | `holder` | both | whose request it is; the shared marker where it is left out |
//! | `lease_s` | drain | how many seconds it lives unless it is begun again: 3600 |
//! | `hold_internal` | drain | internal work is held too, so that the gateway can be quiesced |
//! | `suppress_notification` | drain | users are not told |
//! | `this_run` | drain | it ends with this run of the gateway: the next start admits again |
//! | `wait` | drain | answer once it is quiesced, within so many seconds; else the request is taken back |
//! | `idle_is_enough` | drain | of `wait`: an idle reading will do |
//!
//! A client that hangs up while it waits has its request cancelled, as soon as the server notices: hyper does
//! not where the client has sent bytes beyond its request, and then the lease ends it. One principal has 32
//! orders under way at most, and 64 named drains.
//!
//! Of principals that share a home, each by a router of its own, two may still take one free holder in the
//! same instant: let one router serve them.
//!
//! 200 says that it is done: of a drain with `wait`, that acting is safe until `safe_until`; without, that
//! the gate is closed (`draining`), or that the request is in place and no living gateway has confirmed
//! it yet (`pending`). Whatever did not come to what was ordered has another status: 400 (no order), 401,
//! 403, 409 (lost, timed out, or the gateway is going down), 429 (too many of one principal), 500 (of a
//! cancel: the drain stays on). Each is a JSON object with `error`, for programs, and `detail`, for people.
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
//! // Beside the gated routes, and not behind the gate.
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

/// Drains this process's gateway and says how it stands: see the [module](self).
///
/// An order is written to the home, reconciled, and only then answered, so `draining: true` means that
/// the gate is closed. Blocking work is done off tokio's workers.
///
/// Merge it beside the routes that a [`GateLayer`] gates, and never behind the layer: a closed gate would
/// refuse the very cancel that opens it. An order that arrives as a turn of this gateway is therefore refused,
/// with 500, before anything is done.
///
/// Without a verifier there is no router (E0061):
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

/// The same for a gateway in another process, through the home it lives on: for a control plane beside
/// it. What it says is what a living gateway has published: `draining: true` comes from there, and
/// `pending: true` where it has not come within five seconds, or there is no living gateway.
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
