//! What the world does for a listener: it opens a session, sends what is new, and hears what the listener says.

use std::collections::BTreeMap;

use serde_json::json;

use super::{LIFE, Session};
use crate::{
    deliver::{AGENT, MEDIA_TYPE},
    layout::API_VERSION,
    signature,
    world::World,
};

impl World {
    /// A new session, without a websocket yet: its id and the secret.
    pub(crate) fn open_session(&mut self) -> (String, String) {
        let id = self.ids.next("cliws_");
        let ids = &mut self.ids;
        let secret = self.sessions.secret.get_or_insert_with(|| ids.next("whsec_")).clone();
        let session =
            Session { frames: BTreeMap::new(), connection: None, dialled: false, left_at: self.now - self.ahead };
        self.sessions.all.insert(id.clone(), session);
        (id, secret)
    }

    /// Forgets those that have been without a websocket for long; `now` is real time in seconds.
    pub(crate) fn prune_sessions(&mut self, now: i64) {
        let deliveries = &mut self.deliveries;
        self.sessions.all.retain(|_, session| {
            let lives = session.connection.is_some() || now - session.left_at < LIFE;
            for delivery in session.frames.values().filter(|_| !lives) {
                deliveries.give_up(*delivery);
            }
            lives
        });
    }

    pub(super) fn disconnect(&mut self, session: &str, connection: u64, now: i64) {
        if let Some(session) = self.sessions.all.get_mut(session).filter(|s| s.connection == Some(connection)) {
            session.connection = None;
            session.left_at = now;
        }
    }

    /// The frames after `sent` that were not acknowledged, and where they end; none when another websocket has taken over.
    pub(super) fn frames(&self, session: &str, connection: u64, sent: u64, now: i64) -> Option<(Vec<String>, u64)> {
        let session = self.sessions.all.get(session).filter(|session| session.connection == Some(connection))?;
        let new = session.frames.range(sent + 1..);
        let frames = new.flat_map(|(_, delivery)| self.frame(*delivery, now)).collect();
        Some((frames, session.frames.last_key_value().map_or(sent, |(last, _)| sent.max(*last))))
    }

    /// Stripe tells of each event twice, in the account's version and in the latest one; the listener passes over the one it was not
    /// asked for (`--latest`).
    fn frame(&self, delivery: u64, now: i64) -> Vec<String> {
        let rendered = self.deliveries.event(delivery).and_then(|event| self.rendered(event, None));
        let Some(body) = rendered else { return Vec::new() };
        let signature = signature::sign(&self.sessions.secret, now, &body);
        let frame = |version: Option<&str>, conversation: String| {
            json!({
                "type": "webhook_event",
                "endpoint": { "api_version": version },
                "event_payload": body,
                "http_headers": { "Content-Type": MEDIA_TYPE, "Stripe-Signature": signature, "User-Agent": AGENT },
                "webhook_conversation_id": conversation,
                "webhook_id": format!("wh_{delivery}"),
            })
            .to_string()
        };
        vec![frame(None, format!("wc_{delivery}")), frame(Some(API_VERSION), format!("wc_{delivery}_latest"))]
    }

    /// What a listener said: that it has an event, or what its application answered to it.
    pub(super) fn heard(&mut self, session: &str, said: &str) {
        let Ok(said) = serde_json::from_str::<Said>(said) else { return };
        let delivery = said.webhook_conversation_id.strip_prefix("wc_").and_then(|number| number.parse().ok());
        match (said.kind.as_str(), delivery) {
            ("event_ack", Some(delivery)) => {
                let Some(session) = self.sessions.all.get_mut(session) else { return };
                let before = session.frames.len();
                session.frames.retain(|_, waiting| *waiting != delivery);
                if session.frames.len() < before {
                    self.taken(delivery);
                }
            }
            ("webhook_response", _) => {
                // The answer of the other of the two counts as well.
                let number = said.webhook_conversation_id.trim_start_matches("wc_").trim_end_matches("_latest");
                if let Ok(delivery) = number.parse() {
                    self.deliveries.answered(delivery, said.status);
                }
            }
            _ => {}
        }
    }
}

#[derive(serde::Deserialize)]
struct Said {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    webhook_conversation_id: String,
    #[serde(default)]
    status: u16,
}
