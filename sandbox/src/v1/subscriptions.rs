//! `/v1/subscriptions`: made, paid for the first time, changed and ended. They do not renew by themselves yet.

use chrono::{DateTime, Months};
use serde_json::{Value, json};

use super::{customers, invoices, prices};
use crate::{
    failure::{Answer, Failure},
    list::{self, Created},
    params::Params,
    routes::{Call, Route},
    store::{number, text, with},
    world::World,
};

const DAY: i64 = 24 * 60 * 60;
const CREATE: &[&str] = &[
    "customer",
    "items*",
    "metadata*",
    "default_payment_method",
    "description",
    "trial_period_days",
    "collection_method",
    "days_until_due",
    "payment_behavior",
    "payment_settings*",
    "cancel_at_period_end",
    "off_session",
    "proration_behavior",
    "automatic_tax*",
    "currency",
];
const UPDATE: &[&str] = &[
    "metadata*",
    "default_payment_method",
    "description",
    "cancel_at_period_end",
    "items*",
    "proration_behavior",
    "payment_behavior",
    "payment_settings*",
    "off_session",
];
const LIST: &[&str] = &["customer", "price", "status", "created*", "limit", "starting_after", "ending_before"];
const CANCEL: &[&str] = &["invoice_now", "prorate", "cancellation_details*"];

pub(super) const ROUTES: &[Route] = &[
    Route { method: "POST", path: "/v1/subscriptions", params: CREATE, run: create },
    Route { method: "GET", path: "/v1/subscriptions", params: LIST, run: all },
    Route { method: "GET", path: "/v1/subscriptions/{id}", params: &[], run: retrieve },
    Route { method: "POST", path: "/v1/subscriptions/{id}", params: UPDATE, run: update },
    Route { method: "DELETE", path: "/v1/subscriptions/{id}", params: CANCEL, run: cancel },
];

/// What a new subscription is made of.
#[derive(Debug)]
pub(super) struct Start {
    pub customer: String,
    /// Prices, and how many of each.
    pub items: Vec<(Value, i64)>,
    pub metadata: Value,
    pub description: Value,
    pub trial_days: i64,
    /// Whether the first invoice is paid at once; else it stays open.
    pub pays: bool,
}

/// Makes it, with its first invoice; answers both.
pub(super) fn start(world: &mut World, start: &Start) -> Result<(Value, Value), Failure> {
    let is_trial = start.trial_days > 0;
    let trial_end = world.now + start.trial_days * DAY;
    let id = world.ids.next("sub_");
    let mut items = Vec::new();
    for (price, quantity) in &start.items {
        let end = if is_trial { trial_end } else { after(world.now, &price["recurring"]) };
        items.push(item(world, &id, price, *quantity, (world.now, end)));
    }
    let currency = start.items.first().map(|(price, _)| price["currency"].clone()).unwrap_or_default();
    let status = if is_trial {
        "trialing"
    } else if start.pays {
        "active"
    } else {
        "incomplete"
    };
    let defaults = json!({
        "object": "subscription",
        "application": null,
        "application_fee_percent": null,
        "automatic_tax": { "disabled_reason": null, "enabled": false, "liability": null },
        "billing_cycle_anchor_config": null,
        "billing_mode": { "flexible": null, "type": "classic" },
        "billing_schedules": [],
        "billing_thresholds": null,
        "cancel_at": null,
        "cancel_at_period_end": false,
        "canceled_at": null,
        "cancellation_details": { "comment": null, "feedback": null, "reason": null },
        "collection_method": "charge_automatically",
        "days_until_due": null,
        "default_payment_method": null,
        "default_source": null,
        "default_tax_rates": [],
        "discounts": [],
        "ended_at": null,
        "invoice_settings": { "account_tax_ids": null, "issuer": { "type": "self" } },
        "latest_invoice": null,
        "livemode": false,
        "next_pending_invoice_item_invoice": null,
        "on_behalf_of": null,
        "pause_collection": null,
        "payment_settings": { "payment_method_options": null, "payment_method_types": null, "save_default_payment_method": "off" },
        "pending_invoice_item_interval": null,
        "pending_setup_intent": null,
        "pending_update": null,
        "schedule": null,
        "test_clock": null,
        "transfer_data": null,
        "trial_settings": { "end_behavior": { "missing_payment_method": "create_invoice" } },
    });
    let mut subscription = with(
        defaults,
        json!({
            "billing_cycle_anchor": if is_trial { trial_end } else { world.now },
            "created": world.now,
            "currency": currency,
            "customer": start.customer,
            "description": start.description,
            "items": { "object": "list", "has_more": false, "total_count": items.len(), "data": items,
                "url": format!("/v1/subscription_items?subscription={id}") },
            "metadata": start.metadata,
            "start_date": world.now,
            "status": status,
            "trial_end": is_trial.then_some(trial_end),
            "trial_start": is_trial.then_some(world.now),
            "id": id,
        }),
    );
    let invoice = invoices::first(world, &subscription, is_trial)?;
    subscription["latest_invoice"] = invoice["id"].clone();
    world.create("subscription", "customer.subscription.created", subscription.clone());
    let paid = if start.pays || is_trial { invoices::settle(world, text(&invoice, "id"), false)? } else { invoice };
    Ok((subscription, paid))
}

