//! What is answered to an event, and to a probe.

use bursar_jobs::inbox::Received;
use hyper::StatusCode;

use crate::http::reply::{Problem, Reply, json};

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
