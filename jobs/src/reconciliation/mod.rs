//! Reconciliation: one month at Stripe compared with the books, in both directions; what differs is a finding.
//!
//! Rules
//! - A *run* is one comparison of one month, a page of a hundred a job: [`read`] asks Stripe for a page and puts it down, [`compare`] judges
//!   what was put down and enqueues the next read. One chain of jobs, each unique by run and step: a crash goes on where the last page was
//!   settled, nothing is counted twice, and no more than a page is ever held in memory.
//! - What was paid in the month counts, not what was made in it: see [`Phase::margin`].
//! - Nothing of the rules is written again here: an invoice is worth what [`refill_tier`](crate::subscriptions::refill_tier) says, a session what
//!   [`purchase`](crate::selling::purchase) says, what is to be taken back is what [`amounts`](crate::clawbacks::amounts) says.
//! - A run changes nothing but its own rows. Repairs go through the doors that events go through, with the keys of every effect: see
//!   [`repair`]. What needs judgement is listed with the command that would settle it, and never guessed.
//!
//! Bulk work: it may wait for payouts and for people, wherever requests are limited.

pub(crate) mod apply;
mod asked;
mod begin;
pub mod change;
mod close;
mod compare;
mod entry;
pub mod finding;
mod grants;
mod money_back;
mod months;
mod payouts;
mod read;
mod repair;
mod transfers;

use crate::engine::domain::Domain;

use chrono::{DateTime, Datelike, Months, NaiveDate, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgConnection;

pub use begin::{Begun, Reconcile, begin, last_month, month_of};
pub(crate) use compare::Compare;
pub(crate) use read::Read;
pub(crate) use repair::Repair;

use bursar_stripe::lists::List;

use crate::{
    base::audit::Via,
    engine::{
        job::NewJob,
        kind::{RECONCILE_COMPARE, RECONCILE_READ},
    },
};

/// What the engine knows of this domain.
pub const DOMAIN: Domain = Domain {
    apply: Some(|context| Box::pin(apply::apply(context))),
    react: Some(|context| Box::pin(close::react(context))),

    ..Domain::of("reconciliation", |change| change.of::<change::Change>().is_some())
};

/// What a run compares, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Paid invoices, against refills and plan changes.
    Invoices,
    /// Paid checkout sessions, against purchases.
    Sessions,
    /// Charges, for refunds and disputes that came later than the month.
    Charges,
    /// Refunds, against clawbacks.
    Refunds,
    /// Disputes, against clawbacks.
    Disputes,
    /// Credit notes, against clawbacks.
    CreditNotes,
    /// Transfers, against payouts.
    Transfers,
    /// Reversals of Transfers, against the books.
    Reversals,
    /// Postings of the month that grant, against what was seen paid.
    Grants,
    /// Transfers that the books have, against those that were seen.
    Payouts,
    /// Months of service that were paid for by the year.
    Months,
    /// Payouts that come to no end.
    Stuck,
}

impl Phase {
    /// All of them, in order.
    pub const ALL: [Self; 12] = [
        Self::Invoices,
        Self::Sessions,
        Self::Charges,
        Self::Refunds,
        Self::Disputes,
        Self::CreditNotes,
        Self::Transfers,
        Self::Reversals,
        Self::Grants,
        Self::Payouts,
        Self::Months,
        Self::Stuck,
    ];

    /// As the database and people say it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Invoices => "invoices",
            Self::Sessions => "sessions",
            Self::Charges => "charges",
            Self::Refunds => "refunds",
            Self::Disputes => "disputes",
            Self::CreditNotes => "credit_notes",
            Self::Transfers => "transfers",
            Self::Reversals => "reversals",
            Self::Grants => "grants",
            Self::Payouts => "payouts",
            Self::Months => "months",
            Self::Stuck => "stuck",
        }
    }

    fn next(self) -> Option<Self> {
        let at = Self::ALL.iter().position(|phase| *phase == self)?;
        Self::ALL.get(at + 1).copied()
    }

    /// What it pages through at Stripe; none: it pages through our own tables.
    fn list(self) -> Option<List> {
        match self {
            Self::Invoices => Some(List::PaidInvoices),
            Self::Sessions => Some(List::CompleteSessions),
            Self::Charges => Some(List::Charges),
            Self::Refunds => Some(List::Refunds),
            Self::Disputes => Some(List::Disputes),
            Self::CreditNotes => Some(List::CreditNotes),
            Self::Transfers => Some(List::Transfers),
            Self::Reversals => Some(List::Reversals),
            Self::Grants | Self::Payouts | Self::Months | Self::Stuck => None,
        }
    }

    /// How much earlier than the month something may have been made that was paid within it. Stripe's longest retry schedule is two months
    /// (Stripe: Smart Retries); a session lives a day, and a delayed payment takes two weeks at most (Stripe: checkout, delayed payment
    /// methods).
    fn margin(self) -> TimeDelta {
        match self {
            Self::Invoices => TimeDelta::days(62),
            Self::Sessions => TimeDelta::days(15),
            _ => TimeDelta::zero(),
        }
    }
}

