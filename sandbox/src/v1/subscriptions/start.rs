//! A new subscription: made with its first invoice, which is paid at once, or not at all, or later.

use serde_json::{Value, json};

use super::{cycle, items, period};
use crate::{
    failure::Failure,
    store::{number, text, with},
    v1::{
        discounts::{self, Asked},
        invoice_items,
        invoices::{collect, draft::Draft, finalize, lines},
        payments::Paid,
    },
    world::World,
};

/// Seconds that a first invoice may stay unpaid.
const INCOMPLETE: i64 = 23 * 60 * 60;

/// What a new subscription is made of.
#[derive(Debug, Default)]
pub(crate) struct Start {
    pub customer: String,
    /// Prices, and how many of each. One that does not recur is on the first invoice only.
    pub items: Vec<(Value, i64)>,
    pub metadata: Value,
    pub description: Value,
    pub trial_days: i64,
    /// When the trial ends, instead of the days.
    pub trial_end: Option<i64>,
    /// Whether the first invoice is paid at once; else it stays open.
    pub pays: bool,
    /// Whether there is no subscription where the first payment is refused.
    pub refuses: bool,
    pub off_session: bool,
    pub default_payment_method: Option<String>,
    /// Coupons and promotion codes.
    pub discounts: Vec<Asked>,
    /// Another `billing_cycle_anchor` than now, and whether the time until then is charged for.
    pub anchor: Option<(i64, bool)>,
    /// Empty for `charge_automatically`.
    pub collection_method: String,
    /// Other fields, as the object has them.
    pub fields: Vec<(&'static str, Value)>,
}

/// Makes it, with its first invoice; answers both.
pub(crate) fn start(world: &mut World, start: &Start) -> Result<(Value, Value), Failure> {
    let clock = world.clock_of(&start.customer);
    world.at_clock(&clock, |world| begin(world, start))
}

fn begin(world: &mut World, start: &Start) -> Result<(Value, Value), Failure> {
    let (now, id) = (world.now, world.ids.next("sub_"));
    let (recurring, once): (Vec<_>, Vec<_>) =
        start.items.iter().partition(|(price, _)| text(price, "type") == "recurring");
    let prices: Vec<&Value> = recurring.iter().map(|(price, _)| price).collect();
    items::judge(&prices)?;
    let every = prices.first().map(|price| price["recurring"].clone()).unwrap_or_default();
    let currency = prices.first().map(|price| text(price, "currency").to_owned()).unwrap_or_default();
    discounts::judge(world, &start.discounts, &start.customer, &currency)?;
    let trial_end = start.trial_end.or((start.trial_days > 0).then(|| now + start.trial_days * period::DAY));
    let trial_end = trial_end.filter(|end| *end > now);
    let anchor = trial_end.or(start.anchor.map(|(anchor, _)| anchor)).unwrap_or(now);
    let end = period::after(anchor, &every, now);
    let mut made = Vec::new();
    for (price, quantity) in &recurring {
        made.push(items::item(world, &id, price, *quantity, (now, end)));
    }
    let mut subscription = with(
        blank(),
        json!({
            "billing_cycle_anchor": anchor,
            "collection_method": if start.collection_method == "send_invoice" { "send_invoice" } else { "charge_automatically" },
            "created": now,
            "currency": currency,
            "customer": start.customer,
            "default_payment_method": start.default_payment_method,
            "description": start.description,
            "metadata": if start.metadata.is_object() { start.metadata.clone() } else { json!({}) },
            "start_date": now,
            "status": "trialing",
            "test_clock": Some(world.clock_of(&start.customer)).filter(|clock| !clock.is_empty()),
            "trial_end": trial_end,
            "trial_start": trial_end.map(|_| now),
            "id": id,
        }),
    );
    for (name, value) in &start.fields {
        subscription[*name] = value.clone();
    }
    if subscription["cancel_at_period_end"] == true {
        (subscription["cancel_at"], subscription["canceled_at"]) = (json!(end), json!(now));
    }
    items::put(&mut subscription, &made);
    subscription["discounts"] = discounts::make(world, &start.discounts, &start.customer, Some(&id));

    let (lines, waiting) = first_lines(world, start, &subscription, &once, end, &every);
    let mut draft = Draft::of(&subscription, "subscription_create", lines, (now, now));
    draft.auto_advance = text(&subscription, "collection_method") == "send_invoice";
    let invoice = draft.build(world);
    subscription["latest_invoice"] = invoice["id"].clone();
    if trial_end.is_none() {
        subscription["discounts"] = discounts::lasting(world, &subscription["discounts"]);
    }
    let how =
        collect::How { method: start.default_payment_method.clone(), off_session: start.off_session, automatic: true };
    let tried = if start.pays { collect::attempt(world, &invoice, &how) } else { None };
    if let Some(failure) = collect::refusal(tried.as_ref()).filter(|_| start.refuses) {
        return Err(failure);
    }
    let free = number(&invoice, "amount_due") == 0;
    let sent = text(&subscription, "collection_method") == "send_invoice";
    let good = free || sent || matches!(tried, Some(Paid::Succeeded(_) | Paid::Processing(_)));
    if trial_end.is_none() {
        subscription["status"] = json!(if good { "active" } else { "incomplete" });
    }
    invoice_items::put_on(world, &waiting, text(&invoice, "id"));
    let invoice = if sent && !free {
        finalize::open_draft(world, invoice)
    } else {
        let draft = world.create("invoice", "invoice.created", invoice);
        finalize::issue(world, draft)
    };
    let subscription = world.create("subscription", "customer.subscription.created", subscription);
    let invoice_id = text(&invoice, "id").to_owned();
    if free || tried.is_some() {
        // What was refused leaves it incomplete, and is told by events.
        drop(collect::apply(world, invoice, tried, &how));
    }
    if text(&subscription, "status") == "incomplete" {
        world.plan(text(&subscription, "test_clock"), now + INCOMPLETE, expire, &id);
    }
    cycle::plan(world, &subscription);
    cycle::plan_trial(world, &subscription);
    cycle::plan_cancel(world, &subscription);
    Ok((world.object("subscription", "subscription", &id)?, world.object("invoice", "invoice", &invoice_id)?))
}

/// The lines of the first invoice, and the invoice items that are on it.
fn first_lines(
    world: &mut World,
    start: &Start,
    subscription: &Value,
    once: &[&(Value, i64)],
    end: i64,
    every: &Value,
) -> (Vec<Value>, Vec<Value>) {
    let (now, trials) = (world.now, text(subscription, "status") == "trialing" && !subscription["trial_end"].is_null());
    let mut lines = Vec::new();
    for item in subscription["items"]["data"].as_array().into_iter().flatten() {
        let mut line = lines::of_subscription_item(world, subscription, item, trials);
        if let Some((anchor, charges)) = start.anchor.filter(|(anchor, _)| *anchor > now && !trials) {
            // Until the anchor there is less than an interval: that part is charged for, or nothing.
            let whole = anchor - period::step(anchor, every, -1).unwrap_or(now);
            let part = if charges { discounts::share(lines::cost(item), end - now, whole) } else { 0 };
            (line["amount"], line["subtotal"]) = (json!(part), json!(part));
        }
        lines.push(line);
    }
    let mut waiting = invoice_items::pending(world, &start.customer, None);
    waiting.retain(|item| text(item, "currency") == text(subscription, "currency"));
    for (price, quantity) in once {
        let draft = invoice_items::Draft {
            amount: number(price, "unit_amount").saturating_mul(*quantity),
            currency: text(price, "currency").to_owned(),
            customer: start.customer.clone(),
            description: json!(lines::name(world, price)),
            discountable: true,
            metadata: json!({}),
            parent: json!({ "subscription_details": { "subscription": subscription["id"], "subscription_item": null },
                "type": "subscription_details" }),
            period: (now, now),
            pricing: lines::pricing(price, &price["unit_amount_decimal"]),
            quantity: *quantity,
            ..invoice_items::Draft::default()
        };
        waiting.push(draft.build(world));
    }
    let more = invoice_items::lines(world, &waiting);
    lines.extend(more);
    (lines, waiting)
}

/// 23 hours have passed without the first payment.
fn expire(world: &mut World, id: &str) {
    let Some(mut subscription) = world.store.get("subscription", id).cloned() else { return };
    if text(&subscription, "status") != "incomplete" {
        return;
    }
    subscription["status"] = json!("incomplete_expired");
    subscription["ended_at"] = json!(world.now);
    let invoice = text(&subscription, "latest_invoice").to_owned();
    world.change("subscription", "customer.subscription.updated", subscription);
    // It may be void already.
    drop(finalize::void(world, &invoice));
}

fn blank() -> Value {
    json!({
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
        "customer_account": null,
        "days_until_due": null,
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
        "transfer_data": null,
        "trial_settings": { "end_behavior": { "missing_payment_method": "create_invoice" } },
    })
}
