//! `/v1/charges`: what was charged, and what of it came back.

use serde_json::{Value, json};

use super::confirm;
use crate::{
    cards::{self, AUTHENTICATION, Decline, Does},
    endpoint::{Call, Endpoint},
    failure::{Answer, Failure},
    list::{self, Created},
    money::{self, PENDING},
    store::{number, text, with},
    v1::{
        balance::{self, Movement},
        buyers, payment_methods, prices,
    },
    world::World,
};

const LIST: &[&str] =
    &["customer", "payment_intent", "transfer_group", "created*", "limit", "starting_after", "ending_before"];
const UPDATE: &[&str] =
    &["customer", "description", "metadata*", "receipt_email", "shipping*", "transfer_group", "fraud_details*"];

const CREATE: &[&str] = &[
    "amount",
    "currency",
    "source",
    "customer",
    "capture",
    "description",
    "metadata*",
    "receipt_email",
    "statement_descriptor_suffix",
    "transfer_group",
];

pub(crate) const ENDPOINTS: &[Endpoint] = &[
    Endpoint { method: "POST", path: "/v1/charges", params: CREATE, run: create },
    Endpoint { method: "POST", path: "/v1/charges/{id}/capture", params: &["amount"], run: capture_one },
    Endpoint { method: "GET", path: "/v1/charges", params: LIST, run: all },
    Endpoint { method: "GET", path: "/v1/charges/{id}", params: &[], run: retrieve },
    Endpoint { method: "POST", path: "/v1/charges/{id}", params: UPDATE, run: update },
];

/// A charge of an intent, kept and not told of.
fn blank(world: &mut World, intent: &Value, method: &Value) -> Value {
    let kind = text(method, "type").to_owned();
    let id = world.ids.next(if kind == "card" { "ch_" } else { "py_" });
    let mut details = json!({ "type": kind });
    details[&kind] = method[&kind].clone();
    if let Some(shown) = details[&kind].as_object_mut() {
        // What a charge shows of a method is less than the method.
        shown.retain(|field, _| {
            !["display_brand", "generated_from", "networks", "three_d_secure_usage"].contains(&field.as_str())
        });
        if kind == "card" {
            shown.insert("network".to_owned(), method[&kind]["brand"].clone());
            shown.insert("three_d_secure".to_owned(), Value::Null);
        }
        if kind == "us_bank_account" {
            shown.retain(|field, _| !["financial_connections_account", "status_details"].contains(&field.as_str()));
        }
    }
    let defaults = json!({
        "object": "charge",
        "amount_captured": 0,
        "amount_refunded": 0,
        "application": null,
        "application_fee": null,
        "application_fee_amount": null,
        "balance_transaction": null,
        "calculated_statement_descriptor": "BURSAR SANDBOX",
        "captured": false,
        "disputed": false,
        "failure_balance_transaction": null,
        "failure_code": null,
        "failure_message": null,
        "fraud_details": {},
        "livemode": false,
        "on_behalf_of": null,
        "outcome": { "advice_code": null, "network_advice_code": null, "network_decline_code": null,
            "network_status": "approved_by_network", "reason": null, "risk_level": "normal",
            "seller_message": "Payment complete.", "type": "authorized" },
        "paid": false,
        "radar_options": {},
        "receipt_number": null,
        "receipt_url": null,
        "refunded": false,
        "review": null,
        "source_transfer": null,
        "status": "pending",
        "transfer_data": null,
    });
    let own = json!({
        "id": id,
        "amount": intent["amount"],
        "billing_details": method["billing_details"],
        "created": world.now,
        "currency": intent["currency"],
        "customer": intent["customer"],
        "description": intent["description"],
        "metadata": intent["metadata"],
        "payment_intent": intent["id"],
        "payment_method": method["id"],
        "payment_method_details": details,
        "receipt_email": intent["receipt_email"],
        "shipping": intent["shipping"],
        "statement_descriptor": intent["statement_descriptor"],
        "statement_descriptor_suffix": intent["statement_descriptor_suffix"],
        "transfer_group": intent["transfer_group"],
        "_invoice": intent["_invoice"],
    });
    with(defaults, own)
}

