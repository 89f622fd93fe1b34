//! Expire a checkout: of the pages where a user could begin a subscription, only one stays open, and none once there is a subscription,
//! for whoever has two open pages can pay both.
//!
//! Rules
//! - When a second session for a subscription is opened, the newest stays; when one is gone through, or the user subscribes some other
//!   way, none does. A session that is opened while the user subscribes already is expired at once.
//! - A refusal is a fact and not a fault: whoever was faster has paid, or it is over by itself. Stripe is asked which, and what was
//!   paid follows as ever. One that is still open although Stripe refuses is an operator's matter.
//! - What slips through all the same is flagged: see `bursar.user_flag`, `second_subscription`.

use bursar_stripe::{
    Client, Seen,
    checkout::{self as sessions, Session},
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::{
    engine::{
        call::{Answer, Call, Looked, Plan},
        enqueue,
        job::{Effects, Job, JobError, NewJob, Outcome},
        kind::{EXPIRE_CHECKOUT, Kind},
    },
    selling::{active_subscription, change::Change, check_checkout::CheckCheckout, order},
    terms::Terms,
};

/// Expires one session.
#[derive(Debug, Serialize, Deserialize)]
pub struct ExpireCheckout {
    /// `cs_…`
    session: String,
    /// What Stripe said when it refused: now it is asked how the session stands.
    #[serde(default)]
    refused: Option<String>,
}

impl ExpireCheckout {
    fn of(session: &str) -> NewJob {
        Self { session: session.to_owned(), refused: None }.job()
    }

    fn job(&self) -> NewJob {
        let after = if self.refused.is_some() { ":refused" } else { "" };
        NewJob {
            kind: EXPIRE_CHECKOUT.name,
            key: format!("{}{after}", self.session),
            args: serde_json::json!({ "session": self.session, "refused": self.refused }),
            max_attempts: EXPIRE_CHECKOUT.max_attempts,
            delay_ms: 0,
            cause: Some(self.session.clone()),
        }
    }

    /// What a session's state means here.
    fn stands(&self, session: &Session) -> Effects {
        match (session.status.as_deref(), &self.refused) {
            (Some("expired"), _) => {
                let expired = Change::Expired { session: self.session.clone() };
                Effects { changes: vec![expired.into()], ..Effects::done() }
            }
            (Some("complete"), _) => {
                let follow_ups = vec![CheckCheckout::of(&self.session, "not expired")];
                Effects { follow_ups, ..Effects::skip("the buyer was faster: it is complete") }
            }
            (status, refused) => {
                let outcome = Outcome::Dead(format!(
                    "Stripe did not expire it ({}), and it is {}: expire it there, or the user may subscribe twice",
                    refused.as_deref().unwrap_or("and said no reason"),
                    status.unwrap_or("in no state that is known"),
                ));
                Effects { outcome, ..Effects::done() }
            }
        }
    }
}

impl Job for ExpireCheckout {
    const KIND: Kind = EXPIRE_CHECKOUT;
}

/// Enqueues what expires a user's open sessions for subscriptions: all but the newest where there is no subscription, all where there is
/// one, none while one waits for its first payment: that may be made on any of them. Whoever opens or ends a session for one calls it afterwards, so that of two at once the second sees what the first did.
pub(crate) async fn expire_others(db: &mut PgConnection, user: &str) -> Result<(), sqlx::Error> {
    order::hold(&mut *db, user).await?;
    let open = sqlx::query_scalar!(
        r#"SELECT session_id AS "session!" FROM bursar.checkout
           WHERE NOT EXISTS (SELECT FROM bursar.subscription s WHERE s.user_id = $1 AND s.status = 'incomplete')
             AND user_id = $1 AND mode = 'subscription' AND state = 'open' AND session_id IS NOT NULL AND expires_at > (SELECT bursar.now())
           ORDER BY requested_at DESC, id"#,
        user
    )
    .fetch_all(&mut *db)
    .await?;
    if open.is_empty() {
        return Ok(());
    }
    let stays = usize::from(active_subscription::active_subscription(&mut *db, user).await?.is_none());
    let jobs: Vec<NewJob> = open.iter().skip(stays).map(|session| ExpireCheckout::of(session)).collect();
    enqueue::enqueue(db, &jobs).await.map(drop)
}

/// The session, as it is known here.
#[derive(Debug)]
pub struct Facts {
    state: String,
    requested_at: DateTime<Utc>,
}

impl Call for ExpireCheckout {
    type Facts = Option<Facts>;

    async fn gather(&self, db: &mut PgConnection) -> Result<Option<Facts>, sqlx::Error> {
        sqlx::query_as!(Facts, "SELECT state, requested_at FROM bursar.checkout WHERE session_id = $1", self.session)
            .fetch_optional(db)
            .await
    }

    fn intent(&self, facts: &Option<Facts>, _: &Terms) -> Result<Plan, JobError> {
        let Some(facts) = facts else { return Err(JobError::Dead(format!("{} is no session of ours", self.session))) };
        if facts.state != "open" {
            return Ok(Plan::Nothing(Effects::skip(format!("it is {} already", facts.state))));
        }
        if self.refused.is_some() {
            return Ok(Plan::Ask(sessions::retrieve(&self.session)));
        }
        let (subject, request) = (format!("expire:{}", self.session), sessions::expire(&self.session));
        Ok(Plan::Send { subject, request, since: facts.requested_at, marks: Vec::new() })
    }

    async fn look(&self, _: &Option<Facts>, stripe: &Client) -> Result<Looked, Box<Seen>> {
        let seen = stripe.send(&sessions::retrieve(&self.session), None).await;
        let session: Session = seen.read()?;
        if session.status.as_deref() == Some("open") {
            return Ok(Looked::Nothing);
        }
        Ok(Looked::Found(serde_json::to_value(session).unwrap_or_default()))
    }

    fn resolve(&self, _: &Option<Facts>, answer: Answer<'_>, _: &Terms) -> Result<Effects, JobError> {
        match answer {
            Answer::Made(object) | Answer::Fact(object, _) => {
                let session: Session = serde_json::from_value(object.clone()).map_err(|error| JobError::Retry {
                    after: None,
                    source: format!("the session does not read: {error}").into(),
                })?;
                Ok(self.stands(&session))
            }
            Answer::Unknown(_) => Ok(Effects::done()),
            Answer::Refused { error, .. } => {
                let asks = Self { session: self.session.clone(), refused: Some(error.to_string()) };
                let why = format!("Stripe did not expire it: asking how it stands ({error})");
                Ok(Effects { follow_ups: vec![asks.job()], ..Effects::skip(why) })
            }
            Answer::Gone(error) => Ok(Effects::skip(format!("Stripe does not know it: {error}"))),
        }
    }
}
