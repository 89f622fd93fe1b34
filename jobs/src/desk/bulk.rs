//! Acting on all jobs that match, a chunk a transaction: by whoever comes first, the operator's command, a console or a worker's job.
//!
//! Rules
//! - What matched when it began is acted on; what comes to match afterwards is left alone.
//! - Each chunk is one transaction with the act's own row locked: whoever dies in the middle has done whole chunks, and anybody goes on.
//! - Each job's act is a row of the audit, under the operator's name.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use super::{
    JobFilter, Operator, State,
    change::{self, Change},
};
use crate::audit::Via;

/// Jobs acted on in one transaction.
const CHUNK: i64 = 100;

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// Dead and cancelled ones are made ready again.
    Retry,
    /// Those that have not ended well are cancelled.
    Cancel,
}

impl Verb {
    const fn word(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Cancel => "cancel",
        }
    }
}

/// How far an act has come.
#[derive(Debug, Clone, Serialize)]
pub struct Progress {
    /// The act.
    pub id: String,
    /// How many matched when it began.
    pub matching: i64,
    /// How many were changed.
    pub changed: i64,
    /// How many were in another state by then.
    pub skipped: i64,
    /// When it was over.
    pub ended_at: Option<DateTime<Utc>>,
}

/// Why an act cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// All of the queue is nobody's intention.
    #[error("a filter is needed: a state, a kind, an age or words")]
    Everything,
    /// The arrow does not lead from there.
    #[error("{0} jobs cannot be {1}: a retry is of dead and cancelled ones, a cancellation of those that are not over")]
    State(&'static str, &'static str),
    /// The database.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Begins an act: what matches is counted, and nothing is changed yet.
pub async fn begin(
    db: &mut PgConnection,
    by: &Operator,
    verb: Verb,
    filter: &JobFilter,
    why: Option<&str>,
) -> Result<Progress, Refused> {
    let state = filter.state.ok_or(Refused::Everything)?;
    match (verb, state) {
        (Verb::Retry, State::Dead | State::Cancelled)
        | (Verb::Cancel, State::Ready | State::Scheduled | State::Running | State::Dead) => {}
        (Verb::Retry, _) => return Err(Refused::State(state.word(), "retried")),
        (Verb::Cancel, _) => return Err(Refused::State(state.word(), "cancelled")),
    }
    let mut tx = db.begin().await?;
    let matching = count(&mut tx, filter).await?;
    let row = sqlx::query!(
        "INSERT INTO bursar.bulk (verb, filter, who, via, why, matching) VALUES ($1, $2, $3, $4, $5, $6) RETURNING id",
        verb.word(),
        json!(filter),
        by.who,
        by.via.word(),
        why,
        matching,
    )
    .fetch_one(&mut *tx)
    .await?;
    by.note(&mut *tx, &format!("jobs.{}_all", verb.word()), &row.id, (None, Some(json!(filter))), why).await?;
    tx.commit().await?;
    Ok(Progress { id: row.id, matching, changed: 0, skipped: 0, ended_at: None })
}

/// How many match.
pub async fn count(db: &mut PgConnection, filter: &JobFilter) -> Result<i64, sqlx::Error> {
    const PAGE: i64 = 10_000;
    let (mut matching, mut after) = (0, None::<String>);
    loop {
        let ids = filter.ids(&mut *db, after.as_deref(), PAGE).await?;
        matching += i64::try_from(ids.len()).unwrap_or(i64::MAX);
        match ids.last() {
            Some(last) => after = Some(last.clone()),
            None => return Ok(matching),
        }
    }
}

/// Does the next chunk, unless another does one at this moment. None: there is no such act.
pub async fn step(db: &mut PgConnection, id: &str) -> Result<Option<Progress>, sqlx::Error> {
    let mut tx = db.begin().await?;
    let row = sqlx::query!(
        "SELECT verb, filter, who, via, why, begun_at, cursor_id, ended_at FROM bursar.bulk WHERE id = $1 FOR UPDATE SKIP LOCKED",
        id
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(row) = row else { return progress(&mut tx, id).await };
    if row.ended_at.is_some() {
        return progress(&mut tx, id).await;
    }
    let unreadable = |what: String| sqlx::Error::Protocol(format!("bursar.bulk {id}: {what}"));
    let filter: JobFilter = serde_json::from_value(row.filter).map_err(|error| unreadable(error.to_string()))?;
    let verb: Verb = serde_json::from_value(Value::String(row.verb)).map_err(|error| unreadable(error.to_string()))?;
    let via = Via::of(&row.via).ok_or_else(|| unreadable(row.via.clone()))?;
    let by = Operator { who: row.who, via };
    // What matches since is not meant.
    let filter =
        JobFilter { before: Some(filter.before.map_or(row.begun_at, |before| before.min(row.begun_at))), ..filter };
    let ids = filter.ids(&mut tx, row.cursor_id.as_deref(), CHUNK).await?;
    let (mut changed, mut skipped) = (0_i64, 0_i64);
    for job in &ids {
        let came = match verb {
            Verb::Retry => change::retry(&mut tx, &by, job, row.why.as_deref()).await?,
            Verb::Cancel => change::cancel(&mut tx, &by, job, row.why.as_deref()).await?,
        };
        match came {
            Change::Done(_) => changed += 1,
            Change::Not(_) | Change::Unknown => skipped += 1,
        }
    }
    sqlx::query!(
        "UPDATE bursar.bulk SET cursor_id = coalesce($2, cursor_id), changed = changed + $3, skipped = skipped + $4,
                ended_at = CASE WHEN $5 THEN bursar.now() END WHERE id = $1",
        id,
        ids.last(),
        changed,
        skipped,
        ids.len() < usize::try_from(CHUNK).unwrap_or(usize::MAX),
    )
    .execute(&mut *tx)
    .await?;
    let progress = progress(&mut tx, id).await?;
    tx.commit().await?;
    Ok(progress)
}

/// How far an act has come.
pub async fn progress(db: &mut PgConnection, id: &str) -> Result<Option<Progress>, sqlx::Error> {
    sqlx::query_as!(Progress, "SELECT id, matching, changed, skipped, ended_at FROM bursar.bulk WHERE id = $1", id)
        .fetch_optional(db)
        .await
}

/// Acts that were begun and are not over.
pub async fn unfinished(db: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!("SELECT id FROM bursar.bulk WHERE ended_at IS NULL ORDER BY begun_at LIMIT 100")
        .fetch_all(db)
        .await
}
