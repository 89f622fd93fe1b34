//! What becomes of a subscription when one of its invoices is paid, is not, or is void.

use serde_json::{Value, json};

use super::{cycle, state};
use crate::{settings::AfterRetries, store::text, v1::invoices::lines::subscription_of, world::World};

fn of(world: &World, invoice: &Value) -> Option<Value> {
    world.store.get("subscription", subscription_of(invoice)).cloned()
}

fn set(world: &mut World, mut subscription: Value, status: &str) -> Value {
    subscription["status"] = json!(status);
    world.change("subscription", "customer.subscription.updated", subscription)
}

pub(crate) fn paid(world: &mut World, invoice: &Value) {
    let Some(subscription) = of(world, invoice) else { return };
    let latest = subscription["latest_invoice"] == invoice["id"];
    match text(&subscription, "status") {
        "incomplete" => {
            let subscription = set(world, subscription, "active");
            cycle::plan(world, &subscription);
        }
        "past_due" | "unpaid" if latest || !owes(world, invoice) => {
            set(world, subscription, "active");
        }
        "paused" if latest && subscription["_resuming"] == true => {
            let mut subscription = subscription;
            subscription["_resuming"] = Value::Null;
            let subscription = set(world, subscription, "active");
            world.emit("customer.subscription.resumed", &subscription);
            cycle::plan(world, &subscription);
        }
        _ => {}
    }
}

/// Stripe: a subscription begins while its first payment, a debit, is on its way.
pub(crate) fn processing(world: &mut World, invoice: &Value) {
    if let Some(subscription) = of(world, invoice).filter(|subscription| text(subscription, "status") == "incomplete") {
        let subscription = set(world, subscription, "active");
        cycle::plan(world, &subscription);
    }
}

/// Whether another invoice of the subscription is open.
fn owes(world: &World, invoice: &Value) -> bool {
    world.store.all("invoice").rev().any(|other| {
        text(other, "status") == "open"
            && other["id"] != invoice["id"]
            && subscription_of(other) == subscription_of(invoice)
    })
}

/// A payment failed, or was due. A first one leaves the subscription incomplete.
pub(crate) fn failed(world: &mut World, invoice: &Value) {
    let Some(subscription) = of(world, invoice) else { return };
    let manual = text(invoice, "billing_reason") == "manual";
    if !manual && matches!(text(&subscription, "status"), "active" | "trialing") {
        set(world, subscription, "past_due");
    }
}

/// The last retry failed.
pub(crate) fn given_up(world: &mut World, invoice: &Value) {
    let Some(subscription) = of(world, invoice).filter(|subscription| text(subscription, "status") == "past_due")
    else {
        return;
    };
    match world.settings().after_retries {
        AfterRetries::Cancel => drop(state::end(world, subscription, "payment_failed")),
        AfterRetries::Unpaid => drop(set(world, subscription, "unpaid")),
        AfterRetries::PastDue => {}
    }
}

/// Stripe: a subscription whose first invoice is void has expired.
pub(crate) fn voided(world: &mut World, invoice: &Value) {
    let Some(mut subscription) = of(world, invoice) else { return };
    if text(&subscription, "status") == "incomplete" && text(invoice, "billing_reason") == "subscription_create" {
        subscription["ended_at"] = json!(world.now);
        set(world, subscription, "incomplete_expired");
    }
}
