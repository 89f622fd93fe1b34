//! `bursar jobs list`.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgConnection;

use super::State;
use crate::operate::{
    Failure, Screen,
    values::{Limit, word_of},
};

/// A job, under the names that programs rely on.
#[derive(Debug, Serialize)]
pub(super) struct Job {
    pub id: String,
    pub kind: String,
    pub key: Option<String>,
    pub state: String,
    pub attempt: i32,
    pub max_attempts: i32,
    pub run_at: DateTime<Utc>,
    pub last_error: Option<String>,
    pub reason: Option<String>,
    pub cause: Option<String>,
    pub worker: Option<String>,
    pub enqueued_at: DateTime<Utc>,
    pub done_at: Option<DateTime<Utc>>,
}

pub(super) async fn list(
    db: &mut PgConnection,
    screen: &Screen,
    state: Option<State>,
    kind: Option<&str>,
    limit: Limit,
) -> Result<(), Failure> {
    // The ids are picked from the table, where the few dead among a million done are found by their own index; the view, which
    // reads a clock for each row, then says the state of those alone.
    let mut jobs = sqlx::query_as!(
        Job,
        r#"SELECT v.id AS "id!", v.kind AS "kind!", v.key, v.state AS "state!", v.attempt AS "attempt!",
                  v.max_attempts AS "max_attempts!", v.run_at AS "run_at!", v.last_error, v.reason, v.cause, v.worker,
                  v.enqueued_at AS "enqueued_at!", v.done_at
           FROM bursar.job v
           WHERE v.id = ANY (ARRAY(
                     SELECT j.id FROM apalis.jobs j
                     WHERE ($2::text IS NULL OR j.status = $2) AND ($3::text IS NULL OR j.job_type = $3)
                       AND ($1::text IS DISTINCT FROM 'ready' OR j.run_at <= (SELECT bursar.now()))
                       AND ($1::text IS DISTINCT FROM 'scheduled' OR j.run_at > (SELECT bursar.now()))
                     ORDER BY j.id DESC LIMIT $4))
             AND ($1::text IS NULL OR v.state = $1)
           ORDER BY v.id DESC"#,
        state.as_ref().map(word_of),
        state.map(State::status),
        kind,
        limit.probe(),
    )
    .fetch_all(&mut *db)
    .await?;
    let more = limit.cut(&mut jobs);
    screen.rows(&jobs, &["id", "kind", "state", "when", "why"], |job| {
        let moment = job.done_at.unwrap_or(job.run_at);
        vec![
            job.id.clone(),
            job.kind.clone(),
            job.state.clone(),
            screen.away(moment),
            job.reason.clone().or_else(|| job.last_error.clone()).unwrap_or_default(),
        ]
    })?;
    if jobs.is_empty() {
        screen.note("no such jobs");
    }
    if more {
        screen.note("there are more: --limit N shows them");
    }
    let paused = sqlx::query_scalar!("SELECT kind FROM bursar.paused_kind ORDER BY kind").fetch_all(db).await?;
    if !paused.is_empty() {
        screen.note(&format!("paused: {} (bursar jobs resume KIND)", paused.join(", ")));
    }
    Ok(())
}
