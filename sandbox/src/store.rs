//! The objects, as the JSON that is answered, and the ids they get.

use std::collections::HashMap;

use serde_json::Value;

use super::turns::Dice;

/// All objects by id, and each kind's ids in the order they were made.
#[derive(Debug, Default)]
pub(super) struct Store {
    objects: HashMap<String, Value>,
    order: HashMap<&'static str, Vec<String>>,
}

impl Store {
    /// Keeps an object under its own `id`; `kind` is its `object` field.
    pub fn insert(&mut self, kind: &'static str, object: Value) {
        let id = text(&object, "id").to_owned();
        if self.objects.insert(id.clone(), object).is_none() {
            self.order.entry(kind).or_default().push(id);
        }
    }

    /// Forgets an object, as if it had never been: a draft that is deleted.
    pub fn remove(&mut self, kind: &str, id: &str) {
        self.objects.remove(id);
        if let Some(order) = self.order.get_mut(kind) {
            // What is taken back is mostly the newest.
            if let Some(at) = order.iter().rposition(|kept| kept == id) {
                order.remove(at);
            }
        }
    }

    /// The object, if it is of this kind.
    pub fn get(&self, kind: &str, id: &str) -> Option<&Value> {
        self.objects.get(id).filter(|object| text(object, "object") == kind)
    }

    /// The object, of whatever kind.
    pub fn any(&self, id: &str) -> Option<&Value> {
        self.objects.get(id)
    }

    pub fn get_mut(&mut self, kind: &str, id: &str) -> Option<&mut Value> {
        self.objects.get_mut(id).filter(|object| text(object, "object") == kind)
    }

    /// The oldest first.
    pub fn all(&self, kind: &str) -> impl DoubleEndedIterator<Item = &Value> {
        self.order.get(kind).into_iter().flatten().filter_map(|id| self.objects.get(id))
    }
}

/// A text field of an object; empty when there is none.
pub(super) fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// An integer field of an object; 0 when there is none.
pub(super) fn number(object: &Value, field: &str) -> i64 {
    object.get(field).and_then(Value::as_i64).unwrap_or_default()
}

/// An object of `defaults` and what it says for itself.
pub(super) fn with(mut defaults: Value, own: Value) -> Value {
    if let (Value::Object(all), Value::Object(own)) = (&mut defaults, own) {
        all.extend(own);
    }
    defaults
}

/// Ids in Stripe's shape; the same seed gives the same ones.
#[derive(Debug)]
pub(super) struct Ids {
    seed: u64,
    turn: u64,
    made: u64,
}

const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

impl Ids {
    pub fn new(seed: u64) -> Self {
        Self { seed, turn: 0, made: 0 }
    }

    /// Those that follow belong to this request, for the so-manieth time, and not to whoever asks at the same time.
    pub fn turn(&mut self, identity: u64, time: u64) {
        self.turn = identity ^ Dice(time).roll();
        self.made = 0;
    }

    /// `prefix` carries its underscore.
    pub fn next(&mut self, prefix: &str) -> String {
        self.made += 1;
        // As long as Stripe's own, which some schemas of applications depend on.
        let length = match prefix {
            "cus_" | "prod_" | "si_" | "req_" => 14,
            "acct_" => 16,
            "cs_test_" => 58,
            "whsec_" => 32,
            _ => 24,
        };
        let mut id = prefix.to_owned();
        // Thrown twice, so that neighbours among seeds, turns and ids have nothing in common.
        let mut dice = Dice(Dice(Dice(self.seed).roll() ^ self.turn).roll() ^ Dice(self.made).roll());
        for _ in 0..length {
            let index = usize::try_from(dice.below(62)).unwrap_or_default();
            id.push(char::from(LETTERS.get(index).copied().unwrap_or(b'0')));
        }
        id
    }
}
