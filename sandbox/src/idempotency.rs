//! Idempotency keys, to the letter of what Stripe does with them (Stripe: idempotent requests).

use std::collections::HashMap;

use super::failure::Failure;

/// Stripe: "keys can be up to 255 characters".
const MAX_CHARS: usize = 255;
/// Seconds of the sandbox's time that a key lives. Stripe may prune after that; the sandbox does.
const LIFE: i64 = 24 * 60 * 60;

/// A key in its scope: the same text under another API key or account is another key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    /// The API key and the account that the call was made with.
    pub(super) scope: String,
    /// `Idempotency-Key`, as sent.
    pub(super) text: String,
}

/// What a key was first used for. Only a POST has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fingerprint {
    endpoint: String,
    fields: Vec<(String, String)>,
}

/// What was answered when a key was first used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Saved {
    pub status: u16,
    pub body: String,
    pub request_id: String,
}

#[derive(Debug)]
struct Entry {
    fingerprint: Fingerprint,
    saved: Saved,
    /// The first request with it has not been answered yet.
    in_flight: bool,
    at: i64,
}

/// All keys in use.
#[derive(Debug, Default)]
pub(super) struct Keys(HashMap<Key, Entry>);

impl Key {
    pub fn new(scope: String, text: &str) -> Result<Self, Failure> {
        if text.chars().count() > MAX_CHARS {
            return Err(Failure::invalid(format!("Idempotency-Key must be at most {MAX_CHARS} characters long.")));
        }
        Ok(Self { scope, text: text.to_owned() })
    }
}

impl Saved {
    /// What an answer says of its key, the first time and each time after.
    pub fn headers(&self, key: &Key) -> [(&'static str, String); 2] {
        [("Idempotency-Key", key.text.clone()), ("Original-Request", self.request_id.clone())]
    }
}

impl Fingerprint {
    /// The order of the fields does not count; that of equal names (`a[]`) does.
    pub fn new(path: &str, mut fields: Vec<(String, String)>) -> Self {
        fields.sort_by(|a, b| a.0.cmp(&b.0));
        Self { endpoint: path.to_owned(), fields }
    }
}

impl Keys {
    /// What was saved under the key, if this is the request it was saved for.
    pub fn look(&mut self, key: &Key, fingerprint: &Fingerprint, now: i64) -> Result<Option<Saved>, Failure> {
        self.0.retain(|_, entry| entry.in_flight || now - entry.at < LIFE);
        let Some(entry) = self.0.get(key) else { return Ok(None) };
        let mismatch = |what: &str| {
            let message = format!(
                "Keys for idempotent requests can only be used {what}. Try using a key other than '{}' if you meant to execute a \
                 different request.",
                key.text
            );
            Err(Failure::new(400, "idempotency_error", message))
        };
        let (first, now) = (&entry.fingerprint, fingerprint);
        if first.endpoint != now.endpoint {
            let what =
                format!("for the same endpoint they were first used for ('{}' vs '{}')", now.endpoint, first.endpoint);
            return mismatch(&what);
        }
        if first.fields != now.fields {
            return mismatch("with the same parameters they were first used with");
        }
        if entry.in_flight { Err(Failure::in_use(&key.text)) } else { Ok(Some(entry.saved.clone())) }
    }

    pub fn save(&mut self, key: Key, fingerprint: Fingerprint, saved: Saved, in_flight: bool, now: i64) {
        self.0.insert(key, Entry { fingerprint, saved, in_flight, at: now });
    }

    /// The first request was answered, or its connection is gone.
    pub fn land(&mut self, key: &Key) {
        if let Some(entry) = self.0.get_mut(key) {
            entry.in_flight = false;
        }
    }

    /// Forgets all that are not in flight; how many.
    pub fn prune(&mut self) -> usize {
        let before = self.0.len();
        self.0.retain(|_, entry| entry.in_flight);
        before - self.0.len()
    }
}
