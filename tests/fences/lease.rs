//! `bursar.renew` and `bursar.sweep`: who keeps a lease, and what is taken from whom.

use super::*;
use crate::support::database;

async fn renew(pool: &PgPool, worker: &str, unbroken: bool) -> Option<bool> {
    sqlx::query_scalar("SELECT bursar.renew($1, 3600000, $2)")
        .bind(worker)
        .bind(unbroken)
        .fetch_one(pool)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_lease_that_ran_out_is_renewed_for_its_worker_alone_and_only_if_that_was_awake() {
    let db = database().await;
    for name in ["one", "two"] {
        worker(&db.pool, name).await;
    }
    sql(&db.pool, "UPDATE apalis.workers SET lease_until = clock_timestamp()").await;
    let held = "SELECT count(*) FROM apalis.workers WHERE lease_until > clock_timestamp()";
    assert_eq!(renew(&db.pool, "one", false).await, None, "it slept: its jobs may be another's");
    assert_eq!(renew(&db.pool, "nobody", true).await, None);
    assert_eq!(count(&db.pool, held).await, 0);

    assert_eq!(renew(&db.pool, "one", true).await, Some(true), "the database was away, not the worker");
    assert_eq!(count(&db.pool, held).await, 1);
    sql(&db.pool, "UPDATE apalis.workers SET lease_until = clock_timestamp() + interval '1 minute' WHERE id = 'one'")
        .await;
    assert_eq!(renew(&db.pool, "one", false).await, Some(true), "it still holds");
    let longer = "SELECT count(*) FROM apalis.workers WHERE lease_until > clock_timestamp() + interval '30 minutes'";
    assert_eq!(count(&db.pool, longer).await, 1);
    assert_eq!(count(&db.pool, held).await, 1, "and the other's has run out as before");
}

/// Claims one job for a worker, after which that job is its.
async fn held_by(pool: &PgPool, name: &str, user: &str, max_attempts: i32) {
    let kind = Kind { max_attempts, ..Grant::KIND };
    enqueue(pool, kind, &[user]).await;
    assert_eq!(claim(pool, name, kind).await.unwrap().jobs.len(), 1);
}

/// What a sweep took: the job's key, its state, and why.
async fn sweep(db: &mut PgConnection, most: i32) -> Vec<(String, String, String)> {
    let mut swept: Vec<(String, String, String)> = sqlx::query_as(
        "SELECT j.idempotency_key, s.state, s.reason FROM bursar.sweep($1) s JOIN apalis.jobs j USING (id)",
    )
    .bind(most)
    .fetch_all(db)
    .await
    .unwrap();
    swept.sort();
    swept
}

fn took(key: &str, state: &str, reason: &str) -> (String, String, String) {
    (key.into(), state.into(), reason.into())
}

const LAPSED: &str = "its worker stopped renewing its lease";
const OVERDUE: &str = "it ran past its time limit";

#[tokio::test]
async fn a_sweep_takes_what_the_dead_held_and_what_is_overdue_and_nothing_else() {
    let db = database().await;
    for name in ["living", "lapsed", "gone"] {
        worker(&db.pool, name).await;
        held_by(&db.pool, name, &format!("of the {name}"), 3).await;
    }
    held_by(&db.pool, "living", "overdue", 3).await;
    // A job that has been settled still names who held it.
    for (user, outcome) in [("done", Outcome::Done), ("waiting", snooze())] {
        enqueue(&db.pool, Grant::KIND, &[user]).await;
        let batch = claim(&db.pool, "lapsed", Grant::KIND).await.unwrap();
        assert_eq!(settle(&db.pool, &batch, &outcome).await.len(), 1);
        sql(&db.pool, "UPDATE apalis.jobs SET run_at = bursar.now() + interval '1 hour' WHERE status = 'Pending'")
            .await;
    }
    sql(
        &db.pool,
        "UPDATE apalis.jobs SET deadline = clock_timestamp() WHERE idempotency_key = 'overdue';
         UPDATE apalis.workers SET lease_until = clock_timestamp() WHERE id = 'lapsed';
         DELETE FROM apalis.workers WHERE id = 'gone'",
    )
    .await;
    let swept = sweep(&mut db.pool.acquire().await.unwrap(), 10).await;
    let expected = [
        took("of the gone", "ready", LAPSED),
        took("of the lapsed", "ready", LAPSED),
        took("overdue", "ready", OVERDUE),
    ];
    assert_eq!(swept, expected);
    let workers: Vec<String> = sqlx::query_scalar("SELECT id FROM apalis.workers").fetch_all(&db.pool).await.unwrap();
    assert_eq!(workers, ["living"], "who is alive stays registered");
    let still: Vec<String> = sqlx::query_scalar("SELECT idempotency_key FROM apalis.jobs WHERE status = 'Running'")
        .fetch_all(&db.pool)
        .await
        .unwrap();
    assert_eq!(still, ["of the living"]);
    assert_eq!(count(&db.pool, "SELECT count(*) FROM bursar.attempt WHERE outcome = 'lost'").await, 3);
    let suspects = "SELECT count(*) FROM apalis.jobs WHERE alone AND lease IS NULL AND deadline IS NULL AND done_at IS NULL AND status = 'Pending'";
    assert_eq!(count(&db.pool, suspects).await, 3, "and each of them runs alone next time");
    assert!(sweep(&mut db.pool.acquire().await.unwrap(), 10).await.is_empty());
}

#[tokio::test]
async fn a_job_that_is_lost_at_its_last_attempt_is_dead() {
    let db = database().await;
    worker(&db.pool, "lapsed").await;
    held_by(&db.pool, "lapsed", "last", 1).await;
    held_by(&db.pool, "lapsed", "not last", 2).await;
    sql(&db.pool, "UPDATE apalis.workers SET lease_until = clock_timestamp()").await;
    let swept = sweep(&mut db.pool.acquire().await.unwrap(), 10).await;
    let gave_up = format!("gave up after 1 attempts: {LAPSED}");
    assert_eq!(swept, [took("last", "dead", &gave_up), took("not last", "ready", LAPSED)]);
    let seen: Vec<(String, String, bool, String)> = sqlx::query_as(
        "SELECT idempotency_key, status, done_at IS NOT NULL, reason FROM apalis.jobs ORDER BY idempotency_key",
    )
    .fetch_all(&db.pool)
    .await
    .unwrap();
    assert_eq!(
        seen,
        [("last".into(), "Failed".into(), true, gave_up), ("not last".into(), "Pending".into(), false, LAPSED.into())]
    );
}

#[tokio::test]
async fn a_sweep_takes_no_more_than_it_was_asked_for_in_order_and_the_next_one_the_rest() {
    let db = database().await;
    worker(&db.pool, "lapsed").await;
    for user in ["third", "second", "first"] {
        held_by(&db.pool, "lapsed", user, 3).await;
        // By its id it comes before those that stand before it in the table.
        sql(
            &db.pool,
            "UPDATE apalis.jobs SET id = CASE idempotency_key WHEN 'first' THEN '1' WHEN 'second' THEN '2' ELSE '3' END;
             UPDATE apalis.workers SET lease_until = clock_timestamp() + interval '1 hour'",
        )
        .await;
    }
    sql(&db.pool, "UPDATE apalis.workers SET lease_until = clock_timestamp()").await;
    let mut connection = db.pool.acquire().await.unwrap();
    for key in ["first", "second", "third"] {
        // From the second on, the worker is not registered any more.
        assert_eq!(sweep(&mut connection, 1).await, [took(key, "ready", LAPSED)]);
    }
}

#[tokio::test]
async fn a_sweep_passes_over_what_somebody_is_settling() {
    let db = database().await;
    worker(&db.pool, "lapsed").await;
    for user in ["locked", "free"] {
        held_by(&db.pool, "lapsed", user, 3).await;
    }
    sql(&db.pool, "UPDATE apalis.workers SET lease_until = clock_timestamp()").await;
    let mut settling = db.pool.begin().await.unwrap();
    sqlx::raw_sql("SELECT FROM apalis.jobs WHERE idempotency_key = 'locked' FOR UPDATE")
        .execute(&mut *settling)
        .await
        .unwrap();
    let mut sweeping = db.pool.begin().await.unwrap();
    sqlx::raw_sql("SET LOCAL lock_timeout = '2s'").execute(&mut *sweeping).await.unwrap();
    assert_eq!(sweep(&mut sweeping, 10).await, [took("free", "ready", LAPSED)]);
}
