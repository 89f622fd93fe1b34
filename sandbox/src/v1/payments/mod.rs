//! `/v1/payment_intents` and `/v1/charges`, to read: what Checkout and invoices took in.

use serde_json::{Value, json};

use crate::{
    failure::{Answer, Failure},
    routes::{Call, Route},
    store::text,
    time::Act,
    world::World,
};

pub(super) const ROUTES: &[Route] = &[
    Route { method: "GET", path: "/v1/payment_intents/{id}", params: &[], run: retrieve_intent },
    Route { method: "GET", path: "/v1/charges/{id}", params: &[], run: retrieve_charge },
];

fn retrieve_intent(world: &mut World, call: &Call) -> Answer {
    world.object("payment_intent", "payment_intent", call.id())
}

fn retrieve_charge(world: &mut World, call: &Call) -> Answer {
    world.object("charge", "charge", call.id())
}

/// A payment that is to be tried.
#[derive(Debug, Clone, Default)]
pub(super) struct Payment {
    /// In minor units.
    pub amount: i64,
    /// In lower case.
    pub currency: String,
    /// An id, or null.
    pub customer: Value,
    /// A payment method's id; the customer's default one where there is none, and where there is none either, a card that works.
    pub method: Option<String>,
    pub metadata: Value,
    pub description: Value,
    /// Nobody is there to authenticate it: a renewal.
    pub off_session: bool,
    /// The invoice it pays.
    pub invoice: Option<String>,
    /// The payment intent of an earlier try, which tries again.
    pub intent: Option<String>,
    /// Told the payment intent's id, once a payment that was left open (processing, or in need of its owner) has come or has failed:
    /// the intent's `status` then is `succeeded`, or `requires_payment_method` with its `last_payment_error`.
    pub settled: Option<Act>,
}

/// What a payment came to; each with its payment intent.
#[derive(Debug)]
pub(super) enum Paid {
    /// The money is there.
    Succeeded(Value),
    /// It arrives later, or never: a debit. The intent's `_settled` act tells.
    Processing(Value),
    /// The card's owner must authenticate.
    NeedsAction(Value, Failure),
    /// Refused, with what the caller is told.
    Declined(Value, Failure),
}

/// Tries a payment.
pub(super) fn attempt(world: &mut World, payment: &Payment) -> Paid {
    let Payment { amount, currency, customer, metadata, .. } = payment;
    // Until cards are judged: one by its name.
    let default = world.store.get("customer", customer.as_str().unwrap_or_default());
    let default = default.and_then(|c| c["invoice_settings"]["default_payment_method"].as_str()).map(str::to_owned);
    if payment.method.clone().or(default).is_some_and(|method| method.contains("Fail")) {
        let id = payment.intent.clone().unwrap_or_else(|| world.ids.next("pi_"));
        let intent = json!({ "id": id, "object": "payment_intent", "status": "requires_payment_method" });
        world.store.insert("payment_intent", intent.clone());
        let failure = Failure::new(402, "card_error", "Your card was declined.").code("card_declined");
        return Paid::Declined(intent, failure);
    }
    let id = take(world, *amount, currency, customer, metadata);
    Paid::Succeeded(world.store.get("payment_intent", id.as_str().unwrap_or_default()).cloned().unwrap_or_default())
}

/// Takes a payment that succeeds; answers the payment intent's id.
pub(super) fn take(world: &mut World, amount: i64, currency: &str, customer: &Value, metadata: &Value) -> Value {
    let (intent_id, charge_id) = (world.ids.next("pi_"), world.ids.next("ch_"));
    let card = json!({ "card": { "brand": "visa", "country": "US", "exp_month": 12, "exp_year": 2040, "funding": "credit",
        "last4": "4242" }, "type": "card" });
    let charge = json!({
        "id": charge_id,
        "object": "charge",
        "amount": amount,
        "amount_captured": amount,
        "amount_refunded": 0,
        "balance_transaction": world.ids.next("txn_"),
        "billing_details": { "address": null, "email": null, "name": null, "phone": null, "tax_id": null },
        "captured": true,
        "created": world.now,
        "currency": currency,
        "customer": customer,
        "disputed": false,
        "fraud_details": {},
        "livemode": false,
        "metadata": metadata,
        "paid": true,
        "payment_intent": intent_id,
        "payment_method_details": card,
        "refunded": false,
        "status": "succeeded",
        "transfer_group": null,
    });
    let intent = json!({
        "id": intent_id,
        "object": "payment_intent",
        "amount": amount,
        "amount_capturable": 0,
        "amount_received": amount,
        "canceled_at": null,
        "capture_method": "automatic",
        "confirmation_method": "automatic",
        "created": world.now,
        "currency": currency,
        "customer": customer,
        "latest_charge": charge_id,
        "livemode": false,
        "metadata": metadata,
        "payment_method_types": ["card"],
        "status": "succeeded",
        "transfer_group": null,
    });
    world.money.earn(currency, amount, world.now);
    world.create("charge", "charge.succeeded", charge);
    let intent = world.create("payment_intent", "payment_intent.succeeded", intent);
    json!(text(&intent, "id"))
}
