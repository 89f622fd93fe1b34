//! `bursar dunning show`: one case, step by step.

use bursar_jobs::money;
use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgConnection;

use super::{Case, no_such};
use crate::operate::{Failure, Screen, screen::stamp};

/// A step of a case.
#[derive(Debug, Serialize)]
struct Taken {
    step: String,
    due_at: DateTime<Utc>,
    /// `planned`, `running`, `sending`, `unknown`, `done` or `skipped`.
    state: String,
    outcome: Option<String>,
    changed_at: DateTime<Utc>,
}

#[derive(Serialize)]
struct Page<'a> {
    #[serde(flatten)]
    case: &'a Case,
    /// As it was when the case was opened.
    schedule: &'a serde_json::Value,
    /// The latest deadline that a letter named.
    promised_until: Option<DateTime<Utc>>,
    card_asked_at: Option<DateTime<Utc>>,
    steps: &'a [Taken],
}

/// Shows it.
pub(super) async fn run(db: &mut PgConnection, screen: &Screen, invoice: &str) -> Result<(), Failure> {
    let row = sqlx::query!(
        "SELECT invoice_id, subscription_id, customer_id, user_id, state, reason, amount, currency, failed_at, event_id, opened_at,
                changed_at, schedule, promised_until, card_asked_at
         FROM bursar.dunning_case WHERE invoice_id = $1",
        invoice
    )
    .fetch_optional(&mut *db)
    .await?
    .ok_or_else(|| no_such(invoice))?;
    let steps = sqlx::query_as!(
        Taken,
        "SELECT step, due_at, state, outcome, changed_at FROM bursar.dunning_step WHERE invoice_id = $1 ORDER BY due_at, day, step",
        invoice
    )
    .fetch_all(db)
    .await?;
    let next = steps.iter().find(|step| !matches!(step.state.as_str(), "done" | "skipped"));
    let case = Case {
        invoice_id: row.invoice_id,
        subscription_id: row.subscription_id,
        customer_id: row.customer_id,
        user_id: row.user_id,
        state: row.state,
        reason: row.reason,
        amount: row.amount,
        currency: row.currency,
        failed_at: row.failed_at,
        next_step: next.map(|step| step.step.clone()),
        next_at: next.map(|step| step.due_at),
        event_id: row.event_id,
        opened_at: row.opened_at,
        changed_at: row.changed_at,
    };
    if screen.is_json() {
        let (schedule, promised_until, card_asked_at) = (&row.schedule, row.promised_until, row.card_asked_at);
        screen.object(&Page { case: &case, schedule, promised_until, card_asked_at, steps: &steps })?;
        return Ok(());
    }
    let facts = [
        ("case of", Some(case.invoice_id.clone())),
        ("state", Some(case.state.clone())),
        ("why", case.reason.clone()),
        ("owed", Some(money::format(case.amount, &case.currency))),
        ("user", Some(case.user_id.clone())),
        ("subscription", Some(case.subscription_id.clone())),
        ("customer", case.customer_id.clone()),
        ("first failure", Some(screen.moment(case.failed_at))),
        ("promised until", row.promised_until.map(|at| screen.moment(at))),
        ("card asked", row.card_asked_at.map(|at| screen.moment(at))),
        ("next step", case.next(screen)),
        ("caused by", case.event_id.as_ref().map(|event| format!("event {event}"))),
    ];
    for (label, text) in facts {
        if let Some(text) = text {
            screen.fact(label, &text)?;
        }
    }
    for step in &steps {
        let outcome = step.outcome.as_ref().map(|outcome| format!(": {outcome}")).unwrap_or_default();
        let at = if step.state == "planned" { step.due_at } else { step.changed_at };
        screen.fact(&step.step, &format!("{} {}{outcome}", stamp(at), step.state))?;
    }
    let next = match case.state.as_str() {
        "open" => format!("bursar dunning stop {} --why …", case.invoice_id),
        _ => format!("bursar subscriptions show {}", case.subscription_id),
    };
    screen.fact("next", &next)?;
    Ok(())
}
