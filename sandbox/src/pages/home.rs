//! The first page: what this is, and what is open.

use super::{
    Shown,
    html::{Html, fill},
};
use crate::{store::text, world::World};

/// As many as one looks at.
const SHOWN: usize = 5;

pub(super) fn show(world: &World) -> Shown {
    let list = |title: &'static str, kind: &str, page: &'static str, open: fn(&str) -> bool| {
        let objects = world.store.all(kind).rev().filter(|object| open(text(object, "status"))).take(SHOWN);
        let rows: Vec<Html> = objects
            .map(|object| {
                let row = "<li><a href=\"/_sandbox/{{page}}/{{id}}\">{{id}}</a></li>";
                fill(row, &[("page", Html::own(page)), ("id", Html::text(text(object, "id")))])
            })
            .collect();
        if rows.is_empty() {
            return Html::default();
        }
        fill(
            "<section><h2>{{title}}</h2><ul>{{rows}}</ul></section>",
            &[("title", Html::own(title)), ("rows", Html::all(rows))],
        )
    };
    let lists = Html::all([
        list("Checkouts that are open", "checkout.session", "checkout", |status| status == "open"),
        list("Invoices that are open", "invoice", "invoices", |status| status == "open"),
        list("Accounts", "account", "accounts", |_| true),
    ]);
    let body = fill(include_str!("templates/home.html"), &[("url", Html::text(&world.url)), ("lists", lists)]);
    Shown::Page("bursar sandbox".to_owned(), body)
}
