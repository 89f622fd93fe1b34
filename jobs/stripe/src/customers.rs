//! A buyer's customer object: whose it is.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{
    key::segment,
    object::{Object, metadata},
    request::Request,
};

/// A customer, as far as it links to a user.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
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
