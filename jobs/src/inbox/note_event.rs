//! Note an event: it is stored, seen and counted (`bursar.event_counts`), and this version does not act on it. A later one can replay it.
//!
//! The team is told of a type of the application's own events that nothing acts on, once a day for each: it may be a typo, and a job that was
//! verified under it is never paid. Of Stripe's types there are many that nobody needs.

use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgConnection;

use crate::{
    engine::{
        job::{Effects, Job, JobError, NewJob, Pure},
        kind::{self, Kind, NOTE_EVENT},
    },
    inbox::{
        envelope::Source,
        event::{self, Event, OfEvent},
    },
    notifications::notify_team::NotifyTeam,
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
        let tell = (self.0.source == Source::Verification.as_str()).then(|| unknown_type(event));
        Ok(Effects {
            follow_ups: tell.into_iter().collect(),
            ..Effects::skip(event.foreign(terms).unwrap_or_else(why))
        })
    }
}

/// Tells the team of a type that nothing acts on.
fn unknown_type(event: &Event) -> NewJob {
    let known: Vec<&str> = kind::APPLICATION_EVENTS.iter().map(|(kind, _)| *kind).collect();
    let data = json!({ "type": event.kind, "event": event.id, "acted_on": known });
    // The key is sent as a header.
    let word: String = event.kind.chars().map(|c| if c.is_ascii_graphic() { c } else { '_' }).take(150).collect();
    let key = format!("unknown_type:{}:{word}", event.received_at.format("%Y-%m-%d"));
    NotifyTeam::of("event.unknown_type", &key, &data, None)
}
