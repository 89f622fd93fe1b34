//! Create an account: one at Stripe for each receiver, made once however many ask for it at a time.
//!
//! Rules
//! - The key is the user, `account:{user_id}`. Where the platform's access to an account is gone, another is made under the next number,
//!   and never before a look.
//! - It carries `metadata.user_id`, by which a look finds it among the accounts made since one was first asked for here.
//! - A receiver who has an account, whoever made it, gets no other.
//! - How it stands is asked of Stripe, and not read from the answer: that may be an old one, given again.

use std::collections::BTreeMap;

use bursar_stripe::{
    Client, Seen,
    accounts::{self, Made},
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::{
    base::text::escaped,
    engine::{
        call::{Answer, Call, Looked, Plan},
        change::AnyChange,
        job::{Effects, Job, JobError, NewJob},
        kind::{CREATE_ACCOUNT, Kind},
    },
    receivers::{change::Change, check_account::CheckAccount},
    terms::Terms,
};

/// Seconds that a look goes back behind the first request, for clocks that differ.
const SLACK: i64 = 300;

/// Makes the account of one receiver.
#[derive(Debug, Serialize, Deserialize)]
pub struct CreateAccount {
    user_id: String,
    country: Option<String>,
    /// When somebody first asked for one, ever.
    asked_at: DateTime<Utc>,
}

impl CreateAccount {
    /// The job that makes it: one for each time that the receiver's account was found to be gone.
    pub fn of(user: &str, country: Option<&str>, lost: i32, asked_at: DateTime<Utc>) -> NewJob {
        let key = numbered(user, lost);
        NewJob {
            kind: CREATE_ACCOUNT.name,
            args: serde_json::json!({ "user_id": user, "country": country, "asked_at": asked_at }),
            max_attempts: CREATE_ACCOUNT.max_attempts,
            delay_ms: 0,
            cause: Some(format!("account:{key}")),
            key,
        }
    }

    fn made(&self, account: &str) -> Change {
        Change::Made { user_id: self.user_id.clone(), account_id: account.to_owned() }
    }
}

/// A user, and how often an account was gone; a colon in the user's id is escaped, so that no two are spelt alike.
fn numbered(user: &str, lost: i32) -> String {
    let user = escaped(user);
    if lost == 0 { user } else { format!("{user}:{lost}") }
}

/// The receiver, as far as an account goes.
#[derive(Debug)]
pub struct Facts {
    account: Option<String>,
    state: String,
    lost: i32,
    former: Vec<String>,
}

impl Facts {
    /// The account that can be onboarded.
    fn standing(&self) -> Option<&String> {
        self.account.as_ref().filter(|_| self.state != "deauthorised")
    }

    /// Whether an account is one that was given up.
    fn gave_up(&self, account: &str) -> bool {
        self.account.as_deref() == Some(account) || self.former.iter().any(|former| former == account)
    }
}

impl Job for CreateAccount {
    const KIND: Kind = CREATE_ACCOUNT;
}

impl Call for CreateAccount {
    type Facts = Facts;

    async fn gather(&self, db: &mut PgConnection) -> Result<Facts, sqlx::Error> {
        let row = sqlx::query_as!(
            Facts,
            "SELECT account_id AS account, state, deauthorisations AS lost, former FROM bursar.receiver WHERE user_id = $1",
            self.user_id
        )
        .fetch_optional(db)
        .await?;
        Ok(row.unwrap_or_else(|| Facts { account: None, state: String::new(), lost: 0, former: Vec::new() }))
    }

    fn intent(&self, facts: &Facts, _: &Terms) -> Result<Plan, JobError> {
        if let Some(account) = facts.standing() {
            let changes: Vec<AnyChange> = vec![self.made(account).into()];
            let why = format!("{} has the account {account}", self.user_id);
            return Ok(Plan::Nothing(Effects { changes, ..Effects::skip(why) }));
        }
        let metadata = BTreeMap::from([("user_id".to_owned(), self.user_id.clone())]);
        Ok(Plan::Send {
            subject: format!("account:{}", numbered(&self.user_id, facts.lost)),
            request: accounts::create(self.country.as_deref(), &metadata),
            // One that was asked for before the last was gone may be there, under another number.
            since: if facts.lost == 0 { self.asked_at } else { DateTime::UNIX_EPOCH },
            marks: Vec::new(),
        })
    }

    async fn look(&self, facts: &Facts, stripe: &Client) -> Result<Looked, Box<Seen>> {
        let made = accounts::made_since(stripe, self.asked_at.timestamp() - SLACK).await?;
        // The oldest: where there are several, every look finds the same.
        let is_ours = |made: &&Made| made.metadata.get("user_id") == Some(&self.user_id) && !facts.gave_up(&made.id);
        let ours = made.iter().rev().find(is_ours);
        Ok(ours.map_or(Looked::Nothing, |account| Looked::Found(serde_json::to_value(account).unwrap_or_default())))
    }

    fn gave_up(&self, why: &str) -> Vec<AnyChange> {
        vec![Change::NotMade { user_id: self.user_id.clone(), why: why.to_owned() }.into()]
    }

    fn resolve(&self, _: &Facts, answer: Answer<'_>, _: &Terms) -> Result<Effects, JobError> {
        match answer {
            Answer::Made(object) => {
                let account: Made = serde_json::from_value(object.clone()).map_err(|error| JobError::Retry {
                    after: None,
                    source: format!("the account does not read: {error}").into(),
                })?;
                if account.metadata.get("user_id") != Some(&self.user_id) {
                    let why = format!("{} was made for {}, and says otherwise", account.id, self.user_id);
                    return Err(JobError::Dead(why));
                }
                let follow_ups = vec![CheckAccount::of(&account.id, "made")];
                Ok(Effects { changes: vec![self.made(&account.id).into()], follow_ups, ..Effects::done() })
            }
            Answer::Unknown(_) => Ok(Effects::done()),
            Answer::Refused { error, .. } => {
                Err(JobError::Dead(format!("Stripe refused an account for {}: {error}", self.user_id)))
            }
            Answer::Fact(..) | Answer::Gone(_) => Err(JobError::Dead("an account is no question".into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_receivers_share_a_key() {
        assert_eq!(numbered("alice", 0), "alice");
        assert_ne!(numbered("alice:1", 0), numbered("alice", 1));
        assert_ne!(numbered("a%3A1", 0), numbered("a:1", 0));
    }
}
