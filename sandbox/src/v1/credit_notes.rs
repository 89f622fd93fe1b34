//! `/v1/credit_notes`: what a paid invoice gives back to its customer's balance, or outside of Stripe. Refunds are made as refunds.

use serde_json::{Value, json};

use super::customer_balance;
use crate::{
    endpoint::{Call, Endpoint},
    failure::{Answer, Failure},
    list::{self, Created},
    store::{number, text},
    world::World,
};

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        method: "POST",
        path: "/v1/credit_notes",
        params: &["invoice", "amount", "credit_amount", "out_of_band_amount", "memo", "reason", "metadata*"],
        run: create,
    },
    Endpoint {
        method: "GET",
        path: "/v1/credit_notes",
        params: &["invoice", "customer", "created*", "limit", "starting_after", "ending_before"],
        run: all,
    },
    Endpoint { method: "GET", path: "/v1/credit_notes/{id}", params: &[], run: retrieve },
];

fn create(world: &mut World, call: &Call) -> Answer {
    let params = &call.params;
    let id = params.required("invoice")?;
    let balance = params.at_least(1, "credit_amount")?.unwrap_or(0);
    let elsewhere = params.at_least(1, "out_of_band_amount")?.unwrap_or(0);
    let amount = params.at_least(1, "amount")?.unwrap_or(balance + elsewhere);
    let reasons = &["duplicate", "fraudulent", "order_change", "product_unsatisfactory"];
    let reason = params.choice("reason", reasons)?;
    let (memo, metadata) = (params.nullable("memo")?, params.metadata(&json!({}))?);
    world.execute()?;
    let mut invoice = world.named("invoice", "invoice", id, "invoice")?;
    if text(&invoice, "status") != "paid" {
        let message = "The sandbox makes credit notes of paid invoices only.";
        return Err(Failure::invalid(message).param("invoice"));
    }
    if amount < 1 || amount != balance + elsewhere {
        let message = "The sum of refunds, credit_amount and out_of_band_amount must equal the credit note's post_payment_amount.";
        return Err(Failure::invalid(message).param("amount"));
    }
    let credited = number(&invoice, "post_payment_credit_notes_amount") + amount;
    if credited > number(&invoice, "total") - number(&invoice, "pre_payment_credit_notes_amount") {
        let message = "The credit note's amount exceeds what was paid of the invoice.";
        return Err(Failure::invalid(message).param("amount"));
    }
    let customer = text(&invoice, "customer").to_owned();
    let transaction = if balance > 0 {
        customer_balance::change(world, &customer, -balance, "credit_note", Some(&invoice))["id"].clone()
    } else {
        Value::Null
    };
    invoice["post_payment_credit_notes_amount"] = json!(credited);
    let currency = invoice["currency"].clone();
    world.change("invoice", "invoice.updated", invoice);
    let note = json!({
        "id": world.ids.next("cn_"),
        "object": "credit_note",
        "amount": amount,
        "created": world.now,
        "currency": currency,
        "customer": customer,
        "customer_balance_transaction": transaction,
        "discount_amount": 0,
        "invoice": id,
        "livemode": false,
        "memo": memo,
        "metadata": metadata,
        "out_of_band_amount": if elsewhere > 0 { json!(elsewhere) } else { Value::Null },
        "post_payment_amount": amount,
        "pre_payment_amount": 0,
        "reason": reason,
        "refunds": [],
        "status": "issued",
        "subtotal": amount,
        "total": amount,
        "type": "post_payment",
        "voided_at": null,
    });
    Ok(world.create("credit_note", "credit_note.created", note))
}

fn retrieve(world: &mut World, call: &Call) -> Answer {
    world.object("credit_note", "credit note", call.id())
}

fn all(world: &mut World, call: &Call) -> Answer {
    let created = Created::read(&call.params)?;
    let mut matching: Vec<&Value> = Vec::new();
    for note in world.store.all("credit_note").rev().filter(|note| created.holds(note)) {
        if list::is_asked(note, &call.params, "invoice")? && list::is_asked(note, &call.params, "customer")? {
            matching.push(note);
        }
    }
    list::page(&matching, &call.params, "credit note", "/v1/credit_notes")
}
