//! Payouts: found by a filter, what they come to, and one of them: everything that is known of it, and what can be done.

use bursar_jobs::{
    base::{clock, credits::Credits},
    desk::{
        PayoutFilter,
        access::{Role, Signed},
        payout::{self, Call, Page},
        payouts::{Payout, Sum},
        release,
        risk::Verdict,
    },
    payouts::state::State,
};
use chrono::{DateTime, TimeDelta, Utc};
use maud::{Markup, html};

use super::{
    Trouble, find,
    form::Fields,
    link,
    page::{ago, amount, at, csrf, page, state, words},
    reading,
};
use crate::{api::Api, http::reply::Reply};

/// Payouts on a page.
const PAGE: usize = 50;
/// What a filter is made of.
pub(super) const FIELDS: &[&str] = &["state", "receiver", "currency", "held_by", "text", "older", "since"];
const STATES: [State; 7] =
    [State::Held, State::Sending, State::Unknown, State::Paid, State::Rejected, State::Skipped, State::Reversed];
const AGES: &[(&str, &str, i64)] =
    &[("1h", "1 hour", 60), ("1d", "1 day", 1_440), ("7d", "7 days", 10_080), ("30d", "30 days", 43_200)];

/// The filter that a query or a form says.
pub(super) fn filter(fields: &Fields, now: DateTime<Utc>) -> Result<PayoutFilter, Trouble> {
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
    let currency = words("currency").map(|currency| currency.to_lowercase());
    if let Some(currency) = currency.as_deref()
        && (currency.len() != 3 || !currency.bytes().all(|letter| letter.is_ascii_lowercase()))
    {
        return Err(odd("currency", currency));
    }
    let held_by = words("held_by");
    if let Some(limit) = held_by.as_deref().filter(|limit| !["minimum", "cap"].contains(limit)) {
        return Err(odd("limit", limit));
    }
    Ok(PayoutFilter {
        state: fields.get("state").map(|said| State::parse(said).ok_or_else(|| odd("state", said))).transpose()?,
        receiver: words("receiver"),
        currency,
        held_by,
        text: words("text"),
        before: ago("older")?,
        since: ago("since")?,
    })
}

pub(super) async fn show(api: &Api, signed: &Signed, query: &Fields) -> Result<Reply, Trouble> {
    let known: Vec<&str> = FIELDS.iter().copied().chain(["after"]).collect();
    if let Some(name) = query.unknown(&known) {
        return Err(Trouble::malformed(&format!("A filter of payouts has no {name:?}.")));
    }
    let mut db = reading(api).await?;
    let now = clock::business(&mut *db).await?;
    let filter = filter(query, now)?;
    let sums = PayoutFilter { state: None, ..filter.clone() }.sums(&mut db).await?;
    let mut found = filter.page(&mut db, query.get("after"), i64::try_from(PAGE).unwrap_or(50) + 1).await?;
    let more = found.len() > PAGE;
    found.truncate(PAGE);
    let next = found.last().filter(|_| more).map(|last| with(query, &[("after", Some(&last.job_id))]));
    let body = html! {
        (ask(query))
        (act(signed, query, &filter, found.is_empty()))
        div data-live="payouts" { (sums_of(query, &sums, now)) (rows(&found, now)) }
        @if let Some(next) = next { p { a href={ "/payouts?" (next) } rel="next" { "Older ones" } } }
    };
    Ok(page(signed, "/payouts", "Payouts", &body))
}

