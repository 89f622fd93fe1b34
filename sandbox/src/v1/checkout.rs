//! `/v1/checkout/sessions`, and `/v1/payment_pages`, by which the hosted page (and the Stripe CLI) pays them.

use serde_json::{Value, json};

use super::{
    customers, payments, prices,
    subscriptions::{self, Start},
};
use crate::{
    failure::{Answer, Failure},
    list::{self, Created},
    params::Params,
    routes::{Call, Route},
    store::{number, text, with},
    world::World,
};

const CREATE: &[&str] = &[
    "mode",
    "line_items[][price]",
    "line_items[][quantity]",
    "line_items[][price_data]*",
    "line_items[][adjustable_quantity]*",
    "success_url",
    "cancel_url",
    "return_url",
    "customer",
    "customer_email",
    "customer_creation",
    "customer_update*",
    "client_reference_id",
    "metadata*",
    "payment_intent_data*",
    "subscription_data*",
    "allow_promotion_codes",
    "expires_at",
    "payment_method_types[]",
    "payment_method_collection",
    "automatic_tax*",
    "ui_mode",
    "locale",
    "billing_address_collection",
    "invoice_creation*",
    "submit_type",
    "tax_id_collection*",
    "phone_number_collection*",
    "consent_collection*",
    "custom_text*",
    "saved_payment_method_options*",
    "currency",
];
const LIST: &[&str] =
    &["customer", "subscription", "payment_intent", "status", "created*", "limit", "starting_after", "ending_before"];
/// Seconds that a session stays open; Stripe's default and its most.
const LIFE: i64 = 24 * 60 * 60;

pub(super) const ROUTES: &[Route] = &[
    Route { method: "POST", path: "/v1/checkout/sessions", params: CREATE, run: create },
    Route { method: "GET", path: "/v1/checkout/sessions", params: LIST, run: all },
    Route { method: "GET", path: "/v1/checkout/sessions/{id}", params: &[], run: retrieve },
    Route {
        method: "GET",
        path: "/v1/checkout/sessions/{id}/line_items",
        params: &["limit", "starting_after", "ending_before"],
        run: line_items,
    },
    Route { method: "POST", path: "/v1/checkout/sessions/{id}/expire", params: &[], run: expire },
    Route { method: "GET", path: "/v1/payment_pages/{id}", params: &["key", "eid"], run: retrieve },
    Route {
        method: "POST",
        path: "/v1/payment_pages/{id}/confirm",
        params: &["payment_method", "expected_amount", "key", "eid"],
        run: confirm,
    },
];

