//! Jobs: found by a filter, and acted on, all that match and not only this page.

use bursar_jobs::{
    clock,
    desk::{
        JobFilter, State,
        access::{Role, Signed},
        filter::JobRow,
    },
    kinds,
};
use chrono::{DateTime, TimeDelta, Utc};
use maud::{Markup, html};

use super::{
    Trouble,
    form::Fields,
    page::{ago, csrf, page, state},
};
use crate::{api::Api, http::reply::Reply};

/// Jobs on a page.
const PAGE: usize = 50;
/// What a filter is made of.
pub(super) const FIELDS: &[&str] = &["state", "kind", "error", "text", "older", "since"];
const AGES: &[(&str, &str, i64)] = &[
    ("5m", "5 minutes", 5),
    ("1h", "1 hour", 60),
    ("1d", "1 day", 1_440),
    ("7d", "7 days", 10_080),
    ("30d", "30 days", 43_200),
];

/// The filter that a query or a form says.
pub(super) fn filter(fields: &Fields, now: DateTime<Utc>) -> Result<JobFilter, Trouble> {
    let odd =
        |what: &str, said: &str| Trouble::malformed(&format!("There is no {what} {said:?}. Nothing was changed."));
    let ago = |name: &str| match fields.get(name) {
        None => Ok(None),
        Some(said) => match AGES.iter().find(|(word, ..)| *word == said) {
            Some((_, _, minutes)) => Ok(Some(now - TimeDelta::minutes(*minutes))),
            None => Err(odd("age", said)),
        },
    };
    let words = |name: &str| fields.get(name).map(|said| said.chars().take(500).collect::<String>());
    Ok(JobFilter {
        state: fields.get("state").map(|said| State::of(said).ok_or_else(|| odd("state", said))).transpose()?,
        kind: words("kind"),
        error: words("error"),
        text: words("text"),
        before: ago("older")?,
        since: ago("since")?,
    })
}

pub(super) async fn show(api: &Api, signed: &Signed, query: &Fields) -> Result<Reply, Trouble> {
    let known: Vec<&str> = FIELDS.iter().copied().chain(["after"]).collect();
    if let Some(name) = query.unknown(&known) {
        return Err(Trouble::malformed(&format!("A filter of jobs has no {name:?}.")));
    }
    let mut db = api.pool.acquire().await?;
    let now = clock::business(&mut *db).await?;
    let filter = filter(query, now)?;
    let mut jobs = filter.page(&mut db, query.get("after"), i64::try_from(PAGE).unwrap_or(50) + 1).await?;
    let more = jobs.len() > PAGE;
    jobs.truncate(PAGE);
    let next = jobs.last().filter(|_| more).map(|last| with(query, Some(&last.id)));
    let body = html! {
        (ask(query))
        (acts(signed, query, &filter, jobs.is_empty()))
        div data-live="jobs" { (rows(&jobs, now)) }
        @if let Some(next) = next { p { a href={ "/jobs?" (next) } rel="next" { "Older ones" } } }
    };
    Ok(page(signed, "/jobs", "Jobs", &body))
}

/// The query of the same filter, from another place on.
fn with(query: &Fields, after: Option<&str>) -> String {
    let mut text = form_urlencoded::Serializer::new(String::new());
    for name in FIELDS {
        if let Some(value) = query.get(name) {
            text.append_pair(name, value);
        }
    }
    if let Some(after) = after {
        text.append_pair("after", after);
    }
    text.finish()
}

fn ask(query: &Fields) -> Markup {
    let said = |name: &str| query.get(name).unwrap_or_default().to_owned();
    let age = |name: &str, label: &str| {
        html! {
            label { (label) select name=(name) {
                option value="" { "any" }
                @for (word, words, _) in AGES { option value=(word) selected[query.get(name) == Some(*word)] { (words) } }
            } }
        }
    };
    html! {
        form.filter method="get" action="/jobs" role="search" {
            label { "State" select name="state" {
                option value="" { "any" }
                @for one in State::ALL { option value=(one.word()) selected[query.get("state") == Some(one.word())] { (one.word()) } }
            } }
            label { "Kind" select name="kind" {
                option value="" { "any" }
                @for kind in kinds::ALL { option value=(kind.name) selected[query.get("kind") == Some(kind.name)] { (kind.name) } }
            } }
            label { "Words in the error" input type="search" name="error" value=(said("error")); }
            label { "Words in id, key, cause, arguments" input type="search" name="text" value=(said("text")); }
            (age("older", "Longer ago than"))
            (age("since", "Within the last"))
            button { "Find" }
            a href="/jobs" { "All" }
        }
    }
}

/// What can be done with all that match.
fn acts(signed: &Signed, query: &Fields, filter: &JobFilter, is_empty: bool) -> Markup {
    let Some(state) = filter.state.filter(|_| !is_empty && signed.role >= Role::Operator) else { return html! {} };
    let verbs: &[(&str, &str)] = match state {
        State::Dead => &[("retry", "Retry all that match …"), ("cancel", "Cancel all that match …")],
        State::Cancelled => &[("retry", "Retry all that match …")],
        State::Ready | State::Scheduled | State::Running => &[("cancel", "Cancel all that match …")],
        State::Done => &[],
    };
    html! {
        @if !verbs.is_empty() {
            form.acts method="post" action="/bulk" {
                (csrf(signed))
                (super::act::hidden(query))
                input type="hidden" name="step" value="dry-run";
                @for (verb, words) in verbs { button name="verb" value=(verb) { (words) } }
                span.quiet { "What it would mean is shown first." }
            }
        }
    }
}

fn rows(jobs: &[JobRow], now: DateTime<Utc>) -> Markup {
    html! {
        @if jobs.is_empty() { p { "No such jobs." } }
        @else {
            div.wide { table {
                thead { tr { th { "job" } th { "kind" } th { "state" } th { "attempt" } th { "when" } th { "why" } } }
                tbody { @for job in jobs {
                    tr {
                        td.id { a href={ "/jobs/" (job.id) } { (job.id) } }
                        td { (job.kind) }
                        td { (state(&job.state)) }
                        td.n { (job.attempt) " of " (job.max_attempts) }
                        td { (ago(job.done_at.unwrap_or(job.run_at), now)) }
                        td { (job.reason.as_deref().or(job.last_error.as_deref()).unwrap_or_default()) }
                    }
                } }
            } }
        }
    }
}
