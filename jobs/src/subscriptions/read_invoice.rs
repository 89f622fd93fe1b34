//! Read an invoice: one that has more lines than its event carries is read to its last line, a page a job; then each price of which a line
//! may charge a part is asked for, a price a job; and then it refills as any other.

use std::collections::BTreeMap;

use bursar_stripe::{Client, Seen, subscriptions};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::{
    engine::{
        call::{Answer, Call, Looked, Plan},
        job::{Effects, Job, JobError, NewJob},
        kind::{Kind, READ_INVOICE},
    },
    inbox::event::OfEvent,
    subscriptions::{
        charged_share::Price,
        invoice::{Invoice, Line, Lines},
        refill_tier::{self, Facts},
    },
    terms::Terms,
};

/// More lines than an invoice of Stripe's can have by its subscription and a year of prorations.
const MOST_LINES: usize = 2_000;

/// Reads one more page of an invoice's lines, or one of its prices.
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
    /// The price that is asked for; all lines are read then, or the event carries them.
    #[serde(default)]
    price: Option<String>,
    /// The prices that were asked for before.
    #[serde(default)]
    prices: BTreeMap<String, Price>,
}

impl ReadInvoice {
    /// The job that begins to read the invoice of an event.
    pub fn of(event: &OfEvent, invoice: &str) -> NewJob {
        Self::begin(event, invoice, None).job()
    }

    /// The job that asks what a price of an invoice costs in full.
    pub fn price(event: &OfEvent, invoice: &str, price: &str) -> NewJob {
        Self::begin(event, invoice, Some(price.to_owned())).job()
    }

    fn begin(event: &OfEvent, invoice: &str, price: Option<String>) -> Self {
        let (lines, prices) = (Vec::new(), BTreeMap::new());
        Self { of: event.clone(), invoice: invoice.to_owned(), lines, after: None, price, prices }
    }

    fn job(&self) -> NewJob {
        let what = match &self.price {
            Some(price) => format!("price:{price}"),
            None => self.after.clone().unwrap_or_else(|| "first".to_owned()),
        };
        NewJob {
            kind: READ_INVOICE.name,
            key: format!("{}:{what}", self.of.event),
            args: serde_json::json!({ "of": self.of, "invoice": self.invoice, "lines": self.lines, "after": self.after,
                                      "price": self.price, "prices": self.prices }),
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
        Ok(Plan::Ask(match &self.price {
            Some(price) => subscriptions::full_price(price),
            None => subscriptions::invoice_lines(&self.invoice, self.after.as_deref()),
        }))
    }

    async fn look(&self, _: &Facts, _: &Client) -> Result<Looked, Box<Seen>> {
        Ok(Looked::Nothing)
    }

    fn resolve(&self, facts: &Facts, answer: Answer<'_>, terms: &Terms) -> Result<Effects, JobError> {
        let answered = match answer {
            Answer::Fact(answered, _) => answered,
            Answer::Gone(error) => match &self.price {
                // A price that was paid for is not deleted: whose is the key that cannot see it?
                Some(price) => {
                    return Err(JobError::Dead(format!(
                        "{} was paid for {price}, and Stripe does not know that price ({error}): is STRIPE_SECRET_KEY of the same account? \
                         Mend that, then retry this job",
                        self.invoice
                    )));
                }
                None => return Ok(Effects::skip(format!("Stripe does not know {}: {error}", self.invoice))),
            },
            Answer::Made(_) | Answer::Refused { .. } | Answer::Unknown(_) => {
                return Err(JobError::Dead("a question has no effect".into()));
            }
        };
        let does_not_read =
            |what: &str, error| JobError::Dead(format!("{what} of {} does not read: {error}", self.invoice));
        let mut invoice: Invoice = facts.event.object()?;
        invoice.prices = self.prices.clone();
        if let Some(price) = &self.price {
            let read = Price::deserialize(answered).map_err(|error| does_not_read(price, error))?;
            invoice.prices.insert(price.clone(), read);
            if invoice.has_more {
                invoice.lines.clone_from(&self.lines);
            }
            return self.refill(facts, &invoice, terms);
        }
        let read = Lines::read(answered, &invoice).map_err(|error| does_not_read("a page of lines", error))?;
        let lines: Vec<Line> = self.lines.iter().cloned().chain(read.all).collect();
        if lines.len() > MOST_LINES {
            return Err(JobError::Dead(format!(
                "{} has more than {MOST_LINES} lines: decide what was paid for, grant that by hand, then cancel this job",
                self.invoice
            )));
        }
        if let Some(after) = read.after {
            return Ok(self.next(lines, after));
        }
        let is_new = |line: &Line| line.subscription.as_ref().is_some_and(|id| !facts.holds(id));
        if let Some(last) = read.last.filter(|_| lines.iter().any(is_new)) {
            // What its grants stand on was not read and is not held: once more, with all that is known now. The page after the last
            // one is empty.
            return Ok(self.next(lines, last));
        }
        invoice.lines = lines;
        self.refill(facts, &invoice, terms)
    }
}

impl ReadInvoice {
    /// The effects of an invoice that is read whole, or the job that asks for the next price.
    fn refill(&self, facts: &Facts, invoice: &Invoice, terms: &Terms) -> Result<Effects, JobError> {
        let Some(price) = invoice.unknown_price(|price| terms.tier_of_price(price).is_some()) else {
            return refill_tier::decide(facts, invoice, terms);
        };
        let lines = if invoice.has_more { invoice.lines.clone() } else { Vec::new() };
        let next = Self {
            lines,
            prices: invoice.prices.clone(),
            ..Self::begin(&self.of, &self.invoice, Some(price.to_owned()))
        };
        Ok(Effects { follow_ups: vec![next.job()], ..Effects::done() })
    }

    fn next(&self, lines: Vec<Line>, after: String) -> Effects {
        let next = Self { lines, after: Some(after), ..Self::begin(&self.of, &self.invoice, None) };
        Effects { follow_ups: vec![next.job()], ..Effects::done() }
    }
}
