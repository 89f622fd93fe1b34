//! What happens by itself when time passes: renewals, ends of trials, sessions that expire. The sandbox's clock jumps from one such
//! thing to the next, so that a month in one step plays as a month does.

use std::collections::BTreeMap;

use super::world::World;

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
            act(self, &id);
        }
        self.now = now;
        (self.request_id, self.idempotency_key) = (request, key);
    }
}
