//! The fences of the queue and of the books, each one alone: in every test here one condition stands between two attempts, or between a
//! user and what is not theirs, and nothing behind it would mend its loss. The keys of postings absorb a second posting; so no test here
//! makes one effect twice.

mod aside;
mod batch;
mod call;
mod claim;
mod definitions;
mod domains;
mod lease;
mod outcomes;
mod post;
mod receive;
mod settle;
mod spend;

use std::{sync::Arc, time::Duration};

use bursar_jobs::{
    base::{audit::Via, credits::Credits},
    desk::{Operator, change},
    engine::{
        context::{Context, Points},
        job::{Batch, Claimed, Effects, Job, JobError, NewJob, Outcome, Pure},
        kind::Kind,
        settle::Settlement,
    },
    ledger::Posting,
    terms::{PayoutTerms, Terms},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::{PgConnection, PgPool, Postgres, Transaction};

use crate::support::eventually;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);
/// An advisory lock that the jobs here wait for before they look at their facts.
const BARRIER: i64 = 28;
/// The worker of most tests here.
const WORKER: &str = "worker";

/// Grants one credit under the key of its user, and enqueues a job: two effects that nobody else makes.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Grant {
    user: String,
}

impl Job for Grant {
    const KIND: Kind = Kind { name: "fence_grant", max_attempts: 3, timeout: Duration::from_secs(30), batch: 10 };
}

impl Pure for Grant {
    type Facts = ();

    async fn gather(db: &mut PgConnection, jobs: &[Self]) -> Result<Vec<()>, sqlx::Error> {
        wait_at_barrier(db).await?;
        Ok(vec![(); jobs.len()])
    }

    fn run(&self, (): &(), _: &Terms) -> Result<Effects, JobError> {
        Ok(granted(&self.user))
    }
}

/// What a grant comes to.
fn granted(user: &str) -> Effects {
    let posting = Posting::grant("admin_grant", format!("fence:{user}"), user, Credits::from_micros(1_000_000));
    let follow_up =
        NewJob { kind: "fence_follow", key: user.into(), args: json!({}), max_attempts: 1, delay_ms: 0, cause: None };
    Effects { postings: vec![posting], follow_ups: vec![follow_up], ..Effects::done() }
}

/// Waits while a test holds the barrier, longer than a job would wait for a lock.
async fn wait_at_barrier(db: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::raw_sql("SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0").execute(&mut *db).await?;
    sqlx::query("SELECT pg_advisory_xact_lock_shared($1)").bind(BARRIER).execute(db).await.map(drop)
}

/// Holds the barrier until it is dropped.
async fn close_barrier(pool: &PgPool) -> Transaction<'static, Postgres> {
    let mut tx = pool.begin().await.unwrap();
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(BARRIER).execute(&mut *tx).await.unwrap();
    tx
}

const AT_BARRIER: &str = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted \
                          AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
const POSTINGS: &str = "SELECT count(*) FROM bursar.posting";
const FOLLOW_UPS: &str = "SELECT count(*) FROM bursar.job WHERE kind = 'fence_follow'";

async fn count(pool: &PgPool, of: &'static str) -> i64 {
    sqlx::query_scalar(of).fetch_one(pool).await.unwrap()
}

async fn until(pool: &PgPool, what: &'static str, wanted: i64) {
    eventually(PATIENCE, || async {
        let seen = count(pool, what).await;
        if seen == wanted { Ok(()) } else { Err(format!("{seen}, not {wanted}: {what}")) }
    })
    .await;
}

/// Runs statements.
async fn sql(pool: &PgPool, statements: &'static str) {
    sqlx::raw_sql(statements).execute(pool).await.unwrap_or_else(|error| panic!("{statements}: {error}"));
}

/// A worker whose lease holds for longer than any test.
async fn worker(pool: &PgPool, name: &str) {
    sqlx::query(
        "INSERT INTO apalis.workers (id, worker_type, storage_name, lease_until)
         VALUES ($1, 'fence', 'fence', clock_timestamp() + interval '1 hour')",
    )
    .bind(name)
    .execute(pool)
    .await
    .unwrap();
}

