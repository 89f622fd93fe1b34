//! A step of dunning: asks Stripe how the invoice stands now, and does what the schedule has for the day, or says why not. What is decided
//! is in [`decide`].

use bursar_stripe::{
    Client, Seen,
    invoices::{self, Standing},
};
use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::{
    dunning::{
        Step,
        case::{self, Case, Facts},
        decide,
    },
    engine::{
        call::{Answer, Call, Looked, Plan},
        job::{Effects, Job, JobError, NewJob},
        kind::{DUNNING_STEP, Kind},
    },
    terms::Terms,
};

/// Takes one step.
#[derive(Debug, Serialize, Deserialize)]
pub struct DunningStep {
    /// `in_…`
    invoice: String,
    /// `letter:3` …
    step: String,
}

impl DunningStep {
    /// The job that takes a step, so long from now; one for each, ever.
    pub(crate) fn of(invoice: &str, step: Step, delay: TimeDelta) -> NewJob {
        Self::job(invoice, step, format!("{invoice}:{step}"), delay)
    }

    /// The job that looks at a step again, once for each occasion.
    pub(crate) fn again(invoice: &str, step: Step, occasion: &str, delay: TimeDelta) -> NewJob {
        Self::job(invoice, step, format!("{invoice}:{step}:{occasion}"), delay)
    }

    fn job(invoice: &str, step: Step, key: String, delay: TimeDelta) -> NewJob {
        NewJob {
            kind: DUNNING_STEP.name,
            key,
            args: serde_json::json!({ "invoice": invoice, "step": step.to_string() }),
            max_attempts: DUNNING_STEP.max_attempts,
            delay_ms: delay.num_milliseconds().max(0),
            cause: Some(invoice.to_owned()),
        }
    }

    fn step(&self) -> Result<Step, JobError> {
        self.step.parse().map_err(|error: crate::dunning::UnknownStep| JobError::Dead(error.to_string()))
    }

    fn case<'a>(&self, facts: &'a Facts) -> Result<&'a Case, JobError> {
        facts.case.as_ref().ok_or_else(|| JobError::Dead(format!("{} has no case", self.invoice)))
    }
}

impl Job for DunningStep {
    const KIND: Kind = DUNNING_STEP;
}

impl Call for DunningStep {
    type Facts = Facts;

    async fn gather(&self, db: &mut PgConnection) -> Result<Facts, sqlx::Error> {
        case::hold(db, &self.invoice).await
    }

    fn intent(&self, facts: &Facts, _: &Terms) -> Result<Plan, JobError> {
        Ok(decide::before(self.case(facts)?, self.step()?, facts.now).map_or(Plan::AskAll, Plan::Nothing))
    }

    async fn look(&self, _: &Facts, stripe: &Client) -> Result<Looked, Box<Seen>> {
        let standing = invoices::standing(stripe, &self.invoice).await?;
        Ok(serde_json::to_value(standing).map_or_else(|error| Looked::Different(error.to_string()), Looked::Found))
    }

    fn resolve(&self, facts: &Facts, answer: Answer<'_>, terms: &Terms) -> Result<Effects, JobError> {
        let (case, step) = (self.case(facts)?, self.step()?);
        // Meanwhile it may have been stood down, or had its turn.
        if let Some(effects) = decide::before(case, step, facts.now) {
            return Ok(effects);
        }
        match answer {
            Answer::Fact(value, _) => {
                let standing = Standing::deserialize(value)
                    .map_err(|error| JobError::Dead(format!("the invoice does not read: {error}")))?;
                decide::after(case, step, &standing, facts.now, terms)
            }
            Answer::Gone(error) => Err(JobError::Dead(format!(
                "Stripe does not know {}, or what belongs to it ({error}): look at it there, then retry this job or run `bursar dunning \
                 stop {}`",
                self.invoice, self.invoice
            ))),
            Answer::Made(_) | Answer::Refused { .. } | Answer::Unknown(_) => {
                Err(JobError::Dead("a question has no effect".into()))
            }
        }
    }
}
