//! Check an account: when Stripe says that a connected account changed, ask how it stands now, and let go what was held for it.
//!
//! Rules
//! - Events come late and out of order: what counts is what Stripe answers now, never the event's snapshot.
//! - An account is a receiver's by its `metadata.user_id`. An account of another user, or a user's second account, is a conflict.
//! - Held payouts are let go in the transaction that makes the receiver active, under the receiver's row.

use bursar_stripe::{
    Client, Seen,
    accounts::{self, Account, Capability},
};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::{
    call::{Answer, Call, Looked, Plan},
    effects::{Change, Standing},
    event::{self, Event, OfEvent, check_user},
    job::{Effects, Job, JobError, NewJob},
    kinds::{CHECK_ACCOUNT, Kind},
    terms::Terms,
};

/// Checks one account: that of an event, or one that is named.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum CheckAccount {
    /// The account of an event.
    Event(OfEvent),
    /// A receiver's account that is worth another look.
    Named {
        /// `acct_…`
        account: String,
    },
}

impl CheckAccount {
    /// The job that looks at a receiver's account again, once for each occasion.
    pub fn of(account: &str, occasion: &str) -> NewJob {
        NewJob {
            kind: CHECK_ACCOUNT.name,
            key: format!("{account}:{occasion}"),
            args: serde_json::json!({ "account": account }),
            max_attempts: CHECK_ACCOUNT.max_attempts,
            delay_ms: 0,
            cause: None,
        }
    }
}

impl Job for CheckAccount {
    const KIND: Kind = CHECK_ACCOUNT;
}

/// In a word, for people.
fn standing(account: &Account) -> String {
    match (&account.transfers, &account.disabled_reason) {
        (Capability::Active, _) => "active".into(),
        (_, Some(reason)) => format!("restricted: {reason}"),
        (Capability::Pending, None) => "pending".into(),
        (Capability::Inactive, None) => "inactive".into(),
        (Capability::Other(word), None) => word.clone(),
    }
}

#[derive(Deserialize)]
struct Object {
    id: String,
}

impl Call for CheckAccount {
    type Facts = Option<Event>;

    async fn gather(&self, db: &mut PgConnection) -> Result<Option<Event>, sqlx::Error> {
        match self {
            Self::Event(of) => Ok(event::load(db, &[of]).await?.pop()),
            Self::Named { .. } => Ok(None),
        }
    }

    fn intent(&self, event: &Option<Event>, terms: &Terms) -> Result<Plan, JobError> {
        let event = match (self, event) {
            (Self::Named { account }, _) => return Ok(Plan::Ask(accounts::retrieve(account))),
            (Self::Event(_), Some(event)) => event,
            (Self::Event(of), None) => return Err(JobError::Dead(format!("there is no event {}", of.event))),
        };
        // It happened on a connected account, as it must; only the mode can be foreign.
        if let Some(reason) = event.of_other_mode(terms) {
            return Ok(Plan::Nothing(Effects::skip(reason)));
        }
        let account: Object = event.object()?;
        Ok(Plan::Ask(accounts::retrieve(&account.id)))
    }

    async fn look(&self, _: &Option<Event>, _: &Client) -> Result<Looked, Box<Seen>> {
        Ok(Looked::Nothing)
    }

    fn resolve(&self, _: &Option<Event>, answer: Answer<'_>, _: &Terms) -> Result<Effects, JobError> {
        let (object, asked_at) = match answer {
            Answer::Fact(object, asked_at) => (object, asked_at),
            Answer::Gone(error) => return Ok(Effects::skip(format!("Stripe does not know the account: {error}"))),
            Answer::Made(_) | Answer::Refused { .. } | Answer::Unknown(_) => {
                return Err(JobError::Dead("a question has no effect".into()));
            }
        };
        let account: Account = serde_json::from_value(object.clone())
            .map_err(|error| JobError::Dead(format!("the account does not read: {error}")))?;
        let Some(user_id) = account.metadata.get("user_id").filter(|user| !user.is_empty()).cloned() else {
            return Ok(Effects::skip(format!("not ours: {} names no user (metadata.user_id)", account.id)));
        };
        check_user(&user_id)?;
        let standing = Standing {
            user_id,
            active: account.transfers == Capability::Active,
            state: standing(&account),
            account_id: account.id,
            asked_at,
        };
        Ok(Effects { changes: vec![Change::SetReceiver(standing)], ..Effects::done() })
    }
}
