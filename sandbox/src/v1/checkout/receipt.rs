//! The invoice that a one-time purchase makes when `invoice_creation` is enabled: already paid, and told of as Stripe tells of it.

use serde_json::{Value, json};

use super::{
    super::{buyers, invoices::draft},
    lines,
};
use crate::{
    store::{number, text, with},
    world::World,
};

/// Makes it where it is wanted, and names it on the session.
pub(super) fn make(world: &mut World, session: &mut Value) {
    if session["invoice_creation"]["enabled"] != json!(true)
        || !lines::is_due(session)
        || session["invoice"].is_string()
    {
        return;
    }
    let id = world.ids.next("in_");
    session["invoice"] = json!(id);
    let mut invoice = open(world, session, &id);
    let draft = {
        let mut draft = invoice.clone();
        draft["status"] = json!("draft");
        draft
    };
    world.store.insert("invoice", draft.clone());
    world.emit("invoice.created", &draft);
    world.store.insert("invoice", invoice.clone());
    world.emit("invoice.finalized", &invoice);
    let total = number(&invoice, "total");
    let payment = json!({
        "id": world.ids.next("inpay_"), "object": "invoice_payment", "amount_paid": total, "amount_requested": total,
        "created": world.now, "currency": invoice["currency"], "invoice": id, "is_default": true, "livemode": false,
        "payment": { "payment_intent": session["payment_intent"], "type": "payment_intent" }, "status": "paid",
        "status_transitions": { "canceled_at": null, "paid_at": world.now },
    });
    world.store.insert("invoice_payment", payment.clone());
    invoice["payments"] = json!({ "object": "list", "data": [payment], "has_more": false, "total_count": 1,
        "url": format!("/v1/invoice_payments?invoice={id}") });
    invoice["amount_paid"] = json!(total);
    invoice["amount_remaining"] = json!(0);
    invoice["attempt_count"] = json!(1);
    invoice["attempted"] = json!(true);
    invoice["status"] = json!("paid");
    invoice["status_transitions"]["paid_at"] = json!(world.now);
    world.store.insert("invoice", invoice.clone());
    world.emit("invoice.paid", &invoice);
    world.emit("invoice.payment_succeeded", &invoice);
}

fn open(world: &mut World, session: &Value, id: &str) -> Value {
    let data = &session["invoice_creation"]["invoice_data"];
    let bought: Vec<Value> = lines::of(session).iter().map(|bought| line(world, bought, id)).collect();
    let sum = |field: &str| lines::of(session).iter().map(|line| number(line, field)).sum::<i64>();
    let (subtotal, total, tax) = (sum("amount_subtotal"), sum("amount_total"), sum("amount_tax"));
    let number_of_it = world.next_invoice_number();
    let taxes = if tax == 0 { json!([]) } else { json!([tax_of(tax, total - tax)]) };
    let of_the_purchase = json!({
        "amount_due": total, "amount_remaining": total,
        "automatic_tax": { "disabled_reason": null, "enabled": session["automatic_tax"]["enabled"],
            "liability": session["automatic_tax"]["liability"], "provider": session["automatic_tax"]["provider"],
            "status": session["automatic_tax"]["status"] },
        "created": world.now, "currency": session["currency"], "customer": session["customer"],
        "customer_email": buyers::email_of(world, text(session, "customer")), "customer_name": session["_buyer"]["name"],
        "description": data["description"], "effective_at": world.now, "footer": data["footer"],
        "hosted_invoice_url": format!("{}/_sandbox/invoices/{id}", world.url), "id": id,
        "lines": { "object": "list", "has_more": false, "total_count": bought.len(), "url": format!("/v1/invoices/{id}/lines"), "data": bought },
        "metadata": data["metadata"], "number": format!("SANDBOX-{number_of_it:04}"),
        "payments": { "object": "list", "data": [], "has_more": false, "total_count": 0, "url": format!("/v1/invoice_payments?invoice={id}") },
        "period_end": world.now, "period_start": world.now,
        "status_transitions": { "finalized_at": world.now, "marked_uncollectible_at": null, "paid_at": null, "voided_at": null },
        "subtotal": subtotal, "subtotal_excluding_tax": subtotal, "total": total, "total_excluding_tax": total - tax, "total_taxes": taxes,
    });
    let of_any = json!({
        "auto_advance": false, "billing_reason": "manual", "customer_address": null, "customer_phone": null, "customer_shipping": null, "default_payment_method": null, "due_date": null, "collection_method": "charge_automatically",
        "customer_tax_exempt": "none", "discounts": [], "ending_balance": 0, "parent": null, "status": "open", "test_clock": null,
        "total_discount_amounts": [],
    });
    with(with(draft::blank(), of_any), of_the_purchase)
}

fn line(world: &mut World, bought: &Value, invoice: &str) -> Value {
    let item = world.ids.next("ii_");
    let (tax, total) = (number(bought, "amount_tax"), number(bought, "amount_total"));
    json!({
        "id": world.ids.next("il_"), "object": "line_item", "amount": bought["amount_subtotal"], "currency": bought["currency"],
        "description": bought["description"], "discount_amounts": [], "discountable": true, "discounts": [], "invoice": invoice,
        "livemode": false, "metadata": {},
        "parent": { "invoice_item_details": { "invoice_item": item, "proration": false,
            "proration_details": { "credited_items": null }, "subscription": null }, "subscription_item_details": null,
            "type": "invoice_item_details" },
        "period": { "start": world.now, "end": world.now }, "pretax_credit_amounts": [],
        "pricing": { "price_details": { "price": bought["price"]["id"], "product": bought["price"]["product"] },
            "type": "price_details", "unit_amount_decimal": bought["price"]["unit_amount_decimal"] },
        "quantity": bought["quantity"], "subtotal": bought["amount_subtotal"],
        "taxes": if tax == 0 { json!([]) } else { json!([tax_of(tax, total - tax)]) },
    })
}

fn tax_of(tax: i64, taxable: i64) -> Value {
    json!({ "amount": tax, "tax_behavior": "exclusive", "tax_rate_details": null, "taxability_reason": "standard_rated",
        "taxable_amount": taxable, "type": "tax_rate_details" })
}
