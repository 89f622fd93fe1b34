//! Checkout's page: what is bought, and how it is paid.

use serde_json::{Value, json};

use super::{
    Form, Shown, authenticate, cards,
    html::{Html, amount, day, fill, rhythm},
    link, seller,
};
use crate::{
    failure::Failure,
    store::{number, text},
    v1::checkout::{self, Buyer, lines},
    world::World,
};

const PAGE: &str = include_str!("templates/checkout.html");
const PROMOTION: &str = include_str!("templates/promotion.html");
/// What a caller's `success_url` may hold.
const PLACE: &str = "{CHECKOUT_SESSION_ID}";

pub(super) fn show(world: &mut World, id: &str, form: Option<&Form>) -> Shown {
    let Some(session) = world.store.get("checkout.session", id).cloned() else {
        return Shown::Gone(
            "There is no such checkout".to_owned(),
            Html::own("<section><p>The sandbox forgets everything when it stops.</p></section>"),
        );
    };
    if text(&session, "status") != "open" {
        return over(&session);
    }
    let Some(form) = form else { return page(world, &session, None) };
    let done = match form.get("do") {
        "discount" => checkout::discount(world, id, form.get("promotion_code")),
        "authenticate" | "fail" => checkout::authenticated(world, id, form.get("do") == "authenticate"),
        _ => pay(world, &session, form),
    };
    let now = world.store.get("checkout.session", id).cloned().unwrap_or_default();
    match done {
        Ok(session) if text(&session, "status") == "complete" => Shown::To(after(&session)),
        Ok(session) => page(world, &session, None),
        Err(failure) => page(world, &now, Some(failure)),
    }
}

fn pay(world: &mut World, session: &Value, form: &Form) -> Result<Value, Failure> {
    let needs_card = form.get("do") != "free";
    let method = if needs_card { Some(text(&cards::given(world, form, &Value::Null)?, "id").to_owned()) } else { None };
    let email = form.given("email").filter(|_| known_email(world, session).is_empty());
    let email = email.or_else(|| Some(known_email(world, session)).filter(|email| !email.is_empty()));
    checkout::pay(world, text(session, "id"), &Buyer { method, email, name: form.given("name") })
}

/// Where the buyer goes when everything is done.
fn after(session: &Value) -> String {
    let address = if text(session, "success_url").is_empty() {
        text(session, "return_url")
    } else {
        text(session, "success_url")
    };
    address.replace(PLACE, text(session, "id"))
}

fn over(session: &Value) -> Shown {
    if text(session, "status") == "complete" {
        let told = Html::own("<section><p>This checkout is complete: there is nothing more to pay here.</p></section>");
        return Shown::Page("Thank you".to_owned(), Html::all([told, link(&after(session), "Go back to the seller")]));
    }
    let told = Html::own(
        "<section><p>This checkout has expired, and nothing was paid. The seller can open a new one.</p></section>",
    );
    Shown::Page(
        "This checkout has expired".to_owned(),
        Html::all([told, link(text(session, "cancel_url"), "Go back to the seller")]),
    )
}

fn known_email(world: &World, session: &Value) -> String {
    let customer = world.store.get("customer", text(session, "customer"));
    let of_customer = customer.map(|customer| text(customer, "email")).filter(|email| !email.is_empty());
    of_customer.unwrap_or_else(|| text(session, "customer_email")).to_owned()
}