/// The query of the same filter, with some of it said otherwise.
fn with(query: &Fields, other: &[(&str, Option<&str>)]) -> String {
    let mut text = form_urlencoded::Serializer::new(String::new());
    for name in FIELDS.iter().filter(|name| !other.iter().any(|(said, _)| *said == **name)) {
        if let Some(value) = query.get(name) {
            text.append_pair(name, value);
        }
    }
    for (name, value) in other {
        if let Some(value) = value {
            text.append_pair(name, value);
        }
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
    let fields = html! {
            label { "State" select name="state" {
                option value="" { "any" }
                @for one in STATES { option value=(one.name()) selected[query.get("state") == Some(one.name())] { (one.name()) } }
            } }
            label { "Receiver" input type="search" name="receiver" value=(said("receiver")); }
            label { "Currency" input type="search" name="currency" value=(said("currency")) size="4" maxlength="3"; }
            label { "Held by" select name="held_by" {
                option value="" { "anything" }
                option value="cap" selected[query.get("held_by") == Some("cap")] { "a cap" }
                option value="minimum" selected[query.get("held_by") == Some("minimum")] { "the minimum" }
            } }
            label { "Words in job, people, skill, Transfer, why" input type="search" name="text" value=(said("text")); }
            (age("older", "Recorded longer ago than"))
            (age("since", "Within the last"))
    };
    find::form("/payouts", query, FIELDS, &fields)
}

/// What can be done with all that match.
fn act(signed: &Signed, query: &Fields, filter: &PayoutFilter, is_empty: bool) -> Markup {
    let releasable = !matches!(filter.state, None | Some(State::Paid | State::Reversed));
    html! {
        @if releasable && !is_empty && signed.role >= Role::Payer {
            form.acts method="post" action="/payouts" {
                (csrf(signed))
                (hidden(query))
                input type="hidden" name="step" value="dry-run";
                button { "Let all that match go …" }
                span.quiet { "What it would mean is shown first." }
            }
        }
    }
}

/// The filter, carried along in a form.
pub(super) fn hidden(fields: &Fields) -> Markup {
    html! { @for name in FIELDS { @if let Some(value) = fields.get(name) { input type="hidden" name=(name) value=(value); } } }
}

fn sums_of(query: &Fields, sums: &[Sum], now: DateTime<Utc>) -> Markup {
    html! {
        @if !sums.is_empty() {
            div.wide { table {
                thead { tr { th { "state" } th.n { "payouts" } th.n { "sum" } th { "oldest" } } }
                tbody { @for of in sums {
                    tr {
                        td { a href={ "/payouts?" (with(query, &[("state", Some(&of.state)), ("currency", Some(&of.currency))])) } { (state(&of.state)) } }
                        td.n { (of.count) } td.n { (amount(of.amount, &of.currency)) }
                        td { @if let Some(oldest) = of.oldest_at { (ago(oldest, now)) } }
                    }
                } }
            } }
            h2 { "Newest first" }
        }
    }
}

fn rows(found: &[Payout], now: DateTime<Utc>) -> Markup {
    html! {
        @if found.is_empty() { p { "No such payouts." } }
        @else {
            div.wide { table.rows {
                thead { tr { th { "job" } th { "receiver" } th.n { "amount" } th { "state" } th { "recorded" } th { "why" } } }
                tbody { @for one in found {
                    tr {
                        td.id { a href={ "/payouts/" (segment(&one.job_id)) } { (one.job_id) } }
                        td data-th="to" { (link::user(&one.receiver_id)) }
                        td.n.sum { (amount(one.amount, &one.currency)) }
                        td.is { (state(&one.state)) @if one.reversed > 0 && one.state != "reversed" { " " span.quiet { (amount(one.reversed, &one.currency)) " reversed" } } }
                        td data-th="recorded" { (ago(one.recorded_at, now)) }
                        td.why { (words(one.reason.as_deref().unwrap_or_default())) }
                    }
                } }
            } }
        }
    }
}

/// An id within a path.
pub(super) fn segment(id: &str) -> String {
    form_urlencoded::byte_serialize(id.as_bytes()).collect::<String>().replace('+', "%20")
}

/// One payout.
pub(super) async fn one(api: &Api, signed: &Signed, job: &str) -> Result<Reply, Trouble> {
    let mut db = reading(api).await?;
    let found = payout::page(&mut db, job).await?;
    let found = found.ok_or_else(|| Trouble::not_found(&format!("There is no payout for the job {job}.")))?;
    let judged = release::judge(&mut db, &[job.to_owned()]).await?.pop();
    let (of, currency) = (&found.payout, found.payout.currency.as_str());
    let some = |what: &str, minor: i64| html! { @if minor > 0 { dt { (what) } dd { (amount(minor, currency)) } } };
    let body = html! {
        div data-live="payout" {
            dl {
                dt { "State" } dd { (state(&of.state)) }
                dt { "Why" } dd { strong { (words(of.reason.as_deref().unwrap_or("nothing is the matter with it"))) } }
                @if let Some(judged) = &judged {
                    dt { "Letting it go" } dd {
                        @match judged.verdict { Verdict::Safe => "is safe: ", Verdict::Done => "changes nothing: ", Verdict::Unknown => "" }
                        (judged.why)
                    }
                }
                dt { "Amount" } dd { (amount(of.amount, currency)) }
                @if let Some(sent) = of.transfer_amount { dt { "Its Transfer sends" } dd { (amount(sent, currency)) } }
                (some("Netted", of.netted)) (some("Reversed", of.reversed)) (some("Came back", of.returned)) (some("Carried as a debt", of.carried))
                dt { "Transfer" } dd { @match &of.transfer_id {
                    Some(id) => a rel="noreferrer" href={ (dashboard(found.livemode)) "connect/transfers/" (id) } { (id) },
                    None => span.quiet { "none is known" },
                } }
                dt { "Receiver" } dd { (link::user(&of.receiver_id)) ", " a href={ "/payouts?" (encoded("receiver", &of.receiver_id)) } { "all payouts to them" } }
                @if let Some(sender) = &of.sender_id { dt { "Sender" } dd { (link::user(sender)) } }
                dt { "Skill" } dd { (of.skill) " (" (Credits::from_micros(of.credits)) " credits)" }
                dt { "Recorded" } dd { (at(of.recorded_at)) }
                dt { "Changed" } dd { (at(of.changed_at)) }
                @if let Some(event) = &of.event_id { dt { "Caused by" } dd { "event " a href={ "/events/" (segment(event)) } { (event) } } }
            }
        }
        @if signed.role >= Role::Payer { (super::release::forms(signed, &found, judged.as_ref().is_some_and(|judged| judged.verdict == Verdict::Done))) }
        @else { p.quiet { "Letting it go or taking it back takes a payer." } }
        div data-live="more" {
            h2 { "Jobs" }
            @if found.jobs.is_empty() { p { "None is left: done jobs are pruned after a while." } }
            ul { @for run in &found.jobs {
                li { a href={ "/jobs/" (run.id) } { (run.kind) } " " (state(&run.state)) @if let Some(why) = &run.reason { ": " (words(why)) } }
            } }
            (reversals(&found))
            (calls(&found))
        }
    };
    Ok(page(signed, "/payouts", &format!("Payout for {job}"), &body))
}

fn encoded(name: &str, value: &str) -> String {
    form_urlencoded::Serializer::new(String::new()).append_pair(name, value).finish()
}

fn dashboard(livemode: bool) -> &'static str {
    if livemode { "https://dashboard.stripe.com/" } else { "https://dashboard.stripe.com/test/" }
}

