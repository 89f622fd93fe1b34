//! Cancel a subscription: the last step of dunning, where the settings say so.
//!
//! Rules
//! - Stripe takes no key with a DELETE, and needs none: what is cancelled is not there a second time, and that is an answer.
//! - Once the case is stood down nothing is sent again: whoever has paid meanwhile keeps the subscription.

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
        case::{self, Case, Facts},
        change::Change,
        decide,
        letters::Fields,
    },
    engine::{
        call::{Answer, Call, Looked, Plan},
        change::AnyChange,
        job::{Effects, Job, JobError, NewJob, Outcome},
        kind::{CANCEL_SUBSCRIPTION, Kind},
    },
    subscriptions::sync_subscription::SyncSubscription,
    terms::Terms,
};

/// Cancels one, for one invoice.
#[derive(Debug, Serialize, Deserialize)]
pub struct CancelSubscription {
    /// `in_…`
    invoice: String,
    /// `sub_…`
    subscription: String,
    /// For the letter that follows.
    #[serde(default)]
    fields: Fields,
}

impl CancelSubscription {
    /// The job of a case; one, ever.
    pub(crate) fn of(invoice: &str, subscription: &str, fields: &Fields) -> NewJob {
        NewJob {
            kind: CANCEL_SUBSCRIPTION.name,
            key: invoice.to_owned(),
            args: json!({ "invoice": invoice, "subscription": subscription, "fields": fields }),
            max_attempts: CANCEL_SUBSCRIPTION.max_attempts,
            delay_ms: 0,
            cause: Some(invoice.to_owned()),
        }
    }

    fn case<'a>(&self, facts: &'a Facts) -> Result<&'a Case, JobError> {
        facts.case.as_ref().ok_or_else(|| JobError::Dead(format!("{} has no case", self.invoice)))
    }

    fn stepped(&self, case: &Case, state: &'static str, outcome: impl Into<String>) -> Change {
        let step = Step::Final(case.schedule.final_day);
        let (invoice, outcome) = (self.invoice.clone(), outcome.into());
        Change::Step { invoice, step, state, outcome, due_at: None }
    }

    fn cancelled(&self, case: &Case) -> Effects {
        let reason = "the last step cancelled its subscription".to_owned();
        let close = Change::Close { invoice: self.invoice.clone(), state: "cancelled", reason };
        let mut follow_ups = vec![SyncSubscription::of(&self.subscription, &format!("{}:cancel", self.invoice))];
        // The event that it is over may have closed the case before our own answer did.
        if matches!(case.state.as_str(), "open" | "ended") {
            follow_ups.push(decide::farewell(case, "access_ended", &self.fields));
        }
        let changes: Vec<AnyChange> = vec![self.stepped(case, "done", "cancelled").into(), close.into()];
        Effects { changes, follow_ups, ..Effects::done() }
    }
}

impl Job for CancelSubscription {
    const KIND: Kind = CANCEL_SUBSCRIPTION;
}

impl Call for CancelSubscription {
    type Facts = Facts;

    async fn gather(&self, db: &mut PgConnection) -> Result<Facts, sqlx::Error> {
        case::hold(db, &self.invoice).await
    }

    fn intent(&self, facts: &Facts, _: &Terms) -> Result<Plan, JobError> {
        let case = self.case(facts)?;
        let state = case.step(Step::Final(case.schedule.final_day)).map_or("skipped", |step| step.state.as_str());
        let left = matches!(state, "sending" | "unknown");
        if left && case.state == "ended" {
            // It is over, and ours may have ended it; nobody asks for more.
            return Ok(Plan::Nothing(self.cancelled(case)));
        }
        if !case.is_open() {
            let mut effects = Effects::skip(case.why_over());
            if left {
                effects.changes.push(self.stepped(case, "skipped", case.why_over()).into());
            }
            return Ok(Plan::Nothing(effects));
        }
        if !left && state != "running" {
            return Ok(Plan::Nothing(Effects::skip("it had its turn")));
        }
        Ok(Plan::Send {
            subject: format!("dunning:{}:cancel", self.invoice),
            request: subscriptions::cancel(&self.subscription),
            since: case.final_due(),
            marks: if left { Vec::new() } else { vec![self.stepped(case, "sending", "under way").into()] },
        })
    }

    async fn look(&self, _: &Facts, stripe: &Client) -> Result<Looked, Box<Seen>> {
        let now = invoices::subscription_now(stripe, &self.subscription).await?;
        let over = now.status == "canceled";
        Ok(match serde_json::to_value(now) {
            Ok(value) if over => Looked::Found(value),
            _ => Looked::Nothing,
        })
    }

    fn remedy(&self) -> String {
        format!("see the invoice at Stripe; `bursar dunning stop {}` ends its case", self.invoice)
    }

    fn gave_up(&self, why: &str) -> Vec<AnyChange> {
        vec![Change::Stuck { invoice: self.invoice.clone(), step: None, why: why.to_owned() }.into()]
    }

    fn resolve(&self, facts: &Facts, answer: Answer<'_>, _: &Terms) -> Result<Effects, JobError> {
        let case = self.case(facts)?;
        match answer {
            Answer::Made(object) => {
                let now = Subscription::deserialize(object).map_err(|error| JobError::Retry {
                    after: None,
                    source: format!("the subscription does not read: {error}").into(),
                })?;
                if now.status == "canceled" {
                    Ok(self.cancelled(case))
                } else {
                    Err(JobError::Dead(format!("Stripe says that {} is {}", self.subscription, now.status)))
                }
            }
            Answer::Unknown(why) => {
                Ok(Effects { changes: vec![self.stepped(case, "unknown", why).into()], ..Effects::done() })
            }
            // It was there when the step asked.
            Answer::Refused { error, .. } if error.code.as_deref() == Some("resource_missing") => {
                Ok(self.cancelled(case))
            }
            Answer::Refused { error, .. } => {
                let why = format!(
                    "Stripe refused to cancel {}: {error}. Put it right there, then retry this job; or run `bursar dunning stop {}`",
                    self.subscription, self.invoice
                );
                let changes: Vec<AnyChange> = vec![self.stepped(case, "unknown", why.clone()).into()];
                Ok(Effects { outcome: Outcome::Dead(why), changes, ..Effects::done() })
            }
            Answer::Fact(..) | Answer::Gone(_) => Err(JobError::Dead("a cancellation is no question".into())),
        }
    }
}
