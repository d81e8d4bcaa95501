//! The paths of the routes, and the answer to a method that a route does not have.

use axum::extract::Request;
use axum::http::StatusCode;

use super::reply::Failure;

pub(super) const DRAIN_PATH: &str = "/api/gateway/drain";
pub(super) const STATUS_PATH: &str = "/api/status";
pub(super) const OPENAPI_PATH: &str = "/api/gateway/openapi.json";

pub(super) async fn no_such_method(request: Request) -> Failure {
    let (path, method) = (request.uri().path(), request.method());
    let detail = format!("{path} does not accept {method}: use a method from the Allow header");
    Failure::new(StatusCode::METHOD_NOT_ALLOWED, "no_such_method", detail)
}
