//! Check a Transfer: when Stripe says that one was reversed, ask for it and for all its reversals, and book those that are not.
//!
//! Rules
//! - Events come late, twice and out of order: what counts is what Stripe lists now, and each reversal counts once, by its id `trr_…`.
//! - All of it came back: the payout is reversed. A part: it stays paid, and says how much.
//! - A Transfer is ours by its payout: the one that has its id, or whose group it was made in. Of one that is not known to be paid yet it
//!   waits to be known: a reversal may be heard of before the answer that made its Transfer.

use bursar_stripe::{
    Client, Seen,
    reversals::{self, Told},
};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use std::time::Duration;

use crate::{
    engine::{
        call::{Answer, Call, Looked, Plan},
        job::{Effects, Job, JobError, NewJob, Snooze},
        kind::{CHECK_TRANSFER, Kind},
    },
    inbox::event::{self, Event, OfEvent},
    payouts::book::{self, Books},
    terms::Terms,
};

/// How long a reversal waits for its Transfer's payout to be known as paid: longer than Stripe's events last.
const LIMIT: Duration = Duration::from_hours(35 * 24);

/// Checks one Transfer: that of an event, or one that is named.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum CheckTransfer {
    /// The Transfer of an event.
    Event(OfEvent),
    /// The Transfer of a payout that is worth a look.
    Named {
        /// `tr_…`
        transfer: String,
        /// The marketplace's job.
        job_id: String,
    },
}

impl CheckTransfer {
    /// The job that looks at a payout's Transfer, once for each occasion.
    pub fn of(transfer: &str, job_id: &str, occasion: &str) -> NewJob {
        NewJob {
            kind: CHECK_TRANSFER.name,
            key: format!("{transfer}:{occasion}"),
            args: serde_json::json!({ "transfer": transfer, "job_id": job_id }),
            max_attempts: CHECK_TRANSFER.max_attempts,
            delay_ms: 0,
            cause: None,
        }
    }
}

impl Job for CheckTransfer {
    const KIND: Kind = CHECK_TRANSFER;
}

#[derive(Debug, Deserialize)]
struct Object {
    id: String,
    transfer_group: Option<String>,
}

/// The event, its Transfer, and the payout that it is of.
#[derive(Debug)]
pub struct Facts {
    event: Option<Event>,
    transfer: Option<String>,
    books: Option<Books>,
}

impl Call for CheckTransfer {
    type Facts = Facts;

    async fn gather(&self, db: &mut PgConnection) -> Result<Facts, sqlx::Error> {
        let (event, object) = match self {
            Self::Named { transfer, job_id } => {
                let books = book::hold(db, job_id).await?;
                return Ok(Facts { event: None, transfer: Some(transfer.clone()), books });
            }
            Self::Event(of) => {
                let event = event::load(db, &[of]).await?.pop();
                let object = event.as_ref().and_then(|event| event.object::<Object>().ok());
                (event, object)
            }
        };
        let Some(object) = object else { return Ok(Facts { event, transfer: None, books: None }) };
        let group = object.transfer_group.as_deref().and_then(|group| group.strip_prefix("payout:"));
        let job_id = sqlx::query_scalar!(
            r#"SELECT job_id FROM (SELECT job_id, 1 AS ord FROM bursar.payout WHERE transfer_id = $1
                                   UNION ALL SELECT job_id, 2 FROM bursar.payout WHERE job_id = $2) p
               ORDER BY ord LIMIT 1"#,
            object.id,
            group
        )
        .fetch_optional(&mut *db)
        .await?
        .flatten();
        let books = match job_id {
            Some(job_id) => book::hold(db, &job_id).await?,
            None => None,
        };
        Ok(Facts { event, transfer: Some(object.id), books })
    }

    fn intent(&self, facts: &Facts, terms: &Terms) -> Result<Plan, JobError> {
        if let Some(event) = &facts.event {
            if let Some(reason) = event.foreign(terms) {
                return Ok(Plan::Nothing(Effects::skip(reason)));
            }
            event.object::<Object>()?;
        }
        let (Some(transfer), Some(books)) = (&facts.transfer, &facts.books) else {
            return Ok(Plan::Nothing(Effects::skip("not ours: no payout has this Transfer")));
        };
        match (&books.transfer_id, books.state.as_str()) {
            (Some(ours), _) if ours == transfer => Ok(Plan::AskAll),
            (Some(ours), _) => Err(JobError::Dead(format!(
                "{transfer} is in the group of the payout for {}, whose Transfer is {ours}: look at both at Stripe",
                books.job_id
            ))),
            (None, state) => Ok(Plan::Nothing(Effects::snooze(Snooze {
                reason: format!("the payout for {} is {state}: its Transfer is not known yet", books.job_id),
                fact: None,
                limit: LIMIT,
            }))),
        }
    }

    async fn look(&self, facts: &Facts, stripe: &Client) -> Result<Looked, Box<Seen>> {
        let Some(transfer) = &facts.transfer else { return Ok(Looked::Nothing) };
        let told = reversals::ask(stripe, transfer).await?;
        Ok(Looked::Found(serde_json::to_value(told).unwrap_or_default()))
    }

    fn resolve(&self, facts: &Facts, answer: Answer<'_>, _: &Terms) -> Result<Effects, JobError> {
        let told = match answer {
            Answer::Fact(told, _) => told,
            Answer::Gone(error) => {
                return Err(JobError::Dead(format!("Stripe does not know the payout's Transfer: {error}")));
            }
            Answer::Made(_) | Answer::Refused { .. } | Answer::Unknown(_) => {
                return Err(JobError::Dead("a question has no effect".into()));
            }
        };
        let told: Told = serde_json::from_value(told.clone())
            .map_err(|error| JobError::Dead(format!("the Transfer does not read: {error}")))?;
        let Some(books) = &facts.books else { return Err(JobError::Dead("the payout is gone".into())) };
        let listed: i64 = told.reversals.iter().map(|reversal| reversal.amount).sum();
        if listed < told.transfer.amount_reversed {
            // Asked for one after the other: the list is the younger, and cannot know less.
            return Err(JobError::Dead(format!(
                "{} says that {} came back, and its reversals come to {listed}: look at them at Stripe",
                told.transfer.id, told.transfer.amount_reversed
            )));
        }
        let effects = books.book(&told.reversals).map_err(JobError::Dead)?;
        if effects.changes.is_empty() {
            return Ok(Effects::skip(format!("all that came back of {} is booked", told.transfer.id)));
        }
        Ok(effects)
    }
}
