//! The items of subscriptions: read from what is asked for, and made.

use serde_json::{Value, json};

use crate::{
    failure::{Answer, Failure},
    params::Params,
    store::{number, text},
    v1::prices,
    world::World,
};

/// An item as it is asked for.
#[derive(Debug, Default)]
pub(crate) struct ItemDraft {
    /// One that is there.
    pub id: Option<String>,
    pub price: Option<String>,
    pub data: Option<prices::Draft>,
    pub quantity: Option<i64>,
    pub deleted: bool,
    pub metadata: Option<Value>,
}

const KNOWN: &[&str] =
    &["id", "price", "price_data", "quantity", "metadata", "deleted", "tax_rates", "clear_usage", "discounts"];

/// Reads `items`.
pub(crate) fn read(params: &Params, is_new: bool) -> Result<Vec<ItemDraft>, Failure> {
    let mut drafts = Vec::new();
    for item in params.elements("items")? {
        if let Some(unknown) = item.names().into_iter().find(|name| !KNOWN.contains(&name.as_str())) {
            let message = format!("Received unknown parameter: items[][{unknown}]");
            return Err(Failure::invalid(message).code("parameter_unknown").param("items"));
        }
        let draft = one(&item)?;
        if draft.price.is_none() && draft.data.is_none() && (is_new || draft.id.is_none()) {
            return Err(item.missing("price"));
        }
        drafts.push(draft);
    }
    Ok(drafts)
}

/// Reads one item.
pub(crate) fn one(item: &Params) -> Result<ItemDraft, Failure> {
    let named = |name: &str| Ok::<_, Failure>(item.text(name)?.filter(|id| !id.is_empty()).map(str::to_owned));
    Ok(ItemDraft {
        id: named("id")?,
        price: named("price")?,
        data: item.below("price_data")?.map(|data| prices::draft(&data, "items")).transpose()?,
        quantity: item.at_least(0, "quantity")?,
        deleted: item.boolean("deleted")?.unwrap_or_default(),
        metadata: item.has("metadata").then(|| item.metadata(&json!({}))).transpose()?,
    })
}

/// The price of a draft, which recurs.
fn price(world: &mut World, draft: &mut ItemDraft) -> Answer {
    let price = match (draft.price.take(), draft.data.take()) {
        (Some(id), _) => world.named("price", "price", &id, "items[0][price]")?,
        (None, Some(data)) => {
            let price = data.make(world, false)?;
            world.store.insert("price", price.clone());
            price
        }
        (None, None) => {
            return Err(Failure::invalid("Missing required param: items[0][price].").code("parameter_missing"));
        }
    };
    if text(&price, "type") != "recurring" {
        let message = format!(
            "The price specified is set to `type=one_time` but this field only accepts prices with `type=recurring`: {}",
            text(&price, "id")
        );
        return Err(Failure::invalid(message).param("items"));
    }
    prices::total(&price, draft.quantity.unwrap_or(1))?;
    Ok(price)
}

/// The prices of a new subscription's items, and how many of each.
pub(crate) fn priced(world: &mut World, drafts: Vec<ItemDraft>) -> Result<Vec<(Value, i64)>, Failure> {
    let mut items = Vec::new();
    for mut draft in drafts {
        items.push((price(world, &mut draft)?, draft.quantity.unwrap_or(1)));
    }
    Ok(items)
}

/// What `add_invoice_items` puts on the first invoice: prices that do not recur, and how many of each.
pub(crate) fn once(world: &mut World, drafts: Vec<ItemDraft>) -> Result<Vec<(Value, i64)>, Failure> {
    let mut items = Vec::new();
    for draft in drafts {
        let price = match (draft.price, draft.data) {
            (Some(id), _) => world.named("price", "price", &id, "add_invoice_items[0][price]")?,
            (None, Some(data)) => data.make(world, false)?,
            (None, None) => {
                let message = "Missing required param: add_invoice_items[0][price].";
                return Err(Failure::invalid(message).code("parameter_missing"));
            }
        };
        if text(&price, "type") == "recurring" {
            let message = "The price specified is set to `type=recurring` but this field only accepts prices with `type=one_time`.";
            return Err(Failure::invalid(message).param("add_invoice_items"));
        }
        world.store.insert("price", price.clone());
        let quantity = draft.quantity.unwrap_or(1);
        prices::total(&price, quantity)?;
        items.push((price, quantity));
    }
    Ok(items)
}

