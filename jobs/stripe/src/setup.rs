//! How an account at Stripe is set up: what is asked and read before an operator goes live. Everything here only reads.

use serde::Deserialize;

use crate::{
    client::Client,
    key::segment,
    object::{Object, every, reference},
    request::Request,
    seen::Seen,
};

/// Asks for the first of a list, to see whether the key may: `path` is one of Stripe's lists, such as `/v1/charges`.
pub fn first_of(path: &str) -> Request {
    Request::query(path, &[("limit", "1")])
}

/// Asks for the balance.
pub fn balance() -> Request {
    Request::get("/v1/balance".into())
}

/// Asks for the key's own account.
pub fn account() -> Request {
    Request::get("/v1/account".into())
}

/// Asks how Stripe Tax is set up.
pub fn tax() -> Request {
    Request::get("/v1/tax/settings".into())
}

/// Asks for a price.
pub fn price(id: &str) -> Request {
    Request::get(format!("/v1/prices/{}", segment(id)))
}

/// The platform's money, as far as it can be sent.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Balance {
    /// What can be sent, a currency each.
    #[serde(default)]
    pub available: Vec<Funds>,
    /// Whether it is real money; an older answer does not say.
    #[serde(default)]
    pub livemode: Option<bool>,
}

/// An amount.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Funds {
    /// In minor units.
    pub amount: i64,
    /// Lower-case ISO code.
    pub currency: String,
}

impl Object for Balance {
    const OBJECT: &'static str = "balance";
}

/// The key's own account. What is not said is not a no: a restricted key sees little of it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Platform {
    /// `acct_…`.
    pub id: String,
    /// Whether it can take payments.
    #[serde(default)]
    pub charges_enabled: Option<bool>,
    /// Whether Stripe pays out to its bank.
    #[serde(default)]
    pub payouts_enabled: Option<bool>,
}

impl Object for Platform {
    const OBJECT: &'static str = "account";
}

/// Stripe Tax.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Tax {
    /// `active`, or `pending`.
    pub status: String,
    /// What it waits for.
    #[serde(default)]
    status_details: Option<Details>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
struct Details {
    #[serde(default)]
    pending: Option<Pending>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
struct Pending {
    #[serde(default)]
    missing_fields: Option<Vec<String>>,
}

impl Tax {
    /// The fields that are missing, in Stripe's words.
    pub fn missing(&self) -> Vec<String> {
        let pending = self.status_details.clone().unwrap_or_default().pending.unwrap_or_default();
        pending.missing_fields.unwrap_or_default()
    }
}

impl Object for Tax {
    const OBJECT: &'static str = "tax.settings";
}

/// A price.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Price {
    /// `price_…`.
    pub id: String,
    /// Whether it still sells.
    #[serde(default)]
    pub active: bool,
    /// Lower-case ISO code.
    #[serde(default)]
    pub currency: String,
    /// In minor units; none where it is tiered or has a fraction of one.
    #[serde(default)]
    pub unit_amount: Option<i64>,
    /// Present where the amount is for a pack, and not for one.
    #[serde(default)]
    pub transform_quantity: Option<Packs>,
    /// Present where it is paid again and again.
    #[serde(default)]
    pub recurring: Option<Recurring>,
    /// Whether it is of real money.
    #[serde(default)]
    pub livemode: Option<bool>,
}

/// How many units the amount of a price is for (Stripe: prices, transform quantities).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Packs {
    /// So many units are a pack.
    pub divide_by: i64,
}

/// How often a price is paid.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Recurring {
    /// `day`, `week`, `month` or `year`.
    pub interval: String,
    /// So many of them.
    #[serde(default)]
    pub interval_count: Option<i64>,
    /// `licensed`, or `metered`.
    #[serde(default)]
    pub usage_type: Option<String>,
    /// The meter whose events it charges, `mtr_…`.
    #[serde(default, deserialize_with = "reference")]
    pub meter: Option<String>,
}

impl Object for Price {
    const OBJECT: &'static str = "price";
}

/// Where Stripe sends events.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Endpoint {
    /// `we_…`.
    pub id: String,
    /// The address.
    pub url: String,
    /// `enabled`, or `disabled`.
    pub status: String,
    /// The types it gets; `*` is all.
    #[serde(default)]
    pub enabled_events: Vec<String>,
    /// The version its events are laid out in; none is the account's own.
    #[serde(default)]
    pub api_version: Option<String>,
    /// The Connect application, where it hears of connected accounts.
    #[serde(default)]
    application: Option<String>,
}

/// This type comes from connected accounts alone (Stripe: Connect webhooks).
const CONNECT_ONLY: &str = "account.application.deauthorized";

