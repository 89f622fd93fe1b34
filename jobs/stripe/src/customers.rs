//! A buyer's customer object: whose it is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    client::Client,
    key::segment,
    object::{Object, every, metadata},
    request::Request,
    seen::Seen,
};

/// A customer, as far as it links to a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Customer {
    /// `cus_…`.
    pub id: String,
    /// Ours, if it carries `user_id`. Empty once deleted.
    #[serde(default, deserialize_with = "metadata")]
    pub metadata: BTreeMap<String, String>,
    /// Stripe still answers for a deleted customer, with little more than this.
    #[serde(default)]
    pub deleted: bool,
}

impl Object for Customer {
    const OBJECT: &'static str = "customer";
}

/// Asks for a customer.
pub fn retrieve(id: &str) -> Request {
    Request::get(format!("/v1/customers/{}", segment(id)))
}

/// Makes a customer.
pub fn create(email: Option<&str>, metadata: &BTreeMap<String, String>) -> Request {
    let mut fields: Vec<(String, String)> =
        metadata.iter().map(|(name, value)| (format!("metadata[{name}]"), value.clone())).collect();
    fields.extend(email.map(|email| ("email".to_owned(), email.to_owned())));
    Request::post("/v1/customers", &fields)
}

/// All customers made since, in seconds since 1970; deleted ones are not among them.
pub async fn made_since(client: &Client, since: i64) -> Result<Vec<Customer>, Box<Seen>> {
    let since = since.to_string();
    let ask = |after: Option<&str>| {
        let mut fields = vec![("created[gte]", since.as_str()), ("limit", "100")];
        fields.extend(after.map(|id| ("starting_after", id)));
        Request::query("/v1/customers", &fields)
    };
    every(client, ask, |customer: &Customer| &customer.id).await
}
