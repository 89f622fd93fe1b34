//! Create a checkout: one session at Stripe for one request to buy.
//!
//! Rules
//! - The key is the user and the caller's `Idempotency-Key` (or the one that was made for it): `checkout:{user}:{key}`. The same
//!   request again, before or after a crash, is the same session.
//! - What is sold was fixed when it was asked for, to the byte: a change of the settings since then changes other requests.
//! - It waits for the user's customer. A customer that turns out to be deleted at Stripe is made anew, and the session is for that one.
//! - A subscription whose first payment never came makes way first (`expire_subscription`): no page is made while it can still be paid,
//!   and none once it was. So a user who begins again never has two.
//! - A look lists the customer's sessions and knows its own by `metadata.checkout`.

use std::time::Duration;

use bursar_stripe::{
    Client, Request, Seen, StripeError,
    checkout::{self as sessions, Session},
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::{PgConnection, types::Json};

use crate::{
    base::text::escaped,
    customers::create_customer::{self, CreateCustomer},
    engine::{
        call::{Answer, Call, Looked, Plan, intent},
        change::AnyChange,
        job::{Effects, Job, JobError, NewJob, Outcome, Snooze},
        kind::{CREATE_CHECKOUT, Kind},
    },
    selling::{
        active_subscription::{self, Active},
        change::Change,
        expire_subscription::ExpireSubscription,
        order,
    },
    terms::Terms,
};

/// Makes the session of one checkout.
#[derive(Debug, Serialize, Deserialize)]
pub struct CreateCheckout {
    id: String,
}

impl CreateCheckout {
    /// The job that makes it.
    pub fn of(id: &str) -> NewJob {
        NewJob {
            kind: CREATE_CHECKOUT.name,
            key: id.to_owned(),
            args: serde_json::json!({ "id": id }),
            max_attempts: CREATE_CHECKOUT.max_attempts,
            delay_ms: 0,
            cause: Some(format!("checkout:{id}")),
        }
    }

    fn opened(&self, checkout: &Checkout, object: &Value) -> Result<Effects, JobError> {
        let session: Session = serde_json::from_value(object.clone()).map_err(|error| JobError::Retry {
            after: None,
            source: format!("the session does not read: {error}").into(),
        })?;
        if session.metadata.get("checkout") != Some(&self.id) || session.mode.as_deref() != Some(&checkout.mode) {
            return Err(JobError::Dead(format!("{} is not the session that was asked for", session.id)));
        }
        let opened = Change::Opened {
            id: self.id.clone(),
            session: session.id,
            url: session.url,
            expires_at: session.expires_at.and_then(|seconds| DateTime::from_timestamp(seconds, 0)),
        };
        Ok(Effects { changes: vec![opened.into()], ..Effects::done() })
    }
}

impl Job for CreateCheckout {
    const KIND: Kind = CREATE_CHECKOUT;
}

/// The request, and the customer who buys.
#[derive(Debug)]
pub struct Facts {
    checkout: Option<Checkout>,
}

#[derive(Debug)]
struct Checkout {
    user_id: String,
    key: String,
    mode: String,
    state: String,
    fields: Vec<(String, String)>,
    email: Option<String>,
    requested_at: DateTime<Utc>,
    customer: create_customer::Facts,
    /// What the user subscribes to, and subscriptions that wait for a first payment. Not asked once a request may have left.
    active: Option<Active>,
    unpaid: Vec<String>,
}

impl Checkout {
    /// Names it for ever; another after a customer that is gone, whose request had other bytes.
    fn subject(&self) -> String {
        let plain = format!("checkout:{}:{}", escaped(&self.user_id), escaped(&self.key));
        if self.customer.gone == 0 { plain } else { format!("{plain}:{}", self.customer.gone) }
    }

    fn request(&self, customer: &str) -> Request {
        let mut fields = self.fields.clone();
        fields.push(("customer".into(), customer.to_owned()));
        sessions::create(&fields)
    }
}

impl Facts {
    fn checkout(&self) -> Result<&Checkout, JobError> {
        self.checkout.as_ref().ok_or_else(|| JobError::Dead("there is no such checkout".into()))
    }
}

/// Whether Stripe refuses something because its customer is not there.
pub(crate) fn is_customer_gone(error: &StripeError) -> bool {
    error.code.as_deref() == Some("resource_missing") && error.param.as_deref() == Some("customer")
}

/// The wait for a user's customer, which is being made.
pub(crate) fn wait_for_customer(
    user: &str,
    gone: i64,
    asked: DateTime<Utc>,
    email: Option<&str>,
    cause: &str,
) -> Effects {
    let wait = Snooze {
        reason: format!("{user} has no customer at Stripe yet"),
        fact: Some(format!("customer_of:{user}")),
        limit: Duration::from_hours(72),
    };
    Effects { follow_ups: vec![CreateCustomer::of(user, email, gone, asked, cause)], ..Effects::snooze(wait) }
}

impl Call for CreateCheckout {
    type Facts = Facts;

    async fn gather(&self, db: &mut PgConnection) -> Result<Facts, sqlx::Error> {
        let row = sqlx::query!(
            r#"SELECT user_id, key, mode, state, fields AS "fields: Json<Vec<(String, String)>>", asked ->> 'email'::text AS email, requested_at
               FROM bursar.checkout WHERE id = $1"#,
            self.id
        )
        .fetch_optional(&mut *db)
        .await?;
        let Some(row) = row else { return Ok(Facts { checkout: None }) };
        let customer = create_customer::standing(&mut *db, &row.user_id).await?;
        let mut checkout = Checkout {
            user_id: row.user_id,
            key: row.key,
            mode: row.mode,
            state: row.state,
            fields: row.fields.0,
            email: row.email,
            requested_at: row.requested_at,
            customer,
            active: None,
            unpaid: Vec::new(),
        };
        if checkout.mode == "subscription" && intent::newest(&mut *db, &checkout.subject()).await?.is_none() {
            // Whoever sets a subscription wakes what waits for it, under the same lock.
            order::hold(&mut *db, &checkout.user_id).await?;
            checkout.active = active_subscription::active_subscription(&mut *db, &checkout.user_id).await?;
            checkout.unpaid = active_subscription::unpaid_subscriptions(db, &checkout.user_id).await?;
        }
        Ok(Facts { checkout: Some(checkout) })
    }

    fn intent(&self, facts: &Facts, _: &Terms) -> Result<Plan, JobError> {
        let checkout = facts.checkout()?;
        if !matches!(checkout.state.as_str(), "asked" | "refused") {
            return Ok(Plan::Nothing(Effects::skip(format!("the checkout is {}", checkout.state))));
        }
        if let Some(active) = &checkout.active {
            let why = format!("{} subscribes already ({})", checkout.user_id, active.subscription_id);
            let change = Change::Unbegun { id: self.id.clone(), why: why.clone() };
            return Ok(Plan::Nothing(Effects { changes: vec![change.into()], ..Effects::skip(why) }));
        }
        if let Some(first) = checkout.unpaid.first() {
            let wait = Snooze {
                reason: format!("{first} waits for its first payment: it makes way"),
                fact: Some(format!("subscription:{first}")),
                limit: Duration::from_hours(72),
            };
            let expired = checkout.unpaid.iter().map(|id| ExpireSubscription::of(id, &self.id, checkout.requested_at));
            return Ok(Plan::Nothing(Effects { follow_ups: expired.collect(), ..Effects::snooze(wait) }));
        }
        let Some(customer) = &checkout.customer.customer else {
            let (user, email) = (&checkout.user_id, checkout.email.as_deref());
            let wait =
                wait_for_customer(user, checkout.customer.gone, checkout.requested_at, email, &checkout.subject());
            return Ok(Plan::Nothing(wait));
        };
        Ok(Plan::Send {
            subject: checkout.subject(),
            request: checkout.request(customer),
            since: checkout.requested_at,
            marks: Vec::new(),
        })
    }

    async fn look(&self, facts: &Facts, stripe: &Client) -> Result<Looked, Box<Seen>> {
        let Some(customer) = facts.checkout.as_ref().and_then(|checkout| checkout.customer.customer.as_deref()) else {
            return Ok(Looked::Nothing);
        };
        let sessions = sessions::of_customer(stripe, customer).await?;
        let ours = sessions.iter().find(|session| session.metadata.get("checkout") == Some(&self.id));
        Ok(ours.map_or(Looked::Nothing, |session| Looked::Found(serde_json::to_value(session).unwrap_or_default())))
    }

    fn gave_up(&self, why: &str) -> Vec<AnyChange> {
        vec![Change::Refused { id: self.id.clone(), why: why.to_owned() }.into()]
    }

    fn resolve(&self, facts: &Facts, answer: Answer<'_>, _: &Terms) -> Result<Effects, JobError> {
        let checkout = facts.checkout()?;
        match answer {
            Answer::Made(object) => self.opened(checkout, object),
            Answer::Unknown(_) => Ok(Effects::done()),
            Answer::Refused { error, .. } => match &checkout.customer.customer {
                Some(customer) if is_customer_gone(error) => {
                    let (user, email) = (&checkout.user_id, checkout.email.as_deref());
                    let gone = checkout.customer.gone + 1;
                    let wait = wait_for_customer(user, gone, checkout.requested_at, email, &checkout.subject());
                    let change = Change::CustomerGone { customer: customer.clone() };
                    Ok(Effects { changes: vec![change.into()], ..wait })
                }
                // The outcome says it to whoever asked, too: see `gave_up`.
                _ => Ok(Effects {
                    outcome: Outcome::Dead(format!("Stripe refused the checkout: {error}")),
                    ..Effects::done()
                }),
            },
            Answer::Fact(..) | Answer::Gone(_) => Err(JobError::Dead("a checkout is no question".into())),
        }
    }
}
