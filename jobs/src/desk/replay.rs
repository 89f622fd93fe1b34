//! Replaying an event: its job runs again. Safe at any time, because every effect carries its own permanent key.

use serde::Serialize;
use serde_json::json;
use sqlx::{Connection, PgConnection};

use super::{
    Operator, State,
    change::{lock, put_back},
};
use crate::{
    engine::kind::{self, Kind},
    inbox::envelope::{Envelope, EnvelopeError, Source},
};

/// An event whose job runs again.
#[derive(Debug, Clone, Serialize)]
pub struct Replayed {
    /// The event.
    pub event: String,
    /// Whose.
    pub source: String,
    /// Its job.
    pub job: String,
    /// Of this kind.
    pub kind: &'static str,
    /// The job's state before; none where it was made anew, because it was pruned or this version makes another of the event.
    pub was: Option<State>,
}

/// Why an event does not run again.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// There is no such event.
    #[error("there is no event {0} in the inbox")]
    Unknown(String),
    /// Its body is gone.
    #[error("the body of event {0} was pruned: it cannot be read again")]
    Pruned(String),
    /// Its body is nothing that this version reads.
    #[error("event {0} cannot be read: {1}")]
    Unreadable(String, EnvelopeError),
    /// Its job is not over.
    #[error("the job of event {event} is {} already", state.word())]
    Under {
        /// The event.
        event: String,
        /// Its job.
        job: String,
        /// The job's state.
        state: State,
    },
    /// Its job was pruned at this moment.
    #[error("the job of event {0} was pruned at this moment")]
    Vanished(String),
    /// The database.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Runs an event's job again; one answer for each source that used the id.
pub async fn replay(
    db: &mut PgConnection,
    by: &Operator,
    id: &str,
    why: Option<&str>,
) -> Result<Vec<Replayed>, Refused> {
    let rows = sqlx::query!("SELECT source, body FROM bursar.event WHERE id = $1 ORDER BY source", id)
        .fetch_all(&mut *db)
        .await?;
    if rows.is_empty() {
        return Err(Refused::Unknown(id.to_owned()));
    }
    let mut done = Vec::new();
    for row in rows {
        let body = row.body.ok_or_else(|| Refused::Pruned(id.to_owned()))?;
        // The kind is read from the body again: this version may make another of the event than the one that received it.
        let kind = kind_of(&row.source, id, &body).map_err(|error| Refused::Unreadable(id.to_owned(), error))?;
        done.push(again(db, by, &row.source, id, kind, why).await?);
    }
    Ok(done)
}

/// Whether running an event again releases money. What cannot be read is not run.
pub fn releases(source: &str, id: &str, body: &[u8]) -> bool {
    kind_of(source, id, body).is_ok_and(|kind| kind::moves_money(kind.name))
}

fn kind_of(source: &str, id: &str, body: &[u8]) -> Result<Kind, EnvelopeError> {
    let envelope =
        if source == Source::Verification.as_str() { Envelope::verification(id, body) } else { Envelope::stripe(body) };
    envelope.map(|envelope| kind::of_event(&envelope))
}

async fn again(
    db: &mut PgConnection,
    by: &Operator,
    source: &str,
    id: &str,
    kind: Kind,
    why: Option<&str>,
) -> Result<Replayed, Refused> {
    let mut tx = db.begin().await?;
    // An enqueue takes the key where it is free, and else changes nothing: one door for both cases, closed to a race.
    let jobs = json!([{
        "kind": kind.name, "key": id, "max_attempts": kind.max_attempts, "cause": id,
        "args": {"source": source, "event": id},
    }]);
    let fresh = sqlx::query_scalar!("SELECT id FROM bursar.enqueue($1)", jobs).fetch_one(&mut *tx).await?;
    let (job, was) = if let Some(job) = fresh {
        (job, None)
    } else {
        let (job, was) = put_back_known(&mut tx, id, kind).await?;
        (job, Some(was))
    };
    let states = (was.map(|was| json!({ "job": job, "state": was })), Some(json!({ "job": job, "kind": kind.name })));
    by.note(&mut *tx, "events.replay", id, states, why).await?;
    tx.commit().await?;
    Ok(Replayed { event: id.to_owned(), source: source.to_owned(), job, kind: kind.name, was })
}

/// Puts the job that the event already has back to ready, if it has ended; its id, and its state before.
async fn put_back_known(db: &mut PgConnection, id: &str, kind: Kind) -> Result<(String, State), Refused> {
    let job =
        sqlx::query_scalar!("SELECT id FROM apalis.jobs WHERE job_type = $1 AND idempotency_key = $2", kind.name, id)
            .fetch_one(&mut *db)
            .await?;
    match lock(db, &job).await? {
        Some(was @ (State::Done | State::Dead | State::Cancelled)) => {
            put_back(db, &job, was).await?;
            Ok((job, was))
        }
        Some(state @ (State::Ready | State::Scheduled | State::Running)) => {
            Err(Refused::Under { event: id.to_owned(), job, state })
        }
        None => Err(Refused::Vanished(id.to_owned())),
    }
}
