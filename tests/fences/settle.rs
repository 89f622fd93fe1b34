//! `bursar.settle`: whose settlement counts, and what it makes of a job.

use super::*;
use crate::support::database;

#[tokio::test]
async fn a_job_that_was_snoozed_and_claimed_again_is_settled_by_its_new_holder_alone() {
    let db = database().await;
    let former = claimed_grants(&db.pool, &["alice"]).await;
    assert_eq!(settle(&db.pool, &former, &snooze()).await.len(), 1);
    sql(&db.pool, "UPDATE apalis.jobs SET run_at = bursar.now()").await;
    let holder = claim(&db.pool, WORKER, Grant::KIND).await.expect("a snooze is over");
    assert_eq!(holder.jobs[0].attempt, former.jobs[0].attempt, "the lease alone tells them apart");

    for outcome in [Outcome::Done, Outcome::Dead("gone".into()), snooze()] {
        assert!(settle(&db.pool, &former, &outcome).await.is_empty(), "{outcome:?} by the former holder");
    }
    assert_eq!(count(&db.pool, "SELECT count(*) FROM bursar.job WHERE state = 'running'").await, 1);
    assert_eq!(count(&db.pool, "SELECT count(*) FROM bursar.attempt").await, 1, "nothing of it is noted");
    assert_eq!(settle(&db.pool, &holder, &Outcome::Done).await.len(), 1);
}

/// A settlement as `bursar.settle` takes it.
async fn settle_as(
    pool: &PgPool,
    worker: &str,
    batch: &Batch,
    settlements: serde_json::Value,
) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar("SELECT bursar.settle($1, $2, $3)")
        .bind(worker)
        .bind(batch.lease)
        .bind(sqlx::types::Json(settlements))
        .fetch_all(pool)
        .await
}

fn done(job: &Claimed, attempt: i32) -> serde_json::Value {
    json!([{ "id": job.id, "attempt": attempt, "outcome": "done" }])
}

const RUNNING: &str = "SELECT count(*) FROM apalis.jobs WHERE status = 'Running' AND lease IS NOT NULL";

#[tokio::test]
async fn each_part_of_the_fence_refuses_by_itself() {
    let db = database().await;
    let batch = claimed_grants(&db.pool, &["alice", "bob"]).await;
    let (job, attempt) = (&batch.jobs[0], batch.jobs[0].attempt);
    for another in [attempt - 1, attempt + 1] {
        let settled = settle_as(&db.pool, WORKER, &batch, done(job, another)).await.unwrap();
        assert!(settled.is_empty(), "attempt {another} is not the one that runs");
    }
    let settled = settle_as(&db.pool, "another", &batch, done(job, attempt)).await.unwrap();
    assert!(settled.is_empty(), "a worker that is not registered settles nothing, though another is");
    worker(&db.pool, "lapsed").await;
    sql(&db.pool, "UPDATE apalis.workers SET lease_until = clock_timestamp() WHERE id = 'lapsed'").await;
    let settled = settle_as(&db.pool, "lapsed", &batch, done(job, attempt)).await.unwrap();
    assert!(settled.is_empty(), "nor does one whose lease ran out");
    assert_eq!(count(&db.pool, RUNNING).await, 2);
    assert_eq!(count(&db.pool, "SELECT count(*) FROM bursar.attempt").await, 0);

    let settled = settle_as(&db.pool, WORKER, &batch, done(job, attempt)).await.unwrap();
    assert_eq!(settled, std::slice::from_ref(&job.id));
    assert_eq!(count(&db.pool, RUNNING).await, 1, "and the other job of the batch still runs");
    assert_eq!(count(&db.pool, "SELECT count(*) FROM bursar.attempt").await, 1);
}

