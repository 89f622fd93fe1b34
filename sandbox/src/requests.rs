//! Every request that was received, for the tests that judge what a client sends.

use std::collections::VecDeque;

use serde_json::{Map, Value, json};

use super::{
    faults::Kind,
    params,
    world::{Fate, Reply, Request},
};

/// A bound; a test that sends more reads in between.
const KEPT: usize = 20_000;

/// The last requests, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Requests(VecDeque<Value>);

impl Requests {
    pub fn record(&mut self, now: i64, id: &str, request: &Request, reply: &Reply, fault: Option<Kind>) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        let fields = |form: &[u8]| -> Map<String, Value> {
            params::decode(form).into_iter().map(|(name, value)| (name, json!(value))).collect()
        };
        let replayed = reply.response.headers.iter().any(|(name, _)| *name == "Idempotent-Replayed");
        self.0.push_back(json!({
            "request_id": id,
            "at": now,
            "method": request.method,
            "path": request.path,
            "query": fields(request.query.as_bytes()),
            "form": fields(&request.body),
            "idempotency_key": request.header("idempotency-key"),
            "stripe_version": request.header("stripe-version"),
            "stripe_account": request.header("stripe-account"),
            "content_type": request.header("content-type"),
            // What was answered, whether or not it arrived.
            "status": reply.response.status,
            "replayed": replayed,
            "answered": matches!(reply.fate, Fate::Arrives | Fate::Late { .. }),
            "fault": fault,
        }));
    }

    pub fn all(&self) -> impl Iterator<Item = &Value> {
        self.0.iter()
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }
}
