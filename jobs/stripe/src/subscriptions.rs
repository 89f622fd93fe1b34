//! A subscription: whose it is.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{
    key::segment,
    object::{Object, metadata, reference},
    request::{Method, Request},
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

/// Asks for a subscription, with its newest invoice.
pub fn retrieve_with_invoice(id: &str) -> Request {
    Request::query(format!("/v1/subscriptions/{}", segment(id)), &[("expand[]", "latest_invoice")])
}

/// Asks for an invoice.
pub fn invoice(id: &str) -> Request {
    Request::get(format!("/v1/invoices/{}", segment(id)))
}

/// Makes an invoice void: an open one, without a payment under way (Stripe: invoices, void).
pub fn void(invoice: &str) -> Request {
    with(Method::Post, format!("/v1/invoices/{}/void", segment(invoice)), Vec::new())
}

/// Stripe: pagination. The most a page can hold.
const PAGE: &str = "100";

/// Asks for a page of an invoice's lines.
pub fn invoice_lines(invoice: &str, starting_after: Option<&str>) -> Request {
    let mut fields = vec![("limit".to_owned(), PAGE.to_owned())];
    fields.extend(starting_after.map(|last| ("starting_after".to_owned(), last.to_owned())));
    with(Method::Get, format!("/v1/invoices/{}/lines", segment(invoice)), fields)
}

/// Asks for a schedule.
pub fn schedule(id: &str) -> Request {
    Request::get(format!("/v1/subscription_schedules/{}", segment(id)))
}

/// Asks for a price.
pub fn price(id: &str) -> Request {
    Request::get(format!("/v1/prices/{}", segment(id)))
}

/// Asks for a price with what it costs in each of its currencies.
pub fn full_price(id: &str) -> Request {
    let fields = vec![("expand[]".to_owned(), "currency_options".to_owned())];
    with(Method::Get, format!("/v1/prices/{}", segment(id)), fields)
}

/// Asks for a page of a customer's invoice items that were made from one second, not counted, to another.
pub fn invoice_items(customer: &str, (after, until): (i64, i64), starting_after: Option<&str>) -> Request {
    let mut fields = vec![
        ("limit".to_owned(), PAGE.to_owned()),
        ("customer".to_owned(), customer.to_owned()),
        ("created[gt]".to_owned(), after.to_string()),
        ("created[lte]".to_owned(), until.to_string()),
    ];
    fields.extend(starting_after.map(|last| ("starting_after".to_owned(), last.to_owned())));
    with(Method::Get, "/v1/invoiceitems".into(), fields)
}

/// Puts another price into an item now, with prorations.
pub fn change_price(subscription: &str, item: &str, price: &str) -> Request {
    let fields = [("items[0][id]", item), ("items[0][price]", price), ("proration_behavior", "create_prorations")];
    let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    with(Method::Post, format!("/v1/subscriptions/{}", segment(subscription)), fields)
}

/// Makes a schedule of a subscription as it is.
pub fn schedule_of(subscription: &str) -> Request {
    let fields = vec![("from_subscription".to_owned(), subscription.to_owned())];
    with(Method::Post, "/v1/subscription_schedules".into(), fields)
}

/// One phase of a schedule: prices, and how many of each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phase {
    /// When it begins and when it ends, in seconds since 1970; the last one runs on.
    pub period: (Option<i64>, Option<i64>),
    /// Prices with their quantities.
    pub items: Vec<(String, i64)>,
}

/// Sets the phases of a schedule; after the last the subscription goes on as it is then. Nothing is prorated.
pub fn set_phases(schedule: &str, phases: &[Phase]) -> Request {
    let mut fields =
        vec![("end_behavior".to_owned(), "release".to_owned()), ("proration_behavior".to_owned(), "none".to_owned())];
    for (p, phase) in phases.iter().enumerate() {
        let at = |name: &str| format!("phases[{p}][{name}]");
        fields.extend(phase.period.0.map(|start| (at("start_date"), start.to_string())));
        fields.extend(phase.period.1.map(|end| (at("end_date"), end.to_string())));
        fields.push((at("proration_behavior"), "none".to_owned()));
        for (i, (price, quantity)) in phase.items.iter().enumerate() {
            fields.push((format!("phases[{p}][items][{i}][price]"), price.clone()));
            fields.push((format!("phases[{p}][items][{i}][quantity]"), quantity.to_string()));
        }
    }
    with(Method::Post, format!("/v1/subscription_schedules/{}", segment(schedule)), fields)
}

/// Pauses the collection of a subscription: invoices of that time are made void, and a mark of ours says for which invoice.
pub fn pause_for(subscription: &str, invoice: &str) -> Request {
    let fields = [("pause_collection[behavior]", "void"), ("metadata[dunning]", invoice)];
    let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    with(Method::Post, format!("/v1/subscriptions/{}", segment(subscription)), fields)
}

/// Lets the collection of a subscription go on, and takes our mark off it.
pub fn unpause(subscription: &str) -> Request {
    let fields = [("pause_collection", ""), ("metadata[dunning]", "")];
    let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    with(Method::Post, format!("/v1/subscriptions/{}", segment(subscription)), fields)
}

/// Ends a subscription now. Stripe takes no key for it: a second time it is no longer there.
pub fn cancel(subscription: &str) -> Request {
    with(Method::Delete, format!("/v1/subscriptions/{}", segment(subscription)), Vec::new())
}

/// The same fields give the same bytes.
fn with(method: Method, path: String, mut fields: Vec<(String, String)>) -> Request {
    fields.sort_unstable();
    let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    Request { method, path, form }
}
