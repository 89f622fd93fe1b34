//! Fail a checkout: a payment that was to come later (a debit) did not come.
//!
//! Rules
//! - The signed `checkout.session.async_payment_failed` suffices: such a session cannot be paid any more (Stripe: checkout, delayed
//!   payment methods). The checkout is `failed`, and its user can begin another.
//! - What was paid stays paid, in whatever order the news come.
//! - Why it failed says the payment intent: Stripe is asked afterwards (`check_checkout`). How a subscription stands is asked as well.

use bursar_stripe::checkout::Session;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::{
    engine::{
        job::{Effects, Job, JobError, Pure},
        kind::{FAIL_CHECKOUT, Kind},
    },
    inbox::event::{self, Event, OfEvent},
    selling::{change::Change, check_checkout::CheckCheckout},
    subscriptions::sync_subscription::SyncSubscription,
    terms::Terms,
};

/// Fails the checkout of one event.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FailCheckout(OfEvent);

impl Job for FailCheckout {
    const KIND: Kind = FAIL_CHECKOUT;
}

impl Pure for FailCheckout {
    type Facts = Event;

    async fn gather(db: &mut PgConnection, jobs: &[Self]) -> Result<Vec<Event>, sqlx::Error> {
        event::load(db, &jobs.iter().map(|job| &job.0).collect::<Vec<_>>()).await
    }

    fn run(&self, event: &Event, terms: &Terms) -> Result<Effects, JobError> {
        if let Some(reason) = event.foreign(terms) {
            return Ok(Effects::skip(reason));
        }
        let session: Session = event.object()?;
        let failed = Change::Failed {
            session: session.id.clone(),
            checkout: session.metadata.get("checkout").cloned(),
            subscription: session.subscription.clone(),
            why: "the payment was refused after the checkout".into(),
        };
        let mut follow_ups = Vec::new();
        if terms.stripe_on {
            follow_ups.push(CheckCheckout::of(&session.id, &event.id));
            follow_ups.extend(session.subscription.iter().map(|id| SyncSubscription::after(id, &event.id)));
        }
        Ok(Effects { changes: vec![failed.into()], follow_ups, ..Effects::done() })
    }
}
