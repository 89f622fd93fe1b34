//! The audit: who did what to what, what it was before and after, and why.

use bursar_jobs::{
    base::clock,
    desk::{
        access::Signed,
        journal::{ActFilter, ActRow},
    },
};
use maud::{Markup, html};

use super::{
    Trouble, find,
    form::Fields,
    link,
    page::{at, page},
    reading,
};
use crate::{api::Api, http::reply::Reply};

/// What a search is made of.
const FIELDS: &[&str] = &["who", "what", "subject", "since"];

pub(super) async fn show(api: &Api, signed: &Signed, query: &Fields) -> Result<Reply, Trouble> {
    find::check(query, &[FIELDS, &["after"]].concat(), "the audit")?;
    let filter = ActFilter {
        who: find::words(query, "who"),
        what: find::words(query, "what"),
        subject: find::words(query, "subject"),
        // Acts are written down in real time.
        since: find::ago(query, "since", clock::now())?,
    };
    let after: Option<i64> = find::after(query, |said| said.parse().ok())?;
    let mut db = reading(api).await?;
    let mut rows = filter.page(&mut db, after, find::probe()).await?;
    let next = find::cut(&mut rows).map(|last| last.id.to_string());
    let fields = html! {
        (find::text(query, "who", "Who"))
        (find::text(query, "what", "What (jobs, or jobs.retry)"))
        (find::text(query, "subject", "To what"))
        (find::age(query, "since", "Within the last"))
    };
    let body = html! {
        (find::form("/audit", query, FIELDS, &fields))
        p.quiet { "A number of money in before and after is in the smallest unit of its currency; credits are text." }
        div data-live="audit" { (list(&rows)) }
        (find::next("/audit", query, FIELDS, next.as_deref(), "Older ones"))
    };
    Ok(page(signed, "/audit", "Audit", &body))
}

fn list(rows: &[ActRow]) -> Markup {
    html! {
        @if rows.is_empty() { p { "No such acts." } }
        @else {
            div.wide { table.rows {
                thead { tr { th { "when" } th { "who" } th { "what" } th { "to what" } th { "before" } th { "after" } th { "why" } } }
                tbody { @for row in rows {
                    tr {
                        td { (at(row.at)) }
                        td { (row.who) span.quiet { " (" (row.via) ")" } }
                        td { (row.what) }
                        td.id { (subject(row)) }
                        td.id data-th=[row.before.as_ref().map(|_| "before")] { @if let Some(was) = &row.before { (was) } }
                        td.id data-th=[row.after.as_ref().map(|_| "after")] { @if let Some(is) = &row.after { (is) } }
                        td { (row.why.as_deref().unwrap_or_default()) }
                    }
                } }
            } }
        }
    }
}

/// What it was done to, with the way there where there is a room.
fn subject(row: &ActRow) -> Markup {
    let id = &row.subject;
    match row.what.as_str() {
        "jobs.retry" | "jobs.cancel" => link::job(id, id),
        "jobs.retry_all" | "jobs.cancel_all" => html! { a href=(link::path("bulk", id)) { (id) } },
        "events.replay" => link::event(id),
        what if what.starts_with("credits.") => link::user(id),
        what if what.starts_with("subscriptions.") => link::object(id, None),
        what if what.starts_with("payouts.") => link::payout(id),
        what if what.starts_with("schedule.") => html! { a href="/schedules" { (id) } },
        _ => html! { (id) },
    }
}
