//! Ask a customer: whose customer is it, when neither an event nor a link says so? Stripe is asked, and the answer is the fact.

use bursar_stripe::{Client, Seen, customers};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::{
    call::{Answer, Call, Looked, Plan},
    effects::{Change, Link},
    event::{Metadata, user_of},
    job::{Effects, Job, JobError},
    kinds::{ASK_CUSTOMER, Kind},
    terms::Terms,
};

/// Asks about one customer, for one event.
#[derive(Debug, Serialize, Deserialize)]
pub struct AskCustomer {
    /// `cus_…`
    pub customer: String,
    /// The event that needs to know.
    pub event: String,
}

impl Job for AskCustomer {
    const KIND: Kind = ASK_CUSTOMER;
}

#[derive(Deserialize)]
struct Customer {
    metadata: Option<Metadata>,
    #[serde(default)]
    deleted: bool,
}

impl Call for AskCustomer {
    /// Whom it is linked to by now.
    type Facts = Option<String>;

    async fn gather(&self, db: &mut PgConnection) -> Result<Option<String>, sqlx::Error> {
        sqlx::query_scalar!("SELECT user_id FROM bursar.customer WHERE id = $1", self.customer).fetch_optional(db).await
    }

    fn intent(&self, linked: &Option<String>, _: &Terms) -> Result<Plan, JobError> {
        Ok(match linked {
            Some(user) => Plan::Nothing(Effects::skip(format!("{} is linked to {user} by now", self.customer))),
            None => Plan::Ask(customers::retrieve(&self.customer)),
        })
    }

    async fn look(&self, _: &Option<String>, _: &Client) -> Result<Looked, Box<Seen>> {
        Ok(Looked::Nothing)
    }

    fn resolve(&self, _: &Option<String>, answer: Answer<'_>, _: &Terms) -> Result<Effects, JobError> {
        let object = match answer {
            Answer::Fact(object, _) => object,
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
        let Some(user_id) = user_of(customer.metadata.as_ref(), None)? else {
            return Ok(Effects::skip(format!("not ours: {} names no user (metadata.user_id)", self.customer)));
        };
        let link = Link { id: self.customer.clone(), user_id, event_id: self.event.clone() };
        Ok(Effects { changes: vec![Change::LinkCustomer(link)], ..Effects::done() })
    }
}
