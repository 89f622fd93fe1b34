//! 3D Secure: the page to which a payment intent's `next_action` leads, and the form that Checkout shows in its place.

use serde_json::Value;

use super::{
    Form, Shown,
    html::{Html, amount, fill},
    link,
};
use crate::{
    store::{number, text},
    v1::payments,
    world::World,
};

/// The two answers.
pub(super) fn form(due: Option<(i64, &str)>) -> Html {
    let told = due
        .filter(|(minor, _)| *minor > 0)
        .map(|(minor, currency)| fill("It is asked for {{amount}}.", &[("amount", amount(minor, currency))]));
    fill(include_str!("templates/authenticate.html"), &[("amount", told.unwrap_or_default())])
}

pub(super) fn show(world: &mut World, id: &str, form: Option<&Form>) -> Shown {
    let Some(intent) = world.store.get("payment_intent", id).cloned() else {
        return Shown::Gone("There is no such payment".to_owned(), Html::default());
    };
    let back = intent.pointer("/next_action/redirect_to_url/return_url").and_then(Value::as_str).unwrap_or_default();
    if text(&intent, "status") != "requires_action" {
        let told = Html::own("<section><p>This payment waits for nobody.</p></section>");
        return Shown::Page("Nothing to do".to_owned(), Html::all([told, link(back, "Go back to the seller")]));
    }
    let Some(given) = form else {
        return Shown::Page(
            "Is it you?".to_owned(),
            self::form(Some((number(&intent, "amount"), text(&intent, "currency")))),
        );
    };
    drop(payments::authenticate(world, id, given.get("do") == "authenticate"));
    if back.is_empty() {
        return Shown::To(format!("/_sandbox/authenticate/{id}"));
    }
    // As Stripe says which payment it was; the caller asks the API what became of it.
    let join = if back.contains('?') { '&' } else { '?' };
    Shown::To(format!("{back}{join}payment_intent={id}&redirect_status={}", status(world, id)))
}

fn status(world: &World, id: &str) -> &'static str {
    let status = world.store.get("payment_intent", id).map(|intent| text(intent, "status"));
    if matches!(status, Some("succeeded" | "requires_capture" | "processing")) { "succeeded" } else { "failed" }
}
