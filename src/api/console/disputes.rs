//! Disputes: how they stand and by when they want an answer; and an operator's word that one was looked at.

use bursar_jobs::desk::{
    access::{Role, Signed},
    flags::{self, Unflag},
    standing::Dispute,
};
use chrono::{DateTime, Utc};
use hyper::{Request, StatusCode, body::Incoming};
use maud::{Markup, html};

use super::{
    Trouble,
    act::operator,
    form, link,
    page::{ago, amount, at, csrf, see_other},
};
use crate::{api::Api, http::reply::Reply};

/// What needs an answer, in sentences: each leads to whose purchase it is.
pub(super) fn alerts(all: &[Dispute], now: DateTime<Utc>) -> Markup {
    html! {
        @for dispute in all.iter().filter(|dispute| dispute.wants_evidence()) {
            @if let Some(due) = dispute.due_by {
                p.say.bad[due <= now].wait[due > now] {
                    "Dispute " (named(dispute)) " over " (amount(dispute.amount, &dispute.currency)) " wants evidence: its deadline "
                    @if due > now { "is " } @else { "was " } (ago(due, now)) "."
                }
            }
        }
    }
}

/// By its user, where one is known.
fn named(dispute: &Dispute) -> Markup {
    html! {
        @match &dispute.user_id {
            Some(user) => { a href={ (link::path("accounts", user)) "#disputes" } { (dispute.id) } " of " (user) }
            None => (dispute.id),
        }
    }
}

/// In a table; whose they are, where that is not said already.
pub(super) fn list(all: &[Dispute], with_user: bool, now: DateTime<Utc>, dashboard: Option<&str>) -> Markup {
    html! {
        div.wide { table.rows {
            thead { tr { th { "dispute" } @if with_user { th { "user" } } th.n { "amount" } th { "status" } th { "reason" } th { "deadline" } th { "flag" } } }
            tbody { @for dispute in all {
                tr {
                    td.id { (link::at_stripe(&dispute.id, dashboard)) }
                    @if with_user { td data-th="user" { @match &dispute.user_id { Some(user) => (link::user(user)), None => span.quiet { "not known" } } } }
                    td.n.sum { (amount(dispute.amount, &dispute.currency)) }
                    td.is { (dispute.status) }
                    td.why { (dispute.reason.as_deref().unwrap_or_default()) }
                    td data-th="deadline" { @match dispute.due_by { Some(due) => (deadline(dispute, due, now)), None => span.quiet { "none" } } }
                    td data-th="flag" { @if dispute.flags() { "flags them" } @else if dispute.cleared { "looked at" } @else { "none" } }
                }
            } }
        } }
    }
}

fn deadline(dispute: &Dispute, due: DateTime<Utc>, now: DateTime<Utc>) -> Markup {
    html! {
        (at(due)) " (" (ago(due, now)) ")"
        @if due <= now && dispute.wants_evidence() { " " strong.bad { "is over: no evidence was taken" } }
    }
}

/// A user's, and what can be done about those that flag them.
pub(super) fn of_user(signed: &Signed, user: &str, all: &[Dispute]) -> Markup {
    html! {
        @if signed.role >= Role::Operator {
            @for dispute in all.iter().filter(|dispute| dispute.flags()) {
                form.acts method="post" action={ (link::path("accounts", user)) "/unflag" } {
                    (csrf(signed))
                    input type="hidden" name="dispute" value=(dispute.id);
                    label { "Why " (dispute.id) " need not flag them" input name="why" maxlength="2000" required; }
                    button { "Take the flag of " (dispute.id) " off" }
                    span.quiet { "Credits stay as they are, and what becomes of it next flags again." }
                }
            }
        }
    }
}

/// Takes a flag off.
pub(super) async fn unflag(
    api: &Api,
    signed: &Signed,
    user: &str,
    request: Request<Incoming>,
) -> Result<Reply, Trouble> {
    let fields = form::read(api, signed, Role::Operator, request).await?;
    let why = fields.get("why").ok_or_else(|| Trouble::malformed("Say why. Nothing was changed."))?;
    let dispute = fields.get("dispute").unwrap_or_default();
    let mut tx = api.pool.begin().await?;
    match flags::unflag(&mut tx, &operator(signed), user, dispute, why).await? {
        Unflag::Done(_) => {
            tx.commit().await?;
            Ok(see_other(&link::path("accounts", user)))
        }
        Unflag::Not(status) => Err(Trouble::new(
            StatusCode::CONFLICT,
            &format!("The dispute {dispute} is {status} and flags nobody by now: nothing was changed."),
        )),
        Unflag::NoSuch => Err(Trouble::not_found(&format!("{user} has no dispute {dispute}. Nothing was changed."))),
    }
}
