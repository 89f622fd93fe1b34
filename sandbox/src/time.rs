//! What happens by itself when time passes: renewals, ends of trials, sessions that expire. The sandbox's clock jumps from one such
//! thing to the next, so that a month in one step plays as a month does.

use serde_json::json;

use super::{
    plans::Act,
    store::{number, text},
    turns,
    world::World,
};

/// The `object` of a test clock.
pub(super) const TEST_CLOCK: &str = "test_helpers.test_clock";

impl World {
    /// `act` happens to `id` at `at` of the clock that the customer lives by.
    pub(super) fn plan(&mut self, clock: &str, at: i64, act: Act, id: &str) {
        self.plans.add(clock, at, act, id);
    }

    /// Lets time pass on the sandbox's own clock.
    pub fn pass(&mut self, until: i64) {
        self.pass_on("", until);
        (self.now, self.own) = (until, until);
    }

    /// Time has passed while nobody asked for anything; `now` is real time in seconds.
    pub fn tick(&mut self, now: i64) {
        self.pass(now.saturating_add(self.ahead));
        self.prune_sessions(now);
    }

    /// Lets everything happen that a clock has planned until then. The present is that clock's while it does, and nobody asked for it.
    pub(super) fn pass_on(&mut self, clock: &str, until: i64) {
        let (request, key) = (std::mem::take(&mut self.request_id), self.idempotency_key.take());
        let now = self.now;
        while let Some((at, act, id)) = self.plans.take(clock, until) {
            self.now = at;
            if clock.is_empty() {
                self.own = at;
            }
            self.freeze(clock, at);
            let identity = turns::hash(["plan", clock, &id, &at.to_string()]);
            self.ids.turn(identity, self.turns.count(identity));
            act(self, &id);
        }
        self.now = now;
        (self.request_id, self.idempotency_key) = (request, key);
    }

    /// The clock that a customer lives by.
    pub(super) fn clock_of(&self, customer: &str) -> String {
        self.store.get("customer", customer).map(|customer| text(customer, "test_clock").to_owned()).unwrap_or_default()
    }

    /// What happens to somebody who lives by a clock happens at that clock's time.
    pub(super) fn at_clock<T>(&mut self, clock: &str, act: impl FnOnce(&mut Self) -> T) -> T {
        let now = self.now;
        if let Some(clock) = self.store.get(TEST_CLOCK, clock) {
            self.now = number(clock, "frozen_time");
        }
        let done = act(self);
        self.now = now;
        done
    }

    /// A test clock stands at a time; the sandbox's own cannot be told.
    pub(super) fn freeze(&mut self, clock: &str, at: i64) {
        if let Some(clock) = self.store.get_mut(TEST_CLOCK, clock) {
            clock["frozen_time"] = json!(at);
        }
    }
}
