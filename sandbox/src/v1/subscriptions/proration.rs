//! What a change in the middle of a period costs or gives back: to the second, each line rounded to the nearest minor unit by itself
//! (halves away from zero).

use chrono::DateTime;
use serde_json::{Value, json};

use super::period;
use crate::{
    store::{number, text},
    v1::{
        discounts::{self, share},
        invoice_items::Draft,
        invoices::lines::{self, subscription_of},
    },
    world::World,
};

/// What `proration_behavior` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Behavior {
    /// They wait for the next invoice.
    #[default]
    Create,
    /// They are invoiced at once.
    Invoice,
    None,
}

/// Its words.
pub(crate) const WORDS: &[&str] = &["create_prorations", "always_invoice", "none"];

impl Behavior {
    /// One of [`WORDS`].
    pub fn of(word: Option<&str>) -> Self {
        match word {
            Some("always_invoice") => Self::Invoice,
            Some("none") => Self::None,
            _ => Self::Create,
        }
    }
}

/// The invoice items of a change at `at`: a credit for what is left of each item that changes or goes, and a charge for what is left of
/// the period for each that is new, unless `resets`, when a new period is charged for in full. A trial has nothing to give back.
pub(crate) fn drafts(world: &World, before: &Value, after: &[Value], at: i64, resets: bool) -> Vec<Draft> {
    let (start, end) = period::of(before);
    if matches!(text(before, "status"), "trialing" | "incomplete" | "paused") || at >= end {
        return Vec::new();
    }
    let old = before["items"]["data"].as_array().cloned().unwrap_or_default();
    let left = end - at;
    // A first period that only leads to the anchor is shorter than what a price is for.
    let whole = period::whole(before);
    let same = |a: &Value, b: &Value| {
        a["id"] == b["id"] && a["price"]["id"] == b["price"]["id"] && a["quantity"] == b["quantity"]
    };
    let mut drafts = Vec::new();
    for item in &old {
        if resets || !after.iter().any(|new| same(item, new)) {
            let billed = billed(world, before, item);
            let amount = match &billed {
                Some((_, line)) => -share(paid(line), left, end - start),
                None => -share(discounts::net(world, before, lines::cost(item)), left, whole),
            };
            let mut draft = draft(world, before, item, (at, end), amount, "Unused");
            draft.credited = billed.map_or(
                Value::Null,
                |(invoice, line)| json!({ "invoice": invoice, "invoice_line_items": [line["id"]] }),
            );
            drafts.push(draft);
        }
    }
    for item in after.iter().filter(|_| !resets) {
        if !old.iter().any(|old| same(old, item)) {
            let amount = share(discounts::net(world, before, lines::cost(item)), left, whole);
            drafts.push(draft(world, before, item, (at, end), amount, "Remaining"));
        }
    }
    drafts.retain(|draft| draft.amount != 0);
    drafts
}

fn draft(world: &World, subscription: &Value, item: &Value, period: (i64, i64), amount: i64, which: &str) -> Draft {
    let quantity = number(item, "quantity");
    let day = DateTime::from_timestamp(period.0, 0).map(|at| at.format("%d %b %Y").to_string()).unwrap_or_default();
    let times = if quantity == 1 { String::new() } else { format!("{quantity} × ") };
    let price = &item["price"];
    Draft {
        amount,
        currency: text(subscription, "currency").to_owned(),
        customer: text(subscription, "customer").to_owned(),
        description: json!(format!("{which} time on {times}{} after {day}", lines::name(world, price))),
        discountable: false,
        metadata: json!({}),
        parent: json!({
            "subscription_details": { "subscription": subscription["id"], "subscription_item": item["id"] },
            "type": "subscription_details",
        }),
        period,
        pricing: lines::pricing(price, &price["unit_amount_decimal"]),
        proration: true,
        credited: Value::Null,
        quantity,
    }
}

/// The line that billed an item's present period, and the invoice it is on: no more is given back than that was for, after its
/// discounts. Nothing where the item has changed since.
fn billed(world: &World, subscription: &Value, item: &Value) -> Option<(Value, Value)> {
    let period = json!({ "start": item["current_period_start"], "end": item["current_period_end"] });
    let changed = world.store.all("invoiceitem").rev().any(|other| {
        other["proration"] == true
            && other["parent"]["subscription_details"]["subscription_item"] == item["id"]
            && other["period"]["end"] == period["end"]
    });
    let is_it = |line: &Value| {
        line["parent"]["subscription_item_details"]["subscription_item"] == item["id"]
            && line["period"] == period
            && line["pricing"]["price_details"]["price"] == item["price"]["id"]
            && line["quantity"] == item["quantity"]
    };
    let mut invoices =
        world.store.all("invoice").rev().filter(|invoice| subscription_of(invoice) == text(subscription, "id"));
    let found = invoices.find_map(|invoice| {
        let line = lines::all(invoice).into_iter().find(|line| is_it(line))?;
        Some((invoice["id"].clone(), line))
    });
    found.filter(|_| !changed)
}

/// What a line came to after its discounts.
fn paid(line: &Value) -> i64 {
    let discounts = line["discount_amounts"].as_array().into_iter().flatten();
    number(line, "amount") - discounts.map(|discount| number(discount, "amount")).sum::<i64>()
}
