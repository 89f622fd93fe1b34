//! `/v1/payment_intents`.

use serde_json::{Value, json};

use super::{
    Paid,
    asked::{Asked, asked, usable},
    charges,
    confirm::{self, confirm},
};
use crate::{
    endpoint::{Call, Endpoint},
    failure::{Answer, Failure},
    list::{self, Created},
    money,
    plans::Awaited,
    store::{number, text},
    v1::prices,
    world::World,
};

const CREATE: &[&str] = &[
    "amount",
    "currency",
    "confirm",
    "off_session",
    "error_on_requires_action",
    "customer",
    "description",
    "metadata*",
    "payment_method",
    "payment_method_types[]",
    "payment_method_data*",
    "payment_method_options*",
    "automatic_payment_methods*",
    "capture_method",
    "confirmation_method",
    "setup_future_usage",
    "shipping*",
    "receipt_email",
    "statement_descriptor",
    "statement_descriptor_suffix",
    "transfer_group",
    "return_url",
    "mandate_data*",
    "use_stripe_sdk",
];
const UPDATE: &[&str] = &[
    "amount",
    "currency",
    "customer",
    "description",
    "metadata*",
    "payment_method",
    "payment_method_types[]",
    "payment_method_data*",
    "payment_method_options*",
    "setup_future_usage",
    "shipping*",
    "receipt_email",
    "statement_descriptor",
    "statement_descriptor_suffix",
    "transfer_group",
];
const CONFIRM: &[&str] = &[
    "payment_method",
    "payment_method_types[]",
    "payment_method_data*",
    "payment_method_options*",
    "off_session",
    "error_on_requires_action",
    "setup_future_usage",
    "shipping*",
    "receipt_email",
    "return_url",
    "mandate_data*",
    "use_stripe_sdk",
];
const REASONS: &[&str] = &["duplicate", "fraudulent", "requested_by_customer", "abandoned"];
/// What can still be cancelled.
const OPEN: &[&str] =
    &["requires_payment_method", "requires_capture", "requires_confirmation", "requires_action", "processing"];

pub(crate) const ENDPOINTS: &[Endpoint] = &[
    Endpoint { method: "POST", path: "/v1/payment_intents", params: CREATE, run: create },
    Endpoint {
        method: "GET",
        path: "/v1/payment_intents",
        params: &["customer", "created*", "limit", "starting_after", "ending_before"],
        run: all,
    },
    Endpoint { method: "GET", path: "/v1/payment_intents/{id}", params: &["client_secret"], run: retrieve },
    Endpoint { method: "POST", path: "/v1/payment_intents/{id}", params: UPDATE, run: update },
    Endpoint { method: "POST", path: "/v1/payment_intents/{id}/confirm", params: CONFIRM, run: confirm_one },
    Endpoint {
        method: "POST",
        path: "/v1/payment_intents/{id}/capture",
        params: &[
            "amount_to_capture",
            "metadata*",
            "final_capture",
            "statement_descriptor",
            "statement_descriptor_suffix",
        ],
        run: capture,
    },
    Endpoint { method: "POST", path: "/v1/payment_intents/{id}/cancel", params: &["cancellation_reason"], run: cancel },
];

/// An intent with nothing said about it but what is asked for.
pub(super) fn blank(world: &mut World, amount: i64, currency: &str) -> Value {
    let id = world.ids.next("pi_");
    json!({
        "client_secret": format!("{id}_secret_sandbox"),
        "id": id,
        "object": "payment_intent",
        "amount": amount,
        "amount_capturable": 0,
        "amount_details": { "tip": {} },
        "amount_received": 0,
        "application": null,
        "application_fee_amount": null,
        "automatic_payment_methods": null,
        "canceled_at": null,
        "cancellation_reason": null,
        "capture_method": "automatic_async",
        "confirmation_method": "automatic",
        "created": world.now,
        "currency": currency,
        "customer": null,
        "description": null,
        "last_payment_error": null,
        "latest_charge": null,
        "livemode": false,
        "metadata": {},
        "next_action": null,
        "on_behalf_of": null,
        "payment_method": null,
        "payment_method_configuration_details": null,
        "payment_method_options": {},
        "payment_method_types": ["card"],
        "processing": null,
        "receipt_email": null,
        "review": null,
        "setup_future_usage": null,
        "shipping": null,
        "source": null,
        "statement_descriptor": null,
        "statement_descriptor_suffix": null,
        "status": "requires_payment_method",
        "transfer_data": null,
        "transfer_group": null,
    })
}

