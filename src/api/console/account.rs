//! One user: how many credits, where from and where to, and what else is known of them.

use bursar_jobs::{
    base::clock,
    desk::{
        self,
        access::Signed,
        accounts::{self, Customer, Flag, Payout, Receiver, Sum, User},
        flags,
    },
    ledger::history::{self, Line},
};
use chrono::{DateTime, Utc};
use maud::{Markup, html};

use super::{
    Trouble, disputes, find,
    form::Fields,
    link,
    page::{ago, amount, at, credits, page, state, words},
    reading, subscriptions,
};
use crate::{api::Api, http::reply::Reply};

/// What is shown of subscriptions, customers and payouts; of the history there are pages.
const MOST: i64 = 20;

pub(super) async fn show(api: &Api, signed: &Signed, id: &str, query: &Fields) -> Result<Reply, Trouble> {
    find::check(query, &["after"], "a user's history")?;
    let after: Option<i64> = find::after(query, |said| said.parse().ok())?;
    let mut db = reading(api).await?;
    let user = accounts::one(&mut db, id, MOST).await?;
    let user = user.ok_or_else(|| {
        Trouble::not_found(&format!(
            "Nothing is known of a user {id}: no credits, no customer, no subscription, no payout."
        ))
    })?;
    let now = clock::business(&mut *db).await?;
    let dashboard = desk::dashboard(&mut *db).await?;
    let mut lines = history::of(&mut *db, id, after, find::probe()).await?;
    let next = find::cut(&mut lines).map(|last| last.posting.to_string());
    let disputed = flags::disputes(&mut db, id, MOST).await?;
    let events = find::again(&Fields::default(), &[], ("user", id));
    let audit = find::again(&Fields::default(), &[], ("subject", id));
    let body = html! {
        div data-live="account" {
            (flagged(&user.flags, dashboard))
            div.cards { div.card {
                b { @match user.balance { Some(micros) => (credits(micros)), None => "0 credits" } }
                span { @if user.balance.is_some() { "the balance" } @else { "no posting ever moved any" } }
            } }
            p { a href={ "/events?" (events) } { "Events" } ", " a href={ "/audit?" (audit) } { "what operators did" } }
            @if !disputed.is_empty() { h2 id="disputes" { "Disputes" } (disputes::list(&disputed, false, now, dashboard)) }
        }
        (disputes::of_user(signed, id, &disputed))
        div data-live="history" {
            h2 { "Where credits came from and went to" }
            (lines_of(&lines, dashboard))
        }
        (find::next(&link::path("accounts", id), query, &[], next.as_deref(), "Older ones"))
        (rest(&user, now, dashboard))
    };
    Ok(page(signed, "/accounts", &format!("Account {id}"), &body))
}

fn flagged(flags: &[Flag], dashboard: Option<&str>) -> Markup {
    html! {
        @for flag in flags {
            p.say.bad {
                "Flagged"
                @if let Some(since) = flag.since { " since " (at(since)) }
                ": "
                @match flag.flag.as_str() {
                    "dispute" => "a payment is disputed (",
                    "second_subscription" => "they subscribe more than once (",
                    other => { (other) " (" }
                }
                @if flag.flag == "dispute" { a href="#disputes" { (flag.source) } } @else { (link::object(&flag.source, dashboard)) }
                ")."
            }
        }
    }
}

/// Postings, each with where it came from.
fn lines_of(lines: &[Line], dashboard: Option<&str>) -> Markup {
    html! {
        @if lines.is_empty() { p { "No postings." } }
        @else {
            div.wide { table.rows {
                thead { tr { th.n { "posting" } th { "when" } th { "kind" } th.n { "amount" } th.n { "balance after" } th { "from" } } }
                tbody { @for line in lines {
                    tr {
                        td.n data-th="posting" { (line.posting) }
                        td { (at(line.posted_at)) }
                        td.is { (line.kind) }
                        td.n.sum { @if line.amount.is_positive() { "+" } (line.amount) " credits" }
                        td.n data-th="balance" { (line.balance) " credits" }
                        td.from { (provenance(line, dashboard)) }
                    }
                } }
            } }
        }
    }
}

