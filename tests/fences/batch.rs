//! A batch commits its effects only where each of its jobs was settled: a job that was cancelled, or is another's, has none.

use bursar_jobs::engine::batch::{Performer, Report};
use tokio::task::JoinHandle;

use super::*;
use crate::support::database;

/// Performs a batch, up to the barrier.
async fn perform_to_barrier(pool: &PgPool, batch: &Batch) -> JoinHandle<Report> {
    let (context, batch) = (context(pool), batch.clone());
    let performing = tokio::spawn(async move { (Performer::of::<Grant>().perform)(&context, &batch).await.unwrap() });
    until(pool, AT_BARRIER, 1).await;
    performing
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_is_cancelled_while_it_runs_has_no_effect() {
    let db = database().await;
    let batch = claimed_grants(&db.pool, &["alice"]).await;
    let barrier = close_barrier(&db.pool).await;
    let performing = perform_to_barrier(&db.pool, &batch).await;

    cancel(&db.pool, &batch.jobs[0].id).await;
    drop(barrier);
    let report = performing.await.unwrap();

    assert_eq!(count(&db.pool, POSTINGS).await, 0, "what is cancelled posts nothing");
    assert_eq!(count(&db.pool, FOLLOW_UPS).await, 0, "and enqueues nothing");
    assert!(report.settled.is_empty(), "{report:?}");
    assert_eq!(report.stale, std::slice::from_ref(&batch.jobs[0].id));
    assert_eq!(count(&db.pool, "SELECT count(*) FROM bursar.job WHERE state = 'cancelled'").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_job_takes_its_effects_out_of_the_batch_and_no_others() {
    let db = database().await;
    let batch = claimed_grants(&db.pool, &["alice", "bob", "carol"]).await;
    let barrier = close_barrier(&db.pool).await;
    let performing = perform_to_barrier(&db.pool, &batch).await;

    let cancelled = batch.jobs.iter().find(|job| job.key.as_deref() == Some("bob")).unwrap();
    cancel(&db.pool, &cancelled.id).await;
    drop(barrier);
    let report = performing.await.unwrap();

    let posted: Vec<String> =
        sqlx::query_scalar("SELECT key FROM bursar.posting ORDER BY key").fetch_all(&db.pool).await.unwrap();
    assert_eq!(posted, ["fence:alice", "fence:carol"]);
    assert_eq!(count(&db.pool, FOLLOW_UPS).await, 2);
    assert_eq!(report.stale, std::slice::from_ref(&cancelled.id));
    assert_eq!(report.settled.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_let_its_lease_run_out_has_no_effect_though_nobody_took_its_jobs() {
    let db = database().await;
    let batch = claimed_grants(&db.pool, &["alice", "bob"]).await;
    let barrier = close_barrier(&db.pool).await;
    let performing = perform_to_barrier(&db.pool, &batch).await;

    sql(&db.pool, "UPDATE apalis.workers SET lease_until = clock_timestamp()").await;
    drop(barrier);
    let report = performing.await.unwrap();

    assert_eq!(count(&db.pool, POSTINGS).await, 0);
    assert_eq!(count(&db.pool, FOLLOW_UPS).await, 0);
    assert_eq!(report.stale.len(), 2, "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_that_was_swept_up_and_is_anothers_has_no_effect_and_the_others_has() {
    let db = database().await;
    let batch = claimed_grants(&db.pool, &["alice"]).await;
    let barrier = close_barrier(&db.pool).await;
    let performing = perform_to_barrier(&db.pool, &batch).await;

    // Its time was up; the worker lives, and gets the job again.
    sql(&db.pool, "UPDATE apalis.jobs SET deadline = clock_timestamp()").await;
    sql(&db.pool, "SELECT bursar.sweep(10); UPDATE apalis.jobs SET run_at = bursar.now() WHERE status = 'Pending'")
        .await;
    let again = claim(&db.pool, WORKER, Grant::KIND).await.expect("it was taken back");
    drop(barrier);
    let report = performing.await.unwrap();
    assert_eq!(count(&db.pool, POSTINGS).await, 0, "the lost attempt posts nothing");
    assert_eq!(report.stale.len(), 1, "{report:?}");

    let report = (Performer::of::<Grant>().perform)(&context(&db.pool), &again).await.unwrap();
    assert_eq!(report.settled.len(), 1, "{report:?}");
    assert_eq!(count(&db.pool, POSTINGS).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_was_snoozed_and_claimed_again_is_not_its_former_holders() {
    let db = database().await;
    let batch = claimed_grants(&db.pool, &["alice"]).await;
    let barrier = close_barrier(&db.pool).await;
    let performing = perform_to_barrier(&db.pool, &batch).await;

    // The attempt was settled already, by a commit whose answer was lost; the job was claimed again, as the same attempt.
    assert_eq!(settle(&db.pool, &batch, &snooze()).await.len(), 1);
    sql(&db.pool, "UPDATE apalis.jobs SET run_at = bursar.now()").await;
    let again = claim(&db.pool, WORKER, Grant::KIND).await.expect("a snooze is over");
    assert_eq!(again.jobs[0].attempt, batch.jobs[0].attempt, "a snooze costs no attempt");
    drop(barrier);
    let report = performing.await.unwrap();

    assert_eq!(count(&db.pool, POSTINGS).await, 0, "the former holder posts nothing");
    assert_eq!(report.stale.len(), 1, "{report:?}");
    assert_eq!(count(&db.pool, "SELECT count(*) FROM bursar.job WHERE state = 'running'").await, 1);
}
