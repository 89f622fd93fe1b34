//! What is around a job: the calls that it made, its postings, and the jobs that it caused.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgConnection;

use super::filter::JobRow;
use crate::{
    base::{credits::Credits, money},
    ledger::CREDITS,
};

/// What is around a job.
#[derive(Debug, Clone, Serialize)]
pub struct Around {
    /// The calls that it made, newest first.
    pub calls: Vec<Call>,
    /// Its postings.
    pub postings: Vec<Posting>,
    /// The jobs that it caused, or that its event caused.
    pub caused: Vec<Caused>,
    /// Whether this deployment is live: where its requests are found in Stripe's dashboard.
    pub livemode: bool,
}

/// A request that left, or was about to.
#[derive(Debug, Clone, Serialize)]
pub struct Call {
    /// When.
    pub begun_at: DateTime<Utc>,
    /// `send`, `look` or `ask`.
    pub what: String,
    /// What for.
    pub subject: String,
    /// Under which idempotency key.
    pub key: Option<String>,
    /// How the intent stands.
    pub state: Option<String>,
    /// What came back.
    pub answer: Option<String>,
    /// Stripe's id of the request.
    pub request_id: Option<String>,
}

/// A posting.
#[derive(Debug, Clone, Serialize)]
pub struct Posting {
    /// Its id.
    pub id: i64,
    /// Its kind.
    pub kind: String,
    /// Its key.
    pub key: String,
    /// Its amount with its unit, and from whom to whom.
    pub said: String,
}

/// A job that was caused.
#[derive(Debug, Clone, Serialize)]
pub struct Caused {
    /// Its id.
    pub id: String,
    /// Its kind.
    pub kind: String,
    /// Its state's word.
    pub state: String,
}

/// Reads what is around a job.
pub async fn of_job(db: &mut PgConnection, job: &JobRow) -> Result<Around, sqlx::Error> {
    let calls = sqlx::query_as!(
        Call,
        r#"SELECT c.begun_at, c.what, c.subject, i.idempotency_key AS "key?", i.state AS "state?", c.answer, c.request_id
           FROM bursar.call c LEFT JOIN bursar.intent i ON i.id = c.intent_id WHERE c.job_id = $1 ORDER BY c.id DESC LIMIT 100"#,
        job.id
    )
    .fetch_all(&mut *db)
    .await?;
    let postings = sqlx::query!(
        r#"SELECT p.id, p.kind, p.key, p.amount, d.name AS "debit!", c.name AS "credit!", d.unit AS "unit!"
           FROM bursar.posting p JOIN bursar.account d ON d.id = p.debit JOIN bursar.account c ON c.id = p.credit
           WHERE p.event_id IN ($2, $3) AND p.job_id = $1 ORDER BY p.id LIMIT 100"#,
        job.id,
        job.key,
        job.cause,
    )
    .fetch_all(&mut *db)
    .await?;
    let postings = postings.into_iter().map(|row| {
        let amount = if row.unit == CREDITS {
            format!("{} credits", Credits::from_micros(row.amount))
        } else {
            money::format(row.amount, &row.unit)
        };
        Posting {
            id: row.id,
            kind: row.kind,
            key: row.key,
            said: format!("{amount} from {} to {}", row.debit, row.credit),
        }
    });
    let caused = sqlx::query_as!(
        Caused,
        r#"SELECT v.id AS "id!", v.kind AS "kind!", v.state AS "state!" FROM bursar.job v
           WHERE v.cause IN ($1, $2) AND v.id <> $1 ORDER BY v.id LIMIT 100"#,
        job.id,
        job.key,
    )
    .fetch_all(&mut *db)
    .await?;
    let livemode = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM bursar.setting WHERE name = 'stripe' AND value = 'live') AS "live!""#
    )
    .fetch_one(db)
    .await?;
    Ok(Around { calls, postings: postings.collect(), caused, livemode })
}
