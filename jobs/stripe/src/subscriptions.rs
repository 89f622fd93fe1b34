//! A subscription: whose it is.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{
    key::segment,
    object::{Object, metadata, reference},
    request::Request,
};

/// A subscription, as far as it links to a user.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Subscription {
    /// `sub_…`.
    pub id: String,
    /// `cus_…`: who pays for it, and the next to ask where the metadata says nothing.
    #[serde(default, deserialize_with = "reference")]
    pub customer: Option<String>,
    /// Ours, if it carries `user_id`.
    #[serde(default, deserialize_with = "metadata")]
    pub metadata: BTreeMap<String, String>,
}

impl Object for Subscription {
    const OBJECT: &'static str = "subscription";
}

/// Asks for a subscription.
pub fn retrieve(id: &str) -> Request {
    Request::get(format!("/v1/subscriptions/{}", segment(id)))
}
