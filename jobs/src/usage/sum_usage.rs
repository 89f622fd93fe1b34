//! Sum usage: what was spent on metered skills in the hours that have ended, and is in no report yet, goes into one for each user, skill
//! and hour; a job sends each.
//!
//! A spend whose transaction was still open when its hour was summed is in no report, and so goes into the next: nothing is lost and
//! nothing doubled, for a spend's row says which report it is in.

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::{
    base::clock,
    engine::{
        job::{Effects, Job, JobError, Pure},
        kind::{Kind, SUM_USAGE},
    },
    terms::Terms,
    usage::change::Change,
};

/// Sums once.
#[derive(Debug, Serialize, Deserialize)]
pub struct SumUsage {}

impl Job for SumUsage {
    const KIND: Kind = SUM_USAGE;
}

impl Pure for SumUsage {
    /// Business time.
    type Facts = DateTime<Utc>;

    async fn gather(db: &mut PgConnection, jobs: &[Self]) -> Result<Vec<DateTime<Utc>>, sqlx::Error> {
        Ok(vec![clock::business(db).await?; jobs.len()])
    }

    fn run(&self, now: &DateTime<Utc>, terms: &Terms) -> Result<Effects, JobError> {
        if !terms.stripe_on {
            return Ok(Effects::skip("Stripe is off: what was used is reported once it is on"));
        }
        let before = now.duration_trunc(TimeDelta::hours(1)).unwrap_or(*now);
        Ok(Effects { changes: vec![Change::SumUsage { before }.into()], ..Effects::done() })
    }
}
