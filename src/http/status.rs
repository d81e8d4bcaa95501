//! What is told to whoever asks: the status, whether the process is alive, and whether it takes new
//! work. All of it is derived from one reading, by the same functions that the files' readers use.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::Response;
use axum::routing::get;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::audit;
use super::control::Control;
use super::reply::{Failure, Problem, json};
use crate::gate::word::InFlight;
use crate::gateway::Gateway;
use crate::status::Reading;

/// The status: the original's fields first, under its names, then ours. What only a status file of
/// this library says is null where the original wrote it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct StatusReply {
    /// Of this library.
    version: &'static str,
    /// A gateway is alive.
    gateway_running: bool,
    /// `starting`, `running`, `draining` or `stopped`; null where nothing is known.
    #[schema(required)]
    gateway_state: Option<String>,
    /// The original's; empty here.
    #[schema(value_type = Object)]
    gateway_platforms: Option<Box<RawValue>>,
    /// Why a shutdown began.
    #[schema(required)]
    gateway_exit_reason: Option<String>,
    /// When this was so.
    #[schema(required)]
    gateway_updated_at: Option<String>,
    /// Its process.
    #[schema(required)]
    gateway_pid: Option<u32>,
    /// Turns in flight, of all origins; null where it is not known, which is not idle.
    #[schema(required)]
    active_agents: Option<u64>,
    /// Drainable and at work. False while draining: ask `idle`.
    gateway_busy: bool,
    /// It makes sense to ask for a drain: alive and running.
    gateway_drainable: bool,
    /// `starting`, `running`, `externally_draining`, `shutting_down` or `stopped`.
    #[schema(required)]
    lifecycle: Option<String>,
    /// The gate is closed and nothing is in flight: a reading, which internal work may undo.
    idle: bool,
    /// Idle and sealed: a promise to the holders that asked for it.
    quiesced: bool,
    /// The time since boot, in milliseconds, before which it stays so; null promises no time.
    #[schema(required)]
    quiesced_until: Option<u64>,
    /// Rises with each close.
    #[schema(required)]
    generation: Option<u64>,
    /// The identity of the gateway's process.
    #[schema(required)]
    incarnation: Option<String>,
    /// Rises with each published status of this incarnation.
    #[schema(required)]
    sequence: Option<u64>,
    /// Turns in flight, by origin.
    #[schema(required)]
    in_flight: Option<InFlight>,
    /// A new user turn would be admitted.
    ready: bool,
    /// What is wanted: `running`, `draining` or `stopped`.
    #[schema(required)]
    desired_state: Option<String>,
    #[serde(flatten)]
    within: Option<Within>,
}

/// What is told only to whoever has a token: who asks for the drain, and what it waits for.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Within {
    /// Who asks for the drain in force.
    #[schema(value_type = Option<Vec<Object>>)]
    holders: Option<Box<RawValue>>,
    /// Work in flight that was admitted with a label, the oldest first.
    #[schema(value_type = Option<Vec<Object>>)]
    active_work: Option<Box<RawValue>>,
    /// What is not as it should be.
    #[schema(value_type = Option<Vec<Object>>)]
    degraded: Option<Box<RawValue>>,
}

impl StatusReply {
    // Property: TG-S8 status_is_faithful. Every field is the reading's, or derived from it.
    fn of(reading: &Reading, authenticated: bool) -> StatusReply {
        let body = reading.body();
        let alive = reading.is_alive();
        // What a dead gateway wrote is history: it stopped, whatever it was at (U41).
        let state = if alive { reading.gateway_state() } else { Some("stopped".to_owned()) };
        StatusReply {
            version: env!("CARGO_PKG_VERSION"),
            gateway_running: alive,
            gateway_state: state,
            gateway_platforms: body.read("platforms").filter(|_| alive).or_else(|| raw("{}")),
            gateway_exit_reason: body.read("exit_reason"),
            gateway_updated_at: body.read("updated_at"),
            gateway_pid: body.read("pid").filter(|_| alive),
            active_agents: reading.active_agents().filter(|_| alive),
            gateway_busy: reading.is_busy(),
            gateway_drainable: reading.is_drainable(),
            lifecycle: body.read("lifecycle"),
            idle: reading.is_idle(),
            quiesced: reading.is_quiesced(),
            quiesced_until: body.read("quiesced_until").filter(|_| reading.is_quiesced()),
            generation: body.read("generation"),
            incarnation: body.read("incarnation"),
            sequence: body.read("sequence"),
            in_flight: body.read("in_flight").filter(|_| alive),
            ready: reading.is_ready(),
            desired_state: body.read("desired_state"),
            within: authenticated.then(|| Within {
                holders: body.read("holders"),
                active_work: body.read("active_work"),
                degraded: body.read("degraded"),
            }),
        }
    }
}

fn raw(text: &str) -> Option<Box<RawValue>> {
    RawValue::from_string(text.to_owned()).ok()
}

/// How the gateway stands. Without a token, without saying who asks and what is at work.
#[utoipa::path(
    get,
    path = "/api/status",
    operation_id = "status",
    responses(
        (status = 200, description = "How it stands", body = StatusReply),
        (status = 401, description = "A token was given that is nobody's", body = Problem,
            headers(("WWW-Authenticate" = String))),
        (status = 503, description = "Not known just now", body = Problem,
            headers(("Retry-After" = String))),
        (status = 504, description = "The home's disk takes too long", body = Problem),
    ),
    security((), ("bearer" = [])),
    tag = "status"
)]
pub(super) async fn status(
    State(control): State<Arc<Control>>,
    request: Request,
) -> Result<Response, Failure> {
    let headers = request.headers();
    let given = headers.contains_key(header::AUTHORIZATION);
    if given {
        control.authenticate(headers, audit::peer(request.extensions())).await?;
    }
    let reading = control.reading(given).await?;
    Ok(json(StatusCode::OK, &StatusReply::of(&reading, given)))
}

/// For whoever balances load and restarts what is dead: `GET /healthz` is 200 as long as the process
/// answers, also while it drains; `GET /readyz` is 503 from the first instant of a drain or shutdown
/// (F12). Neither needs a token, waits, takes a lock or touches a file.
///
/// Readiness says what a request that comes *now* would meet. It is no order: a drain is undone, and
/// whoever kills what is not ready kills work in flight.
pub fn health_router<S: Clone + Send + Sync + 'static>(gateway: Gateway) -> Router<S> {
    Router::new()
        .route("/healthz", get(healthz).fallback(super::no_such_method))
        .route("/readyz", get(readyz).fallback(super::no_such_method))
        .with_state(gateway)
}

/// One word, for people who look at it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Health {
    /// `alive`, `ready` or `not_ready`.
    status: &'static str,
}

/// Whether the process answers.
#[utoipa::path(
    get,
    path = "/healthz",
    operation_id = "healthz",
    responses((status = 200, description = "It does", body = Health)),
    tag = "health"
)]
pub(super) async fn healthz() -> Response {
    json(StatusCode::OK, &Health { status: "alive" })
}

/// Whether a new user turn would be admitted.
#[utoipa::path(
    get,
    path = "/readyz",
    operation_id = "readyz",
    responses(
        (status = 200, description = "It would", body = Health),
        (status = 503, description = "It would be refused: draining or shutting down", body = Health),
    ),
    tag = "health"
)]
pub(super) async fn readyz(State(gateway): State<Gateway>) -> Response {
    if gateway.is_ready() {
        json(StatusCode::OK, &Health { status: "ready" })
    } else {
        json(StatusCode::SERVICE_UNAVAILABLE, &Health { status: "not_ready" })
    }
}
