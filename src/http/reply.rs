//! The answers of the endpoint, field by field: the fields of the original implementation under its names, and ours
//! beside them. Every answer is JSON, and every refusal says what to do. No failure has a success code, so a client
//! that checks only the status code is safe.

use std::time::Duration;

use axum::body::{Body as HttpBody, Bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::auth::Scope;
use crate::control_order::{CancelOutcome, ControlOrderError};
use crate::epoch::millis;
use crate::error::ControlError;
use crate::holder::Holder;
use crate::pending::{SafeWindow, WaitFailed};
use crate::request::Request;
use crate::text::printable_json;

/// A drain has begun, or its request is pending.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Drained {
    /// Always true: a failure is a problem with another HTTP status.
    pub(super) ok: bool,
    /// `drain`.
    pub(super) action: &'static str,
    /// When the request was made.
    #[schema(required)]
    pub(super) requested_at: Option<String>,
    /// Whether a running gateway has closed its gate for this request.
    pub(super) draining: bool,
    /// Whether the request exists and no running gateway has confirmed it yet.
    pub(super) pending: bool,
    /// Whether the gateway is asked not to notify its users.
    pub(super) suppress_notification: bool,
    /// The id of the request. Act only on a promise that names it.
    #[schema(required)]
    pub(super) request_id: Option<String>,
    /// The generation of the close of the gate that this request caused or joined. Null while pending.
    #[schema(required)]
    pub(super) generation: Option<u64>,
    /// The holder. Null for the shared marker.
    #[schema(required)]
    pub(super) holder: Option<String>,
    /// Whether internal work is held too.
    pub(super) hold_internal: bool,
    /// How many seconds the request lives, unless the holder begins it again.
    pub(super) lease_s: f64,
    /// The reason why the request is pending, for people. Absent otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
    #[serde(flatten)]
    pub(super) waited: Waited,
}

/// The result of `wait`. Without `wait`, these fields are absent.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(super) struct Waited {
    /// Whether nothing is in flight and nothing is admitted. False with `idle_is_enough`.
    #[serde(skip_serializing_if = "Option::is_none")]
    quiesced: Option<bool>,
    /// Whether nothing was in flight.
    #[serde(skip_serializing_if = "Option::is_none")]
    idle: Option<bool>,
    /// The time since boot, in milliseconds, before which it is safe to act. Absent if no end time is
    /// promised.
    #[serde(skip_serializing_if = "Option::is_none")]
    safe_until_uptime_ms: Option<u64>,
    /// The same time, in seconds from now.
    #[serde(skip_serializing_if = "Option::is_none")]
    safe_for_s: Option<f64>,
    /// The same time on the wall clock, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    safe_until: Option<String>,
}

impl Waited {
    pub(super) fn new(quiesced: bool, safe: Option<SafeWindow>) -> Waited {
        Waited {
            quiesced: Some(quiesced),
            idle: Some(true),
            safe_until_uptime_ms: safe.and_then(|safe| safe.until_uptime).map(millis),
            safe_for_s: safe.map(|safe| safe.left.as_secs_f64()),
            safe_until: safe.and_then(|safe| safe.until_text()),
        }
    }
}

impl Drained {
    /// The reply for a request that is written but not confirmed.
    pub(super) fn pending(request: &Request, holder: &Holder, lease: Duration) -> Drained {
        Drained {
            ok: true,
            action: "drain",
            requested_at: request.body().read("requested_at"),
            draining: false,
            pending: true,
            suppress_notification: request.terms().suppress_notification,
            request_id: request.request_id().map(str::to_owned),
            generation: None,
            holder: holder.name().map(str::to_owned),
            hold_internal: request.terms().hold_internal,
            // A foreign gateway may allow less.
            lease_s: request.lease().unwrap_or(lease).as_secs_f64(),
            reason: None,
            waited: Waited::default(),
        }
    }

    /// The same reply with this reason.
    pub(super) fn because(self, reason: &WaitFailed) -> Drained {
        Drained { reason: Some(reason.to_string()), ..self }
    }

    /// The reply for a request for which a running gateway has closed its gate.
    pub(super) fn confirmed(self, generation: Option<u64>) -> Drained {
        Drained { draining: true, pending: false, generation, ..self }
    }
}

/// The holder no longer asks for a drain.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Cancelled {
    /// Always true: a failure is a problem with another HTTP status.
    pub(super) ok: bool,
    /// `cancel`.
    pub(super) action: &'static str,
    /// Whether this holder had a request.
    pub(super) was_draining: bool,
}

impl Cancelled {
    /// The reply for this outcome of a cancel.
    pub(super) fn of(outcome: &Result<bool, ControlError>) -> Result<Cancelled, Failure> {
        let CancelOutcome { ok, was_draining } = CancelOutcome::of(outcome);
        // If there is no home, there is no drain.
        let was_draining = was_draining && !matches!(outcome, Err(ControlError::NoHome { .. }));
        let Err(error) = outcome else {
            return Ok(Cancelled { ok, action: "cancel", was_draining });
        };
        let code = match error {
            ControlError::NotDurable { .. } => "not_durable",
            _ => "not_cancelled",
        };
        let mut failure = Failure::new(StatusCode::INTERNAL_SERVER_ERROR, code, error.to_string());
        failure.problem.ok = Some(ok);
        failure.problem.action = Some("cancel");
        failure.problem.was_draining = Some(was_draining);
        Err(failure)
    }
}

/// Why the request failed.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(super) struct Problem {
    /// The kind of the problem, for programs.
    pub(super) error: &'static str,
    /// What is wrong and what to do, for people.
    pub(super) detail: String,
    /// False if an order was given and failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ok: Option<bool>,
    /// The action of the order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) action: Option<&'static str>,
    /// True if a cancel failed: the drain stays on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) was_draining: Option<bool>,
    /// False if the ordered drain is not in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) draining: Option<bool>,
    /// The id of the request that was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) request_id: Option<String>,
    /// Whether that request still exists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) stands: Option<bool>,
}

