//! How the money stands, on the overview: what needs somebody, the funnel of dunning, the last comparison, the disputes.

use bursar_jobs::desk::standing::{Dispute, Standing};
use chrono::{DateTime, Utc};
use maud::{Markup, html};

use super::{
    page::{ago, amount, at, length, many, state},
    payouts::segment,
};

/// What needs somebody now, in sentences.
pub(super) fn alerts(all: &Standing, now: DateTime<Utc>) -> Markup {
    let open: i64 = all.findings.iter().map(|kind| kind.open).sum();
    html! {
        @for of in &all.capped {
            p.say.wait { a href="/payouts?state=held&held_by=cap" { (many(of.count, "payout is held by a cap", "payouts are held by a cap")) } ", " (amount(of.amount, &of.currency)) " in all: a payer lets them go." }
        }
        @if open > 0 {
            p.say.bad {
                a href="/reconcile" { (many(open, "finding of reconciliation is open", "findings of reconciliation are open")) } ": "
                @for (n, kind) in all.findings.iter().enumerate() { @if n > 0 { ", " } (kind.open) " " (kind.r#type) } "."
            }
        }
        @if let Some(watch) = &all.watch {
            @if watch.is_behind() {
                p.say.bad { "The gap watch is " (length(seconds(watch.behind))) " behind: events that never arrived are not found meanwhile." }
            }
            @if watch.missed > 0 { p.say.wait { (watch.missed) " events had never arrived and were found in the last day: is the webhook endpoint well?" } }
        }
        @if !all.late.is_empty() {
            p.say.bad { "Schedules are late: " @for (n, late) in all.late.iter().enumerate() { @if n > 0 { ", " } (late.name) " (due " (ago(late.due_at, now)) ")" } "." }
        }
        @if all.letters_dead > 0 { p.say.bad { a href="/jobs?state=dead&kind=send_letter" { (all.letters_dead) " letters are dead" } " and wait for an operator." } }
        @for dispute in all.disputes.iter().filter(|dispute| needs_answer(dispute)) {
            @if let Some(due) = dispute.due_by { p.say.wait { "Dispute " (dispute.id) " over " (amount(dispute.amount, &dispute.currency)) " wants evidence: its deadline is " (ago(due, now)) "." } }
        }
    }
}

fn needs_answer(dispute: &Dispute) -> bool {
    matches!(dispute.status.as_str(), "needs_response" | "warning_needs_response")
}

fn seconds(whole: i64) -> f64 {
    f64::from(i32::try_from(whole).unwrap_or(i32::MAX))
}

/// How it stands.
pub(super) fn show(all: &Standing, now: DateTime<Utc>) -> Markup {
    html! {
        h2 { "Failed payments of the last 30 days" }
        (funnel(all))
        h2 { "Reconciliation" }
        @match &all.last_run {
            None => p { "No month was compared yet." }
            Some(run) => p {
                a href={ "/reconcile/" (segment(&run.run)) } { (run.run) } " " (state(&run.state)) ", begun " (ago(run.begun_at, now)) ": "
                (run.objects) " objects compared, " (run.found) " findings, " (run.open) " of them open."
            }
        }
        @match &all.watch {
            None => p { "The gap watch has not begun: it does when a worker first starts with Stripe on." }
            Some(watch) => p { "Stripe's events were compared with the inbox up to " (at(watch.compared_until)) " (" (ago(watch.compared_until, now)) ")." }
        }
        @if !all.disputes.is_empty() {
            h2 { "Open disputes" }
            div.wide { table {
                thead { tr { th { "dispute" } th.n { "amount" } th { "status" } th { "reason" } th { "user" } th { "deadline" } } }
                tbody { @for dispute in &all.disputes {
                    tr {
                        td.id { (dispute.id) } td.n { (amount(dispute.amount, &dispute.currency)) } td { (dispute.status) }
                        td { (dispute.reason.as_deref().unwrap_or_default()) } td { (dispute.user_id.as_deref().unwrap_or_default()) }
                        td { @if let Some(due) = dispute.due_by { (at(due)) " (" (ago(due, now)) ")" } }
                    }
                } }
            } }
        }
    }
}

fn funnel(all: &Standing) -> Markup {
    let of = &all.funnel;
    let bar = |count: i64, words: &str| {
        html! { tr { td { (words) } td.n { (count) } td { progress max=(of.opened.max(1)) value=(count) aria-label=(words) {} } } }
    };
    html! {
        @if of.opened == 0 { p { "None." } }
        @else {
            div.wide { table {
                thead { tr { th { a href="/dunning" { "cases" } } th.n { "how many" } th { "of all" } } }
                tbody {
                    (bar(of.opened, "opened")) (bar(of.lettered, "sent a letter")) (bar(of.retried, "tried again"))
                    (bar(of.recovered, "recovered")) (bar(of.open, "still open")) (bar(of.given_up, "paused or cancelled"))
                }
            } }
            @for owed in &of.sums { p { (amount(owed.recovered, &owed.currency)) " of " (amount(owed.owed, &owed.currency)) " recovered." } }
        }
    }
}
