//! The status, whether the process is alive, and whether it takes new work. The status is derived from one reading,
//! by the same functions that readers of the files use.

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
use super::routes::no_such_method;
use crate::gate::word::InFlight;
use crate::gateway::Gateway;
use crate::status::Reading;

/// The status. The first fields have the names of the original implementation. Fields that only this library
/// writes are null if the original wrote the status file.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct StatusReply {
    /// The version of this library.
    version: &'static str,
    /// Whether a gateway is running.
    gateway_running: bool,
    /// `starting`, `running`, `draining` or `stopped`. Null if it is not known.
    #[schema(required)]
    gateway_state: Option<String>,
    /// The chat platforms of the original implementation. Empty for a gateway of this library.
    #[schema(value_type = Object)]
    gateway_platforms: Option<Box<RawValue>>,
    /// Why the shutdown began. Null before a shutdown.
    #[schema(required)]
    gateway_exit_reason: Option<String>,
    /// When this status was taken.
    #[schema(required)]
    gateway_updated_at: Option<String>,
    /// The gateway's process id. Null if no gateway is running.
    #[schema(required)]
    gateway_pid: Option<u32>,
    /// Turns in flight, of all origins. Null if it is not known, which does not mean idle.
    #[schema(required)]
    active_agents: Option<u64>,
    /// Whether the gateway is drainable and has turns in flight, or an unknown number of them. False while draining:
    /// read `idle` then.
    gateway_busy: bool,
    /// Whether a drain can begin: the gateway is running and not draining.
    gateway_drainable: bool,
    /// `starting`, `running`, `externally_draining`, `shutting_down` or `stopped`.
    #[schema(required)]
    lifecycle: Option<String>,
    /// Whether the gate is closed and nothing is in flight. Internal work may start again at any time.
    idle: bool,
    /// Whether the gateway is idle and admits nothing at all: a promise to the holders that asked for it.
    quiesced: bool,
    /// The time since boot, in milliseconds, until which the gateway stays quiesced. Null if no end time is promised.
    #[schema(required)]
    quiesced_until: Option<u64>,
    /// A number that increases each time the gate closes.
    #[schema(required)]
    generation: Option<u64>,
    /// The identity of the gateway's process.
    #[schema(required)]
    incarnation: Option<String>,
    /// A number that increases with each status that this incarnation publishes.
    #[schema(required)]
    sequence: Option<u64>,
    /// Turns in flight, by origin.
    #[schema(required)]
    in_flight: Option<InFlight>,
    /// Whether a new user turn would be admitted.
    ready: bool,
    /// The desired state: `running`, `draining` or `stopped`.
    #[schema(required)]
    desired_state: Option<String>,
    #[serde(flatten)]
    within: Option<StatusDetails>,
}

/// Fields only for callers with a token: who holds the drain, and what it waits for.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct StatusDetails {
    /// The holders of the current drain.
    #[schema(value_type = Option<Vec<Object>>)]
    holders: Option<Box<RawValue>>,
    /// Work in flight that was admitted with a label, the oldest first.
    #[schema(value_type = Option<Vec<Object>>)]
    active_work: Option<Box<RawValue>>,
    /// The current problems.
    #[schema(value_type = Option<Vec<Object>>)]
    degraded: Option<Box<RawValue>>,
}

impl StatusReply {
    // Property: TG-S8 status_is_faithful. Every field is the reading's, or derived from it.
    fn of(reading: &Reading, authenticated: bool) -> StatusReply {
        let body = reading.body();
        let alive = reading.is_alive();
        // A dead gateway's last status is history: it has stopped, whatever state it reported (U41).
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
            within: authenticated.then(|| StatusDetails {
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

/// The status of the gateway. Without a token, it leaves out who holds the drain and what is in flight.
#[utoipa::path(
    get,
    path = "/api/status",
    operation_id = "status",
    responses(
        (status = 200, description = "The status", body = StatusReply),
        (status = 401, description = "The token is not valid", body = Problem,
            headers(("WWW-Authenticate" = String))),
        (status = 503, description = "The status cannot be read at the moment", body = Problem,
            headers(("Retry-After" = String))),
        (status = 504, description = "The home's disk did not answer in time", body = Problem),
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

/// The routes for load balancers and supervisors.
///
/// * `GET /healthz` is 200 as long as the process answers, also while it drains.
/// * `GET /readyz` is 503 from the first instant of a drain or shutdown.
///
/// Neither needs a token, waits, takes a lock or touches a file.
///
/// Readiness says only whether a request that arrives *now* would be admitted. It is not a reason to kill the
/// process: a drain can be cancelled. A supervisor that kills a process that is not ready kills work in flight.
///
/// [F12](crate::guide::requirements#f12)
pub fn health_router<S: Clone + Send + Sync + 'static>(gateway: Gateway) -> Router<S> {
    Router::new()
        .route("/healthz", get(healthz).fallback(no_such_method))
        .route("/readyz", get(readyz).fallback(no_such_method))
        .with_state(gateway)
}

/// The health, as one word.
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
    responses((status = 200, description = "The process answers", body = Health)),
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
        (status = 200, description = "A new user turn would be admitted", body = Health),
        (status = 503, description = "A new user turn would be refused: the gateway drains or shuts down", body = Health),
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
