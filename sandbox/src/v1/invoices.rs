//! `/v1/invoices`, in the layout since basil: what a subscription asks for.

use serde_json::{Value, json};

use super::{customers, payments, prices, subscriptions};
use crate::{
    failure::{Answer, Failure},
    list::{self, Created},
    routes::{Call, Route},
    store::{number, text, with},
    world::World,
};

pub(super) const ROUTES: &[Route] = &[
    Route {
        method: "GET",
        path: "/v1/invoices",
        params: &["customer", "subscription", "status", "created*", "limit", "starting_after", "ending_before"],
        run: all,
    },
    Route { method: "GET", path: "/v1/invoices/{id}", params: &[], run: retrieve },
    Route {
        method: "GET",
        path: "/v1/invoices/{id}/lines",
        params: &["limit", "starting_after", "ending_before"],
        run: lines,
    },
    Route {
        method: "POST",
        path: "/v1/invoices/{id}/pay",
        params: &["payment_method", "paid_out_of_band", "source", "off_session", "forgive", "mandate"],
        run: pay,
    },
    Route { method: "POST", path: "/v1/invoices/{id}/void", params: &[], run: void },
];

/// The invoice of a subscription's first period, open, and told of.
pub(super) fn first(world: &mut World, subscription: &Value, is_trial: bool) -> Answer {
    let id = world.ids.next("in_");
    let sub = text(subscription, "id").to_owned();
    let items = subscription.pointer("/items/data").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut data = Vec::new();
    for item in &items {
        let quantity = number(item, "quantity");
        let amount = if is_trial { 0 } else { prices::total(&item["price"], quantity)? };
        data.push(json!({
            "id": world.ids.next("il_"),
            "object": "line_item",
            "amount": amount,
            "currency": subscription["currency"],
            "description": format!("{quantity} × {}", text(&item["price"], "product")),
            "discount_amounts": [],
            "discountable": true,
            "discounts": [],
            "invoice": id,
            "livemode": false,
            "metadata": subscription["metadata"],
            "parent": {
                "invoice_item_details": null,
                "subscription_item_details": { "invoice_item": null, "proration": false,
                    "proration_details": { "credited_items": null }, "subscription": sub, "subscription_item": item["id"] },
                "type": "subscription_item_details",
            },
            "period": { "start": item["current_period_start"], "end": item["current_period_end"] },
            "pretax_credit_amounts": [],
            "pricing": {
                "price_details": { "price": item["price"]["id"], "product": item["price"]["product"] },
                "type": "price_details",
                "unit_amount_decimal": if is_trial { json!("0") } else { item["price"]["unit_amount_decimal"].clone() },
            },
            "quantity": quantity,
            "subtotal": amount,
            "taxes": [],
        }));
    }
    let total: i64 = data.iter().map(|line| number(line, "amount")).sum();
    let count = world.store.all("invoice").count() + 1;
    let defaults = json!({
        "object": "invoice",
        "account_country": "US",
        "account_name": "bursar sandbox",
        "account_tax_ids": null,
        "amount_overpaid": 0,
        "amount_paid": 0,
        "amount_shipping": 0,
        "application": null,
        "attempt_count": 0,
        "attempted": false,
        "auto_advance": false,
        "automatic_tax": { "disabled_reason": null, "enabled": false, "liability": null, "provider": null, "status": null },
        "billing_reason": "subscription_create",
        "custom_fields": null,
        "customer_name": null,
        "default_payment_method": null,
        "default_tax_rates": [],
        "description": null,
        "discounts": [],
        "due_date": null,
        "ending_balance": 0,
        "issuer": { "type": "self" },
        "last_finalization_error": null,
        "livemode": false,
        "metadata": {},
        "next_payment_attempt": null,
        "on_behalf_of": null,
        "payment_settings": { "default_mandate": null, "payment_method_options": null, "payment_method_types": null },
        "post_payment_credit_notes_amount": 0,
        "pre_payment_credit_notes_amount": 0,
        "starting_balance": 0,
        "status": "open",
        "total_discount_amounts": [],
        "total_pretax_credit_amounts": [],
        "total_taxes": [],
        "webhooks_delivered_at": null,
    });
    let invoice = with(
        defaults,
        json!({
            "amount_due": total,
            "amount_remaining": total,
            "collection_method": subscription["collection_method"],
            "created": world.now,
            "currency": subscription["currency"],
            "customer": subscription["customer"],
            "customer_email": customers::email_of(world, text(subscription, "customer")),
            "effective_at": world.now,
            "hosted_invoice_url": format!("{}/_sandbox/invoices/{id}", world.url),
            "lines": { "object": "list", "has_more": false, "total_count": data.len(), "url": format!("/v1/invoices/{id}/lines"), "data": data },
            "number": format!("SANDBOX-{count:04}"),
            "parent": {
                "quote_details": null,
                "subscription_details": { "metadata": subscription["metadata"], "subscription": sub },
                "type": "subscription_details",
            },
            "payments": { "object": "list", "data": [], "has_more": false, "total_count": 0,
                "url": format!("/v1/invoice_payments?invoice={id}") },
            "period_end": world.now,
            "period_start": world.now,
            "status_transitions": { "finalized_at": world.now, "marked_uncollectible_at": null, "paid_at": null, "voided_at": null },
            "subtotal": total,
            "subtotal_excluding_tax": total,
            "total": total,
            "total_excluding_tax": total,
            "id": id,
        }),
    );
    world.store.insert("invoice", invoice.clone());
    world.emit("invoice.created", &invoice);
    world.emit("invoice.finalized", &invoice);
    Ok(invoice)
}

