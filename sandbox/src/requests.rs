//! Every request that was received, for the tests that judge what a client sends.

use std::collections::VecDeque;

use serde_json::{Map, Value, json};

use super::{
    faults::Kind,
    message::{Fate, Reply, Request},
    params,
};

/// A bound; a test that sends more reads in between.
const KEPT: usize = 20_000;

/// The last requests, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Requests {
    all: VecDeque<Value>,
    /// Those that Stripe does not know, whatever was answered; also kept when the rest is cleared.
    strange: Vec<(String, String)>,
}

impl Requests {
    /// `strange` is what Stripe does not know of it.
    pub fn record(
        &mut self,
        now: i64,
        id: &str,
        request: &Request,
        reply: &Reply,
        fault: Option<Kind>,
        strange: Option<String>,
    ) {
        if self.all.len() == KEPT {
            self.all.pop_front();
        }
        let fields = |form: &[u8]| -> Map<String, Value> {
            params::decode(form).into_iter().map(|(name, value)| (name, json!(value))).collect()
        };
        let replayed = reply.response.headers.iter().any(|(name, _)| *name == "Idempotent-Replayed");
        self.all.push_back(json!({
            "request_id": id,
            "at": now,
            "method": request.method,
            "path": request.path,
            "query": fields(request.query.as_bytes()),
            "form": fields(&request.body),
            "idempotency_key": request.header("idempotency-key"),
            "stripe_version": request.header("stripe-version"),
            "stripe_account": request.header("stripe-account"),
            "user_agent": request.header("user-agent"),
            "content_type": request.header("content-type"),
            // What was answered, whether or not it arrived.
            "status": reply.response.status,
            "replayed": replayed,
            "answered": matches!(reply.fate, Fate::Arrives | Fate::Late { .. }),
            "fault": fault,
            // Whether Stripe has no such path or parameter: what a client must never send.
            "refused_unknown": strange,
        }));
        if let Some(strange) = strange.filter(|_| self.strange.len() < KEPT) {
            self.strange.push((request.header("user-agent").unwrap_or_default().to_owned(), strange));
        }
    }

    pub fn all(&self) -> impl Iterator<Item = &Value> {
        self.all.iter()
    }

    pub fn clear(&mut self) {
        self.all.clear();
    }

    /// What a client has sent that Stripe does not know, by how its name begins.
    pub fn strange_of(&self, agent: &str) -> Vec<String> {
        let from = |(of, _): &&(String, String)| of.starts_with(agent);
        self.strange.iter().filter(from).map(|(_, strange)| strange.clone()).collect()
    }
}
