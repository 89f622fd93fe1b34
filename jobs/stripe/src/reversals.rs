//! Money back from a receiver: reversals of Transfers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    client::Client,
    key::segment,
    object::{Object, every, metadata, reference},
    request::Request,
    seen::Seen,
    transfers::Transfer,
};

/// What came back of a Transfer, once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reversal {
    /// `trr_…`.
    pub id: String,
    /// In the currency's minor unit.
    pub amount: i64,
    /// Lower case, `usd`.
    pub currency: String,
    /// `tr_…`.
    #[serde(default, deserialize_with = "reference")]
    pub transfer: Option<String>,
    /// What it was made with; one that was made in the dashboard has none.
    #[serde(default, deserialize_with = "metadata")]
    pub metadata: BTreeMap<String, String>,
    /// When it was made, in seconds since 1970.
    pub created: i64,
}

impl Object for Reversal {
    const OBJECT: &'static str = "transfer_reversal";
}

/// A Transfer and all that came back of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// The Transfer.
    pub transfer: Transfer,
    /// All its reversals, newest first.
    pub reversals: Vec<Reversal>,
}

/// Takes back a part of a Transfer, in minor units, or all of it.
pub fn create(transfer: &str, amount: i64, metadata: &BTreeMap<String, String>) -> Request {
    let mut fields = vec![("amount".to_owned(), amount.to_string())];
    fields.extend(metadata.iter().map(|(name, value)| (format!("metadata[{name}]"), value.clone())));
    Request::post(format!("/v1/transfers/{}/reversals", segment(transfer)), &fields)
}

/// Asks for one page of a Transfer's reversals, newest first.
pub fn list(transfer: &str, starting_after: Option<&str>) -> Request {
    let mut fields = vec![("limit", "100")];
    fields.extend(starting_after.map(|last| ("starting_after", last)));
    Request::query(format!("/v1/transfers/{}/reversals", segment(transfer)), &fields)
}

/// All reversals of a Transfer, or what was seen of the page that could not be had: half a lookup is none.
pub async fn list_all(client: &Client, transfer: &str) -> Result<Vec<Reversal>, Box<Seen>> {
    every(client, |after| list(transfer, after), |reversal: &Reversal| &reversal.id).await
}

/// A Transfer as it is now, with all its reversals.
pub async fn ask(client: &Client, transfer: &str) -> Result<Told, Box<Seen>> {
    let request = Request::get(format!("/v1/transfers/{}", segment(transfer)));
    let transfer: Transfer = client.send(&request, None).await.read()?;
    let reversals = list_all(client, &transfer.id).await?;
    Ok(Told { transfer, reversals })
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;
    use crate::request::Method;

    #[test]
    fn a_reversal_names_its_transfer_its_amount_and_whose_it_is() {
        let metadata = [("reversal", "reversal:j 1:1"), ("job_id", "j 1")].map(|(k, v)| (k.into(), v.into())).into();
        let request = create("tr_1", 30, &metadata);
        assert_eq!((request.method, request.path.as_str()), (Method::Post, "/v1/transfers/tr_1/reversals"));
        assert_eq!(request.form, "amount=30&metadata%5Bjob_id%5D=j+1&metadata%5Breversal%5D=reversal%3Aj+1%3A1");
        assert_eq!(create("tr_1/../x", 1, &BTreeMap::new()).path, "/v1/transfers/tr_1%2F%2E%2E%2Fx/reversals");
        assert_eq!(list("tr_1", Some("trr_9")).form, "limit=100&starting_after=trr_9");
    }

    #[test]
    fn one_of_the_dashboard_reads_too() {
        let read: Reversal =
            from_value(json!({"id": "trr_1", "object": "transfer_reversal", "amount": 30, "currency": "usd",
            "created": 1, "transfer": {"id": "tr_1", "object": "transfer"}, "metadata": null, "source_refund": null}))
            .unwrap();
        assert_eq!((read.transfer.as_deref(), read.metadata.len()), (Some("tr_1"), 0));
    }
}
