//! A receiver's Connect account.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{
    key::segment,
    object::{Object, metadata},
    request::Request,
};

/// Whether Stripe lets an account do something.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Capability {
    /// It may.
    Active,
    /// Stripe is checking.
    Pending,
    /// It may not, or it was never asked for.
    #[default]
    Inactive,
    /// A state that is new to us: not a yes.
    Other(String),
}

/// An account, as `GET /v1/accounts/{id}` or the object of an `account.updated` event has it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "Raw")]
pub struct Account {
    /// `acct_…`.
    pub id: String,
    /// Ours, if it carries `user_id`.
    pub metadata: BTreeMap<String, String>,
    /// Whether it can receive Transfers.
    pub transfers: Capability,
    /// Whether Stripe pays out to its bank.
    pub payouts_enabled: bool,
    /// The fields that Stripe wants filled in now.
    pub due: Vec<String>,
    /// Why it is disabled, where it is.
    pub disabled_reason: Option<String>,
}

impl Object for Account {
    const OBJECT: &'static str = "account";
}

/// Asks for an account.
pub fn retrieve(id: &str) -> Request {
    Request::get(format!("/v1/accounts/{}", segment(id)))
}

#[derive(Deserialize)]
struct Raw {
    id: String,
    #[serde(default, deserialize_with = "metadata")]
    metadata: BTreeMap<String, String>,
    #[serde(default)]
    capabilities: Option<Capabilities>,
    #[serde(default)]
    payouts_enabled: Option<bool>,
    #[serde(default)]
    requirements: Option<Requirements>,
}

#[derive(Default, Deserialize)]
struct Capabilities {
    #[serde(default)]
    transfers: Option<String>,
}

#[derive(Default, Deserialize)]
struct Requirements {
    #[serde(default)]
    currently_due: Option<Vec<String>>,
    #[serde(default)]
    disabled_reason: Option<String>,
}

impl From<Raw> for Account {
    fn from(raw: Raw) -> Self {
        let requirements = raw.requirements.unwrap_or_default();
        Self {
            id: raw.id,
            metadata: raw.metadata,
            transfers: match raw.capabilities.unwrap_or_default().transfers.as_deref() {
                Some("active") => Capability::Active,
                Some("pending") => Capability::Pending,
                Some("inactive") | None => Capability::Inactive,
                Some(other) => Capability::Other(other.to_owned()),
            },
            payouts_enabled: raw.payouts_enabled.unwrap_or_default(),
            due: requirements.currently_due.unwrap_or_default(),
            disabled_reason: requirements.disabled_reason,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    #[test]
    fn an_account_is_read_leniently() {
        let account: Account = from_value(json!({
            "id": "acct_1", "object": "account", "metadata": {"user_id": "u1"}, "payouts_enabled": false,
            "capabilities": {"transfers": "active", "card_payments": "inactive", "telepathy_payments": {"new": true}},
            "requirements": {"currently_due": ["external_account"], "disabled_reason": "requirements.past_due", "errors": []},
        }))
        .unwrap();
        assert_eq!(account.transfers, Capability::Active);
        assert_eq!(account.due, ["external_account"]);
        assert_eq!(account.disabled_reason.as_deref(), Some("requirements.past_due"));
        assert_eq!(account.metadata["user_id"], "u1");
    }

    #[test]
    fn what_is_not_said_is_not_a_yes() {
        let transfers = |capabilities| {
            from_value::<Account>(json!({"id": "acct_1", "capabilities": capabilities, "metadata": null}))
                .unwrap()
                .transfers
        };
        assert_eq!(transfers(json!(null)), Capability::Inactive);
        assert_eq!(transfers(json!({})), Capability::Inactive);
        assert_eq!(transfers(json!({"transfers": "pending"})), Capability::Pending);
        assert_eq!(transfers(json!({"transfers": "paused"})), Capability::Other("paused".into()));
    }
}
