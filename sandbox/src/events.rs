//! Events: one for every change, with the whole object, kept and sent to whoever registered.

use serde_json::{Value, json};

use super::{
    store::{number, text},
    view,
    world::{API_VERSION, World},
};

/// Seconds that Stripe keeps an event: 30 days.
const KEPT: i64 = 30 * 24 * 60 * 60;

/// An event on its way to an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The event's id.
    pub event: String,
    /// Where to.
    pub url: String,
    /// What it is signed with.
    pub secret: String,
    /// The event, as JSON.
    pub body: String,
}

impl World {
    /// Something was made, or ended.
    pub(super) fn emit(&mut self, kind: &str, object: &Value) {
        self.publish(kind, object, None, None);
    }

    /// Something changed; `before` tells what.
    pub(super) fn emit_change(&mut self, kind: &str, before: &Value, after: &Value) {
        self.publish(kind, after, Some(view::difference(before, after)), None);
    }

    /// Something happened on a connected account: Connect endpoints hear of it, and the others do not.
    pub(super) fn emit_on_account(&mut self, kind: &str, object: &Value, previous: Option<Value>, account: &str) {
        self.publish(kind, object, previous, Some(account));
    }

    fn publish(&mut self, kind: &str, object: &Value, previous: Option<Value>, account: Option<&str>) {
        let endpoints: Vec<(String, String)> = self
            .store
            .all("webhook_endpoint")
            .filter(|endpoint| text(endpoint, "status") == "enabled")
            .filter(|endpoint| (endpoint.get("_connect") == Some(&json!(true))) == account.is_some())
            .filter(|endpoint| {
                let wanted = endpoint.get("enabled_events").and_then(Value::as_array);
                wanted.into_iter().flatten().any(|wanted| wanted == "*" || wanted == kind)
            })
            .map(|endpoint| (text(endpoint, "url").to_owned(), text(endpoint, "_secret").to_owned()))
            .collect();
        let mut event = json!({
            "id": self.ids.next("evt_"),
            "object": "event",
            "api_version": API_VERSION,
            "created": self.now,
            "data": { "object": view::shown(&self.store, object.clone(), &[]) },
            "livemode": false,
            "pending_webhooks": endpoints.len(),
            "request": { "id": (!self.request_id.is_empty()).then_some(&self.request_id), "idempotency_key": self.idempotency_key },
            "type": kind,
        });
        if let Some(previous) = previous {
            event["data"]["previous_attributes"] = previous;
        }
        if let Some(account) = account {
            event["account"] = json!(account);
        }
        let (id, body) = (text(&event, "id").to_owned(), event.to_string());
        self.store.insert("event", event);
        for (url, secret) in endpoints {
            self.outbox.push_back(Delivery { event: id.clone(), url, secret, body: body.clone() });
        }
    }

    /// An endpoint took an event.
    pub fn delivered(&mut self, event: &str) {
        if let Some(event) = self.store.get_mut("event", event) {
            event["pending_webhooks"] = json!(number(event, "pending_webhooks") - 1);
        }
    }

    /// Whether an event is still kept.
    pub(super) fn is_kept(&self, event: &Value) -> bool {
        number(event, "created") > self.now - KEPT
    }
}