fn item(world: &mut World, subscription: &str, price: &Value, quantity: i64, period: (i64, i64)) -> Value {
    let recurring = &price["recurring"];
    let plan = json!({
        "id": price["id"], "object": "plan", "active": price["active"], "amount": price["unit_amount"],
        "amount_decimal": price["unit_amount_decimal"], "billing_scheme": "per_unit", "created": price["created"],
        "currency": price["currency"], "interval": recurring["interval"], "interval_count": recurring["interval_count"],
        "livemode": false, "metadata": price["metadata"], "meter": null, "nickname": price["nickname"], "product": price["product"],
        "tiers_mode": null, "transform_usage": null, "trial_period_days": null, "usage_type": recurring["usage_type"],
    });
    json!({
        "id": world.ids.next("si_"), "object": "subscription_item", "billing_thresholds": null, "created": world.now,
        "current_period_end": period.1, "current_period_start": period.0, "discounts": [], "metadata": {}, "plan": plan,
        "price": price, "quantity": quantity, "subscription": subscription, "tax_rates": [],
    })
}

/// The end of a period that starts at `from`.
fn after(from: i64, recurring: &Value) -> i64 {
    let count = number(recurring, "interval_count");
    let months = |months: i64| {
        let months = Months::new(u32::try_from(months).unwrap_or_default());
        let end = DateTime::from_timestamp(from, 0).and_then(|start| start.checked_add_months(months));
        end.map_or(from, |end| end.timestamp())
    };
    match text(recurring, "interval") {
        "day" => from + count * DAY,
        "week" => from + count * 7 * DAY,
        "year" => months(count * 12),
        _ => months(count),
    }
}

/// An open invoice of it was paid.
pub(super) fn paid(world: &mut World, id: &str) {
    let Some(mut subscription) = world.store.get("subscription", id).cloned() else { return };
    if matches!(text(&subscription, "status"), "incomplete" | "past_due") {
        subscription["status"] = json!("active");
        world.change("subscription", "customer.subscription.updated", subscription);
    }
}

fn create(world: &mut World, call: &Call) -> Answer {
    let params = &call.params;
    let customer = params.required("customer")?.to_owned();
    let given = drafts(params)?;
    if given.is_empty() {
        return Err(params.missing("items"));
    }
    let (metadata, description) = (params.metadata(&json!({}))?, params.nullable("description")?.unwrap_or_default());
    let trial_days = params.at_least(0, "trial_period_days")?.unwrap_or_default().min(730);
    let behaviors = &["allow_incomplete", "default_incomplete", "error_if_incomplete", "pending_if_incomplete"];
    let behavior = params.choice("payment_behavior", behaviors)?;
    let method = params
        .choice("collection_method", &["charge_automatically", "send_invoice"])?
        .unwrap_or("charge_automatically");
    let at_end = params.boolean("cancel_at_period_end")?.unwrap_or_default();
    let pays = behavior != Some("default_incomplete") && method == "charge_automatically";
    world.execute()?;
    customers::buyer(world, &customer)?;
    let items = made(world, given)?;
    let (mut subscription, _) = start(world, &Start { customer, items, metadata, description, trial_days, pays })?;
    if method == "send_invoice" {
        subscription["collection_method"] = json!(method);
        subscription["status"] = json!("active");
    }
    subscription["cancel_at_period_end"] = json!(at_end);
    world.store.insert("subscription", subscription.clone());
    Ok(subscription)
}

/// An item as it is asked for.
#[derive(Debug)]
pub(super) struct ItemDraft {
    id: Option<String>,
    price: Option<String>,
    data: Option<prices::Draft>,
    quantity: i64,
}

fn drafts(params: &Params) -> Result<Vec<ItemDraft>, Failure> {
    let known = ["id", "price", "price_data", "quantity", "metadata", "deleted", "tax_rates"];
    let mut drafts = Vec::new();
    for item in params.elements("items")? {
        if let Some(unknown) = item.names().into_iter().find(|name| !known.contains(&name.as_str())) {
            let message = format!("Received unknown parameter: items[][{unknown}]");
            return Err(Failure::invalid(message).code("parameter_unknown").param("items"));
        }
        let data = item.below("price_data")?.map(|data| prices::draft(&data, "items")).transpose()?;
        let (id, price) = (item.text("id")?.map(str::to_owned), item.text("price")?.map(str::to_owned));
        if id.is_none() && price.is_none() && data.is_none() {
            return Err(item.missing("price"));
        }
        drafts.push(ItemDraft { id, price, data, quantity: item.at_least(0, "quantity")?.unwrap_or(1) });
    }
    Ok(drafts)
}