impl Endpoint {
    /// Whether it hears of connected accounts instead of the platform's own. Stripe shows what it was made for only in part: by its
    /// application, or by a type that no other endpoint can have.
    pub fn is_connect(&self) -> bool {
        self.application.is_some() || self.enabled_events.iter().any(|kind| kind == CONNECT_ONLY)
    }

    /// Whether it gets events of a type.
    pub fn hears(&self, kind: &str) -> bool {
        self.enabled_events.iter().any(|heard| heard == kind || heard == "*")
    }
}

impl Object for Endpoint {
    const OBJECT: &'static str = "webhook_endpoint";
}

/// All endpoints.
pub async fn endpoints(client: &Client) -> Result<Vec<Endpoint>, Box<Seen>> {
    let ask = |after: Option<&str>| {
        let mut fields = vec![("limit", "100")];
        fields.extend(after.map(|id| ("starting_after", id)));
        Request::query("/v1/webhook_endpoints", &fields)
    };
    every(client, ask, |endpoint: &Endpoint| &endpoint.id).await
}

/// A configuration of the customer portal.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Portal {
    /// `bpc_…`.
    pub id: String,
    /// Whether it is the one that is used where none is named, as we do.
    #[serde(default)]
    pub is_default: bool,
}

impl Object for Portal {
    const OBJECT: &'static str = "billing_portal.configuration";
}

/// All active configurations of the customer portal.
pub async fn portals(client: &Client) -> Result<Vec<Portal>, Box<Seen>> {
    let ask = |after: Option<&str>| {
        let mut fields = vec![("active", "true"), ("limit", "100")];
        fields.extend(after.map(|id| ("starting_after", id)));
        Request::query("/v1/billing_portal/configurations", &fields)
    };
    every(client, ask, |portal: &Portal| &portal.id).await
}

/// What adds up how much customers use (Stripe: `billing.meter`).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Meter {
    /// `mtr_…`
    pub id: String,
    /// The events that it counts.
    pub event_name: String,
    #[serde(default)]
    default_aggregation: Aggregation,
    #[serde(default)]
    customer_mapping: PayloadKey,
    #[serde(default)]
    value_settings: PayloadKey,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
struct Aggregation {
    #[serde(default)]
    formula: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
struct PayloadKey {
    #[serde(default)]
    event_payload_key: Option<String>,
}

impl Meter {
    /// What of it does not go with the events that we send ([`meters`](crate::meters)): one an hour, with the hour's sum.
    pub fn misreads(&self) -> Option<String> {
        let is = |what: &str, has: &Option<String>, wanted: &str| {
            has.as_ref().filter(|has| *has != wanted).map(|has| format!("its {what} is {has}, not {wanted}"))
        };
        is("formula", &self.default_aggregation.formula, "sum")
            .or_else(|| is("customer's key", &self.customer_mapping.event_payload_key, "stripe_customer_id"))
            .or_else(|| is("value's key", &self.value_settings.event_payload_key, "value"))
    }
}

impl Object for Meter {
    const OBJECT: &'static str = "billing.meter";
}

/// All active meters, or what was seen of the page that could not be had.
pub async fn meters(client: &Client) -> Result<Vec<Meter>, Box<Seen>> {
    let ask = |after: Option<&str>| {
        let mut fields = vec![("status", "active"), ("limit", "100")];
        fields.extend(after.map(|id| ("starting_after", id)));
        Request::query("/v1/billing/meters", &fields)
    };
    every(client, ask, |meter: &Meter| &meter.id).await
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    #[test]
    fn an_endpoint_of_connected_accounts_is_told_by_its_application_or_by_a_type_of_theirs() {
        let endpoint = |application: serde_json::Value, types: &[&str]| -> Endpoint {
            from_value(json!({"id": "we_1", "url": "https://a.example", "status": "enabled", "enabled_events": types,
                "application": application}))
            .unwrap()
        };
        assert!(endpoint(json!("ca_1"), &["*"]).is_connect());
        assert!(endpoint(json!(null), &["account.updated", CONNECT_ONLY]).is_connect());
        let own = endpoint(json!(null), &["*"]);
        assert!(!own.is_connect() && own.hears("invoice.paid"));
        assert!(!endpoint(json!(null), &["invoice.paid"]).hears("charge.refunded"));
    }

    #[test]
    fn what_stripe_tax_waits_for_is_named() {
        let tax = json!({"status": "pending", "status_details": {"pending": {"missing_fields": ["head_office"]}}});
        assert_eq!(from_value::<Tax>(tax).unwrap().missing(), ["head_office"]);
        let active = json!({"status": "active", "status_details": {"active": {}}});
        assert!(from_value::<Tax>(active).unwrap().missing().is_empty());
    }
}