fn reversals(found: &Page) -> Markup {
    let currency = &found.payout.currency;
    html! {
        @if !found.reversals.is_empty() {
            h2 { "Taken back" }
            ul { @for reversal in &found.reversals { li { (at(reversal.asked_at)) ": " (reversal.sentence(currency)) } } }
        }
        @if !found.nettings.is_empty() {
            h2 { "Debts settled" }
            ul { @for netting in &found.nettings { li { (amount(netting.amount, currency)) " " (netting.why.as_deref().unwrap_or_default()) } } }
        }
    }
}

fn calls(found: &Page) -> Markup {
    html! {
        h2 { "Calls to Stripe" }
        @if found.calls.is_empty() { p { "None was made." } }
        @else {
            div.wide { table.rows {
                thead { tr { th { "when" } th { "what" } th { "key" } th.n { "generation" } th { "answer" } th { "request" } } }
                tbody { @for (call, last, times) in folded(&found.calls) {
                    tr {
                        td { (at(call.begun_at)) @if times > 1 { " to " (at(last.begun_at)) } }
                        td.is { a href={ "/jobs/" (call.job_id) } { (call.what) } @if times > 1 { ", " strong { (times) " times" } } }
                        td.id data-th=[call.idempotency_key.as_ref().map(|_| "key")] { (call.idempotency_key.as_deref().unwrap_or_default()) }
                        td.n data-th=[call.generation.map(|_| "generation")] { @if let Some(generation) = call.generation { (generation) } }
                        td.why {
                            @if let Some(status) = call.status { (status) " " }
                            @match &call.answer { Some(said) => (words(said)), None => span.unknown { "none yet, or lost" } }
                            @if call.replayed == Some(true) { ", replayed" }
                        }
                        td.id { @if let Some(request) = &last.request_id {
                            a rel="noreferrer" href={ (dashboard(found.livemode)) "logs/" (request) } { (request) }
                        } }
                    }
                } }
            } }
        }
    }
}

/// Calls in order; neighbours that had the same answer are one: the first of them, the last, and how many.
fn folded(calls: &[Call]) -> Vec<(&Call, &Call, usize)> {
    let what = |call: &Call| {
        (
            (call.what.clone(), call.idempotency_key.clone(), call.job_id.clone()),
            (call.status, call.replayed, call.answer.clone(), call.answered_at.is_some()),
        )
    };
    let groups = calls.chunk_by(|a, b| what(a) == what(b));
    groups.filter_map(|same| Some((same.first()?, same.last()?, same.len()))).collect()
}
