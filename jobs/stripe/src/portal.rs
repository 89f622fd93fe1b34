//! A session of Stripe's customer portal, where a buyer looks after subscriptions, cards and invoices.

use serde::Deserialize;

use crate::{object::Object, request::Request};

/// A session, as far as it leads somewhere.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Session {
    /// `bps_…`.
    pub id: String,
    /// Where the buyer goes, soon: it ends after minutes.
    pub url: String,
}

impl Object for Session {
    const OBJECT: &'static str = "billing_portal.session";
}

/// Makes a session for a customer.
pub fn create(customer: &str, return_url: Option<&str>) -> Request {
    let mut fields = vec![("customer".to_owned(), customer.to_owned())];
    fields.extend(return_url.map(|url| ("return_url".to_owned(), url.to_owned())));
    Request::post("/v1/billing_portal/sessions", &fields)
}
