//! `bursar dunning show`: one case, step by step.

use bursar_jobs::{base::money, desk::dunning};
use sqlx::PgConnection;

use super::{next, no_such};
use crate::operate::{Failure, Screen, screen::stamp};

/// Shows it.
pub(super) async fn run(db: &mut PgConnection, screen: &Screen, invoice: &str) -> Result<(), Failure> {
    let page = dunning::page(db, invoice).await?.ok_or_else(|| no_such(invoice))?;
    if screen.is_json() {
        screen.object(&page)?;
        return Ok(());
    }
    let case = &page.case;
    let facts = [
        ("case of", Some(case.invoice_id.clone())),
        ("state", Some(case.state.clone())),
        ("why", case.reason.clone()),
        ("owed", Some(money::format(case.amount, &case.currency))),
        ("user", Some(case.user_id.clone())),
        ("subscription", Some(case.subscription_id.clone())),
        ("customer", case.customer_id.clone()),
        ("first failure", Some(screen.moment(case.failed_at))),
        ("promised until", page.promised_until.map(|at| screen.moment(at))),
        ("card asked", page.card_asked_at.map(|at| screen.moment(at))),
        ("next step", next(case, screen)),
        ("caused by", case.event_id.as_ref().map(|event| format!("event {event}"))),
    ];
    for (label, text) in facts {
        if let Some(text) = text {
            screen.fact(label, &text)?;
        }
    }
    for step in &page.steps {
        let outcome = step.outcome.as_ref().map(|outcome| format!(": {outcome}")).unwrap_or_default();
        let at = if step.state == "planned" { step.due_at } else { step.changed_at };
        let mut said = format!("{} {}{outcome}", stamp(at), step.state);
        if let Some(letter) = step.letter_said() {
            said = format!("{said}\n{letter}");
        }
        if let Some(job) = &step.letter_job {
            said = format!("{said}\nits job: bursar jobs show {job}");
        }
        screen.fact(&step.step, &said)?;
    }
    let next = match case.state.as_str() {
        "open" => format!("bursar dunning stop {} --why …", case.invoice_id),
        _ => format!("bursar subscriptions show {}", case.subscription_id),
    };
    screen.fact("next", &next)?;
    Ok(())
}
