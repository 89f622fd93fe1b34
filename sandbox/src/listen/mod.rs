//! `stripe listen`: sessions that hear of every event over a websocket, and pass it on to where they were told. What a listener has
//! not acknowledged is kept, and sent again when it dials again.

mod hearing;
pub(super) mod socket;

use std::collections::BTreeMap;

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

#[cfg(test)]
mod tests;