/// The event, the job and the object; or the person and why.
fn provenance(line: &Line, dashboard: Option<&str>) -> Markup {
    let object = [&line.object_id, &line.r#ref];
    let second = line.r#ref.is_some() && line.r#ref != line.object_id;
    html! {
        @if let Some(event) = &line.event_id { div { "event " (link::event(event)) } }
        @if let Some(job) = &line.job_id { div { "job " (link::job(job, job)) } }
        @if let Some(id) = object[0] { div { "about " (link::object(id, dashboard)) } }
        @if let (Some(id), true) = (object[1], second) { div { "for " (link::object(id, dashboard)) } }
        @if let Some(posting) = line.reverses { div { "undoes posting " (posting) } }
        @if let Some(actor) = &line.actor { div { "by " (actor) } }
        @if let Some(why) = &line.why { div { (words(why)) } }
        div.quiet { code { (line.key) } }
    }
}

fn rest(user: &User, now: DateTime<Utc>, dashboard: Option<&str>) -> Markup {
    html! {
        h2 { "Subscriptions" }
        (subscriptions::list(&user.subscriptions, now))
        h2 { "Customers at Stripe" }
        (customers(&user.customers, dashboard))
        @if let Some(receiver) = &user.receiver {
            h2 { "As a receiver" }
            (standing(receiver, dashboard))
        }
        h2 { "Payouts to them" }
        (sums(&user.sums, true))
        (payouts(&user.received, now, dashboard))
        h2 { "Payouts for what they bought" }
        (sums(&user.sums, false))
        (payouts(&user.bought, now, dashboard))
    }
}

fn customers(all: &[Customer], dashboard: Option<&str>) -> Markup {
    html! {
        @if all.is_empty() { p { "None." } }
        ul { @for one in all {
            li {
                (link::at_stripe(&one.id, dashboard)) @if let Some(email) = &one.email { ", " (email) } ", since " (at(one.linked_at))
                @if let Some(gone) = one.gone_at { ", deleted at Stripe " (at(gone)) }
            }
        } }
    }
}

fn standing(receiver: &Receiver, dashboard: Option<&str>) -> Markup {
    html! {
        dl {
            dt { "State" } dd { (state(&receiver.state)) }
            dt { "Account" } dd { @match &receiver.account_id { Some(id) => (link::at_stripe(id, dashboard)), None => "none yet" } }
            @if let Some(why) = &receiver.why_held { dt { "Nothing is sent" } dd { strong { (why) } } }
            dt { "To their bank" } dd { @if receiver.payouts_enabled { "Stripe pays out" } @else { "Stripe does not pay out" } }
            @if let Some(wants) = &receiver.requirements { dt { "What Stripe wants" } dd { code { (wants) } } }
            @if let Some(asked) = receiver.asked_at { dt { "As of" } dd { (at(asked)) } }
        }
    }
}

fn sums(all: &[Sum], receives: bool) -> Markup {
    html! {
        ul { @for sum in all.iter().filter(|sum| sum.receives == receives) {
            li {
                (sum.count) " " (state(&sum.state)) ", " (amount(sum.amount, &sum.currency)) " in all"
                @if sum.carried > 0 { ", of which " (amount(sum.carried, &sum.currency)) " did not come back and is owed by them" }
            }
        } }
    }
}

fn payouts(all: &[Payout], now: DateTime<Utc>, dashboard: Option<&str>) -> Markup {
    html! {
        @if all.is_empty() { p { "None." } }
        @else {
            div.wide { table.rows {
                thead { tr { th { "for the job" } th { "receiver" } th { "sender" } th.n { "amount" } th { "state" } th { "recorded" } th { "Transfer" } } }
                tbody { @for one in all {
                    tr {
                        td.id { (link::payout(&one.job_id)) }
                        td data-th="to" { (link::user(&one.receiver_id)) }
                        td data-th=[one.sender_id.as_ref().map(|_| "by")] { @if let Some(sender) = &one.sender_id { (link::user(sender)) } }
                        td.n.sum { (amount(one.amount, &one.currency)) }
                        td.is { (state(&one.state)) }
                        td data-th="recorded" { (ago(one.recorded_at, now)) }
                        td.id { @if let Some(transfer) = &one.transfer_id { (link::at_stripe(transfer, dashboard)) } }
                    }
                } }
            } }
            @if all.len() >= usize::try_from(MOST).unwrap_or(usize::MAX) { p.quiet { "Only the newest " (MOST) " are shown." } }
        }
    }
}
