//! Cases of dunning: which there are, one of them step by step, and stopping it.

use bursar_jobs::{
    base::clock,
    desk::{
        self,
        access::{Role, Signed},
        dunning::{self, Case, Page, STATES, Stop},
    },
};
use chrono::{DateTime, Utc};
use hyper::{Request, StatusCode, body::Incoming};
use maud::{Markup, html};

use super::{
    Trouble,
    act::operator,
    find,
    form::{self, Fields},
    link,
    page::{ago, amount, at, csrf, page, see_other, state, words},
    payouts::segment,
    reading,
};
use crate::{api::Api, http::reply::Reply};

/// Cases on a page.
const PAGE: usize = 50;

pub(super) async fn show(api: &Api, signed: &Signed, query: &Fields) -> Result<Reply, Trouble> {
    if let Some(name) = query.unknown(&["state", "user", "after"]) {
        return Err(Trouble::malformed(&format!("A filter of cases has no {name:?}.")));
    }
    let wanted = query.get("state");
    if let Some(odd) = wanted.filter(|state| !STATES.contains(state)) {
        return Err(Trouble::malformed(&format!("There is no state {odd:?} of a case.")));
    }
    let mut db = reading(api).await?;
    let now = clock::business(&mut *db).await?;
    let most = i64::try_from(PAGE).unwrap_or(50) + 1;
    let mut cases = dunning::list(&mut db, wanted, query.get("user"), query.get("after"), most).await?;
    let more = cases.len() > PAGE;
    cases.truncate(PAGE);
    let next = cases.last().filter(|_| more).map(|last| {
        let mut text = form_urlencoded::Serializer::new(String::new());
        for name in ["state", "user"] {
            if let Some(value) = query.get(name) {
                text.append_pair(name, value);
            }
        }
        text.append_pair("after", &last.invoice_id).finish()
    });
    let fields = html! { (find::choice(query, "state", "State", &STATES)) (find::text(query, "user", "User")) };
    let body = html! {
        (find::form("/dunning", query, &["state", "user"], &fields))
        div data-live="dunning" { (rows(&cases, now)) }
        @if let Some(next) = next { p { a href={ "/dunning?" (next) } rel="next" { "Older ones" } } }
    };
    Ok(page(signed, "/dunning", "Dunning", &body))
}

fn rows(cases: &[Case], now: DateTime<Utc>) -> Markup {
    html! {
        @if cases.is_empty() { p { "No such cases. Only a renewal whose payment failed has one." } }
        @else {
            div.wide { table.rows {
                thead { tr { th { "invoice" } th { "user" } th.n { "owed" } th { "state" } th { "failed" } th { "next" } th { "why" } } }
                tbody { @for case in cases {
                    tr {
                        td.id { a href={ "/dunning/" (segment(&case.invoice_id)) } { (case.invoice_id) } }
                        td data-th="of" { (link::user(&case.user_id)) }
                        td.n.sum { (amount(case.amount, &case.currency)) }
                        td.is { (state(&case.state)) }
                        td data-th="failed" { (ago(case.failed_at, now)) }
                        td data-th=[case.next_step.as_ref().map(|_| "next:")] { @if let (Some(step), Some(at)) = (&case.next_step, case.next_at) { (step_said(step, None)) " " (ago(at, now)) } }
                        td.why { (words(case.reason.as_deref().unwrap_or_default())) }
                    }
                } }
            } }
        }
    }
}

