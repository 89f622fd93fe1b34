//! The audit, read: who did what to what, what it was before and after, and why.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::PgConnection;

/// Which acts. Everything that is said must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ActFilter {
    /// By whom.
    pub who: Option<String>,
    /// To what.
    pub subject: Option<String>,
    /// What: a command's words (`jobs.retry`), or the first of them (`jobs`).
    pub what: Option<String>,
    /// Done since: real time, for an operator's clock cannot be moved.
    pub since: Option<DateTime<Utc>>,
}

/// What an operator did, under the names that programs rely on.
#[derive(Debug, Clone, Serialize)]
pub struct ActRow {
    /// Acts are numbered in their order.
    pub id: i64,
    /// When, in real time.
    pub at: DateTime<Utc>,
    /// Who.
    pub who: String,
    /// Which way they came.
    pub via: String,
    /// What.
    pub what: String,
    /// To what.
    pub subject: String,
    /// What it was before.
    pub before: Option<Value>,
    /// What it became.
    pub after: Option<Value>,
    /// Why, in their words.
    pub why: Option<String>,
}

impl ActFilter {
    /// The acts that match, newest first, before that one where one is said.
    pub async fn page(
        &self,
        db: &mut PgConnection,
        before: Option<i64>,
        limit: i64,
    ) -> Result<Vec<ActRow>, sqlx::Error> {
        sqlx::query_as!(
            ActRow,
            "SELECT id, at, who, via, what, subject, before, after, why FROM bursar.audit
             WHERE ($1::text IS NULL OR who = $1) AND ($2::text IS NULL OR subject = $2)
               AND ($3::text IS NULL OR what = $3 OR starts_with(what, $3 || '.'))
               AND ($4::timestamptz IS NULL OR at >= $4) AND ($5::bigint IS NULL OR id < $5)
             ORDER BY id DESC LIMIT $6",
            self.who,
            self.subject,
            self.what,
            self.since,
            before,
            limit,
        )
        .fetch_all(db)
        .await
    }
}