fn create(world: &mut World, call: &Call) -> Answer {
    let params = &call.params;
    params.required("mode")?;
    let mode = params.choice("mode", &["payment", "subscription", "setup"])?.unwrap_or_default().to_owned();
    let metadata = params.metadata(&json!({}))?;
    let kept = |name: &str| Ok::<_, Failure>(params.nullable(name)?.unwrap_or_default());
    let (success, cancel) = (kept("success_url")?, kept("cancel_url")?);
    let (reference, email, customer) = (kept("client_reference_id")?, kept("customer_email")?, kept("customer")?);
    if params.text("ui_mode")?.is_none_or(|mode| mode == "hosted_page") {
        params.required("success_url")?;
    }
    let mut asked = Vec::new();
    for line in params.elements("line_items")? {
        let data = line.below("price_data")?.map(|data| prices::draft(&data, "line_items")).transpose()?;
        let price = line.text("price")?.map(str::to_owned);
        if price.is_none() && data.is_none() {
            return Err(line.missing("price"));
        }
        asked.push((price, data, line.at_least(1, "quantity")?.unwrap_or(1)));
    }
    if asked.is_empty() && mode != "setup" {
        return Err(params.missing("line_items"));
    }
    let expires_at = params.integer("expires_at")?.unwrap_or(world.now + LIFE);
    if !(world.now + 30 * 60 - 60..=world.now + LIFE + 60).contains(&expires_at) {
        let message =
            "The `expires_at` timestamp must be between 30 minutes and 24 hours from Checkout Session creation.";
        return Err(Failure::invalid(message).param("expires_at"));
    }
    let (trial, later) = after_payment(params, &mode)?;
    let methods = params.texts("payment_method_types")?;

    world.execute()?;
    if let Some(id) = customer.as_str() {
        customers::buyer(world, id)?;
    }
    let mut lines = Vec::new();
    for (price, data, quantity) in asked {
        let price = match (price, data) {
            (Some(id), _) => world.named("price", "price", &id, "line_items[0][price]")?,
            (None, Some(data)) => data.make(world, false)?,
            (None, None) => return Err(Failure::invalid("Missing required param: line_items[0][price].")),
        };
        if text(&price, "type") == "recurring" && mode == "payment" {
            let message = "You specified `payment` mode but passed a recurring price. Either switch to `subscription` mode or use only one-time prices.";
            return Err(Failure::invalid(message).param("mode"));
        }
        world.store.insert("price", price.clone());
        lines.push(line(world, &price, quantity)?);
    }
    if mode == "subscription" && !lines.iter().any(|line| line["price"]["type"] == "recurring") {
        let message = "You must provide at least one recurring price in `subscription` mode when using prices.";
        return Err(Failure::invalid(message).param("line_items"));
    }
    let currency = lines.first().map(|line| line["currency"].clone()).unwrap_or_default();
    if lines.iter().any(|line| line["currency"] != currency) {
        return Err(Failure::invalid("All line items must have the same currency.").param("line_items"));
    }
    let due_now: i64 = lines
        .iter()
        .filter(|line| trial == 0 || line["price"]["type"] != "recurring")
        .map(|line| number(line, "amount_total"))
        .sum();
    let id = world.ids.next("cs_test_");
    let defaults = json!({
        "object": "checkout.session",
        "adaptive_pricing": null,
        "after_expiration": null,
        "allow_promotion_codes": null,
        "automatic_tax": { "enabled": false, "liability": null, "provider": null, "status": null },
        "billing_address_collection": null,
        "client_secret": null,
        "custom_fields": [],
        "custom_text": { "after_submit": null, "shipping_address": null, "submit": null, "terms_of_service_acceptance": null },
        "customer_details": null,
        "discounts": [],
        "invoice": null,
        "invoice_creation": null,
        "locale": null,
        "payment_intent": null,
        "payment_link": null,
        "payment_method_collection": "always",
        "payment_method_options": {},
        "payment_status": "unpaid",
        "phone_number_collection": { "enabled": false },
        "recovered_from": null,
        "setup_intent": null,
        "shipping_address_collection": null,
        "shipping_cost": null,
        "shipping_options": [],
        "status": "open",
        "submit_type": null,
        "subscription": null,
        "total_details": { "amount_discount": 0, "amount_shipping": 0, "amount_tax": 0 },
        "ui_mode": "hosted_page",
        "wallet_options": null,
    });
    let session = with(
        defaults,
        json!({
            "amount_subtotal": if lines.is_empty() { Value::Null } else { json!(due_now) },
            "amount_total": if lines.is_empty() { Value::Null } else { json!(due_now) },
            "cancel_url": cancel,
            "client_reference_id": reference,
            "created": world.now,
            "currency": currency,
            "customer": customer,
            "customer_creation": if mode == "payment" { json!("if_required") } else { json!("always") },
            "customer_email": email,
            "expires_at": expires_at,
            "line_items": { "object": "list", "data": lines, "has_more": false, "url": format!("/v1/checkout/sessions/{id}/line_items") },
            "livemode": false,
            "metadata": metadata,
            "mode": mode,
            "payment_method_types": if methods.is_empty() { json!(["card"]) } else { json!(methods) },
            "success_url": success,
            "url": format!("{}/_sandbox/checkout/{id}", world.url),
            "id": id,
            "_later": later,
            "_trial_days": trial,
        }),
    );
    world.store.insert("checkout.session", session.clone());
    Ok(session)
}

/// The days of trial, and the metadata that what is paid for gets.
fn after_payment(params: &Params, mode: &str) -> Result<(i64, Value), Failure> {
    let (name, other) = if mode == "subscription" {
        ("subscription_data", "payment_intent_data")
    } else {
        ("payment_intent_data", "subscription_data")
    };
    if params.has(other) {
        return Err(Failure::invalid(format!("You can not pass `{other}` in `{mode}` mode.")).param(other));
    }
    let Some(data) = params.below(name)? else { return Ok((0, json!({ "metadata": {}, "description": null }))) };
    let later = json!({ "metadata": data.metadata(&json!({}))?, "description": data.nullable("description")? });
    Ok((data.at_least(0, "trial_period_days")?.unwrap_or_default().min(730), later))
}

fn line(world: &mut World, price: &Value, quantity: i64) -> Answer {
    let total = prices::total(price, quantity)?;
    Ok(json!({
        "id": world.ids.next("li_"), "object": "item", "amount_discount": 0, "amount_subtotal": total, "amount_tax": 0,
        "amount_total": total, "currency": price["currency"], "description": price["product"], "price": price, "quantity": quantity,
    }))
}

