//! Open an account: a new user of the application gets an account and the initial credits, once per user.

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::{
    effects::Change,
    event::{self, Event, OfEvent, check_user},
    job::{Effects, Job, JobError, Pure},
    kinds::{Kind, OPEN_ACCOUNT},
    ledger::Posting,
    terms::Terms,
};

/// Opens the account of one `user.created`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OpenAccount(OfEvent);

impl Job for OpenAccount {
    const KIND: Kind = OPEN_ACCOUNT;
}

#[derive(Deserialize)]
struct Body {
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    user_id: String,
}

impl Pure for OpenAccount {
    type Facts = Event;

    async fn gather(db: &mut PgConnection, jobs: &[Self]) -> Result<Vec<Event>, sqlx::Error> {
        event::load(db, &jobs.iter().map(|job| &job.0).collect::<Vec<_>>()).await
    }

    fn run(&self, event: &Event, terms: &Terms) -> Result<Effects, JobError> {
        let user_id = event.read::<Body>()?.data.user_id;
        check_user(&user_id)?;
        let mut effects = Effects::done();
        if terms.initial_credits.is_positive() {
            let mut posting = Posting::grant("initial", format!("initial:{user_id}"), &user_id, terms.initial_credits);
            posting.event_id = Some(event.id.clone());
            effects.postings.push(posting);
        }
        effects.changes.push(Change::OpenAccount { user_id });
        Ok(effects)
    }
}
