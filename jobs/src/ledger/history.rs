//! Where a user's credits came from and went to: every posting on the account, back to its event, job and object at Stripe.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgExecutor;

use crate::base::credits::Credits;

/// A posting as its user sees it, under the names that programs rely on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Whose account.
    pub user_id: String,
    /// The posting's id.
    pub posting: i64,
    /// When.
    pub posted_at: DateTime<Utc>,
    /// What kind of posting.
    pub kind: String,
    /// Signed: what the account gained.
    pub amount: Credits,
    /// What the account held after it.
    pub balance: Credits,
    /// Unique for ever.
    pub key: String,
    /// The event that caused it.
    pub event_id: Option<String>,
    /// The job that posted it.
    pub job_id: Option<String>,
    /// The object at Stripe, or the verified job, that the event was about.
    pub object_id: Option<String>,
    /// What it was for.
    pub r#ref: Option<String>,
    /// The posting that it undoes.
    pub reverses: Option<i64>,
    /// Who, where a person did it.
    pub actor: Option<String>,
    /// Why, in their words.
    pub why: Option<String>,
}

/// The newest postings of a user, at most so many, older than the one that is named.
pub async fn of(db: impl PgExecutor<'_>, user: &str, before: Option<i64>, most: i64) -> Result<Vec<Line>, sqlx::Error> {
    // Ids grow in the order of the balance, because the account's row is locked before a posting takes its id.
    let rows = sqlx::query!(
        r#"WITH held AS MATERIALIZED (
               SELECT a.id, a.balance FROM bursar.account a WHERE a.name = 'user:' || $1 AND a.unit = 'credits'
           ), page AS MATERIALIZED (
               SELECT p.* FROM held h, LATERAL (
                   (SELECT c.*, c.amount AS delta FROM bursar.posting c
                    WHERE c.credit = h.id AND c.id < coalesce($3, 9223372036854775807) ORDER BY c.id DESC LIMIT $2)
                   UNION ALL
                   (SELECT d.*, -d.amount FROM bursar.posting d
                    WHERE d.debit = h.id AND d.id < coalesce($3, 9223372036854775807) ORDER BY d.id DESC LIMIT $2)
               ) p ORDER BY p.id DESC LIMIT $2
           ), upto AS MATERIALIZED (
               -- What the account held after the newest of the page: what it holds now, less what came since.
               SELECT h.balance::numeric - coalesce((SELECT sum(c.amount) FROM bursar.posting c WHERE c.credit = h.id AND c.id >= $3), 0)
                                + coalesce((SELECT sum(d.amount) FROM bursar.posting d WHERE d.debit = h.id AND d.id >= $3), 0) AS balance
               FROM held h
           )
           SELECT m.id AS "id!", m.posted_at AS "posted_at!", m.kind AS "kind!", m.delta AS "delta!",
                  (t.balance + m.delta::numeric - sum(m.delta) OVER (ORDER BY m.id DESC))::bigint AS "balance!", m.key AS "key!",
                  m.event_id, m.job_id, m.ref, m.reverses, m.actor, m.why,
                  (SELECT e.object_id FROM bursar.event e WHERE e.id = m.event_id ORDER BY e.source LIMIT 1) AS object_id
           FROM page m, upto t ORDER BY m.id DESC"#,
        user,
        most,
        before,
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Line {
            user_id: user.to_owned(),
            posting: row.id,
            posted_at: row.posted_at,
            kind: row.kind,
            amount: Credits::from_micros(row.delta),
            balance: Credits::from_micros(row.balance),
            key: row.key,
            event_id: row.event_id,
            job_id: row.job_id,
            object_id: row.object_id,
            r#ref: row.r#ref,
            reverses: row.reverses,
            actor: row.actor,
            why: row.why,
        })
        .collect())
}
