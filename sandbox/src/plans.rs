//! What is to happen later: at a time, or when a payment is settled.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use super::{store::text, world::World};

/// What is to happen; told the id of what it happens to. It looks at the object first: a plan is never taken back.
pub(super) type Act = fn(&mut World, &str);

/// Plans by clock (the sandbox's own has no name; others are test clocks), time and order.
#[derive(Debug, Default)]
pub(super) struct Plans {
    plans: BTreeMap<(String, i64, u64), (Act, String)>,
    count: u64,
}

impl Plans {
    pub fn add(&mut self, clock: &str, at: i64, act: Act, id: &str) {
        self.count += 1;
        self.plans.insert((clock.to_owned(), at, self.count), (act, id.to_owned()));
    }

    /// When the next one of a clock is due.
    pub fn next(&self, clock: &str) -> Option<i64> {
        let all = (clock.to_owned(), i64::MIN, 0)..=(clock.to_owned(), i64::MAX, u64::MAX);
        self.plans.range(all).next().map(|((_, at, _), _)| *at)
    }

    pub fn take(&mut self, clock: &str, until: i64) -> Option<(i64, Act, String)> {
        let due = (clock.to_owned(), i64::MIN, 0)..=(clock.to_owned(), until, u64::MAX);
        let key = self.plans.range(due).next().map(|(key, _)| key.clone())?;
        self.plans.remove(&key).map(|(act, id)| (key.1, act, id))
    }
}

/// Who waits for payments that were left open, by intent.
#[derive(Debug, Default)]
pub(super) struct Awaited(HashMap<String, Act>);

impl Awaited {
    pub fn insert(&mut self, intent: String, act: Act) {
        self.0.insert(intent, act);
    }

    pub fn remove(&mut self, intent: &str) {
        self.0.remove(intent);
    }

    /// Whoever waits hears of it: of a payment that has come once, of one that was refused each time, for it may be tried again.
    pub fn tell(world: &mut World, intent: &str) {
        let Some(act) = world.awaited.0.get(intent).copied() else { return };
        let is_over = |intent: &Value| matches!(text(intent, "status"), "succeeded" | "canceled");
        if world.store.get("payment_intent", intent).is_none_or(is_over) {
            world.awaited.0.remove(intent);
        }
        act(world, intent);
    }
}
