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

/// What is taken back of it.
#[derive(Debug, Serialize)]
struct Reversal {
    n: i32,
    /// In the currency's minor unit.
    amount: i64,
    state: String,
    #[expect(clippy::struct_field_names, reason = "as it is called everywhere, and programs rely on it")]
    reversal_id: Option<String>,
    reason: Option<String>,
    /// Who asked for it; null: it was made at Stripe.
    actor: Option<String>,
    why: Option<String>,
    asked_at: DateTime<Utc>,
}

impl Reversal {
    fn sentence(&self, currency: &str) -> String {
        let id = self.reversal_id.as_ref().map(|id| format!(" ({id})")).unwrap_or_default();
        let by = self.actor.as_ref().map(|who| format!(", asked for by {who}")).unwrap_or_default();
        let why = self.why.as_ref().or(self.reason.as_ref()).map(|why| format!(": {why}")).unwrap_or_default();
        format!("{}: {} {}{id}{by}{why}", stamp(self.asked_at), money::format(self.amount, currency), self.state)
    }
}

/// A debt that was settled: of this payout, or from it.
#[derive(Debug, Serialize)]
struct Netting {
    /// In the currency's minor unit.
    amount: i64,
    /// The other payout, in words.
    why: Option<String>,
}

#[derive(Serialize)]
struct Page<'a> {
    #[serde(flatten)]
    payout: &'a Payout,
    reversals: &'a [Reversal],
    nettings: &'a [Netting],
    calls: &'a [Call],
}

/// Shows it.
pub(super) async fn run(db: &mut PgConnection, screen: &Screen, job: &str) -> Result<(), Failure> {
    let payout = sqlx::query_as!(
        Payout,
        r#"SELECT job_id, receiver_id, amount, currency, state, transfer_id, skill, sender_id, recorded_at, credits,
                -- Of one that is held, what its receiver's account lacks now, unless something else stopped it.
                CASE WHEN state = 'held' AND reason NOT LIKE 'stopped: %' OR state = 'held' AND reason IS NULL
                     THEN coalesce(bursar.why_held(receiver_id), reason) ELSE reason END AS reason,
                event_id, changed_at, transfer_amount, netted, returned, undone AS reversed, greatest(carried - recovered, 0) AS "carried!"
         FROM bursar.payout WHERE job_id = $1"#,
        job,
    )
    .fetch_optional(&mut *db)
    .await?
    .ok_or_else(|| no_such(job))?;
    let calls = sqlx::query_as!(
        Call,
        r#"SELECT c.what, i.generation AS "generation?", i.idempotency_key AS "idempotency_key?", c.begun_at, c.answered_at, c.status,
                  c.request_id, c.replayed, c.answer, c.job_id, c.attempt
           FROM bursar.call c LEFT JOIN bursar.intent i ON i.id = c.intent_id
           WHERE c.subject = $1 OR c.subject IN (SELECT 'reversal:' || r.job_id || ':' || r.n FROM bursar.reversal r WHERE r.job_id = $2)
           ORDER BY c.id"#,
        format!("payout:{job}"),
        job,
    )
    .fetch_all(&mut *db)
    .await?;
    let reversals = sqlx::query_as!(
        Reversal,
        "SELECT n, amount, state, reversal_id, reason, actor, why, asked_at FROM bursar.reversal WHERE job_id = $1 ORDER BY n",
        job,
    )
    .fetch_all(&mut *db)
    .await?;
    let nettings = sqlx::query_as!(
        Netting,
        "SELECT amount, why FROM bursar.posting WHERE kind = 'netting' AND ref = $1 ORDER BY id",
        job,
    )
    .fetch_all(db)
    .await?;
    if screen.is_json() {
        screen.object(&Page { payout: &payout, reversals: &reversals, nettings: &nettings, calls: &calls })?;
        return Ok(());
    }
    let skill = format!("{} ({} credits)", payout.skill, Credits::from_micros(payout.credits));
    let next = match payout.state.as_str() {
        "held" | "skipped" | "rejected" | "unknown" => Some(format!("bursar payouts release {}", payout.job_id)),
        _ => payout.event_id.as_ref().map(|event| format!("bursar events show {event}")),
    };
    let currency = payout.currency.clone();
    let some = |amount: i64| (amount > 0).then(|| money::format(amount, &currency));
    let facts = [
        ("payout for", Some(payout.job_id)),
        ("state", Some(payout.state)),
        ("why", payout.reason),
        ("amount", Some(money::format(payout.amount, &payout.currency))),
        ("sent", payout.transfer_amount.filter(|_| payout.netted > 0).map(|sent| money::format(sent, &currency))),
        ("netted", some(payout.netted)),
        ("reversed", some(payout.reversed)),
        ("came back", some(payout.returned)),
        ("carried", some(payout.carried)),
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
    for netting in &nettings {
        let said = money::format(netting.amount, &currency);
        screen.fact("netting", &format!("{said} {}", netting.why.as_deref().unwrap_or_default()))?;
    }
    for reversal in &reversals {
        screen.fact(&format!("reversal {}", reversal.n), &reversal.sentence(&currency))?;
    }
    for (i, call) in calls.iter().enumerate() {
        screen.fact(&format!("call {}", i + 1), &call.sentence())?;
    }
    if let Some(next) = next {
        screen.fact("next", &next)?;
    }
    Ok(())
}
