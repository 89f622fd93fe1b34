//! What is on its way to whom: every event for every endpoint and listener, its tries, and what became of it. When the next try is
//! due is decided here; waiting and posting are done elsewhere.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};

use super::{
    event_faults::{EventFault, Kind},
    signature,
    store::text,
    world::World,
};

/// Stripe's days of retries, in seconds: some 13 of them in all.
const TRIES: u32 = 8;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
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

impl World {
    /// How many events are still to reach an endpoint, or a listener that is connected.
    pub(super) fn undelivered(&self) -> usize {
        let counts = |entry: &&Entry| match &entry.target {
            _ if !entry.state.is_open() => false,
            Target::Endpoint(_) => true,
            Target::Listener(session) => self.sessions.is_connected(session),
        };
        self.deliveries.all.values().filter(counts).count()
    }

    /// Sends an event to someone, as a fault wants it.
    pub(super) fn send(&mut self, event: &Value, target: &Target, fault: Option<&EventFault>) {
        let (state, after) = match fault.map(|fault| (fault.fault, fault.delay())) {
            Some((Kind::Lost, _)) => (State::Lost, Duration::ZERO),
            Some((Kind::Late, delay)) => (State::Planned, delay),
            // Not for ever: there may be no next event.
            Some((Kind::OutOfOrder, delay)) => (State::Held, delay),
            Some((Kind::Twin | Kind::Duplicate, _)) | None => (State::Planned, Duration::ZERO),
        };
        let copies = if fault.is_some_and(|fault| fault.fault == Kind::Duplicate) { 2 } else { 1 };
        for _ in 0..copies {
            let id = self.deliveries.add(event, target.clone(), state);
            match (state, target) {
                (State::Lost, _) => {}
                // Those who listen hear in the order in which things happen.
                (State::Planned, Target::Listener(_)) if after.is_zero() => drop(self.due(id)),
                _ => self.outbox.push_back(Delivery { id, after }),
            }
        }
    }

    /// The time of a try has come: what to post, unless it has been seen to, or is for a listener.
    pub fn due(&mut self, id: u64) -> Option<Post> {
        let entry = self.deliveries.all.get_mut(&id)?;
        if !matches!(entry.state, State::Planned | State::Held) {
            return None;
        }
        entry.state = State::UnderWay;
        let (event, target) = (entry.event.clone(), entry.target.clone());
        let Target::Endpoint(endpoint) = target else {
            if let Target::Listener(session) = target {
                self.sessions.push(&session, id);
            }
            return None;
        };
        let found = self.store.get("webhook_endpoint", &endpoint).filter(|found| text(found, "status") == "enabled");
        let Some(found) = found else {
            self.deliveries.give_up(id);
            return None;
        };
        let version = found.get("api_version").and_then(Value::as_str).map(str::to_owned);
        let (url, secrets) = (text(found, "url").to_owned(), signature::secrets(found, self.now));
        let body = self.rendered(&event, version.as_deref())?;
        Some(Post { url, secrets, body, event })
    }

    /// What came of a try; how long to pause before the next one, if there is one.
    pub fn tried(&mut self, id: u64, result: Result<u16, String>) -> Option<Duration> {
        let entry = self.deliveries.all.get_mut(&id)?;
        entry.tries += 1;
        (entry.last_status, entry.last_error) = match result {
            Ok(status) => (Some(status), None),
            Err(error) => (None, Some(error)),
        };
        if entry.last_status.is_some_and(|status| (200..300).contains(&status)) {
            self.taken(id);
            return None;
        }
        if entry.tries >= TRIES {
            entry.state = State::GivenUp;
            tracing::warn!(entry.event, ?entry.target, "an event was not taken in {TRIES} tries, and is not sent again");
            return None;
        }
        entry.state = State::Planned;
        Some(FIRST_PAUSE * 2_u32.pow(entry.tries - 1))
    }

    /// It was taken; what was held for that goes after it.
    pub(super) fn taken(&mut self, id: u64) {
        let Some(entry) = self.deliveries.all.get_mut(&id) else { return };
        entry.state = State::Taken;
        let (event, target) = (entry.event.clone(), entry.target.clone());
        if let Target::Endpoint(endpoint) = &target {
            self.delivered(&event, endpoint);
        }
        for (held, entry) in self.deliveries.all.range_mut(..id) {
            if entry.state == State::Held && entry.target == target {
                entry.state = State::Planned;
                self.outbox.push_back(Delivery { id: *held, after: Duration::ZERO });
            }
        }
    }
}

#[cfg(test)]
mod tests;
