//! `/v1/payment_methods`: cards and bank accounts, of Stripe's test numbers, tokens and names ([`crate::cards`]).

use serde_json::{Value, json};

use super::buyers;
use crate::{
    cards::{self, Does, Instrument},
    endpoint::{Call, Endpoint},
    failure::{Answer, Failure},
    list,
    params::Params,
    store::text,
    world::World,
};

const CREATE: &[&str] = &[
    "type",
    "card*",
    "sepa_debit[iban]",
    "us_bank_account*",
    "billing_details*",
    "metadata*",
    "allow_redisplay",
    "customer",
    "radar_options*",
];
const UPDATE: &[&str] = &["billing_details*", "metadata*", "card[exp_month]", "card[exp_year]", "allow_redisplay"];
const PAGE: &[&str] = &["type", "limit", "starting_after", "ending_before"];
const KINDS: &[&str] = &["card", "sepa_debit", "us_bank_account"];

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint { method: "POST", path: "/v1/payment_methods", params: CREATE, run: create },
    Endpoint {
        method: "GET",
        path: "/v1/payment_methods",
        params: &["customer", "type", "allow_redisplay", "limit", "starting_after", "ending_before"],
        run: all,
    },
    Endpoint { method: "GET", path: "/v1/payment_methods/{id}", params: &[], run: retrieve },
    Endpoint { method: "POST", path: "/v1/payment_methods/{id}", params: UPDATE, run: update },
    Endpoint { method: "POST", path: "/v1/payment_methods/{id}/attach", params: &["customer"], run: attach },
    Endpoint { method: "POST", path: "/v1/payment_methods/{id}/detach", params: &[], run: detach },
    Endpoint { method: "GET", path: "/v1/customers/{id}/payment_methods", params: PAGE, run: of_customer },
    Endpoint { method: "GET", path: "/v1/customers/{id}/payment_methods/{id}", params: &[], run: one_of_customer },
];

/// A payment method that is described, and not made yet.
#[derive(Debug)]
pub(super) struct Draft {
    kind: String,
    number: String,
    shown: Value,
    billing: Value,
    metadata: Value,
}

/// What is described by parameters such as those of `payment_method_data`.
pub(super) fn draft(params: &Params) -> Result<Draft, Failure> {
    params.required("type")?;
    let kind = params.choice("type", KINDS)?.unwrap_or_default().to_owned();
    let given = params.below(&kind)?.ok_or_else(|| params.missing(&kind))?;
    let (number, shown) = match kind.as_str() {
        "card" => card(&given)?,
        "sepa_debit" => iban(&given)?,
        _ => us_account(&given)?,
    };
    Ok(Draft { kind, number, shown, billing: billing(params, &Value::Null)?, metadata: params.metadata(&json!({}))? })
}

fn card(given: &Params) -> Result<(String, Value), Failure> {
    if let Some(token) = given.text("token")? {
        let card = cards::named(token).filter(|card| token.starts_with("tok_") && card.kind() == "card");
        let card = card.ok_or_else(|| Failure::no_such_param("token", token, "card[token]"))?;
        return Ok((card.number.to_owned(), card.shown()));
    }
    let number = given.required("number")?.replace([' ', '-'], "");
    for name in ["exp_month", "exp_year"] {
        given.required(name)?;
    }
    let (month, year) = (given.integer("exp_month")?.unwrap_or(1), given.integer("exp_year")?.unwrap_or(2040));
    given.text("cvc")?;
    if !(1..=12).contains(&month) {
        let message = "Your card's expiration month is invalid.";
        return Err(Failure::card("invalid_expiry_month", message).param("exp_month"));
    }
    if !(2024..=2099).contains(&year) && !(24..=99).contains(&year) {
        let message = "Your card's expiration year is invalid.";
        return Err(Failure::card("invalid_expiry_year", message).param("exp_year"));
    }
    if !cards::is_luhn(&number) {
        return Err(Failure::card("incorrect_number", "Your card number is incorrect.").param("number"));
    }
    let Some(card) = cards::card(&number) else {
        return Err(no_test_card());
    };
    let mut shown = card.shown();
    shown["exp_month"] = json!(month);
    shown["exp_year"] = json!(if year < 100 { year + 2000 } else { year });
    Ok((number, shown))
}

fn no_test_card() -> Failure {
    let message = "Your card was declined. Your request was in test mode, but used a non test card. For a list of valid test cards, \
                   visit: https://stripe.com/docs/testing.";
    Failure::card("card_declined", message).with("decline_code", "test_mode_live_card")
}

fn iban(given: &Params) -> Result<(String, Value), Failure> {
    let iban = given.required("iban")?.replace(' ', "").to_ascii_uppercase();
    let well_formed = (15..=34).contains(&iban.len())
        && iban.bytes().all(|byte| byte.is_ascii_alphanumeric())
        && iban.bytes().take(2).all(|byte| byte.is_ascii_uppercase());
    if !well_formed {
        let message = format!("The IBAN you provided is invalid: {iban}");
        return Err(Failure::invalid(message).code("invalid_bank_account_iban").param("sepa_debit[iban]"));
    }
    let shown = cards::account("sepa_debit", &iban);
    Ok((iban, shown))
}

