//! The answer to a refused request, in the protocol of the request. From its headers, a client and a load balancer
//! learn what to do. This module refuses nothing: the gate does.

use std::fmt::Write;
use std::sync::LazyLock;
use std::time::Duration;

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version, header,
};
use serde::Serialize;

use crate::gate::Refused;
use crate::gate::word::RefusalReason;

/// When a refused client is asked to try again.
#[derive(Clone, Debug)]
pub(super) struct RetryAfter {
    seconds: HeaderValue,
    milliseconds: HeaderValue,
}

impl RetryAfter {
    /// Rounds up, and never gives 0: a client that reads 0 comes back at once.
    pub(super) fn new(after: Duration) -> RetryAfter {
        let seconds = after.as_secs().saturating_add(u64::from(after.subsec_nanos() > 0)).max(1);
        let milliseconds = u64::try_from(after.as_millis()).unwrap_or(u64::MAX).max(1);
        RetryAfter {
            seconds: HeaderValue::from(seconds),
            milliseconds: HeaderValue::from(milliseconds),
        }
    }
}

/// The protocol of the answer to a refused request.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Protocol {
    /// A problem document (RFC 9457).
    Problem,
    /// Plain text, for a client that accepts nothing else.
    PlainText,
    /// gRPC or gRPC-web: a status in the headers, and no body. The value is the request's content type.
    Grpc(HeaderValue),
}

impl Protocol {
    fn of(headers: &HeaderMap) -> Protocol {
        if let Some(content_type) = headers.get(header::CONTENT_TYPE)
            && is_grpc(content_type.as_bytes())
        {
            return Protocol::Grpc(content_type.clone());
        }
        if accepts_only_text(headers) { Protocol::PlainText } else { Protocol::Problem }
    }
}

