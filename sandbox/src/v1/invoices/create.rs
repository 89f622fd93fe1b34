//! `POST /v1/invoices`: an invoice made by hand, of what waits for one.

use serde_json::{Value, json};

use super::{draft::Draft, finalize};
use crate::{
    endpoint::Call,
    failure::{Answer, Failure},
    money::Money,
    store::text,
    v1::{buyers, discounts, invoice_items},
    world::World,
};

pub(super) const PARAMS: &[&str] = &[
    "customer",
    "subscription",
    "pending_invoice_items_behavior",
    "auto_advance",
    "automatically_finalizes_at",
    "collection_method",
    "currency",
    "custom_fields*",
    "days_until_due",
    "default_payment_method",
    "description",
    "discounts*",
    "due_date",
    "footer",
    "metadata*",
    "payment_settings*",
    "statement_descriptor",
    "automatic_tax*",
];

pub(super) fn run(world: &mut World, call: &Call) -> Answer {
    let params = &call.params;
    let customer = params.text("customer")?.map(str::to_owned);
    let subscription = params.text("subscription")?.map(str::to_owned);
    let Some(payer) = customer.clone().or_else(|| owner(world, subscription.as_deref())) else {
        return Err(params.missing("customer"));
    };
    let takes = params.choice("pending_invoice_items_behavior", &["exclude", "include"])? == Some("include");
    let method = params.choice("collection_method", &["charge_automatically", "send_invoice"])?;
    let method = method.unwrap_or("charge_automatically").to_owned();
    let days = params.at_least(0, "days_until_due")?;
    let due = params.integer("due_date")?;
    if method == "send_invoice" && days.is_none() && due.is_none() {
        let message =
            "If invoice's collection_method is send_invoice, you must specify one of `days_until_due` or `due_date`.";
        return Err(Failure::invalid(message).param("days_until_due"));
    }
    if method != "send_invoice" && (days.is_some() || due.is_some()) {
        let message = "You may only set `days_until_due` or `due_date` when `collection_method` is `send_invoice`.";
        return Err(Failure::invalid(message).param("days_until_due"));
    }
    let currency = match params.text("currency")? {
        None => None,
        Some(given) => Some(
            Money::currency(given)
                .ok_or_else(|| Failure::invalid(format!("Invalid currency: {given}")).param("currency"))?,
        ),
    };
    let auto_advance = params.boolean("auto_advance")?.unwrap_or_default();
    let asked = discounts::read(params)?.unwrap_or_default();
    let draft = Draft {
        customer: payer.clone(),
        reason: "manual",
        collection_method: method,
        days_until_due: days.map(|days| days.min(3650)),
        auto_advance,
        metadata: params.metadata(&json!({}))?,
        description: params.nullable("description")?.unwrap_or_default(),
        default_payment_method: params.nullable("default_payment_method")?.unwrap_or_default(),
        ..Draft::default()
    };
    world.execute()?;
    let buyer = buyers::buyer(world, &payer)?;
    let of = match &subscription {
        Some(id) => world.named("subscription", "subscription", id, "subscription")?,
        None => Value::Null,
    };
    if !of.is_null() && text(&of, "customer") != payer {
        let message = format!("The subscription {} does not belong to the customer {payer}.", text(&of, "id"));
        return Err(Failure::invalid(message).param("subscription"));
    }
    let clock = world.clock_of(&payer);
    world.at_clock(&clock, |world| {
        let waiting = invoice_items::pending(world, &payer, subscription.as_deref());
        let waiting: Vec<Value> = waiting
            .into_iter()
            .filter(|item| currency.is_none_or(|currency| text(item, "currency") == currency))
            // Stripe: an invoice that is made for a subscription is of nothing else.
            .filter(|item| subscription.is_none() || of["id"] == item["parent"]["subscription_details"]["subscription"])
            .collect();
        if subscription.is_some() && waiting.is_empty() {
            let message = "Nothing to invoice for subscription";
            return Err(Failure::invalid(message).code("invoice_no_subscription_line_items").param("subscription"));
        }
        let waiting = if takes || subscription.is_some() { waiting } else { Vec::new() };
        let found = waiting.first().map(|item| text(item, "currency").to_owned());
        let known = currency.map(str::to_owned).or(found).or_else(|| buyer["currency"].as_str().map(str::to_owned));
        let currency = known.unwrap_or_else(|| "usd".to_owned());
        let waiting: Vec<Value> = waiting.into_iter().filter(|item| text(item, "currency") == currency).collect();
        discounts::judge(world, &asked, &payer, &currency)?;
        let lines = invoice_items::lines(world, &waiting);
        let made = discounts::make(world, &asked, &payer, None);
        let discounts = if asked.is_empty() && !of.is_null() { of["discounts"].clone() } else { made };
        let period = (world.now, world.now);
        let draft = Draft { currency, subscription: of.clone(), lines, discounts, period, ..draft };
        let mut invoice = draft.build(world);
        if let Some(due) = due {
            invoice["due_date"] = json!(due);
        }
        invoice_items::put_on(world, &waiting, text(&invoice, "id"));
        Ok(finalize::open_draft(world, invoice))
    })
}

fn owner(world: &World, subscription: Option<&str>) -> Option<String> {
    let subscription = world.store.get("subscription", subscription?)?;
    Some(text(subscription, "customer").to_owned())
}
