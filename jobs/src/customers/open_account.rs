//! Open an account: a new user of the application gets an account and the initial credits, once per user, and a customer at Stripe.
//!
//! Whoever was seen before, at a checkout or by a purchase, has the initial credits already: the key is the user. A change of the
//! setting since then changes nothing for them.

use std::{collections::HashSet, sync::Arc};

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::{
    customers::{
        change::Change,
        create_customer::{self, CreateCustomer},
        initial_credits,
    },
    engine::{
        job::{Effects, Job, JobError, Pure},
        kind::{Kind, OPEN_ACCOUNT},
    },
    inbox::event::{self, Event, OfEvent, check_user},
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
    email: Option<String>,
}

/// The event, and who has had the initial credits.
#[derive(Debug)]
pub struct Facts {
    event: Event,
    welcomed: Arc<HashSet<String>>,
}

impl Pure for OpenAccount {
    type Facts = Facts;

    async fn gather(db: &mut PgConnection, jobs: &[Self]) -> Result<Vec<Facts>, sqlx::Error> {
        let events = event::load(db, &jobs.iter().map(|job| &job.0).collect::<Vec<_>>()).await?;
        let users: Vec<String> =
            events.iter().filter_map(|event| Some(event.read::<Body>().ok()?.data.user_id)).collect();
        let welcomed = Arc::new(initial_credits::welcomed_among(db, &users).await?);
        Ok(events.into_iter().map(|event| Facts { event, welcomed: Arc::clone(&welcomed) }).collect())
    }

    fn run(&self, facts: &Facts, terms: &Terms) -> Result<Effects, JobError> {
        let event = &facts.event;
        let Data { user_id, email } = event.read::<Body>()?.data;
        check_user(&user_id)?;
        let mut effects = Effects::done();
        if !facts.welcomed.contains(&user_id) {
            effects.postings.extend(initial_credits::welcome(&user_id, terms, Some(&event.id)));
        }
        if terms.stripe_on {
            let email = email.filter(|email| create_customer::is_address(email));
            effects.follow_ups.push(CreateCustomer::of(
                &user_id,
                email.as_deref(),
                0,
                facts.event.received_at,
                &event.id,
            ));
        }
        effects.changes.push(Change::OpenAccount { user_id }.into());
        Ok(effects)
    }
}
