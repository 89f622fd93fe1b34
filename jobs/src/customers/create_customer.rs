//! Create a customer: one at Stripe for each user, made once however many ask for it at a time.
//!
//! Rules
//! - The key is the user, `customer:{user_id}`; a customer that Stripe says is gone is made anew, under the next number.
//! - It carries `metadata.user_id`, by which a look finds it among the customers made since it was first asked for.
//! - A user who has a customer, whoever made it, gets no other.

use std::collections::BTreeMap;

use bursar_stripe::{
    Client, Seen,
    customers::{self, Customer},
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::{
    base::text::escaped,
    customers::change::{Change, Link},
    engine::{
        call::{Answer, Call, Looked, Plan},
        job::{Effects, Job, JobError, NewJob},
        kind::{CREATE_CUSTOMER, Kind},
    },
    terms::Terms,
};

/// Seconds that a look goes back behind the first request, for clocks that differ.
const SLACK: i64 = 300;

/// Makes the customer of one user.
#[derive(Debug, Serialize, Deserialize)]
pub struct CreateCustomer {
    user_id: String,
    email: Option<String>,
    /// When somebody first asked for it.
    asked_at: DateTime<Utc>,
}

impl CreateCustomer {
    /// The job that makes it: one for each number of customers that the user had and that are gone.
    pub fn of(user: &str, email: Option<&str>, gone: i64, asked_at: DateTime<Utc>, cause: &str) -> NewJob {
        NewJob {
            kind: CREATE_CUSTOMER.name,
            key: numbered(user, gone),
            args: serde_json::json!({ "user_id": user, "email": email, "asked_at": asked_at }),
            max_attempts: CREATE_CUSTOMER.max_attempts,
            delay_ms: 0,
            cause: Some(cause.to_owned()),
        }
    }

    fn linked(&self, facts: &Facts, object: &serde_json::Value) -> Result<Effects, JobError> {
        let customer: Customer = serde_json::from_value(object.clone()).map_err(|error| JobError::Retry {
            after: None,
            source: format!("the customer does not read: {error}").into(),
        })?;
        if customer.metadata.get("user_id") != Some(&self.user_id) {
            return Err(JobError::Dead(format!("{} was made for {}, and says otherwise", customer.id, self.user_id)));
        }
        let link = Link { id: customer.id, user_id: self.user_id.clone(), event_id: self.subject(facts) };
        Ok(Effects { changes: vec![Change::LinkCustomer(link).into()], ..Effects::done() })
    }

    fn subject(&self, facts: &Facts) -> String {
        format!("customer:{}", numbered(&self.user_id, facts.gone))
    }
}

/// A user, and the number of customers that are gone; a colon in the user's id is escaped, so that no two are spelt alike.
fn numbered(user: &str, gone: i64) -> String {
    let user = escaped(user);
    if gone == 0 { user } else { format!("{user}:{gone}") }
}

/// Whether this can be a mail address. Stripe looks closer; what it would refuse must not keep a customer from being made.
pub fn is_address(text: &str) -> bool {
    let (name, domain) = text.split_once('@').unwrap_or_default();
    let plain = text.bytes().all(|b| b.is_ascii_graphic()) && text.len() <= 254;
    plain && !name.is_empty() && domain.contains('.') && !domain.contains('@') && !domain.ends_with('.')
}

/// As [`current`], for whoever waits for `customer_of:{user}` where there is none: the fact's lock is held until the transaction ends, so
/// that no wake-up is lost (see `bursar.is_known`).
pub(crate) async fn standing(db: &mut PgConnection, user: &str) -> Result<Facts, sqlx::Error> {
    sqlx::query!("SELECT pg_advisory_xact_lock_shared(hashtextextended('customer_of:' || $1, 0::bigint))", user)
        .execute(&mut *db)
        .await?;
    current(db, user).await
}

/// Which customer a user has, and how many are gone.
async fn current(db: &mut PgConnection, user: &str) -> Result<Facts, sqlx::Error> {
    sqlx::query_as!(
        Facts,
        r#"SELECT (pg_catalog.array_agg(id ORDER BY linked_at, id) FILTER (WHERE gone_at IS NULL))[1] AS customer,
                  count(*) FILTER (WHERE gone_at IS NOT NULL) AS "gone!"
           FROM bursar.customer WHERE user_id = $1"#,
        user
    )
    .fetch_one(db)
    .await
}

/// A user's customer.
#[derive(Debug)]
pub struct Facts {
    /// The first that is still there.
    pub(crate) customer: Option<String>,
    /// How many are not.
    pub(crate) gone: i64,
}

impl Job for CreateCustomer {
    const KIND: Kind = CREATE_CUSTOMER;
}

impl Call for CreateCustomer {
    type Facts = Facts;

    async fn gather(&self, db: &mut PgConnection) -> Result<Facts, sqlx::Error> {
        current(db, &self.user_id).await
    }

    fn intent(&self, facts: &Facts, _: &Terms) -> Result<Plan, JobError> {
        if let Some(customer) = &facts.customer {
            return Ok(Plan::Nothing(Effects::skip(format!("{} has the customer {customer}", self.user_id))));
        }
        let metadata = BTreeMap::from([("user_id".to_owned(), self.user_id.clone())]);
        Ok(Plan::Send {
            subject: self.subject(facts),
            request: customers::create(self.email.as_deref(), &metadata),
            since: self.asked_at,
            marks: Vec::new(),
        })
    }

    async fn look(&self, _: &Facts, stripe: &Client) -> Result<Looked, Box<Seen>> {
        let made = customers::made_since(stripe, self.asked_at.timestamp() - SLACK).await?;
        // The oldest: where there are several, every look finds the same.
        let ours = made.iter().rev().find(|customer| customer.metadata.get("user_id") == Some(&self.user_id));
        Ok(ours.map_or(Looked::Nothing, |customer| Looked::Found(serde_json::to_value(customer).unwrap_or_default())))
    }

    fn resolve(&self, facts: &Facts, answer: Answer<'_>, _: &Terms) -> Result<Effects, JobError> {
        match answer {
            Answer::Made(object) => self.linked(facts, object),
            Answer::Unknown(_) => Ok(Effects::done()),
            Answer::Refused { error, .. } => {
                Err(JobError::Dead(format!("Stripe refused a customer for {}: {error}", self.user_id)))
            }
            Answer::Fact(..) | Answer::Gone(_) => Err(JobError::Dead("a customer is no question".into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mail_address_has_a_name_and_a_domain() {
        for good in ["a@b.co", "first.last+tag@sub.example.org"] {
            assert!(is_address(good), "{good}");
        }
        for bad in ["", "a", "@b.co", "a@b", "a@b.", "a b@c.de", "a@b@c.de", "ä@b.de"] {
            assert!(!is_address(bad), "{bad}");
        }
    }

    #[test]
    fn no_two_users_share_a_key() {
        assert_eq!(numbered("alice", 0), "alice");
        assert_ne!(numbered("alice:1", 0), numbered("alice", 1));
        assert_ne!(numbered("a%3A1", 0), numbered("a:1", 0));
    }
}
