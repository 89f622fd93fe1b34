//! `bursar jobs retry` and `cancel`: the two arrows of a job's life that only an operator draws.

use clap::ValueEnum;
use serde::Serialize;
use sqlx::{Connection, PgConnection};

use super::not_found;
use crate::operate::{
    Failure, Screen, report,
    values::{operator, word_of},
};

/// A job's state, in the words of the glossary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum State {
    /// Waits for a worker.
    Ready,
    /// Waits for its time.
    Scheduled,
    /// Runs.
    Running,
    /// Done, or skipped.
    Done,
    /// Gave up or quarantined: waits for an operator.
    Dead,
    /// Cancelled by an operator.
    Cancelled,
}

impl State {
    /// The word in apalis's status column.
    pub fn status(self) -> &'static str {
        match self {
            Self::Ready | Self::Scheduled => "Pending",
            Self::Running => "Running",
            Self::Done => "Done",
            Self::Dead => "Failed",
            Self::Cancelled => "Killed",
        }
    }
}

/// A job whose state an operator changed.
#[derive(Debug, Serialize)]
pub struct Changed {
    pub id: String,
    pub kind: String,
    pub key: Option<String>,
    /// Its state before.
    pub was: String,
    /// Its state now.
    pub state: String,
}

impl Changed {
    fn new(job: Named, was: State, now: State) -> Self {
        Self { id: job.id, kind: job.kind, key: job.key, was: word_of(&was), state: word_of(&now) }
    }
}

struct Named {
    id: String,
    kind: String,
    key: Option<String>,
}

/// Locks a job's row and says its state; none when there is no such job.
pub async fn lock(db: &mut PgConnection, id: &str) -> Result<Option<State>, sqlx::Error> {
    sqlx::query!("SELECT id FROM apalis.jobs WHERE id = $1 FOR UPDATE", id).fetch_optional(&mut *db).await?;
    // A statement of its own, for a fresh snapshot: it sees what a worker settled while we waited for the lock.
    let state =
        sqlx::query_scalar!(r#"SELECT state AS "state!" FROM bursar.job WHERE id = $1"#, id).fetch_optional(db).await?;
    state
        .map(|word| {
            State::from_str(&word, false).map_err(|_| sqlx::Error::Protocol(format!("bursar.job says {word:?}")))
        })
        .transpose()
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
    Ok(Changed::new(job, was, State::Ready))
}

/// `bursar jobs retry`.
pub(super) async fn retry(db: &mut PgConnection, screen: &Screen, ids: &[String]) -> Result<(), Failure> {
    let mut so_far = Ok(());
    for id in ids {
        let ended = retry_one(db, screen, id).await;
        so_far = both(so_far, ended);
    }
    so_far
}

async fn retry_one(db: &mut PgConnection, screen: &Screen, id: &str) -> Result<(), Failure> {
    let mut tx = db.begin().await?;
    let state = lock(&mut tx, id).await?.ok_or_else(|| not_found(id))?;
    let hint = match state {
        State::Dead | State::Cancelled => {
            let job = put_back(&mut tx, id, state).await?;
            tx.commit().await?;
            screen.done(&job, &format!("{} {id} was {} and is ready again", job.kind, job.was))?;
            return Ok(());
        }
        State::Done => "what came from an event runs again with: bursar events replay EVENT".to_owned(),
        State::Ready | State::Scheduled | State::Running => format!("see when and why it runs: bursar jobs show {id}"),
    };
    Err(Failure::refused(format!("job {id} is {}: only a dead or cancelled job is retried", word_of(&state)), hint))
}

/// `bursar jobs cancel`.
pub(super) async fn cancel(
    db: &mut PgConnection,
    screen: &Screen,
    ids: &[String],
    why: Option<&str>,
) -> Result<(), Failure> {
    let who = operator();
    let reason = why.map_or_else(|| format!("cancelled by {who}"), |why| format!("cancelled by {who}: {why}"));
    let mut so_far = Ok(());
    for id in ids {
        let ended = cancel_one(db, screen, id, &reason).await;
        so_far = both(so_far, ended);
    }
    so_far
}

async fn cancel_one(db: &mut PgConnection, screen: &Screen, id: &str, reason: &str) -> Result<(), Failure> {
    let mut tx = db.begin().await?;
    let state = lock(&mut tx, id).await?.ok_or_else(|| not_found(id))?;
    let hint = match state {
        State::Ready | State::Scheduled | State::Running | State::Dead => {
            let job = kill(&mut tx, id, state, reason).await?;
            tx.commit().await?;
            screen.done(&job, &format!("{} {id} was {} and is cancelled", job.kind, job.was))?;
            if state == State::Running {
                screen.note("it was running: what it did in the database rolls back, a request already sent does not");
            }
            return Ok(());
        }
        State::Done => "its effects are not undone by cancelling; see what they were: bursar jobs show",
        State::Cancelled => "it runs again with: bursar jobs retry",
    };
    Err(Failure::refused(
        format!("job {id} is {}: there is nothing to cancel", word_of(&state)),
        format!("{hint} {id}"),
    ))
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
    Ok(Changed::new(job, was, State::Cancelled))
}

/// One job that cannot be changed does not keep the others from it: the first failure is what the command ends with, and the
/// earlier ones of several are said on the way.
fn both(before: Result<(), Failure>, now: Result<(), Failure>) -> Result<(), Failure> {
    match (before, now) {
        (Ok(()), now) => now,
        (before, Ok(())) => before,
        (Err(first), Err(next)) => {
            report(&next, Some(next.hint()));
            Err(first)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_the_words_of_the_view() {
        let words: Vec<String> = State::value_variants().iter().map(word_of).collect();
        assert_eq!(words, ["ready", "scheduled", "running", "done", "dead", "cancelled"]);
    }
}