/// One that its bank refused.
pub(super) fn declined(world: &mut World, intent: &Value, method: &Value, why: Decline) -> Value {
    let mut charge = blank(world, intent, method);
    failed(&mut charge, why);
    world.create("charge", "charge.failed", charge)
}

/// One that is on its way was refused after all.
pub(super) fn refuse(world: &mut World, id: &str, why: Decline) {
    let Some(mut charge) = world.store.get("charge", id).cloned() else { return };
    failed(&mut charge, why);
    world.store.insert("charge", charge.clone());
    world.emit("charge.failed", &charge);
}

fn failed(charge: &mut Value, why: Decline) {
    charge["status"] = json!("failed");
    charge["failure_code"] = json!(why.code);
    charge["failure_message"] = json!(why.message());
    charge["outcome"] = why.outcome();
}

/// One that is on its way.
pub(super) fn pending(world: &mut World, intent: &Value, method: &Value) -> Value {
    let mut charge = blank(world, intent, method);
    (charge["captured"], charge["amount_captured"]) = (json!(true), charge["amount"].clone());
    world.create("charge", "charge.pending", charge)
}

/// What was on its way is there.
pub(super) fn arrived(world: &mut World, id: &str) {
    let Some(mut charge) = world.store.get("charge", id).cloned() else { return };
    (charge["status"], charge["paid"]) = (json!("succeeded"), json!(true));
    world.store.insert("charge", charge.clone());
    world.emit("charge.succeeded", &charge);
    book(world, id);
}

/// One that its bank granted; only held, when it is to be captured later.
pub(super) fn succeeded(world: &mut World, intent: &Value, method: &Value, held: bool) -> Value {
    let mut charge = blank(world, intent, method);
    (charge["status"], charge["paid"]) = (json!("succeeded"), json!(true));
    if !held {
        (charge["captured"], charge["amount_captured"]) = (json!(true), charge["amount"].clone());
    }
    world.create("charge", "charge.succeeded", charge)
}

/// Takes the money in. Stripe does it a moment after the charge, and tells by `charge.updated`.
pub(super) fn book(world: &mut World, id: &str) {
    let Some(mut charge) = world.store.get("charge", id).cloned() else { return };
    let method = world.store.get("payment_method", text(&charge, "payment_method")).cloned().unwrap_or_default();
    let is_card = text(&method, "type") == "card";
    let movement = Movement {
        kind: if is_card { "charge" } else { "payment" },
        category: "charge",
        amount: number(&charge, "amount_captured"),
        fee: 0,
        currency: text(&charge, "currency"),
        source: id,
        pending: if cards::does(&method) == Does::PayAvailable { 0 } else { PENDING },
        description: charge["description"].clone(),
    };
    charge["balance_transaction"] = balance::book(world, &movement)["id"].clone();
    world.change("charge", "charge.updated", charge);
}

/// Takes so much of what is held, and lets go of the rest.
pub(super) fn capture(world: &mut World, id: &str, amount: i64) {
    let Some(mut charge) = world.store.get("charge", id).cloned() else { return };
    (charge["captured"], charge["amount_captured"]) = (json!(true), json!(amount));
    charge["amount_refunded"] = json!(number(&charge, "amount") - amount);
    world.change("charge", "charge.captured", charge);
}

/// Lets go of what is held.
pub(super) fn release(world: &mut World, id: &str) {
    let Some(mut charge) = world.store.get("charge", id).cloned() else { return };
    (charge["refunded"], charge["amount_refunded"]) = (json!(true), charge["amount"].clone());
    world.change("charge", "charge.refunded", charge);
}

