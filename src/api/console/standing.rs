//! How the money stands, on the overview: what needs somebody, the funnel of dunning, the last comparison, the disputes.

use bursar_jobs::desk::standing::Standing;
use chrono::{DateTime, Utc};
use maud::{Markup, html};

use super::{
    disputes, link,
    page::{ago, amount, at, length, many},
    payouts::segment,
    reconcile,
};

/// What needs somebody now, in sentences.
pub(super) fn alerts(all: &Standing, flagged: i64, now: DateTime<Utc>) -> Markup {
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
            @if watch.missed > 0 { p.say.wait { (many(watch.missed, "event had never arrived and was", "events had never arrived and were")) " found in the last day: is the webhook endpoint well?" } }
        }
        @if !all.late.is_empty() {
            p.say.bad { "Schedules are late: " @for (n, late) in all.late.iter().enumerate() { @if n > 0 { ", " } (late.name) " (due " (ago(late.due_at, now)) ")" } "." }
        }
        @if all.letters_dead > 0 { p.say.bad { a href="/jobs?state=dead&kind=send_letter" { (many(all.letters_dead, "letter is dead", "letters are dead")) } ": nobody got what it says until it is retried." } }
        (disputes::alerts(&all.disputes, now))
        @if flagged > 0 {
            p.say.wait {
                (many(flagged, "user is flagged", "users are flagged")) ", for a dispute or a second subscription: "
                @for (n, user) in all.flagged.iter().enumerate() { @if n > 0 { ", " } (link::user(user)) }
                @let more = flagged - i64::try_from(all.flagged.len()).unwrap_or(flagged);
                @if more > 0 { " and " (more) " more" } "."
            }
        }
    }
}

fn seconds(whole: i64) -> f64 {
    f64::from(i32::try_from(whole).unwrap_or(i32::MAX))
}

/// How it stands.
pub(super) fn show(all: &Standing, now: DateTime<Utc>, dashboard: Option<&str>) -> Markup {
    html! {
        h2 { "Failed payments of the last 30 days" }
        (funnel(all))
        h2 { "Reconciliation" }
        @match &all.last_run {
            None => p { "No month was compared yet." }
            Some(run) => p {
                a href={ "/reconcile/" (segment(&run.run)) } { (run.run) } " " (reconcile::run_state(run)) ", begun " (ago(run.begun_at, now)) ": "
                (many(run.objects, "object", "objects")) " compared, " (many(run.found, "finding", "findings")) "."
            }
        }
        @match &all.watch {
            None => p { "The gap watch has not begun: it does when a worker first starts with Stripe on." }
            Some(watch) => p { "Stripe's events were compared with the inbox up to " (at(watch.compared_until)) " (" (ago(watch.compared_until, now)) ")." }
        }
        @if !all.disputes.is_empty() {
            h2 { "Open disputes" }
            (disputes::list(&all.disputes, true, now, dashboard))
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
