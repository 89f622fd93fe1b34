//! What is on its way to whom: every event for every endpoint and listener, its tries, and what became of it. When the next try is
//! due is decided in `sending`; waiting and posting are done elsewhere.

mod sending;

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};

use super::store::text;

/// A bound; those that ended longest ago are forgotten first.
const KEPT: usize = 20_000;

/// Something to see to after a while: a try, unless it has been seen to by then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    /// Which.
    pub id: u64,
    /// When, from now.
    pub after: Duration,
}

/// What a try sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Post {
    /// Where to.
    pub url: String,
    /// What it is signed with: each secret that holds.
    pub secrets: Vec<String>,
    /// The event, as JSON.
    pub body: String,
    /// Its id.
    pub event: String,
}

/// Who is to hear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// A webhook endpoint's id.
    Endpoint(String),
    /// A listener's session.
    Listener(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// A try is due, now or after a pause.
    Planned,
    /// Held until a later event for the same target was taken.
    Held,
    /// It was sent, and not answered yet.
    UnderWay,
    Taken,
    /// No tries are left, or nobody is there any more.
    GivenUp,
    /// A fault ate it.
    Lost,
}

#[derive(Debug)]
struct Entry {
    event: String,
    kind: String,
    target: Target,
    tries: u32,
    last_status: Option<u16>,
    last_error: Option<String>,
    state: State,
}

/// All of them, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Deliveries {
    all: BTreeMap<u64, Entry>,
    made: u64,
}

impl State {
    const fn name(self) -> &'static str {
        match self {
            Self::Planned => "waiting",
            Self::Held => "held",
            Self::UnderWay => "under_way",
            Self::Taken => "delivered",
            Self::GivenUp => "given_up",
            Self::Lost => "lost",
        }
    }

    const fn is_open(self) -> bool {
        matches!(self, Self::Planned | Self::Held | Self::UnderWay)
    }
}

impl Deliveries {
    fn add(&mut self, event: &Value, target: Target, state: State) -> u64 {
        if self.all.len() >= KEPT
            && let Some(oldest) = self.all.iter().find(|(_, entry)| !entry.state.is_open()).map(|(id, _)| *id)
        {
            self.all.remove(&oldest);
        }
        self.made += 1;
        let (event, kind) = (text(event, "id").to_owned(), text(event, "type").to_owned());
        let entry = Entry { event, kind, target, tries: 0, last_status: None, last_error: None, state };
        self.all.insert(self.made, entry);
        self.made
    }

    /// The event of a delivery.
    pub fn event(&self, id: u64) -> Option<&str> {
        self.all.get(&id).map(|entry| entry.event.as_str())
    }

    /// What those who listen answered.
    pub fn answered(&mut self, id: u64, status: u16) {
        if let Some(entry) = self.all.get_mut(&id) {
            entry.tries += 1;
            entry.last_status = Some(status);
        }
    }

    /// Nobody is there any more.
    pub fn give_up(&mut self, id: u64) {
        if let Some(entry) = self.all.get_mut(&id).filter(|entry| entry.state.is_open()) {
            entry.state = State::GivenUp;
        }
    }

    /// Whether the last event that ended there was given up.
    fn is_deaf(&self, target: &Target) -> bool {
        let ended = self.all.values().rev().filter(|entry| entry.target == *target);
        let last = ended.map(|entry| entry.state).find(|state| matches!(state, State::Taken | State::GivenUp));
        last == Some(State::GivenUp)
    }

    pub fn shown(&self) -> Value {
        let one = |(id, entry): (&u64, &Entry)| {
            let (endpoint, listener) = match &entry.target {
                Target::Endpoint(id) => (Some(id), None),
                Target::Listener(id) => (None, Some(id)),
            };
            json!({ "id": id, "event": entry.event, "type": entry.kind, "endpoint": endpoint, "listener": listener,
                "state": entry.state.name(), "tries": entry.tries, "last_status": entry.last_status,
                "last_error": entry.last_error })
        };
        self.all.iter().map(one).collect()
    }
}

#[cfg(test)]
mod tests;
