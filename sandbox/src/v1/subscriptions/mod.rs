//! `/v1/subscriptions`: made, paid for, renewed as time passes, changed and ended.

mod create;
mod cycle;
pub(super) mod end;
pub(super) mod hooks;
pub(super) mod items;
pub(super) mod period;
pub(super) mod proration;
mod start;
pub(super) mod state;
#[cfg(test)]
mod tests;
pub(super) mod upcoming;
pub(super) mod update;

use serde_json::{Value, json};

use crate::{
    endpoint::{Call, Endpoint},
    failure::{Answer, Failure},
    list::{self, Created},
    params::Params,
    store::text,
    world::World,
};

const UPDATE: &[&str] = &[
    "metadata*",
    "default_payment_method",
    "description",
    "cancel_at",
    "cancel_at_period_end",
    "cancellation_details*",
    "items*",
    "billing_cycle_anchor",
    "collection_method",
    "days_until_due",
    "discounts*",
    "trial_end",
    "trial_settings*",
    "trial_from_plan",
    "pause_collection*",
    "proration_behavior",
    "proration_date",
    "payment_behavior",
    "payment_settings*",
    "off_session",
    "automatic_tax*",
];
const LIST: &[&str] = &[
    "customer",
    "price",
    "status",
    "collection_method",
    "test_clock",
    "created*",
    "current_period_end*",
    "current_period_start*",
    "limit",
    "starting_after",
    "ending_before",
];
const CANCEL: &[&str] = &["invoice_now", "prorate", "cancellation_details*"];
const RESUME: &[&str] = &["billing_cycle_anchor", "proration_behavior", "proration_date"];

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint { method: "POST", path: "/v1/subscriptions", params: create::PARAMS, run: create::create },
    Endpoint { method: "GET", path: "/v1/subscriptions", params: LIST, run: all },
    Endpoint { method: "GET", path: "/v1/subscriptions/{id}", params: &[], run: retrieve },
    Endpoint { method: "POST", path: "/v1/subscriptions/{id}", params: UPDATE, run: update::update },
    Endpoint { method: "DELETE", path: "/v1/subscriptions/{id}", params: CANCEL, run: end::cancel },
    Endpoint { method: "POST", path: "/v1/subscriptions/{id}/resume", params: RESUME, run: end::resume },
];

/// Fields that are kept as they are given, when a subscription is made and when it changes.
fn fields(params: &Params, kept: &Value) -> Result<Vec<(&'static str, Value)>, Failure> {
    let mut fields = Vec::new();
    for name in ["description", "default_payment_method"] {
        fields.extend(params.nullable(name)?.map(|value| (name, value)));
    }
    fields.extend(params.at_least(0, "days_until_due")?.map(|days| ("days_until_due", json!(days.min(3650)))));
    let method = params.choice("collection_method", &["charge_automatically", "send_invoice"])?;
    fields.extend(method.map(|method| ("collection_method", json!(method))));
    match params.text("cancel_at") {
        Ok(None) => {}
        Ok(Some("")) => fields.extend([("cancel_at", Value::Null), ("canceled_at", Value::Null)]),
        _ => fields.extend(params.integer("cancel_at")?.map(|at| ("cancel_at", json!(at)))),
    }
    if let Some(settings) = params.below("trial_settings")? {
        let behavior = settings.below("end_behavior")?.unwrap_or_default();
        let words = ["cancel", "create_invoice", "pause"];
        if let Some(word) = behavior.choice("missing_payment_method", &words)? {
            fields.push(("trial_settings", json!({ "end_behavior": { "missing_payment_method": word } })));
        }
    }
    if params.has("pause_collection") {
        let pause = match params.below("pause_collection")? {
            None => Value::Null,
            Some(pause) => {
                pause.required("behavior")?;
                let words = ["keep_as_draft", "mark_uncollectible", "void"];
                json!({ "behavior": pause.choice("behavior", &words)?, "resumes_at": pause.integer("resumes_at")? })
            }
        };
        fields.push(("pause_collection", pause));
    }
    if let Some(details) = params.below("cancellation_details")? {
        let mut all = kept["cancellation_details"].clone();
        for name in ["comment", "feedback"] {
            if let Some(value) = details.nullable(name)? {
                all[name] = value;
            }
        }
        fields.push(("cancellation_details", all));
    }
    Ok(fields)
}

fn retrieve(world: &mut World, call: &Call) -> Answer {
    world.object("subscription", "subscription", call.id())
}

fn all(world: &mut World, call: &Call) -> Answer {
    let params = &call.params;
    let created = Created::read(params)?;
    let (status, price) = (params.text("status")?, params.text("price")?);
    let words = [
        "active",
        "all",
        "canceled",
        "ended",
        "incomplete",
        "incomplete_expired",
        "past_due",
        "paused",
        "trialing",
        "unpaid",
    ];
    params.choice("status", &words)?;
    for name in ["current_period_end", "current_period_start"] {
        if params.has(name) {
            return Err(Failure::invalid(format!("The sandbox does not filter subscriptions by {name}.")).param(name));
        }
    }
    let mut matching: Vec<&Value> = Vec::new();
    for subscription in world.store.all("subscription").rev().filter(|subscription| created.holds(subscription)) {
        let is = text(subscription, "status");
        let mut asked = match status {
            // Stripe: without a status, all that are not cancelled.
            None => is != "canceled",
            Some("all") => true,
            Some("ended") => !state::is_live(subscription),
            Some(status) => is == status,
        };
        let items = subscription.pointer("/items/data").and_then(Value::as_array);
        asked &= price.is_none_or(|price| items.into_iter().flatten().any(|item| text(&item["price"], "id") == price));
        for field in ["customer", "collection_method", "test_clock"] {
            asked &= list::is_asked(subscription, params, field)?;
        }
        if asked {
            matching.push(subscription);
        }
    }
    list::page(&matching, params, "subscription", "/v1/subscriptions")
}
