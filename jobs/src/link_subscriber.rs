//! Link a subscriber: tie a Stripe customer to the user it stands for, once, from the first event that says so.
//!
//! Rules
//! - Whatever bursar makes at Stripe carries `metadata.user_id`; a checkout also has `client_reference_id`. Checkouts in
//!   subscription mode, customers and subscriptions are read for them.
//! - A customer belongs to one user for ever; another user for a linked customer is a conflict, for an operator.
//! - Linking wakes the jobs that wait for it.
//! - A customer's mail address is kept as Stripe has it now; where Stripe cannot be asked, as the first event says it.
//! - How the subscription of a checkout, or a new one, stands is asked of Stripe afterwards (`sync_subscription`).

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::{
    ask_customer::AskCustomer,
    effects::{Address, Change, Link},
    event::{self, Event, Metadata, OfEvent, user_of},
    job::{Effects, Job, JobError, Pure},
    kinds::{Kind, LINK_SUBSCRIBER},
    sync_subscription::SyncSubscription,
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
    subscription: Option<Customer>,
    email: Option<String>,
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
        let mut follow_ups = Vec::new();
        let subscription = match object.what.as_deref() {
            Some("subscription") => Some(object.id.clone()),
            _ => object.subscription.map(Customer::into_id),
        };
        if terms.stripe_on {
            follow_ups.extend(subscription.map(|id| SyncSubscription::after(&id, &event.id)));
        }
        let is_customer = object.what.as_deref() == Some("customer");
        let customer = if is_customer { Some(object.id) } else { object.customer.map(Customer::into_id) };
        let Some(id) = customer else {
            return Ok(Effects { follow_ups, ..Effects::skip("it names no customer") });
        };
        let mut changes = Vec::new();
        if is_customer {
            changes.push(Change::KeepAddress(Address { customer: id.clone(), email: object.email, asked_at: None }));
            follow_ups.extend(AskCustomer::address(&id, &event.id, terms));
        }
        let Some(user_id) = user_of(object.metadata.as_ref(), object.client_reference_id.as_deref())? else {
            let why = "not ours: it names no user (metadata.user_id or client_reference_id)";
            return Ok(Effects { changes, follow_ups, ..Effects::skip(why) });
        };
        let link = Link { id, user_id, event_id: event.id.clone() };
        changes.insert(0, Change::LinkCustomer(link));
        Ok(Effects { changes, follow_ups, ..Effects::done() })
    }
}
