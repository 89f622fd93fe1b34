//! What a batch comes to when one of its jobs does not go as the others: that one alone pays for it.

use bursar_jobs::engine::batch::{Disturbed, Performer, Report};

use super::*;
use crate::support::database;

/// Does as it is told: reads its facts by this SQL, and then grants, panics, wants one key twice, or waits for a fact.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Told {
    user: String,
    #[serde(default)]
    sql: Option<String>,
    #[serde(default)]
    then: Then,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Then {
    #[default]
    Grants,
    Panics,
    WantsAKeyTwice,
    GrantsNothing,
    Waits,
}

impl Job for Told {
    const KIND: Kind = Kind { name: "fence_told", ..Grant::KIND };
}

impl Pure for Told {
    type Facts = ();

    async fn gather(db: &mut PgConnection, jobs: &[Self]) -> Result<Vec<()>, sqlx::Error> {
        for sql in jobs.iter().filter_map(|job| job.sql.clone()) {
            sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut *db).await?;
        }
        Ok(vec![(); jobs.len()])
    }

    fn run(&self, (): &(), _: &Terms) -> Result<Effects, JobError> {
        let mut effects = granted(&self.user);
        match self.then {
            Then::Grants => {}
            Then::Panics => panic!("it was told to"),
            Then::WantsAKeyTwice => effects.postings.push(effects.postings[0].clone()),
            Then::GrantsNothing => effects.postings[0].amount = 0,
            Then::Waits => {
                return Ok(Effects::snooze(bursar_jobs::engine::job::Snooze {
                    reason: "its customer is not known".into(),
                    fact: Some("customer:cus_late".into()),
                    limit: Duration::from_hours(1),
                }));
            }
        }
        Ok(effects)
    }
}

/// Enqueues jobs of these arguments, and claims them all.
async fn claimed(pool: &PgPool, all: &[serde_json::Value]) -> Batch {
    worker(pool, WORKER).await;
    let jobs: Vec<NewJob> = all
        .iter()
        .enumerate()
        .map(|(number, args)| NewJob {
            kind: Told::KIND.name,
            key: number.to_string(),
            args: args.clone(),
            max_attempts: 3,
            delay_ms: 0,
            cause: None,
        })
        .collect();
    bursar_jobs::engine::enqueue::enqueue(pool, &jobs).await.unwrap();
    let batch = claim(pool, WORKER, Told::KIND).await.unwrap();
    assert_eq!(batch.jobs.len(), all.len());
    batch
}

async fn perform(pool: &PgPool, batch: &Batch) -> Result<Report, Disturbed> {
    (Performer::of::<Told>().perform)(&context(pool), batch).await
}

