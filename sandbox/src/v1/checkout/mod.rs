//! `/v1/checkout/sessions`, and `/v1/payment_pages`, by which the Stripe CLI pays them; the hosted page is another room's.

mod create;
mod discounts;
pub(crate) mod kept;
pub(crate) mod lines;
mod pay;
mod receipt;
mod settle;

use serde_json::{Value, json};

use super::payments;
use crate::{
    endpoint::{Call, Endpoint},
    failure::{Answer, Failure},
    list::{self, Created},
    store::{number, text},
    world::World,
};

pub(crate) use pay::{Buyer, authenticated, complete, pay};
pub(crate) use settle::heard;

const LIST: &[&str] =
    &["customer", "subscription", "payment_intent", "status", "created*", "limit", "starting_after", "ending_before"];

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint { method: "POST", path: "/v1/checkout/sessions", params: create::PARAMS, run: create::create },
    Endpoint { method: "GET", path: "/v1/checkout/sessions", params: LIST, run: all },
    Endpoint { method: "GET", path: "/v1/checkout/sessions/{id}", params: &[], run: retrieve },
    Endpoint { method: "POST", path: "/v1/checkout/sessions/{id}", params: &["metadata*"], run: update },
    Endpoint {
        method: "GET",
        path: "/v1/checkout/sessions/{id}/line_items",
        params: &["limit", "starting_after", "ending_before"],
        run: line_items,
    },
    Endpoint { method: "POST", path: "/v1/checkout/sessions/{id}/expire", params: &[], run: expire },
    Endpoint { method: "GET", path: "/v1/payment_pages/{id}", params: &["key", "eid"], run: retrieve },
    Endpoint {
        method: "POST",
        path: "/v1/payment_pages/{id}/confirm",
        params: &["payment_method", "expected_amount", "expected_payment_method_type", "return_url", "key", "eid"],
        run: confirm,
    },
];

fn confirm(world: &mut World, call: &Call) -> Answer {
    let expected = call.params.at_least(0, "expected_amount")?;
    let method = call.params.required("payment_method")?.to_owned();
    world.execute()?;
    let session = open(world, call.id())?;
    if expected.is_some_and(|expected| expected != number(&session, "amount_total")) {
        let message = "The expected amount does not match the amount of the Checkout Session.";
        return Err(Failure::invalid(message).code("checkout_amount_mismatch").param("expected_amount"));
    }
    pay(world, call.id(), &Buyer { method: Some(method), ..Buyer::default() })
}

fn expire(world: &mut World, call: &Call) -> Answer {
    world.execute()?;
    let session = open(world, call.id())?;
    Ok(end(world, session))
}

/// The plan that each session has for its own end.
fn time_is_up(world: &mut World, id: &str) {
    if let Some(session) = world.store.get("checkout.session", id).filter(|session| text(session, "status") == "open") {
        let session = session.clone();
        end(world, session);
    }
}

fn end(world: &mut World, mut session: Value) -> Value {
    session["status"] = json!("expired");
    session["url"] = Value::Null;
    world.store.insert("checkout.session", session.clone());
    if text(&session, "mode") == "payment" {
        // Whoever still has its authentication open must not pay for nothing.
        payments::intents::withdraw(world, text(&session, "_intent"), "automatic");
    }
    world.emit("checkout.session.expired", &session);
    session
}

/// A buyer has typed a promotion code.
pub(crate) fn discount(world: &mut World, id: &str, code: &str) -> Answer {
    let mut session = open(world, id)?;
    if session["allow_promotion_codes"] != json!(true) {
        return Err(Failure::invalid("This page takes no promotion codes.").param("promotion_code"));
    }
    session["discounts"] = json!([discounts::typed(world, &session, code)?]);
    lines::add_up(world, &mut session);
    world.store.insert("checkout.session", session.clone());
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

fn update(world: &mut World, call: &Call) -> Answer {
    let kept = world.store.get("checkout.session", call.id()).map(|s| s["metadata"].clone()).unwrap_or_default();
    let metadata = call.params.metadata(&kept)?;
    world.execute()?;
    let mut session = world.object("checkout.session", "checkout.session", call.id())?;
    session["metadata"] = metadata;
    // Stripe has no event for it.
    world.store.insert("checkout.session", session.clone());
    Ok(session)
}

fn line_items(world: &mut World, call: &Call) -> Answer {
    let session = world.object("checkout.session", "checkout.session", call.id())?;
    let lines = lines::of(&session);
    let lines: Vec<&Value> = lines.iter().collect();
    list::page(&lines, &call.params, "item", &format!("/v1/checkout/sessions/{}/line_items", call.id()))
}

fn all(world: &mut World, call: &Call) -> Answer {
    let created = Created::read(&call.params)?;
    call.params.choice("status", &["open", "complete", "expired"])?;
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