/// The buyer pays. What it was for is made, and then told of.
pub(crate) fn complete(world: &mut World, id: &str, email: Option<&str>) -> Answer {
    let mut session = open(world, id)?;
    let email =
        email.map(|email| json!(email)).or_else(|| session.get("customer_email").filter(|e| !e.is_null()).cloned());
    let mode = text(&session, "mode").to_owned();
    if session["customer"].is_null() && mode != "payment" {
        let mut customer = customers::blank(world);
        customer["email"] = email.clone().unwrap_or_default();
        session["customer"] = customer["id"].clone();
        world.create("customer", "customer.created", customer);
    }
    let known = customers::email_of(world, text(&session, "customer"));
    let shown = email.unwrap_or_else(|| if known.is_null() { json!("buyer@example.com") } else { known });
    session["customer_details"] =
        json!({ "address": null, "email": shown, "name": null, "phone": null, "tax_exempt": "none", "tax_ids": [] });
    let (amount, currency) = (number(&session, "amount_total"), text(&session, "currency").to_owned());
    let metadata = session["_later"]["metadata"].clone();
    match mode.as_str() {
        "subscription" => {
            let lines = session.pointer("/line_items/data").and_then(Value::as_array).cloned().unwrap_or_default();
            let start = Start {
                customer: text(&session, "customer").to_owned(),
                items: lines.iter().map(|line| (line["price"].clone(), number(line, "quantity"))).collect(),
                metadata,
                description: session["_later"]["description"].clone(),
                trial_days: number(&session, "_trial_days"),
                pays: true,
                refuses: true,
                ..Start::default()
            };
            let (subscription, invoice) = subscriptions::start(world, &start)?;
            session["subscription"] = subscription["id"].clone();
            session["invoice"] = invoice["id"].clone();
        }
        "payment" if amount > 0 => {
            session["payment_intent"] = payments::take(world, amount, &currency, &session["customer"], &metadata);
        }
        _ => {}
    }
    session["payment_status"] = json!(if amount > 0 { "paid" } else { "no_payment_required" });
    session["status"] = json!("complete");
    session["url"] = Value::Null;
    world.store.insert("checkout.session", session.clone());
    world.emit("checkout.session.completed", &session);
    Ok(session)
}

fn confirm(world: &mut World, call: &Call) -> Answer {
    let expected = call.params.at_least(0, "expected_amount")?;
    call.params.required("payment_method")?;
    world.execute()?;
    let session = open(world, call.id())?;
    if expected.is_some_and(|expected| expected != number(&session, "amount_total")) {
        let message = "The expected amount does not match the amount of the Checkout Session.";
        return Err(Failure::invalid(message).code("checkout_amount_mismatch").param("expected_amount"));
    }
    complete(world, call.id(), None)
}

fn expire(world: &mut World, call: &Call) -> Answer {
    world.execute()?;
    let mut session = open(world, call.id())?;
    session["status"] = json!("expired");
    session["url"] = Value::Null;
    world.store.insert("checkout.session", session.clone());
    world.emit("checkout.session.expired", &session);
    Ok(session)
}

/// A session that may still be paid.
fn open(world: &World, id: &str) -> Answer {
    let session = world.object("checkout.session", "checkout.session", id)?;
    let status = text(&session, "status");
    if status != "open" || number(&session, "expires_at") <= world.now {
        let message = format!(
            "Only Checkout Sessions with a status in [\"open\"] can be changed. This one has a status of {status}."
        );
        return Err(Failure::invalid(message));
    }
    Ok(session)
}

fn retrieve(world: &mut World, call: &Call) -> Answer {
    world.object("checkout.session", "checkout.session", call.id())
}

fn line_items(world: &mut World, call: &Call) -> Answer {
    let session = world.object("checkout.session", "checkout.session", call.id())?;
    let lines: Vec<&Value> =
        session.pointer("/line_items/data").and_then(Value::as_array).into_iter().flatten().collect();
    list::page(&lines, &call.params, "item", &format!("/v1/checkout/sessions/{}/line_items", call.id()))
}

fn all(world: &mut World, call: &Call) -> Answer {
    let created = Created::read(&call.params)?;
    let mut matching: Vec<&Value> = Vec::new();
    for session in world.store.all("checkout.session").rev().filter(|session| created.holds(session)) {
        let mut asked = true;
        for field in ["customer", "subscription", "payment_intent", "status"] {
            asked &= list::is_asked(session, &call.params, field)?;
        }
        if asked {
            matching.push(session);
        }
    }
    list::page(&matching, &call.params, "checkout.session", "/v1/checkout/sessions")
}
