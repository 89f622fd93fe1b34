//! Create an account link: a page where a receiver is onboarded, or gives what Stripe wants since.
//!
//! It has no effect on money, and nothing can be looked for: where its outcome is not known, another link is as good. It is enqueued once
//! there is an account. A link lives for minutes and is used once; one whose time is over is made anew, under the next round's key.
//! Where Stripe says that the account is not there for us, the receiver's payouts hold, and whoever asks next gets another account.

use bursar_stripe::{Client, Seen, accounts};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::{
    engine::{
        call::{Answer, Call, Looked, Plan},
        change::AnyChange,
        job::{Effects, Job, JobError, NewJob, Outcome},
        kind::{CREATE_ACCOUNT_LINK, Kind},
    },
    receivers::{change::Change, check_account::CheckAccount},
    terms::Terms,
};

/// Makes one link.
#[derive(Debug, Serialize, Deserialize)]
pub struct CreateAccountLink {
    id: String,
    round: i32,
}

impl CreateAccountLink {
    /// The job that makes it.
    pub fn of(id: &str, round: i32) -> NewJob {
        NewJob {
            kind: CREATE_ACCOUNT_LINK.name,
            key: format!("{id}:{round}"),
            args: serde_json::json!({ "id": id, "round": round }),
            max_attempts: CREATE_ACCOUNT_LINK.max_attempts,
            delay_ms: 0,
            cause: Some(format!("onboarding:{id}")),
        }
    }

    fn refused(&self, why: impl Into<String>) -> Change {
        Change::LinkRefused { id: self.id.clone(), round: self.round, why: why.into() }
    }
}

impl Job for CreateAccountLink {
    const KIND: Kind = CREATE_ACCOUNT_LINK;
}

/// The request, and the account that it leads to.
#[derive(Debug)]
pub struct Facts {
    page: Option<Page>,
}

#[derive(Debug)]
struct Page {
    user_id: String,
    state: String,
    round: i32,
    return_url: String,
    refresh_url: String,
    requested_at: DateTime<Utc>,
    account: Option<String>,
    is_gone: bool,
}

impl Facts {
    fn page(&self) -> Result<&Page, JobError> {
        self.page.as_ref().ok_or_else(|| JobError::Dead("nobody asked for this link".into()))
    }
}

impl Call for CreateAccountLink {
    type Facts = Facts;

    async fn gather(&self, db: &mut PgConnection) -> Result<Facts, sqlx::Error> {
        let page = sqlx::query_as!(
            Page,
            r#"SELECT o.user_id, o.state, o.round, o.return_url, o.refresh_url, o.requested_at, r.account_id AS "account?",
                      r.state = 'deauthorised' AS "is_gone!"
               FROM bursar.onboarding o JOIN bursar.receiver r ON r.user_id = o.user_id WHERE o.id = $1"#,
            self.id
        )
        .fetch_optional(db)
        .await?;
        Ok(Facts { page })
    }

    fn intent(&self, facts: &Facts, _: &Terms) -> Result<Plan, JobError> {
        let page = facts.page()?;
        if page.round != self.round || page.state == "open" {
            return Ok(Plan::Nothing(Effects::skip("the link is there, or was made anew")));
        }
        let Some(account) = page.account.as_ref().filter(|_| !page.is_gone) else {
            let why = format!("{} has no account that we may reach: ask again, and another is made", page.user_id);
            return Ok(Plan::Nothing(Effects {
                changes: vec![self.refused(why.clone()).into()],
                ..Effects::skip(why)
            }));
        };
        Ok(Plan::Send {
            subject: format!("account_link:{}:{}", self.id, self.round),
            request: accounts::link(account, &page.refresh_url, &page.return_url),
            since: page.requested_at,
            marks: Vec::new(),
        })
    }

    async fn look(&self, _: &Facts, _: &Client) -> Result<Looked, Box<Seen>> {
        Ok(Looked::Nothing)
    }

    fn gave_up(&self, why: &str) -> Vec<AnyChange> {
        vec![self.refused(why).into()]
    }

    fn resolve(&self, facts: &Facts, answer: Answer<'_>, _: &Terms) -> Result<Effects, JobError> {
        let page = facts.page()?;
        match answer {
            Answer::Made(object) => {
                let link: accounts::Link = serde_json::from_value(object.clone()).map_err(|error| JobError::Retry {
                    after: None,
                    source: format!("the link does not read: {error}").into(),
                })?;
                let opened = Change::LinkOpened {
                    id: self.id.clone(),
                    round: self.round,
                    account_id: page.account.clone().unwrap_or_default(),
                    url: link.url,
                    expires_at: DateTime::from_timestamp(link.expires_at, 0),
                };
                Ok(Effects { changes: vec![opened.into()], ..Effects::done() })
            }
            Answer::Unknown(_) => Ok(Effects::done()),
            Answer::Refused { error, .. } => {
                let outcome = Outcome::Dead(format!("Stripe refused a link to the onboarding: {error}"));
                // Perhaps the account is gone, and we have not heard of it.
                let is_account = error.param.as_deref() == Some("account") || error.is_account_gone("account");
                let ask = page.account.iter().filter(|_| is_account);
                let follow_ups = ask.map(|account| CheckAccount::of(account, &format!("{}:{}", self.id, self.round)));
                Ok(Effects { outcome, follow_ups: follow_ups.collect(), ..Effects::done() })
            }
            Answer::Fact(..) | Answer::Gone(_) => Err(JobError::Dead("a link is no question".into())),
        }
    }
}