#[tokio::test]
async fn a_job_that_does_not_run_is_not_settled_even_where_its_lease_was_left() {
    let db = database().await;
    let batch = claimed_grants(&db.pool, &["alice"]).await;
    sql(&db.pool, "UPDATE apalis.jobs SET status = 'Killed'").await;
    assert!(settle(&db.pool, &batch, &Outcome::Done).await.is_empty());
    assert_eq!(count(&db.pool, "SELECT count(*) FROM bursar.job WHERE state = 'cancelled'").await, 1);
}

/// What a settlement is to make of a job.
struct Case {
    settlement: serde_json::Value,
    max_attempts: i32,
    status: &'static str,
    attempts: i32,
    /// Seconds until it is ready; none: it stays when it was.
    wait: Option<i32>,
    is_over: bool,
    reason: Option<&'static str>,
    error: Option<&'static str>,
}

/// Status, attempts, seconds until it is ready, whether it is over, reason, last result, the fact waited for, whether its lease is given up.
type Seen = (String, i32, f64, Option<bool>, Option<String>, Option<serde_json::Value>, Option<String>, bool);

#[tokio::test]
async fn each_outcome_makes_of_a_job_what_it_says() {
    let db = database().await;
    worker(&db.pool, WORKER).await;
    sql(&db.pool, "INSERT INTO bursar.customer (id, user_id) VALUES ('cus_known', 'alice')").await;
    let case = |settlement, max_attempts, status, attempts, wait, is_over, reason, error| Case {
        settlement,
        max_attempts,
        status,
        attempts,
        wait,
        is_over,
        reason,
        error,
    };
    let minute = Some(60);
    let retry = json!({"outcome": "retry", "delay_ms": 60_000, "reason": "busy", "errors": ["outer", "inner"]});
    let known =
        |outcome| json!({"outcome": outcome, "delay_ms": 60_000, "reason": "busy", "waits_for": "customer:cus_known"});
    let unknown = json!({"outcome": "snooze", "delay_ms": 60_000, "reason": "early", "waits_for": "customer:cus_none"});
    let done = json!({"outcome": "done", "delay_ms": 60_000, "reason": "well"});
    let skip = json!({"outcome": "skip", "delay_ms": 60_000, "reason": "nothing to do"});
    let dead = json!({"outcome": "dead", "delay_ms": 60_000, "reason": "broken", "errors": ["broken"]});
    let gave_up = Some("gave up after 1 attempts: busy");
    for (number, case) in [
        case(done.clone(), 3, "Done", 1, None, true, Some("well"), None),
        case(done, 1, "Done", 1, None, true, Some("well"), None),
        case(skip, 1, "Done", 1, None, true, Some("nothing to do"), None),
        case(dead, 3, "Failed", 1, None, true, Some("broken"), Some("broken")),
        case(retry.clone(), 2, "Pending", 1, minute, false, Some("busy"), Some("outer")),
        case(retry, 1, "Failed", 1, minute, true, gave_up, Some("outer")),
        case(unknown.clone(), 3, "Pending", 0, minute, false, Some("early"), None),
        case(unknown, 1, "Pending", 0, minute, false, Some("early"), None),
        // What it waits for is known by now.
        case(known("snooze"), 3, "Pending", 0, Some(0), false, Some("busy"), None),
        // A retry waits as long as it says, whatever is known.
        case(known("retry"), 3, "Pending", 1, minute, false, Some("busy"), None),
    ]
    .into_iter()
    .enumerate()
    {
        let what = format!("{} of {}", case.settlement, case.max_attempts);
        let kind = Kind { max_attempts: case.max_attempts, ..Grant::KIND };
        enqueue(&db.pool, kind, &[&format!("user{number}")]).await;
        let batch = claim(&db.pool, WORKER, kind).await.unwrap();
        let [job] = &batch.jobs[..] else { panic!("{what}: {batch:?}") };
        sql(&db.pool, r#"UPDATE apalis.jobs SET last_result = '{"Err": "before"}', done_at = NULL"#).await;
        let mut settlement = case.settlement;
        settlement["id"] = json!(job.id);
        settlement["attempt"] = json!(job.attempt);
        let settled = settle_as(&db.pool, WORKER, &batch, json!([settlement])).await.unwrap();
        assert_eq!(settled, std::slice::from_ref(&job.id), "{what}");

        let seen: Seen = sqlx::query_as(
            "SELECT status, attempts, extract(epoch FROM run_at - bursar.now())::float8, done_at <= bursar.now(), reason,
                    last_result, waits_for, lease IS NULL AND deadline IS NULL
             FROM apalis.jobs WHERE id = $1",
        )
        .bind(&job.id)
        .fetch_one(&db.pool)
        .await
        .unwrap();
        assert_eq!((seen.0.as_str(), seen.1), (case.status, case.attempts), "{what}");
        // Ready, it was before; the wait began when it was settled, a moment ago.
        let (from, to) = case.wait.map_or((-40.0, 0.0), |wait| (f64::from(wait) - 40.0, f64::from(wait)));
        assert!(from <= seen.2 && seen.2 <= to, "{what}: in {} s", seen.2);
        assert_eq!(seen.3, case.is_over.then_some(true), "{what}: over");
        assert_eq!(seen.4.as_deref(), case.reason, "{what}");
        assert_eq!(seen.5, case.error.map(|error| json!({ "Err": error })), "{what}");
        assert_eq!(seen.6.as_deref(), settlement["waits_for"].as_str(), "{what}");
        assert!(seen.7, "{what}: its lease is given up");
        let noted: (i32, String, Option<String>, Option<serde_json::Value>) = sqlx::query_as(
            "SELECT attempt, outcome, reason, errors FROM bursar.attempt WHERE job_id = $1 AND worker = $2",
        )
        .bind(&job.id)
        .bind(WORKER)
        .fetch_one(&db.pool)
        .await
        .unwrap();
        assert_eq!((noted.0, Some(noted.1.as_str())), (1, settlement["outcome"].as_str()), "{what}");
        assert_eq!(noted.2.as_deref(), case.reason, "{what}");
        assert_eq!(noted.3.unwrap_or_default(), settlement["errors"], "{what}");
        // Whatever is ready again is not the next case's.
        sql(&db.pool, "UPDATE apalis.jobs SET run_at = bursar.now() + interval '1 hour' WHERE status = 'Pending'")
            .await;
    }
}

#[tokio::test]
async fn a_settlement_of_no_known_outcome_is_refused() {
    let db = database().await;
    let batch = claimed_grants(&db.pool, &["alice"]).await;
    let job = &batch.jobs[0];
    let unknown = json!([{ "id": job.id, "attempt": job.attempt, "outcome": "lost", "delay_ms": 0 }]);
    let refused = settle_as(&db.pool, WORKER, &batch, unknown).await.unwrap_err();
    assert!(refused.to_string().contains("status"), "{refused}");
    assert_eq!(count(&db.pool, RUNNING).await, 1);
}

#[tokio::test]
async fn a_suspect_of_a_crash_runs_alone_until_an_attempt_of_it_ends_without_an_error() {
    let db = database().await;
    let suspects = ["retried", "snoozed", "done"];
    let batch = claimed_grants(&db.pool, &[&suspects[..], &["innocent"]].concat()).await;
    sql(&db.pool, "UPDATE apalis.jobs SET alone = idempotency_key <> 'innocent'").await;
    let outcomes = batch.jobs.iter().map(|job| {
        let outcome = match job.key.as_deref() {
            Some("snoozed") => "snooze",
            Some("done") => "done",
            _ => "retry",
        };
        json!({ "id": job.id, "attempt": job.attempt, "outcome": outcome, "delay_ms": 0 })
    });
    assert_eq!(settle_as(&db.pool, WORKER, &batch, outcomes.collect()).await.unwrap().len(), 4);
    let alone: Vec<String> =
        sqlx::query_scalar("SELECT idempotency_key FROM apalis.jobs WHERE alone").fetch_all(&db.pool).await.unwrap();
    assert_eq!(alone, ["retried"]);
}
