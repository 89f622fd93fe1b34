//! A checkout session: the page where a buyer pays once, or subscribes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    client::Client,
    key::segment,
    object::{Object, every, metadata, reference},
    request::Request,
    seen::Seen,
};

const PATH: &str = "/v1/checkout/sessions";

/// A session, as far as it tells what was sold, to whom, and whether it was paid.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// `cs_…`.
    pub id: String,
    /// Where the buyer goes; none once it is over.
    #[serde(default)]
    pub url: Option<String>,
    /// `open`, `complete`, `expired`, or a word that is new.
    #[serde(default)]
    pub status: Option<String>,
    /// `paid`, `unpaid`, `no_payment_required`, or a word that is new.
    #[serde(default)]
    pub payment_status: Option<String>,
    /// `payment`, `subscription`, `setup`.
    #[serde(default)]
    pub mode: Option<String>,
    /// Before discounts and tax, in the currency's minor unit.
    #[serde(default)]
    pub amount_subtotal: Option<i64>,
    /// Lower case, `usd`.
    #[serde(default)]
    pub currency: Option<String>,
    /// Whoever made it said so.
    #[serde(default)]
    pub client_reference_id: Option<String>,
    /// What it was made with.
    #[serde(default, deserialize_with = "metadata")]
    pub metadata: BTreeMap<String, String>,
    /// What was bought, where Stripe was asked for it.
    #[serde(default)]
    pub line_items: Option<Lines>,
    /// `cus_…`.
    #[serde(default, deserialize_with = "reference")]
    pub customer: Option<String>,
    /// `sub_…`, once there is one.
    #[serde(default, deserialize_with = "reference")]
    pub subscription: Option<String>,
    /// When it is over if nobody pays, in seconds since 1970.
    #[serde(default)]
    pub expires_at: Option<i64>,
    /// Whether it happened in live mode.
    #[serde(default)]
    pub livemode: Option<bool>,
}

/// The lines of a session, perhaps not all of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lines {
    /// Those that came along.
    pub data: Vec<Line>,
    /// Whether there are others.
    #[serde(default)]
    pub has_more: bool,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Its price.
    pub price: Option<Price>,
    /// How many; one where it is not said.
    pub quantity: Option<i64>,
}

/// A price, as far as it is told from others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Price {
    /// `price_…`.
    pub id: String,
}

impl Object for Session {
    const OBJECT: &'static str = "checkout.session";
}

/// Makes a session of these fields.
pub fn create(fields: &[(String, String)]) -> Request {
    Request::post(PATH, fields)
}

/// Asks for a session, with its lines.
pub fn retrieve(id: &str) -> Request {
    Request::query(format!("{PATH}/{}", segment(id)), &[("expand[]", "line_items")])
}

/// Asks for a session, with its lines and what became of its payment.
pub fn retrieve_with_payment(id: &str) -> Request {
    let expand = [("expand[]", "line_items"), ("expand[]", "payment_intent")];
    Request::query(format!("{PATH}/{}", segment(id)), &expand)
}

/// Ends a session that nobody has gone through.
pub fn expire(id: &str) -> Request {
    Request::post(format!("{PATH}/{}/expire", segment(id)), &[])
}

/// All sessions of a customer.
pub async fn of_customer(client: &Client, customer: &str) -> Result<Vec<Session>, Box<Seen>> {
    let ask = |after: Option<&str>| {
        let mut fields = vec![("customer", customer), ("limit", "100")];
        fields.extend(after.map(|id| ("starting_after", id)));
        Request::query(PATH, &fields)
    };
    every(client, ask, |session: &Session| &session.id).await
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    #[test]
    fn the_same_session_has_the_same_bytes() {
        let fields = [("mode", "payment"), ("line_items[0][quantity]", "1"), ("metadata[user_id]", "a b&é")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let mut turned = fields.clone();
        turned.reverse();
        assert_eq!(create(&fields), create(&turned));
        assert!(create(&fields).form.contains("metadata%5Buser_id%5D=a+b%26%C3%A9"));
        assert_eq!(retrieve("cs_1/x").path, "/v1/checkout/sessions/cs_1%2Fx");
    }

    #[test]
    fn a_session_is_read_leniently() {
        let session: Session = from_value(json!({
            "id": "cs_1", "object": "checkout.session", "status": "on_the_moon", "metadata": null,
            "customer": {"id": "cus_1", "object": "customer"}, "subscription": null,
        }))
        .unwrap();
        assert_eq!(session.customer.as_deref(), Some("cus_1"));
        assert_eq!(session.status.as_deref(), Some("on_the_moon"));
        assert!(session.metadata.is_empty() && session.line_items.is_none());
    }
}
