//! A receiver's pages: the onboarding that an account link leads to, and what is known of an account.

use serde_json::{Value, json};

use super::{
    Form, Shown,
    html::{Html, fill},
    link,
};
use crate::{
    store::{number, text},
    v1::{
        account_links,
        accounts::{self, Details, State},
    },
    world::World,
};

/// Seconds that somebody may take for the forms.
const PATIENCE: i64 = 60 * 60;

fn state(word: &str) -> Option<State> {
    match word {
        "active" => Some(State::Active),
        "restricted" => Some(State::Restricted),
        "pending" => Some(State::Pending),
        _ => None,
    }
}

/// A link, and behind it the forms. The link leads there once; later, or a second time, to the caller's `refresh_url`.
pub(super) fn onboarding(world: &mut World, id: &str, form: Option<&Form>) -> Shown {
    if let Some(link) = world.store.get("account_link", id).cloned() {
        let visit = account_links::follow(world, &link).map(|visit| format!("/_sandbox/onboarding/{visit}"));
        return visit.map_or_else(|| again(&link), Shown::To);
    }
    let Some(visit) = world.store.get("account_visit", id).cloned() else {
        return Shown::Gone("There is no such link".to_owned(), Html::default());
    };
    let account = world.store.get("account", text(&visit, "_account")).cloned().unwrap_or_default();
    let is_over = visit["_done"] == json!(true) || number(&visit, "created") + PATIENCE <= world.now;
    if is_over || account.get("deleted").is_some() || account["_gone"] == json!(true) {
        return again(&visit);
    }
    let Some(form) = form else { return Shown::Page("Tell us about you".to_owned(), page(&account)) };
    if let Some(state) = state(form.get("do")) {
        let details = Details {
            name: form.get("name").to_owned(),
            email: form.get("email").to_owned(),
            bank: form.get("bank").to_owned(),
        };
        if let Err(failure) = accounts::onboard(world, text(&account, "id"), &details, state) {
            return Shown::Refused("Tell us about you".to_owned(), page(&account), failure);
        }
        if let Some(visit) = world.store.get_mut("account_visit", id) {
            visit["_done"] = json!(true);
        }
    }
    let back = text(&visit, "_return_url");
    let to = if back.is_empty() { format!("/_sandbox/accounts/{}", text(&account, "id")) } else { back.to_owned() };
    Shown::To(to)
}

fn again(link: &Value) -> Shown {
    match text(link, "_refresh_url") {
        "" => Shown::Gone(
            "This link is over".to_owned(),
            Html::own("<section><p>It was used, or it waited too long. Ask for a new one.</p></section>"),
        ),
        refresh => Shown::To(refresh.to_owned()),
    }
}

fn page(account: &Value) -> Html {
    fill(
        include_str!("templates/onboarding.html"),
        &[
            ("account", Html::text(text(account, "id"))),
            ("name", Html::text(text(&account["business_profile"], "name"))),
            ("email", Html::text(text(account, "email"))),
        ],
    )
}

/// What is known of an account, and buttons for what may become of it.
pub(super) fn dashboard(world: &mut World, id: &str, form: Option<&Form>) -> Shown {
    let account = world.store.get("account", id).filter(|account| account.get("deleted").is_none());
    let Some(account) = account.cloned() else {
        return Shown::Gone("There is no such account".to_owned(), Html::default());
    };
    if let Some(form) = form {
        let done = match (state(form.get("do")), form.get("do")) {
            (Some(state), _) => accounts::put(world, id, state),
            (None, "deauthorise") => accounts::deauthorise(world, id),
            _ => Ok(Value::Null),
        };
        return match done {
            Ok(_) => Shown::To(format!("/_sandbox/dashboard/{id}")),
            Err(failure) => Shown::Refused("Account".to_owned(), card(&account), failure),
        };
    }
    Shown::Page("Account".to_owned(), card(&account))
}

fn card(account: &Value) -> Html {
    let row = |label: &'static str, value: &str| {
        fill(
            "<tr><th scope=\"row\">{{label}}</th><td>{{value}}</td></tr>",
            &[("label", Html::own(label)), ("value", Html::text(value))],
        )
    };
    let yes = |field: &str| if account[field] == json!(true) { "yes" } else { "no" };
    let words =
        |list: &Value| list.as_array().into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>().join(", ");
    let capabilities = account["capabilities"].as_object().into_iter().flatten();
    let capabilities: Vec<String> =
        capabilities.map(|(name, status)| format!("{name}: {}", status.as_str().unwrap_or_default())).collect();
    let reached = if account["_gone"] == json!(true) { "no: its owner took the access away" } else { "yes" };
    let rows = Html::all([
        row("Name", text(&account["business_profile"], "name")),
        row("Email", text(account, "email")),
        row("The platform may reach it", reached),
        row("Capabilities", &capabilities.join(", ")),
        row("Details submitted", yes("details_submitted")),
        row("Payouts enabled", yes("payouts_enabled")),
        row("Wanted of its owner", &words(&account["requirements"]["currently_due"])),
        row("Disabled because", text(&account["requirements"], "disabled_reason")),
    ]);
    Html::all([
        fill(include_str!("templates/dashboard.html"), &[("account", Html::text(text(account, "id"))), ("rows", rows)]),
        link("/", "The sandbox"),
    ])
}