/// One step of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The run.
    run: String,
    /// Which step of it, from 0.
    nth: i64,
    /// What is compared.
    phase: Phase,
    /// The id that ended the page before; none: the first page.
    after: Option<String>,
    /// Whether there is more of the phase after what is asked for or was asked.
    #[serde(default)]
    more: bool,
    /// Ids that are asked for one by one, instead of a page.
    #[serde(default)]
    ask: Vec<String>,
}

/// Asked for one by one in one job. A charge is half a dozen questions: all fit well into the time of an attempt.
const MOST_ASKED: usize = 5;

impl Step {
    fn first(run: &str) -> Self {
        Self { run: run.to_owned(), nth: 0, phase: Phase::Invoices, after: None, more: true, ask: Vec::new() }
    }

    fn key(&self) -> String {
        format!("{}:{}", self.run, self.nth)
    }

    /// The job that reads what this step asks for.
    fn read(&self) -> NewJob {
        self.job(RECONCILE_READ.name, RECONCILE_READ.max_attempts, json!(self))
    }

    /// The job that judges it; `asked`: one by one.
    fn compare(&self, asked: bool) -> NewJob {
        self.job(RECONCILE_COMPARE.name, RECONCILE_COMPARE.max_attempts, json!({ "step": self, "asked": asked }))
    }

    fn job(&self, kind: &'static str, max_attempts: i32, args: serde_json::Value) -> NewJob {
        NewJob { kind, key: self.key(), args, max_attempts, delay_ms: 0, cause: None }
    }

    /// The step that asks for these, before the list goes on.
    fn asking(&self, ask: Vec<String>) -> Self {
        Self { nth: self.nth + 1, ask, ..self.clone() }
    }

    /// The job of the step after this one; none: the run has compared everything.
    fn following(&self) -> Option<NewJob> {
        let (phase, after) = if self.more { (self.phase, self.after.clone()) } else { (self.phase.next()?, None) };
        let next = Self { nth: self.nth + 1, phase, after, more: true, ask: Vec::new(), run: self.run.clone() };
        Some(if phase.list().is_some() { next.read() } else { next.compare(false) })
    }
}

/// A run as it stands, and its month.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub id: String,
    pub state: String,
    pub asked_by: String,
    pub repair_by: Option<String>,
    pub repair_via: Via,
    pub from: DateTime<Utc>,
    pub before: DateTime<Utc>,
}

impl Run {
    pub async fn load(db: &mut PgConnection, id: &str) -> Result<Option<Self>, sqlx::Error> {
        let row = sqlx::query!(
            "SELECT id, state, month, asked_by, repair_by, repair_via FROM bursar.reconciliation WHERE id = $1",
            id
        )
        .fetch_optional(db)
        .await?;
        Ok(row.map(|row| {
            let (from, before) = bounds(row.month);
            // One that the previous version began does not say: then it was the command line, the only way there was.
            let repair_via = row.repair_via.as_deref().and_then(Via::of).unwrap_or(Via::Cli);
            let (id, state, asked_by, repair_by) = (row.id, row.state, row.asked_by, row.repair_by);
            Self { id, state, asked_by, repair_by, repair_via, from, before }
        }))
    }

    /// Whether a moment is in the month.
    pub fn holds(&self, at: DateTime<Utc>) -> bool {
        (self.from..self.before).contains(&at)
    }
}

/// The first moment of a month, and the first after it; in UTC.
fn bounds(month: NaiveDate) -> (DateTime<Utc>, DateTime<Utc>) {
    let start = |day: NaiveDate| day.and_time(chrono::NaiveTime::MIN).and_utc();
    let first = month.with_day(1).unwrap_or(month);
    (start(first), start(first.checked_add_months(Months::new(1)).unwrap_or(NaiveDate::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steps_of_a_run_lead_through_every_phase_to_the_end() {
        let mut step = Step::first("2026-10.1");
        let mut seen = vec![step.phase];
        loop {
            step.more = false;
            let Some(job) = step.following() else { break };
            let args = if job.kind == RECONCILE_READ.name { job.args } else { job.args["step"].clone() };
            step = serde_json::from_value(args).unwrap();
            seen.push(step.phase);
        }
        assert_eq!(seen, Phase::ALL);
        assert_eq!(step.nth, 11);
    }

    #[test]
    fn a_month_ends_where_the_next_begins() {
        let (from, before) = bounds(NaiveDate::from_ymd_opt(2026, 12, 1).unwrap());
        assert_eq!(
            (from.to_rfc3339(), before.to_rfc3339()),
            ("2026-12-01T00:00:00+00:00".into(), "2027-01-01T00:00:00+00:00".into())
        );
    }
}
