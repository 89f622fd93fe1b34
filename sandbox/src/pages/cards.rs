//! The fields of a card, and the payment method that they make.

use chrono::{DateTime, Datelike};
use serde_json::Value;

use super::{
    Form,
    html::{Html, fill},
};
use crate::{
    failure::{Answer, Failure},
    v1::{ask::ask, payment_methods},
    world::World,
};

const FIELDS: &str = include_str!("templates/card.html");
/// The table of what each test card does.
pub(super) const HELP: &str = include_str!("templates/cards.html");
/// The IBANs of Stripe's own tests: one that pays, one that does not.
const DEBITS: &str = "<button name=\"quick\" value=\"DE89370400440532013000\" formnovalidate>{{quick}} by SEPA debit: the money arrives later</button>\n\
    <button name=\"quick\" value=\"DE62370400440532013001\" formnovalidate>{{quick}} by SEPA debit: it fails later</button>";

/// The fields and buttons of a form in which a card is given. `label` is on the main button, `quick` begins the others.
pub(super) fn fields(label: Html, quick: &'static str, methods: &Value) -> Html {
    let debits = methods.as_array().is_some_and(|all| all.iter().any(|method| method == "sepa_debit"));
    let more = if debits { fill(DEBITS, &[("quick", Html::own(quick))]) } else { Html::default() };
    fill(FIELDS, &[("label", label), ("quick", Html::own(quick)), ("more", more)])
}

/// The payment method that a form gives: a button's, or what was typed.
pub(super) fn given(world: &mut World, form: &Form, customer: &Value) -> Answer {
    let quick = form.get("quick");
    if quick.starts_with("DE") {
        let email = if form.get("email").is_empty() { "buyer@example.com" } else { form.get("email") };
        let fields = [
            ("type", "sepa_debit"),
            ("sepa_debit[iban]", quick),
            ("billing_details[name]", "Sandbox Buyer"),
            ("billing_details[email]", email),
        ];
        return ask(world, "POST", "/v1/payment_methods", &fields);
    }
    if !quick.is_empty() {
        return payment_methods::of_card(world, quick, customer);
    }
    check(form, world.now)?;
    payment_methods::of_card(world, form.get("number"), customer)
}

/// The parts of a card that are nobody's but the typist's.
fn check(form: &Form, now: i64) -> Result<(), Failure> {
    let wrong =
        |message: &str, code, param: &str| Err(Failure::new(402, "card_error", message).code(code).param(param));
    if form.get("number").is_empty() {
        return wrong("Your card number is incomplete.", "incorrect_number", "number");
    }
    let expiry: String = form.get("expiry").chars().filter(|c| !c.is_whitespace()).collect();
    let parts =
        expiry.split_once('/').and_then(|(month, year)| Some((month.parse::<i32>().ok()?, year.parse::<i32>().ok()?)));
    let Some((month, year)) = parts.filter(|(month, year)| (1..=12).contains(month) && (0..=2100).contains(year))
    else {
        return wrong(
            "Your card's expiration date is incomplete: write it like 12 / 34.",
            "invalid_expiry_month",
            "exp_month",
        );
    };
    let year = if year < 100 { 2000 + year } else { year };
    let today = DateTime::from_timestamp(now, 0).unwrap_or_default();
    if (year, month) < (today.year(), i32::try_from(today.month()).unwrap_or(1)) {
        return wrong("Your card's expiration year is in the past.", "invalid_expiry_year", "exp_year");
    }
    let cvc = form.get("cvc");
    if !(3..=4).contains(&cvc.len()) || !cvc.bytes().all(|byte| byte.is_ascii_digit()) {
        return wrong("Your card's security code is invalid.", "invalid_cvc", "cvc");
    }
    Ok(())
}
