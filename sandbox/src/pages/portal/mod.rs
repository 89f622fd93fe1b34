//! The billing portal's page: a customer's card, plans, invoices and details.

mod act;
mod parts;

use serde_json::{Value, json};

use super::{
    Form, Shown, cards,
    html::{Html, fill},
    link, notice, seller,
};
use crate::{failure::Failure, store::text, v1::billing_portal, world::World};

const TITLE: &str = "Your subscription";

pub(super) fn show(world: &mut World, id: &str, form: Option<&Form>, query: &str) -> Shown {
    let Some(session) = billing_portal::visit(world, id) else {
        let back = world.store.get("billing_portal.session", id).map(|session| text(session, "return_url").to_owned());
        let told =
            Html::own("<section><p>This link is over: it waited too long. Ask the seller for a new one.</p></section>");
        return Shown::Gone(
            "This link is over".to_owned(),
            Html::all([told, link(&back.unwrap_or_default(), "Go back to the seller")]),
        );
    };
    let configuration = text(&session, "configuration").to_owned();
    let configuration = world.store.get("billing_portal.configuration", &configuration).cloned().unwrap_or_default();
    if let Some(form) = form {
        return match act::act(world, &session, &configuration["features"], form) {
            Ok(told) => after(world, &session, told),
            Err(failure) => page(world, &session, &configuration, "", Some(failure)),
        };
    }
    page(world, &session, &configuration, query.strip_prefix("done=").unwrap_or_default(), None)
}

/// Where a customer finds themselves after what they did: here again, unless the session was for that alone and says otherwise.
fn after(world: &mut World, session: &Value, told: &str) -> Shown {
    let id = text(session, "id");
    let after = &session["flow"]["after_completion"];
    if in_flow(session).is_some() {
        if let Some(kept) = world.store.get_mut("billing_portal.session", id) {
            kept["_flow_done"] = json!(true);
        }
        if let Some(to) = after.pointer("/redirect/return_url").and_then(Value::as_str) {
            return Shown::To(to.to_owned());
        }
    }
    Shown::To(format!("/_sandbox/portal/{id}?done={told}"))
}

/// The one thing that the session is for, while it is not done.
fn in_flow(session: &Value) -> Option<&str> {
    session["flow"]["type"].as_str().filter(|_| session["_flow_done"] != json!(true))
}

/// What is said of what was done.
fn told(done: &str) -> Option<&'static str> {
    match done {
        "card" => Some("Your card was changed."),
        "plan" => Some("Your plan was changed."),
        "canceled" => Some("Your subscription was cancelled."),
        "cancels" => Some("Your subscription will end with the period that is paid."),
        "resumed" => Some("Your subscription goes on."),
        "details" => Some("Your details were saved."),
        _ => None,
    }
}

fn page(world: &World, session: &Value, configuration: &Value, done: &str, refused: Option<Failure>) -> Shown {
    let features = &configuration["features"];
    let customer = text(session, "customer");
    let is_on = |feature: &str| features[feature]["enabled"] == json!(true);
    let flow = in_flow(session);
    let back = text(session, "return_url");
    let mut parts = vec![told(done).map(|told| notice("good", told)).unwrap_or_default()];
    let headline = text(&configuration["business_profile"], "headline");
    if !headline.is_empty() {
        parts.push(fill("<p>{{headline}}</p>", &[("headline", Html::text(headline))]));
    }
    if !back.is_empty() {
        parts.push(link(back, &format!("Return to {}", seller(back))));
    }
    if flow.is_none_or(|flow| flow.starts_with("subscription_")) {
        parts.push(parts::subscriptions(world, session, features, flow));
    }
    if is_on("payment_method_update") && flow.is_none_or(|flow| flow == "payment_method_update") {
        parts.push(parts::card(world, customer));
    }
    if flow.is_none() {
        if is_on("customer_update") {
            parts.push(parts::details(world, customer, &features["customer_update"]["allowed_updates"]));
        }
        if is_on("invoice_history") {
            parts.push(parts::invoices(world, customer));
        }
    }
    if is_on("payment_method_update") && flow.is_none_or(|flow| flow == "payment_method_update") {
        parts.push(Html::own(cards::HELP));
    }
    match refused {
        Some(failure) => Shown::Refused(TITLE.to_owned(), Html::all(parts), failure),
        None => Shown::Page(TITLE.to_owned(), Html::all(parts)),
    }
}
