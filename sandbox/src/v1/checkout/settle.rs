//! The end of a session: it is complete, and where the money is still on its way, what became of that.

use serde_json::{Value, json};

use super::{
    super::{buyers, customers},
    discounts, receipt,
};
use crate::{endpoint::Call, store::text, world::World};

/// What of `payment_intent_data` is only kept on the intent.
const KEPT: &[&str] = &[
    "receipt_email",
    "setup_future_usage",
    "shipping",
    "statement_descriptor",
    "statement_descriptor_suffix",
    "transfer_group",
];

/// Nothing is paid now; the payment method is kept for later.
pub(super) fn set_up(world: &mut World, mut session: Value) -> Value {
    let id = world.ids.next("seti_");
    let customer = [&session["customer"], &session["_customer"]].into_iter().find(|id| id.is_string()).cloned();
    let intent = json!({
        "object": "setup_intent", "application": null, "attach_to_self": null, "automatic_payment_methods": null,
        "cancellation_reason": null, "client_secret": format!("{id}_secret_{}", world.ids.next("")), "created": world.now,
        "customer": customer, "description": session["_later"]["description"], "flow_directions": null, "last_setup_error": null,
        "latest_attempt": null, "livemode": false, "mandate": null, "metadata": session["_later"]["metadata"], "next_action": null,
        "on_behalf_of": null, "payment_method": session["_method"], "payment_method_options": {},
        "payment_method_types": session["payment_method_types"], "single_use_mandate": null, "status": "succeeded",
        "usage": "off_session", "id": id,
    });
    let intent = world.create("setup_intent", "setup_intent.succeeded", intent);
    session["setup_intent"] = intent["id"].clone();
    finish(world, session, "no_payment_required")
}

/// It is complete.
pub(super) fn finish(world: &mut World, mut session: Value, payment_status: &str) -> Value {
    if session["_customer"].is_string() {
        session["customer"] = session["_customer"].clone();
    }
    let email = email(world, &session);
    let name = session["_buyer"]["name"].clone();
    session["customer_details"] = json!({
        "address": null, "business_name": null, "email": if email.is_null() { json!("buyer@example.com") } else { email },
        "individual_name": null, "name": name, "phone": null, "tax_exempt": "none", "tax_ids": [],
    });
    session["subscription"] = session["_subscription"].clone();
    session["invoice"] = session["_invoice"].clone();
    if text(&session, "mode") == "payment" {
        session["payment_intent"] = session["_intent"].clone();
        mark(world, &session);
        discounts::redeem(world, &session);
    }
    update_customer(world, &session);
    session["payment_status"] = json!(payment_status);
    session["status"] = json!("complete");
    session["url"] = Value::Null;
    if payment_status != "unpaid" {
        receipt::make(world, &mut session);
    }
    world.store.insert("checkout.session", session.clone());
    world.emit("checkout.session.completed", &session);
    session
}

/// A payment that was left open has come, or has failed: a debit, or one whose owner has authenticated elsewhere than on our page.
pub(crate) fn heard(world: &mut World, payment_intent: &str) {
    let Some(intent) = world.store.get("payment_intent", payment_intent).cloned() else { return };
    let succeeded = text(&intent, "status") == "succeeded";
    let waiting = world.store.all("checkout.session").find(|session| {
        text(session, "_intent") == payment_intent
            && session["_authenticating"] == true
            && text(session, "status") == "open"
    });
    if let Some(mut session) = waiting.cloned() {
        session["_authenticating"] = json!(false);
        world.store.insert("checkout.session", session.clone());
        if succeeded {
            finish(world, session, "paid");
        }
        return;
    }
    settled(world, payment_intent, succeeded);
}

/// A payment that was on its way has arrived, or never will. For one of no session, nothing happens.
fn settled(world: &mut World, payment_intent: &str, succeeded: bool) {
    let session = world
        .store
        .all("checkout.session")
        .find(|session| text(session, "_intent") == payment_intent && text(session, "status") == "complete");
    let Some(mut session) = session.filter(|session| text(session, "payment_status") == "unpaid").cloned() else {
        return;
    };
    if succeeded {
        session["payment_status"] = json!("paid");
        receipt::make(world, &mut session);
    }
    world.store.insert("checkout.session", session.clone());
    let told =
        if succeeded { "checkout.session.async_payment_succeeded" } else { "checkout.session.async_payment_failed" };
    world.emit(told, &session);
}

/// What the caller wanted of the payment intent beside what a payment is made of.
fn mark(world: &mut World, session: &Value) {
    let given = session["_later"]["given"].clone();
    let intent = text(session, "payment_intent").to_owned();
    let Some(kept) = world.store.get_mut("payment_intent", &intent) else { return };
    for name in KEPT {
        if let Some(value) = given.get(*name) {
            kept[*name] = value.clone();
        }
    }
    let charge = text(kept, "latest_charge").to_owned();
    if let (Some(charge), Some(group)) = (world.store.get_mut("charge", &charge), given.get("transfer_group")) {
        charge["transfer_group"] = group.clone();
    }
}

/// `customer_update[name]=auto`: what the buyer typed is what the customer is called. The money is taken already: one who was deleted
/// meanwhile must not leave the session open to be paid again.
fn update_customer(world: &mut World, session: &Value) {
    // A customer who has no address gets the one that was typed (Stripe: create a session, `customer`).
    let typed = session["_buyer"]["email"].as_str();
    if let (Some(id), Some(email)) = (session["customer"].as_str(), typed)
        && buyers::email_of(world, id).is_null()
    {
        tell(world, id, "email", email);
    }
    let wanted = text(&session["_customer_update"], "name") == "auto";
    if let (true, Some(id), Some(name)) = (wanted, session["customer"].as_str(), session["_buyer"]["name"].as_str()) {
        tell(world, id, "name", name);
    }
}

/// Asks the API, as a caller would.
fn tell(world: &mut World, customer: &str, field: &str, value: &str) {
    let told = Call::of(vec![customer.to_owned()], &[(field, value)]);
    drop(told.and_then(|call| customers::update::update(world, &call)));
}

/// The address that the buyer gave, or that is known of them.
pub(super) fn email(world: &World, session: &Value) -> Value {
    let given = [&session["_buyer"]["email"], &session["customer_email"]].into_iter().find(|email| email.is_string());
    given.cloned().unwrap_or_else(|| buyers::email_of(world, text(session, "customer")))
}
