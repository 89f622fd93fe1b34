//! The overview: how it all stands, and what needs somebody.

use bursar_jobs::{
    base::clock,
    desk::{
        self,
        access::Signed,
        overview::{self, Minute, Overview},
        standing,
    },
};
use chrono::{DateTime, Utc};
use maud::{Markup, html};

use super::{
    Trouble,
    page::{ago, amount, at, length, many, page, state},
    reading,
};
use crate::{api::Api, http::reply::Reply};

pub(super) async fn show(api: &Api, signed: &Signed) -> Result<Reply, Trouble> {
    let mut db = reading(api).await?;
    let all = overview::read(&mut db).await?;
    let money = standing::read(&mut db).await?;
    let dashboard = desk::dashboard(&mut *db).await?;
    let now = clock::business(&mut *db).await?;
    let body = html! {
        div data-live="overview" {
            (alerts(&all, now))
            (super::standing::alerts(&money, all.flagged, now))
            (cards(&all, now))
            h2 { "The last hour" }
            (chart(&all.minutes))
            h2 { "The queue" }
            (queue(&all))
            h2 { "Payouts that are not at their end" }
            (payouts(&all, now))
            (super::standing::show(&money, now, dashboard))
            h2 { "Workers" }
            @if all.workers.is_empty() { p { "None is alive: nothing runs until one is started (" code { "bursar worker" } ")." } }
            @else {
                div.wide { table.rows.named {
                    thead { tr { th { "worker" } th.n { "running" } th { "since" } } }
                    tbody { @for worker in &all.workers {
                        tr { td.id { (worker.id) } td.n data-th="running" { (worker.running) } td data-th="since" { @if let Some(since) = worker.since { (at(since)) } } }
                    } }
                } }
            }
        }
    };
    Ok(page(signed, "/", "Overview", &body))
}

/// What needs somebody now, in sentences.
fn alerts(all: &Overview, now: DateTime<Utc>) -> Markup {
    let dead: i64 = all.queue.iter().map(|kind| kind.dead).sum();
    let ready: i64 = all.queue.iter().map(|kind| kind.ready).sum();
    let late = all.oldest_ready.filter(|seconds| *seconds > 60.0);
    html! {
        @if all.workers.is_empty() {
            p.say.bad role="alert" {
                "No worker is alive" @if ready > 0 { ", and " (many(ready, "job waits", "jobs wait")) } ": nothing runs until one is started (" code { "bursar worker" } ")."
            }
        }
        @if let (Some(seconds), false) = (late, all.workers.is_empty()) {
            p.say.wait { "The oldest ready job has waited " (length(seconds)) "." }
        }
        @for of in all.payouts.iter().filter(|of| of.state == "unknown" || of.stopped > 0) { (unknown(of)) }
        @if dead > 0 { p.say.bad { a href="/jobs?state=dead" { (many(dead, "job is dead", "jobs are dead")) } ", to be seen to by an operator." } }
        @for act in &all.acts {
            p.say.wait {
                a href={ "/bulk/" (act.id) } { "The " (act.verb) " of all that matched, begun " (ago(act.begun_at, now)) " by " (act.who) } ", is at " (act.seen) " of " (act.matching)
                ": a worker brings it to its end, and its log says what stands against that."
            }
        }
        @if !all.paused.is_empty() { p.say.wait { "Paused: " (all.paused.join(", ")) "." } }
    }
}

/// Payouts that may have been sent: whether they are looked for, or wait for somebody.
fn unknown(of: &overview::Payouts) -> Markup {
    html! {
        p.say.bad {
            a href={ "/payouts?state=" (of.state) "&currency=" (of.currency) } {
                (of.count) @if of.count == 1 { " payout is " } @else { " payouts are " } (of.state)
            }
            ", " (amount(of.amount, &of.currency)) " in all: "
            @if of.stopped == 0 { "looked for, and never sent blindly." }
            @else {
                strong { (of.stopped) @if of.stopped == 1 { " waits for you" } @else { " wait for you" } }
                ", for no job looks any more. Let it go on its page, or retry "
                a href="/jobs?state=dead&kind=pay_receiver" { "its dead job" }
                ": either looks for it first, and never sends blindly."
            }
        }
    }
}

