//! One job: why it is not running, what its attempts came to, what it sent, what caused it and what it caused.

use bursar_jobs::{
    clock,
    desk::{
        access::{Role, Signed},
        around::{self, Around},
        job::{self, Attempt, Page},
        risk,
    },
    kinds,
};
use chrono::{DateTime, Utc};
use maud::{Markup, html};

use super::{
    Trouble, link,
    page::{ago, amount, at, csrf, length, page, state},
};
use crate::{api::Api, http::reply::Reply};

pub(super) async fn show(api: &Api, signed: &Signed, id: &str) -> Result<Reply, Trouble> {
    let mut db = api.pool.acquire().await?;
    let found = job::page(&mut db, id).await?;
    let Some(found) = found else {
        return Err(Trouble::not_found(&format!("There is no job {id}. Done jobs are pruned after a while.")));
    };
    let now = clock::business(&mut *db).await?;
    let risk = risk::judge(&mut db, std::slice::from_ref(&found.job.id)).await?.pop();
    let around = around::of_job(&mut db, &found.job).await?;
    let job = &found.job;
    let body = html! {
        div data-live="job" {
            dl {
                dt { "State" } dd { (state(&job.state)) }
                dt { "Why" } dd { strong { (found.why(|moment| format!("{} ({})", moment.format("%Y-%m-%d %H:%M:%S UTC"), ago(moment, now)))) } }
                @if let Some(risk) = &risk {
                    dt { "A retry" } dd {
                        @match risk.verdict {
                            risk::Verdict::Safe => "is safe: " , risk::Verdict::Done => "changes nothing: ", risk::Verdict::Unknown => "looks first: ",
                        }
                        (risk.why)
                        @if let (Some(minor), Some(currency)) = (risk.amount, &risk.currency) { " (" (amount(minor, currency)) ")" }
                    }
                }
                dt { "Kind" } dd { a href={ "/jobs?kind=" (job.kind) } { (job.kind) } }
                @if let Some(key) = &job.key { dt { "Key" } dd { (key) } }
                dt { "Attempts" } dd { (job.attempt) " of " (job.max_attempts) }
                dt { "Enqueued" } dd { (at(found.first_enqueued_at())) }
                @if let Some(worker) = &job.worker { dt { "Worker" } dd { (worker) } }
                @if let Some(cause) = &job.cause {
                    dt { "Caused by" } dd {
                        @if found.around.cause_is_event { "event " (link::event(cause)) }
                        @else { a href={ "/jobs/" (cause) } { (cause) } }
                    }
                }
            }
            (acts(signed, &found))
            h2 { "Attempts" }
            (timeline(&found.attempts, now))
            (calls(&around))
            (consequences(&around))
            h2 { "Arguments" }
            pre { (format!("{:#}", found.args)) }
        }
    };
    Ok(page(signed, "/jobs", &format!("Job {}", job.id), &body))
}

fn acts(signed: &Signed, page: &Page) -> Markup {
    let job = &page.job;
    let needed = if kinds::moves_money(&job.kind) { Role::Payer } else { Role::Operator };
    let retry = matches!(job.state.as_str(), "dead" | "cancelled") && signed.role >= needed;
    let cancel =
        matches!(job.state.as_str(), "dead" | "ready" | "scheduled" | "running") && signed.role >= Role::Operator;
    let form = |verb: &str, words: &str, class: &str| {
        html! {
            form.acts method="post" action={ "/jobs/" (job.id) "/" (verb) } {
                (csrf(signed))
                label { "Why (for whoever reads it later)" input name="why" maxlength="2000"; }
                button class=(class) { (words) }
            }
        }
    };
    html! {
        @if retry { (form("retry", "Retry", "act")) }
        @if cancel { (form("cancel", "Cancel", "danger")) }
    }
}

fn timeline(attempts: &[Attempt], now: DateTime<Utc>) -> Markup {
    html! {
        @if attempts.is_empty() { p { "None yet." } }
        ol.timeline {
            @for attempt in attempts.iter().rev().take(50) {
                li {
                    (state(&attempt.outcome)) " attempt " (attempt.attempt) ", " (at(attempt.ended_at)) " (" (ago(attempt.ended_at, now)) ")"
                    @if let Some(start) = attempt.started_at {
                        ", after " (length((attempt.ended_at - start).to_std().unwrap_or_default().as_secs_f64()))
                    }
                    @if let Some(worker) = &attempt.worker { span.quiet { " on " (worker) } }
                    @for (depth, error) in attempt.errors().iter().enumerate() {
                        div { @if depth > 0 { span.quiet { "because " } } (error) }
                    }
                }
            }
        }
    }
}

/// What it sent, and under which key.
fn calls(around: &Around) -> Markup {
    html! {
        @if !around.calls.is_empty() {
            h2 { "Calls to Stripe" }
            div.wide { table {
                thead { tr { th { "when" } th { "what" } th { "idempotency key" } th { "answer" } th { "request" } } }
                tbody { @for call in &around.calls {
                    tr {
                        td { (at(call.begun_at)) }
                        td { (call.what) " for " (call.subject) }
                        td.id { @if let Some(key) = &call.key { (key) } @if let Some(of) = &call.state { " " (state(of)) } }
                        td { @match &call.answer { Some(said) => (said), None => span.unknown { "none yet, or lost" } } }
                        td.id { @if let Some(request) = &call.request_id {
                            a rel="noreferrer" href={ "https://dashboard.stripe.com/" @if !around.livemode { "test/" } "logs/" (request) } { (request) }
                        } }
                    }
                } }
            } }
        }
    }
}

fn consequences(around: &Around) -> Markup {
    html! {
        @if !around.postings.is_empty() || !around.caused.is_empty() {
            h2 { "What it caused" }
            ul {
                @for posting in &around.postings { li { "posting " (posting.id) ": " (posting.kind) ", " (posting.said) ", " code { (posting.key) } } }
                @for job in &around.caused { li { a href={ "/jobs/" (job.id) } { (job.kind) } " " (state(&job.state)) } }
            }
        }
    }
}
