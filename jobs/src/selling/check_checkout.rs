//! Check a checkout: ask Stripe where a session stands, because somebody waits and its event is late, or never came.
//!
//! A payment that was to come later and did not, a debit say, fails the checkout. What was paid is granted under the very key of the event, `purchase:{session}`: whichever of the two comes second finds it done.

use bursar_stripe::{
    Client, Seen,
    checkout::{self, Session},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgConnection;

use crate::{
    customers::{self, change::Link},
    engine::{
        call::{Answer, Call, Looked, Plan},
        job::{Effects, Job, JobError, NewJob},
        kind::{CHECK_CHECKOUT, Kind},
    },
    selling::{
        change::Change,
        purchase::{self, Shop},
    },
    subscriptions::sync_subscription::SyncSubscription,
    terms::Terms,
};

/// Checks one session.
#[derive(Debug, Serialize, Deserialize)]
pub struct CheckCheckout {
    session: String,
}

impl CheckCheckout {
    /// The job that asks, once for each occasion.
    pub fn of(session: &str, occasion: &str) -> NewJob {
        NewJob {
            kind: CHECK_CHECKOUT.name,
            key: format!("{session}:{occasion}"),
            args: serde_json::json!({ "session": session }),
            max_attempts: CHECK_CHECKOUT.max_attempts,
            delay_ms: 0,
            cause: Some(session.to_owned()),
        }
    }

    /// A subscription's checkout grants nothing itself: its invoice does.
    fn subscribed(session: &Session, terms: &Terms) -> Effects {
        let mut effects = Effects::done();
        effects.changes.push(
            Change::Complete {
                session: session.id.clone(),
                checkout: session.metadata.get("checkout").cloned(),
                payment_status: session.payment_status.clone(),
                subscription: session.subscription.clone(),
            }
            .into(),
        );
        if let (Some(customer), Some(user_id)) = (&session.customer, purchase::named_user(session)) {
            let link = Link { id: customer.clone(), user_id, event_id: session.id.clone() };
            effects.changes.push(customers::change::Change::LinkCustomer(link).into());
        }
        let subscription = session.subscription.iter().filter(|_| terms.stripe_on);
        effects.follow_ups.extend(subscription.map(|id| SyncSubscription::of(id, &session.id)));
        effects
    }
}

/// Why a session that was gone through will never be paid, if so: its payment was to come later, and did not.
fn failure(session: &Session, object: &Value) -> Option<String> {
    if (session.status.as_deref(), session.payment_status.as_deref()) != (Some("complete"), Some("unpaid")) {
        return None;
    }
    let intent = &object["payment_intent"];
    if !matches!(intent["status"].as_str(), Some("requires_payment_method" | "canceled")) {
        return None;
    }
    let error = &intent["last_payment_error"];
    let said = error["message"].as_str().or(error["decline_code"].as_str()).or(error["code"].as_str());
    Some(said.map_or_else(|| "the payment failed".to_owned(), |said| format!("the payment failed: {said}")))
}

impl Job for CheckCheckout {
    const KIND: Kind = CHECK_CHECKOUT;
}

impl Call for CheckCheckout {
    type Facts = Shop;

    async fn gather(&self, db: &mut PgConnection) -> Result<Shop, sqlx::Error> {
        Shop::of_id(db, &self.session).await
    }

    fn intent(&self, _: &Shop, _: &Terms) -> Result<Plan, JobError> {
        Ok(Plan::Ask(checkout::retrieve_with_payment(&self.session)))
    }

    async fn look(&self, _: &Shop, _: &Client) -> Result<Looked, Box<Seen>> {
        Ok(Looked::Nothing)
    }

    fn resolve(&self, shop: &Shop, answer: Answer<'_>, terms: &Terms) -> Result<Effects, JobError> {
        let object = match answer {
            Answer::Fact(object, _) => object,
            Answer::Gone(error) => {
                return Ok(Effects::skip(format!("Stripe does not know {}: {error}", self.session)));
            }
            Answer::Made(_) | Answer::Refused { .. } | Answer::Unknown(_) => {
                return Err(JobError::Dead("a question has no effect".into()));
            }
        };
        let session: Session = serde_json::from_value(object.clone())
            .map_err(|error| JobError::Dead(format!("the session does not read: {error}")))?;
        if session.livemode.is_some_and(|live| live != terms.livemode) {
            return Ok(Effects::skip("not ours: a session of the other mode"));
        }
        if let Some(why) = failure(&session, object) {
            let failed = Change::Failed {
                checkout: session.metadata.get("checkout").cloned(),
                subscription: session.subscription.clone(),
                session: session.id,
                why: why.clone(),
            };
            return Ok(Effects { changes: vec![failed.into()], ..Effects::skip(why) });
        }
        match session.status.as_deref() {
            Some("complete") if session.mode.as_deref() == Some("payment") => shop.grant(&session, terms, None),
            Some("complete") => Ok(Self::subscribed(&session, terms)),
            Some("expired") => {
                let expired = Change::Expired { session: session.id };
                Ok(Effects { changes: vec![expired.into()], ..Effects::skip("it expired, and nobody paid") })
            }
            other => Ok(Effects::skip(format!("it is {}", other.unwrap_or("in no state that is known")))),
        }
    }
}
