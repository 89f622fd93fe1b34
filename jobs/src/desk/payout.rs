//! One payout: what it came to, every call that was made for it, what was taken back of it, and its jobs.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgConnection;

use super::payouts::{self, Payout};
use crate::base::money;

/// A request that left for Stripe, or was about to.
#[derive(Debug, Clone, Serialize)]
pub struct Call {
    /// `send`, `look` or `ask`.
    pub what: String,
    /// Of which generation of its intent.
    pub generation: Option<i32>,
    /// Under which key.
    pub idempotency_key: Option<String>,
    /// When.
    pub begun_at: DateTime<Utc>,
    /// Null: cut off, or still under way.
    pub answered_at: Option<DateTime<Utc>>,
    /// HTTP's.
    pub status: Option<i32>,
    /// Stripe's id of the request.
    pub request_id: Option<String>,
    /// Whether Stripe said that it had answered so before.
    pub replayed: Option<bool>,
    /// What came back, in words.
    pub answer: Option<String>,
    /// The job that made it.
    pub job_id: String,
    /// At which attempt.
    pub attempt: i32,
}

/// What is taken back of it.
#[derive(Debug, Clone, Serialize)]
pub struct Reversal {
    /// The n-th of its payout.
    pub n: i32,
    /// In the currency's minor unit.
    pub amount: i64,
    /// `open`, `unknown`, `made`, `carried` or `refused`.
    pub state: String,
    /// `trr_…`, once it is made.
    pub reversal_id: Option<String>,
    /// Why it is in that state.
    pub reason: Option<String>,
    /// Who asked for it; null: it was made at Stripe.
    pub actor: Option<String>,
    /// Why they did.
    pub why: Option<String>,
    /// When.
    pub asked_at: DateTime<Utc>,
}

/// A debt that was settled: of this payout, or from it.
#[derive(Debug, Clone, Serialize)]
pub struct Netting {
    /// In the currency's minor unit.
    pub amount: i64,
    /// The other payout, in words.
    pub why: Option<String>,
}

/// A job that sends it, or takes it back.
#[derive(Debug, Clone, Serialize)]
pub struct Run {
    /// Its id.
    pub id: String,
    /// Its kind.
    pub kind: String,
    /// Its state's word.
    pub state: String,
    /// Why it is in that state.
    pub reason: Option<String>,
}

/// One payout, and all about it.
#[derive(Debug, Clone, Serialize)]
pub struct Page {
    /// It.
    #[serde(flatten)]
    pub payout: Payout,
    /// What was taken back of it, in order.
    pub reversals: Vec<Reversal>,
    /// Debts that it settled, or that settled it.
    pub nettings: Vec<Netting>,
    /// Every call, oldest first.
    pub calls: Vec<Call>,
    /// Its jobs, oldest first.
    pub jobs: Vec<Run>,
    /// How the receiver's account stands; none where there is none.
    #[serde(skip)]
    pub receiver_state: Option<String>,
    /// Whether Stripe saved a failure under its newest key, and a look found nothing: only an operator may raise the generation.
    #[serde(skip)]
    pub is_saved_failure: bool,
    /// Whether this deployment is live: where its objects are found in Stripe's dashboard.
    #[serde(skip)]
    pub livemode: bool,
}

impl Page {
    /// The newest job that goes on by itself with it, or with a reversal of it.
    pub fn live(&self) -> Option<&Run> {
        self.jobs.iter().rev().find(|run| matches!(run.state.as_str(), "ready" | "scheduled" | "running"))
    }
}

impl Call {
    /// It, in a sentence; `stamp` writes a moment.
    pub fn sentence(&self, stamp: fn(DateTime<Utc>) -> String) -> String {
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

impl Reversal {
    /// It, in a sentence without its moment.
    pub fn sentence(&self, currency: &str) -> String {
        let id = self.reversal_id.as_ref().map(|id| format!(" ({id})")).unwrap_or_default();
        let by = self.actor.as_ref().map(|who| format!(", asked for by {who}")).unwrap_or_default();
        let why = self.why.as_ref().or(self.reason.as_ref()).map(|why| format!(": {why}")).unwrap_or_default();
        format!("{} {}{id}{by}{why}", money::format(self.amount, currency), self.state)
    }
}

/// Reads it. None: there is no such payout.
pub async fn page(db: &mut PgConnection, job: &str) -> Result<Option<Page>, sqlx::Error> {
    let Some(payout) = payouts::these(&mut *db, &[job.to_owned()]).await?.pop() else { return Ok(None) };
    let calls = sqlx::query_as!(
        Call,
        r#"SELECT c.what, i.generation AS "generation?", i.idempotency_key AS "idempotency_key?", c.begun_at, c.answered_at, c.status,
                  c.request_id, c.replayed, c.answer, c.job_id, c.attempt
           FROM bursar.call c LEFT JOIN bursar.intent i ON i.id = c.intent_id
           WHERE c.subject = $1 OR c.subject IN (SELECT 'reversal:' || r.job_id || ':' || r.n::text FROM bursar.reversal r WHERE r.job_id = $2)
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
    .fetch_all(&mut *db)
    .await?;
    // By their keys, which an index finds: one for each time that it, or a reversal of it, was let go.
    let jobs = sqlx::query_as!(
        Run,
        r#"SELECT v.id AS "id!", v.kind AS "kind!", v.state AS "state!", v.reason FROM bursar.job v
           WHERE v.id IN (SELECT j.id FROM apalis.jobs j WHERE j.job_type = 'pay_receiver'
                            AND j.idempotency_key IN (SELECT $1 || ':' || n::text FROM generate_series(0, $2::integer) n)
                          UNION ALL
                          SELECT j.id FROM apalis.jobs j WHERE j.job_type = 'reverse_transfer'
                            AND j.idempotency_key IN (SELECT r.job_id || ':' || r.n::text || ':' || k::text
                                                      FROM bursar.reversal r, generate_series(0, r.releases) k WHERE r.job_id = $1))
           ORDER BY v.id"#,
        job,
        payout.releases,
    )
    .fetch_all(&mut *db)
    .await?;
    let about = sqlx::query!(
        r#"SELECT EXISTS (SELECT FROM bursar.intent i WHERE i.subject = $1 AND i.saved_failure AND i.looks > 0 AND i.state = 'unknown'
                          AND i.generation = (SELECT max(o.generation) FROM bursar.intent o WHERE o.subject = $1)) AS "saved!",
                  EXISTS (SELECT FROM bursar.setting WHERE name = 'stripe' AND value = 'live') AS "live!",
                  (SELECT r.state FROM bursar.receiver r WHERE r.user_id = $2 AND r.account_id IS NOT NULL) AS receiver_state"#,
        format!("payout:{job}"),
        payout.receiver_id,
    )
    .fetch_one(db)
    .await?;
    let (receiver_state, is_saved_failure, livemode) = (about.receiver_state, about.saved, about.live);
    Ok(Some(Page { payout, reversals, nettings, calls, jobs, receiver_state, is_saved_failure, livemode }))
}
