//! Events: one for every change, with the whole object, kept and sent to whoever registered or listens.

use serde_json::{Value, json};

use super::{
    deliveries::Target,
    event_faults::Kind,
    layout::{self, API_VERSION, Links},
    store::{number, text},
    view,
    world::World,
};

/// Seconds that Stripe keeps an event: 30 days.
const KEPT: i64 = 30 * 24 * 60 * 60;

impl World {
    /// Something was made, or ended.
    pub(super) fn emit(&mut self, kind: &str, object: &Value) {
        self.publish(kind, object, None, None);
    }

    /// Something changed; `before` tells what.
    pub(super) fn emit_change(&mut self, kind: &str, before: &Value, after: &Value) {
        self.publish(kind, after, Some(&view::difference(before, after)), None);
    }

    /// Something happened on a connected account: Connect endpoints hear of it, and the others do not.
    #[expect(clippy::needless_pass_by_value, reason = "it is made for the call everywhere")]
    pub(super) fn emit_on_account(&mut self, kind: &str, object: &Value, previous: Option<Value>, account: &str) {
        self.publish(kind, object, previous.as_ref(), Some(account));
    }

    fn publish(&mut self, kind: &str, object: &Value, previous: Option<&Value>, account: Option<&str>) {
        let fault = self.event_faults.take(kind).or_else(|| self.chaos.draw_event(kind, text(object, "id")));
        let twins = if fault.as_ref().is_some_and(|fault| fault.fault == Kind::Twin) { 2 } else { 1 };
        let endpoints = self.endpoints_for(kind, account.is_some());
        for _ in 0..twins {
            let event = self.keep_event(kind, object, previous, account, &endpoints);
            let listeners: Vec<String> = self.sessions.ids().cloned().collect();
            let listeners = listeners.into_iter().map(Target::Listener);
            for target in endpoints.iter().cloned().map(Target::Endpoint).chain(listeners) {
                self.send(&event, &target, fault.as_ref());
            }
        }
    }

    /// The endpoints that want to hear of such an event.
    fn endpoints_for(&self, kind: &str, on_account: bool) -> Vec<String> {
        self.store
            .all("webhook_endpoint")
            .filter(|endpoint| text(endpoint, "status") == "enabled")
            .filter(|endpoint| (endpoint.get("_connect") == Some(&json!(true))) == on_account)
            .filter(|endpoint| {
                let wanted = endpoint.get("enabled_events").and_then(Value::as_array);
                wanted.into_iter().flatten().any(|wanted| wanted == "*" || wanted == kind)
            })
            .map(|endpoint| text(endpoint, "id").to_owned())
            .collect()
    }

    fn keep_event(
        &mut self,
        kind: &str,
        object: &Value,
        previous: Option<&Value>,
        account: Option<&str>,
        endpoints: &[String],
    ) -> Value {
        let data = self.data(object, previous, false);
        // Made at once, for payments that come later must not show in it; and only where someone wants it.
        let wanted = |endpoint: &Value| endpoint["api_version"].as_str().is_some_and(layout::is_older);
        let older = self.store.all("webhook_endpoint").any(wanted).then(|| self.data(object, previous, true));
        let mut event = json!({
            "id": self.ids.next("evt_"),
            "object": "event",
            "api_version": API_VERSION,
            "created": self.now,
            "livemode": false,
            "pending_webhooks": endpoints.len(),
            "request": { "id": (!self.request_id.is_empty()).then_some(&self.request_id), "idempotency_key": self.idempotency_key },
            "type": kind,
            "_waiting": endpoints,
        });
        if let Some(older) = older.filter(|older| *older != data) {
            event["_older"] = older;
        }
        event["data"] = data;
        if let Some(account) = account {
            event["account"] = json!(account);
        }
        self.store.insert("event", event.clone());
        event
    }

    /// An event's `data`, in either layout.
    fn data(&self, object: &Value, previous: Option<&Value>, is_older: bool) -> Value {
        let expand = if is_older { layout::expansions(&[]) } else { Vec::new() };
        let shown = |object: Value| view::shown(&self.store, object, &expand);
        let after = shown(object.clone());
        // Shown as a part of its object, it loses what is never shown of that.
        let previous = previous.map(|previous| view::public(previous, &shown(view::before(object.clone(), previous))));
        let invoice_of = |intent: &str| layout::invoice_of(&self.store, intent);
        let any = |id: &str| self.store.any(id).map(|object| view::shown(&self.store, object.clone(), &[]));
        let links = Links { invoice_of: &invoice_of, object: &any };
        let previous = match previous {
            Some(previous) if is_older => Some(layout::difference(&after, &previous, &links)),
            previous => previous,
        };
        let object = if is_older { layout::older(after, &links) } else { after };
        let mut data = json!({ "object": object });
        if let Some(previous) = previous {
            data["previous_attributes"] = previous;
        }
        data
    }

    /// An answer as `version` lays it out.
    pub(super) fn laid_out(&self, object: Value, expand: &[String], version: &str) -> Value {
        if !layout::is_older(version) {
            return view::shown(&self.store, object, expand);
        }
        let shown = view::shown(&self.store, object, &layout::expansions(expand));
        let invoice_of = |intent: &str| layout::invoice_of(&self.store, intent);
        let any = |id: &str| self.store.any(id).map(|object| view::shown(&self.store, object.clone(), &[]));
        let links = Links { invoice_of: &invoice_of, object: &any };
        // What only the older layout names can be expanded too.
        let older = view::shown(&self.store, layout::older(shown, &links), expand);
        layout::older(older, &links)
    }

    /// An event as it goes out, in the version that its receiver wants.
    pub(super) fn rendered(&self, id: &str, version: Option<&str>) -> Option<String> {
        let mut event = self.store.get("event", id)?.clone();
        if let Some(version) = version {
            event["api_version"] = json!(version);
            if layout::is_older(version) {
                let made = event.get_mut("_older").map(Value::take);
                let now = || self.data(&event["data"]["object"], event["data"].get("previous_attributes"), true);
                event["data"] = made.unwrap_or_else(now);
            }
        }
        Some(view::shown(&self.store, event, &[]).to_string())
    }

    /// Sends an event again: to the endpoint that is named, else to those who listen, and with `all` to every endpoint that wanted it.
    pub(super) fn resend(&mut self, event: &Value, endpoint: Option<&str>, all: bool) {
        let endpoints = match endpoint {
            Some(endpoint) => vec![endpoint.to_owned()],
            None if all => self.endpoints_for(text(event, "type"), event.get("account").is_some()),
            None => Vec::new(),
        };
        let listeners: Vec<String> = self.sessions.ids().filter(|_| endpoint.is_none()).cloned().collect();
        let listeners = listeners.into_iter().map(Target::Listener);
        for target in endpoints.into_iter().map(Target::Endpoint).chain(listeners) {
            self.send(event, &target, None);
        }
    }

    /// An endpoint took an event.
    pub(super) fn delivered(&mut self, event: &str, endpoint: &str) {
        let Some(event) = self.store.get_mut("event", event) else { return };
        if let Some(waiting) = event.get_mut("_waiting").and_then(Value::as_array_mut) {
            waiting.retain(|waiting| waiting != endpoint);
            event["pending_webhooks"] = json!(waiting.len());
        }
    }

    /// Whether an event is still kept.
    pub(super) fn is_kept(&self, event: &Value) -> bool {
        number(event, "created") > self.now - KEPT
    }
}
