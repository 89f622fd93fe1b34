//! Money to a receiver.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use stripe_connect::transfer::{CreateTransfer, ListTransfer};
use stripe_types::{Currency, RangeBoundsTs, RangeQueryTs};

use crate::{
    client::Client,
    object::{Object, every, metadata, reference},
    request::Request,
    seen::Seen,
};

/// Stripe: pagination. The most a page can hold.
const PAGE: i64 = 100;
/// What a Transfer is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTransfer<'a> {
    /// In the currency's minor unit.
    pub amount: i64,
    /// Lower case, `usd`.
    pub currency: &'a str,
    /// `acct_…`.
    pub destination: &'a str,
    /// By what a lookup finds it.
    pub transfer_group: &'a str,
    /// By what a lookup knows it.
    pub metadata: BTreeMap<String, String>,
    /// The charge whose money it is, `ch_…`; else it takes from the available balance.
    pub source_transaction: Option<&'a str>,
}

/// Which Transfers to look through; what is not set does not narrow it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter<'a> {
    /// `acct_…`.
    pub destination: Option<&'a str>,
    /// The group it was made with.
    pub transfer_group: Option<&'a str>,
    /// Not made before this, in seconds since 1970.
    pub created_from: Option<i64>,
    /// Made before this, in seconds since 1970.
    pub created_before: Option<i64>,
}

/// A Transfer that exists. A reversed one was still sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    /// `tr_…`.
    pub id: String,
    /// In the currency's minor unit.
    pub amount: i64,
    /// What of it was taken back.
    #[serde(default)]
    pub amount_reversed: i64,
    /// Lower case, `usd`.
    pub currency: String,
    /// `acct_…`.
    #[serde(default, deserialize_with = "reference")]
    pub destination: Option<String>,
    /// Whether all of it was taken back.
    #[serde(default)]
    pub reversed: bool,
    /// The group it was made with.
    #[serde(default)]
    pub transfer_group: Option<String>,
    /// What it was made with, unless somebody changed it since.
    #[serde(default, deserialize_with = "metadata")]
    pub metadata: BTreeMap<String, String>,
    /// When it was made, in seconds since 1970.
    pub created: i64,
}

impl Object for Transfer {
    const OBJECT: &'static str = "transfer";
}

/// Makes a Transfer.
pub fn create(new: &NewTransfer<'_>) -> Request {
    let mut builder = CreateTransfer::new(currency(new.currency), new.destination)
        .amount(new.amount)
        .transfer_group(new.transfer_group)
        .metadata(new.metadata.clone().into_iter().collect::<HashMap<_, _>>());
    if let Some(charge) = new.source_transaction {
        builder = builder.source_transaction(charge);
    }
    Request::of(&builder)
}

/// Asks for one page of Transfers, newest first.
pub fn list(filter: &Filter<'_>, starting_after: Option<&str>) -> Request {
    let mut builder = ListTransfer::new().limit(PAGE);
    if let Some(destination) = filter.destination {
        builder = builder.destination(destination);
    }
    if let Some(group) = filter.transfer_group {
        builder = builder.transfer_group(group);
    }
    if filter.created_from.is_some() || filter.created_before.is_some() {
        let bounds = RangeBoundsTs { gte: filter.created_from, lt: filter.created_before, ..Default::default() };
        builder = builder.created(RangeQueryTs::Bounds(bounds));
    }
    if let Some(last) = starting_after {
        builder = builder.starting_after(last);
    }
    Request::of(&builder)
}

/// All pages of a list, or what was seen of the page that could not be had: half a lookup is none.
pub async fn list_all(client: &Client, filter: &Filter<'_>) -> Result<Vec<Transfer>, Box<Seen>> {
    every(client, |after| list(filter, after), |transfer: &Transfer| &transfer.id).await
}

fn currency(code: &str) -> Currency {
    code.parse().unwrap_or_else(|never: std::convert::Infallible| match never {})
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;
    use crate::request::Method;

    fn new() -> NewTransfer<'static> {
        NewTransfer {
            amount: 100,
            currency: "usd",
            destination: "acct_1",
            transfer_group: "payout:j 1",
            metadata: [("job_id", "j 1"), ("user_id", "u&1=é")].map(|(k, v)| (k.into(), v.into())).into(),
            source_transaction: None,
        }
    }

    #[test]
    fn the_same_transfer_has_the_same_bytes() {
        let request = create(&new());
        assert_eq!((request.method, request.path.as_str()), (Method::Post, "/v1/transfers"));
        let fields: Vec<(String, String)> = form_urlencoded::parse(request.form.as_bytes()).into_owned().collect();
        let expected = [
            ("amount", "100"),
            ("currency", "usd"),
            ("destination", "acct_1"),
            ("metadata[job_id]", "j 1"),
            ("metadata[user_id]", "u&1=é"),
            ("transfer_group", "payout:j 1"),
        ];
        assert_eq!(fields, expected.map(|(k, v)| (k.to_owned(), v.to_owned())));
        // Each builder has a hash map of its own, with an order of its own.
        for _ in 0..20 {
            assert_eq!(create(&new()), request);
        }
    }

    #[test]
    fn each_field_changes_the_fingerprint() {
        let plain = create(&new()).fingerprint();
        let others = [
            NewTransfer { amount: 101, ..new() },
            NewTransfer { currency: "eur", ..new() },
            NewTransfer { destination: "acct_2", ..new() },
            NewTransfer { transfer_group: "payout:j2", ..new() },
            NewTransfer { metadata: BTreeMap::new(), ..new() },
            NewTransfer { source_transaction: Some("ch_1"), ..new() },
        ];
        for other in others {
            assert_ne!(create(&other).fingerprint(), plain, "{other:?}");
        }
    }

    #[test]
    fn a_list_is_filtered_and_paged() {
        let filter =
            Filter { destination: Some("acct_1"), created_from: Some(5), created_before: Some(9), ..Filter::default() };
        let request = list(&filter, Some("tr_9"));
        assert_eq!(request.method, Method::Get);
        let fields: Vec<_> = form_urlencoded::parse(request.form.as_bytes()).map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(
            fields,
            ["created[gte]=5", "created[lt]=9", "destination=acct_1", "limit=100", "starting_after=tr_9"]
        );
    }

    #[test]
    fn a_transfer_is_read_expanded_or_not() {
        let read = |destination| {
            from_value::<Transfer>(json!({
                "id": "tr_1", "object": "transfer", "amount": 100, "currency": "usd", "created": 1, "destination": destination,
                "source_type": "moon_dust",
            }))
            .unwrap()
            .destination
        };
        assert_eq!(read(json!("acct_1")).as_deref(), Some("acct_1"));
        assert_eq!(read(json!({"id": "acct_1", "object": "account"})).as_deref(), Some("acct_1"));
        assert_eq!(read(json!(null)), None);
    }
}
