//! Sweep the held: payouts whose receiver is active by now and which nothing let go, as after a lost event.

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, PgExecutor};

use crate::{
    effects::Change,
    job::{Effects, Job, JobError, NewJob, Pure},
    kinds::{Kind, SWEEP_HELD},
    terms::Terms,
};

/// Sweeps once; one such job for each stretch of five minutes, however many workers ask for it.
#[derive(Debug, Serialize, Deserialize)]
pub struct SweepHeld {}

/// How long a stretch is.
const STRETCH: TimeDelta = TimeDelta::minutes(5);

impl SweepHeld {
    /// The job of the stretch that `now` is in.
    pub fn of(now: DateTime<Utc>) -> NewJob {
        let start = now.duration_trunc(STRETCH).unwrap_or(now);
        NewJob {
            kind: SWEEP_HELD.name,
            key: start.to_rfc3339(),
            args: serde_json::json!({}),
            max_attempts: SWEEP_HELD.max_attempts,
            delay_ms: 0,
            cause: None,
        }
    }
}

/// Whether anything is held whose receiver is active: only then is there a job to see.
pub async fn is_due(db: impl PgExecutor<'_>) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM bursar.payout p JOIN bursar.receiver r ON r.user_id = p.receiver_id
                          WHERE p.state = 'held' AND r.active) AS "due!""#
    )
    .fetch_one(db)
    .await
}

impl Job for SweepHeld {
    const KIND: Kind = SWEEP_HELD;
}

impl Pure for SweepHeld {
    /// Active receivers for whom something is held.
    type Facts = Vec<String>;

    async fn gather(db: &mut PgConnection, jobs: &[Self]) -> Result<Vec<Self::Facts>, sqlx::Error> {
        let receivers = sqlx::query_scalar!(
            "SELECT r.user_id FROM bursar.receiver r
             WHERE r.active AND EXISTS (SELECT FROM bursar.payout p WHERE p.receiver_id = r.user_id AND p.state = 'held')
             ORDER BY r.user_id LIMIT 1000"
        )
        .fetch_all(db)
        .await?;
        Ok(vec![receivers; jobs.len()])
    }

    fn run(&self, receivers: &Self::Facts, terms: &Terms) -> Result<Effects, JobError> {
        if !terms.stripe_on {
            return Ok(Effects::skip("Stripe is off"));
        }
        if receivers.is_empty() {
            return Ok(Effects::skip("nothing is held that could be sent"));
        }
        let changes = receivers.iter().map(|user_id| Change::ReleaseHeld { user_id: user_id.clone() }).collect();
        Ok(Effects { changes, ..Effects::done() })
    }
}