fn page(world: &World, session: &Value, refused: Option<Failure>) -> Shown {
    let (total, currency) = (number(session, "amount_total"), text(session, "currency"));
    if session["_authenticating"] == json!(true) {
        return Shown::Page("Is it you?".to_owned(), authenticate::form(Some((total, currency))));
    }
    let (mode, email) = (text(session, "mode"), known_email(world, session));
    let is_trial = is_trial(session);
    let label = match mode {
        "setup" => Html::own("Save the card"),
        "subscription" if is_trial => Html::own("Start the trial"),
        "subscription" => fill("Subscribe: {{amount}}", &[("amount", amount(total, currency))]),
        _ => fill("Pay {{amount}}", &[("amount", amount(total, currency))]),
    };
    let quick = match mode {
        "setup" => "Save it",
        "subscription" => "Subscribe",
        _ => "Pay",
    };
    let is_free = total == 0
        && mode != "setup"
        && (mode == "payment" || text(session, "payment_method_collection") == "if_required");
    let card = if is_free {
        Html::own("<button class=\"main\" name=\"do\" value=\"free\" formnovalidate>Go on: nothing is due</button>")
    } else {
        cards::fields(label, quick, &session["payment_method_types"])
    };
    let asks_code = session["allow_promotion_codes"] == json!(true);
    let body = fill(
        PAGE,
        &[
            ("seller", Html::text(&seller(&after(session)))),
            ("lines", Html::all(lines::of(session).iter().map(line))),
            ("totals", totals(session)),
            ("trial", if is_trial { trial(session, world.now) } else { Html::default() }),
            ("promotion", if asks_code { Html::own(PROMOTION) } else { Html::default() }),
            ("email", Html::text(&email)),
            ("fixed", if email.is_empty() { Html::default() } else { Html::own(" readonly") }),
            ("card", card),
            ("cancel", link(text(session, "cancel_url"), "Cancel, and go back to the seller")),
            ("cards", Html::own(cards::HELP)),
        ],
    );
    let title = match mode {
        "setup" => "Save a card",
        "subscription" => "Subscribe",
        _ => "Pay",
    };
    match refused {
        Some(failure) => Shown::Refused(title.to_owned(), body, failure),
        None => Shown::Page(title.to_owned(), body),
    }
}

fn line(line: &Value) -> Html {
    let row = "<tr><td>{{what}}{{rhythm}}</td><td>{{quantity}}</td><td class=\"sum\">{{amount}}</td></tr>";
    let quantity = line["quantity"].as_i64().map_or_else(|| "as used".to_owned(), |quantity| quantity.to_string());
    fill(
        row,
        &[
            ("what", Html::text(text(line, "description"))),
            ("rhythm", Html::text(&rhythm(&line["price"]))),
            ("quantity", Html::text(&quantity)),
            ("amount", amount(number(line, "amount_subtotal"), text(line, "currency"))),
        ],
    )
}

/// What is taken off and added, and what it comes to.
fn totals(session: &Value) -> Html {
    let currency = text(session, "currency");
    let details = &session["total_details"];
    let row = |label: &'static str, minor: i64| {
        let row = "<tr><th scope=\"row\" colspan=\"2\">{{label}}</th><td class=\"sum\">{{amount}}</td></tr>";
        fill(row, &[("label", Html::own(label)), ("amount", amount(minor, currency))])
    };
    let (off, tax) = (number(details, "amount_discount"), number(details, "amount_tax"));
    let mut rows = Vec::new();
    if off > 0 {
        rows.push(row("Discount", -off));
    }
    if tax > 0 {
        rows.push(row("Tax", tax));
    }
    if text(session, "mode") != "setup" {
        rows.push(row("Due today", number(session, "amount_total")));
    }
    Html::all(rows)
}

fn is_trial(session: &Value) -> bool {
    let given = &session["_later"]["given"];
    given["trial_period_days"].is_string() || given["trial_end"].is_string()
}

/// What a trial costs once it is over.
fn trial(session: &Value, now: i64) -> Html {
    let given = &session["_later"]["given"];
    let read = |name: &str| text(given, name).parse::<i64>().ok();
    let end =
        read("trial_end").or_else(|| read("trial_period_days").map(|days| now + days * 24 * 60 * 60)).unwrap_or(now);
    let told = "<p>Free until {{day}}. Then {{amount}}{{rhythm}}.</p>";
    let recurring: Vec<Value> =
        lines::of(session).into_iter().filter(|line| lines::is_recurring(&line["price"])).collect();
    let total: i64 = recurring
        .iter()
        .map(|line| number(&line["price"], "unit_amount").saturating_mul(number(line, "quantity")))
        .sum();
    fill(
        told,
        &[
            ("day", Html::text(&day(end))),
            ("amount", amount(total, text(session, "currency"))),
            ("rhythm", Html::text(&recurring.first().map(|line| rhythm(&line["price"])).unwrap_or_default())),
        ],
    )
}
