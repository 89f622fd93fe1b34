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
        invoices::lines,
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
    let (left, whole) = (end - at, end - start);
    let same = |a: &Value, b: &Value| {
        a["id"] == b["id"] && a["price"]["id"] == b["price"]["id"] && a["quantity"] == b["quantity"]
    };
    let mut drafts = Vec::new();
    for item in &old {
        if resets || !after.iter().any(|new| same(item, new)) {
            let amount = -share(discounts::net(world, before, lines::cost(item)), left, whole);
            drafts.push(draft(world, before, item, (at, end), amount, "Unused"));
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
        credited: if amount < 0 { credited(world, subscription, item) } else { Value::Null },
        quantity,
    }
}

/// The line of the latest invoice that paid for what is given back.
fn credited(world: &World, subscription: &Value, item: &Value) -> Value {
    let Some(invoice) = world.store.get("invoice", text(subscription, "latest_invoice")) else { return Value::Null };
    let all = lines::all(invoice);
    let line = all.iter().find(|line| line["parent"]["subscription_item_details"]["subscription_item"] == item["id"]);
    line.map_or(Value::Null, |line| json!({ "invoice": invoice["id"], "invoice_line_items": [line["id"]] }))
}
