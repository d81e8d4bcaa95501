//! The OpenAPI document of the endpoint, made from the code field by field.

use std::sync::LazyLock;

use axum::body::Bytes;
use axum::http::StatusCode;
use axum::response::Response;
use utoipa::openapi::RefOr;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::reply::{json_reply, json_text};
use super::routes::DRAIN_PATH;

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
    modifiers(&DocumentExtras)
)]
struct Document;

/// Adds what the types of the code do not show.
struct DocumentExtras;

impl Modify for DocumentExtras {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        // A drain can be ordered without a body too.
        let drain = document.paths.paths.get_mut(DRAIN_PATH);
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

/// Returns the OpenAPI document of [`drain_router`](super::drain_router) and
/// [`health_router`](super::health_router), for authors that serve their own document.
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
    // Made once, and its bytes are shared. A client that requests it a thousand times and reads nothing costs no more
    // memory than one document.
    static WRITTEN: LazyLock<Bytes> = LazyLock::new(|| json_text(&document()).into());
    json_reply(StatusCode::OK, WRITTEN.clone())
}
