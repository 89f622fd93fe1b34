//! Create a page of Stripe's customer portal, where a user looks after cards, invoices and subscriptions.
//!
//! It has no effect on money, and nothing can be looked for: where its outcome is not known, another page is as good. It waits for the
//! user's customer, and makes a deleted one anew, as [`create_checkout`](crate::selling::create_checkout) does.

use bursar_stripe::{Client, Seen, portal};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::{
    customers::create_customer,
    engine::{
        call::{Answer, Call, Looked, Plan},
        change::AnyChange,
        job::{Effects, Job, JobError, NewJob, Outcome},
        kind::{CREATE_PORTAL, Kind},
    },
    selling::{
        change::Change,
        create_checkout::{is_customer_gone, wait_for_customer},
    },
    terms::Terms,
};

/// Makes one page.
#[derive(Debug, Serialize, Deserialize)]
pub struct CreatePortal {
    id: String,
}

impl CreatePortal {
    /// The job that makes it.
    pub fn of(id: &str) -> NewJob {
        NewJob {
            kind: CREATE_PORTAL.name,
            key: id.to_owned(),
            args: serde_json::json!({ "id": id }),
            max_attempts: CREATE_PORTAL.max_attempts,
            delay_ms: 0,
            cause: Some(format!("portal:{id}")),
        }
    }

    fn subject(&self, customer: &create_customer::Facts) -> String {
        if customer.gone == 0 { format!("portal:{}", self.id) } else { format!("portal:{}:{}", self.id, customer.gone) }
    }
}

impl Job for CreatePortal {
    const KIND: Kind = CREATE_PORTAL;
}

/// The request, and whose it is.
#[derive(Debug)]
pub struct Facts {
    page: Option<Page>,
}

#[derive(Debug)]
struct Page {
    user_id: String,
    state: String,
    return_url: Option<String>,
    requested_at: DateTime<Utc>,
    customer: create_customer::Facts,
}

impl Facts {
    fn page(&self) -> Result<&Page, JobError> {
        self.page.as_ref().ok_or_else(|| JobError::Dead("nobody asked for this page".into()))
    }
}

impl Call for CreatePortal {
    type Facts = Facts;

    async fn gather(&self, db: &mut PgConnection) -> Result<Facts, sqlx::Error> {
        let row =
            sqlx::query!("SELECT user_id, state, return_url, requested_at FROM bursar.portal WHERE id = $1", self.id)
                .fetch_optional(&mut *db)
                .await?;
        let Some(row) = row else { return Ok(Facts { page: None }) };
        let customer = create_customer::standing(db, &row.user_id).await?;
        let (user_id, state, return_url, requested_at) = (row.user_id, row.state, row.return_url, row.requested_at);
        Ok(Facts { page: Some(Page { user_id, state, return_url, requested_at, customer }) })
    }

    fn intent(&self, facts: &Facts, _: &Terms) -> Result<Plan, JobError> {
        let page = facts.page()?;
        if page.state == "open" {
            return Ok(Plan::Nothing(Effects::skip("the page is there")));
        }
        let subject = self.subject(&page.customer);
        let Some(customer) = &page.customer.customer else {
            let wait = wait_for_customer(&page.user_id, page.customer.gone, page.requested_at, None, &subject);
            return Ok(Plan::Nothing(wait));
        };
        let request = portal::create(customer, page.return_url.as_deref());
        Ok(Plan::Send { subject, request, since: page.requested_at, marks: Vec::new() })
    }

    async fn look(&self, _: &Facts, _: &Client) -> Result<Looked, Box<Seen>> {
        Ok(Looked::Nothing)
    }

    fn gave_up(&self, why: &str) -> Vec<AnyChange> {
        vec![Change::PortalRefused { id: self.id.clone(), why: why.to_owned() }.into()]
    }

    fn resolve(&self, facts: &Facts, answer: Answer<'_>, _: &Terms) -> Result<Effects, JobError> {
        let page = facts.page()?;
        match answer {
            Answer::Made(object) => {
                let session: portal::Session = serde_json::from_value(object.clone()).map_err(|error| {
                    JobError::Retry { after: None, source: format!("the page does not read: {error}").into() }
                })?;
                let opened = Change::PortalOpened { id: self.id.clone(), url: session.url };
                Ok(Effects { changes: vec![opened.into()], ..Effects::done() })
            }
            Answer::Unknown(_) => Ok(Effects::done()),
            Answer::Refused { error, .. } => match &page.customer.customer {
                Some(customer) if is_customer_gone(error) => {
                    let gone = page.customer.gone + 1;
                    let subject = self.subject(&page.customer);
                    let wait = wait_for_customer(&page.user_id, gone, page.requested_at, None, &subject);
                    let change = Change::CustomerGone { customer: customer.clone() };
                    Ok(Effects { changes: vec![change.into()], ..wait })
                }
                _ => {
                    let outcome = Outcome::Dead(format!("Stripe refused a page of the portal: {error}"));
                    Ok(Effects { outcome, ..Effects::done() })
                }
            },
            Answer::Fact(..) | Answer::Gone(_) => Err(JobError::Dead("a page is no question".into())),
        }
    }
}
