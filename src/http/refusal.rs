//! What whoever is refused is told: a problem document (RFC 9457), with the headers by which a client and
//! a balancer know what to do. It refuses nobody: the gate does.

use std::fmt::Write;
use std::sync::LazyLock;

use axum::body::{Bytes, HttpBody};
use axum::http::{HeaderValue, Response, StatusCode, header};
use serde::Serialize;

use super::body::TurnBody;
use crate::gate::Refused;
use crate::gate::word::Denied;

/// What whoever is refused is told.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub(super) refused: Refused,
    /// Over HTTP/1: so that a client which keeps its connection goes elsewhere.
    pub(super) closes_connection: bool,
    /// To `HEAD`, which has no body: over HTTP/2 one would be an error of the protocol.
    pub(super) without_body: bool,
    pub(super) retry_after: HeaderValue,
}

impl Refusal {
    pub(super) fn reply<R: HttpBody<Data = Bytes>>(&self) -> Response<TurnBody<R>> {
        let document = document(self.refused);
        let length = document.len();
        let text = (!self.without_body).then(|| document.into());
        let mut reply = Response::new(TurnBody::of_refusal(text));
        *reply.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        let headers = reply.headers_mut();
        headers.reserve(5);
        if self.without_body {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        let json = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, json);
        headers.insert(header::RETRY_AFTER, self.retry_after.clone());
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.closes_connection {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        reply
    }
}

/// The problem document (RFC 9457) of a refusal. All but the generation is written once: under a drain
/// there are many.
fn document(refused: Refused) -> String {
    #[derive(Serialize)]
    struct Document<'a> {
        r#type: &'a str,
        title: &'a str,
        status: u16,
        detail: &'a str,
        reason: &'a str,
    }
    static WRITTEN: LazyLock<[(Denied, String); 4]> = LazyLock::new(|| {
        Denied::ALL.map(|denied| {
            let document = Document {
                r#type: "about:blank",
                title: "Service Unavailable",
                status: StatusCode::SERVICE_UNAVAILABLE.as_u16(),
                detail: &denied.to_string(),
                reason: denied.word(),
            };
            // Strings and numbers always serialize, and an object ends in a brace.
            let text = serde_json::to_string(&document).unwrap_or_default();
            (denied, text.trim_end_matches('}').to_owned())
        })
    });
    const REST: &str = ",\"generation\":";
    const GENERATION_MAX: usize = 20;
    let written = WRITTEN.iter().find(|(denied, _)| *denied == refused.denied);
    let written = written.map(|(_, text)| text.as_str()).unwrap_or_default();
    let mut text = String::with_capacity(written.len() + REST.len() + GENERATION_MAX + 1);
    text.push_str(written);
    text.push_str(REST);
    // Writing to a string never fails.
    let _ = write!(text, "{}}}", refused.generation);
    text
}