/// An amount that Stripe would charge.
fn check(amount: i64, currency: &str) -> Result<(), Failure> {
    let least = money::least(currency);
    if amount >= least {
        return Ok(());
    }
    let message = format!("Amount must be at least {least} {currency} in the smallest unit of the currency.");
    Err(Failure::invalid(message).code("amount_too_small").param("amount"))
}

fn create(world: &mut World, call: &Call) -> Answer {
    let params = &call.params;
    params.required("amount")?;
    let amount = params.at_least(1, "amount")?.unwrap_or_default();
    let currency = prices::currency(params)?;
    money::check(amount, currency, "amount")?;
    check(amount, currency)?;
    let asked = asked(params, &json!({}))?;
    let now = params.boolean("confirm")?.unwrap_or_default();
    if !now && (params.has("off_session") || params.has("return_url") || params.has("error_on_requires_action")) {
        let message = "This parameter may only be given together with confirm=true.";
        return Err(Failure::invalid(message).param("confirm"));
    }
    if now && asked.method.is_none() && asked.data.is_none() {
        return Err(no_method());
    }
    world.execute()?;
    let intent = blank(world, amount, currency);
    let (off_session, refuses) = (asked.off_session, asked.refuses_action);
    let (mut intent, method) = asked.apply(world, intent)?;
    if method.is_some() {
        intent["status"] = json!("requires_confirmation");
    }
    let intent = world.create("payment_intent", "payment_intent.created", intent);
    match method.filter(|_| now) {
        Some(method) => tried(confirm(world, intent, &method, off_session || refuses)),
        None => Ok(intent),
    }
}

/// What the caller is told: an intent that waits for its owner is no failure.
fn tried(paid: Paid) -> Answer {
    match paid {
        Paid::Succeeded(intent) | Paid::Processing(intent) | Paid::NeedsAction(intent, _) => Ok(intent),
        Paid::Declined(_, failure) => Err(failure),
    }
}

fn no_method() -> Failure {
    let message = "You cannot confirm this PaymentIntent because it's missing a payment method. You can either update the \
                   PaymentIntent with a payment method and then confirm it again, or confirm it again directly with a payment \
                   method or ConfirmationToken.";
    Failure::invalid(message).code("payment_intent_unexpected_state")
}

fn unexpected(intent: &Value, verb: &str, allowed: &[&str]) -> Failure {
    let status = text(intent, "status");
    let message = format!(
        "You cannot {verb} this PaymentIntent because it has a status of {status}. Only a PaymentIntent with one of the following \
         statuses allows that: {}.",
        allowed.join(", ")
    );
    Failure::invalid(message).code("payment_intent_unexpected_state")
}

fn retrieve(world: &mut World, call: &Call) -> Answer {
    world.object("payment_intent", "payment_intent", call.id())
}

fn kept(world: &World, id: &str) -> Value {
    world.store.get("payment_intent", id).map(|intent| intent["metadata"].clone()).unwrap_or_default()
}

fn update(world: &mut World, call: &Call) -> Answer {
    let params = &call.params;
    let asked = asked(params, &kept(world, call.id()))?;
    let amount = params.at_least(1, "amount")?;
    let currency = if params.has("currency") { Some(prices::currency(params)?) } else { None };
    world.execute()?;
    let mut intent = world.object("payment_intent", "payment_intent", call.id())?;
    let is_open =
        ["requires_payment_method", "requires_confirmation", "requires_action"].contains(&text(&intent, "status"));
    // Stripe: of one that is done, only what is said about it can change.
    if !is_open && (amount.is_some() || currency.is_some() || asked.method.is_some() || asked.data.is_some()) {
        let message = format!(
            "This PaymentIntent's amount, currency or payment method could not be updated because it has a status of {}.",
            text(&intent, "status")
        );
        return Err(Failure::invalid(message).code("payment_intent_unexpected_state"));
    }
    if let Some(amount) = amount {
        intent["amount"] = json!(amount);
    }
    if let Some(currency) = currency {
        intent["currency"] = json!(currency);
    }
    check(number(&intent, "amount"), text(&intent, "currency"))?;
    let (mut intent, method) = asked.apply(world, intent)?;
    if method.is_some() {
        intent["status"] = json!("requires_confirmation");
    }
    // Stripe has no event for this.
    world.store.insert("payment_intent", intent.clone());
    Ok(intent)
}

