//! One job: why it is not running, what its attempts came to, what it sent, what caused it and what it caused.

use bursar_jobs::{
    base::clock,
    desk::{
        self, about,
        access::{Role, Signed},
        around::{self, Around, Call},
        job::{self, Attempt, Page},
        risk::{self, Risk},
    },
    engine::kind,
};
use chrono::{DateTime, Utc};
use maud::{Markup, html};

use super::{
    Trouble, link,
    page::{ago, amount, at, csrf, job_state, length, page, stamp, state, words},
    reading, undone,
};
use crate::{api::Api, http::reply::Reply};

pub(super) async fn show(api: &Api, signed: &Signed, id: &str) -> Result<Reply, Trouble> {
    let mut db = reading(api).await?;
    let found = job::page(&mut db, id).await?;
    let Some(found) = found else {
        return Err(Trouble::not_found(&format!("There is no job {id}. Done jobs are pruned after a while.")));
    };
    let now = clock::business(&mut *db).await?;
    let risk = risk::judge(&mut db, std::slice::from_ref(&found.job.id)).await?.pop();
    let around = around::of_job(&mut db, &found.job).await?;
    let about = about::jobs(&mut db, std::slice::from_ref(&found.job)).await?.remove(&found.job.id).unwrap_or_default();
    let dashboard = desk::dashboard(&mut *db).await?;
    let job = &found.job;
    let body = html! {
        div data-live="job" {
            dl {
                dt { "State" } dd { (job_state(&job.state, job.reason.as_deref())) }
                dt { "Why" } dd { strong { (words(&found.why(|moment| format!("{} ({})", stamp(moment), ago(moment, now))))) } }
                @if let Some(risk) = &risk {
                    dt { "A retry" } dd {
                        @match risk.verdict {
                            risk::Verdict::Safe => "is safe: " , risk::Verdict::Done => "changes nothing: ", risk::Verdict::Unknown => "looks first: ",
                        }
                        (risk.why)
                        @if let (Some(minor), Some(currency)) = (risk.amount, &risk.currency) { " (" (amount(minor, currency)) ")" }
                    }
                }
                @if let Some(user) = &about.user { dt { "User" } dd { (link::user(user)) } }
                @if let Some(object) = &about.object { dt { "About" } dd { (link::object(object, dashboard)) } }
                @if let (Some((minor, currency)), None) = (&about.amount, risk.as_ref().and_then(|risk| risk.amount)) { dt { "Amount" } dd { (amount(*minor, currency)) } }
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
        }
        // A part of its own: who has opened it is not disturbed, and sees how the rest goes on.
        div data-live="acts" { (acts(signed, &found, risk.as_ref())) }
        div data-live="more" {
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

fn acts(signed: &Signed, page: &Page, risk: Option<&Risk>) -> Markup {
    let job = &page.job;
    let needed = if kind::moves_money(&job.kind) { Role::Payer } else { Role::Operator };
    let retry = matches!(job.state.as_str(), "dead" | "cancelled") && signed.role >= needed;
    let cancel =
        matches!(job.state.as_str(), "dead" | "ready" | "scheduled" | "running") && signed.role >= Role::Operator;
    html! {
        @if retry {
            form.acts method="post" action={ "/jobs/" (job.id) "/retry" } {
                (csrf(signed))
                label { "Why (for whoever reads it later)" input name="why" maxlength="2000"; }
                button.act { "Retry" }
            }
        }
        @if cancel {
            details.more {
                summary { "Cancel …" }
                @if let Some(risk) = risk { p.say.bad { (undone::said(risk)) } }
                form.acts method="post" action={ "/jobs/" (job.id) "/cancel" } {
                    (csrf(signed))
                    label { "Why it need not be done" input name="why" maxlength="2000" required; }
                    button.danger { "Cancel the job" }
                }
            }
        }
    }
}

fn timeline(attempts: &[Attempt], now: DateTime<Utc>) -> Markup {
    html! {
        @if attempts.is_empty() { p { "None yet." } }
        ol.timeline {
            @for (attempt, oldest, times) in folded(attempts).into_iter().take(50) {
                li {
                    @if times > 1 {
                        (state(&attempt.outcome)) " " (times) " times alike, attempts " (oldest.attempt) " to " (attempt.attempt) ", "
                        (at(oldest.ended_at)) " to " (at(attempt.ended_at))
                    } @else {
                        (state(&attempt.outcome)) " attempt " (attempt.attempt) ", " (at(attempt.ended_at))
                    }
                    " (" (ago(attempt.ended_at, now)) ")"
                    @if let (Some(start), 1) = (attempt.started_at, times) {
                        ", after " (length((attempt.ended_at - start).to_std().unwrap_or_default().as_secs_f64()))
                    }
                    @if let Some(worker) = &attempt.worker { span.quiet { " on " (worker) } }
                    @for (depth, error) in attempt.errors().iter().enumerate() {
                        div { @if depth > 0 { span.quiet { "because " } } (words(error)) }
                    }
                }
            }
        }
    }
}

/// Attempts, newest first; neighbours that came to the same are one: the newest of them, the oldest, and how many.
fn folded(attempts: &[Attempt]) -> Vec<(&Attempt, &Attempt, usize)> {
    let alike = |a: &Attempt, b: &Attempt| a.outcome == b.outcome && a.errors() == b.errors();
    let groups = attempts.chunk_by(alike).rev();
    groups.filter_map(|same| Some((same.last()?, same.first()?, same.len()))).collect()
}

/// What it sent, and under which key; neighbours that had the same answer are one.
fn calls(around: &Around) -> Markup {
    html! {
        @if !around.calls.is_empty() {
            h2 { "Calls to Stripe" }
            div.wide { table.rows {
                thead { tr { th { "when" } th { "what" } th { "idempotency key" } th { "answer" } th { "request" } } }
                tbody { @for (call, oldest, times) in same_calls(&around.calls) {
                    tr {
                        td { @if times > 1 { (at(oldest.begun_at)) " to " } (at(call.begun_at)) }
                        td.is { (call.what) " for " (call.subject) @if times > 1 { ", " strong { (times) " times" } } }
                        td.id data-th="key" { @if let Some(key) = &call.key { (key) } @if let Some(of) = &call.state { " " (state(of)) } }
                        td.why { @match &call.answer { Some(said) => (words(said)), None => span.unknown { "none yet, or lost" } } }
                        td.id { @if let Some(request) = &call.request_id {
                            a rel="noreferrer" href={ "https://dashboard.stripe.com/" @if !around.livemode { "test/" } "logs/" (request) } { (request) }
                        } }
                    }
                } }
            } }
        }
    }
}

fn same_calls(calls: &[Call]) -> Vec<(&Call, &Call, usize)> {
    let what = |call: &Call| {
        (call.what.clone(), call.subject.clone(), call.key.clone(), call.state.clone(), call.answer.clone())
    };
    let groups = calls.chunk_by(|a, b| what(a) == what(b));
    groups.filter_map(|same| Some((same.first()?, same.last()?, same.len()))).collect()
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
