//! The queue's promises, each broken on purpose: by a killed process, a frozen one, a barrier, a stopped database.

mod claims;

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use nix::sys::signal::Signal;
use serde_json::json;
use sqlx::{PgPool, Row};

use crate::support::{Child, Database, database, eventually, probe_program, program::clear_environment, scratch};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);
/// An advisory lock that the probe's jobs wait for.
const BARRIER: i64 = 42;

/// A probe worker; a short lease makes a crash show sooner.
pub struct Probe {
    url: String,
    barrier: bool,
    lease_ms: Option<u32>,
    log: Option<std::path::PathBuf>,
    more: Vec<(&'static str, String)>,
}

fn probe(database: &Database) -> Probe {
    probe_at(&database.url)
}

/// A probe of any database.
pub fn probe_at(url: &str) -> Probe {
    Probe { url: url.to_owned(), barrier: false, lease_ms: Some(2000), log: None, more: Vec::new() }
}

impl Probe {
    fn at_barrier(mut self) -> Self {
        self.barrier = true;
        self
    }

    /// One more variable for it.
    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.more.push((name, value.to_owned()));
        self
    }

    /// Writes its log to a file.
    pub fn logging_to(mut self, file: std::path::PathBuf) -> Self {
        self.log = Some(file);
        self
    }

    fn with_real_lease(mut self) -> Self {
        self.lease_ms = None;
        self
    }

    /// Starts it.
    pub fn start(self) -> Child {
        let mut command = Command::new(probe_program());
        clear_environment(&mut command).env("DATABASE_URL", self.url).stdin(Stdio::null());
        if self.barrier {
            command.env("PROBE_BARRIER", BARRIER.to_string());
        }
        if let Some(lease) = self.lease_ms {
            command.env("PROBE_LEASE_MS", lease.to_string());
        }
        command.envs(self.more);
        if let Some(log) = self.log {
            command.stderr(std::fs::File::create(log).unwrap());
        }
        Child::spawn(&mut command)
    }
}

/// Enqueues jobs of one kind, keyed by their place.
pub async fn enqueue(pool: &PgPool, kind: &str, max_attempts: i32, args: &[serde_json::Value]) {
    let jobs: Vec<_> = args
        .iter()
        .enumerate()
        .map(|(i, args)| json!({"kind": kind, "key": format!("k{i}"), "max_attempts": max_attempts, "args": args}))
        .collect();
    sqlx::query("SELECT bursar.enqueue($1)").bind(sqlx::types::Json(jobs)).execute(pool).await.unwrap();
}

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

const AT_BARRIER: &str = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted \
                          AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
const DONE: &str = "SELECT count(*) FROM bursar.job WHERE state = 'done'";
const DEAD: &str = "SELECT count(*) FROM bursar.job WHERE state = 'dead'";
const POSTINGS: &str = "SELECT count(*) FROM bursar.posting";
const LOST: &str = "SELECT count(*) FROM bursar.attempt WHERE outcome = 'lost'";

