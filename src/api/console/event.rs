//! One event: its envelope, its body, what it caused; and running it again.

use bursar_jobs::{
    base::audit::Via,
    desk::{
        self, Operator,
        about::{self, About},
        access::{Role, Signed},
        events::{self, Caused, EventRow, Posted},
        replay::{self, Refused},
    },
};
use hyper::{Request, StatusCode, body::Incoming};
use maud::{Markup, html};
use serde_json::Value;

use super::{
    Trouble, find, form, link,
    page::{amount, at, job_state, page, see_other, words},
    reading,
};
use crate::{api::Api, http::reply::Reply};

/// What is shown of that which an event caused.
const MOST: i64 = 200;
/// Lines of a body that are shown unfolded.
const LINES: usize = 40;

pub(super) async fn show(api: &Api, signed: &Signed, id: &str) -> Result<Reply, Trouble> {
    let mut db = reading(api).await?;
    let found = events::read(&mut db, id).await?;
    if found.is_empty() {
        return Err(unknown(id));
    }
    let jobs = events::jobs(&mut db, id, MOST).await?;
    let postings = events::postings(&mut db, id, MOST).await?;
    let dashboard = desk::dashboard(&mut *db).await?;
    let about = about::events(&mut db, &[id.to_owned()]).await?.remove(id).unwrap_or_default();
    let readable = found.iter().any(|(_, body)| body.is_some());
    let allowed = signed.role >= needed(&found);
    let body = html! {
        // An id is unique for its source: two sources may, in theory, use the same.
        @for (event, _) in &found { (envelope(event, &about, dashboard)) }
        @if readable && allowed {
            h2 { "Run it again" }
            p { "Its job runs again. What it did before it does not do twice: every effect has its key." }
            (find::act(signed, &format!("{}/replay", link::path("events", id)), "Replay"))
        }
        h2 { "What it caused" }
        div data-live="caused" { (caused(&jobs, &postings)) }
        @for (_, body) in &found {
            h2 { "Body" }
            @match body { Some(bytes) => (text(bytes)), None => p { "It was pruned; what it caused stays." } }
        }
    };
    Ok(page(signed, "/events", &format!("Event {id}"), &body))
}

/// Running again what becomes a payout is releasing money.
fn needed(found: &[(EventRow, Option<Vec<u8>>)]) -> Role {
    let releases = |(event, body): &(EventRow, Option<Vec<u8>>)| {
        body.as_deref().is_some_and(|body| replay::releases(&event.source, &event.id, body))
    };
    if found.iter().any(releases) { Role::Payer } else { Role::Operator }
}

fn unknown(id: &str) -> Trouble {
    Trouble::not_found(&format!(
        "There is no event {id} in the inbox. What Stripe sent is in its dashboard under Developers, Events."
    ))
}

fn envelope(event: &EventRow, about: &About, dashboard: Option<&str>) -> Markup {
    html! {
        dl {
            dt { "Type" } dd { (event.r#type) }
            dt { "From" } dd { (event.source) }
            dt { "Received" } dd { (at(event.received_at)) }
            @if let Some(created) = event.created { dt { "Created" } dd { (at(created)) } }
            @if let Some(live) = event.livemode { dt { "Mode" } dd { (if live { "live" } else { "test" }) } }
            @if let Some(version) = &event.api_version { dt { "API version" } dd { (version) } }
            @if let Some(account) = &event.account { dt { "On the account" } dd { (link::at_stripe(account, dashboard)) } }
            @if let Some(object) = &event.object_id {
                dt { "About" } dd {
                    (link::object(object, dashboard)) " "
                    a href={ "/events?" (find::again(&form::Fields::default(), &[], ("object", object))) } { "all events about it" }
                }
            }
            @if let Some(user) = &about.user { dt { "User" } dd { (link::user(user)) } }
            @if let Some((minor, currency)) = &about.amount { dt { "Amount" } dd { (amount(*minor, currency)) } }
            dt { "Its job" } dd { @match &event.job_state { Some(word) => (job_state(word, event.job_reason.as_deref())), None => span.quiet { "pruned" } } }
        }
    }
}

fn caused(jobs: &[Caused], postings: &[Posted]) -> Markup {
    let account = |name: &Option<String>| {
        html! { @match name {
            Some(name) => @if let Some((_, user)) = name.split_once(':') { a href=(link::path("accounts", user)) { (name) } } @else { (name) },
            None => "a missing account",
        } }
    };
    let most = usize::try_from(MOST).unwrap_or(usize::MAX);
    html! {
        @if jobs.is_empty() && postings.is_empty() { p { "Nothing that is still kept: done jobs are pruned after a while, postings never are." } }
        ul {
            @for job in jobs {
                li { (link::job(&job.id, &job.kind)) " " (job_state(&job.state, job.reason.as_deref())) @if let Some(reason) = &job.reason { ": " (words(reason)) } }
            }
            @for posting in postings {
                li { "posting " (posting.id) ": " (posting.kind) ", " (posting.said) " from " (account(&posting.debit)) " to " (account(&posting.credit)) ", " code { (posting.key) } }
            }
        }
        @if jobs.len() >= most || postings.len() >= most { p.quiet { "Only the first " (MOST) " of each are shown." } }
    }
}

/// A body as text: indented where it is JSON, folded where it is long.
fn text(bytes: &[u8]) -> Markup {
    let text = serde_json::from_slice::<Value>(bytes)
        .map_or_else(|_| String::from_utf8_lossy(bytes).into_owned(), |body| format!("{body:#}"));
    let lines = text.lines().count();
    html! {
        @if lines > LINES || text.len() > 4_000 { details { summary { "Show all " (lines) " lines" } pre { (text) } } }
        @else { pre { (text) } }
    }
}

/// Runs it again.
pub(super) async fn again(api: &Api, signed: &Signed, id: &str, request: Request<Incoming>) -> Result<Reply, Trouble> {
    let fields = form::read(api, signed, Role::Operator, request).await?;
    let by = Operator { who: signed.who.clone(), via: Via::Console };
    let mut db = api.pool.acquire().await?;
    let conflict = |say: String| Trouble::new(StatusCode::CONFLICT, &say);
    form::may(signed, needed(&events::read(&mut db, id).await?))?;
    match replay::replay(&mut db, &by, id, fields.get("why")).await {
        Ok(_) => Ok(see_other(&link::path("events", id))),
        Err(Refused::Unknown(id)) => Err(unknown(&id)),
        Err(Refused::Database(error)) => Err(error.into()),
        Err(refused @ Refused::Pruned(_)) => {
            Err(conflict(format!("{}. What it caused is on its page.", sentence(&refused))))
        }
        Err(refused @ Refused::Unreadable(..)) => Err(conflict(format!("{}. Look at its body.", sentence(&refused)))),
        Err(refused @ Refused::Under { .. }) => Err(conflict(format!(
            "{}: there is nothing to replay. Its page says when and why it runs.",
            sentence(&refused)
        ))),
        Err(refused @ Refused::Vanished(_)) => {
            Err(conflict(format!("{}. Send it again: a new one is made.", sentence(&refused))))
        }
    }
}

/// A refusal as the beginning of a sentence.
fn sentence(refused: &Refused) -> String {
    let said = refused.to_string();
    let mut letters = said.chars();
    letters.next().map_or_else(String::new, |first| format!("{}{}", first.to_uppercase(), letters.as_str()))
}
