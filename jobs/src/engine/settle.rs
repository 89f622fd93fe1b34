//! Recording what an attempt came to, fenced by its lease. The one caller of `bursar.settle`.

use std::{collections::HashMap, error::Error, time::Duration};

use serde::Serialize;
use sqlx::PgExecutor;

use crate::{
    engine::{
        backoff,
        job::{Batch, Claimed, Effects, JobError, Outcome, Snooze},
    },
    ledger::Account,
};

/// How the reason begins of a job that waits for a lock.
const LOCK_HELD: &str = "another transaction holds a lock";

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

    /// The settlement of an attempt that another transaction's lock held up, and held up `times` before. It costs no attempt and has no age
    /// limit: whoever holds the lock is neither the job's fault nor its batch-mates'.
    pub fn of_lock(job: &Claimed, times: u32, account: Option<&str>) -> Self {
        let what = account.map_or_else(|| "that it needs".to_owned(), |account| format!("on the account {account}"));
        let reason = format!("{LOCK_HELD} {what} (an application's, left open?)");
        Self { delay_ms: millis(backoff::lock(times, backoff::jitter())), ..Self::new(job, "snooze", Some(reason)) }
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

/// How often each of these jobs was held up by a lock; a job that never was is missing.
pub(crate) async fn times_locked(
    db: impl PgExecutor<'_>,
    jobs: &[String],
) -> Result<HashMap<String, u32>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT job_id, count(*) AS "times!" FROM bursar.attempt
           WHERE job_id = ANY($1) AND outcome = 'snooze' AND starts_with(reason, $2) GROUP BY job_id"#,
        jobs,
        LOCK_HELD,
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| (row.job_id, u32::try_from(row.times).unwrap_or(u32::MAX))).collect())
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

#[cfg(test)]
mod tests {
    use chrono::{TimeDelta, TimeZone, Utc};

    use super::*;
    use crate::{base::credits::Credits, ledger::Posting};

    /// The second of three attempts of a job that was enqueued some minutes before it was claimed.
    fn claimed(minutes: i64) -> Claimed {
        let enqueued_at = Utc.timestamp_opt(1_790_000_000, 0).unwrap();
        Claimed {
            id: "job".into(),
            key: Some("key".into()),
            args: Vec::new(),
            attempt: 2,
            max_attempts: 3,
            allowance: 3,
            enqueued_at,
            claimed_at: enqueued_at + TimeDelta::minutes(minutes),
        }
    }

    /// What the database is told.
    fn told(settlement: &Settlement) -> serde_json::Value {
        serde_json::to_value(settlement).unwrap()
    }

    fn expect(outcome: &str, delay_ms: i64, reason: Option<&str>) -> serde_json::Value {
        serde_json::json!({
            "id": "job", "attempt": 2, "outcome": outcome, "delay_ms": delay_ms, "reason": reason, "errors": null, "waits_for": null,
        })
    }

    #[test]
    fn what_ended_in_good_order_is_told_with_its_reason() {
        let job = claimed(0);
        assert_eq!(told(&Settlement::of_outcome(&job, &Outcome::Done)), expect("done", 0, None));
        let skip = Settlement::of_outcome(&job, &Outcome::Skip("nothing \0 to do".into()));
        assert_eq!(told(&skip), expect("skip", 0, Some("nothing \u{fffd} to do")), "a text holds no NUL");
        let mut dead = expect("dead", 0, Some("broken \u{fffd}"));
        dead["errors"] = serde_json::json!(["broken \u{fffd}"]);
        assert_eq!(told(&Settlement::of_outcome(&job, &Outcome::Dead("broken \0".into()))), dead);
    }

    #[test]
    fn a_snooze_waits_half_its_age_and_is_dead_at_its_limit() {
        let snooze = Snooze { reason: "early".into(), fact: Some("fact".into()), limit: Duration::from_hours(1) };
        let outcome = Outcome::Snooze(snooze);
        for (minutes, wait) in [(0, 2_000), (20, 600_000), (59, 1_770_000)] {
            let mut expected = expect("snooze", wait, Some("early"));
            expected["waits_for"] = serde_json::json!("fact");
            assert_eq!(told(&Settlement::of_outcome(&claimed(minutes), &outcome)), expected, "{minutes} minutes");
        }
        for minutes in [60, 61] {
            let mut expected = expect("dead", 0, Some("waited 1 h in vain: early"));
            expected["errors"] = serde_json::json!(["waited 1 h in vain: early"]);
            assert_eq!(told(&Settlement::of_outcome(&claimed(minutes), &outcome)), expected, "{minutes} minutes");
        }
    }

    #[test]
    fn whose_turn_has_not_come_waits_for_it() {
        let settlement = Settlement::of_turn(&claimed(0), Duration::from_millis(1234));
        assert_eq!((settlement.outcome, settlement.delay_ms, &settlement.waits_for), ("snooze", 1234, &None));
        assert!(settlement.reason.is_some_and(|reason| reason.contains("requests_per_second")));
    }

    #[test]
    fn an_error_is_told_with_its_causes_and_waits_at_least_as_long_as_was_asked() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer \0")]
        struct Outer(#[source] std::io::Error);
        let source = Box::new(Outer(std::io::Error::other("inner \0")));
        let retry = JobError::Retry { after: Some(Duration::from_mins(1)), source };
        let settlement = Settlement::of_error(&claimed(0), &retry);
        assert_eq!((settlement.outcome, settlement.reason.as_deref()), ("retry", Some("outer \u{fffd}")));
        assert_eq!(settlement.errors, Some(vec!["outer \u{fffd}".to_owned(), "inner \u{fffd}".to_owned()]));
        assert!((60_000..=61_000).contains(&settlement.delay_ms), "{settlement:?}");
    }

    #[test]
    fn a_settlement_is_about_the_first_user_or_receiver_whose_account_it_moved() {
        let about = |postings| {
            let effects = Effects { postings, ..Effects::done() };
            Settlement::of_outcome(&claimed(0), &Outcome::Done).about(&effects)
        };
        let grant = Posting::grant("refill", "k".into(), "alice", Credits::from_micros(1));
        let receiver = Account::Receiver("r".into());
        let owed = Posting::new("payout", "p".into(), Account::Payable, receiver, "usd", 1);
        let expired = Posting::new("expiry", "e".into(), Account::Issuance, Account::Breakage, "credits", 1);
        assert_eq!(about(vec![expired.clone(), grant.clone()]).user.as_deref(), Some("alice"));
        assert_eq!(about(vec![owed, grant]).user.as_deref(), Some("r"));
        let nobodys = about(vec![expired]);
        assert_eq!((nobodys.user, nobodys.outcome), (None, "done"));
    }
}