fn us_account(given: &Params) -> Result<(String, Value), Failure> {
    let number = given.required("account_number")?.to_owned();
    given.required("routing_number")?;
    let holder = given.choice("account_holder_type", &["individual", "company"])?;
    let kind = given.choice("account_type", &["checking", "savings"])?;
    let mut shown = cards::account("us_bank_account", &number);
    shown["routing_number"] = json!(given.text("routing_number")?);
    shown["account_holder_type"] = json!(holder.unwrap_or("individual"));
    shown["account_type"] = json!(kind.unwrap_or("checking"));
    Ok((number, shown))
}

fn billing(params: &Params, kept: &Value) -> Result<Value, Failure> {
    let mut details = if kept.is_null() {
        json!({ "address": null, "email": null, "name": null, "phone": null, "tax_id": null })
    } else {
        kept.clone()
    };
    let Some(given) = params.below("billing_details")? else { return Ok(details) };
    for name in ["email", "name", "phone", "tax_id"] {
        if let Some(value) = given.nullable(name)? {
            details[name] = value;
        }
    }
    if let Some(address) = given.below("address")? {
        for name in ["city", "country", "line1", "line2", "postal_code", "state"] {
            details["address"][name] = address.nullable(name)?.unwrap_or_default();
        }
    }
    Ok(details)
}

impl Draft {
    /// Makes it. Nobody's yet.
    pub fn make(self, world: &mut World) -> Value {
        let Self { kind, number, shown, billing, metadata } = self;
        let mut method = json!({
            "id": world.ids.next("pm_"),
            "object": "payment_method",
            "allow_redisplay": "unspecified",
            "billing_details": billing,
            "created": world.now,
            "customer": null,
            "livemode": false,
            "metadata": metadata,
            "type": kind,
            "_number": number,
        });
        method[kind] = shown;
        world.store.insert("payment_method", method.clone());
        method
    }
}

/// A new payment method of a documented card.
pub(super) fn of(world: &mut World, known: &Instrument) -> Value {
    let billing = json!({ "address": null, "email": null, "name": null, "phone": null, "tax_id": null });
    let (kind, number) = (known.kind().to_owned(), known.number.to_owned());
    Draft { kind, number, shown: known.shown(), billing, metadata: json!({}) }.make(world)
}

/// A card by its number, a token's or a payment method's name, as a buyer types it at a page: kept, and the customer's where there is
/// one. Whether it pays is seen when it is charged.
pub(crate) fn of_card(world: &mut World, card: &str, customer: &Value) -> Answer {
    let number = card.replace([' ', '-'], "");
    let known = match cards::named(card).or_else(|| cards::card(&number)) {
        Some(known) => known,
        None if cards::is_luhn(&number) => return Err(no_test_card()),
        None => return Err(Failure::card("incorrect_number", "Your card number is incorrect.").param("number")),
    };
    let mut method = of(world, known);
    method["customer"] = customer.clone();
    world.store.insert("payment_method", method.clone());
    Ok(method)
}

/// The payment method that a parameter names; a name such as `pm_card_visa` makes a new one each time, as with Stripe.
pub(super) fn resolve(world: &mut World, id: &str, param: &str) -> Answer {
    if let Some(known) = cards::named(id).filter(|_| id.starts_with("pm_")) {
        return Ok(of(world, known));
    }
    world.named("payment_method", "PaymentMethod", id, param)
}

/// Refuses a payment method that is not there, another customer's, or used up; nothing is made of a name.
pub(super) fn check_payer(world: &World, id: &str, customer: &str, param: &str) -> Result<(), Failure> {
    if cards::named(id).is_some() && id.starts_with("pm_") {
        return Ok(());
    }
    let method = world.named("payment_method", "PaymentMethod", id, param)?;
    let owner = text(&method, "customer");
    if !owner.is_empty() && owner != customer {
        let message = format!(
            "The customer does not have a payment method with the ID {id}. The payment method must be attached to the customer."
        );
        return Err(Failure::invalid(message).code("resource_missing").param(param));
    }
    if owner.is_empty() && method["_used"] == true { Err(spent()) } else { Ok(()) }
}

/// Gives a payment method to a customer, unless its card is refused.
pub(super) fn give(world: &mut World, mut method: Value, customer: &str) -> Answer {
    if let Does::Decline(decline) = cards::does(&method) {
        return Err(decline.failure());
    }
    let owner = text(&method, "customer");
    if owner == customer {
        return Ok(method);
    }
    if !owner.is_empty() {
        let message = "The payment method you provided has already been attached to a customer.";
        return Err(Failure::invalid(message).param("payment_method"));
    }
    if method["_used"] == true {
        return Err(spent());
    }
    method["customer"] = json!(customer);
    world.store.insert("payment_method", method.clone());
    world.emit("payment_method.attached", &method);
    Ok(method)
}

