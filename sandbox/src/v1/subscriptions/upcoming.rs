//! What a subscription's next invoice will say. Nothing of it is kept.

use serde_json::{Value, json};

use super::{items, period};
use crate::{
    store::text,
    v1::{
        invoice_items,
        invoices::{
            draft::{DRAFT, Draft},
            lines,
        },
    },
    world::World,
};

/// The invoice of the next period.
pub(crate) fn next(world: &mut World, subscription: &Value) -> Value {
    let waiting = waiting(world, subscription);
    let mut all = invoice_items::lines(world, &waiting);
    let (start, end) = period::of(subscription);
    all.extend(next_period(world, subscription));
    upcoming(world, Draft::of(subscription, "upcoming", all, (start, end)))
}

pub(crate) fn next_period(world: &mut World, subscription: &Value) -> Vec<Value> {
    let (_, end) = period::of(subscription);
    let mut ahead = subscription.clone();
    let every = period::recurring(subscription["items"]["data"].as_array().map_or(&[], Vec::as_slice));
    let anchor = subscription["billing_cycle_anchor"].as_i64().unwrap_or(end);
    items::set_period(&mut ahead, (end, period::after(anchor, &every, end)));
    lines_of_period(world, &ahead)
}

/// Builds it as of the end of its period.
pub(crate) fn upcoming(world: &mut World, draft: Draft) -> Value {
    let at = draft.period.1;
    let mut invoice = draft.build(world);
    let id = text(&invoice, "id").replacen("in_", "upcoming_in_", 1);
    invoice["id"] = json!(id);
    let all = lines::all(&invoice);
    lines::put(&mut invoice, all);
    invoice["created"] = json!(at);
    invoice["next_payment_attempt"] = json!(at + DRAFT);
    invoice["ending_balance"] = json!(0);
    invoice
}

/// A line an item, for the period that its item shows.
pub(crate) fn lines_of_period(world: &mut World, subscription: &Value) -> Vec<Value> {
    let items = subscription["items"]["data"].as_array().cloned().unwrap_or_default();
    items.iter().map(|item| lines::of_subscription_item(world, subscription, item, false)).collect()
}

/// What waits for the subscription's next invoice.
pub(crate) fn waiting(world: &World, subscription: &Value) -> Vec<Value> {
    let mut waiting = invoice_items::pending(world, text(subscription, "customer"), Some(text(subscription, "id")));
    waiting.retain(|item| item["currency"] == subscription["currency"]);
    waiting
}
