//! Resume a subscription: the pause that dunning made is lifted, because its invoice is paid. That the pause is ours was asked right before
//! (`dunning_step`, step `resume`).

use bursar_stripe::{
    Client, Seen,
    invoices::{self, Subscription},
    subscriptions,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgConnection;

use crate::{
    dunning::{
        Step,
        case::{self, Facts},
        change::Change,
    },
    engine::{
        call::{Answer, Call, Looked, Plan},
        change::AnyChange,
        job::{Effects, Job, JobError, NewJob, Outcome},
        kind::{Kind, RESUME_SUBSCRIPTION},
    },
    subscriptions::sync_subscription::SyncSubscription,
    terms::Terms,
};

/// Lets one go on, after one invoice.
#[derive(Debug, Serialize, Deserialize)]
pub struct ResumeSubscription {
    /// `in_…`
    invoice: String,
    /// `sub_…`
    subscription: String,
}

impl ResumeSubscription {
    /// The job of a case; one, ever.
    pub(crate) fn of(invoice: &str, subscription: &str) -> NewJob {
        NewJob {
            kind: RESUME_SUBSCRIPTION.name,
            key: invoice.to_owned(),
            args: json!({ "invoice": invoice, "subscription": subscription }),
            max_attempts: RESUME_SUBSCRIPTION.max_attempts,
            delay_ms: 0,
            cause: Some(invoice.to_owned()),
        }
    }

    fn stepped(&self, state: &'static str, outcome: impl Into<String>) -> Change {
        let (invoice, outcome) = (self.invoice.clone(), outcome.into());
        Change::Step { invoice, step: Step::Resume, state, outcome, due_at: None }
    }
}

impl Job for ResumeSubscription {
    const KIND: Kind = RESUME_SUBSCRIPTION;
}

impl Call for ResumeSubscription {
    type Facts = Facts;

    async fn gather(&self, db: &mut PgConnection) -> Result<Facts, sqlx::Error> {
        case::hold(db, &self.invoice).await
    }

    fn intent(&self, facts: &Facts, _: &Terms) -> Result<Plan, JobError> {
        let step = facts.case.as_ref().and_then(|case| case.step(Step::Resume));
        let Some(step) = step else { return Err(JobError::Dead(format!("{} has no step resume", self.invoice))) };
        let marks: Vec<AnyChange> = match step.state.as_str() {
            "running" => vec![self.stepped("sending", "under way").into()],
            "sending" | "unknown" => Vec::new(),
            _ => return Ok(Plan::Nothing(Effects::skip("it had its turn"))),
        };
        Ok(Plan::Send {
            subject: format!("dunning:{}:resume", self.invoice),
            request: subscriptions::unpause(&self.subscription),
            since: step.due_at,
            marks,
        })
    }

    async fn look(&self, _: &Facts, stripe: &Client) -> Result<Looked, Box<Seen>> {
        let now = invoices::subscription_now(stripe, &self.subscription).await?;
        let ours = now.pause_collection.is_some() && now.metadata.get("dunning") == Some(&self.invoice);
        // A pause that is not ours by now was made since: it stays.
        Ok(match serde_json::to_value(now) {
            Ok(value) if !ours => Looked::Found(value),
            _ => Looked::Nothing,
        })
    }

    fn remedy(&self) -> String {
        format!("see the invoice at Stripe; `bursar dunning stop {}` ends its case", self.invoice)
    }

    fn gave_up(&self, why: &str) -> Vec<AnyChange> {
        vec![Change::Stuck { invoice: self.invoice.clone(), step: Some(Step::Resume), why: why.to_owned() }.into()]
    }

    fn resolve(&self, _: &Facts, answer: Answer<'_>, _: &Terms) -> Result<Effects, JobError> {
        match answer {
            Answer::Made(object) => {
                Subscription::deserialize(object).map_err(|error| JobError::Retry {
                    after: None,
                    source: format!("the subscription does not read: {error}").into(),
                })?;
                let follow_ups = vec![SyncSubscription::of(&self.subscription, &format!("{}:resume", self.invoice))];
                Ok(Effects { changes: vec![self.stepped("done", "it goes on").into()], follow_ups, ..Effects::done() })
            }
            Answer::Unknown(why) => {
                Ok(Effects { changes: vec![self.stepped("unknown", why).into()], ..Effects::done() })
            }
            Answer::Refused { error, .. } => {
                let why = format!(
                    "Stripe refused to let {} go on: {error}. Lift the pause there, by hand, or put it right and retry this job",
                    self.subscription
                );
                let changes: Vec<AnyChange> = vec![self.stepped("unknown", why.clone()).into()];
                Ok(Effects { outcome: Outcome::Dead(why), changes, ..Effects::done() })
            }
            Answer::Fact(..) | Answer::Gone(_) => Err(JobError::Dead("a resumption is no question".into())),
        }
    }
}
