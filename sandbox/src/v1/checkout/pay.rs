//! A buyer pays: a customer is made where one is needed, the payment tried, and what was bought made and told of.

use serde_json::{Value, json};

use super::{
    super::{
        ask::ask,
        buyers, customers, payment_methods,
        payments::{self, Paid, Payment},
    },
    kept, lines, open, settle,
};
use crate::{
    failure::{Answer, Failure},
    store::{number, text},
    world::World,
};

/// Who pays, and with what.
#[derive(Debug, Default)]
pub(crate) struct Buyer {
    /// A payment method's id or name; the customer's own where there is none, or a card that works.
    pub method: Option<String>,
    pub email: Option<String>,
    pub name: Option<String>,
}

/// Somebody pays with a card that works.
pub(crate) fn complete(world: &mut World, id: &str, email: Option<&str>) -> Answer {
    pay(world, id, &Buyer { email: email.map(str::to_owned), ..Buyer::default() })
}

/// Tries to pay. The session that is answered is complete, or still open where the card's owner must authenticate: it then has a
/// private `_authenticating`. Declined is a refusal, and the session stays open.
pub(crate) fn pay(world: &mut World, id: &str, buyer: &Buyer) -> Answer {
    let mut session = open(world, id)?;
    if let Some(customer) = session["customer"].as_str() {
        buyers::buyer(world, customer)?;
    }
    let mode = text(&session, "mode").to_owned();
    let method = buyer.method.as_deref().filter(|method| !method.is_empty());
    let mut method = method.map(|method| known(world, method)).transpose()?;
    session["_buyer"] = json!({ "email": buyer.email, "name": buyer.name });
    let customer = payer(world, &mut session);
    session["_authenticating"] = json!(false);
    world.store.insert("checkout.session", session.clone());
    let is_kept = mode != "payment" || session.pointer("/_later/given/setup_future_usage").is_some();
    if let (true, Some(named), Some(customer)) = (is_kept, &method, customer.as_str()) {
        method = Some(attach(world, named, customer)?);
    }
    session["_method"] = json!(method);
    match mode.as_str() {
        "subscription" => subscribe(world, session),
        "setup" => Ok(settle::set_up(world, session)),
        _ if number(&session, "amount_total") == 0 => Ok(settle::finish(world, session, "no_payment_required")),
        _ => charge(world, session),
    }
}

/// The buyer has authenticated a payment that was waiting for it, or has failed to.
pub(crate) fn authenticated(world: &mut World, id: &str, succeeds: bool) -> Answer {
    let mut session = open(world, id)?;
    if session["_authenticating"] != json!(true) {
        return Err(Failure::invalid("There is nothing to authenticate."));
    }
    session["_authenticating"] = json!(false);
    world.store.insert("checkout.session", session.clone());
    let intent = text(&session, "_intent").to_owned();
    let paid = payments::authenticated(world, &intent, succeeds);
    outcome(world, session, paid)
}

/// The payment method that a name stands for.
fn known(world: &mut World, method: &str) -> Result<String, Failure> {
    if world.store.get("payment_method", method).is_some() {
        return Ok(method.to_owned());
    }
    let made = payment_methods::of_card(world, method, &Value::Null)
        .map_err(|_| Failure::no_such_param("PaymentMethod", method, "payment_method"))?;
    Ok(text(&made, "id").to_owned())
}

/// The customer who pays: the session's own, or a new one where this mode wants one. A guest is nobody.
fn payer(world: &mut World, session: &mut Value) -> Value {
    if !session["customer"].is_null() {
        return session["customer"].clone();
    }
    let wanted = text(session, "customer_creation") == "always"
        || session["invoice_creation"]["enabled"] == json!(true)
        || session.pointer("/_later/given/setup_future_usage").is_some();
    if !wanted {
        return Value::Null;
    }
    // One that was made for an earlier try that was declined.
    if session["_customer"].is_string() {
        return session["_customer"].clone();
    }
    let mut customer = customers::blank(world);
    customer["email"] = settle::email(world, session);
    customer["name"] = session["_buyer"]["name"].clone();
    let customer = world.create("customer", "customer.created", customer);
    session["_customer"] = customer["id"].clone();
    customer["id"].clone()
}

/// Keeps a payment method for later; answers its id.
fn attach(world: &mut World, method: &str, customer: &str) -> Result<String, Failure> {
    let owner = world.store.get("payment_method", method).map(|kept| text(kept, "customer").to_owned());
    if owner.as_deref() == Some(customer) {
        return Ok(method.to_owned());
    }
    let path = format!("/v1/payment_methods/{method}/attach");
    Ok(text(&ask(world, "POST", &path, &[("customer", customer)])?, "id").to_owned())
}