/// A problem with its status, and the headers that go with it.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) status: StatusCode,
    pub(super) problem: Problem,
    header: Option<Header>,
}

/// A header that goes with a problem.
#[derive(Clone, Copy, Debug)]
enum Header {
    Challenge(&'static str),
    RetryAfter(&'static str),
}

impl Failure {
    pub(super) fn new(
        status: StatusCode,
        error: &'static str,
        detail: impl Into<String>,
    ) -> Failure {
        let problem = Problem { error, detail: detail.into(), ..Problem::default() };
        Failure { status, problem, header: None }
    }

    /// The failure for no token, or for a token of no principal. In the original's words.
    pub(super) fn unauthenticated(presented: bool) -> Failure {
        let challenge = if presented {
            "Bearer realm=\"tidegate\", error=\"invalid_token\""
        } else {
            "Bearer realm=\"tidegate\""
        };
        Failure {
            header: Some(Header::Challenge(challenge)),
            ..Failure::new(StatusCode::UNAUTHORIZED, "unauthenticated", "Unauthorized")
        }
    }

    /// The failure for a principal that may not do this.
    pub(super) fn forbidden(needed: Scope, detail: impl Into<String>) -> Failure {
        let challenge = match needed {
            Scope::Drain => {
                "Bearer realm=\"tidegate\", error=\"insufficient_scope\", scope=\"drain\""
            }
            Scope::DrainAny => {
                "Bearer realm=\"tidegate\", error=\"insufficient_scope\", scope=\"drain:any\""
            }
        };
        Failure {
            header: Some(Header::Challenge(challenge)),
            ..Failure::new(StatusCode::FORBIDDEN, "insufficient_scope", detail)
        }
    }

    /// The failure if the answer is not known at the moment.
    pub(super) fn unavailable(error: &'static str, detail: impl Into<String>) -> Failure {
        Failure {
            header: Some(Header::RetryAfter("5")),
            ..Failure::new(StatusCode::SERVICE_UNAVAILABLE, error, detail)
        }
    }

    /// The failure of a drain that did not begin.
    pub(super) fn not_begun(error: &ControlError) -> Failure {
        let (status, code) = match error {
            ControlError::ShuttingDown { .. } => (StatusCode::CONFLICT, "going_down"),
            ControlError::NotDurable { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "not_durable"),
            ControlError::NoRun => (StatusCode::CONFLICT, "no_gateway"),
            ControlError::ForeignGateway { .. } => (StatusCode::CONFLICT, "other_make"),
            ControlError::Replaced { .. } => (StatusCode::CONFLICT, "drain_lost"),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "not_begun"),
        };
        let mut failure = Failure::new(status, code, error.to_string());
        failure.problem.ok = Some(false);
        failure.problem.action = Some("drain");
        if let ControlError::NotDurable { request_id, .. } = error {
            // A request that is in place but not durable still closes the gate, so `draining: false` would be wrong.
            failure.problem.request_id.clone_from(request_id);
            failure.problem.stands = Some(true);
        } else {
            failure.problem.draining = Some(false);
        }
        failure
    }

    /// The failure of a drain that began and did not reach its goal.
    pub(super) fn missed(missed: &WaitFailed, request: &Request, stands: bool) -> Failure {
        let (status, code) = match missed {
            WaitFailed::TimedOut(_) => (StatusCode::CONFLICT, "timed_out"),
            WaitFailed::Lost(_) => (StatusCode::CONFLICT, "drain_lost"),
            WaitFailed::Refused => (StatusCode::CONFLICT, "going_down"),
            WaitFailed::Gone | WaitFailed::Held { .. } => (StatusCode::CONFLICT, "no_gateway"),
            WaitFailed::ForeignGateway => (StatusCode::CONFLICT, "other_make"),
            WaitFailed::Control(_) => (StatusCode::INTERNAL_SERVER_ERROR, "unreadable"),
        };
        let rest = if stands { "the request still exists" } else { "the request no longer exists" };
        let mut failure = Failure::new(status, code, format!("{missed}; {rest}"));
        failure.problem.ok = Some(false);
        failure.problem.action = Some("drain");
        failure.problem.draining = Some(false);
        failure.problem.request_id = request.request_id().map(str::to_owned);
        failure.problem.stands = Some(stands);
        failure
    }
}

impl From<ControlOrderError> for Failure {
    fn from(bad: ControlOrderError) -> Failure {
        let code = match bad {
            ControlOrderError::Unreadable { .. } => "unreadable_body",
            ControlOrderError::UnknownAction { .. } => "unknown_action",
            _ => "invalid_field",
        };
        Failure::new(StatusCode::BAD_REQUEST, code, bad.to_string())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = json(self.status, &self.problem);
        let (name, value) = match self.header {
            None => return response,
            Some(Header::Challenge(value)) => (header::WWW_AUTHENTICATE, value),
            Some(Header::RetryAfter(value)) => (header::RETRY_AFTER, value),
        };
        response.headers_mut().insert(name, HeaderValue::from_static(value));
        response
    }
}

/// A JSON answer that no cache may store.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    json_reply(status, json_text(body).into())
}

pub(super) fn json_text(body: &impl Serialize) -> String {
    // Answers consist of strings, numbers and booleans, which always serialize.
    let text = serde_json::to_string(body).unwrap_or_default();
    // People read it in a terminal too.
    printable_json(&text).into_owned()
}

pub(super) fn json_reply(status: StatusCode, text: Bytes) -> Response {
    let mut response = Response::new(HttpBody::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
