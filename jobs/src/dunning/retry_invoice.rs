//! Retry an invoice: one try to take the money of one step of dunning, by the engine: at most one try a step, whatever is lost on the way.
//!
//! Rules
//! - A decline is an answer: the step is over, and it is known that it took nothing. So is that there is nothing to pay any more.
//! - A try whose answer is lost is sent again under the same young key; once the key is old, a look counts any try since the step was due
//!   as this one: rather one too few than two.
//! - Once the case is stood down nothing is sent again: what came of a try that may have left is told by its event.

use bursar_stripe::{
    Client, Seen, StripeError,
    invoices::{self, Attempt},
};
use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::PgConnection;

use crate::{
    dunning::{
        Step,
        case::{self, Case, Facts, Planned},
        change::Change,
        is_hard,
        letters::{self, Fields},
        said,
    },
    engine::{
        call::{Answer, Call, Looked, Plan},
        change::AnyChange,
        job::{Effects, Job, JobError, NewJob, Outcome},
        kind::{Kind, RETRY_INVOICE},
    },
    subscriptions::sync_subscription::SyncSubscription,
    terms::Terms,
};

/// How far Stripe's clock may be behind ours.
const SKEW: TimeDelta = TimeDelta::minutes(10);

/// Pays one invoice, for one step.
#[derive(Debug, Serialize, Deserialize)]
pub struct RetryInvoice {
    /// `in_…`
    invoice: String,
    /// Of the step.
    day: u32,
    /// For the letter that may follow.
    #[serde(default)]
    fields: Fields,
}

impl RetryInvoice {
    /// The job of a step; one for each, ever.
    pub(crate) fn of(invoice: &str, day: u32, fields: &Fields) -> NewJob {
        NewJob {
            kind: RETRY_INVOICE.name,
            key: format!("{invoice}:{day}"),
            args: json!({ "invoice": invoice, "day": day, "fields": fields }),
            max_attempts: RETRY_INVOICE.max_attempts,
            delay_ms: 0,
            cause: Some(invoice.to_owned()),
        }
    }

    fn step(&self) -> Step {
        Step::Retry(self.day)
    }

    fn stands<'a>(&self, facts: &'a Facts) -> Result<(&'a Case, &'a Planned), JobError> {
        let case = facts.case.as_ref();
        case.and_then(|case| Some((case, case.step(self.step())?)))
            .ok_or_else(|| JobError::Dead(format!("{} has no step {}", self.invoice, self.step())))
    }

    fn stepped(&self, state: &'static str, outcome: impl Into<String>) -> Change {
        let (invoice, step, outcome) = (self.invoice.clone(), self.step(), outcome.into());
        Change::Step { invoice, step, state, outcome, due_at: None }
    }

    /// What is left of the case once it has an end of its own.
    fn stood_down(&self, case: &Case, step: &Planned) -> Effects {
        let mut effects = Effects::skip(case.why_over());
        if !step.is_over() {
            effects.changes.push(self.stepped("skipped", case.why_over()).into());
        }
        effects
    }

    fn declined(&self, case: &Case, attempt: &Attempt) -> Effects {
        let mut effects = Effects {
            changes: vec![self.stepped("done", format!("declined: {}", said(attempt))).into()],
            ..Effects::done()
        };
        if is_hard(attempt) && case.is_open() && !case.card_asked {
            effects.changes.push(Change::CardAsked { invoice: self.invoice.clone() }.into());
            effects.follow_ups.push(letters::job(case, "card_needed", "card_needed", &self.fields));
        }
        effects
    }

    fn paid(&self, case: &Case) -> Effects {
        let reason = format!("paid by the try of day {}", self.day);
        let close = Change::Close { invoice: self.invoice.clone(), state: "paid", reason };
        let occasion = format!("{}:{}", self.invoice, self.step());
        Effects {
            changes: vec![self.stepped("done", "paid").into(), close.into()],
            follow_ups: vec![SyncSubscription::of(&case.subscription_id, &occasion)],
            ..Effects::done()
        }
    }

    fn refused(&self, case: &Case, error: &StripeError) -> Effects {
        if error.kind.as_deref() == Some("card_error") {
            let attempt = Attempt {
                status: "requires_payment_method".into(),
                code: error.code.clone(),
                decline_code: error.decline_code.clone(),
                ..Attempt::default()
            };
            return self.declined(case, &attempt);
        }
        if let Some("invoice_already_paid" | "invoice_not_editable") = error.code.as_deref() {
            // How it stands is told by its event, and asked by the next step.
            let why = format!("there is nothing to pay: {error}");
            return Effects { changes: vec![self.stepped("skipped", why.clone()).into()], ..Effects::skip(why) };
        }
        let why = format!(
            "Stripe refused to try {}: {error}. Put it right there, then retry this job; or run `bursar dunning stop {}`",
            self.invoice, self.invoice
        );
        let changes: Vec<AnyChange> = vec![self.stepped("unknown", why.clone()).into()];
        Effects { outcome: Outcome::Dead(why), changes, ..Effects::done() }
    }
}

