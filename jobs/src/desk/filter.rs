//! Which jobs: the one filter of the command line and the console.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use super::State;

/// Which jobs. Everything that is said must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JobFilter {
    /// In this state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// Of this kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// These words in its reason or its last error, whatever their case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// These words in its id, key, cause or arguments, whatever their case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Ended before, or enqueued before where it has not ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<DateTime<Utc>>,
    /// Ended since, or enqueued since where it has not ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<DateTime<Utc>>,
}

/// A job, under the names that programs rely on.
#[derive(Debug, Clone, Serialize)]
pub struct JobRow {
    /// Its id.
    pub id: String,
    /// Its kind.
    pub kind: String,
    /// Unique within its kind.
    pub key: Option<String>,
    /// Its state's word.
    pub state: String,
    /// Which attempt it is at.
    pub attempt: i32,
    /// The last that is allowed.
    pub max_attempts: i32,
    /// When it runs, or ran.
    pub run_at: DateTime<Utc>,
    /// The outermost error of its last attempt.
    pub last_error: Option<String>,
    /// Why it is in that state.
    pub reason: Option<String>,
    /// The event or job that caused it.
    pub cause: Option<String>,
    /// Who runs it.
    pub worker: Option<String>,
    /// When it was enqueued.
    pub enqueued_at: DateTime<Utc>,
    /// When it ended.
    pub done_at: Option<DateTime<Utc>>,
}

impl JobFilter {
    /// The jobs that match, newest first, of ids before `after` where that is said.
    pub async fn page(
        &self,
        db: &mut PgConnection,
        after: Option<&str>,
        limit: i64,
    ) -> Result<Vec<JobRow>, sqlx::Error> {
        let ids = self.ids(&mut *db, after, limit).await?;
        // The ids are picked from the table, where the few dead among a million done are found by their own index; the view, which
        // reads a clock for each row, then says the state of those alone.
        sqlx::query_as!(
            JobRow,
            r#"SELECT v.id AS "id!", v.kind AS "kind!", v.key, v.state AS "state!", v.attempt AS "attempt!",
                      v.max_attempts AS "max_attempts!", v.run_at AS "run_at!", v.last_error, v.reason, v.cause, v.worker,
                      v.enqueued_at AS "enqueued_at!", v.done_at
               FROM bursar.job v WHERE v.id = ANY ($1) AND ($2::text IS NULL OR v.state = $2) ORDER BY v.id DESC"#,
            &ids,
            self.state.map(State::word),
        )
        .fetch_all(db)
        .await
    }

    /// The ids of those, newest first.
    pub async fn ids(
        &self,
        db: &mut PgConnection,
        after: Option<&str>,
        limit: i64,
    ) -> Result<Vec<String>, sqlx::Error> {
        sqlx::query_scalar!(
            "SELECT j.id FROM apalis.jobs j
             WHERE ($1::text IS NULL OR j.status = $1) AND ($2::text IS NULL OR j.job_type = $2)
               AND ($3::text IS DISTINCT FROM 'ready' OR j.run_at <= (SELECT bursar.now()))
               AND ($3::text IS DISTINCT FROM 'scheduled' OR j.run_at > (SELECT bursar.now()))
               AND ($4::text IS NULL OR position(lower($4) IN lower(coalesce(j.reason, '') || ' ' || coalesce(j.last_result ->> 'Err'::text, ''))) > 0)
               AND ($5::text IS NULL OR position(lower($5) IN lower(concat_ws(' ', j.id, j.idempotency_key, j.cause))) > 0
                    -- Arguments of another version may be no text at all.
                    OR position(encode(convert_to(lower($5), 'UTF8'::name), 'escape') IN lower(encode(j.job, 'escape'))) > 0)
               AND ($6::timestamptz IS NULL OR coalesce(j.done_at, j.enqueued_at) < $6)
               AND ($7::timestamptz IS NULL OR coalesce(j.done_at, j.enqueued_at) >= $7)
               AND ($8::text IS NULL OR j.id < $8)
             ORDER BY j.id DESC LIMIT $9",
            self.state.map(State::status),
            self.kind,
            self.state.map(State::word),
            self.error,
            self.text,
            self.before,
            self.since,
            after,
            limit,
        )
        .fetch_all(db)
        .await
    }
}
