//! Sweep the held: payouts whose receiver is active by now and which nothing let go, and receivers whose account may be active by now
//! without our having heard of it, as after a lost event.

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, PgExecutor};

use crate::{
    engine::{
        change::AnyChange,
        job::{Effects, Job, JobError, NewJob, Pure},
        kind::{Kind, SWEEP_HELD},
    },
    payouts::change::Change,
    receivers::check_account::CheckAccount,
    terms::Terms,
};

/// What a sweep looks at.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Receivers for whom something is held, and who have an account.
    waiting: Vec<Waiting>,
    /// What is held by the minimum, of receivers who are active.
    below: Vec<Below>,
}

#[derive(Debug, Clone)]
struct Below {
    user_id: String,
    currency: String,
    /// Minor units.
    held: i64,
}

/// Somebody for whom something is held.
#[derive(Debug, Clone)]
struct Waiting {
    user_id: String,
    account_id: String,
    active: bool,
}

/// Sweeps once; one such job for each stretch of five minutes, however many workers ask for it.
#[derive(Debug, Serialize, Deserialize)]
pub struct SweepHeld {
    /// The hour that it falls in.
    hour: String,
}

/// How long a stretch is.
const STRETCH: TimeDelta = TimeDelta::minutes(5);

impl SweepHeld {
    /// The job of the stretch that `now` is in.
    pub fn of(now: DateTime<Utc>) -> NewJob {
        let start = now.duration_trunc(STRETCH).unwrap_or(now);
        NewJob {
            kind: SWEEP_HELD.name,
            key: start.to_rfc3339(),
            args: serde_json::json!({ "hour": start.format("%Y-%m-%dT%H").to_string() }),
            max_attempts: SWEEP_HELD.max_attempts,
            delay_ms: 0,
            cause: None,
        }
    }
}

/// Whether anything is held for a receiver who has an account: only then is there a job to see. What a cap holds waits for an operator.
pub async fn is_due(db: impl PgExecutor<'_>) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM bursar.payout p JOIN bursar.receiver r ON r.user_id = p.receiver_id
                          WHERE p.state = 'held' AND r.account_id IS NOT NULL
                            AND p.held_by IS DISTINCT FROM 'cap'
                            AND (r.state <> 'deauthorised' OR r.deauthorised_at > (SELECT bursar.now()) - interval '1 day')) AS "due!""#
    )
    .fetch_one(db)
    .await
}

impl Job for SweepHeld {
    const KIND: Kind = SWEEP_HELD;
}

impl Pure for SweepHeld {
    type Facts = Facts;

    async fn gather(db: &mut PgConnection, jobs: &[Self]) -> Result<Vec<Facts>, sqlx::Error> {
        let waiting = sqlx::query_as!(
            Waiting,
            r#"SELECT r.user_id, r.account_id AS "account_id!", r.active FROM bursar.receiver r
               WHERE r.account_id IS NOT NULL
                 -- One that is gone is asked about for a day, in case it was a mistake; then its owner must connect again.
                 AND (r.state <> 'deauthorised' OR r.deauthorised_at > (SELECT bursar.now()) - interval '1 day')
                 AND EXISTS (SELECT FROM bursar.payout p WHERE p.receiver_id = r.user_id AND p.state = 'held' AND p.held_by IS NULL)
               ORDER BY r.user_id LIMIT 1000"#
        )
        .fetch_all(&mut *db)
        .await?;
        // The minimum may have been lowered since.
        let below = sqlx::query_as!(
            Below,
            r#"SELECT p.receiver_id AS user_id, p.currency, sum(p.amount)::bigint AS "held!"
               FROM bursar.payout p JOIN bursar.receiver r ON r.user_id = p.receiver_id
               WHERE p.state = 'held' AND p.held_by = 'minimum' AND r.active
               GROUP BY 1, 2 ORDER BY 1, 2"#
        )
        .fetch_all(db)
        .await?;
        Ok(vec![Facts { waiting, below }; jobs.len()])
    }

    fn run(&self, facts: &Facts, terms: &Terms) -> Result<Effects, JobError> {
        if !terms.stripe_on {
            return Ok(Effects::skip("Stripe is off"));
        }
        let reached = facts.below.iter().filter(|below| below.held >= terms.payout.limits(&below.currency).minimum);
        let mut changes: Vec<AnyChange> = reached
            .map(|below| Change::MinimumMet { user_id: below.user_id.clone(), currency: below.currency.clone() }.into())
            .collect();
        if facts.waiting.is_empty() && changes.is_empty() {
            return Ok(Effects::skip("nothing is held that could be sent"));
        }
        let (active, others): (Vec<&Waiting>, Vec<&Waiting>) = facts.waiting.iter().partition(|r| r.active);
        changes.extend(active.iter().map(|r| Change::ReleaseHeld { user_id: r.user_id.clone() }.into()));
        // Perhaps Stripe said that one of these is active by now, and the event was lost: asked once an hour.
        let follow_ups = others.iter().map(|r| CheckAccount::of(&r.account_id, &self.hour)).collect();
        Ok(Effects { changes, follow_ups, ..Effects::done() })
    }
}
