//! A payment intent is tried with a payment method, and what comes of it: at once, after its owner has authenticated, or when a debit
//! has come.

use serde_json::{Value, json};

use super::{Paid, charges};
use crate::{
    cards::{self, AUTHENTICATION, Decline, Does, SOON},
    failure::Failure,
    plans::Awaited,
    store::text,
    v1::{disputes, payment_methods},
    view,
    world::World,
};

/// Tries it.
pub(super) fn confirm(world: &mut World, mut intent: Value, method: &Value, off_session: bool) -> Paid {
    intent["payment_method"] = method["id"].clone();
    intent["next_action"] = Value::Null;
    let kinds = intent["payment_method_types"].as_array_mut();
    if let Some(kinds) = kinds.filter(|kinds| !kinds.contains(&method["type"])) {
        kinds.push(method["type"].clone());
    }
    let needs_owner = match cards::does(method) {
        Does::AuthenticateOnce => method["_set_up"] != true,
        Does::AuthenticateHere => !off_session,
        Does::AuthenticateAlways | Does::AuthenticateInVain(_) => true,
        _ => false,
    };
    match cards::does(method) {
        // Stripe leaves an invoice's intent open for its owner; any other is simply declined.
        _ if needs_owner && off_session && text(&intent, "_invoice").is_empty() => {
            decline(world, intent, method, AUTHENTICATION)
        }
        _ if needs_owner => ask(world, intent, method),
        Does::Decline(why) | Does::DeclineCharge(why) => decline(world, intent, method, why),
        Does::Debit(after) | Does::DebitInVain(after, _) => process(world, intent, method, after),
        Does::Dispute { .. } if text(method, "type") != "card" => process(world, intent, method, SOON),
        _ => succeed(world, intent, method),
    }
}

/// The card's owner has authenticated, or has failed to; what Stripe's page would say. A payment that waits for no owner is left as
/// it is, and declined with a 400.
pub(crate) fn authenticated(world: &mut World, id: &str, succeeds: bool) -> Paid {
    let intent = match world.object("payment_intent", "payment_intent", id) {
        Ok(intent) => intent,
        Err(unknown) => return Paid::Declined(Value::Null, unknown),
    };
    let clock = super::clock(world, &intent);
    world.at_clock(&clock, |world| answered(world, intent, succeeds))
}

fn answered(world: &mut World, mut intent: Value, succeeds: bool) -> Paid {
    let id = text(&intent, "id").to_owned();
    if text(&intent, "status") != "requires_action" {
        let message =
            format!("This PaymentIntent waits for no authentication: its status is {}.", text(&intent, "status"));
        return Paid::Declined(intent, Failure::invalid(message).code("payment_intent_unexpected_state"));
    }
    let method = world.store.get("payment_method", text(&intent, "payment_method")).cloned().unwrap_or_default();
    intent["next_action"] = Value::Null;
    let paid = if !succeeds {
        let message = "The provided PaymentMethod has failed authentication. You can provide payment_method_data or a new \
                       PaymentMethod to attempt to fulfill this PaymentIntent again.";
        let failure = Failure::card("payment_intent_authentication_failure", message);
        fail(world, intent, &method, failure)
    } else if let Does::AuthenticateInVain(why) = cards::does(&method) {
        decline(world, intent, &method, why)
    } else {
        succeed(world, intent, &method)
    };
    Awaited::tell(world, &id);
    paid
}

fn ask(world: &mut World, mut intent: Value, method: &Value) -> Paid {
    let url = format!("{}/_sandbox/authenticate/{}", world.url, text(&intent, "id"));
    intent["next_action"] = match intent["_return_url"].as_str() {
        Some(back) => json!({ "type": "redirect_to_url", "redirect_to_url": { "return_url": back, "url": url } }),
        None => {
            json!({ "type": "use_stripe_sdk", "use_stripe_sdk": { "type": "three_d_secure_redirect", "stripe_js": url } })
        }
    };
    intent["status"] = json!("requires_action");
    let intent = world.change("payment_intent", "payment_intent.requires_action", intent);
    let failure = if text(&intent, "_invoice").is_empty() {
        Failure::card(
            "authentication_required",
            "This payment requires additional user action before it can be completed.",
        )
    } else {
        let message = "This payment requires additional user action before it can be completed successfully. Payment can be \
                       completed using the PaymentIntent associated with the invoice.";
        Failure::card("invoice_payment_intent_requires_action", message)
    };
    let failure = with_objects(world, failure, &intent, method);
    Paid::NeedsAction(intent, failure)
}

