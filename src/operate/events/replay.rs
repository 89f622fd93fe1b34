//! `bursar events replay`: an event's job runs again. Safe at any time, because every effect carries its own permanent key.

use bursar_jobs::{
    envelope::{Envelope, EnvelopeError, Source},
    kinds::{self, Kind},
};
use serde::Serialize;
use serde_json::json;
use sqlx::{Connection, PgConnection};

use super::not_found;
use crate::operate::{
    Failure, Screen,
    jobs::{State, lock, put_back},
    values::word_of,
};

/// An event whose job runs again.
#[derive(Serialize)]
struct Replayed {
    event: String,
    source: String,
    job: String,
    kind: &'static str,
    /// The job's state before; none where it was made anew, because it was pruned or this version makes another of the event.
    was: Option<String>,
}

pub(super) async fn replay(db: &mut PgConnection, screen: &Screen, id: &str) -> Result<(), Failure> {
    let rows = sqlx::query!("SELECT source, body FROM bursar.event WHERE id = $1 ORDER BY source", id)
        .fetch_all(&mut *db)
        .await?;
    if rows.is_empty() {
        return Err(not_found(id));
    }
    for row in rows {
        let body = row.body.ok_or_else(|| {
            Failure::refused(
                format!("the body of event {id} was pruned: it cannot be read again"),
                format!("see what it caused: bursar events show {id}"),
            )
        })?;
        // The kind is read from the body again: this version may make another of the event than the one that received it.
        let kind = kind_of(&row.source, id, &body).map_err(|error| {
            Failure::refused(
                format!("event {id} cannot be read: {error}"),
                format!("look at its body: bursar events show {id}"),
            )
        })?;
        let done = again(db, &row.source, id, kind).await?;
        let how = done.was.as_deref().map_or_else(|| "new".to_owned(), |was| format!("was {was}"));
        screen.done(&done, &format!("{} {} ({how}) runs again for event {id}", done.kind, done.job))?;
    }
    Ok(())
}

fn kind_of(source: &str, id: &str, body: &[u8]) -> Result<Kind, EnvelopeError> {
    let envelope =
        if source == Source::Verification.as_str() { Envelope::verification(id, body) } else { Envelope::stripe(body) };
    envelope.map(|envelope| kinds::of_event(&envelope))
}

async fn again(db: &mut PgConnection, source: &str, id: &str, kind: Kind) -> Result<Replayed, Failure> {
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
    tx.commit().await?;
    Ok(Replayed { event: id.to_owned(), source: source.to_owned(), job, kind: kind.name, was })
}

/// Puts the job that the event already has back to ready, if it has ended; its id, and its state before.
async fn put_back_known(db: &mut PgConnection, id: &str, kind: Kind) -> Result<(String, String), Failure> {
    let job =
        sqlx::query_scalar!("SELECT id FROM apalis.jobs WHERE job_type = $1 AND idempotency_key = $2", kind.name, id)
            .fetch_one(&mut *db)
            .await?;
    match lock(db, &job).await? {
        Some(state @ (State::Done | State::Dead | State::Cancelled)) => {
            let was = put_back(db, &job, state).await?.was;
            Ok((job, was))
        }
        Some(state @ (State::Ready | State::Scheduled | State::Running)) => Err(Failure::refused(
            format!("the job of event {id} is {} already", word_of(&state)),
            format!("see when and why it runs: bursar jobs show {job}"),
        )),
        None => Err(Failure::refused(
            format!("the job of event {id} was pruned at this moment"),
            "the same command now makes a new one",
        )),
    }
}
