//! `stripe listen`: sessions that hear of every event over a websocket, and pass it on to where they were told. What a listener has
//! not acknowledged is kept, and sent again when it dials again.

pub(super) mod socket;

use std::collections::BTreeMap;

use serde_json::json;

use super::{
    deliver::{AGENT, MEDIA_TYPE},
    signature,
    world::{API_VERSION, World},
};

/// Real seconds that a session lives on without its websocket.
const LIFE: i64 = 5 * 60;

/// One that listens.
#[derive(Debug)]
struct Session {
    /// What was not acknowledged, by the order in which it goes out: deliveries.
    frames: BTreeMap<u64, u64>,
    /// The websocket that speaks for it; a new one takes over.
    connection: Option<u64>,
    /// Until it first dials it hears nothing: `stripe listen --print-secret` never does.
    dialled: bool,
    /// Real time in seconds.
    left_at: i64,
}

/// All that listen.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    all: BTreeMap<String, Session>,
    /// What all of them sign with, made when first wanted.
    secret: Option<String>,
    /// Frames, and connections, that there have been.
    count: u64,
}

impl Sessions {
    pub fn set_secret(&mut self, secret: Option<String>) {
        self.secret = secret;
    }

    /// Those that are to hear of what happens.
    pub fn ids(&self) -> impl Iterator<Item = &String> {
        self.all.iter().filter(|(_, session)| session.dialled).map(|(id, _)| id)
    }

    pub fn is_connected(&self, session: &str) -> bool {
        self.all.get(session).is_some_and(|session| session.connection.is_some())
    }

    /// A delivery for a listener to hear of; passed over when it is gone.
    pub fn push(&mut self, session: &str, delivery: u64) {
        self.count += 1;
        if let Some(session) = self.all.get_mut(session) {
            session.frames.insert(self.count, delivery);
        }
    }

    /// Grows when there is something new to send.
    pub fn mark(&self) -> u64 {
        self.count
    }

    /// A websocket begins to speak for a session, if that is known. The number it is known by.
    fn connect(&mut self, session: &str) -> Option<u64> {
        let session = self.all.get_mut(session)?;
        self.count += 1;
        session.connection = Some(self.count);
        session.dialled = true;
        Some(self.count)
    }
}

impl World {
    /// A new session, without a websocket yet: its id and the secret.
    pub(super) fn open_session(&mut self) -> (String, String) {
        let id = self.ids.next("cliws_");
        let ids = &mut self.ids;
        let secret = self.sessions.secret.get_or_insert_with(|| ids.next("whsec_")).clone();
        let session =
            Session { frames: BTreeMap::new(), connection: None, dialled: false, left_at: self.now - self.ahead };
        self.sessions.all.insert(id.clone(), session);
        (id, secret)
    }

    /// Forgets those that have been without a websocket for long; `now` is real time in seconds.
    pub(super) fn prune_sessions(&mut self, now: i64) {
        let deliveries = &mut self.deliveries;
        self.sessions.all.retain(|_, session| {
            let lives = session.connection.is_some() || now - session.left_at < LIFE;
            for delivery in session.frames.values().filter(|_| !lives) {
                deliveries.give_up(*delivery);
            }
            lives
        });
    }

    fn disconnect(&mut self, session: &str, connection: u64, now: i64) {
        if let Some(session) = self.sessions.all.get_mut(session).filter(|s| s.connection == Some(connection)) {
            session.connection = None;
            session.left_at = now;
        }
    }

    /// The frames after `sent` that were not acknowledged, and where they end; none when another websocket has taken over.
    fn frames(&self, session: &str, connection: u64, sent: u64, now: i64) -> Option<(Vec<String>, u64)> {
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
    fn heard(&mut self, session: &str, said: &str) {
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

#[cfg(test)]
mod tests;
