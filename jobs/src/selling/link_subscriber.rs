//! Link a subscriber: tie a Stripe customer to the user it stands for, once, from the first event that says so.
//!
//! Rules
//! - Whatever bursar makes at Stripe carries `metadata.user_id`; a checkout also has `client_reference_id`. Checkouts in
//!   subscription mode, customers and subscriptions are read for them.
//! - A customer belongs to one user for ever; another user for a linked customer is a conflict, for an operator.
//! - Linking wakes the jobs that wait for it.
//! - A customer's mail address is kept as Stripe has it now; where Stripe cannot be asked, as the first event says it.
//! - How the subscription of a checkout, or a new one, stands is asked of Stripe afterwards (`sync_subscription`).
//! - A checkout that is complete is noted as such, with the subscription that it began; a user never seen before gets the initial credits.

use std::{collections::HashSet, sync::Arc};

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use bursar_stripe::Reference;

use crate::{
    customers::{
        self,
        change::{Address, Link},
        identify_customer::{AskCustomer, locales},
        initial_credits,
    },
    engine::{
        change::AnyChange,
        job::{Effects, Job, JobError, Pure},
        kind::{Kind, LINK_SUBSCRIBER},
    },
    inbox::event::{self, Event, Metadata, OfEvent, user_of},
    selling::change::Change,
    subscriptions::sync_subscription::SyncSubscription,
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
    customer: Option<Reference>,
    client_reference_id: Option<String>,
    metadata: Option<Metadata>,
    subscription: Option<Reference>,
    payment_status: Option<String>,
    email: Option<String>,
    preferred_locales: Option<Vec<String>>,
}

/// The event, and who is new.
#[derive(Debug)]
pub struct Facts {
    event: Event,
    new: Arc<HashSet<String>>,
}

impl Pure for LinkSubscriber {
    type Facts = Facts;

    async fn gather(db: &mut PgConnection, jobs: &[Self]) -> Result<Vec<Facts>, sqlx::Error> {
        let events = event::load(db, &jobs.iter().map(|job| &job.0).collect::<Vec<_>>()).await?;
        let users: Vec<String> = events
            .iter()
            .filter_map(|event| event.object::<Object>().ok())
            .filter_map(|o| user_of(o.metadata.as_ref(), o.client_reference_id.as_deref()).ok().flatten())
            .collect();
        let new = Arc::new(initial_credits::new_among(db, &users).await?);
        Ok(events.into_iter().map(|event| Facts { event, new: Arc::clone(&new) }).collect())
    }

    fn run(&self, facts: &Facts, terms: &Terms) -> Result<Effects, JobError> {
        let event = &facts.event;
        if let Some(reason) = event.foreign(terms) {
            return Ok(Effects::skip(reason));
        }
        let object: Object = event.object()?;
        let mut follow_ups = Vec::new();
        let subscription = match object.what.as_deref() {
            Some("subscription") => Some(object.id.clone()),
            _ => object.subscription.map(Reference::into_id),
        };
        let mut changes: Vec<AnyChange> = Vec::new();
        if object.what.as_deref() == Some("checkout.session") {
            changes.push(
                Change::Complete {
                    session: object.id.clone(),
                    checkout: object.metadata.as_ref().and_then(|metadata| metadata.get("checkout").cloned()),
                    payment_status: object.payment_status.clone(),
                    subscription: subscription.clone(),
                }
                .into(),
            );
        }
        if terms.stripe_on {
            follow_ups.extend(subscription.map(|id| SyncSubscription::after(&id, &event.id)));
        }
        let is_customer = object.what.as_deref() == Some("customer");
        let customer = if is_customer { Some(object.id) } else { object.customer.map(Reference::into_id) };
        let Some(id) = customer else {
            return Ok(Effects { changes, follow_ups, ..Effects::skip("it names no customer") });
        };
        if is_customer {
            let locales = locales(object.preferred_locales);
            let address = Address { customer: id.clone(), email: object.email, locales, asked_at: None };
            changes.push(customers::change::Change::KeepAddress(address).into());
            follow_ups.extend(AskCustomer::address(&id, &event.id, terms));
        }
        let Some(user_id) = user_of(object.metadata.as_ref(), object.client_reference_id.as_deref())? else {
            let why = "not ours: it names no user (metadata.user_id or client_reference_id)";
            return Ok(Effects { changes, follow_ups, ..Effects::skip(why) });
        };
        let new = facts.new.contains(&user_id);
        let welcome = new.then(|| initial_credits::welcome(&user_id, terms, Some(&event.id))).flatten();
        let link = Link { id, user_id, event_id: event.id.clone() };
        changes.insert(0, customers::change::Change::LinkCustomer(link).into());
        Ok(Effects { postings: welcome.into_iter().collect(), changes, follow_ups, ..Effects::done() })
    }
}
