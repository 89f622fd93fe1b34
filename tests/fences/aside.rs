//! A job that is to wait for its locked account by itself is split off its part. A part that is rolled back after that settles it all the
//! same: it is left claimed by nobody.

use bursar_jobs::{
    engine::batch::{Performer, Report},
    ledger::Account,
};

use super::*;
use crate::support::{Database, database};

/// Grants a credit to a user, under a key that two jobs may share.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Sale {
    user: String,
    session: String,
}

impl Job for Sale {
    const KIND: Kind = Kind { name: "fence_sale", max_attempts: 3, timeout: Duration::from_secs(30), batch: 10 };
}

impl Pure for Sale {
    type Facts = ();

    async fn gather(_: &mut PgConnection, jobs: &[Self]) -> Result<Vec<()>, sqlx::Error> {
        Ok(vec![(); jobs.len()])
    }

    fn run(&self, (): &(), _: &Terms) -> Result<Effects, JobError> {
        let posting =
            Posting::grant("purchase", format!("sale:{}", self.session), &self.user, Credits::from_micros(1_000_000));
        Ok(Effects { postings: vec![posting], ..Effects::done() })
    }
}

/// Claims sales, each of a user in a session. The first is of a user whose account was so often found locked that its job waits by itself.
async fn claimed_sales(db: &Database, sales: &[(&str, &str)]) -> Batch {
    worker(&db.pool, WORKER).await;
    let jobs: Vec<NewJob> = sales
        .iter()
        .map(|(user, session)| NewJob {
            kind: Sale::KIND.name,
            key: (*user).to_owned(),
            args: json!({ "user": user, "session": session }),
            max_attempts: Sale::KIND.max_attempts,
            delay_ms: 0,
            cause: None,
        })
        .collect();
    bursar_jobs::engine::enqueue::enqueue(&db.pool, &jobs).await.unwrap();
    let batch = claim(&db.pool, WORKER, Sale::KIND).await.expect("they are ready");
    assert_eq!(batch.jobs.len(), sales.len());

    let first = sales[0].0;
    sqlx::query("INSERT INTO bursar.account (name, unit, derived) VALUES ($1, 'credits', false)")
        .bind(Account::User(first.into()).to_string())
        .execute(&db.pool)
        .await
        .unwrap();
    sqlx::query(
        "INSERT INTO bursar.attempt (job_id, attempt, started_at, ended_at, outcome, reason)
         SELECT $1, 1, clock_timestamp(), clock_timestamp(), 'snooze', 'another transaction holds a lock on the account'
         FROM generate_series(1, 7)",
    )
    .bind(&of(&batch, first).id)
    .execute(&db.pool)
    .await
    .unwrap();
    batch
}

fn of<'a>(batch: &'a Batch, user: &str) -> &'a Claimed {
    batch.jobs.iter().find(|job| job.key.as_deref() == Some(user)).unwrap()
}

/// Performs a batch while an application's transaction holds the account of `alice`.
async fn perform_beside_lock(pool: &PgPool, batch: &Batch) -> Report {
    let mut open = pool.begin().await.unwrap();
    sqlx::query("SELECT FROM bursar.account WHERE name = 'user:alice' FOR NO KEY UPDATE")
        .fetch_one(&mut *open)
        .await
        .unwrap();
    let report = (Performer::of::<Sale>().perform)(&context(pool), batch).await.unwrap();
    open.rollback().await.unwrap();
    report
}

/// Each settled job's user and outcome, in the order of the users.
fn outcomes<'a>(batch: &'a Batch, report: &Report) -> Vec<(&'a str, &'static str)> {
    let of = |id: &str| batch.jobs.iter().find(|job| job.id == id).unwrap().key.as_deref().unwrap();
    let mut outcomes: Vec<_> = report.settled.iter().map(|settled| (of(&settled.id), settled.outcome)).collect();
    outcomes.sort_unstable();
    outcomes
}

/// Whether the job of `alice` waits, at no cost of an attempt and with its lease given back.
async fn assert_waits(pool: &PgPool) {
    let (state, attempt, reason): (String, i32, String) = sqlx::query_as(
        "SELECT state, attempt, coalesce(reason, '') FROM bursar.job WHERE kind = 'fence_sale' AND key = 'alice'",
    )
    .fetch_one(pool)
    .await
    .unwrap();
    assert!(["scheduled", "ready"].contains(&state.as_str()), "{state}: {reason}");
    assert_eq!(attempt, 0, "{reason}");
    assert!(reason.contains("a lock on the account user:alice"), "{reason}");
    assert_eq!(
        count(pool, "SELECT count(*) FROM bursar.job WHERE state = 'running'").await,
        0,
        "nothing stays claimed"
    );
}

async fn posted(pool: &PgPool) -> Vec<String> {
    sqlx::query_scalar("SELECT key FROM bursar.posting ORDER BY key").fetch_all(pool).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_waits_by_itself_is_settled_though_two_others_of_its_part_had_one_key() {
    let db = database().await;
    // What stands is looked for before; a key that two of the part share is found when they are posted.
    let batch = claimed_sales(&db, &[("alice", "a"), ("bob", "b"), ("carol", "c"), ("mallory", "b")]).await;

    let report = perform_beside_lock(&db.pool, &batch).await;

    let came = outcomes(&batch, &report);
    let of_one_key: Vec<&str> =
        came.iter().filter(|(user, _)| ["bob", "mallory"].contains(user)).map(|(_, outcome)| *outcome).collect();
    assert!(of_one_key == ["done", "dead"] || of_one_key == ["dead", "done"], "{came:?}");
    assert_eq!((came.len(), came[0], came[2]), (4, ("alice", "snooze"), ("carol", "done")));
    assert!(report.stale.is_empty(), "{report:?}");
    assert_waits(&db.pool).await;
    assert_eq!(posted(&db.pool).await, ["sale:b", "sale:c"]);
}
