//! Jobs: found by a filter, and acted on, all that match and not only this page.

use std::collections::BTreeMap;

use bursar_jobs::{
    base::clock,
    desk::{
        JobFilter, State,
        about::{self, About},
        access::{Role, Signed},
        filter::JobRow,
    },
    engine::kind,
};
use chrono::{DateTime, Utc};
use maud::{Markup, html};

use super::{
    Trouble, find,
    form::Fields,
    link,
    page::{ago, amount, csrf, job_state, page, words},
    reading,
};
use crate::{api::Api, http::reply::Reply};

/// What a filter is made of.
pub(super) const FIELDS: &[&str] = &["state", "kind", "error", "text", "older", "since"];
/// The filter that a query or a form says.
pub(super) fn filter(fields: &Fields, now: DateTime<Utc>) -> Result<JobFilter, Trouble> {
    Ok(JobFilter {
        state: fields.get("state").map(|said| State::of(said).ok_or_else(|| find::odd("state", said))).transpose()?,
        kind: find::words(fields, "kind"),
        error: find::words(fields, "error"),
        text: find::words(fields, "text"),
        before: find::ago(fields, "older", now)?,
        since: find::ago(fields, "since", now)?,
    })
}

pub(super) async fn show(api: &Api, signed: &Signed, query: &Fields) -> Result<Reply, Trouble> {
    find::check(query, &[FIELDS, &["after"]].concat(), "jobs")?;
    let mut db = reading(api).await?;
    let now = clock::business(&mut *db).await?;
    let filter = filter(query, now)?;
    let mut jobs = filter.page(&mut db, query.get("after"), find::probe()).await?;
    let next = find::cut(&mut jobs).map(|last| last.id);
    let about = about::jobs(&mut db, &jobs).await?;
    let body = html! {
        (ask(query))
        (acts(signed, query, &filter, jobs.is_empty()))
        div data-live="jobs" { (rows(&jobs, &about, now)) }
        (find::next("/jobs", query, FIELDS, next.as_deref(), "Older ones"))
    };
    Ok(page(signed, "/jobs", "Jobs", &body))
}

fn ask(query: &Fields) -> Markup {
    let states = State::ALL.map(State::word);
    let kinds: Vec<&str> = kind::ALL.iter().map(|kind| kind.name).collect();
    let fields = html! {
        (find::choice(query, "state", "State", &states))
        (find::choice(query, "kind", "Kind", &kinds))
        (find::text(query, "error", "Words in the error"))
        (find::text(query, "text", "Words in id, key, cause, arguments"))
        (find::age(query, "older", "Longer ago than"))
        (find::age(query, "since", "Within the last"))
    };
    find::form("/jobs", query, FIELDS, &fields)
}

/// What can be done with all that match.
fn acts(signed: &Signed, query: &Fields, filter: &JobFilter, is_empty: bool) -> Markup {
    let Some(state) = filter.state.filter(|_| !is_empty && signed.role >= Role::Operator) else { return html! {} };
    let verbs: &[(&str, &str)] = match state {
        State::Dead => &[("retry", "Retry all that match …"), ("cancel", "Cancel all that match …")],
        State::Cancelled => &[("retry", "Retry all that match …")],
        State::Ready | State::Scheduled | State::Running => &[("cancel", "Cancel all that match …")],
        State::Done => &[("replay", "Run all that match again …")],
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

fn rows(jobs: &[JobRow], about: &BTreeMap<String, About>, now: DateTime<Utc>) -> Markup {
    html! {
        @if jobs.is_empty() { p { "No such jobs." } }
        @else {
            div.wide { table.rows {
                thead { tr { th { "job" } th { "kind" } th { "user" } th.n { "amount" } th { "state" } th.n { "attempt" } th { "when" } th { "why" } } }
                tbody { @for job in jobs {
                    @let of = about.get(&job.id);
                    tr {
                        td.id { a href={ "/jobs/" (job.id) } { (job.id) } }
                        td { (job.kind) }
                        td data-th=[of.and_then(|of| of.user.as_ref()).map(|_| "of")] { @if let Some(user) = of.and_then(|of| of.user.as_ref()) { (link::user(user)) } }
                        td.n.sum { @if let Some((minor, currency)) = of.and_then(|of| of.amount.as_ref()) { (amount(*minor, currency)) } }
                        td.is { (job_state(&job.state, job.reason.as_deref())) }
                        td.n data-th="attempt" { (job.attempt) " of " (job.max_attempts) }
                        td { (ago(job.done_at.unwrap_or(job.run_at), now)) }
                        td.why { (words(job.reason.as_deref().or(job.last_error.as_deref()).unwrap_or_default())) }
                    }
                } }
            } }
        }
    }
}
