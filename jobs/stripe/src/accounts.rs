//! A receiver's Connect account, and the link by which its owner is onboarded.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    client::Client,
    key::segment,
    object::{Object, every, metadata},
    request::Request,
    seen::Seen,
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
    /// Whether its owner has gone through the onboarding once.
    pub details_submitted: bool,
    /// What Stripe wants of its owner.
    pub requirements: Requirements,
}

/// What Stripe wants of an account's owner, in Stripe's words.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requirements {
    /// The fields that are to be filled in now.
    #[serde(default, deserialize_with = "fields")]
    pub currently_due: Vec<String>,
    /// Those that are overdue.
    #[serde(default, deserialize_with = "fields")]
    pub past_due: Vec<String>,
    /// Why it is disabled, where it is.
    #[serde(default)]
    pub disabled_reason: Option<String>,
}

fn fields<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

impl Object for Account {
    const OBJECT: &'static str = "account";
}

/// Asks for an account.
pub fn retrieve(id: &str) -> Request {
    Request::get(format!("/v1/accounts/{}", segment(id)))
}

/// Makes an Express account that may receive Transfers; without a country it is the platform's.
pub fn create(country: Option<&str>, metadata: &BTreeMap<String, String>) -> Request {
    let mut fields: Vec<(String, String)> =
        metadata.iter().map(|(name, value)| (format!("metadata[{name}]"), value.clone())).collect();
    fields.push(("type".to_owned(), "express".to_owned()));
    fields.push(("capabilities[transfers][requested]".to_owned(), "true".to_owned()));
    fields.extend(country.map(|country| ("country".to_owned(), country.to_owned())));
    Request::post("/v1/accounts", &fields)
}

/// All accounts made since, in seconds since 1970, newest first, as Stripe has them; those that are gone are not among them.
pub async fn made_since(client: &Client, since: i64) -> Result<Vec<Made>, Box<Seen>> {
    let since = since.to_string();
    let ask = |after: Option<&str>| {
        let mut fields = vec![("created[gte]", since.as_str()), ("limit", "100")];
        fields.extend(after.map(|id| ("starting_after", id)));
        Request::query("/v1/accounts", &fields)
    };
    every(client, ask, |account: &Made| &account.id).await
}

/// An account, as far as it tells whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// `acct_…`.
    pub id: String,
    /// Ours, if it carries `user_id`.
    #[serde(default, deserialize_with = "metadata")]
    pub metadata: BTreeMap<String, String>,
}

impl Object for Made {
    const OBJECT: &'static str = "account";
}

/// A link that leads an account's owner through the onboarding, once.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Link {
    /// Where the owner goes.
    pub url: String,
    /// When it leads nowhere any more, in seconds since 1970: minutes after it was made.
    pub expires_at: i64,
}

impl Object for Link {
    const OBJECT: &'static str = "account_link";
}

/// Makes an onboarding link. `refresh_url` is where a link leads that was used or is over; `return_url` where the onboarding ends, whatever
/// came of it.
pub fn link(account: &str, refresh_url: &str, return_url: &str) -> Request {
    let fields = [
        ("account", account),
        ("refresh_url", refresh_url),
        ("return_url", return_url),
        ("type", "account_onboarding"),
    ];
    Request::post("/v1/account_links", &fields.map(|(name, value)| (name.to_owned(), value.to_owned())))
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
    details_submitted: Option<bool>,
    #[serde(default)]
    requirements: Option<Requirements>,
}

#[derive(Default, Deserialize)]
struct Capabilities {
    #[serde(default)]
    transfers: Option<String>,
}

impl From<Raw> for Account {
    fn from(raw: Raw) -> Self {
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
            details_submitted: raw.details_submitted.unwrap_or_default(),
            requirements: raw.requirements.unwrap_or_default(),
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
            "requirements": {"currently_due": ["external_account"], "disabled_reason": "requirements.past_due", "past_due": null, "errors": []},
        }))
        .unwrap();
        assert_eq!(account.transfers, Capability::Active);
        assert_eq!(account.requirements.currently_due, ["external_account"]);
        assert!(account.requirements.past_due.is_empty());
        assert_eq!(account.requirements.disabled_reason.as_deref(), Some("requirements.past_due"));
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
