//! Note an event: it is stored, seen and counted (`bursar.event_counts`), and this version does not act on it. A later one can replay it.

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::{
    event::{self, Event, OfEvent},
    job::{Effects, Job, JobError, Pure},
    kinds::{Kind, NOTE_EVENT},
    terms::Terms,
};

/// Notes one event.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NoteEvent(OfEvent);

impl Job for NoteEvent {
    const KIND: Kind = NOTE_EVENT;
}

impl Pure for NoteEvent {
    type Facts = Event;

    async fn gather(db: &mut PgConnection, jobs: &[Self]) -> Result<Vec<Event>, sqlx::Error> {
        event::load(db, &jobs.iter().map(|job| &job.0).collect::<Vec<_>>()).await
    }

    fn run(&self, event: &Event, terms: &Terms) -> Result<Effects, JobError> {
        let why = || match event.kind.as_str() {
            "checkout.session.expired" => "nobody paid this checkout: nothing follows".to_owned(),
            "payment_intent.payment_failed" => {
                "a payment failed: its invoice or its checkout says what follows".to_owned()
            }
            other => format!("this version does not act on {other}"),
        };
        Ok(Effects::skip(event.foreign(terms).unwrap_or_else(why)))
    }
}
