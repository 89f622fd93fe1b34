//! The arrows of a job's life that only an operator draws: retry and cancel.

use serde::Serialize;
use serde_json::json;
use sqlx::PgConnection;

use super::{Operator, State, replay};

/// A job whose state an operator changed.
#[derive(Debug, Clone, Serialize)]
pub struct Changed {
    /// Its id.
    pub id: String,
    /// Its kind.
    pub kind: String,
    /// Its key.
    pub key: Option<String>,
    /// Its state before.
    pub was: State,
    /// Its state now.
    pub state: State,
}

/// What came of wanting it changed.
#[derive(Debug, Clone)]
pub enum Change {
    /// It is.
    Done(Changed),
    /// It is in a state from which that arrow does not lead.
    Not(State),
    /// There is no such job.
    Unknown,
}

struct Named {
    id: String,
    kind: String,
    key: Option<String>,
}

impl Named {
    fn changed(self, was: State, state: State) -> Changed {
        Changed { id: self.id, kind: self.kind, key: self.key, was, state }
    }
}

/// Locks a job's row and says its state; none when there is no such job.
pub async fn lock(db: &mut PgConnection, id: &str) -> Result<Option<State>, sqlx::Error> {
    sqlx::query!("SELECT id FROM apalis.jobs WHERE id = $1 FOR UPDATE", id).fetch_optional(&mut *db).await?;
    // A statement of its own, for a fresh snapshot: it sees what a worker settled while we waited for the lock.
    let state =
        sqlx::query_scalar!(r#"SELECT state AS "state!" FROM bursar.job WHERE id = $1"#, id).fetch_optional(db).await?;
    let known = |word: String| State::of(&word).ok_or(sqlx::Error::Protocol(format!("bursar.job says {word:?}")));
    state.map(known).transpose()
}

/// Retries a job that is dead or cancelled: a new life, written down. In the caller's transaction.
pub async fn retry(db: &mut PgConnection, by: &Operator, id: &str, why: Option<&str>) -> Result<Change, sqlx::Error> {
    match lock(db, id).await? {
        None => Ok(Change::Unknown),
        Some(was @ (State::Dead | State::Cancelled)) => {
            look_first(db, id).await?;
            let changed = put_back(db, id, was).await?;
            by.note(db, "jobs.retry", id, states(&changed), why).await?;
            Ok(Change::Done(changed))
        }
        Some(state) => Ok(Change::Not(state)),
    }
}

/// Cancels a job that has not ended well, written down. In the caller's transaction.
pub async fn cancel(db: &mut PgConnection, by: &Operator, id: &str, why: Option<&str>) -> Result<Change, sqlx::Error> {
    match lock(db, id).await? {
        None => Ok(Change::Unknown),
        Some(was @ (State::Ready | State::Scheduled | State::Running | State::Dead)) => {
            let who = &by.who;
            let reason = why.map_or_else(|| format!("cancelled by {who}"), |why| format!("cancelled by {who}: {why}"));
            let changed = kill(db, id, was, &reason).await?;
            by.note(db, "jobs.cancel", id, states(&changed), why).await?;
            Ok(Change::Done(changed))
        }
        Some(state) => Ok(Change::Not(state)),
    }
}

/// Runs the event of a done job again. In the caller's transaction; whatever stands against it leaves the job as it is.
pub async fn replay(db: &mut PgConnection, by: &Operator, id: &str, why: Option<&str>) -> Result<Change, sqlx::Error> {
    let job = sqlx::query_as!(
        Named,
        "SELECT id, job_type AS kind, idempotency_key AS key FROM apalis.jobs WHERE id = $1 AND cause = idempotency_key",
        id
    )
    .fetch_optional(&mut *db)
    .await?;
    let Some((event, job)) = job.and_then(|job| Some((job.key.clone()?, job))) else {
        // What no event became has nothing to be read again.
        return Ok(lock(db, id).await?.map_or(Change::Unknown, Change::Not));
    };
    match replay::replay(&mut *db, by, &event, why).await {
        Ok(_) => Ok(Change::Done(job.changed(State::Done, State::Ready))),
        Err(replay::Refused::Database(error)) => Err(error),
        Err(
            replay::Refused::Unknown(_)
            | replay::Refused::Pruned(_)
            | replay::Refused::Unreadable(..)
            | replay::Refused::Under { .. }
            | replay::Refused::Vanished(_),
        ) => Ok(Change::Not(State::Done)),
    }
}

fn states(changed: &Changed) -> (Option<serde_json::Value>, Option<serde_json::Value>) {
    let state = |state: State| Some(json!({ "kind": changed.kind, "state": state }));
    (state(changed.was), state(changed.state))
}

/// What may have left under an intent of this job is looked for before anything is sent again, however young its key: an operator's
/// retry may come after a restore, and a look costs little.
async fn look_first(db: &mut PgConnection, id: &str) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE bursar.intent i SET young_since = NULL, changed_at = bursar.now()
         WHERE i.young_since IS NOT NULL AND i.id IN (SELECT c.intent_id FROM bursar.call c WHERE c.job_id = $1 AND c.what = 'send')
           AND (i.state = 'unknown' OR i.state = 'open' AND EXISTS
                (SELECT FROM bursar.call c WHERE c.intent_id = i.id AND c.what = 'send' AND c.answered_at IS NULL))",
        id
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Puts a locked job that has ended back to ready: a new life with its full number of attempts and a new age for its snoozes.
/// Its history of attempts stays.
pub async fn put_back(db: &mut PgConnection, id: &str, was: State) -> Result<Changed, sqlx::Error> {
    let job = sqlx::query_as!(
        Named,
        r#"UPDATE apalis.jobs
           SET status = 'Pending', run_at = bursar.now(), enqueued_at = bursar.now(), done_at = NULL, reason = NULL,
               waits_for = NULL, max_attempts = attempts + allowance, lock_by = NULL, lock_at = NULL, lease = NULL, deadline = NULL
           WHERE id = $1 RETURNING id, job_type AS kind, idempotency_key AS key"#,
        id,
    )
    .fetch_one(&mut *db)
    .await?;
    sqlx::query!("SELECT bursar.wake()").fetch_one(db).await?;
    Ok(job.changed(was, State::Ready))
}

/// Cancels one locked job. A running one loses its lease, so that its settlement is stale and rolls back; its attempt is noted
/// here, because it can no longer report.
async fn kill(db: &mut PgConnection, id: &str, was: State, reason: &str) -> Result<Changed, sqlx::Error> {
    if was == State::Running {
        sqlx::query!(
            "INSERT INTO bursar.attempt (job_id, attempt, worker, started_at, ended_at, outcome, reason)
             SELECT id, attempts, lock_by, lock_at + bursar.ahead(), bursar.now(), 'cancel', $2 FROM apalis.jobs WHERE id = $1",
            id,
            reason,
        )
        .execute(&mut *db)
        .await?;
    }
    let job = sqlx::query_as!(
        Named,
        "UPDATE apalis.jobs
         SET status = 'Killed', done_at = bursar.now(), reason = $2, waits_for = NULL, lease = NULL, deadline = NULL
         WHERE id = $1 RETURNING id, job_type AS kind, idempotency_key AS key",
        id,
        reason,
    )
    .fetch_one(db)
    .await?;
    Ok(job.changed(was, State::Cancelled))
}
