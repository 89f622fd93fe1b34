//! `bursar.claim`: who gets which jobs, and how many.

use super::*;
use crate::support::database;

/// Of which kinds, how many of each, and of how many kinds: the keys of the jobs, in the order of their claim.
async fn keys(
    db: impl sqlx::PgExecutor<'_>,
    worker: &str,
    kinds: &[&str],
    limits: &[i32],
    most: i32,
) -> Result<Vec<String>, sqlx::Error> {
    let timeouts = vec![60_000_i64; kinds.len()];
    let kinds: Vec<String> = kinds.iter().map(|kind| (*kind).to_owned()).collect();
    sqlx::query_scalar("SELECT key FROM bursar.claim($1, $2, $3, $4, $5) ORDER BY key")
        .bind(worker)
        .bind(kinds)
        .bind(limits)
        .bind(timeouts)
        .bind(most)
        .fetch_all(db)
        .await
}

const A: Kind = Kind { name: "a", ..Grant::KIND };
const B: Kind = Kind { name: "b", ..Grant::KIND };

#[tokio::test]
async fn a_worker_without_a_lease_gets_nothing() {
    let db = database().await;
    worker(&db.pool, WORKER).await;
    worker(&db.pool, "lapsed").await;
    sql(&db.pool, "UPDATE apalis.workers SET lease_until = clock_timestamp() WHERE id = 'lapsed'").await;
    enqueue(&db.pool, A, &["job"]).await;
    for nobody in ["lapsed", "never registered"] {
        assert!(keys(&db.pool, nobody, &["a"], &[5], 5).await.unwrap().is_empty(), "{nobody}");
    }
    assert_eq!(keys(&db.pool, WORKER, &["a"], &[5], 5).await.unwrap(), ["job"]);
}

#[tokio::test]
async fn only_what_is_ready_of_the_kinds_asked_for_is_claimed_and_once() {
    let db = database().await;
    worker(&db.pool, WORKER).await;
    enqueue(&db.pool, A, &["ready", "scheduled", "done", "dead", "cancelled"]).await;
    enqueue(&db.pool, B, &["of another kind"]).await;
    sql(
        &db.pool,
        "UPDATE apalis.jobs SET run_at = bursar.now() + interval '1 minute' WHERE idempotency_key = 'scheduled';
         UPDATE apalis.jobs SET status = 'Done' WHERE idempotency_key = 'done';
         UPDATE apalis.jobs SET status = 'Failed' WHERE idempotency_key = 'dead';
         UPDATE apalis.jobs SET status = 'Killed' WHERE idempotency_key = 'cancelled'",
    )
    .await;
    assert_eq!(keys(&db.pool, WORKER, &["a"], &[5], 5).await.unwrap(), ["ready"]);
    assert!(keys(&db.pool, WORKER, &["a"], &[5], 5).await.unwrap().is_empty(), "what runs is not claimed again");
    let others: i64 = count(
        &db.pool,
        "SELECT count(*) FROM apalis.jobs WHERE status = 'Running' AND attempts = 1 AND lock_by = 'worker'",
    )
    .await;
    assert_eq!(others, 1);
}

#[tokio::test]
async fn a_kind_gets_as_many_as_it_asked_for_the_oldest_first() {
    let db = database().await;
    worker(&db.pool, WORKER).await;
    enqueue(&db.pool, A, &["new", "old", "older"]).await;
    sql(
        &db.pool,
        "UPDATE apalis.jobs SET run_at = run_at - interval '1 minute' WHERE idempotency_key = 'old';
         UPDATE apalis.jobs SET run_at = run_at - interval '2 minutes' WHERE idempotency_key = 'older'",
    )
    .await;
    for none in [0, -1] {
        assert!(keys(&db.pool, WORKER, &["a"], &[none], 5).await.unwrap().is_empty(), "{none}");
    }
    assert_eq!(keys(&db.pool, WORKER, &["a"], &[2], 5).await.unwrap(), ["old", "older"]);
    assert_eq!(keys(&db.pool, WORKER, &["a"], &[2], 5).await.unwrap(), ["new"]);
}

#[tokio::test]
async fn no_more_kinds_are_claimed_than_there_is_room_and_an_empty_one_takes_none() {
    let db = database().await;
    worker(&db.pool, WORKER).await;
    enqueue(&db.pool, A, &["a"]).await;
    enqueue(&db.pool, B, &["b"]).await;
    assert_eq!(keys(&db.pool, WORKER, &["empty", "b", "a"], &[5, 5, 5], 1).await.unwrap(), ["b"]);
    assert!(keys(&db.pool, WORKER, &["a"], &[5], 0).await.unwrap().is_empty());
    assert_eq!(keys(&db.pool, WORKER, &["empty", "b", "a"], &[5, 5, 5], 1).await.unwrap(), ["a"]);
}

#[tokio::test]
async fn a_paused_kind_is_passed_over_and_no_other() {
    let db = database().await;
    worker(&db.pool, WORKER).await;
    enqueue(&db.pool, A, &["a"]).await;
    enqueue(&db.pool, B, &["b"]).await;
    sql(&db.pool, "INSERT INTO bursar.paused_kind (kind) VALUES ('a')").await;
    assert_eq!(keys(&db.pool, WORKER, &["a", "b"], &[5, 5], 5).await.unwrap(), ["b"]);
}

#[tokio::test]
async fn a_suspect_of_a_crash_is_claimed_by_itself() {
    let db = database().await;
    worker(&db.pool, WORKER).await;
    enqueue(&db.pool, A, &["1", "2 alone", "3", "4"]).await;
    sql(
        &db.pool,
        "UPDATE apalis.jobs SET alone = idempotency_key LIKE '%alone',
                run_at = run_at - interval '1 hour' + left(idempotency_key, 1)::int * interval '1 second'",
    )
    .await;
    for claimed in [&["1"][..], &["2 alone"], &["3", "4"]] {
        assert_eq!(keys(&db.pool, WORKER, &["a"], &[5], 5).await.unwrap(), claimed);
    }
}

#[tokio::test]
async fn two_claims_at_once_neither_share_a_job_nor_wait_for_each_other() {
    let db = database().await;
    worker(&db.pool, WORKER).await;
    enqueue(&db.pool, A, &["first", "second"]).await;
    sql(&db.pool, "UPDATE apalis.jobs SET run_at = run_at - interval '1 minute' WHERE idempotency_key = 'first'").await;
    let (mut one, mut two) = (db.pool.begin().await.unwrap(), db.pool.begin().await.unwrap());
    assert_eq!(keys(&mut *one, WORKER, &["a"], &[1], 5).await.unwrap(), ["first"]);
    sqlx::raw_sql("SET LOCAL lock_timeout = '2s'").execute(&mut *two).await.unwrap();
    assert_eq!(keys(&mut *two, WORKER, &["a"], &[5], 5).await.unwrap(), ["second"]);
    one.commit().await.unwrap();
    two.commit().await.unwrap();
    assert_eq!(count(&db.pool, "SELECT count(*) FROM apalis.jobs WHERE attempts = 1").await, 2);
}