/// It was used, and is nobody's.
pub(super) fn spent() -> Failure {
    Failure::invalid(
        "The provided PaymentMethod was previously used with a PaymentIntent without Customer attachment, shared with a \
         connected account without Customer attachment, or was detached from a Customer. It may not be used again. To use a \
         PaymentMethod multiple times, you must attach it to a Customer first.",
    )
}

/// What a customer pays with when nothing is said: the default one of its invoices, else the newest that it has.
pub(super) fn default_of(world: &World, customer: &str) -> Option<Value> {
    let object = world.store.get("customer", customer)?;
    let named = object.pointer("/invoice_settings/default_payment_method").and_then(Value::as_str);
    let named = named.and_then(|id| world.store.get("payment_method", id)).filter(|m| text(m, "customer") == customer);
    named.or_else(|| world.store.all("payment_method").rev().find(|m| text(m, "customer") == customer)).cloned()
}

fn create(world: &mut World, call: &Call) -> Answer {
    let draft = draft(&call.params)?;
    let customer = call.params.text("customer")?;
    let redisplay = call.params.choice("allow_redisplay", &["always", "limited", "unspecified"])?;
    world.execute()?;
    if let Some(customer) = customer {
        buyers::buyer(world, customer)?;
    }
    let mut method = draft.make(world);
    if let Some(redisplay) = redisplay {
        method["allow_redisplay"] = json!(redisplay);
        world.store.insert("payment_method", method.clone());
    }
    match customer {
        Some(customer) => give(world, method, customer),
        None => Ok(method),
    }
}

fn retrieve(world: &mut World, call: &Call) -> Answer {
    world.object("payment_method", "PaymentMethod", call.id())
}

fn update(world: &mut World, call: &Call) -> Answer {
    let kept = world.store.get("payment_method", call.id()).cloned().unwrap_or_default();
    let metadata = call.params.metadata(&kept["metadata"])?;
    let billing = billing(&call.params, &kept["billing_details"])?;
    let card = call.params.below("card")?.unwrap_or_default();
    let expiry = [("exp_month", card.at_least(1, "exp_month")?), ("exp_year", card.at_least(2024, "exp_year")?)];
    world.execute()?;
    let mut method = world.object("payment_method", "PaymentMethod", call.id())?;
    if text(&method, "customer").is_empty() {
        let message = "You must save this PaymentMethod to a customer before you can update it.";
        return Err(Failure::invalid(message));
    }
    (method["metadata"], method["billing_details"]) = (metadata, billing);
    for (name, value) in expiry {
        if let (Some(value), true) = (value, text(&method, "type") == "card") {
            method["card"][name] = json!(value);
        }
    }
    Ok(world.change("payment_method", "payment_method.updated", method))
}

fn attach(world: &mut World, call: &Call) -> Answer {
    let customer = call.params.required("customer")?;
    world.execute()?;
    buyers::buyer(world, customer)?;
    let method = match cards::named(call.id()).filter(|_| call.id().starts_with("pm_")) {
        Some(known) => of(world, known),
        None => world.object("payment_method", "PaymentMethod", call.id())?,
    };
    give(world, method, customer)
}

fn detach(world: &mut World, call: &Call) -> Answer {
    world.execute()?;
    let mut method = world.object("payment_method", "PaymentMethod", call.id())?;
    let customer = text(&method, "customer").to_owned();
    if customer.is_empty() {
        let message = "The payment method you provided is not attached to a customer so detachment is impossible.";
        return Err(Failure::invalid(message));
    }
    let before = method.clone();
    method["customer"] = Value::Null;
    method["_used"] = json!(true);
    world.store.insert("payment_method", method.clone());
    if let Some(owner) = world.store.get_mut("customer", &customer) {
        let default = owner.pointer_mut("/invoice_settings/default_payment_method");
        if let Some(default) = default.filter(|default| **default == call.id()) {
            *default = Value::Null;
        }
    }
    world.emit_change("payment_method.detached", &before, &method);
    Ok(method)
}

fn page(world: &World, call: &Call, customer: Option<&str>, url: &str) -> Answer {
    call.params.choice("type", KINDS)?;
    let mut matching: Vec<&Value> = Vec::new();
    for method in world.store.all("payment_method").rev() {
        // Without a customer, everybody's.
        let theirs = customer.is_none_or(|customer| text(method, "customer") == customer);
        if theirs && list::is_asked(method, &call.params, "type")? {
            matching.push(method);
        }
    }
    list::page(&matching, &call.params, "payment_method", url)
}

fn all(world: &mut World, call: &Call) -> Answer {
    page(world, call, call.params.text("customer")?, "/v1/payment_methods")
}

fn of_customer(world: &mut World, call: &Call) -> Answer {
    buyers::existing(world, call.id())?;
    page(world, call, Some(call.id()), &format!("/v1/customers/{}/payment_methods", call.id()))
}

fn one_of_customer(world: &mut World, call: &Call) -> Answer {
    buyers::existing(world, call.id())?;
    let method = world.object("payment_method", "PaymentMethod", call.second_id())?;
    if text(&method, "customer") == call.id() {
        Ok(method)
    } else {
        Err(Failure::no_such("PaymentMethod", call.second_id()))
    }
}
