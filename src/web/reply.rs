//! What is answered: JSON when it is well, `application/problem+json` with a remedy when it is not (RFC 9457).

use bursar_jobs::inbox::Received;
use http_body_util::Full;
use hyper::{
    Response, StatusCode,
    body::Bytes,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER},
};

/// Every answer is small and known whole.
pub(super) type Reply = Response<Full<Bytes>>;

/// Seconds after which a sender should try again what could not be stored.
const RETRY_SECONDS: &str = "5";

/// A refusal, and what to do about it.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    detail: String,
    header: Option<(hyper::header::HeaderName, &'static str)>,
}

impl Problem {
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), header: None }
    }

    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    pub fn method_not_allowed(allowed: &'static str) -> Self {
        let detail = format!("This path answers to {allowed} only.");
        Self { header: Some((ALLOW, allowed)), ..Self::new(StatusCode::METHOD_NOT_ALLOWED, detail) }
    }

    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self { header: Some((RETRY_AFTER, RETRY_SECONDS)), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, detail) }
    }
}

impl From<Problem> for Reply {
    fn from(problem: Problem) -> Self {
        let body = serde_json::json!({
            "type": "about:blank",
            "title": problem.status.canonical_reason().unwrap_or("Error"),
            "status": problem.status.as_u16(),
            "detail": problem.detail,
        });
        let mut reply = json(problem.status, body.to_string());
        reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some((name, value)) = problem.header {
            reply.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        reply
    }
}

/// The event is on disk.
/// The answer to a stored event, or to one that must not be acknowledged.
pub(super) fn received(status: StatusCode, received: Received) -> Result<Reply, Problem> {
    let body = match received {
        Received::New => r#"{"received":true}"#,
        Received::Duplicate => r#"{"received":true,"duplicate":true}"#,
        Received::Conflict => {
            let detail = "Another body was received under this id before: give every event an id of its own.";
            return Err(Problem::new(StatusCode::CONFLICT, detail));
        }
    };
    Ok(json(status, body))
}

pub(super) fn well() -> Reply {
    json(StatusCode::OK, r#"{"status":"ok"}"#)
}

fn json(status: StatusCode, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}
