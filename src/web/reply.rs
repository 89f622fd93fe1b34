//! What is answered to an event, and to a probe.

use bursar_jobs::inbox::Received;
use hyper::StatusCode;

use crate::http::reply::{Problem, Reply, json};

/// The answer to a stored event, or to one that must not be acknowledged. `acted_on`: whether a job acts on its type.
pub(super) fn received(status: StatusCode, received: Received, acted_on: bool) -> Result<Reply, Problem> {
    let body = match (received, acted_on) {
        (Received::New, true) => r#"{"received":true}"#,
        (Received::New, false) => r#"{"received":true,"acted_on":false}"#,
        (Received::Duplicate, true) => r#"{"received":true,"duplicate":true}"#,
        (Received::Duplicate, false) => r#"{"received":true,"duplicate":true,"acted_on":false}"#,
        (Received::Conflict, _) => {
            let detail = "Another body was received under this id before: give every event an id of its own.";
            return Err(Problem::new(StatusCode::CONFLICT, detail));
        }
    };
    Ok(json(status, body))
}

pub(super) fn well() -> Reply {
    json(StatusCode::OK, r#"{"status":"ok"}"#)
}