/// Enqueues a grant for each user.
async fn enqueue(pool: &PgPool, kind: Kind, users: &[&str]) {
    let jobs: Vec<NewJob> = users
        .iter()
        .map(|user| NewJob {
            kind: kind.name,
            key: (*user).to_owned(),
            args: json!({ "user": user }),
            max_attempts: kind.max_attempts,
            delay_ms: 0,
            cause: None,
        })
        .collect();
    bursar_jobs::engine::enqueue::enqueue(pool, &jobs).await.unwrap();
}

/// What one worker gets of one kind; none: nothing is ready for it.
async fn claim(pool: &PgPool, worker: &str, kind: Kind) -> Option<Batch> {
    type Row = (String, Option<String>, Vec<u8>, i32, i32, i32, uuid::Uuid, chrono::DateTime<chrono::Utc>);
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT id, key, args, attempt, max_attempts, allowance, lease, enqueued_at
         FROM bursar.claim($1, ARRAY[$2], ARRAY[$3], ARRAY[60000::bigint])",
    )
    .bind(worker)
    .bind(kind.name)
    .bind(kind.batch)
    .fetch_all(pool)
    .await
    .unwrap();
    let lease = rows.first()?.6;
    let jobs = rows
        .into_iter()
        .map(|(id, key, args, attempt, max_attempts, allowance, _, enqueued_at)| Claimed {
            id,
            key,
            args,
            attempt,
            max_attempts,
            allowance,
            enqueued_at,
            claimed_at: enqueued_at,
        })
        .collect();
    Some(Batch { kind, worker: worker.to_owned(), lease, jobs })
}

/// One claimed grant, and what claimed it.
async fn claimed_grants(pool: &PgPool, users: &[&str]) -> Batch {
    worker(pool, WORKER).await;
    enqueue(pool, Grant::KIND, users).await;
    let batch = claim(pool, WORKER, Grant::KIND).await.expect("they are ready");
    assert_eq!(batch.jobs.len(), users.len());
    batch
}

/// Settles every job of a batch alike; the ids that were.
async fn settle(pool: &PgPool, batch: &Batch, outcome: &Outcome) -> Vec<String> {
    let settlements: Vec<Settlement> = batch.jobs.iter().map(|job| Settlement::of_outcome(job, outcome)).collect();
    bursar_jobs::engine::settle::settle(pool, batch, &settlements).await.unwrap()
}

/// A wait that is over at once.
fn snooze() -> Outcome {
    Outcome::Snooze(bursar_jobs::engine::job::Snooze {
        reason: "waits".into(),
        fact: None,
        limit: Duration::from_hours(1),
    })
}

/// As an operator does.
async fn cancel(pool: &PgPool, id: &str) {
    let by = Operator { who: "anna".into(), via: Via::Cli };
    let mut tx = pool.begin().await.unwrap();
    let changed = change::cancel(&mut tx, &by, id, None).await.unwrap();
    assert!(matches!(changed, change::Change::Done(_)), "{changed:?}");
    tx.commit().await.unwrap();
}

/// What jobs are performed with here: no Stripe, no letters, a lease that covers all.
fn context(pool: &PgPool) -> Context {
    let terms = Terms {
        tiers: Vec::new(),
        packages: Vec::new(),
        skills: std::collections::BTreeMap::new(),
        payout: PayoutTerms { minor_units_per_credit: 50, currency: "usd".into(), ..Default::default() },
        initial_credits: Credits::ZERO,
        livemode: false,
        stripe_on: true,
        grace: Duration::ZERO,
        selling: bursar_jobs::terms::Selling::default(),
        dunning: bursar_jobs::dunning::Dunning::default(),
    };
    Context {
        pool: pool.clone(),
        domains: bursar_jobs::registry::DOMAINS,
        terms: Arc::new(terms),
        stripe: None,
        notify: None,
        letters: None,
        lease: Arc::new(|_| true),
        points: Points::default(),
        locked: Arc::default(),
    }
}
