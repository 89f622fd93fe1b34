//! What the dashboard's billing settings say at Stripe, and `/_sandbox/settings` here. Kept among the objects, under no kind of Stripe's.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{store::number, world::World};

const ID: &str = "settings";
const KIND: &str = "sandbox.settings";

/// How failed payments of subscriptions are dealt with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Settings {
    /// Whether failed renewals are tried again by themselves.
    pub smart_retries: bool,
    /// What becomes of the subscription then.
    pub after_retries: AfterRetries,
}

/// What becomes of a subscription whose last retry failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum AfterRetries {
    Cancel,
    Unpaid,
    PastDue,
}

impl Default for Settings {
    fn default() -> Self {
        Self { smart_retries: true, after_retries: AfterRetries::Cancel }
    }
}

impl World {
    pub(super) fn settings(&self) -> Settings {
        let kept = self.store.get(KIND, ID).and_then(|kept| serde_json::from_value(kept["billing"].clone()).ok());
        kept.unwrap_or_default()
    }

    /// Answers them as they are now.
    pub(super) fn set_settings(&mut self, settings: Settings) -> Value {
        self.kept()["billing"] = json!(settings);
        json!(self.settings())
    }

    /// The number of the next invoice that is finalised.
    pub(super) fn next_invoice_number(&mut self) -> i64 {
        let kept = self.kept();
        let number = number(kept, "invoices") + 1;
        kept["invoices"] = json!(number);
        number
    }

    fn kept(&mut self) -> &mut Value {
        if self.store.get(KIND, ID).is_none() {
            self.store.insert(KIND, json!({ "id": ID, "object": KIND }));
        }
        match self.store.get_mut(KIND, ID) {
            Some(kept) => kept,
            None => unreachable!("it was kept just now"),
        }
    }
}