/// A charge without an intent, as before there were any; `stripe trigger charge.succeeded` makes one.
fn create(world: &mut World, call: &Call) -> Answer {
    let params = &call.params;
    params.required("amount")?;
    let amount = params.at_least(1, "amount")?;
    let currency = prices::currency(params)?;
    money::check(amount.unwrap_or_default(), currency, "amount")?;
    let held = params.boolean("capture")? == Some(false);
    let (source, customer) = (params.text("source")?, params.text("customer")?);
    if source.is_none() && customer.is_none() {
        return Err(Failure::invalid("Must provide source or customer.").code("parameter_missing"));
    }
    let mut asked = json!({ "amount": amount, "currency": currency, "customer": customer, "metadata": params.metadata(&json!({}))? });
    for name in ["description", "receipt_email", "statement_descriptor_suffix", "transfer_group"] {
        asked[name] = params.nullable(name)?.unwrap_or_default();
    }
    world.execute()?;
    if let Some(customer) = customer {
        buyers::buyer(world, customer)?;
    }
    let method = match source {
        Some(token) => {
            let card = cards::named(token).filter(|card| token.starts_with("tok_") && card.kind() == "card");
            let card = card.ok_or_else(|| Failure::no_such_param("token", token, "source"))?;
            payment_methods::of(world, card)
        }
        None => payment_methods::default_of(world, customer.unwrap_or_default()).ok_or_else(|| {
            Failure::card("missing", "Cannot charge a customer that has no active card").param("card")
        })?,
    };
    let why = match cards::does(&method) {
        Does::Decline(why) | Does::DeclineCharge(why) | Does::AuthenticateInVain(why) => Some(why),
        Does::AuthenticateAlways | Does::AuthenticateOnce => Some(AUTHENTICATION),
        _ => None,
    };
    if let Some(why) = why {
        let charge = declined(world, &asked, &method, why);
        return Err(why.failure().with("charge", charge["id"].clone()));
    }
    let id = text(&succeeded(world, &asked, &method, held), "id").to_owned();
    if !held {
        book(world, &id);
        confirm::afterwards(world, &id);
    }
    world.object("charge", "charge", &id)
}

fn capture_one(world: &mut World, call: &Call) -> Answer {
    let asked = call.params.at_least(1, "amount")?;
    world.execute()?;
    let charge = world.object("charge", "charge", call.id())?;
    if charge["payment_intent"].is_string() {
        let message = format!("Charge {} was created by a PaymentIntent: capture that.", call.id());
        return Err(Failure::invalid(message));
    }
    if charge["captured"] == true || text(&charge, "status") != "succeeded" {
        let message = format!("Charge {} has already been captured.", call.id());
        return Err(Failure::invalid(message).code("charge_already_captured"));
    }
    let amount = asked.unwrap_or_else(|| number(&charge, "amount"));
    if amount > number(&charge, "amount") {
        let message = "You cannot capture a charge for an amount greater than it already has.";
        return Err(Failure::invalid(message).param("amount"));
    }
    capture(world, call.id(), amount);
    book(world, call.id());
    confirm::afterwards(world, call.id());
    world.object("charge", "charge", call.id())
}

fn retrieve(world: &mut World, call: &Call) -> Answer {
    world.object("charge", "charge", call.id())
}

fn update(world: &mut World, call: &Call) -> Answer {
    let params = &call.params;
    let kept = world.store.get("charge", call.id()).map(|charge| charge["metadata"].clone()).unwrap_or_default();
    let metadata = params.metadata(&kept)?;
    let mut fields = Vec::new();
    for name in ["customer", "description", "receipt_email", "transfer_group"] {
        fields.extend(params.nullable(name)?.map(|value| (name, value)));
    }
    fields.extend(params.kept("shipping").map(|shipping| ("shipping", shipping)));
    if let Some(fraud) = params.below("fraud_details")? {
        let report = fraud.choice("user_report", &["fraudulent", "safe", ""])?.filter(|report| !report.is_empty());
        fields.push(("fraud_details", report.map_or(json!({}), |report| json!({ "user_report": report }))));
    }
    world.execute()?;
    let mut charge = world.object("charge", "charge", call.id())?;
    charge["metadata"] = metadata;
    for (name, value) in fields {
        charge[name] = value;
    }
    Ok(world.change("charge", "charge.updated", charge))
}

fn all(world: &mut World, call: &Call) -> Answer {
    let created = Created::read(&call.params)?;
    let mut matching: Vec<&Value> = Vec::new();
    for charge in world.store.all("charge").rev().filter(|charge| created.holds(charge)) {
        let mut asked = true;
        for field in ["customer", "payment_intent", "transfer_group"] {
            asked &= list::is_asked(charge, &call.params, field)?;
        }
        if asked {
            matching.push(charge);
        }
    }
    list::page(&matching, &call.params, "charge", "/v1/charges")
}
