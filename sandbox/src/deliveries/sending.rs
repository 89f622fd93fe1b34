//! What the world does about a delivery: it begins, its time comes, it was tried.

use std::time::Duration;

use serde_json::Value;

use super::{Delivery, Entry, Post, State, Target};
use crate::{
    event_faults::{EventFault, Kind},
    signature,
    store::text,
    world::World,
};

/// Stripe's days of retries, in seconds: some 13 of them in all.
pub(super) const TRIES: u32 = 8;
const FIRST_PAUSE: Duration = Duration::from_millis(100);

impl World {
    /// How many events are still to reach an endpoint, or a listener that is connected.
    pub(crate) fn undelivered(&self) -> usize {
        let counts = |entry: &&Entry| match &entry.target {
            _ if !entry.state.is_open() => false,
            // One that let the last event pass in all its tries is tried again, and not waited for a second time.
            Target::Endpoint(_) => entry.tries == 0 || !self.deliveries.is_deaf(&entry.target),
            Target::Listener(session) => self.sessions.is_connected(session),
        };
        self.deliveries.all.values().filter(counts).count()
    }

    /// Sends an event to someone, as a fault wants it.
    pub(crate) fn send(&mut self, event: &Value, target: &Target, fault: Option<&EventFault>) {
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
    pub(crate) fn taken(&mut self, id: u64) {
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
