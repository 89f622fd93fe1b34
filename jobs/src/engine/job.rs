//! What a job is: its arguments, what it may look at, and what it comes to.
//!
//! Two shapes of job, and no third. A [`Pure`] job reads facts and returns effects; the effects and the settlement commit in one
//! transaction. A [`Call`](crate::engine::call::Call) makes one request outside under a committed intent.

use std::{collections::HashSet, error::Error, future::Future, time::Duration};

use chrono::{DateTime, Utc};
use serde::{Serialize, de::DeserializeOwned};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    engine::{change::AnyChange, kind::Kind},
    ledger::Posting,
    terms::Terms,
};

/// A unit of work, by its arguments.
pub trait Job: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Its kind: the explicit name and the limits.
    const KIND: Kind;
}

/// A job without input and output of its own: facts in, effects out.
pub trait Pure: Job {
    /// What it looks at.
    type Facts: Send + Sync;

    /// Reads the facts of a whole batch, in as few statements as that takes; one entry a job, in order.
    fn gather(
        db: &mut PgConnection,
        jobs: &[Self],
    ) -> impl Future<Output = Result<Vec<Self::Facts>, sqlx::Error>> + Send;

    /// Decides. The same facts give the same effects.
    fn run(&self, facts: &Self::Facts, terms: &Terms) -> Result<Effects, JobError>;
}

/// What an attempt came to when nothing went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It had its effect.
    Done,
    /// There was nothing to do, and this is why.
    Skip(String),
    /// Its effects stand, and it is over: an operator must look, and this is why.
    Dead(String),
    /// A fact is not known yet. The job waits, costs no attempt, and is dead at its age limit.
    Snooze(Snooze),
}

/// A wait for a fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snooze {
    /// What it waits for, in words.
    pub reason: String,
    /// The name of the fact, such as `customer:cus_1`: whoever establishes it wakes the job.
    pub fact: Option<String>,
    /// How long since it was enqueued until it is dead.
    pub limit: Duration,
}

/// Why an attempt had no effect. The job classifies, the queue decides.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// It may go better later.
    #[error("{source}")]
    Retry {
        /// Not before this long, where the other side said so.
        after: Option<Duration>,
        /// What went wrong.
        source: Box<dyn Error + Send + Sync>,
    },
    /// It cannot succeed as it is: quarantined with the reason, for an operator.
    #[error("{0}")]
    Dead(String),
}

/// What a pure job wants to be true. It becomes true as a whole, with the settlement, or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effects {
    /// What the attempt comes to.
    pub outcome: Outcome,
    /// What to post.
    pub postings: Vec<Posting>,
    /// What else to change.
    pub changes: Vec<AnyChange>,
    /// What to enqueue.
    pub follow_ups: Vec<NewJob>,
}

impl Effects {
    /// An effect was had; add what it is.
    pub const fn done() -> Self {
        Self { outcome: Outcome::Done, postings: Vec::new(), changes: Vec::new(), follow_ups: Vec::new() }
    }

    /// Nothing to do, and why.
    pub fn skip(reason: impl Into<String>) -> Self {
        Self { outcome: Outcome::Skip(reason.into()), ..Self::done() }
    }

    /// Wait for a fact.
    pub fn snooze(snooze: Snooze) -> Self {
        Self { outcome: Outcome::Snooze(snooze), ..Self::done() }
    }

    /// Whether the keys of its postings are all different: two of one key in one job would hide each other.
    pub(crate) fn keys_are_distinct(&self) -> bool {
        let mut seen = HashSet::new();
        self.postings.iter().all(|posting| seen.insert(&posting.key))
    }
}

/// A job to enqueue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NewJob {
    /// Its kind's name.
    pub kind: &'static str,
    /// Unique within its kind: a second one of the same key is not made.
    pub key: String,
    /// Its arguments.
    pub args: serde_json::Value,
    /// Attempts before it is dead.
    pub max_attempts: i32,
    /// How long it waits before it is ready.
    pub delay_ms: i64,
    /// The event or the job that caused it.
    pub cause: Option<String>,
}

/// Jobs of one kind, claimed together under one lease.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Their kind.
    pub kind: Kind,
    /// The worker that holds them.
    pub worker: String,
    /// Fresh for this claim.
    pub lease: Uuid,
    /// At least one.
    pub jobs: Vec<Claimed>,
}

impl Batch {
    /// The same claim, of one of its jobs.
    #[must_use]
    pub fn only(&self, job: &Claimed) -> Self {
        self.of(vec![job.clone()])
    }

    /// The same claim, of these of its jobs.
    pub(crate) fn of(&self, jobs: Vec<Claimed>) -> Self {
        Self { kind: self.kind, worker: self.worker.clone(), lease: self.lease, jobs }
    }

    /// The same claim in two: the jobs that are so, and the others.
    pub(crate) fn divide(&self, is_so: impl Fn(&Claimed) -> bool) -> (Self, Self) {
        let (those, others) = self.jobs.iter().cloned().partition(is_so);
        (self.of(those), self.of(others))
    }
}

impl Claimed {
    /// Which attempt this is since it was enqueued or last retried, from 1: what back-off goes by.
    pub fn attempt_of_life(&self) -> i32 {
        (self.attempt - (self.max_attempts - self.allowance)).max(1)
    }
}

/// One claimed attempt.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// The job's id.
    pub id: String,
    /// Its key.
    pub key: Option<String>,
    /// Its arguments, as JSON.
    pub args: Vec<u8>,
    /// Which attempt this is, from 1.
    pub attempt: i32,
    /// The last that is allowed.
    pub max_attempts: i32,
    /// Of how many, since it was enqueued or an operator last retried it.
    pub allowance: i32,
    /// When it was enqueued.
    pub enqueued_at: DateTime<Utc>,
    /// The business time of this attempt: what its job judges periods and waits by.
    pub claimed_at: DateTime<Utc>,
}
