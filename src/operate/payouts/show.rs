//! `bursar payouts show`: one payout, and every call that was made for it.

use bursar_jobs::{credits::Credits, money};
use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgConnection;

use super::{Payout, no_such};
use crate::operate::{Failure, Screen, screen::stamp};

/// A request that left for Stripe, or was about to.
#[derive(Debug, Serialize)]
struct Call {
    /// `send`, `look` or `ask`.
    what: String,
    generation: Option<i32>,
    idempotency_key: Option<String>,
    begun_at: DateTime<Utc>,
    /// Null: cut off, or still under way.
    answered_at: Option<DateTime<Utc>>,
    status: Option<i32>,
    request_id: Option<String>,
    replayed: Option<bool>,
    answer: Option<String>,
    job_id: String,
    attempt: i32,
}

impl Call {
    fn sentence(&self) -> String {
        let under = self.idempotency_key.as_ref().map(|key| format!(" under {key}")).unwrap_or_default();
        let Some(answered) = self.answered_at else {
            return format!("{}: {}{under}: no answer was recorded", stamp(self.begun_at), self.what);
        };
        let took = (answered - self.begun_at).num_milliseconds();
        let status = self.status.map(|status| format!(" {status}")).unwrap_or_default();
        let replayed = if self.replayed == Some(true) { ", replayed" } else { "" };
        let request = self.request_id.as_ref().map(|id| format!(" ({id}{replayed})")).unwrap_or_default();
        let answer = self.answer.as_deref().unwrap_or("answered");
        format!("{}: {}{under}:{status} {answer}{request}, {took} ms", stamp(self.begun_at), self.what)
    }
}

#[derive(Serialize)]
struct Page<'a> {
    #[serde(flatten)]
    payout: &'a Payout,
    calls: &'a [Call],
}

/// Shows it.
pub(super) async fn run(db: &mut PgConnection, screen: &Screen, job: &str) -> Result<(), Failure> {
    let payout = sqlx::query_as!(
        Payout,
        "SELECT job_id, receiver_id, amount, currency, state, transfer_id, skill, sender_id, recorded_at, credits,
                -- Of one that is held, what its receiver's account lacks now, unless something else stopped it.
                CASE WHEN state = 'held' AND reason NOT LIKE 'stopped: %' OR state = 'held' AND reason IS NULL
                     THEN coalesce(bursar.why_held(receiver_id), reason) ELSE reason END AS reason,
                event_id, changed_at
         FROM bursar.payout WHERE job_id = $1",
        job,
    )
    .fetch_optional(&mut *db)
    .await?
    .ok_or_else(|| no_such(job))?;
    let calls = sqlx::query_as!(
        Call,
        r#"SELECT c.what, i.generation AS "generation?", i.idempotency_key AS "idempotency_key?", c.begun_at, c.answered_at, c.status,
                  c.request_id, c.replayed, c.answer, c.job_id, c.attempt
           FROM bursar.call c LEFT JOIN bursar.intent i ON i.id = c.intent_id WHERE c.subject = $1 ORDER BY c.id"#,
        format!("payout:{job}"),
    )
    .fetch_all(db)
    .await?;
    if screen.is_json() {
        screen.object(&Page { payout: &payout, calls: &calls })?;
        return Ok(());
    }
    let skill = format!("{} ({} credits)", payout.skill, Credits::from_micros(payout.credits));
    let next = match payout.state.as_str() {
        "held" | "skipped" | "rejected" | "unknown" => Some(format!("bursar payouts release {}", payout.job_id)),
        _ => payout.event_id.as_ref().map(|event| format!("bursar events show {event}")),
    };
    let facts = [
        ("payout for", Some(payout.job_id)),
        ("state", Some(payout.state)),
        ("why", payout.reason),
        ("amount", Some(money::format(payout.amount, &payout.currency))),
        ("receiver", Some(payout.receiver_id)),
        ("sender", payout.sender_id),
        ("skill", Some(skill)),
        ("Transfer", payout.transfer_id),
        ("recorded", Some(stamp(payout.recorded_at))),
        ("changed", Some(stamp(payout.changed_at))),
        ("caused by", payout.event_id.as_ref().map(|event| format!("event {event}"))),
    ];
    for (label, text) in facts {
        if let Some(text) = text {
            screen.fact(label, &text)?;
        }
    }
    for (i, call) in calls.iter().enumerate() {
        screen.fact(&format!("call {}", i + 1), &call.sentence())?;
    }
    if let Some(next) = next {
        screen.fact("next", &next)?;
    }
    Ok(())
}
