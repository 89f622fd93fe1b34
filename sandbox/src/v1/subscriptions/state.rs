//! What a subscription says of itself, and its end.

use serde_json::{Value, json};

use crate::{
    store::text,
    v1::invoices::{draft, lines},
    world::World,
};

/// Whether anything can still happen to it.
pub(crate) fn is_live(subscription: &Value) -> bool {
    !matches!(text(subscription, "status"), "canceled" | "incomplete_expired" | "")
}

/// How the collection of a subscription is paused; empty when it is not.
pub(crate) fn pausing(world: &World, invoice: &Value) -> String {
    let subscription = world.store.get("subscription", lines::subscription_of(invoice));
    subscription.map(|subscription| text(&subscription["pause_collection"], "behavior").to_owned()).unwrap_or_default()
}

/// The clock that a subscription lives by.
pub(crate) fn clock(world: &World, id: &str) -> String {
    world.store.get("subscription", id).map(|s| text(s, "test_clock").to_owned()).unwrap_or_default()
}

/// Ends it now; what it owes is not collected any more.
pub(crate) fn end(world: &mut World, mut subscription: Value, reason: &str) -> Value {
    let id = text(&subscription, "id").to_owned();
    subscription["status"] = json!("canceled");
    if subscription["canceled_at"].is_null() {
        subscription["canceled_at"] = json!(world.now);
    }
    subscription["ended_at"] = json!(world.now);
    subscription["cancellation_details"]["reason"] = json!(reason);
    world.store.insert("subscription", subscription.clone());
    draft::stop(world, &id);
    world.emit("customer.subscription.deleted", &subscription);
    subscription
}
