//! What is answered: JSON when it is well, `application/problem+json` with a remedy when it is not (RFC 9457).

use http_body_util::Full;
use hyper::{
    Method, Response, StatusCode,
    body::Bytes,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER},
};
use serde_json::{Map, Value};

/// Every answer is small and known whole.
pub(crate) type Reply = Response<Full<Bytes>>;

/// Seconds after which a sender should try again what could not be done.
const RETRY_SECONDS: i64 = 5;

/// A refusal, and what to do about it.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    detail: String,
    /// What only some have: so that a result of a problem stays small.
    more: Box<More>,
}

#[derive(Debug, Default)]
struct More {
    header: Option<(HeaderName, HeaderValue)>,
    members: Map<String, Value>,
}

impl Problem {
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), more: Box::default() }
    }

    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    pub fn method_not_allowed(allowed: &'static str) -> Self {
        let detail = format!("This path answers to {allowed} only.");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, detail).header(ALLOW, HeaderValue::from_static(allowed))
    }

    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail).after(RETRY_SECONDS)
    }

    /// When to try again.
    pub fn after(self, seconds: i64) -> Self {
        self.header(RETRY_AFTER, HeaderValue::from(seconds))
    }

    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.more.header = Some((name, value));
        self
    }

    /// Something more that a program can read.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.more.members.insert(name.to_owned(), value.into());
        self
    }
}

impl From<Problem> for Reply {
    fn from(problem: Problem) -> Self {
        let More { header, members: mut body } = *problem.more;
        body.insert("type".into(), "about:blank".into());
        body.insert("title".into(), problem.status.canonical_reason().unwrap_or("Error").into());
        body.insert("status".into(), problem.status.as_u16().into());
        body.insert("detail".into(), problem.detail.into());
        let mut reply = json(problem.status, Value::Object(body).to_string());
        reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some((name, value)) = header {
            reply.headers_mut().insert(name, value);
        }
        reply
    }
}

/// Refuses a method that a path does not answer to.
pub(crate) fn only(method: &Method, names: &'static str, allowed: &[Method]) -> Result<(), Problem> {
    if allowed.contains(method) { Ok(()) } else { Err(Problem::method_not_allowed(names)) }
}

pub(crate) fn json(status: StatusCode, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}
