//! What metered use is reported by.

use serde::Deserialize;

use crate::{
    object::Object,
    request::{Method, Request},
};

/// One report of use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMeterEvent<'a> {
    /// The meter's `event_name`.
    pub event_name: &'a str,
    /// Stripe counts one once, within 24 hours at least. At most 100 characters.
    pub identifier: &'a str,
    /// When it was used, in seconds since 1970; not older than 35 days.
    pub timestamp: i64,
    /// `cus_…`.
    pub customer: &'a str,
    /// A whole number.
    pub value: i64,
}

/// A report that Stripe has taken. Stripe has no way to ask for one again.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct MeterEvent {
    /// As it was sent.
    pub identifier: String,
}

impl Object for MeterEvent {
    const OBJECT: &'static str = "billing.meter_event";
}

/// Reports use.
pub fn create(new: &NewMeterEvent<'_>) -> Request {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("event_name", new.event_name)
        .append_pair("identifier", new.identifier)
        .append_pair("payload[stripe_customer_id]", new.customer)
        .append_pair("payload[value]", &new.value.to_string())
        .append_pair("timestamp", &new.timestamp.to_string());
    Request { method: Method::Post, path: "/v1/billing/meter_events".into(), form: form.finish() }
}
