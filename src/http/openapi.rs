//! The endpoint described by itself: an OpenAPI document made from the code, field by field.

use std::sync::LazyLock;

use axum::body::Bytes;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use utoipa::openapi::RefOr;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi, ToSchema};

use super::reply::{Cancelled, Drained, json_reply, json_text};

/// An order to begin or cancel a drain. Unknown fields are ignored.
#[derive(Serialize, ToSchema)]
#[allow(dead_code, reason = "describes what is read; the reading is `order`'s")]
pub(super) struct DrainOrder {
    /// Default: `drain`.
    #[schema(nullable = false)]
    action: Option<Action>,
    /// The holder whose drain begins or is cancelled. Default: the shared marker.
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$", max_length = 64)]
    holder: Option<String>,
    /// How many seconds the request lives, unless the holder begins it again. Default: 3600.
    #[schema(minimum = 1, maximum = 31_622_400)]
    lease_s: Option<f64>,
    /// Also hold internal work, so that the gateway can be quiesced. Default: true with `wait` and without
    /// `idle_is_enough`, else false.
    hold_internal: Option<bool>,
    /// Ask the gateway not to notify its users.
    suppress_notification: Option<bool>,
    /// Wait at most this many seconds until the gateway is quiesced, and then answer. If the wait fails, the
    /// request is cancelled. Must be less than `lease_s`.
    #[schema(minimum = 0, maximum = 3600)]
    wait: Option<f64>,
    /// Wait only until nothing is in flight; internal work may start again at any time. Needs `wait`.
    idle_is_enough: Option<bool>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[allow(dead_code, reason = "see `DrainOrder`")]
pub(super) enum Action {
    Drain,
    Cancel,
}

/// The result of an order.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[allow(dead_code, reason = "describes what is answered; each is answered as itself")]
pub(super) enum Answer {
    Drained(Drained),
    Cancelled(Cancelled),
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "tidegate",
        description = "Drains a gateway, releases it again, and reports its status."
    ),
    paths(
        super::control::drain,
        super::status::status,
        super::status::healthz,
        super::status::readyz,
        openapi
    ),
    modifiers(&Rest)
)]
struct Document;

/// What the code does not tell by its types.
struct Rest;

impl Modify for Rest {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        // A drain is ordered without a body, too.
        let drain = document.paths.paths.get_mut(super::DRAIN_PATH);
        let drain = drain.and_then(|path| path.post.as_mut());
        let body = drain.and_then(|operation| operation.request_body.as_mut());
        if let Some(RefOr::T(body)) = body {
            body.required = None;
        }
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        document
            .components
            .get_or_insert_default()
            .add_security_scheme("bearer", SecurityScheme::Http(bearer));
    }
}

/// The OpenAPI document of [`drain_router`](super::drain_router) and
/// [`health_router`](super::health_router), for an author who serves one document of his own.
#[must_use]
pub fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

/// This document.
#[utoipa::path(
    get,
    path = "/api/gateway/openapi.json",
    operation_id = "openapi",
    responses((status = 200, description = "The OpenAPI document", body = Object)),
    tag = "status"
)]
pub(super) async fn openapi() -> Response {
    // Made once, and its bytes shared: a client that asks for it a thousand times and reads none costs no more
    // than one.
    static WRITTEN: LazyLock<Bytes> = LazyLock::new(|| json_text(&document()).into());
    json_reply(StatusCode::OK, WRITTEN.clone())
}
