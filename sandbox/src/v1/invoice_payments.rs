//! `/v1/invoice_payments`: which payment pays which invoice. Each is shown in its invoice too.

use serde_json::{Value, json};

use super::payments;
use crate::{
    endpoint::{Call, Endpoint},
    failure::{Answer, Failure},
    list::{self, Created},
    store::text,
    world::World,
};

const LIST: &[&str] = &[
    "invoice",
    "status",
    "payment[type]",
    "payment[payment_intent]",
    "created*",
    "limit",
    "starting_after",
    "ending_before",
];

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint { method: "GET", path: "/v1/invoice_payments", params: LIST, run: all },
    Endpoint { method: "GET", path: "/v1/invoice_payments/{id}", params: &[], run: retrieve },
];

/// The payment intent that an invoice's default payment was last tried with.
pub(super) fn intent_of(invoice: &Value) -> Option<String> {
    let payments = invoice.pointer("/payments/data").and_then(Value::as_array)?;
    payments.last()?["payment"]["payment_intent"].as_str().map(str::to_owned)
}

/// Keeps a try beside its invoice; the invoice shows it.
pub(super) fn record(world: &mut World, invoice: &mut Value, intent: &Value, is_paid: bool) {
    let kept = invoice.pointer("/payments/data").and_then(Value::as_array).into_iter().flatten();
    let known = kept.rev().find(|payment| payment["payment"]["payment_intent"] == intent["id"]).cloned();
    let mut payment = known.unwrap_or_else(|| {
        json!({
            "id": world.ids.next("inpay_"),
            "object": "invoice_payment",
            "amount_paid": null,
            "amount_requested": invoice["amount_remaining"],
            "created": world.now,
            "currency": invoice["currency"],
            "invoice": invoice["id"],
            "is_default": true,
            "livemode": false,
            "payment": { "payment_intent": intent["id"], "type": "payment_intent" },
            "status": "open",
            "status_transitions": { "canceled_at": null, "paid_at": null },
        })
    });
    if is_paid {
        payment["amount_paid"] = payment["amount_requested"].clone();
        payment["status"] = json!("paid");
        payment["status_transitions"]["paid_at"] = json!(world.now);
    }
    world.store.insert("invoice_payment", payment.clone());
    let Some(shown) = invoice.pointer_mut("/payments/data").and_then(Value::as_array_mut) else { return };
    shown.retain(|other| other["id"] != payment["id"]);
    shown.push(payment);
    let count = shown.len();
    invoice["payments"]["total_count"] = json!(count);
}

/// Whether a debit that is to pay it has neither come nor failed yet.
pub(super) fn is_on_its_way(world: &World, invoice: &Value) -> bool {
    let intent = intent_of(invoice).and_then(|id| world.store.get("payment_intent", &id));
    intent.is_some_and(|intent| text(intent, "status") == "processing")
}

/// It is not to be paid so any more: nobody can still confirm a payment that was left open.
pub(super) fn withdraw(world: &mut World, invoice: &mut Value, reason: &str) {
    let Some(shown) = invoice.pointer_mut("/payments/data").and_then(Value::as_array_mut) else { return };
    for payment in shown.iter_mut().filter(|payment| payment["status"] == "open") {
        payments::intents::withdraw(world, text(&payment["payment"], "payment_intent"), reason);
        payment["status"] = json!("canceled");
        payment["status_transitions"]["canceled_at"] = json!(world.now);
        world.store.insert("invoice_payment", payment.clone());
    }
}

/// Tells of the payment that paid an invoice.
pub(super) fn told(world: &mut World, invoice: &Value) {
    let payments = invoice.pointer("/payments/data").and_then(Value::as_array).cloned().unwrap_or_default();
    if let Some(payment) = payments.iter().rev().find(|payment| text(payment, "status") == "paid") {
        world.emit("invoice_payment.paid", payment);
    }
}

fn retrieve(world: &mut World, call: &Call) -> Answer {
    world.object("invoice_payment", "invoice payment", call.id())
}

fn all(world: &mut World, call: &Call) -> Answer {
    let params = &call.params;
    let created = Created::read(params)?;
    params.choice("status", &["canceled", "open", "paid"])?;
    let payment = params.below("payment")?.unwrap_or_default();
    let kind = payment.choice("type", &["charge", "payment_intent", "payment_record"])?;
    let intent = payment.text("payment_intent")?;
    if intent.is_some() && kind.is_none() {
        return Err(Failure::invalid("Missing required param: payment[type].")
            .code("parameter_missing")
            .param("payment[type]"));
    }
    let mut matching: Vec<&Value> = Vec::new();
    for one in world.store.all("invoice_payment").rev().filter(|one| created.holds(one)) {
        let mut asked = kind.is_none_or(|kind| text(&one["payment"], "type") == kind)
            && intent.is_none_or(|intent| text(&one["payment"], "payment_intent") == intent);
        for field in ["invoice", "status"] {
            asked &= list::is_asked(one, params, field)?;
        }
        if asked {
            matching.push(one);
        }
    }
    list::page(&matching, params, "invoice_payment", "/v1/invoice_payments")
}