/// Each job's state and why, by its place; and the keys of all postings.
async fn seen(pool: &PgPool) -> (Vec<(String, String)>, Vec<String>) {
    let jobs = sqlx::query_as(
        "SELECT state, coalesce(reason, '') FROM bursar.job WHERE kind = 'fence_told' ORDER BY key::int",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    let keys = sqlx::query_scalar("SELECT key FROM bursar.posting ORDER BY key").fetch_all(pool).await.unwrap();
    (jobs, keys)
}

#[tokio::test]
async fn a_batch_in_good_order_is_one_transaction() {
    let db = database().await;
    let batch = claimed(&db.pool, &[json!({"user": "a"}), json!({"user": "b"}), json!({"user": "c"})]).await;
    assert_eq!(perform(&db.pool, &batch).await.unwrap().settled.len(), 3);
    assert_eq!(seen(&db.pool).await.1, ["fence:a", "fence:b", "fence:c"]);
    assert_eq!(count(&db.pool, "SELECT count(DISTINCT xmin::text) FROM bursar.posting").await, 1);
    assert_eq!(count(&db.pool, "SELECT count(DISTINCT job_id) FROM bursar.posting").await, 3, "each by its own job");
}

#[tokio::test]
async fn one_that_goes_wrong_takes_no_other_along() {
    // What the second of three does; the state of its job, and why.
    for (what, second, state, why) in [
        ("its arguments are others", json!({"users": []}), "dead", "its arguments cannot be read: "),
        ("it panics", json!({"user": "b", "then": "Panics"}), "scheduled", "the job panicked: it was told to"),
        (
            "two postings have one key",
            json!({"user": "b", "then": "WantsAKeyTwice"}),
            "dead",
            "two of its postings have one key",
        ),
        ("its posting is refused", json!({"user": "b", "then": "GrantsNothing"}), "dead", "the database refuses it: "),
        ("its number is too large", json!({"user": "b", "sql": "SELECT 1/0"}), "dead", "the database refuses it: "),
        ("a table is missing", json!({"user": "b", "sql": "SELECT FROM nowhere"}), "scheduled", "error returned from"),
        ("its key stands with other content", json!({"user": "standing"}), "dead", "fence:standing"),
        (
            "somebody holds a lock",
            json!({"user": "b", "sql": "DO $$ BEGIN RAISE 'held' USING ERRCODE = '55P03'; END $$"}),
            "scheduled",
            "another transaction holds a lock that it needs",
        ),
    ] {
        let db = database().await;
        let standing = Posting::grant("refill", "fence:standing".into(), "standing", Credits::from_micros(1));
        bursar_jobs::ledger::post(&db.pool, &[standing]).await.unwrap();
        let batch = claimed(&db.pool, &[json!({"user": "a"}), second, json!({"user": "c"})]).await;
        let report = perform(&db.pool, &batch).await.unwrap();
        let (jobs, keys) = seen(&db.pool).await;
        assert_eq!(keys, ["fence:a", "fence:c", "fence:standing"], "{what}");
        assert_eq!((jobs[0].0.as_str(), jobs[2].0.as_str()), ("done", "done"), "{what}");
        // On a busy machine its wait is over by now.
        assert!(jobs[1].0 == state || (state, &*jobs[1].0) == ("scheduled", "ready"), "{what}: {jobs:?}");
        assert!(jobs[1].1.contains(why), "{what}: {jobs:?}");
        assert_eq!((report.settled.len(), report.stale.len()), (3, 0), "{what}");
        let spent =
            count(&db.pool, "SELECT attempt::bigint FROM bursar.job WHERE kind = 'fence_told' AND key = '1'").await;
        assert_eq!(spent, i64::from(!what.contains("lock")), "{what}: whoever waits for a lock spends no attempt");
    }
}

#[tokio::test]
async fn what_is_the_databases_state_spends_nobodys_attempt() {
    for code in ["40P01", "40001", "57014", "57P01", "25P03", "25P04", "53300", "08006", "58030"] {
        let db = database().await;
        let raise = format!("DO $$ BEGIN RAISE 'away' USING ERRCODE = '{code}'; END $$");
        let batch = claimed(&db.pool, &[json!({"user": "a"}), json!({"user": "b", "sql": raise})]).await;
        perform(&db.pool, &batch).await.expect_err(code);
        let (jobs, keys) = seen(&db.pool).await;
        assert!(keys.is_empty() && jobs.iter().all(|(state, _)| state == "running"), "{code}: {jobs:?}");
    }
}

#[tokio::test]
async fn what_went_wrong_by_itself_is_another_workers_once_the_lease_is_over() {
    let db = database().await;
    let batch = claimed(&db.pool, &[json!({"user": "a", "sql": "SELECT 1/0"})]).await;
    sql(&db.pool, "UPDATE apalis.workers SET lease_until = clock_timestamp()").await;
    let report = perform(&db.pool, &batch).await.unwrap();
    assert_eq!((report.settled.len(), report.stale.len()), (0, 1));
    assert_eq!(count(&db.pool, "SELECT count(*) FROM bursar.job WHERE state = 'running'").await, 1);
}

#[tokio::test]
async fn what_stands_already_is_skipped_and_says_so() {
    let db = database().await;
    bursar_jobs::ledger::post(&db.pool, &granted("a").postings).await.unwrap();
    let batch = claimed(&db.pool, &[json!({"user": "a"}), json!({"user": "b"})]).await;
    let report = perform(&db.pool, &batch).await.unwrap();
    let outcomes: std::collections::BTreeSet<&str> = report.settled.iter().map(|settled| settled.outcome).collect();
    assert_eq!(outcomes, ["done", "skip"].into());
    assert_eq!(seen(&db.pool).await.1, ["fence:a", "fence:b"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fact_that_becomes_known_while_a_job_decides_to_wait_for_it_is_not_missed() {
    let db = database().await;
    let batch = claimed(&db.pool, &[json!({"user": "a", "then": "Waits"})]).await;
    // As whoever establishes a fact does: under the lock of its name.
    let mut establishing = db.pool.begin().await.unwrap();
    sqlx::raw_sql(
        "SELECT pg_advisory_xact_lock(hashtextextended('customer:cus_late', 0));
         INSERT INTO bursar.customer (id, user_id) VALUES ('cus_late', 'a')",
    )
    .execute(&mut *establishing)
    .await
    .unwrap();
    let pool = db.pool.clone();
    let performing = tokio::spawn(async move { perform(&pool, &batch).await.unwrap() });
    until(&db.pool, AT_BARRIER, 1).await;
    establishing.commit().await.unwrap();
    assert_eq!(performing.await.unwrap().settled[0].outcome, "snooze");
    assert_eq!(seen(&db.pool).await.0[0].0, "ready", "it is known by now: it waits no longer");
}

/// A batch of two jobs of bob's, which were held up by a lock often, and one of alice's; and the transaction that holds bob's account.
async fn claimed_with_bobs_account_held(pool: &PgPool) -> (Batch, Transaction<'static, Postgres>) {
    let standing = Posting::grant("refill", "fence:standing".into(), "bob", Credits::from_micros(1));
    bursar_jobs::ledger::post(pool, &[standing]).await.unwrap();
    let batch = claimed(pool, &[json!({"user": "alice"}), json!({"user": "bob"}), json!({"user": "bob"})]).await;
    sql(
        pool,
        "INSERT INTO bursar.attempt (job_id, attempt, started_at, ended_at, outcome, reason)
         SELECT id, 1, clock_timestamp(), clock_timestamp(), 'snooze', 'another transaction holds a lock on the account user:bob'
         FROM bursar.job CROSS JOIN generate_series(1, 7) WHERE kind = 'fence_told' AND key <> '0'",
    )
    .await;
    let mut open = pool.begin().await.unwrap();
    sqlx::query("SELECT FROM bursar.account WHERE name = 'user:bob' FOR NO KEY UPDATE")
        .execute(&mut *open)
        .await
        .unwrap();
    (batch, open)
}

const BOBS_THAT_WAIT: &str = "SELECT count(*) FROM bursar.job WHERE kind = 'fence_told' AND key <> '0' AND state = 'scheduled' \
                              AND attempt = 0 AND reason LIKE 'another transaction holds a lock%'";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_in_vain_for_its_account_waits_once_and_spends_no_attempt() {
    let db = database().await;
    let (batch, open) = claimed_with_bobs_account_held(&db.pool).await;
    // Not until the time of the kind is up, which would cost an attempt.
    let report =
        tokio::time::timeout(Grant::KIND.timeout / 2, perform(&db.pool, &batch)).await.expect("one wait").unwrap();
    assert_eq!((report.settled.len(), report.stale.len()), (3, 0));
    assert_eq!(count(&db.pool, BOBS_THAT_WAIT).await, 2);
    assert_eq!(seen(&db.pool).await.1, ["fence:alice", "fence:standing"]);
    open.rollback().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_by_itself_is_settled_though_the_rest_of_its_batch_is_rolled_back() {
    let db = database().await;
    let (batch, open) = claimed_with_bobs_account_held(&db.pool).await;
    // Alice's is settled no more, which is seen when bob's have left the batch.
    let alices = batch.jobs.iter().find(|job| job.key.as_deref() == Some("0")).unwrap();
    cancel(&db.pool, &alices.id).await;
    let report = perform(&db.pool, &batch).await.unwrap();
    assert_eq!((report.settled.len(), report.stale.len()), (2, 1));
    assert_eq!(count(&db.pool, BOBS_THAT_WAIT).await, 2, "and no attempt is lost to the sweep");
    assert_eq!(seen(&db.pool).await.1, ["fence:standing"]);
    open.rollback().await.unwrap();
}
