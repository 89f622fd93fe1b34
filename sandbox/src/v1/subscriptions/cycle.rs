//! What happens to a subscription by itself: it renews, its trial ends, it is told of in advance, it ends.

use serde_json::{Value, json};

use super::{items, period, state, upcoming};
use crate::{
    store::text,
    v1::{
        discounts, invoice_items,
        invoices::{draft::Draft, finalize},
        subscription_schedules,
    },
    world::World,
};

/// Seconds before a renewal at which `invoice.upcoming` is sent; at Stripe a setting.
const UPCOMING: i64 = 7 * period::DAY;
/// Seconds before the end of a trial at which that is told (Stripe: three days, or at once for a shorter one).
const TRIAL_WARNING: i64 = 3 * period::DAY;

/// Plans the end of the present period, and what is told before.
pub(crate) fn plan(world: &mut World, subscription: &Value) {
    let (start, end) = period::of(subscription);
    if end == i64::MAX {
        return;
    }
    let (clock, id) = (text(subscription, "test_clock").to_owned(), text(subscription, "id").to_owned());
    if end - UPCOMING > start.max(world.now) {
        world.plan(&clock, end - UPCOMING, upcoming, &id);
    }
    world.plan(&clock, end, renew, &id);
}

/// Plans the warning before a trial's end.
pub(crate) fn plan_trial(world: &mut World, subscription: &Value) {
    let Some(end) = subscription["trial_end"].as_i64().filter(|end| *end > world.now) else { return };
    let at = (end - TRIAL_WARNING).max(world.now);
    let (clock, id) = (text(subscription, "test_clock").to_owned(), text(subscription, "id").to_owned());
    if at == world.now {
        trial_will_end(world, &id);
    } else {
        world.plan(&clock, at, trial_will_end, &id);
    }
}

/// Plans the end that `cancel_at` names.
pub(crate) fn plan_cancel(world: &mut World, subscription: &Value) {
    if let Some(at) = subscription["cancel_at"].as_i64() {
        world.plan(text(subscription, "test_clock"), at, cancel_at, text(subscription, "id"));
    }
}

fn trial_will_end(world: &mut World, id: &str) {
    let Some(subscription) = world.store.get("subscription", id).cloned() else { return };
    let near =
        subscription["trial_end"].as_i64().is_some_and(|end| end - TRIAL_WARNING <= world.now && end > world.now);
    if text(&subscription, "status") == "trialing" && near {
        world.emit("customer.subscription.trial_will_end", &subscription);
    }
}

fn upcoming(world: &mut World, id: &str) {
    let Some(subscription) = world.store.get("subscription", id).cloned() else { return };
    let (_, end) = period::of(&subscription);
    let renews = matches!(text(&subscription, "status"), "active" | "trialing" | "past_due");
    let ends = subscription["cancel_at"].as_i64().is_some_and(|at| at <= end);
    if renews && !ends && end - UPCOMING == world.now {
        let mut invoice = upcoming::next(world, &subscription);
        if let Some(fields) = invoice.as_object_mut() {
            // Stripe: the event's invoice has no id, for there is none yet.
            fields.remove("id");
        }
        world.emit("invoice.upcoming", &invoice);
    }
}

fn cancel_at(world: &mut World, id: &str) {
    let Some(subscription) = world.store.get("subscription", id).cloned() else { return };
    let due = subscription["cancel_at"].as_i64().is_some_and(|at| at <= world.now);
    if due && state::is_live(&subscription) {
        state::end(world, subscription, "cancellation_requested");
    }
}

/// A period is over.
pub(crate) fn renew(world: &mut World, id: &str) {
    subscription_schedules::turn(world, id);
    let Some(before) = world.store.get("subscription", id).cloned() else { return };
    let ((start, over), status) = (period::of(&before), text(&before, "status").to_owned());
    let renews = matches!(status.as_str(), "active" | "trialing" | "past_due" | "unpaid");
    if !renews || over > world.now {
        return;
    }
    if before["cancel_at"].as_i64().is_some_and(|at| at <= world.now) {
        state::end(world, before, "cancellation_requested");
        return;
    }
    let mut subscription = before;
    if status == "trialing" {
        let missing = subscription["trial_settings"]["end_behavior"]["missing_payment_method"].clone();
        match missing.as_str() {
            Some("cancel") if !has_method(world, &subscription) => {
                state::end(world, subscription, "cancellation_requested");
                return;
            }
            Some("pause") if !has_method(world, &subscription) => {
                subscription["status"] = json!("paused");
                let paused = world.change("subscription", "customer.subscription.updated", subscription);
                world.emit("customer.subscription.paused", &paused);
                return;
            }
            _ => subscription["status"] = json!("active"),
        }
    }
    let every = period::recurring(subscription["items"]["data"].as_array().map_or(&[], Vec::as_slice));
    let anchor = subscription["billing_cycle_anchor"].as_i64().unwrap_or(over);
    items::set_period(&mut subscription, (over, period::after(anchor, &every, over)));
    subscription["discounts"] = unexpired(world, &subscription["discounts"]);
    let lines = upcoming::lines_of_period(world, &subscription);
    let waiting = upcoming::waiting(world, &subscription);
    let mut lines_waiting = invoice_items::lines(world, &waiting);
    lines_waiting.extend(lines);
    let mut draft = Draft::of(&subscription, "subscription_cycle", lines_waiting, (start, over));
    // Stripe: what an unpaid subscription, or one whose collection is paused so, owes stays a draft.
    draft.auto_advance = status != "unpaid" && subscription["pause_collection"]["behavior"] != "keep_as_draft";
    let invoice = draft.build(world);
    subscription["discounts"] = discounts::lasting(world, &subscription["discounts"]);
    subscription["latest_invoice"] = invoice["id"].clone();
    invoice_items::put_on(world, &waiting, text(&invoice, "id"));
    finalize::open_draft(world, invoice);
    let subscription = world.change("subscription", "customer.subscription.updated", subscription);
    plan(world, &subscription);
}

fn unexpired(world: &World, ids: &Value) -> Value {
    let works = |id: &&Value| {
        let discount = world.store.get("discount", id.as_str().unwrap_or_default());
        discount.is_some_and(|discount| discount["end"].as_i64().is_none_or(|end| end > world.now))
    };
    ids.as_array().into_iter().flatten().filter(works).cloned().collect()
}

/// Whether there is something to charge.
fn has_method(world: &World, subscription: &Value) -> bool {
    let customer = world.store.get("customer", text(subscription, "customer")).cloned().unwrap_or_default();
    [
        &subscription["default_payment_method"],
        &subscription["default_source"],
        &customer["invoice_settings"]["default_payment_method"],
        &customer["default_source"],
    ]
    .into_iter()
    .any(Value::is_string)
}