/// The prices of the items, each recurring and all of one currency.
fn made(world: &mut World, drafts: Vec<ItemDraft>) -> Result<Vec<(Value, i64)>, Failure> {
    let mut items: Vec<(Value, i64)> = Vec::new();
    for draft in drafts {
        let price = match (draft.price, draft.data) {
            (Some(id), _) => world.named("price", "price", &id, "items[0][price]")?,
            (None, Some(data)) => data.make(world, false)?,
            (None, None) => {
                return Err(Failure::invalid("Missing required param: items[0][price].").code("parameter_missing"));
            }
        };
        world.store.insert("price", price.clone());
        if text(&price, "type") != "recurring" {
            let message = format!(
                "The price specified is set to `type=one_time` but this field only accepts prices with `type=recurring`: {}",
                text(&price, "id")
            );
            return Err(Failure::invalid(message).param("items"));
        }
        if items.first().is_some_and(|(first, _)| first["currency"] != price["currency"]) {
            return Err(Failure::invalid("All prices on a subscription must have the same currency.").param("items"));
        }
        prices::total(&price, draft.quantity)?;
        items.push((price, draft.quantity));
    }
    Ok(items)
}

fn retrieve(world: &mut World, call: &Call) -> Answer {
    world.object("subscription", "subscription", call.id())
}

fn update(world: &mut World, call: &Call) -> Answer {
    let params = &call.params;
    let kept = world.store.get("subscription", call.id()).and_then(|s| s.get("metadata")).cloned().unwrap_or_default();
    let metadata = params.metadata(&kept)?;
    let (description, method) = (params.nullable("description")?, params.nullable("default_payment_method")?);
    let (at_end, given) = (params.boolean("cancel_at_period_end")?, drafts(params)?);
    world.execute()?;
    let mut subscription = world.object("subscription", "subscription", call.id())?;
    if matches!(text(&subscription, "status"), "canceled" | "incomplete_expired") {
        let message = "A canceled subscription can only update its cancellation_details and metadata.";
        return Err(Failure::invalid(message));
    }
    // New prices for items that are there; nothing is prorated yet.
    for draft in given {
        let data = subscription.pointer("/items/data").and_then(Value::as_array).cloned().unwrap_or_default();
        let at = data.iter().position(|item| draft.id.as_deref().is_some_and(|id| text(item, "id") == id));
        let Some(at) = at else {
            return Err(Failure::no_such_param(
                "subscription item",
                draft.id.as_deref().unwrap_or_default(),
                "items[0][id]",
            ));
        };
        let old = data.get(at).cloned().unwrap_or_default();
        let price = draft.price.clone().unwrap_or_else(|| text(&old["price"], "id").to_owned());
        let named = ItemDraft { price: Some(price), ..draft };
        let Some((price, quantity)) = made(world, vec![named])?.pop() else { continue };
        let period = (number(&old, "current_period_start"), number(&old, "current_period_end"));
        let mut new = item(world, call.id(), &price, quantity, period);
        new["id"] = old["id"].clone();
        subscription["items"]["data"][at] = new;
    }
    subscription["metadata"] = metadata;
    for (name, value) in [("description", description), ("default_payment_method", method)] {
        if let Some(value) = value {
            subscription[name] = value;
        }
    }
    if let Some(at_end) = at_end {
        subscription["cancel_at_period_end"] = json!(at_end);
        let end = subscription.pointer("/items/data/0/current_period_end").cloned().unwrap_or_default();
        subscription["cancel_at"] = if at_end { end } else { Value::Null };
        subscription["canceled_at"] = if at_end { json!(world.now) } else { Value::Null };
    }
    Ok(world.change("subscription", "customer.subscription.updated", subscription))
}

fn cancel(world: &mut World, call: &Call) -> Answer {
    world.execute()?;
    let mut subscription = world.object("subscription", "subscription", call.id())?;
    if text(&subscription, "status") == "canceled" {
        return Err(Failure::no_such("subscription", call.id()));
    }
    subscription["status"] = json!("canceled");
    subscription["canceled_at"] = json!(world.now);
    subscription["ended_at"] = json!(world.now);
    subscription["cancellation_details"]["reason"] = json!("cancellation_requested");
    world.store.insert("subscription", subscription.clone());
    world.emit("customer.subscription.deleted", &subscription);
    Ok(subscription)
}

fn all(world: &mut World, call: &Call) -> Answer {
    let params = &call.params;
    let created = Created::read(params)?;
    let (status, price, customer) = (params.text("status")?, params.text("price")?, params.text("customer")?);
    let matching: Vec<&Value> = world
        .store
        .all("subscription")
        .rev()
        .filter(|subscription| created.holds(subscription))
        .filter(|subscription| customer.is_none_or(|customer| text(subscription, "customer") == customer))
        .filter(|subscription| match status {
            // Stripe: without a status, all that are not cancelled.
            None => text(subscription, "status") != "canceled",
            Some("all") => true,
            Some(status) => text(subscription, "status") == status,
        })
        .filter(|subscription| {
            let items = subscription.pointer("/items/data").and_then(Value::as_array);
            price.is_none_or(|price| items.into_iter().flatten().any(|item| text(&item["price"], "id") == price))
        })
        .collect();
    list::page(&matching, params, "subscription", "/v1/subscriptions")
}
