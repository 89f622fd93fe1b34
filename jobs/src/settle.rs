//! Recording what an attempt came to, fenced by its lease. The one caller of `bursar.settle`.

use std::{error::Error, time::Duration};

use serde::Serialize;
use sqlx::PgExecutor;

use crate::{
    backoff,
    job::{Batch, Claimed, Effects, JobError, Outcome, Snooze},
    ledger::Account,
};

/// One attempt's settlement, as the database takes it.
#[derive(Debug, Clone, Serialize)]
pub struct Settlement {
    /// The job.
    pub id: String,
    attempt: i32,
    /// `done`, `skip`, `snooze`, `retry` or `dead`.
    pub outcome: &'static str,
    delay_ms: i64,
    /// Why, in words.
    pub reason: Option<String>,
    errors: Option<Vec<String>>,
    /// The fact that it waits for, where it has a name.
    pub waits_for: Option<String>,
    /// Whose account its postings moved, for the log; no part of what is recorded.
    #[serde(skip)]
    pub user: Option<String>,
}

impl Settlement {
    /// The same, with whom its effects are about.
    pub(crate) fn about(self, effects: &Effects) -> Self {
        let user = effects.postings.iter().flat_map(|posting| [&posting.debit, &posting.credit]).find_map(|account| {
            match account {
                Account::User(id) | Account::Receiver(id) => Some(id.clone()),
                _ => None,
            }
        });
        Self { user, ..self }
    }

    /// The settlement of an attempt that ended in good order.
    pub fn of_outcome(job: &Claimed, outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Done => Self::new(job, "done", None),
            Outcome::Skip(reason) => Self::new(job, "skip", Some(reason.clone())),
            Outcome::Snooze(snooze) => Self::of_snooze(job, snooze),
            Outcome::Dead(reason) => Self::of_error(job, &JobError::Dead(reason.clone())),
        }
    }

    fn of_snooze(job: &Claimed, snooze: &Snooze) -> Self {
        let age = (job.claimed_at - job.enqueued_at).to_std().unwrap_or_default();
        if age >= snooze.limit {
            let waited = format!("waited {} h in vain: {}", snooze.limit.as_secs() / 3600, snooze.reason);
            return Self { errors: Some(vec![waited.clone()]), ..Self::new(job, "dead", Some(waited)) };
        }
        Self {
            delay_ms: millis(backoff::snooze(age)),
            waits_for: snooze.fact.clone(),
            ..Self::new(job, "snooze", Some(snooze.reason.clone()))
        }
    }

    /// The settlement of an attempt whose request never left, for its turn comes in `wait` (`turns`). It costs no attempt.
    pub fn of_turn(job: &Claimed, wait: Duration) -> Self {
        let reason = "its turn at Stripe has not come: all processes share one rate ([stripe] requests_per_second)";
        Self { delay_ms: millis(wait), ..Self::new(job, "snooze", Some(reason.into())) }
    }

    /// The settlement of an attempt that had no effect.
    pub fn of_error(job: &Claimed, error: &JobError) -> Self {
        match error {
            JobError::Retry { after, source } => Self {
                delay_ms: millis(backoff::retry(job.attempt_of_life(), *after, backoff::jitter())),
                errors: Some(chain(source.as_ref())),
                ..Self::new(job, "retry", Some(source.to_string()))
            },
            JobError::Dead(reason) => {
                Self { errors: Some(vec![storable(reason)]), ..Self::new(job, "dead", Some(reason.clone())) }
            }
        }
    }

    fn new(job: &Claimed, outcome: &'static str, reason: Option<String>) -> Self {
        Self {
            id: job.id.clone(),
            attempt: job.attempt,
            outcome,
            delay_ms: 0,
            reason: reason.map(|text| storable(&text)),
            errors: None,
            waits_for: None,
            user: None,
        }
    }
}

/// PostgreSQL's text holds no NUL, and a reason may quote what a stranger sent.
fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// Settles attempts of one claim. Returns the ids that were settled: one that is missing was stale, and nothing changed for it.
pub async fn settle(
    db: impl PgExecutor<'_>,
    batch: &Batch,
    settlements: &[Settlement],
) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT settled AS "settled!" FROM bursar.settle($1, $2, $3) AS settled"#,
        batch.worker,
        batch.lease,
        sqlx::types::Json(settlements) as _,
    )
    .fetch_all(db)
    .await
}

/// An error and its causes, outermost first.
fn chain(error: &(dyn Error + 'static)) -> Vec<String> {
    let mut texts = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        texts.push(storable(&error.to_string()));
        next = error.source();
    }
    texts
}

fn millis(wait: Duration) -> i64 {
    i64::try_from(wait.as_millis()).unwrap_or(i64::MAX)
}
