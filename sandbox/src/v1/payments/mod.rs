//! Payments: whatever is charged is charged by [`attempt`], and lives as a payment intent and its charges.

mod asked;
pub(super) mod charges;
mod confirm;
pub(super) mod intents;
#[cfg(test)]
mod tests;

use serde_json::{Value, json};

use super::payment_methods;
use crate::{
    cards,
    failure::{Answer, Failure},
    plans::Act,
    store::text,
    world::World,
};

pub(crate) use confirm::authenticated;

/// A payment that is to be tried.
#[derive(Debug, Clone, Default)]
pub(super) struct Payment {
    /// In minor units.
    pub amount: i64,
    /// In lower case.
    pub currency: String,
    /// An id, or null.
    pub customer: Value,
    /// A payment method's id, or a name such as `pm_card_visa`; the customer's default one where there is none, else the newest that it
    /// has, and where there is none either, a card that works: the sandbox's own kindness.
    pub method: Option<String>,
    pub metadata: Value,
    pub description: Value,
    /// Nobody is there to authenticate it: a renewal.
    pub off_session: bool,
    /// The invoice it pays.
    pub invoice: Option<String>,
    /// The payment intent of an earlier try, which tries again.
    pub intent: Option<String>,
    /// Told the payment intent's id, once a payment that was left open (processing, refused, or in need of its owner) has come or has failed:
    /// the intent's `status` then is `succeeded`, or `requires_payment_method` with its `last_payment_error`.
    pub settled: Option<Act>,
}

/// What a payment came to; each with its payment intent.
#[derive(Debug)]
pub(crate) enum Paid {
    /// The money is there.
    Succeeded(Value),
    /// It arrives later, or never: a debit. [`Payment::settled`] is told.
    Processing(Value),
    /// The card's owner must authenticate. [`Payment::settled`] is told.
    NeedsAction(Value, Failure),
    /// Refused, with what the caller is told.
    Declined(Value, Failure),
}

impl Paid {
    pub fn intent(&self) -> &Value {
        match self {
            Self::Succeeded(intent)
            | Self::Processing(intent)
            | Self::NeedsAction(intent, _)
            | Self::Declined(intent, _) => intent,
        }
    }
}

/// Tries a payment.
pub(super) fn attempt(world: &mut World, payment: &Payment) -> Paid {
    let earlier = payment.intent.as_deref().and_then(|id| world.store.get("payment_intent", id)).cloned();
    let mut intent = match earlier {
        Some(intent) if text(&intent, "status") == "succeeded" => return Paid::Succeeded(intent),
        Some(intent) if text(&intent, "status") == "processing" => return Paid::Processing(intent),
        Some(intent) if text(&intent, "status") != "canceled" => intent,
        _ => open(world, payment),
    };
    intent["amount"] = json!(payment.amount);
    world.store.insert("payment_intent", intent.clone());
    let id = text(&intent, "id").to_owned();
    let method = match method(world, payment) {
        Ok(method) => method,
        Err(failure) => return Paid::Declined(intent, failure),
    };
    if let Some(act) = payment.settled {
        world.awaited.insert(id.clone(), act);
    }
    let paid = confirm::confirm(world, intent, &method, payment.off_session);
    // A refused one may be confirmed again by itself, with another payment method.
    if matches!(paid, Paid::Succeeded(_)) {
        world.awaited.remove(&id);
    }
    paid
}

/// Opens a payment for somebody to confirm.
pub(super) fn open(world: &mut World, payment: &Payment) -> Value {
    let intent = intents::blank(world, payment.amount, &payment.currency);
    let intent = world.create("payment_intent", "payment_intent.created", made_for(intent, payment));
    if let Some(act) = payment.settled {
        world.awaited.insert(text(&intent, "id").to_owned(), act);
    }
    intent
}

/// The clock by which an intent or a charge lives: what pays an invoice by its customer's, all else by the sandbox's own.
pub(super) fn clock(world: &World, paying: &Value) -> String {
    if text(paying, "_invoice").is_empty() { String::new() } else { world.clock_of(text(paying, "customer")) }
}

fn made_for(mut intent: Value, payment: &Payment) -> Value {
    intent["customer"] = payment.customer.clone();
    intent["description"] = payment.description.clone();
    if payment.metadata.is_object() {
        intent["metadata"] = payment.metadata.clone();
    }
    intent["_invoice"] = json!(payment.invoice);
    intent
}

fn method(world: &mut World, payment: &Payment) -> Answer {
    if let Some(id) = &payment.method {
        return payment_methods::resolve(world, id, "payment_method");
    }
    let customer = payment.customer.as_str().unwrap_or_default();
    if let Some(method) = payment_methods::default_of(world, customer) {
        return Ok(method);
    }
    let visa = cards::named("pm_card_visa").ok_or_else(Failure::internal)?;
    Ok(payment_methods::of(world, visa))
}

/// The card's owner has authenticated, or has failed to, at a page that shows what went wrong.
pub(crate) fn authenticate_here(world: &mut World, id: &str, succeeds: bool) -> Result<(), Failure> {
    match authenticated(world, id, succeeds) {
        Paid::Declined(_, failure) | Paid::NeedsAction(_, failure) => Err(failure),
        Paid::Succeeded(_) | Paid::Processing(_) => Ok(()),
    }
}

/// The card's owner has authenticated, or has failed to, because a test says so; answers the payment intent.
pub(crate) fn authenticate(world: &mut World, id: &str, succeeds: bool) -> Answer {
    match authenticated(world, id, succeeds) {
        // What comes of it is no fault of the caller's, but for an intent that waits for nobody.
        Paid::Declined(_, failure) if failure.status != 402 => Err(failure),
        Paid::Succeeded(intent)
        | Paid::Processing(intent)
        | Paid::NeedsAction(intent, _)
        | Paid::Declined(intent, _) => Ok(intent),
    }
}
