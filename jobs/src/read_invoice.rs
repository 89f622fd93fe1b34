//! Read an invoice: one that has more lines than its event carries is read to its last line, a page a job, and then refills as any other.

use bursar_stripe::{Client, Seen, subscriptions};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::{
    call::{Answer, Call, Looked, Plan},
    event::OfEvent,
    invoice::{Invoice, Line, Lines},
    job::{Effects, Job, JobError, NewJob},
    kinds::{Kind, READ_INVOICE},
    refill_tier::{self, Facts},
    terms::Terms,
};

/// More lines than an invoice of Stripe's can have by its subscription and a year of prorations.
const MOST_LINES: usize = 2_000;

/// Reads one more page of an invoice's lines.
#[derive(Debug, Serialize, Deserialize)]
pub struct ReadInvoice {
    /// The event that told of it.
    of: OfEvent,
    /// `in_…`
    invoice: String,
    /// What was read so far.
    lines: Vec<Line>,
    /// The id of the last line read.
    after: Option<String>,
}

impl ReadInvoice {
    /// The job that begins to read the invoice of an event.
    pub fn of(event: &OfEvent, invoice: &str) -> NewJob {
        Self { of: event.clone(), invoice: invoice.to_owned(), lines: Vec::new(), after: None }.job()
    }

    fn job(&self) -> NewJob {
        NewJob {
            kind: READ_INVOICE.name,
            key: format!("{}:{}", self.of.event, self.after.as_deref().unwrap_or("first")),
            args: serde_json::json!({ "of": self.of, "invoice": self.invoice, "lines": self.lines, "after": self.after }),
            max_attempts: READ_INVOICE.max_attempts,
            delay_ms: 0,
            cause: Some(self.of.event.clone()),
        }
    }
}

impl Job for ReadInvoice {
    const KIND: Kind = READ_INVOICE;
}

impl Call for ReadInvoice {
    type Facts = Facts;

    async fn gather(&self, db: &mut PgConnection) -> Result<Facts, sqlx::Error> {
        let facts = refill_tier::gather(db, &[(&self.of, self.lines.as_slice())]).await?.pop();
        facts.ok_or_else(|| sqlx::Error::Protocol("no facts for the one job".into()))
    }

    fn intent(&self, _: &Facts, _: &Terms) -> Result<Plan, JobError> {
        Ok(Plan::Ask(subscriptions::invoice_lines(&self.invoice, self.after.as_deref())))
    }

    async fn look(&self, _: &Facts, _: &Client) -> Result<Looked, Box<Seen>> {
        Ok(Looked::Nothing)
    }

    fn resolve(&self, facts: &Facts, answer: Answer<'_>, terms: &Terms) -> Result<Effects, JobError> {
        let page = match answer {
            Answer::Fact(page, _) => page,
            Answer::Gone(error) => return Ok(Effects::skip(format!("Stripe does not know {}: {error}", self.invoice))),
            Answer::Made(_) | Answer::Refused { .. } | Answer::Unknown(_) => {
                return Err(JobError::Dead("a question has no effect".into()));
            }
        };
        let mut invoice: Invoice = facts.event.object()?;
        let read = Lines::read(page, invoice.subscription.as_deref())
            .map_err(|error| JobError::Dead(format!("the lines of {} do not read: {error}", self.invoice)))?;
        let lines: Vec<Line> = self.lines.iter().cloned().chain(read.all).collect();
        if lines.len() > MOST_LINES {
            return Err(JobError::Dead(format!("{} has more than {MOST_LINES} lines: grant by hand", self.invoice)));
        }
        if let Some(after) = read.after {
            let next = Self { of: self.of.clone(), invoice: self.invoice.clone(), lines, after: Some(after) };
            return Ok(Effects { follow_ups: vec![next.job()], ..Effects::done() });
        }
        let is_new = |line: &Line| line.subscription.as_ref().is_some_and(|id| !facts.holds(id));
        if let Some(last) = read.last.filter(|_| lines.iter().any(is_new)) {
            // What its grants stand on was not read and is not held: once more, with all that is known now. The page after the last
            // one is empty.
            let next = Self { of: self.of.clone(), invoice: self.invoice.clone(), lines, after: Some(last) };
            return Ok(Effects { follow_ups: vec![next.job()], ..Effects::done() });
        }
        invoice.lines = lines;
        refill_tier::decide(facts, &invoice, terms)
    }
}