fn confirm_one(world: &mut World, call: &Call) -> Answer {
    let mut asked = asked(&call.params, &kept(world, call.id()))?;
    asked.fields.retain(|(name, _)| *name != "metadata");
    world.execute()?;
    let intent = world.object("payment_intent", "payment_intent", call.id())?;
    let open = ["requires_payment_method", "requires_confirmation", "requires_action"];
    if !open.contains(&text(&intent, "status")) {
        return Err(unexpected(&intent, "confirm", &open));
    }
    let clock = super::clock(world, &intent);
    world.at_clock(&clock, |world| confirmed(world, intent, asked))
}

fn confirmed(world: &mut World, intent: Value, asked: Asked) -> Answer {
    let (off_session, refuses) = (asked.off_session, asked.refuses_action);
    let (intent, method) = asked.apply(world, intent)?;
    let id = text(&intent, "id").to_owned();
    let kept = world.store.get("payment_method", text(&intent, "payment_method")).cloned();
    let method = method.or(kept).ok_or_else(no_method)?;
    usable(&intent, &method)?;
    let paid = confirm(world, intent, &method, off_session || refuses);
    if matches!(paid, Paid::Succeeded(_) | Paid::Declined(..)) {
        // What it pays, such as an invoice, is paid by that too.
        Awaited::tell(world, &id);
    }
    tried(paid)
}

fn capture(world: &mut World, call: &Call) -> Answer {
    let asked = call.params.at_least(1, "amount_to_capture")?;
    let metadata = call.params.metadata(&kept(world, call.id()))?;
    call.params.boolean("final_capture")?;
    world.execute()?;
    let mut intent = world.object("payment_intent", "payment_intent", call.id())?;
    if text(&intent, "status") != "requires_capture" {
        return Err(unexpected(&intent, "capture", &["requires_capture"]));
    }
    let held = number(&intent, "amount_capturable");
    let amount = asked.unwrap_or(held);
    if amount > held {
        let message = format!(
            "The payment intent amount_to_capture ({amount}) is greater than the amount that can be captured ({held})."
        );
        return Err(Failure::invalid(message).code("amount_too_large").param("amount_to_capture"));
    }
    let charge = text(&intent, "latest_charge").to_owned();
    charges::capture(world, &charge, amount);
    intent["metadata"] = metadata;
    intent["status"] = json!("succeeded");
    (intent["amount_capturable"], intent["amount_received"]) = (json!(0), json!(amount));
    world.store.insert("payment_intent", intent.clone());
    world.emit("payment_intent.succeeded", &intent);
    charges::book(world, &charge);
    confirm::afterwards(world, &charge);
    Ok(intent)
}

fn cancel(world: &mut World, call: &Call) -> Answer {
    let reason = call.params.choice("cancellation_reason", REASONS)?;
    world.execute()?;
    let intent = world.object("payment_intent", "payment_intent", call.id())?;
    // A debit that is on its way cannot be called back here.
    if !OPEN.contains(&text(&intent, "status")) || text(&intent, "status") == "processing" {
        return Err(unexpected(&intent, "cancel", OPEN));
    }
    Ok(canceled(world, intent, reason))
}

/// What it was to pay is not to be paid with it any more. One that is done, or whose debit is on its way, stays as it is.
pub(crate) fn withdraw(world: &mut World, id: &str, reason: &str) {
    let Some(intent) = world.store.get("payment_intent", id).cloned() else { return };
    if OPEN.contains(&text(&intent, "status")) && text(&intent, "status") != "processing" {
        canceled(world, intent, Some(reason));
    }
}

fn canceled(world: &mut World, mut intent: Value, reason: Option<&str>) -> Value {
    if text(&intent, "status") == "requires_capture" {
        charges::release(world, text(&intent, "latest_charge"));
    }
    (intent["amount_capturable"], intent["next_action"]) = (json!(0), Value::Null);
    intent["status"] = json!("canceled");
    intent["canceled_at"] = json!(world.now);
    intent["cancellation_reason"] = json!(reason);
    world.store.insert("payment_intent", intent.clone());
    world.emit("payment_intent.canceled", &intent);
    intent
}

fn all(world: &mut World, call: &Call) -> Answer {
    let created = Created::read(&call.params)?;
    let mut matching: Vec<&Value> = Vec::new();
    for intent in world.store.all("payment_intent").rev().filter(|intent| created.holds(intent)) {
        if list::is_asked(intent, &call.params, "customer")? {
            matching.push(intent);
        }
    }
    list::page(&matching, &call.params, "payment_intent", "/v1/payment_intents")
}
