//! `bursar jobs`.

use serde_json::{Value, json};

use super::{ask, claim, dead_job, names, plant, receive, settle};
use crate::support::database;

const JOB: [&str; 13] = [
    "attempt",
    "cause",
    "done_at",
    "enqueued_at",
    "id",
    "key",
    "kind",
    "last_error",
    "max_attempts",
    "reason",
    "run_at",
    "state",
    "worker",
];

#[tokio::test]
async fn a_dead_job_is_listed_and_shown_with_every_attempt() {
    let db = database().await;
    let id = dead_job(&db, "evt_1").await;
    receive(&db, "evt_2", "checkout.session.completed").await;

    let all = ask(&db, &["jobs", "list", "--json"]).ended(0).objects();
    assert_eq!(all.iter().map(|job| &job["key"]).collect::<Vec<_>>(), ["evt_2", "evt_1"]);
    let dead = ask(&db, &["jobs", "list", "--state", "dead", "--kind", "grant_purchase", "--json"]).ended(0).object();
    assert_eq!(names(&dead), JOB);
    assert_eq!(
        (&dead["id"], &dead["state"], &dead["attempt"], &dead["max_attempts"], &dead["last_error"], &dead["reason"]),
        (&json!(id), &json!("dead"), &json!(1), &json!(10), &json!("the credits do not agree"), &json!("quarantined"))
    );
    assert!(ask(&db, &["jobs", "list", "--state", "running", "--json"]).ended(0).out.is_empty());
    let cut = ask(&db, &["jobs", "list", "--limit", "1", "--json"]).ended(0);
    assert_eq!((cut.objects().len(), cut.err.contains("there are more")), (1, true));

    let page = ask(&db, &["jobs", "show", &id, "--json"]).ended(0).object();
    assert_eq!(page["args"], json!({"source": "stripe", "event": "evt_1"}));
    let attempts = page["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 1);
    assert_eq!(names(&attempts[0]), ["attempt", "ended_at", "errors", "outcome", "reason", "started_at", "worker"]);
    assert_eq!(attempts[0]["errors"], json!(["the credits do not agree", "the price is \u{1b}[31munknown"]));

    assert_eq!((&page["user_id"], &page["object_id"]), (&Value::Null, &json!("obj_evt_1")));
    plant(
        &db,
        r#"UPDATE bursar.event SET body = '{"data": {"object": {"metadata": {"user_id": "alice"}}}}' WHERE id = 'evt_1'"#,
    )
    .await;
    let read = ask(&db, &["jobs", "show", &id]).ended(0).out;
    assert!(read.contains("user          alice") && read.contains("about         obj_evt_1"), "{read}");
    for said in ["quarantined", "because the price is", "evt_1", &format!("bursar jobs retry {id}"), "worker-1"] {
        assert!(read.contains(said), "{said:?} is missing in {read}");
    }
    ask(&db, &["jobs", "show", "no-such-job"]).ended(3);
}

#[tokio::test]
async fn a_page_says_why_a_job_is_not_running() {
    let db = database().await;
    let id = receive(&db, "evt_1", "invoice.paid").await;
    let why = |words: &str| {
        let page = ask(&db, &["jobs", "show", &id]).ended(0).out;
        assert!(page.contains(words), "{words:?} is missing in {page}");
    };
    why("no worker that runs its kind is alive");
    let lease = claim(&db, "refill_tier").await;
    why("attempt 1 runs on worker-1");
    let snooze = json!({"id": id, "attempt": 1, "outcome": "snooze", "delay_ms": 60_000, "reason": "its customer is not known",
        "waits_for": "customer:cus_1"});
    assert!(settle(&db, lease, snooze).await);
    why("it waits (its customer is not known); it runs ");
    why("or once customer:cus_1 is known");
    ask(&db, &["jobs", "pause", "refill_tier"]).ended(0);
    why("its kind is paused");
    let page = ask(&db, &["jobs", "show", &id]).ended(0).out;
    assert!(page.contains("jobs resume") && !page.contains("jobs cancel"), "it goes on by itself: {page}");
    ask(&db, &["jobs", "resume", "refill_tier"]).ended(0);
    plant(&db, "UPDATE apalis.jobs SET run_at = clock_timestamp()").await;
    why("it waits for a free worker");
    let lease = claim(&db, "refill_tier").await;
    assert!(settle(&db, lease, json!({"id": id, "attempt": 1, "outcome": "skip", "reason": "not ours"})).await);
    why("skipped: not ours");
}

#[tokio::test]
async fn a_retry_gives_the_dead_a_new_life_and_nothing_else() {
    let db = database().await;
    let (dead, done) = (dead_job(&db, "evt_1").await, receive(&db, "evt_2", "checkout.session.completed").await);
    let refused = ask(&db, &["jobs", "retry", &done]).ended(1);
    assert!(refused.err.contains("is ready: only a dead or cancelled job is retried"), "{}", refused.err);
    let lease = claim(&db, "grant_purchase").await;
    ask(&db, &["jobs", "retry", &done]).ended(1);
    assert!(settle(&db, lease, json!({"id": done, "attempt": 1, "outcome": "done"})).await);
    ask(&db, &["jobs", "retry", &done]).ended(1);
    ask(&db, &["jobs", "retry", "no-such-job"]).ended(3);

    // One that cannot be retried keeps no other from it; the first failure is the exit code.
    let answer = ask(&db, &["jobs", "retry", "no-such-job", &dead, &done, "--json"]).ended(3);
    let retried = answer.object();
    assert_eq!((&retried["id"], &retried["was"], &retried["state"]), (&json!(dead), &json!("dead"), &json!("ready")));
    assert!(answer.err.contains("is done"), "{}", answer.err);

    let job = ask(&db, &["jobs", "show", &dead, "--json"]).ended(0).object();
    assert_eq!(
        (&job["state"], &job["attempt"], &job["max_attempts"], &job["reason"], &job["done_at"]),
        (&json!("ready"), &json!(1), &json!(11), &Value::Null, &Value::Null)
    );
    assert_eq!(job["attempts"].as_array().unwrap().len(), 1, "its history stays");
    // The retry gives it a new age, and people are told of both.
    plant(&db, "UPDATE bursar.attempt SET started_at = '2026-01-22T06:00:00Z'").await;
    let page = ask(&db, &["jobs", "show", &dead]).ended(0).out;
    assert!(page.contains("enqueued      2026-01-22 06:00:00 UTC") && page.contains("put back      2"), "{page}");
    let lease = claim(&db, "grant_purchase").await;
    assert!(settle(&db, lease, json!({"id": dead, "attempt": 2, "outcome": "done"})).await);
}

#[tokio::test]
async fn a_retry_wakes_the_workers() {
    let db = database().await;
    let id = dead_job(&db, "evt_1").await;
    plant(&db, "SELECT setval('bursar.last_wake', 1)").await;
    let mut ear = sqlx::postgres::PgListener::connect_with(&db.pool).await.unwrap();
    ear.listen("bursar_jobs").await.unwrap();
    ask(&db, &["jobs", "retry", &id]).ended(0);
    let heard = tokio::time::timeout(std::time::Duration::from_secs(10), ear.recv()).await;
    assert_eq!(heard.expect("a wake-up within 10 s").unwrap().channel(), "bursar_jobs");
}

#[tokio::test]
async fn a_cancelled_running_job_can_no_longer_settle() {
    let db = database().await;
    let id = receive(&db, "evt_1", "checkout.session.completed").await;
    let lease = claim(&db, "grant_purchase").await;
    let answer = ask(&db, &["jobs", "cancel", &id, "--why", "sent by mistake", "--json"]).ended(0);
    assert_eq!(answer.object()["was"], "running");
    assert!(answer.err.contains("rolls back"), "{}", answer.err);
    assert!(!settle(&db, lease, json!({"id": id, "attempt": 1, "outcome": "done"})).await, "a stale settlement counts");

    let job = ask(&db, &["jobs", "show", &id, "--json"]).ended(0).object();
    assert_eq!(job["state"], "cancelled");
    assert!(job["reason"].as_str().unwrap().ends_with(": sent by mistake"), "{job}");
    let attempt = &job["attempts"][0];
    assert_eq!(
        (&attempt["outcome"], &attempt["worker"], &attempt["attempt"]),
        (&json!("cancel"), &json!("worker-1"), &json!(1))
    );
    ask(&db, &["jobs", "cancel", &id]).ended(1);
    ask(&db, &["jobs", "retry", &id]).ended(0);
}

#[tokio::test]
async fn what_has_not_ended_well_can_be_cancelled() {
    let db = database().await;
    let (dead, ready) = (dead_job(&db, "evt_1").await, receive(&db, "evt_2", "invoice.paid").await);
    let scheduled = receive(&db, "evt_3", "x.y").await;
    plant(&db, "UPDATE apalis.jobs SET run_at = clock_timestamp() + interval '1 day' WHERE job_type = 'note_event'")
        .await;
    let answer = ask(&db, &["jobs", "cancel", &dead, &ready, &scheduled, "--json"]).ended(0).objects();
    assert_eq!(answer.iter().map(|job| &job["was"]).collect::<Vec<_>>(), ["dead", "ready", "scheduled"]);
    assert_eq!(ask(&db, &["jobs", "list", "--state", "cancelled", "--json"]).ended(0).objects().len(), 3);

    let done = receive(&db, "evt_4", "checkout.session.completed").await;
    let lease = claim(&db, "grant_purchase").await;
    assert!(settle(&db, lease, json!({"id": done, "attempt": 1, "outcome": "done"})).await);
    ask(&db, &["jobs", "cancel", &done]).ended(1);
    ask(&db, &["jobs", "cancel", "no-such-job"]).ended(3);
}

#[tokio::test]
async fn a_paused_kind_is_not_claimed_until_it_is_resumed() {
    let db = database().await;
    receive(&db, "evt_1", "invoice.paid").await;
    let claimed = || async {
        let claim = "SELECT count(*) FROM bursar.claim('w', ARRAY['refill_tier'], ARRAY[10], ARRAY[60000::bigint])";
        sqlx::query_scalar::<_, i64>(claim).fetch_one(&db.pool).await.unwrap()
    };
    plant(
        &db,
        "INSERT INTO apalis.workers (id, worker_type, storage_name, lease_until)
                VALUES ('w', 'test', 'test', clock_timestamp() + interval '1 hour')",
    )
    .await;
    let why = ["--why", "the prices are wrong"];
    let paused = ask(&db, &[&["jobs", "pause", "refill_tier", "--json"], &why[..]].concat()).ended(0).object();
    assert_eq!(paused, json!({"kind": "refill_tier", "paused": true}));
    ask(&db, &["jobs", "pause", "refill_tier"]).ended(0);
    let told = ask(&db, &["audit", "list", "--json", "--limit", "1"]).ended(0).object();
    assert_eq!((&told["what"], &told["why"]), (&json!("jobs.pause"), &json!("the prices are wrong")));
    assert_eq!(claimed().await, 0);
    assert!(ask(&db, &["jobs", "list"]).ended(0).err.contains("paused: refill_tier"));
    let resumed = ask(&db, &["jobs", "resume", "refill_tier", "--json"]).ended(0).object();
    assert_eq!(resumed, json!({"kind": "refill_tier", "paused": false}));
    assert_eq!(claimed().await, 1);
}
