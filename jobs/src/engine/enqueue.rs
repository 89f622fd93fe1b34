//! Putting jobs into the queue, in the caller's transaction. The one caller of `bursar.enqueue`.

use serde::Serialize;
use sqlx::{PgConnection, PgExecutor};

use crate::engine::{job::NewJob, trace_context};

/// What became of one job that was to be enqueued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Enqueued {
    /// It is in the queue, under this id.
    New(String),
    /// One of its kind and key is known. Not an error, and the rest of the batch stands.
    Already,
}

/// A job as the database takes it.
#[derive(Debug, Serialize)]
pub(crate) struct Wanted<'a> {
    #[serde(flatten)]
    job: &'a NewJob,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<String>,
}

impl<'a> Wanted<'a> {
    /// One that the nth enqueues of those that are applied together, where that is known: see [`trace_context`].
    pub fn of(nth: Option<usize>, job: &'a NewJob) -> Self {
        Self { job, traceparent: trace_context::context(job, nth) }
    }
}

/// Enqueues a batch: one statement, one answer a job, in order.
pub async fn enqueue(db: impl PgExecutor<'_>, jobs: &[NewJob]) -> Result<Vec<Enqueued>, sqlx::Error> {
    let wanted: Vec<_> = jobs.iter().map(|job| Wanted::of(None, job)).collect();
    enqueue_all(db, &wanted).await
}

/// The same.
pub(crate) async fn enqueue_all(db: impl PgExecutor<'_>, jobs: &[Wanted<'_>]) -> Result<Vec<Enqueued>, sqlx::Error> {
    if jobs.is_empty() {
        return Ok(Vec::new());
    }
    let rows = sqlx::query!(
        r#"SELECT id, already AS "already!" FROM bursar.enqueue($1) ORDER BY ord"#,
        sqlx::types::Json(jobs) as _,
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| match row.id {
            Some(id) if !row.already => Enqueued::New(id),
            _ => Enqueued::Already,
        })
        .collect())
}

/// Wakes the jobs that wait for these facts.
pub(crate) async fn wake(db: &mut PgConnection, facts: &[String]) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE apalis.jobs SET run_at = bursar.now() WHERE status = 'Pending' AND waits_for = ANY ($1)",
        facts
    )
    .execute(db)
    .await
    .map(drop)
}
