//! `POST /v1/invoices/create_preview`, and the invoice that `invoice.upcoming` tells of: what would be billed, and nothing of it kept.

use serde_json::{Value, json};

use super::{draft::Draft, lines};
use crate::{
    endpoint::Call,
    failure::{Answer, Failure},
    params::{MAX_AMOUNT, Params},
    store::text,
    v1::{
        buyers, invoice_items, prices,
        subscriptions::{
            items, period,
            proration::{self, Behavior},
            state, upcoming,
            update::{self, Change, TrialEnd},
        },
    },
    world::World,
};

pub(super) const PARAMS: &[&str] = &[
    "customer",
    "subscription",
    "currency",
    "preview_mode",
    "invoice_items[][amount]",
    "invoice_items[][currency]",
    "invoice_items[][description]",
    "invoice_items[][quantity]",
    "subscription_details[items]*",
    "subscription_details[proration_behavior]",
    "subscription_details[proration_date]",
    "subscription_details[billing_cycle_anchor]",
    "subscription_details[trial_end]",
    "subscription_details[cancel_at_period_end]",
    "subscription_details[cancel_now]",
];

pub(super) fn run(world: &mut World, call: &Call) -> Answer {
    let params = &call.params;
    let subscription = params.text("subscription")?.filter(|id| !id.is_empty()).map(str::to_owned);
    let customer = params.text("customer")?.filter(|id| !id.is_empty()).map(str::to_owned);
    params.choice("preview_mode", &["next", "recurring"])?;
    params.text("currency")?;
    let details = params.below("subscription_details")?.unwrap_or_default();
    let change = change(&details, subscription.is_none())?;
    let ends = details.boolean("cancel_now")?.unwrap_or_default();
    let at_end = details.boolean("cancel_at_period_end")?.unwrap_or_default();
    let mut extra = Vec::new();
    for item in params.elements("invoice_items")? {
        let amount = item.at_least(-MAX_AMOUNT, "amount")?.ok_or_else(|| item.missing("amount"))?;
        extra.push(invoice_items::Draft {
            amount,
            currency: prices::currency(&item)?.to_owned(),
            description: item.nullable("description")?.unwrap_or_default(),
            discountable: amount >= 0,
            metadata: json!({}),
            quantity: item.at_least(0, "quantity")?.unwrap_or(1),
            period: (world.now, world.now),
            ..invoice_items::Draft::default()
        });
    }
    if subscription.is_none() && customer.is_none() {
        return Err(params.missing("customer"));
    }
    world.execute()?;
    let of = match &subscription {
        Some(id) => world.named("subscription", "subscription", id, "subscription")?,
        None => Value::Null,
    };
    let payer = customer.unwrap_or_else(|| text(&of, "customer").to_owned());
    buyers::buyer(world, &payer)?;
    let clock = world.clock_of(&payer);
    world.at_clock(&clock, |world| {
        let mut all = Vec::new();
        for mut item in extra {
            item.customer.clone_from(&payer);
            let item = item.build(world);
            all.push(lines::of_invoice_item(world, &item));
        }
        if of.is_null() {
            return new(world, &payer, all, change);
        }
        if !state::is_live(&of) {
            return Err(Failure::invalid("No upcoming invoices for customer").code("invoice_upcoming_none"));
        }
        changed(world, &of, all, change, ends, at_end)
    })
}

fn change(details: &Params, is_new: bool) -> Result<Change, Failure> {
    let trial_end = match details.text("trial_end")? {
        None => None,
        Some("now") => Some(TrialEnd::Now),
        Some(_) => details.integer("trial_end")?.map(TrialEnd::At),
    };
    Ok(Change {
        items: items::read(details, is_new)?,
        behavior: Behavior::of(details.choice("proration_behavior", proration::WORDS)?),
        date: details.integer("proration_date")?,
        anchor_now: details.choice("billing_cycle_anchor", &["now", "unchanged"])? == Some("now"),
        trial_end,
        ..Change::default()
    })
}

/// The first invoice of a subscription that is not there, or one of what waits.
fn new(world: &mut World, payer: &str, mut all: Vec<Value>, change: Change) -> Answer {
    let waiting = invoice_items::pending(world, payer, None);
    let more = invoice_items::lines(world, &waiting);
    all.extend(more);
    let priced = items::priced(world, change.items)?;
    let together: Vec<&Value> = priced.iter().map(|(price, _)| price).collect();
    if !together.is_empty() {
        items::judge(&together)?;
    }
    for (price, quantity) in &priced {
        let end = period::after(world.now, &price["recurring"], world.now);
        let item = items::item(world, "", price, *quantity, (world.now, end));
        let none = json!({ "id": null, "metadata": {} });
        all.push(lines::of_subscription_item(world, &none, &item, false));
    }
    let Some(first) = all.first() else {
        return Err(Failure::invalid("No upcoming invoices for customer").code("invoice_upcoming_none"));
    };
    let currency = text(first, "currency").to_owned();
    let period = (world.now, world.now);
    let draft = Draft {
        customer: payer.to_owned(),
        currency,
        reason: "upcoming",
        lines: all,
        period,
        auto_advance: true,
        ..Draft::default()
    };
    Ok(upcoming::upcoming(world, draft))
}

/// The next invoice of a subscription, or the one that a change would make at once.
fn changed(world: &mut World, of: &Value, mut all: Vec<Value>, change: Change, ends: bool, at_end: bool) -> Answer {
    let waiting = upcoming::waiting(world, of);
    let more = invoice_items::lines(world, &waiting);
    all.extend(more);
    let behavior = change.behavior;
    let (start, over) = period::of(of);
    if ends {
        if behavior != Behavior::None {
            for draft in proration::drafts(world, of, &[], change.date.unwrap_or(world.now), true) {
                let item = draft.build(world);
                all.push(lines::of_invoice_item(world, &item));
            }
        }
        let draft = Draft::of(of, "upcoming", all, (start, world.now));
        return Ok(upcoming::upcoming(world, draft));
    }
    let reckoned = update::reckon(world, of, of.clone(), change)?;
    let prorations = invoice_items::lines(world, &reckoned.waiting);
    all.extend(prorations);
    let now = reckoned.resets() || (behavior == Behavior::Invoice && !reckoned.waiting.is_empty());
    if reckoned.resets() {
        let lines = upcoming::lines_of_period(world, &reckoned.after);
        all.extend(lines);
    } else if !now && !at_end && of["cancel_at"].as_i64().is_none_or(|at| at > over) {
        let lines = upcoming::next_period(world, &reckoned.after);
        all.extend(lines);
    }
    if all.is_empty() {
        return Err(Failure::invalid("No upcoming invoices for customer").code("invoice_upcoming_none"));
    }
    let end = if now { world.now } else { period::of(&reckoned.after).1 };
    Ok(upcoming::upcoming(world, Draft::of(&reckoned.after, "upcoming", all, (start, end))))
}