impl Job for RetryInvoice {
    const KIND: Kind = RETRY_INVOICE;
}

/// What Stripe answers to a payment, or what a look found of one.
#[derive(Deserialize)]
struct Tried {
    id: String,
    status: Option<String>,
    /// A look's.
    attempt: Option<Attempt>,
}

impl Call for RetryInvoice {
    type Facts = Facts;

    async fn gather(&self, db: &mut PgConnection) -> Result<Facts, sqlx::Error> {
        case::hold(db, &self.invoice).await
    }

    fn intent(&self, facts: &Facts, _: &Terms) -> Result<Plan, JobError> {
        let (case, step) = self.stands(facts)?;
        if !case.is_open() {
            return Ok(Plan::Nothing(self.stood_down(case, step)));
        }
        let marks: Vec<AnyChange> = match step.state.as_str() {
            "running" => vec![self.stepped("sending", "under way").into()],
            "sending" | "unknown" => Vec::new(),
            _ => {
                let outcome = step.outcome.as_deref().unwrap_or(&step.state);
                return Ok(Plan::Nothing(Effects::skip(format!("it had its turn: {outcome}"))));
            }
        };
        Ok(Plan::Send {
            subject: format!("dunning:{}:{}", self.invoice, self.step()),
            request: invoices::pay(&self.invoice),
            since: step.due_at,
            marks,
        })
    }

    async fn look(&self, facts: &Facts, stripe: &Client) -> Result<Looked, Box<Seen>> {
        let Ok((_, step)) = self.stands(facts) else { return Ok(Looked::Nothing) };
        let since = (step.due_at - SKEW).timestamp();
        let (invoice, attempts) = invoices::attempts_since(stripe, &self.invoice, since).await?;
        Ok(match (invoice.status.as_str(), attempts.first()) {
            ("paid", _) => Looked::Found(json!({ "id": invoice.id, "status": "paid" })),
            (status, Some(attempt)) => Looked::Found(json!({ "id": invoice.id, "status": status, "attempt": attempt })),
            (_, None) => Looked::Nothing,
        })
    }

    fn remedy(&self) -> String {
        format!("see the invoice at Stripe; `bursar dunning stop {}` ends its case", self.invoice)
    }

    fn gave_up(&self, why: &str) -> Vec<AnyChange> {
        vec![Change::Stuck { invoice: self.invoice.clone(), step: Some(self.step()), why: why.to_owned() }.into()]
    }

    fn resolve(&self, facts: &Facts, answer: Answer<'_>, _: &Terms) -> Result<Effects, JobError> {
        let (case, _) = self.stands(facts)?;
        match answer {
            Answer::Made(object) => self.made(case, object),
            Answer::Refused { error, .. } => Ok(self.refused(case, error)),
            Answer::Unknown(why) => {
                Ok(Effects { changes: vec![self.stepped("unknown", why).into()], ..Effects::done() })
            }
            Answer::Fact(..) | Answer::Gone(_) => Err(JobError::Dead("a payment is no question".into())),
        }
    }
}

impl RetryInvoice {
    fn made(&self, case: &Case, object: &Value) -> Result<Effects, JobError> {
        let tried = Tried::deserialize(object).map_err(|error| JobError::Retry {
            after: None,
            source: format!("the invoice does not read: {error}").into(),
        })?;
        if tried.id != self.invoice {
            return Err(JobError::Dead(format!(
                "Stripe answered with {}, and {} was to be paid",
                tried.id, self.invoice
            )));
        }
        Ok(match (tried.status.as_deref(), tried.attempt) {
            (Some("paid"), _) => self.paid(case),
            (_, Some(attempt)) if attempt.status == "failed" => self.declined(case, &attempt),
            // A debit: the final step sees that it is on its way, and waits.
            _ => Effects { changes: vec![self.stepped("done", "a payment is on its way").into()], ..Effects::done() },
        })
    }
}
