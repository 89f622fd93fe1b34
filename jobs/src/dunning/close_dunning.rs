//! Close a case of dunning: its invoice was made void, or given up as uncollectible. What is paid closes it by its refill.

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::{
    dunning::change::Change,
    engine::{
        job::{Effects, Job, JobError, Pure},
        kind::{CLOSE_DUNNING, Kind},
    },
    inbox::event::{self, Event, OfEvent},
    terms::Terms,
};

/// Closes the case of the invoice of one event.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CloseDunning(OfEvent);

impl Job for CloseDunning {
    const KIND: Kind = CLOSE_DUNNING;
}

#[derive(Deserialize)]
struct Object {
    id: String,
}

/// The event, and whether its invoice has a case.
#[derive(Debug)]
pub struct Facts {
    event: Event,
    has_case: bool,
}

impl Pure for CloseDunning {
    type Facts = Facts;

    async fn gather(db: &mut PgConnection, jobs: &[Self]) -> Result<Vec<Facts>, sqlx::Error> {
        let events = event::load(&mut *db, &jobs.iter().map(|job| &job.0).collect::<Vec<_>>()).await?;
        // An event that does not read is judged by run().
        let ids: Vec<Option<String>> = events.iter().map(|event| Some(event.object::<Object>().ok()?.id)).collect();
        let wanted: Vec<String> = ids.iter().flatten().cloned().collect();
        let known =
            sqlx::query_scalar!("SELECT invoice_id FROM bursar.dunning_case WHERE invoice_id = ANY ($1)", &wanted)
                .fetch_all(db)
                .await?;
        let facts = events.into_iter().zip(ids);
        Ok(facts.map(|(event, id)| Facts { has_case: id.is_some_and(|id| known.contains(&id)), event }).collect())
    }

    fn run(&self, facts: &Facts, terms: &Terms) -> Result<Effects, JobError> {
        let event = &facts.event;
        if let Some(reason) = event.foreign(terms) {
            return Ok(Effects::skip(reason));
        }
        let invoice = event.object::<Object>()?.id;
        let (state, word) = match event.kind.as_str() {
            "invoice.voided" => ("void", "the invoice was made void"),
            "invoice.marked_uncollectible" => ("uncollectible", "the invoice was marked as uncollectible"),
            other => {
                return Err(JobError::Dead(format!(
                    "{other} ends no case of dunning: a mistake in the table of events"
                )));
            }
        };
        if !facts.has_case {
            return Ok(Effects::skip(format!("{invoice} has no case")));
        }
        let close = Change::Close { invoice, state, reason: word.to_owned() };
        Ok(Effects { changes: vec![close.into()], ..Effects::done() })
    }
}
