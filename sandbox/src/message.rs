//! What comes in and what goes out, without the HTTP around it.

use serde_json::{Value, json};

use super::{
    failure::Failure,
    idempotency::{Key, Saved},
    params,
};

/// A request, read whole.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// `GET`, `POST` or `DELETE`.
    pub method: String,
    /// Without the query.
    pub path: String,
    /// Without the question mark.
    pub query: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// As it came.
    pub body: Vec<u8>,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The media type of the body.
    pub content_type: &'static str,
    /// Beside the media type and the length.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: String,
}

/// What happens to an answer on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It arrives.
    Arrives,
    /// It arrives late; until then the key is in flight, and the world is to be told when it landed.
    Late {
        /// How late.
        ms: u64,
        /// The request's key.
        key: Option<Key>,
    },
    /// The connection is closed instead.
    Lost,
    /// The connection is reset instead.
    Reset,
    /// The connection is closed in the middle of the body.
    Truncated,
}

/// An answer and its fate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The answer.
    pub response: Response,
    /// Whether and how it arrives.
    pub fate: Fate,
}

impl Request {
    /// A header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The decoded fields of the query and the body.
    pub(super) fn fields(&self) -> Vec<(String, String)> {
        let mut fields = params::decode(self.query.as_bytes());
        fields.extend(params::decode(&self.body));
        fields
    }
}

impl Response {
    /// An answer of JSON.
    pub(super) fn json(status: u16, body: &Value) -> Self {
        // Stripe's own layout; whoever reads a log of it is thankful.
        let body = serde_json::to_string_pretty(body).unwrap_or_else(|_| json!({}).to_string());
        Self { status, content_type: "application/json", headers: Vec::new(), body }
    }

    pub(super) fn html(body: String) -> Self {
        Self { status: 200, content_type: "text/html; charset=utf-8", headers: Vec::new(), body }
    }

    pub(super) fn replayed(saved: Saved, key: &Key) -> Self {
        let mut headers = vec![("Idempotent-Replayed", "true".to_owned())];
        headers.extend(saved.headers(key));
        Self { status: saved.status, content_type: "application/json", headers, body: saved.body }
    }
}

impl From<Failure> for Response {
    fn from(failure: Failure) -> Self {
        let mut response = Self::json(failure.status, &json!({ "error": failure.body() }));
        if failure.status == 401 {
            response.headers.push(("WWW-Authenticate", r#"Basic realm="Stripe""#.to_owned()));
        }
        response
    }
}
