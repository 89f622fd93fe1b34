//! Putting jobs into the queue, in the caller's transaction. The one caller of `bursar.enqueue`.

use sqlx::PgExecutor;

use crate::job::NewJob;

/// What became of one job that was to be enqueued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Enqueued {
    /// It is in the queue, under this id.
    New(String),
    /// One of its kind and key is known. Not an error, and the rest of the batch stands.
    Already,
}

/// Enqueues a batch: one statement, one answer a job, in order.
pub async fn enqueue(db: impl PgExecutor<'_>, jobs: &[NewJob]) -> Result<Vec<Enqueued>, sqlx::Error> {
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
