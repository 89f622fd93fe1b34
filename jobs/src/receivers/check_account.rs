//! Check an account: when Stripe says that a connected account changed, ask how it stands now, and let go what was held for it.
//!
//! Rules
//! - Events come late and out of order: what counts is what Stripe answers now, never the event's snapshot.
//! - An account is a receiver's by its `metadata.user_id`, or because it is known as theirs. An account of another user, or a user's
//!   second account, is a conflict; a second one takes the place of one that is gone.
//! - An account that Stripe does not let us reach (403, 404), or says is deleted, is taken for gone: what is owed to its receiver is held.
//! - `account.application.deauthorized` is about the application: the account is the envelope's (Stripe: webhooks, `account`).
//! - Stripe tells of the platform's own account too, by an event without `account`: that is no receiver's.
//! - Held payouts are let go in the transaction that makes the receiver active, under the receiver's row.

use bursar_stripe::{
    Client, Reply, Seen,
    accounts::{self, Account, Capability},
};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::{
    engine::{
        call::{Answer, Call, Looked, Plan},
        job::{Effects, Job, JobError, NewJob},
        kind::{CHECK_ACCOUNT, Kind},
    },
    inbox::event::{self, Event, OfEvent, check_user},
    receivers::change::{Change, Standing},
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

/// In a word: see [`Standing::state`].
fn standing(account: &Account) -> String {
    let reason = account.requirements.disabled_reason.as_deref();
    match (&account.transfers, reason) {
        (Capability::Active, _) => "active".into(),
        (Capability::Pending, _) | (_, Some("requirements.pending_verification")) => "pending".into(),
        (_, Some(reason)) if account.details_submitted || reason.starts_with("rejected") => "restricted".into(),
        (Capability::Inactive, _) => "inactive".into(),
        (Capability::Other(word), _) => word.clone(),
    }
}

/// The object of an event about an account, or about a part of one.
#[derive(Deserialize)]
struct Object {
    id: String,
}

/// What is known before Stripe is asked.
#[derive(Debug)]
pub struct Facts {
    event: Option<Event>,
    /// The account that is asked about.
    account: Option<String>,
    /// Whose it is here.
    known: Option<String>,
}

/// Which account an event is about; none where it is about the platform's own.
fn account_of(event: &Event) -> Result<Option<String>, JobError> {
    match &event.account {
        None if event.kind == "account.updated" => event.object::<Object>().map(|account| Some(account.id)),
        of_envelope => Ok(of_envelope.clone()),
    }
}

/// What a look says of an account that is not there for us.
#[derive(Debug, Serialize, Deserialize)]
struct Gone {
    gone: String,
}

impl Call for CheckAccount {
    type Facts = Facts;

    async fn gather(&self, db: &mut PgConnection) -> Result<Facts, sqlx::Error> {
        let (event, account) = match self {
            Self::Event(of) => {
                let event = event::load(&mut *db, &[of]).await?.pop();
                let account = event.as_ref().and_then(|event| account_of(event).ok()).flatten();
                (event, account)
            }
            Self::Named { account } => (None, Some(account.clone())),
        };
        let known = sqlx::query_scalar!(
            // PostgreSQL's text holds no NUL, and no account's id does.
            "SELECT user_id FROM bursar.receiver WHERE account_id = $1",
            account.as_deref().filter(|account| !account.contains('\0'))
        )
        .fetch_optional(db)
        .await?;
        Ok(Facts { event, account, known })
    }

    fn intent(&self, facts: &Facts, terms: &Terms) -> Result<Plan, JobError> {
        match (self, &facts.event) {
            (Self::Named { .. }, _) => {}
            (Self::Event(_), Some(event)) => {
                // It happened on a connected account, as it must; only the mode can be foreign.
                if let Some(reason) = event.of_other_mode(terms) {
                    return Ok(Plan::Nothing(Effects::skip(reason)));
                }
                if account_of(event)?.is_none() {
                    let why = "not ours: the event names no connected account, so it is about the platform's own";
                    return Ok(Plan::Nothing(Effects::skip(why)));
                }
            }
            (Self::Event(of), None) => return Err(JobError::Dead(format!("there is no event {}", of.event))),
        }
        Ok(Plan::AskAll)
    }

    /// A refusal is an answer here.
    async fn look(&self, facts: &Facts, stripe: &Client) -> Result<Looked, Box<Seen>> {
        let Some(account) = &facts.account else { return Ok(Looked::Nothing) };
        let seen = stripe.send(&accounts::retrieve(account), None).await;
        match (&seen.reply, seen.status) {
            (Reply::Success(object), _) if object["deleted"] == true => {
                let gone = Gone { gone: format!("{account} is deleted") };
                Ok(Looked::Found(serde_json::to_value(gone).unwrap_or_default()))
            }
            (Reply::Success(object), _) => Ok(Looked::Found(object.clone())),
            // A 403 that is about the account is `account_invalid`; any other is about our key, and no refusal.
            (Reply::Rejected { error, .. }, Some(403 | 404)) => {
                Ok(Looked::Found(serde_json::to_value(Gone { gone: error.to_string() }).unwrap_or_default()))
            }
            _ => Err(Box::new(seen)),
        }
    }

    fn resolve(&self, facts: &Facts, answer: Answer<'_>, _: &Terms) -> Result<Effects, JobError> {
        let (object, asked_at) = match answer {
            Answer::Fact(object, asked_at) => (object, asked_at),
            Answer::Made(_) | Answer::Refused { .. } | Answer::Unknown(_) | Answer::Gone(_) => {
                return Err(JobError::Dead("a question has no effect".into()));
            }
        };
        if let (Ok(Gone { gone }), Some(account)) = (Gone::deserialize(object), &facts.account) {
            let Some(user) = &facts.known else {
                return Ok(Effects::skip(format!("not ours: no receiver is paid to {account} ({gone})")));
            };
            tracing::warn!(user, account, %gone, "the access to a receiver's account is gone: their payouts hold");
            let change = Change::Deauthorised { account_id: account.clone(), asked_at };
            return Ok(Effects { changes: vec![change.into()], ..Effects::done() });
        }
        let account = Account::deserialize(object)
            .map_err(|error| JobError::Dead(format!("the account does not read: {error}")))?;
        let named = account.metadata.get("user_id").filter(|user| !user.is_empty());
        let Some(user_id) = named.or(facts.known.as_ref()).cloned() else {
            return Ok(Effects::skip(format!("not ours: {} names no user (metadata.user_id)", account.id)));
        };
        check_user(&user_id)?;
        let standing = Standing {
            user_id,
            active: account.transfers == Capability::Active,
            state: standing(&account),
            payouts_enabled: account.payouts_enabled,
            requirements: account.requirements,
            account_id: account.id,
            asked_at,
        };
        Ok(Effects { changes: vec![Change::SetReceiver(standing).into()], ..Effects::done() })
    }
}