/// The answer to a refused request.
pub(super) fn refuse(parts: &Parts, refused: Refused, retry_after: &RetryAfter) -> Response<Body> {
    let protocol = Protocol::of(&parts.headers);
    let text = match protocol {
        Protocol::Problem => Some(problem(refused)),
        Protocol::PlainText => Some(format!("{refused}\n")),
        Protocol::Grpc(_) => None,
    };
    let length = text.as_ref().map(String::len);
    // Over HTTP/2, a body in the answer to HEAD is an error.
    let is_head = parts.method == Method::HEAD;
    let body = text.filter(|_| !is_head).map_or_else(Body::empty, Body::from);
    let mut reply = Response::new(body);
    let status = match protocol {
        Protocol::Grpc(_) => StatusCode::OK,
        Protocol::Problem | Protocol::PlainText => StatusCode::SERVICE_UNAVAILABLE,
    };
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.reserve(6);
    if let Some(length) = length.filter(|_| is_head) {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if parts.version < Version::HTTP_2 {
        // A client that keeps its connection must connect again, and can go elsewhere.
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    let content_type = match protocol {
        Protocol::Problem => HeaderValue::from_static("application/problem+json"),
        Protocol::PlainText => HeaderValue::from_static("text/plain; charset=utf-8"),
        Protocol::Grpc(content_type) => {
            headers.insert(GRPC_STATUS, HeaderValue::from_static(UNAVAILABLE));
            headers.insert(GRPC_MESSAGE, grpc_message(refused));
            headers.insert(GRPC_PUSHBACK, retry_after.milliseconds.clone());
            headers.insert(header::CONTENT_TYPE, content_type);
            return reply;
        }
    };
    headers.insert(header::CONTENT_TYPE, content_type);
    headers.insert(header::RETRY_AFTER, retry_after.seconds.clone());
    reply
}

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC_PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");

/// The only status that retry policies retry.
const UNAVAILABLE: &str = "14";

/// Whether this is a content type of gRPC or gRPC-web, with any encoding.
fn is_grpc(content_type: &[u8]) -> bool {
    const GRPC: &[u8] = b"application/grpc";
    let Some((start, rest)) = content_type.split_at_checked(GRPC.len()) else { return false };
    start.eq_ignore_ascii_case(GRPC)
        && rest.first().is_none_or(|next| matches!(next, b'+' | b'-' | b';' | b' '))
}

/// The refusal as text, percent-encoded as gRPC requires.
fn grpc_message(refused: Refused) -> HeaderValue {
    let mut text = String::new();
    for byte in refused.to_string().bytes() {
        if matches!(byte, b' '..=b'~') && byte != b'%' {
            text.push(char::from(byte));
        } else {
            // Writing to a string never fails.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    // The text is printable ASCII, which is always a valid header value.
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("unavailable"))
}

/// Whether the client accepts plain text and no JSON.
fn accepts_only_text(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT).iter();
    let ranges = values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    let (mut text, mut json) = (false, false);
    for range in ranges {
        let mut fields = range.split(';').map(str::trim);
        let media = fields.next().unwrap_or_default().to_ascii_lowercase();
        let quality = fields
            .filter_map(|field| field.split_once('='))
            .find(|(name, _)| name.trim().eq_ignore_ascii_case("q"))
            .map_or(Ok(1.0), |(_, quality)| quality.trim().parse::<f32>());
        if quality.is_ok_and(|quality| quality <= 0.0) {
            continue;
        }
        match &*media {
            "text/plain" | "text/*" => text = true,
            "*/*" | "application/*" | "application/json" | "application/problem+json" => {
                json = true;
            }
            _ => {}
        }
    }
    text && !json
}

/// The problem document (RFC 9457) of a refusal. Everything except the generation is serialized once, since a drain
/// refuses many requests.
fn problem(refused: Refused) -> String {
    #[derive(Serialize)]
    struct ProblemDocument<'a> {
        r#type: &'a str,
        title: &'a str,
        status: u16,
        detail: &'a str,
        reason: &'a str,
    }
    static WRITTEN: LazyLock<[(RefusalReason, String); 4]> = LazyLock::new(|| {
        RefusalReason::ALL.map(|reason| {
            let document = ProblemDocument {
                r#type: "about:blank",
                title: "Service Unavailable",
                status: StatusCode::SERVICE_UNAVAILABLE.as_u16(),
                detail: &reason.to_string(),
                reason: reason.as_str(),
            };
            // Strings and numbers always serialize, and an object ends in a brace.
            let text = serde_json::to_string(&document).unwrap_or_default();
            (reason, text.trim_end_matches('}').to_owned())
        })
    });
    const REST: &str = ",\"generation\":";
    const GENERATION_MAX: usize = 20;
    let written = WRITTEN.iter().find(|(reason, _)| *reason == refused.reason);
    let written = written.map(|(_, text)| text.as_str()).unwrap_or_default();
    let mut text = String::with_capacity(written.len() + REST.len() + GENERATION_MAX + 1);
    text.push_str(written);
    text.push_str(REST);
    // Writing to a string never fails.
    let _ = write!(text, "{}}}", refused.generation);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(values: &[&'static str]) -> bool {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::ACCEPT, HeaderValue::from_static(value));
        }
        accepts_only_text(&headers)
    }

    #[test]
    fn plain_text_is_for_clients_that_accept_nothing_else() {
        for text in [
            &["text/plain"][..],
            &["text/*"],
            &["Text/Plain; q=0.5, text/html"],
            &["text/html", "text/plain"],
            &["text/plain, application/json;q=0"],
            &["text/plain,*/*;q=0.0"],
        ] {
            assert!(accepts(text), "{text:?}");
        }
        for json in [
            &[][..],
            &[""],
            &["*/*"],
            &["text/html"],
            &["text/plain, */*;q=0.1"],
            &["text/plain;q=0"],
            &["text/plain", "application/json"],
            &["application/grpc"],
            &["text/plain, application/*"],
        ] {
            assert!(!accepts(json), "{json:?}");
        }
    }

    #[test]
    fn grpc_is_known_by_its_content_type() {
        for grpc in [
            "application/grpc",
            "application/grpc+proto",
            "Application/gRPC-Web-Text+proto",
            "application/grpc;charset=utf-8",
            "application/grpc-web",
        ] {
            assert!(is_grpc(grpc.as_bytes()), "{grpc}");
        }
        for other in ["application/grpcx", "application/json", "", "application/grp"] {
            assert!(!is_grpc(other.as_bytes()), "{other}");
        }
    }
}
