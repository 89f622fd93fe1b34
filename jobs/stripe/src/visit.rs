//! One look at a page of our own, as strangers reach it from outside.

use std::time::Duration;

use http_body_util::Full;
use hyper::{Uri, body::Bytes, header::USER_AGENT};

use crate::{answer::Lost, transport::Transport};

/// Bytes of a page that are read.
const BODY_LIMIT: usize = 64 * 1024;

/// What came of a visit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Visit {
    /// An answer: its status and its text. A redirect is one like any other, and is not followed: Stripe does not either.
    Answered(u16, String),
    /// Nobody answered, and why.
    Unanswered(String),
}

/// Asks for `{base}{path}` once.
pub async fn visit(base: &str, path: &str, limit: Duration) -> Visit {
    let Ok(uri) = format!("{}{path}", base.trim_end_matches('/')).parse::<Uri>() else {
        return Visit::Unanswered("it is no URL".into());
    };
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Visit::Unanswered("it is no http:// or https:// URL".into());
    }
    let transport = match Transport::new(true, BODY_LIMIT) {
        Ok(transport) => transport,
        Err(error) => return Visit::Unanswered(format!("TLS cannot be set up: {error}")),
    };
    let request = hyper::Request::builder()
        .uri(uri)
        .header(USER_AGENT, concat!("bursar/", env!("CARGO_PKG_VERSION")))
        .body(Full::new(Bytes::new()));
    let Ok(request) = request else { return Visit::Unanswered("it is no URL that can be asked for".into()) };
    match transport.exchange(request, limit).await {
        Ok(answer) => {
            let text = answer.body.map_or_else(
                |lost: Lost| lost.to_string(),
                |body| String::from_utf8_lossy(&body).trim().chars().take(200).collect(),
            );
            Visit::Answered(answer.status, text)
        }
        Err(lost) => Visit::Unanswered(lost.to_string()),
    }
}
