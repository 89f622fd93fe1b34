//! Pause a subscription: the last step of dunning.
//!
//! Rules
//! - The collection is paused with `void`: what falls due meanwhile is owed by nobody, for there is no service (Stripe: pause payment
//!   collection). The invoice of the case stays open, so that paying it late ends the pause.
//! - The pause carries the invoice's id in the subscription's metadata: it is known as ours by that, and only ours is ever lifted.
//! - Once the case is stood down nothing is sent again; a pause that may have left is looked for, and lifted where it is there.

use bursar_stripe::{
    Client, Seen,
    invoices::{self, Subscription},
    subscriptions,
};
use chrono::TimeDelta;
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
        kind::{Kind, PAUSE_SUBSCRIPTION},
    },
    subscriptions::sync_subscription::SyncSubscription,
    terms::Terms,
};

/// What may have left has surely arrived by then.
const IN_FLIGHT: TimeDelta = TimeDelta::minutes(5);

/// Pauses one, for one invoice.
#[derive(Debug, Serialize, Deserialize)]
pub struct PauseSubscription {
    /// `in_…`
    invoice: String,
    /// `sub_…`
    subscription: String,
    /// For the letter that follows.
    #[serde(default)]
    fields: Fields,
}

impl PauseSubscription {
    /// The job of a case; one, ever.
    pub(crate) fn of(invoice: &str, subscription: &str, fields: &Fields) -> NewJob {
        NewJob {
            kind: PAUSE_SUBSCRIPTION.name,
            key: invoice.to_owned(),
            args: json!({ "invoice": invoice, "subscription": subscription, "fields": fields }),
            max_attempts: PAUSE_SUBSCRIPTION.max_attempts,
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

    /// Lifts a pause that came too late.
    fn undo(&self, why: &str) -> Change {
        let (invoice, occasion) = (self.invoice.clone(), why.to_owned());
        Change::Resume { invoice, occasion, delay: IN_FLIGHT }
    }
}

impl Job for PauseSubscription {
    const KIND: Kind = PAUSE_SUBSCRIPTION;
}

impl Call for PauseSubscription {
    type Facts = Facts;

    async fn gather(&self, db: &mut PgConnection) -> Result<Facts, sqlx::Error> {
        case::hold(db, &self.invoice).await
    }

    fn intent(&self, facts: &Facts, _: &Terms) -> Result<Plan, JobError> {
        let case = self.case(facts)?;
        let state = case.step(Step::Final(case.schedule.final_day)).map_or("skipped", |step| step.state.as_str());
        let left = matches!(state, "sending" | "unknown");
        if !case.is_open() {
            let mut effects = Effects::skip(case.why_over());
            if left {
                effects.changes =
                    vec![self.stepped(case, "skipped", case.why_over()).into(), self.undo("in_flight").into()];
            }
            return Ok(Plan::Nothing(effects));
        }
        if !left && state != "running" {
            return Ok(Plan::Nothing(Effects::skip("it had its turn")));
        }
        Ok(Plan::Send {
            subject: format!("dunning:{}:pause", self.invoice),
            request: subscriptions::pause_for(&self.subscription, &self.invoice),
            since: case.final_due(),
            marks: if left { Vec::new() } else { vec![self.stepped(case, "sending", "under way").into()] },
        })
    }

    async fn look(&self, _: &Facts, stripe: &Client) -> Result<Looked, Box<Seen>> {
        let now = invoices::subscription_now(stripe, &self.subscription).await?;
        let ours = now.pause_collection.is_some() && now.metadata.get("dunning") == Some(&self.invoice);
        Ok(match serde_json::to_value(now) {
            Ok(value) if ours => Looked::Found(value),
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
                if now.pause_collection.is_none() {
                    return Err(JobError::Dead(format!("Stripe says that {} is not paused", self.subscription)));
                }
                let done = self.stepped(case, "done", "paused");
                let mut follow_ups = vec![SyncSubscription::of(&self.subscription, &format!("{}:pause", self.invoice))];
                if !case.is_open() {
                    return Ok(Effects {
                        changes: vec![done.into(), self.undo("too_late").into()],
                        follow_ups,
                        ..Effects::done()
                    });
                }
                let reason = "the last step paused its subscription".to_owned();
                let close = Change::Close { invoice: self.invoice.clone(), state: "paused", reason };
                follow_ups.push(decide::farewell(case, "access_paused", &self.fields));
                Ok(Effects { changes: vec![done.into(), close.into()], follow_ups, ..Effects::done() })
            }
            Answer::Unknown(why) => {
                Ok(Effects { changes: vec![self.stepped(case, "unknown", why).into()], ..Effects::done() })
            }
            Answer::Refused { error, .. } => {
                let why = format!(
                    "Stripe refused to pause {}: {error}. Put it right there, then retry this job; or run `bursar dunning stop {}`",
                    self.subscription, self.invoice
                );
                let changes: Vec<AnyChange> = vec![self.stepped(case, "unknown", why.clone()).into()];
                Ok(Effects { outcome: Outcome::Dead(why), changes, ..Effects::done() })
            }
            Answer::Fact(..) | Answer::Gone(_) => Err(JobError::Dead("a pause is no question".into())),
        }
    }
}
