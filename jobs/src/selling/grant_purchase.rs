//! Grant a purchase: a paid one-time checkout grants the credits of what was paid, once per session.
//!
//! Rules
//! - `checkout.session.completed` with `payment_status` unpaid is not money; `…async_payment_succeeded` is (Stripe: checkout,
//!   delayed payment methods). Both carry the session, and the session is the key: one purchase, one grant.
//! - What it grants is said at the head of [`purchase`](crate::selling::purchase), for its event and for [`check_checkout`](crate::selling::check_checkout) alike.
//! - A session that names no user is not ours. A buyer who was never seen before gets the initial credits.

use std::sync::Arc;

use bursar_stripe::checkout::Session;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::{
    engine::{
        job::{Effects, Job, JobError, Pure},
        kind::{GRANT_PURCHASE, Kind},
    },
    inbox::event::{self, Event, OfEvent},
    selling::purchase::Shop,
    terms::Terms,
};

/// Grants what one checkout session bought.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GrantPurchase(OfEvent);

impl Job for GrantPurchase {
    const KIND: Kind = GRANT_PURCHASE;
}

/// The event, and what is known beside it.
#[derive(Debug)]
pub struct Facts {
    event: Event,
    shop: Arc<Shop>,
}

impl Pure for GrantPurchase {
    type Facts = Facts;

    async fn gather(db: &mut PgConnection, jobs: &[Self]) -> Result<Vec<Facts>, sqlx::Error> {
        let events = event::load(db, &jobs.iter().map(|job| &job.0).collect::<Vec<_>>()).await?;
        let sessions: Vec<Session> = events.iter().filter_map(|event| event.object().ok()).collect();
        let shop = Arc::new(Shop::of(db, &sessions.iter().collect::<Vec<_>>()).await?);
        Ok(events.into_iter().map(|event| Facts { event, shop: Arc::clone(&shop) }).collect())
    }

    fn run(&self, facts: &Facts, terms: &Terms) -> Result<Effects, JobError> {
        let event = &facts.event;
        if let Some(reason) = event.foreign(terms) {
            return Ok(Effects::skip(reason));
        }
        let session: Session = event.object()?;
        if session.mode.as_deref() != Some("payment") {
            let mode = session.mode.unwrap_or_default();
            return Ok(Effects::skip(format!("a checkout in mode {mode:?} sells no package")));
        }
        facts.shop.grant(&session, terms, Some(&event.id))
    }
}
