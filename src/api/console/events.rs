//! Events: found by what they are about, counted by type.

use std::collections::BTreeMap;

use bursar_jobs::{
    base::clock,
    desk::{
        about::{self, About},
        access::Signed,
        events::{self, EventFilter, EventRow, Place},
    },
    inbox::envelope::Source,
};
use chrono::{DateTime, Utc};
use maud::{Markup, html};

use super::{
    Trouble, find,
    form::Fields,
    link,
    page::{ago, amount, at, job_state, page},
    reading,
};
use crate::{api::Api, http::reply::Reply};

/// What a search is made of.
const FIELDS: &[&str] = &["id", "type", "object", "user", "source", "older", "since"];

fn filter(query: &Fields, now: DateTime<Utc>) -> Result<EventFilter, Trouble> {
    let source = |said: &str| Source::of(said).ok_or_else(|| find::odd("source", said));
    Ok(EventFilter {
        id: find::words(query, "id"),
        kind: find::words(query, "type"),
        object: find::words(query, "object"),
        user: find::words(query, "user"),
        source: query.get("source").map(source).transpose()?,
        before: find::ago(query, "older", now)?,
        since: find::ago(query, "since", now)?,
    })
}

pub(super) async fn show(api: &Api, signed: &Signed, query: &Fields) -> Result<Reply, Trouble> {
    find::check(query, &[FIELDS, &["after"]].concat(), "events")?;
    let mut db = reading(api).await?;
    let now = clock::business(&mut *db).await?;
    let filter = filter(query, now)?;
    let after = find::after(query, Place::read)?;
    let mut rows = filter.page(&mut db, after.as_ref(), find::probe()).await?;
    let next = find::cut(&mut rows).and_then(|last| Place::of(&last)).map(|place| place.to_string());
    let ids: Vec<String> = rows.iter().map(|row| row.id.clone()).collect();
    let about = about::events(&mut db, &ids).await?;
    let fields = html! {
        (find::text(query, "id", "Id"))
        (find::text(query, "type", "Type"))
        (find::text(query, "object", "About the object"))
        (find::text(query, "user", "Of the user"))
        (find::choice(query, "source", "From", &[Source::Stripe.as_str(), Source::Verification.as_str()]))
        (find::age(query, "older", "Longer ago than"))
        (find::age(query, "since", "Within the last"))
    };
    let body = html! {
        (find::form("/events", query, FIELDS, &fields))
        p.quiet { a href="/event-types" { "How often each type came" }
            ". A user's events are those that moved something of theirs, or are about an object known to be theirs." }
        div data-live="events" { (list(&rows, &about, now)) }
        (find::next("/events", query, FIELDS, next.as_deref(), "Older ones"))
    };
    Ok(page(signed, "/events", "Events", &body))
}

fn list(rows: &[EventRow], about: &BTreeMap<String, About>, now: DateTime<Utc>) -> Markup {
    html! {
        @if rows.is_empty() { p { "No such events." } }
        @else {
            div.wide { table.rows {
                thead { tr { th { "event" } th { "type" } th { "user" } th.n { "amount" } th { "received" } th { "its job" } th { "about" } } }
                tbody { @for row in rows {
                    @let of = about.get(&row.id);
                    tr {
                        td.id { (link::event(&row.id)) }
                        td.why { (row.r#type) @if row.source != Source::Stripe.as_str() { span.quiet { " by " (row.source) } } }
                        td data-th=[of.and_then(|of| of.user.as_ref()).map(|_| "of")] { @if let Some(user) = of.and_then(|of| of.user.as_ref()) { (link::user(user)) } }
                        td.n.sum { @if let Some((minor, currency)) = of.and_then(|of| of.amount.as_ref()) { (amount(*minor, currency)) } }
                        td { (ago(row.received_at, now)) }
                        td.is { @match &row.job_state { Some(word) => (job_state(word, row.job_reason.as_deref())), None => span.quiet { "pruned" } } }
                        td.id { @if let Some(object) = &row.object_id {
                            a href={ "/events?" (find::again(&Fields::default(), &[], ("object", object))) } { (object) }
                        } }
                    }
                } }
            } }
        }
    }
}

/// How often each type came. A page of its own, and not a live one: it counts the whole inbox.
pub(super) async fn types(api: &Api, signed: &Signed) -> Result<Reply, Trouble> {
    let mut db = reading(api).await?;
    let counts = events::counts(&mut db).await?;
    let body = html! {
        p { a href="/events" { "All events" } }
        @if counts.is_empty() { p { "No event has come yet." } }
        @else {
            div.wide { table.rows {
                thead { tr { th { "type" } th { "from" } th.n { "events" } th { "the last one" } } }
                tbody { @for of in &counts {
                    tr {
                        td { a href={ "/events?" (find::again(&Fields::default(), &[], ("type", &of.r#type))) } { (of.r#type) } }
                        td { (of.source) } td.n { (of.events) } td { (at(of.last_received_at)) }
                    }
                } }
            } }
        }
    };
    Ok(page(signed, "/events", "Events by type", &body))
}