/// Takes what is due; `out_of_band` is money that went past Stripe.
pub(super) fn settle(world: &mut World, id: &str, out_of_band: bool) -> Answer {
    let mut invoice = world.object("invoice", "invoice", id)?;
    let due = number(&invoice, "amount_due");
    if due > 0 && !out_of_band {
        let currency = text(&invoice, "currency").to_owned();
        let intent = payments::take(world, due, &currency, &invoice["customer"], &json!({}));
        let payment = json!({
            "id": world.ids.next("inpay_"), "object": "invoice_payment", "amount_paid": due, "amount_requested": due,
            "created": world.now, "currency": currency, "invoice": id, "is_default": true, "livemode": false,
            "payment": { "payment_intent": intent, "type": "payment_intent" }, "status": "paid",
            "status_transitions": { "canceled_at": null, "paid_at": world.now },
        });
        invoice["payments"]["data"] = json!([payment]);
        invoice["payments"]["total_count"] = json!(1);
        // Stripe: the first attempt is not counted among the automatic ones for nothing due.
        invoice["attempt_count"] = json!(number(&invoice, "attempt_count") + 1);
    }
    invoice["attempted"] = json!(true);
    invoice["amount_paid"] = json!(due);
    invoice["amount_remaining"] = json!(0);
    invoice["status"] = json!("paid");
    invoice["status_transitions"]["paid_at"] = json!(world.now);
    world.store.insert("invoice", invoice.clone());
    world.emit("invoice.paid", &invoice);
    if !out_of_band {
        world.emit("invoice.payment_succeeded", &invoice);
    }
    Ok(invoice)
}

fn retrieve(world: &mut World, call: &Call) -> Answer {
    world.object("invoice", "invoice", call.id())
}

fn lines(world: &mut World, call: &Call) -> Answer {
    let invoice = world.object("invoice", "invoice", call.id())?;
    let lines: Vec<&Value> = invoice.pointer("/lines/data").and_then(Value::as_array).into_iter().flatten().collect();
    list::page(&lines, &call.params, "line_item", &format!("/v1/invoices/{}/lines", call.id()))
}

fn pay(world: &mut World, call: &Call) -> Answer {
    let out_of_band = call.params.boolean("paid_out_of_band")?.unwrap_or_default();
    call.params.text("payment_method")?;
    world.execute()?;
    let invoice = world.object("invoice", "invoice", call.id())?;
    match text(&invoice, "status") {
        "open" | "uncollectible" => {}
        "paid" => return Err(Failure::invalid("Invoice is already paid").code("invoice_already_paid")),
        status => return Err(Failure::invalid(format!("Invoice {} is {status}: it cannot be paid.", call.id()))),
    }
    let invoice = settle(world, call.id(), out_of_band)?;
    if let Some(id) = invoice.pointer("/parent/subscription_details/subscription").and_then(Value::as_str) {
        subscriptions::paid(world, id);
    }
    Ok(invoice)
}

fn void(world: &mut World, call: &Call) -> Answer {
    world.execute()?;
    let mut invoice = world.object("invoice", "invoice", call.id())?;
    if !matches!(text(&invoice, "status"), "open" | "uncollectible") {
        let message = format!("You can only pass in open invoices. This invoice is {}.", text(&invoice, "status"));
        return Err(Failure::invalid(message));
    }
    invoice["status"] = json!("void");
    invoice["status_transitions"]["voided_at"] = json!(world.now);
    world.store.insert("invoice", invoice.clone());
    world.emit("invoice.voided", &invoice);
    Ok(invoice)
}

fn all(world: &mut World, call: &Call) -> Answer {
    let created = Created::read(&call.params)?;
    let wanted = call.params.text("subscription")?;
    call.params.choice("status", &["draft", "open", "paid", "uncollectible", "void"])?;
    let mut matching: Vec<&Value> = Vec::new();
    for invoice in world.store.all("invoice").rev().filter(|invoice| created.holds(invoice)) {
        let of = invoice.pointer("/parent/subscription_details/subscription").and_then(Value::as_str);
        let mut asked = wanted.is_none() || of == wanted;
        for field in ["customer", "status"] {
            asked &= list::is_asked(invoice, &call.params, field)?;
        }
        if asked {
            matching.push(invoice);
        }
    }
    list::page(&matching, &call.params, "invoice", "/v1/invoices")
}
