//! An invoice's page: what it is for, and how it is paid.

use serde_json::Value;

use super::{
    Form, Shown, authenticate, cards,
    html::{Html, amount, day, fill},
    seller,
};
use crate::{
    failure::Failure,
    store::{number, text},
    v1::{ask::ask, payments},
    world::World,
};

const PAGE: &str = include_str!("templates/invoice.html");

pub(super) fn show(world: &mut World, id: &str, form: Option<&Form>) -> Shown {
    let Some(invoice) = world.store.get("invoice", id).filter(|invoice| text(invoice, "status") != "draft").cloned()
    else {
        return Shown::Gone("There is no such invoice".to_owned(), Html::default());
    };
    let refused = form.and_then(|form| settle(world, &invoice, form).err());
    let invoice = world.store.get("invoice", id).cloned().unwrap_or_default();
    if form.is_some() && refused.is_none() {
        return Shown::To(format!("/_sandbox/invoices/{id}"));
    }
    if waiting(world, &invoice).is_some() {
        let due = (number(&invoice, "amount_remaining"), text(&invoice, "currency"));
        return Shown::Page("Is it you?".to_owned(), authenticate::form(Some(due)));
    }
    let title = format!("Invoice {}", text(&invoice, "number"));
    let body = page(&invoice);
    match refused {
        Some(failure) => Shown::Refused(title, body, failure),
        None => Shown::Page(title, body),
    }
}

fn settle(world: &mut World, invoice: &Value, form: &Form) -> Result<(), Failure> {
    if let Some(intent) = waiting(world, invoice).filter(|_| matches!(form.get("do"), "authenticate" | "fail")) {
        return payments::authenticate_here(world, &intent, form.get("do") == "authenticate");
    }
    let method = cards::given(world, form, &invoice["customer"])?;
    let path = format!("/v1/invoices/{}/pay", text(invoice, "id"));
    ask(world, "POST", &path, &[("payment_method", text(&method, "id"))]).map(drop)
}

/// The intent of a payment of it that waits to be authenticated.
fn waiting(world: &World, invoice: &Value) -> Option<String> {
    if text(invoice, "status") != "open" {
        return None;
    }
    let payments = invoice.pointer("/payments/data").and_then(Value::as_array)?;
    let intents = payments.iter().filter_map(|payment| payment.pointer("/payment/payment_intent")?.as_str());
    intents
        .filter_map(|id| world.store.get("payment_intent", id))
        .find(|intent| text(intent, "status") == "requires_action")
        .map(|intent| text(intent, "id").to_owned())
}

fn page(invoice: &Value) -> Html {
    let currency = text(invoice, "currency");
    let lines = invoice.pointer("/lines/data").and_then(Value::as_array).into_iter().flatten();
    let row = "<tr><td>{{what}}</td><td>{{quantity}}</td><td class=\"sum\">{{amount}}</td></tr>";
    let rows = lines.map(|line| {
        fill(
            row,
            &[
                ("what", Html::text(text(line, "description"))),
                ("quantity", Html::text(&number(line, "quantity").to_string())),
                ("amount", amount(number(line, "amount"), currency)),
            ],
        )
    });
    let sum = |label: &'static str, field: &str| {
        let row = "<tr><th scope=\"row\" colspan=\"2\">{{label}}</th><td class=\"sum\">{{amount}}</td></tr>";
        fill(row, &[("label", Html::own(label)), ("amount", amount(number(invoice, field), currency))])
    };
    let is_payable =
        matches!(text(invoice, "status"), "open" | "uncollectible") && number(invoice, "amount_remaining") > 0;
    let pay = if is_payable {
        let label = fill("Pay {{amount}}", &[("amount", amount(number(invoice, "amount_remaining"), currency))]);
        let form = "<section><form method=\"post\">{{card}}</form></section>{{cards}}";
        fill(form, &[("card", cards::fields(label, "Pay", &Value::Null)), ("cards", Html::own(cards::HELP))])
    } else {
        Html::default()
    };
    let due = invoice["due_date"].as_i64().map(|at| format!("Due on {}.", day(at))).unwrap_or_default();
    let email = text(invoice, "customer_email");
    let whom = if email.is_empty() { due } else { format!("For {email}. {due}") };
    fill(
        PAGE,
        &[
            ("seller", Html::text(&seller(""))),
            ("status", Html::text(text(invoice, "status"))),
            ("for", Html::text(&whom)),
            ("lines", Html::all(rows)),
            (
                "totals",
                Html::all([sum("Total", "total"), sum("Paid", "amount_paid"), sum("To be paid", "amount_remaining")]),
            ),
            ("pay", pay),
        ],
    )
}