/// A charge that failed, and the intent that wants another payment method.
fn decline(world: &mut World, mut intent: Value, method: &Value, why: Decline) -> Paid {
    let charge = charges::declined(world, &intent, method, why);
    intent["latest_charge"] = charge["id"].clone();
    let failure = why.failure().with("charge", charge["id"].clone());
    fail(world, intent, method, failure)
}

fn fail(world: &mut World, mut intent: Value, method: &Value, failure: Failure) -> Paid {
    let failure = failure.with("payment_method", view::shown(&world.store, method.clone(), &[]));
    intent["last_payment_error"] = failure.body();
    intent["payment_method"] = Value::Null;
    intent["status"] = json!("requires_payment_method");
    world.store.insert("payment_intent", intent.clone());
    world.emit("payment_intent.payment_failed", &intent);
    let failure = with_objects(world, failure, &intent, method);
    Paid::Declined(intent, failure)
}

fn with_objects(world: &World, failure: Failure, intent: &Value, method: &Value) -> Failure {
    let shown = |object: &Value| view::shown(&world.store, object.clone(), &[]);
    failure.with("payment_intent", shown(intent)).with("payment_method", shown(method))
}

/// A debit is on its way.
fn process(world: &mut World, mut intent: Value, method: &Value, after: i64) -> Paid {
    let charge = charges::pending(world, &intent, method);
    intent["latest_charge"] = charge["id"].clone();
    (intent["status"], intent["last_payment_error"]) = (json!("processing"), Value::Null);
    use_up(world, &intent, method);
    world.store.insert("payment_intent", intent.clone());
    world.emit("payment_intent.processing", &intent);
    let clock = super::clock(world, &intent);
    world.plan(&clock, world.now + after, settle, text(&intent, "id"));
    Paid::Processing(intent)
}

/// A debit has come, or has been refused.
fn settle(world: &mut World, id: &str) {
    let Some(mut intent) = world.store.get("payment_intent", id).cloned() else { return };
    if text(&intent, "status") != "processing" {
        return;
    }
    let method = world.store.get("payment_method", text(&intent, "payment_method")).cloned().unwrap_or_default();
    let charge = text(&intent, "latest_charge").to_owned();
    if let Does::DebitInVain(_, why) = cards::does(&method) {
        charges::refuse(world, &charge, why);
        let failure = why.failure().with("charge", charge);
        fail(world, intent, &method, failure);
    } else {
        charges::arrived(world, &charge);
        (intent["status"], intent["amount_received"]) = (json!("succeeded"), intent["amount"].clone());
        world.store.insert("payment_intent", intent.clone());
        world.emit("payment_intent.succeeded", &intent);
        afterwards(world, &charge);
    }
    Awaited::tell(world, id);
}

/// The card is charged, or holds the amount until it is captured.
fn succeed(world: &mut World, mut intent: Value, method: &Value) -> Paid {
    let held = text(&intent, "capture_method") == "manual";
    let charge = charges::succeeded(world, &intent, method, held);
    intent["latest_charge"] = charge["id"].clone();
    (intent["last_payment_error"], intent["next_action"]) = (Value::Null, Value::Null);
    let (status, field, event) = if held {
        ("requires_capture", "amount_capturable", "payment_intent.amount_capturable_updated")
    } else {
        ("succeeded", "amount_received", "payment_intent.succeeded")
    };
    intent["status"] = json!(status);
    intent[field] = intent["amount"].clone();
    use_up(world, &intent, method);
    world.store.insert("payment_intent", intent.clone());
    world.emit(event, &intent);
    if !held {
        charges::book(world, text(&charge, "id"));
        afterwards(world, text(&charge, "id"));
    }
    Paid::Succeeded(intent)
}

/// What the card's owner does with a payment that came.
pub(super) fn afterwards(world: &mut World, charge: &str) {
    let method = world.store.get("charge", charge).map(|charge| text(charge, "payment_method"));
    let method = method.and_then(|id| world.store.get("payment_method", id)).cloned().unwrap_or_default();
    if let Does::Dispute { reason, inquiry } = cards::does(&method) {
        disputes::open(world, charge, reason, inquiry);
    }
}

/// The payment method is kept for its customer where that was asked for; otherwise it is used up.
fn use_up(world: &mut World, intent: &Value, method: &Value) {
    let (Some(customer), Some(_)) = (intent["customer"].as_str(), intent["setup_future_usage"].as_str()) else {
        if let Some(method) = world.store.get_mut("payment_method", text(method, "id")) {
            method["_used"] = json!(true);
        }
        return;
    };
    let mut method = method.clone();
    if text(intent, "setup_future_usage") == "off_session" {
        method["_set_up"] = json!(true);
        world.store.insert("payment_method", method.clone());
    }
    if payment_methods::give(world, method, customer).is_err() {
        tracing::debug!(customer, "the payment method stays with another customer");
    }
}