/// One case.
pub(super) async fn one(api: &Api, signed: &Signed, invoice: &str) -> Result<Reply, Trouble> {
    let mut db = reading(api).await?;
    let found = dunning::page(&mut db, invoice).await?;
    let found = found.ok_or_else(|| Trouble::not_found(&format!("There is no case of dunning for {invoice}.")))?;
    let now = clock::business(&mut *db).await?;
    let case = &found.case;
    let dashboard = desk::dashboard(&mut *db).await?;
    let last = found.schedule.get("final").and_then(|word| word.as_str());
    let body = html! {
        div data-live="case" {
            dl {
                dt { "State" } dd { (state(&case.state)) }
                @if let Some(why) = &case.reason { dt { "Why" } dd { strong { (words(why)) } } }
                dt { "Owed" } dd { (amount(case.amount, &case.currency)) }
                dt { "User" } dd { (link::user(&case.user_id)) }
                dt { "Subscription" } dd { (link::object(&case.subscription_id, dashboard)) }
                @if let Some(customer) = &case.customer_id { dt { "Customer" } dd { (link::at_stripe(customer, dashboard)) } }
                @if dashboard.is_some() { dt { "Invoice" } dd { (link::at_stripe(&case.invoice_id, dashboard)) } }
                dt { "First failure" } dd { (at(case.failed_at)) " (" (ago(case.failed_at, now)) ")" }
                @if let Some(until) = found.promised_until { dt { "Promised until" } dd { (at(until)) } }
                @if let Some(asked) = found.card_asked_at { dt { "Card asked for" } dd { (at(asked)) } }
                @if let (Some(step), Some(next)) = (&case.next_step, case.next_at) { dt { "Next" } dd { (step_said(step, last)) ", " (at(next)) " (" (ago(next, now)) ")" } }
                @if let Some(event) = &case.event_id { dt { "Caused by" } dd { "event " a href={ "/events/" (segment(event)) } { (event) } } }
            }
            h2 { "Steps" }
            (steps(&found, last, now))
        }
        @if case.state == "open" && signed.role >= Role::Operator {
            h2 { "Stop it" }
            form.acts method="post" action={ "/dunning/" (segment(&case.invoice_id)) "/stop" } {
                (csrf(signed))
                label { "Why" input name="why" maxlength="2000" required; }
                button.danger { "Stop the case" }
                span.quiet { "No more letters, no more retries, and no last step; the invoice stays open at Stripe." }
            }
        }
    };
    Ok(page(signed, "/dunning", &format!("Dunning of {}", case.invoice_id), &body))
}

/// A step in words; `last` is what the schedule ends with.
fn step_said(step: &str, last: Option<&str>) -> String {
    let (what, day) = step.split_once(':').map_or((step, None), |(what, day)| (what, Some(day)));
    let what = match (what, last) {
        ("letter", _) => "letter",
        ("retry", _) => "payment tried again",
        ("final", Some("pause")) => "the subscription is paused",
        ("final", Some("cancel")) => "the subscription is cancelled",
        ("final", _) => "last step",
        ("resume", _) => "the subscription goes on",
        (other, _) => other,
    };
    day.map_or_else(|| what.to_owned(), |day| format!("{what}, day {day}"))
}

fn steps(found: &Page, last: Option<&str>, now: DateTime<Utc>) -> Markup {
    html! {
        @if found.steps.is_empty() { p { "None." } }
        ol.timeline {
            @for step in &found.steps {
                @let when = if step.state == "planned" { step.due_at } else { step.changed_at };
                li {
                    (state(&step.state)) " " strong { (step_said(&step.step, last)) } span.quiet { " (" (step.step) ")" } ", " (at(when)) " (" (ago(when, now)) ")"
                    @if let Some(outcome) = &step.outcome { div { (words(outcome)) } }
                    @if let Some(letter) = step.letter_said() {
                        div { @match &step.letter_job { Some(job) => a href={ "/jobs/" (job) } { (letter) }, None => (letter) } }
                    }
                }
            }
        }
    }
}

/// Stops one.
pub(super) async fn stop(
    api: &Api,
    signed: &Signed,
    invoice: &str,
    request: Request<Incoming>,
) -> Result<Reply, Trouble> {
    let fields = form::read(api, signed, Role::Operator, request).await?;
    let why = fields.get("why").ok_or_else(|| Trouble::malformed("Say why. Nothing was changed."))?;
    let mut tx = api.pool.begin().await?;
    match dunning::stop(&mut tx, &operator(signed), invoice, why).await? {
        Stop::Stopped => {
            tx.commit().await?;
            Ok(see_other(&format!("/dunning/{}", segment(invoice))))
        }
        Stop::Not(was) => Err(Trouble::new(
            StatusCode::CONFLICT,
            &format!("The case is {was} by now: there is nothing left to stop, and nothing was changed."),
        )),
        Stop::NoSuch => Err(Trouble::not_found(&format!("There is no case of dunning for {invoice}."))),
    }
}
