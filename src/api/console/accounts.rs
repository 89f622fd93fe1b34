//! Users, found by the beginning of their id.

use bursar_jobs::desk::{
    access::Signed,
    accounts::{self, UserRow},
};
use maud::{Markup, html};

use super::{
    Trouble, find,
    form::Fields,
    link,
    page::{credits, page, state},
    reading,
};
use crate::{api::Api, http::reply::Reply};

/// What a search is made of.
const FIELDS: &[&str] = &["user"];

pub(super) async fn show(api: &Api, signed: &Signed, query: &Fields) -> Result<Reply, Trouble> {
    find::check(query, &["user", "after"], "accounts")?;
    let mut db = reading(api).await?;
    let beginning = find::words(query, "user").unwrap_or_default();
    let mut rows = accounts::page(&mut db, &beginning, query.get("after"), find::probe()).await?;
    let next = find::cut(&mut rows).map(|last| last.user_id);
    let body = html! {
        (find::form("/accounts", query, FIELDS, &find::text(query, "user", "User id begins with")))
        div data-live="accounts" { (list(&rows)) }
        (find::next("/accounts", query, FIELDS, next.as_deref(), "The next ones"))
    };
    Ok(page(signed, "/accounts", "Accounts", &body))
}

fn list(rows: &[UserRow]) -> Markup {
    html! {
        @if rows.is_empty() { p { "No such users: nobody whose id begins so has credits, is a customer, or earns." } }
        @else {
            div.wide { table.rows.named {
                thead { tr { th { "user" } th.n { "balance" } th { "subscriptions" } th { "as a receiver" } th { "flags" } } }
                tbody { @for row in rows {
                    tr {
                        td.id { (link::user(&row.user_id)) }
                        td.n.sum { @match row.balance { Some(micros) => (credits(micros)), None => span.quiet { "none ever" } } }
                        td { (row.subscriptions.as_deref().unwrap_or_default()) }
                        td data-th=[row.receiver.as_ref().map(|_| "receiver")] { @if let Some(word) = &row.receiver { (state(word)) } }
                        td data-th=[(row.flags > 0).then_some("flags")] { @if row.flags > 0 { span.bad { (row.flags) } } }
                    }
                } }
            } }
        }
    }
}