fn cards(all: &Overview, now: DateTime<Utc>) -> Markup {
    let sum = |of: fn(&overview::Depth) -> i64| all.queue.iter().map(of).sum::<i64>();
    let ended: i64 = all.minutes.iter().map(|minute| minute.well + minute.badly).sum();
    let badly: i64 = all.minutes.iter().map(|minute| minute.badly).sum();
    let card = |number: String, words: &str| html! { div.card { b { (number) } span { (words) } } };
    let or_none = |seconds: Option<f64>| seconds.map_or_else(|| "–".to_owned(), length);
    html! {
        div.cards {
            (card(sum(|kind| kind.ready).to_string(), "ready"))
            (card(or_none(all.oldest_ready), "the oldest ready has waited"))
            (card(sum(|kind| kind.running).to_string(), "running"))
            (card(or_none(all.oldest_running), "the oldest runs"))
            (card(sum(|kind| kind.scheduled).to_string(), "scheduled"))
            (card(sum(|kind| kind.dead).to_string(), "dead"))
            (card(ended.to_string(), "attempts in the last hour"))
            (card(badly.to_string(), "of them did not end well"))
            (card(all.workers.len().to_string(), "workers alive"))
            (card(all.last_event_at.map_or_else(|| "never".to_owned(), |last| ago(last, now)), "the last event came"))
        }
    }
}

/// Bars of the last hour's minutes: attempts that ended well, on them those that did not.
fn chart(minutes: &[Minute]) -> Markup {
    let most = minutes.iter().map(|minute| minute.well + minute.badly).max().unwrap_or(0).max(1);
    let well: i64 = minutes.iter().map(|minute| minute.well).sum();
    let badly: i64 = minutes.iter().map(|minute| minute.badly).sum();
    let events: i64 = minutes.iter().map(|minute| minute.events).sum();
    let said = format!(
        "Attempts a minute in the last hour: {well} ended well, {badly} did not; {events} events came. The highest minute had {most}."
    );
    html! {
        svg.chart viewBox="0 0 600 100" preserveAspectRatio="none" role="img" aria-label=(said) {
            @for (n, minute) in minutes.iter().enumerate() {
                @let (well, badly) = (minute.well * 96 / most, minute.badly * 96 / most);
                @let badly = if minute.badly > 0 { badly.max(2) } else { 0 };
                g {
                    title { (minute.at.format("%H:%M UTC")) ": " (minute.well) " well, " (minute.badly) " not, " (minute.events) " events" }
                    rect x=(n * 10) y="0" width="10" height="100" fill="transparent" {}
                    rect.well x=(n * 10 + 1) y=(100 - well) width="8" height=(well) {}
                    rect.badly x=(n * 10 + 1) y=(100 - well - badly) width="8" height=(badly) {}
                }
            }
        }
        p.quiet { (said) }
    }
}

fn queue(all: &Overview) -> Markup {
    let link = |kind: &str, state: &str, count: i64| {
        html! { td.n data-th=(state) { @if count == 0 { span.quiet { "0" } } @else { a href={ "/jobs?state=" (state) "&kind=" (kind) } { (count) } } } }
    };
    html! {
        @if all.queue.is_empty() { p { "Nothing waits, runs or is dead." } }
        @else {
            div.wide { table.rows {
                thead { tr { th { "kind" } th.n { "ready" } th.n { "scheduled" } th.n { "running" } th.n { "dead" } } }
                tbody { @for kind in &all.queue {
                    tr {
                        td.why { (kind.kind) }
                        (link(&kind.kind, "ready", kind.ready)) (link(&kind.kind, "scheduled", kind.scheduled))
                        (link(&kind.kind, "running", kind.running)) (link(&kind.kind, "dead", kind.dead))
                    }
                } }
            } }
        }
    }
}

fn payouts(all: &Overview, now: DateTime<Utc>) -> Markup {
    html! {
        @if all.payouts.is_empty() { p { "None: all are paid or reversed." } }
        @else {
            div.wide { table {
                thead { tr { th { "state" } th.n { "payouts" } th.n { "sum" } th { "oldest" } } }
                tbody { @for of in &all.payouts {
                    tr {
                        td { a href={ "/payouts?state=" (of.state) "&currency=" (of.currency) } { (state(&of.state)) } } td.n { (of.count) } td.n { (amount(of.amount, &of.currency)) }
                        td { @if let Some(oldest) = of.oldest_at { (ago(oldest, now)) } }
                    }
                } }
            } }
        }
    }
}