fn charge(world: &mut World, session: Value) -> Answer {
    let payment = Payment {
        amount: number(&session, "amount_total"),
        currency: text(&session, "currency").to_owned(),
        customer: [&session["customer"], &session["_customer"]]
            .into_iter()
            .find(|id| id.is_string())
            .cloned()
            .unwrap_or_default(),
        method: session["_method"].as_str().map(str::to_owned),
        metadata: session["_later"]["metadata"].clone(),
        description: session["_later"]["description"].clone(),
        off_session: false,
        invoice: None,
        intent: session["_intent"].as_str().map(str::to_owned),
        settled: Some(settle::heard),
    };
    let paid = payments::attempt(world, &payment);
    outcome(world, session, paid)
}

pub(super) fn outcome(world: &mut World, mut session: Value, paid: Paid) -> Answer {
    let (Paid::Succeeded(intent) | Paid::Processing(intent) | Paid::NeedsAction(intent, _) | Paid::Declined(intent, _)) =
        &paid;
    session["_intent"] = intent["id"].clone();
    match paid {
        Paid::Succeeded(_) => Ok(settle::finish(world, session, "paid")),
        Paid::Processing(_) => Ok(settle::finish(world, session, "unpaid")),
        Paid::NeedsAction(..) => {
            session["_authenticating"] = json!(true);
            world.store.insert("checkout.session", session.clone());
            Ok(session)
        }
        Paid::Declined(_, failure) => {
            world.store.insert("checkout.session", session);
            Err(failure)
        }
    }
}

/// Makes the subscription as a caller of the API would, and looks at what became of its first invoice. One that a declined card has
/// left behind is paid with the next.
fn subscribe(world: &mut World, mut session: Value) -> Answer {
    let method = session["_method"].as_str().map(str::to_owned);
    let refused = if let Some(invoice) = session["_invoice"].as_str().map(str::to_owned) {
        let with: Vec<(&str, &str)> = method.iter().map(|method| ("payment_method", method.as_str())).collect();
        if let (Some(id), Some(method)) = (session["_subscription"].as_str(), &method) {
            let fields = [("default_payment_method", method.as_str())];
            ask(world, "POST", &format!("/v1/subscriptions/{id}"), &fields)?;
        }
        ask(world, "POST", &format!("/v1/invoices/{invoice}/pay"), &with).err()
    } else {
        let fields = subscription_fields(&session, method.as_deref());
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let subscription = ask(world, "POST", "/v1/subscriptions", &fields)?;
        session["_subscription"] = subscription["id"].clone();
        session["_invoice"] = subscription["latest_invoice"].clone();
        None
    };
    let subscription = world.store.get("subscription", text(&session, "_subscription")).cloned().unwrap_or_default();
    let invoice = world.store.get("invoice", text(&session, "_invoice")).cloned().unwrap_or_default();
    let intent = invoice.pointer("/payments/data/0/payment/payment_intent").cloned().unwrap_or_default();
    let status =
        intent.as_str().and_then(|id| world.store.get("payment_intent", id)).map(|intent| text(intent, "status"));
    let status = status.unwrap_or_default().to_owned();
    if text(&invoice, "status") == "paid"
        || matches!(text(&subscription, "status"), "active" | "trialing")
        || status == "processing"
    {
        session["_intent"] = intent;
        let due = number(&invoice, "amount_due") > 0;
        let paid = if text(&invoice, "status") == "paid" { "paid" } else { "unpaid" };
        return Ok(settle::finish(world, session, if due { paid } else { "no_payment_required" }));
    }
    session["_intent"] = intent;
    session["_authenticating"] = json!(status == "requires_action");
    world.store.insert("checkout.session", session.clone());
    if status == "requires_action" {
        return Ok(session);
    }
    let declined = || Failure::new(402, "card_error", "Your card was declined.").code("card_declined");
    Err(refused.unwrap_or_else(declined))
}

fn subscription_fields(session: &Value, method: Option<&str>) -> Vec<(String, String)> {
    let customer =
        [&session["customer"], &session["_customer"]].into_iter().find_map(Value::as_str).unwrap_or_default();
    let mut fields = vec![
        ("customer".to_owned(), customer.to_owned()),
        ("payment_behavior".to_owned(), "allow_incomplete".to_owned()),
        ("off_session".to_owned(), "false".to_owned()),
    ];
    fields.extend(method.map(|method| ("default_payment_method".to_owned(), method.to_owned())));
    let (mut items, mut once) = (0, 0);
    for line in lines::of(session) {
        let (list, at) =
            if lines::is_recurring(&line["price"]) { ("items", &mut items) } else { ("add_invoice_items", &mut once) };
        fields.push((format!("{list}[{at}][price]"), text(&line["price"], "id").to_owned()));
        fields.extend(
            line["quantity"].as_i64().map(|quantity| (format!("{list}[{at}][quantity]"), quantity.to_string())),
        );
        *at += 1;
    }
    for name in ["coupon", "promotion_code"] {
        let given = session.pointer(&format!("/discounts/0/{name}")).and_then(Value::as_str);
        fields.extend(given.map(|id| (format!("discounts[0][{name}]"), id.to_owned())));
    }
    if session["automatic_tax"]["enabled"] == json!(true) {
        fields.push(("automatic_tax[enabled]".to_owned(), "true".to_owned()));
    }
    kept::fields("", &session["_later"]["given"], &mut fields);
    fields
}
