//! Ask a customer: whose customer is it, when neither an event nor a link says so? And what is its mail address now? Stripe is asked,
//! and the answer is the fact.

use std::time::Duration;

use bursar_stripe::{Client, Seen, customers};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::{
    customers::change::{Address, Change, Link},
    engine::{
        call::{Answer, Call, Looked, Plan},
        job::{Effects, Job, JobError, NewJob, Snooze},
        kind::{ASK_CUSTOMER, Kind},
    },
    inbox::event::{Metadata, user_of},
    terms::Terms,
};

/// Asks about one customer, for one event.
#[derive(Debug, Serialize, Deserialize)]
pub struct AskCustomer {
    /// `cus_…`
    pub customer: String,
    /// The event that needs to know.
    pub event: String,
    /// Whether to ask although it is linked: its mail address may be another now.
    #[serde(default)]
    pub address: bool,
}

/// Stripe retries a webhook for three days: a link that has not come by then will not come by itself.
const WAIT_FOR_LINK: Duration = Duration::from_hours(72);

impl AskCustomer {
    /// The job that asks whose a customer is, once for each event; none where Stripe cannot be asked.
    pub fn about(customer: Option<&str>, event: &str, terms: &Terms) -> Vec<NewJob> {
        customer.filter(|_| terms.stripe_on).map(|customer| Self::job(customer, event, false)).into_iter().collect()
    }

    /// The job that asks for a customer's mail address, once for each event; none where Stripe cannot be asked.
    pub fn address(customer: &str, event: &str, terms: &Terms) -> Vec<NewJob> {
        Some(customer)
            .filter(|_| terms.stripe_on)
            .map(|customer| Self::job(customer, event, true))
            .into_iter()
            .collect()
    }

    fn job(customer: &str, event: &str, address: bool) -> NewJob {
        NewJob {
            kind: ASK_CUSTOMER.name,
            key: format!("{customer}:{event}"),
            args: serde_json::json!({ "customer": customer, "event": event, "address": address }),
            max_attempts: ASK_CUSTOMER.max_attempts,
            delay_ms: 0,
            cause: Some(event.to_owned()),
        }
    }

    /// The wait of a job that must know whose a customer is.
    pub fn wait(what: &str, customer: Option<&str>) -> Snooze {
        Snooze {
            reason: format!(
                "{what} names no user, and its customer {} is not linked to one yet",
                customer.unwrap_or("(none)")
            ),
            fact: customer.map(|customer| format!("customer:{customer}")),
            limit: WAIT_FOR_LINK,
        }
    }
}

impl Job for AskCustomer {
    const KIND: Kind = ASK_CUSTOMER;
}

#[derive(Deserialize)]
struct Customer {
    metadata: Option<Metadata>,
    email: Option<String>,
    preferred_locales: Option<Vec<String>>,
    #[serde(default)]
    deleted: bool,
}

/// Languages as they are kept: plain words, with commas.
pub(crate) fn locales(preferred: Option<Vec<String>>) -> Option<String> {
    let plain = |locale: &String| locale.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    let all: Vec<String> = preferred.unwrap_or_default().into_iter().filter(plain).collect();
    (!all.is_empty()).then(|| all.join(","))
}

impl Call for AskCustomer {
    /// Whom it is linked to by now.
    type Facts = Option<String>;

    async fn gather(&self, db: &mut PgConnection) -> Result<Option<String>, sqlx::Error> {
        sqlx::query_scalar!("SELECT user_id FROM bursar.customer WHERE id = $1", self.customer).fetch_optional(db).await
    }

    fn intent(&self, linked: &Option<String>, _: &Terms) -> Result<Plan, JobError> {
        Ok(match linked {
            Some(user) if !self.address => {
                Plan::Nothing(Effects::skip(format!("{} is linked to {user} by now", self.customer)))
            }
            _ => Plan::Ask(customers::retrieve(&self.customer)),
        })
    }

    async fn look(&self, _: &Option<String>, _: &Client) -> Result<Looked, Box<Seen>> {
        Ok(Looked::Nothing)
    }

    fn resolve(&self, linked: &Option<String>, answer: Answer<'_>, _: &Terms) -> Result<Effects, JobError> {
        let (object, asked_at) = match answer {
            Answer::Fact(object, asked_at) => (object, asked_at),
            Answer::Gone(error) => {
                return Ok(Effects::skip(format!("Stripe does not know {}: {error}", self.customer)));
            }
            Answer::Made(_) | Answer::Refused { .. } | Answer::Unknown(_) => {
                return Err(JobError::Dead("a question has no effect".into()));
            }
        };
        let customer: Customer = serde_json::from_value(object.clone())
            .map_err(|error| JobError::Dead(format!("the customer does not read: {error}")))?;
        if customer.deleted {
            return Ok(Effects::skip(format!("{} was deleted at Stripe", self.customer)));
        }
        let locales = locales(customer.preferred_locales);
        let address =
            Address { customer: self.customer.clone(), email: customer.email, locales, asked_at: Some(asked_at) };
        if linked.is_some() {
            return Ok(Effects { changes: vec![Change::KeepAddress(address).into()], ..Effects::done() });
        }
        let Some(user_id) = user_of(customer.metadata.as_ref(), None)? else {
            return Ok(Effects::skip(format!("not ours: {} names no user (metadata.user_id)", self.customer)));
        };
        let link = Link { id: self.customer.clone(), user_id, event_id: self.event.clone() };
        Ok(Effects {
            changes: vec![Change::LinkCustomer(link).into(), Change::KeepAddress(address).into()],
            ..Effects::done()
        })
    }
}
