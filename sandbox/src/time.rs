//! What happens by itself when time passes: renewals, ends of trials, sessions that expire. The sandbox's clock jumps from one such
//! thing to the next, so that a month in one step plays as a month does.

use std::collections::BTreeMap;

use serde_json::json;

use super::{
    store::{number, text},
    turns,
    world::World,
};

/// The `object` of a test clock.
pub(super) const TEST_CLOCK: &str = "test_helpers.test_clock";

/// What is to happen; told the id of what it happens to. It looks at the object first: a plan is never taken back.
pub(super) type Act = fn(&mut World, &str);

/// Plans by clock (the sandbox's own has no name; others are test clocks), time and order.
#[derive(Debug, Default)]
pub(super) struct Plans {
    plans: BTreeMap<(String, i64, u64), (Act, String)>,
    count: u64,
}

impl Plans {
    fn add(&mut self, clock: &str, at: i64, act: Act, id: &str) {
        self.count += 1;
        self.plans.insert((clock.to_owned(), at, self.count), (act, id.to_owned()));
    }

    /// When the next one of a clock is due.
    pub fn next(&self, clock: &str) -> Option<i64> {
        let all = (clock.to_owned(), i64::MIN, 0)..=(clock.to_owned(), i64::MAX, u64::MAX);
        self.plans.range(all).next().map(|((_, at, _), _)| *at)
    }

    fn take(&mut self, clock: &str, until: i64) -> Option<(i64, Act, String)> {
        let due = (clock.to_owned(), i64::MIN, 0)..=(clock.to_owned(), until, u64::MAX);
        let key = self.plans.range(due).next().map(|(key, _)| key.clone())?;
        self.plans.remove(&key).map(|(act, id)| (key.1, act, id))
    }
}

impl World {
    /// `act` happens to `id` at `at` of the clock that the customer lives by.
    pub(super) fn plan(&mut self, clock: &str, at: i64, act: Act, id: &str) {
        self.plans.add(clock, at, act, id);
    }

    /// Lets time pass on the sandbox's own clock.
    pub fn pass(&mut self, until: i64) {
        self.pass_on("", until);
        self.now = until;
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
