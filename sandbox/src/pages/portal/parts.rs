//! The parts of the portal's page.

use serde_json::{Value, json};

use super::{
    super::{
        cards,
        html::{Html, amount, day, fill, rhythm},
    },
    act::{living, prices},
};
use crate::{
    store::{number, text},
    world::World,
};

/// What a customer may change of themselves here.
pub(super) const DETAILS: &[&str] = &["email", "name", "phone"];

/// The subscriptions that have not ended, or the one that the session is for.
pub(super) fn subscriptions(world: &World, session: &Value, features: &Value, flow: Option<&str>) -> Html {
    let wanted = flow.and_then(|flow| session["flow"][flow]["subscription"].as_str());
    let all = living(world, text(session, "customer"));
    let shown: Vec<Html> = all
        .iter()
        .filter(|subscription| wanted.is_none_or(|id| text(subscription, "id") == id))
        .map(|subscription| one(world, session, subscription, features, flow))
        .collect();
    if shown.is_empty() {
        return Html::own("<section><h2>No subscription</h2><p>There is none at present.</p></section>");
    }
    Html::all(shown)
}

fn one(world: &World, session: &Value, subscription: &Value, features: &Value, flow: Option<&str>) -> Html {
    let item = &subscription["items"]["data"][0];
    let id = text(subscription, "id");
    let mut forms = Vec::new();
    if features["subscription_update"]["enabled"] == json!(true) && flow != Some("subscription_cancel") {
        let mut offered = prices(world, subscription, &features["subscription_update"]);
        if let Some(price) =
            session.pointer("/flow/subscription_update_confirm/items/0/price").filter(|_| flow.is_some())
        {
            offered.retain(|offered| offered["id"] == *price);
        }
        offered.retain(|price| price["id"] != item["price"]["id"]);
        if !offered.is_empty() {
            let options = Html::all(offered.iter().map(|price| option(world, price)));
            forms.push(fill(
                include_str!("../templates/portal_change.html"),
                &[("subscription", Html::text(id)), ("options", options)],
            ));
        }
    }
    let ends = subscription["cancel_at_period_end"] == json!(true);
    if features["subscription_cancel"]["enabled"] == json!(true)
        && flow.is_none_or(|flow| flow == "subscription_cancel")
    {
        let now = text(&features["subscription_cancel"], "mode") == "immediately";
        let (what, label) = match (ends, now) {
            (true, _) => ("resume", "Do not cancel after all"),
            (false, true) => ("cancel", "Cancel the subscription now"),
            (false, false) => ("cancel", "Cancel the subscription at the end of the period"),
        };
        let with = [("subscription", Html::text(id)), ("do", Html::own(what)), ("label", Html::own(label))];
        forms.push(fill(include_str!("../templates/portal_cancel.html"), &with));
    }
    let until = day(number(item, "current_period_end"));
    let state = match text(subscription, "status") {
        _ if ends => format!("ends on {until}"),
        "trialing" => format!("on trial until {until}"),
        "active" => format!("renews on {until}"),
        status => status.replace('_', " "),
    };
    fill(
        include_str!("../templates/portal_subscription.html"),
        &[
            ("plan", Html::text(&name(world, &item["price"]))),
            ("price", cost(&item["price"])),
            ("state", Html::text(&state)),
            ("forms", Html::all(forms)),
        ],
    )
}

fn name(world: &World, price: &Value) -> String {
    world
        .store
        .get("product", text(price, "product"))
        .map(|product| text(product, "name").to_owned())
        .unwrap_or_default()
}

fn cost(price: &Value) -> Html {
    let cost = amount(number(price, "unit_amount"), text(price, "currency"));
    fill("{{cost}}{{rhythm}}", &[("cost", cost), ("rhythm", Html::text(&rhythm(price)))])
}

fn option(world: &World, price: &Value) -> Html {
    fill(
        "<option value=\"{{id}}\">{{name}}: {{cost}}</option>",
        &[("id", Html::text(text(price, "id"))), ("name", Html::text(&name(world, price))), ("cost", cost(price))],
    )
}

/// The card that is charged, and the fields for another.
pub(super) fn card(world: &World, customer: &str) -> Html {
    let kept = world.store.get("customer", customer);
    let method = kept.and_then(|kept| kept["invoice_settings"]["default_payment_method"].as_str());
    let method = method.and_then(|id| world.store.get("payment_method", id)).map(|method| &method["card"]);
    let shown = method.map_or_else(
        || Html::own("No card is kept."),
        |card| {
            fill(
                "{{brand}}, ending in {{last4}}, expires {{month}} / {{year}}",
                &[
                    ("brand", Html::text(text(card, "brand"))),
                    ("last4", Html::text(text(card, "last4"))),
                    ("month", Html::text(&number(card, "exp_month").to_string())),
                    ("year", Html::text(&number(card, "exp_year").to_string())),
                ],
            )
        },
    );
    let fields = cards::fields(Html::own("Change the card"), "Go on", &Value::Null);
    fill(include_str!("../templates/portal_card.html"), &[("card", shown), ("fields", fields)])
}

/// What is known of the customer, to be changed as far as that is allowed.
pub(super) fn details(world: &World, customer: &str, allowed: &Value) -> Html {
    let kept = world.store.get("customer", customer).cloned().unwrap_or_default();
    let field = "<div class=\"field\"><label for=\"{{name}}\">Your {{name}}</label>\n\
                 <input id=\"{{name}}\" name=\"{{name}}\" value=\"{{value}}\" autocomplete=\"{{name}}\"></div>";
    let fields: Vec<Html> = DETAILS
        .iter()
        .filter(|name| allowed.as_array().into_iter().flatten().any(|allowed| allowed == *name))
        .map(|name| fill(field, &[("name", Html::own(name)), ("value", Html::text(text(&kept, name)))]))
        .collect();
    if fields.is_empty() {
        return Html::default();
    }
    fill(include_str!("../templates/portal_details.html"), &[("fields", Html::all(fields))])
}

/// The customer's invoices, the newest first.
pub(super) fn invoices(world: &World, customer: &str) -> Html {
    let row = "<tr><td>{{day}}</td><td><a href=\"/_sandbox/invoices/{{id}}\">{{number}}</a></td><td>{{status}}</td><td class=\"sum\">{{amount}}</td></tr>";
    let all = world
        .store
        .all("invoice")
        .rev()
        .filter(|invoice| text(invoice, "customer") == customer && text(invoice, "status") != "draft");
    let rows: Vec<Html> = all
        .map(|invoice| {
            fill(
                row,
                &[
                    ("day", Html::text(&day(number(invoice, "created")))),
                    ("id", Html::text(text(invoice, "id"))),
                    ("number", Html::text(text(invoice, "number"))),
                    ("status", Html::text(text(invoice, "status"))),
                    ("amount", amount(number(invoice, "total"), text(invoice, "currency"))),
                ],
            )
        })
        .collect();
    if rows.is_empty() {
        Html::default()
    } else {
        fill(include_str!("../templates/invoices.html"), &[("rows", Html::all(rows))])
    }
}
