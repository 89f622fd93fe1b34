//! Link a subscriber: tie a Stripe customer to the user it stands for, once, from the first event that says so.
//!
//! Rules
//! - Whatever bursar makes at Stripe carries `metadata.user_id`; a checkout also has `client_reference_id`. Checkouts in
//!   subscription mode, customers and subscriptions are read for them.
//! - A customer belongs to one user for ever; another user for a linked customer is a conflict, for an operator.
//! - Linking wakes the jobs that wait for it.

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::{
    effects::{Change, Link},
    event::{self, Event, Metadata, OfEvent, user_of},
    job::{Effects, Job, JobError, Pure},
    kinds::{Kind, LINK_SUBSCRIBER},
    terms::Terms,
};

/// Ties the customer of one event to its user.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LinkSubscriber(OfEvent);

impl Job for LinkSubscriber {
    const KIND: Kind = LINK_SUBSCRIBER;
}

#[derive(Deserialize)]
struct Object {
    id: String,
    #[serde(rename = "object")]
    what: Option<String>,
    customer: Option<Customer>,
    client_reference_id: Option<String>,
    metadata: Option<Metadata>,
}

/// An id, or the object itself where it was expanded.
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum Customer {
    Id(String),
    Expanded { id: String },
}

impl Customer {
    pub(crate) fn into_id(self) -> String {
        match self {
            Self::Id(id) | Self::Expanded { id } => id,
        }
    }
}

impl Pure for LinkSubscriber {
    type Facts = Event;

    async fn gather(db: &mut PgConnection, jobs: &[Self]) -> Result<Vec<Event>, sqlx::Error> {
        event::load(db, &jobs.iter().map(|job| &job.0).collect::<Vec<_>>()).await
    }

    fn run(&self, event: &Event, terms: &Terms) -> Result<Effects, JobError> {
        if let Some(reason) = event.foreign(terms) {
            return Ok(Effects::skip(reason));
        }
        let object: Object = event.object()?;
        let customer = match object.what.as_deref() {
            Some("customer") => Some(object.id),
            _ => object.customer.map(Customer::into_id),
        };
        let Some(id) = customer else {
            return Ok(Effects::skip("it names no customer"));
        };
        let Some(user_id) = user_of(object.metadata.as_ref(), object.client_reference_id.as_deref())? else {
            return Ok(Effects::skip("not ours: it names no user (metadata.user_id or client_reference_id)"));
        };
        let link = Link { id, user_id, event_id: event.id.clone() };
        Ok(Effects { changes: vec![Change::LinkCustomer(link)], ..Effects::done() })
    }
}
