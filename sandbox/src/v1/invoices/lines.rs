//! The lines of invoices: what each is for, in the layout since basil.

use serde_json::{Value, json};

use crate::{
    money::decimals,
    store::{number, text},
    world::World,
};

/// The subscription that an invoice is for; empty when there is none.
pub(crate) fn subscription_of(invoice: &Value) -> &str {
    invoice.pointer("/parent/subscription_details/subscription").and_then(Value::as_str).unwrap_or_default()
}

/// A line for the period of a subscription's item.
pub(crate) fn of_subscription_item(world: &mut World, subscription: &Value, item: &Value, is_trial: bool) -> Value {
    let price = &item["price"];
    let amount = if is_trial { 0 } else { cost(item) };
    let description = if is_trial {
        format!("Trial period for {}", name(world, price))
    } else {
        described(world, price, number(item, "quantity"))
    };
    let parent = json!({
        "invoice_item_details": null,
        "subscription_item_details": {
            "invoice_item": null, "proration": false, "proration_details": { "credited_items": null },
            "subscription": subscription["id"], "subscription_item": item["id"],
        },
        "type": "subscription_item_details",
    });
    let unit = if is_trial { json!("0") } else { price["unit_amount_decimal"].clone() };
    json!({
        "id": world.ids.next("il_"),
        "object": "line_item",
        "amount": amount,
        "currency": price["currency"],
        "description": description,
        "discount_amounts": [],
        "discountable": true,
        "discounts": [],
        "invoice": null,
        "livemode": false,
        "metadata": subscription["metadata"],
        "parent": parent,
        "period": { "start": item["current_period_start"], "end": item["current_period_end"] },
        "pretax_credit_amounts": [],
        "pricing": pricing(price, &unit),
        "quantity": item["quantity"],
        "quantity_decimal": item["quantity"].as_i64().map(|quantity| quantity.to_string()),
        "subscription": subscription["id"],
        "subtotal": amount,
        "taxes": [],
    })
}

/// The line of an invoice item.
pub(crate) fn of_invoice_item(world: &mut World, item: &Value) -> Value {
    let subscription = item["parent"]["subscription_details"]["subscription"].clone();
    json!({
        "id": world.ids.next("il_"),
        "object": "line_item",
        "amount": item["amount"],
        "currency": item["currency"],
        "description": item["description"],
        "discount_amounts": [],
        "discountable": item["discountable"],
        "discounts": [],
        "invoice": null,
        "livemode": false,
        "metadata": item["metadata"],
        "parent": {
            "invoice_item_details": {
                "invoice_item": item["id"],
                "proration": item["proration"],
                "proration_details": item["proration_details"],
                "subscription": subscription,
            },
            "subscription_item_details": null,
            "type": "invoice_item_details",
        },
        "period": item["period"],
        "pretax_credit_amounts": [],
        "pricing": item["pricing"],
        "quantity": item["quantity"],
        "quantity_decimal": item["quantity_decimal"],
        "subscription": subscription,
        "subtotal": item["amount"],
        "taxes": [],
    })
}

/// How a line or an invoice item says its price.
pub(crate) fn pricing(price: &Value, unit_amount_decimal: &Value) -> Value {
    json!({
        "price_details": { "price": price["id"], "product": price["product"] },
        "type": "price_details",
        "unit_amount_decimal": unit_amount_decimal,
    })
}

/// What a period of a subscription's item costs; what is metered is billed elsewhere.
pub(crate) fn cost(item: &Value) -> i64 {
    if item["price"]["recurring"]["usage_type"] == "metered" {
        return 0;
    }
    number(&item["price"], "unit_amount").saturating_mul(number(item, "quantity"))
}

/// A product's name.
pub(crate) fn name(world: &World, price: &Value) -> String {
    let id = text(price, "product");
    world.store.get("product", id).map_or(id, |product| text(product, "name")).to_owned()
}

fn described(world: &World, price: &Value, quantity: i64) -> String {
    let recurring = &price["recurring"];
    let every = match number(recurring, "interval_count") {
        count if count > 1 => format!("every {count} {}s", text(recurring, "interval")),
        _ => text(recurring, "interval").to_owned(),
    };
    format!("{quantity} × {} (at {} / {every})", name(world, price), money(number(price, "unit_amount"), price))
}

fn money(amount: i64, price: &Value) -> String {
    let currency = text(price, "currency");
    let digits = decimals(currency);
    let unit = 10_i64.pow(u32::try_from(digits).unwrap_or_default());
    let fraction = if digits == 0 { String::new() } else { format!(".{:0digits$}", amount % unit) };
    match currency {
        "usd" => format!("${}{fraction}", amount / unit),
        _ => format!("{}{fraction} {}", amount / unit, currency.to_uppercase()),
    }
}

/// Every line of an invoice.
pub(crate) fn all(invoice: &Value) -> Vec<Value> {
    invoice.pointer("/lines/data").and_then(Value::as_array).cloned().unwrap_or_default()
}

/// Puts the lines into their invoice.
pub(crate) fn put(invoice: &mut Value, mut lines: Vec<Value>) {
    let id = invoice["id"].clone();
    for line in &mut lines {
        line["invoice"] = id.clone();
    }
    invoice["lines"] = json!({
        "object": "list", "has_more": false, "total_count": lines.len(), "data": lines,
        "url": format!("/v1/invoices/{}/lines", id.as_str().unwrap_or_default()),
    });
}
