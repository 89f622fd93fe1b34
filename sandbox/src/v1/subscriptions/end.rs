//! How subscriptions end, and how paused ones go on.

use serde_json::{Value, json};

use super::{
    items, period, proration,
    state::{self, clock},
    upcoming,
};
use crate::{
    endpoint::Call,
    failure::{Answer, Failure},
    store::{number, text},
    v1::{
        discounts, invoice_items,
        invoices::{collect, draft::Draft, finalize},
    },
    world::World,
};

/// A customer is deleted: its subscriptions end at once.
pub(crate) fn customer_gone(world: &mut World, customer: &str) {
    let live = |subscription: &&Value| text(subscription, "customer") == customer && state::is_live(subscription);
    let live: Vec<Value> = world.store.all("subscription").filter(live).cloned().collect();
    for subscription in live {
        state::end(world, subscription, "cancellation_requested");
    }
}

pub(super) fn cancel(world: &mut World, call: &Call) -> Answer {
    let params = &call.params;
    let (bills, prorates) =
        (params.boolean("invoice_now")?.unwrap_or_default(), params.boolean("prorate")?.unwrap_or_default());
    let details = params.below("cancellation_details")?.unwrap_or_default();
    let (comment, feedback) = (details.nullable("comment")?, details.nullable("feedback")?);
    world.execute()?;
    let mut subscription = world.object("subscription", "subscription", call.id())?;
    if !state::is_live(&subscription) {
        return Err(Failure::no_such("subscription", call.id()));
    }
    for (name, value) in [("comment", comment), ("feedback", feedback)] {
        if let Some(value) = value {
            subscription["cancellation_details"][name] = value;
        }
    }
    let clock = clock(world, call.id());
    world.at_clock(&clock, |world| {
        if text(&subscription, "status") == "incomplete" {
            // Stripe: one that never started expires, and its invoice is void.
            let invoice = text(&subscription, "latest_invoice").to_owned();
            subscription["canceled_at"] = json!(world.now);
            world.store.insert("subscription", subscription.clone());
            drop(finalize::void(world, &invoice));
            return world.object("subscription", "subscription", call.id());
        }
        if prorates {
            for draft in proration::drafts(world, &subscription, &[], world.now, true) {
                let item = draft.build(world);
                world.create("invoiceitem", "invoiceitem.created", item);
            }
        }
        let ended = state::end(world, subscription, "cancellation_requested");
        if bills {
            last_invoice(world, &ended);
        }
        world.object("subscription", "subscription", call.id())
    })
}

/// What waited is invoiced at last.
fn last_invoice(world: &mut World, subscription: &Value) {
    let mut waiting = upcoming::waiting(world, subscription);
    waiting.retain(|item| item["parent"]["subscription_details"]["subscription"] == subscription["id"]);
    if waiting.is_empty() {
        return;
    }
    let lines = invoice_items::lines(world, &waiting);
    let (start, _) = period::of(subscription);
    let invoice = Draft::of(subscription, "subscription_update", lines, (start, world.now)).build(world);
    let id = text(&invoice, "id").to_owned();
    invoice_items::put_on(world, &waiting, &id);
    let mut subscription = subscription.clone();
    subscription["latest_invoice"] = invoice["id"].clone();
    world.store.insert("subscription", subscription);
    let draft = world.create("invoice", "invoice.created", invoice);
    finalize::issue(world, draft);
    // A refusal is told by events.
    drop(collect::try_and_apply(
        world,
        &id,
        &collect::How { off_session: true, automatic: true, ..Default::default() },
    ));
}

pub(super) fn resume(world: &mut World, call: &Call) -> Answer {
    let params = &call.params;
    let now = params.choice("billing_cycle_anchor", &["now", "unchanged"])? != Some("unchanged");
    params.choice("proration_behavior", proration::WORDS)?;
    params.integer("proration_date")?;
    world.execute()?;
    let mut subscription = world.object("subscription", "subscription", call.id())?;
    if text(&subscription, "status") != "paused" {
        let message = "Resuming a subscription is only possible when its status is `paused`.";
        return Err(Failure::invalid(message));
    }
    let clock = clock(world, call.id());
    world.at_clock(&clock, |world| {
        let every = period::recurring(subscription["items"]["data"].as_array().map_or(&[], Vec::as_slice));
        if now {
            subscription["billing_cycle_anchor"] = json!(world.now);
        }
        let end = period::after(number(&subscription, "billing_cycle_anchor"), &every, world.now);
        items::set_period(&mut subscription, (world.now, end));
        let mut lines = upcoming::lines_of_period(world, &subscription);
        let (left, whole) = (end - world.now, period::whole(&subscription));
        for line in lines.iter_mut().filter(|_| left < whole) {
            // Until the old anchor comes, only so much of a period is charged for.
            let part = discounts::share(number(line, "amount"), left, whole);
            (line["amount"], line["subtotal"]) = (json!(part), json!(part));
        }
        let invoice = Draft::of(&subscription, "subscription_update", lines, (world.now, world.now)).build(world);
        let id = text(&invoice, "id").to_owned();
        subscription["latest_invoice"] = json!(id);
        subscription["_resuming"] = json!(true);
        let draft = world.create("invoice", "invoice.created", invoice);
        finalize::issue(world, draft);
        world.change("subscription", "customer.subscription.updated", subscription);
        // It goes on once that is paid; a refusal is told by events.
        drop(collect::try_and_apply(world, &id, &collect::How::default()));
        world.object("subscription", "subscription", call.id())
    })
}