/// Holds the barrier until it is dropped.
async fn close_barrier(pool: &PgPool) -> sqlx::Transaction<'static, sqlx::Postgres> {
    let mut tx = pool.begin().await.unwrap();
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(BARRIER).execute(&mut *tx).await.unwrap();
    tx
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_killed_in_the_middle_of_a_job_loses_nothing_and_doubles_nothing() {
    let db = database().await;
    let barrier = close_barrier(&db.pool).await;
    let mut killed = probe(&db).at_barrier().with_real_lease().start();
    enqueue(&db.pool, "probe_post", 3, &[json!({"user": "alice"})]).await;
    until(&db.pool, AT_BARRIER, 1).await;
    // A second worker is up before the crash, as in a deployment of two.
    let _other = probe(&db).with_real_lease().start();
    until(&db.pool, "SELECT count(*) FROM apalis.workers", 2).await;

    killed.kill().unwrap();
    let crashed = std::time::Instant::now();
    drop(barrier);
    until(&db.pool, DONE, 1).await;

    assert!(crashed.elapsed() < Duration::from_secs(15), "started again only after {:?}", crashed.elapsed());
    assert_eq!(count(&db.pool, POSTINGS).await, 1);
    assert_eq!(count(&db.pool, LOST).await, 1, "the crash is in the history");
    assert_eq!(count(&db.pool, "SELECT attempt::bigint FROM bursar.job").await, 2, "and counted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lone_worker_killed_and_started_again_goes_on_within_15_seconds() {
    let db = database().await;
    let barrier = close_barrier(&db.pool).await;
    let mut killed = probe(&db).at_barrier().with_real_lease().start();
    enqueue(&db.pool, "probe_post", 3, &[json!({"user": "alice"})]).await;
    until(&db.pool, AT_BARRIER, 1).await;
    killed.kill().unwrap();
    drop(barrier);
    let started = std::time::Instant::now();
    let _again = probe(&db).with_real_lease().start();
    until(&db.pool, DONE, 1).await;
    assert!(started.elapsed() < Duration::from_secs(15), "started again only after {:?}", started.elapsed());
    assert_eq!(count(&db.pool, POSTINGS).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_frozen_past_its_lease_neither_settles_nor_posts_once_its_job_is_anothers() {
    let db = database().await;
    let barrier = close_barrier(&db.pool).await;
    let frozen = probe(&db).at_barrier().start();
    enqueue(&db.pool, "probe_post", 3, &[json!({"user": "alice"})]).await;
    until(&db.pool, AT_BARRIER, 1).await;
    frozen.signal(Signal::SIGSTOP);
    let _other = probe(&db).start();
    until(&db.pool, DONE, 1).await;

    drop(barrier);
    frozen.signal(Signal::SIGCONT);
    // Thawed, it finds that it stood still and registers anew: by then it has had its chance to settle.
    until(&db.pool, "SELECT count(*) FROM apalis.workers", 2).await;
    until(&db.pool, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'", 0).await;
    assert_eq!(count(&db.pool, POSTINGS).await, 1, "each run would have posted under a key of its own");
    assert_eq!(count(&db.pool, "SELECT count(*) FROM bursar.attempt WHERE outcome = 'done'").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_frozen_past_its_lease_cannot_settle_even_when_no_other_took_its_job() {
    let db = database().await;
    let barrier = close_barrier(&db.pool).await;
    let frozen = probe(&db).at_barrier().start();
    enqueue(&db.pool, "probe_post", 3, &[json!({"user": "alice"})]).await;
    until(&db.pool, AT_BARRIER, 1).await;
    frozen.signal(Signal::SIGSTOP);
    until(
        &db.pool,
        "SELECT count(*) FROM apalis.workers WHERE lease_until < clock_timestamp() - interval '1 second'",
        1,
    )
    .await;
    drop(barrier);
    frozen.signal(Signal::SIGCONT);
    until(&db.pool, DONE, 1).await;
    assert_eq!(count(&db.pool, POSTINGS).await, 1);
    assert_eq!(count(&db.pool, LOST).await, 1, "the frozen attempt was refused and counted, the next one settled");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_frozen_in_the_middle_of_its_transaction_lets_go_of_the_job() {
    let db = database().await;
    let mut held = db.pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE bursar.attempt IN SHARE MODE").execute(&mut *held).await.unwrap();
    let frozen = probe(&db).start();
    enqueue(&db.pool, "probe_post", 3, &[json!({"user": "alice"})]).await;
    // It has posted and locked its job's row, and waits to write its attempt.
    until(
        &db.pool,
        "SELECT least(count(*), 1) FROM pg_locks WHERE relation = 'bursar.attempt'::regclass AND NOT granted",
        1,
    )
    .await;
    frozen.signal(Signal::SIGSTOP);
    held.rollback().await.unwrap();
    let _other = probe(&db).start();
    let begun = std::time::Instant::now();
    until(&db.pool, DONE, 1).await;
    assert!(begun.elapsed() < Duration::from_secs(15), "started again only after {:?}", begun.elapsed());
    frozen.signal(Signal::SIGCONT);
    until(&db.pool, "SELECT count(*) FROM apalis.workers", 2).await;
    assert_eq!(count(&db.pool, POSTINGS).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_kills_its_worker_each_time_is_dead_at_its_limit_and_takes_no_other_along() {
    let db = database().await;
    let mut args: Vec<_> = (0..9).map(|i| json!({"user": format!("u{i}")})).collect();
    args.insert(4, json!({"user": "poison", "abort": true}));
    enqueue(&db.pool, "probe_post", 3, &args).await;
    let mut worker = probe(&db).start();
    let mut crashes = 0;
    eventually(PATIENCE * 2, || {
        if worker.try_wait().unwrap().is_some() {
            crashes += 1;
            worker = probe(&db).start();
        }
        let pool = db.pool.clone();
        async move {
            let (dead, done) = (count(&pool, DEAD).await, count(&pool, DONE).await);
            if (dead, done) == (1, 9) { Ok(()) } else { Err(format!("{dead} dead, {done} done")) }
        }
    })
    .await;
    assert_eq!(crashes, 3, "as many crashes as attempts");
    assert_eq!(count(&db.pool, POSTINGS).await, 9);
    let reason: String =
        sqlx::query_scalar("SELECT reason FROM bursar.job WHERE state = 'dead'").fetch_one(&db.pool).await.unwrap();
    assert!(reason.starts_with("gave up after 3 attempts"), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_that_panic_or_hang_each_time_are_dead_at_their_limit_with_their_history() {
    let db = database().await;
    enqueue(&db.pool, "probe_panic", 2, &[json!({})]).await;
    enqueue(&db.pool, "probe_hang", 2, &[json!({})]).await;
    let folder = scratch();
    let mut worker = probe(&db).logging_to(folder.join("log")).start();
    until(&db.pool, DEAD, 2).await;
    assert!(worker.try_wait().unwrap().is_none(), "neither ended the worker");
    let hung: String =
        sqlx::query_scalar("SELECT id FROM bursar.job WHERE kind = 'probe_hang'").fetch_one(&db.pool).await.unwrap();
    eventually(PATIENCE, || async {
        let log = std::fs::read_to_string(folder.join("log")).unwrap();
        let lines: Vec<&str> = log.lines().filter(|line| line.contains("timed out after 300ms")).collect();
        let are_named = lines.len() == 2 && lines.iter().all(|line| line.contains(&hung));
        if are_named { Ok(()) } else { Err(format!("{hung} is not in {lines:?}")) }
    })
    .await;
    let errors: Vec<String> =
        sqlx::query_scalar("SELECT errors ->> 0 FROM bursar.attempt ORDER BY 1").fetch_all(&db.pool).await.unwrap();
    assert_eq!(
        errors,
        [
            "the job panicked: the probe panics",
            "the job panicked: the probe panics",
            "timed out after 300ms",
            "timed out after 300ms"
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_in_which_one_hangs_ends_with_each_alone() {
    let db = database().await;
    enqueue(&db.pool, "probe_hang", 1, &[json!({}), json!({}), json!({})]).await;
    let _worker = probe(&db).start();
    until(&db.pool, DEAD, 3).await;
    assert_eq!(count(&db.pool, LOST).await, 3, "a batch that hangs is swept up at its deadline");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_back_off_that_was_asked_for_is_honoured_and_survives_a_restart() {
    let db = database().await;
    enqueue(&db.pool, "probe_fail", 5, &[json!({})]).await;
    let mut worker = probe(&db).start();
    let retried = "SELECT count(*) FROM bursar.attempt WHERE outcome = 'retry'";
    until(&db.pool, retried, 1).await;
    worker.kill().unwrap();
    let wait = "SELECT round(extract(epoch FROM j.run_at - a.ended_at))::bigint FROM bursar.job j JOIN bursar.attempt a ON a.job_id = j.id";
    let before = count(&db.pool, wait).await;
    assert!((30..=31).contains(&before), "Retry-After said 30 s, the job waits {before} s");

    let _again = probe(&db).start();
    // Proof that the new worker looks at the queue and leaves this one alone: it does another job meanwhile.
    enqueue(&db.pool, "probe_post", 3, &[json!({"user": "alice"})]).await;
    until(&db.pool, DONE, 1).await;
    assert_eq!(count(&db.pool, wait).await, before);
    assert_eq!(count(&db.pool, retried).await, 1);
    let chain: serde_json::Value = sqlx::query_scalar("SELECT errors FROM bursar.attempt WHERE outcome = 'retry'")
        .fetch_one(&db.pool)
        .await
        .unwrap();
    assert_eq!(chain, json!(["the other side hung up"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_lets_running_jobs_finish_under_their_lease_and_claims_no_more() {
    let db = database().await;
    let barrier = close_barrier(&db.pool).await;
    let mut draining = probe(&db).at_barrier().start();
    enqueue(&db.pool, "probe_post", 3, &[json!({"user": "alice"})]).await;
    until(&db.pool, AT_BARRIER, 1).await;
    // Another worker would take the job over, were its lease not kept.
    let _other = probe(&db).at_barrier().start();
    until(&db.pool, "SELECT count(*) FROM apalis.workers", 2).await;
    draining.signal(Signal::SIGTERM);
    let begun: f64 = epoch(&db.pool).await;
    eventually(PATIENCE, || async {
        let held = epoch(&db.pool).await - begun;
        if held > 5.0 { Ok(()) } else { Err(format!("draining for {held} s, two leases and a half are wanted")) }
    })
    .await;
    assert_eq!(count(&db.pool, "SELECT count(*) FROM bursar.job WHERE state = 'running'").await, 1);
    assert!(draining.try_wait().unwrap().is_none(), "it waits for its job");

    drop(barrier);
    until(&db.pool, DONE, 1).await;
    eventually(PATIENCE, || {
        let ended = draining.try_wait().unwrap();
        async move { ended.ok_or("still running") }
    })
    .await;
    assert!(draining.wait().unwrap().success());
    assert_eq!(count(&db.pool, LOST).await, 0);
    assert_eq!(count(&db.pool, POSTINGS).await, 1);
}

async fn epoch(pool: &PgPool) -> f64 {
    sqlx::query_scalar("SELECT extract(epoch FROM clock_timestamp())::float8").fetch_one(pool).await.unwrap()
}