/// Judges items together: one currency, one interval, at least one of them.
pub(crate) fn judge(items: &[&Value]) -> Result<(), Failure> {
    let Some(first) = items.first() else {
        let message = "A subscription must have at least one active price. In order to cancel it, delete the subscription instead.";
        return Err(Failure::invalid(message).param("items"));
    };
    for price in items {
        if price["currency"] != first["currency"] {
            return Err(Failure::invalid("All prices on a subscription must have the same currency.").param("items"));
        }
        let every =
            |price: &Value| (price["recurring"]["interval"].clone(), price["recurring"]["interval_count"].clone());
        if every(price) != every(first) {
            let message = "All prices on a subscription must have the same `recurring.interval` and `recurring.interval_count`. \
                           If you meant to update an existing subscription item, pass its id.";
            return Err(Failure::invalid(message).param("items"));
        }
    }
    Ok(())
}

/// The items of a subscription after a change; those that are there keep their periods, new ones get the present one.
pub(crate) fn changed(world: &mut World, subscription: &Value, drafts: Vec<ItemDraft>) -> Result<Vec<Value>, Failure> {
    let mut items = subscription["items"]["data"].as_array().cloned().unwrap_or_default();
    let period = super::period::of(subscription);
    for mut draft in drafts {
        let Some(id) = draft.id.clone() else {
            let price = price(world, &mut draft)?;
            if items.iter().any(|item| item["price"]["id"] == price["id"]) {
                let message =
                    format!("Cannot add multiple subscription items with the same price: {}", text(&price, "id"));
                return Err(Failure::invalid(message).param("items[0][price]"));
            }
            let mut item = item(world, text(subscription, "id"), &price, draft.quantity.unwrap_or(1), period);
            item["metadata"] = draft.metadata.unwrap_or_else(|| json!({}));
            items.push(item);
            continue;
        };
        let Some(at) = items.iter().position(|item| text(item, "id") == id) else {
            return Err(Failure::no_such_param("subscription item", &id, "items[0][id]"));
        };
        let old = items.remove(at);
        if draft.deleted {
            continue;
        }
        if draft.price.is_none() && draft.data.is_none() {
            draft.price = Some(text(&old["price"], "id").to_owned());
        }
        // Stripe: the quantity stays, unless another is given.
        draft.quantity = draft.quantity.or(Some(number(&old, "quantity")));
        let price = price(world, &mut draft)?;
        let mut new = item(world, text(subscription, "id"), &price, draft.quantity.unwrap_or(1), period);
        new["id"] = old["id"].clone();
        new["created"] = old["created"].clone();
        new["metadata"] = draft.metadata.unwrap_or_else(|| old["metadata"].clone());
        items.insert(at, new);
    }
    let prices: Vec<&Value> = items.iter().map(|item| &item["price"]).collect();
    judge(&prices)?;
    Ok(items)
}

/// An item.
pub(crate) fn item(world: &mut World, subscription: &str, price: &Value, quantity: i64, period: (i64, i64)) -> Value {
    let recurring = &price["recurring"];
    let metered = recurring["usage_type"] == "metered";
    let plan = json!({
        "id": price["id"], "object": "plan", "active": price["active"], "amount": price["unit_amount"],
        "amount_decimal": price["unit_amount_decimal"], "billing_scheme": "per_unit", "created": price["created"],
        "currency": price["currency"], "interval": recurring["interval"], "interval_count": recurring["interval_count"],
        "livemode": false, "metadata": price["metadata"], "meter": recurring["meter"], "nickname": price["nickname"],
        "product": price["product"], "tiers_mode": null, "transform_usage": null, "trial_period_days": null,
        "usage_type": recurring["usage_type"],
    });
    json!({
        "id": world.ids.next("si_"), "object": "subscription_item", "billed_until": null, "billing_thresholds": null,
        "created": world.now, "current_period_end": period.1, "current_period_start": period.0, "discounts": [], "metadata": {},
        "plan": plan, "price": price, "quantity": if metered { Value::Null } else { json!(quantity) },
        "subscription": subscription, "tax_rates": [],
    })
}

/// Puts items into their subscription.
pub(crate) fn put(subscription: &mut Value, items: &[Value]) {
    subscription["items"] = json!({
        "object": "list", "has_more": false, "total_count": items.len(), "data": items,
        "url": format!("/v1/subscription_items?subscription={}", text(subscription, "id")),
    });
}

/// All items of a subscription have this period now.
pub(crate) fn set_period(subscription: &mut Value, (start, end): (i64, i64)) {
    for item in subscription.pointer_mut("/items/data").and_then(Value::as_array_mut).into_iter().flatten() {
        item["current_period_start"] = json!(start);
        item["current_period_end"] = json!(end);
    }
}
