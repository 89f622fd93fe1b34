//! `bursar jobs retry` and `cancel` by a filter: what it would mean is said first; all that match are changed, and each is written down.

use std::time::Duration;

use bursar_jobs::{
    base::audit::Via,
    desk::{JobFilter, Operator, State, bulk},
};
use serde_json::json;

use super::{ask, claim, dead_job, plant, receive, settle};
use crate::support::{database, eventually};

#[tokio::test]
async fn a_dry_run_tells_what_is_safe_what_is_done_and_what_is_unknown_and_changes_nothing() {
    let db = database().await;
    let safe = dead_job(&db, "evt_1").await;
    // A payout that nobody knows about, one that was paid, and one that never left.
    plant(
        &db,
        "INSERT INTO bursar.payout (job_id, receiver_id, skill, credits, amount, currency, state, transfer_id) VALUES
               ('job_1', 'bob', 'research', 1, 100, 'usd', 'unknown', NULL), ('job_2', 'bob', 'research', 1, 250, 'usd', 'paid', 'tr_1'),
               ('job_3', 'bob', 'research', 1, 300, 'usd', 'rejected', NULL);
           SELECT bursar.enqueue(jsonb_agg(jsonb_build_object('kind', 'pay_receiver', 'key', j || ':0', 'args', jsonb_build_object('job_id', j),
               'max_attempts', 25))) FROM unnest(ARRAY['job_1', 'job_2', 'job_3']) j;
           UPDATE apalis.jobs SET status = 'Failed', done_at = now(), reason = 'gave up' WHERE job_type = 'pay_receiver'",
    )
    .await;
    let dry = ask(&db, &["jobs", "retry", "--state", "dead", "--dry-run", "--json"]).ended(0).object();
    assert_eq!(
        (&dry["matching"], &dry["safe"], &dry["done"], &dry["unknown"]),
        (&json!(4), &json!(2), &json!(1), &json!(1)),
        "{dry}"
    );
    assert_eq!(dry["amounts"], json!({"usd": 400}), "what was paid is not at stake");
    assert_eq!(dry["kinds"], json!({"grant_purchase": 1, "pay_receiver": 3}));
    let said = ask(&db, &["jobs", "retry", "--state", "dead", "--kind", "pay_receiver", "--dry-run"]).ended(0).out;
    for words in
        ["3 jobs: 3 pay_receiver", "4.00 USD", "its payout is unknown: it is looked for first", "its payout is paid"]
    {
        assert!(said.contains(words), "{words:?} is missing in {said}");
    }
    let one = ask(&db, &["jobs", "retry", &safe, "--dry-run", "--json"]).ended(0).object();
    assert_eq!((&one["safe"], &one["unpriced"]), (&json!(1), &json!(1)));
    assert_eq!(ask(&db, &["jobs", "list", "--state", "dead", "--json"]).ended(0).objects().len(), 4, "nothing changed");
}

#[tokio::test]
async fn all_that_match_are_changed_and_written_down_and_nothing_else() {
    let db = database().await;
    for n in 0..5 {
        dead_job(&db, &format!("evt_{n}")).await;
    }
    let other = receive(&db, "evt_other", "invoice.paid").await;
    let lease = claim(&db, "refill_tier").await;
    assert!(settle(&db, lease, json!({"id": other, "attempt": 1, "outcome": "dead", "reason": "sells no tier"})).await);

    ask(&db, &["jobs", "retry"]).ended(2);
    ask(&db, &["jobs", "retry", &other, "--state", "dead"]).ended(2);
    ask(&db, &["jobs", "retry", "--kind", "grant_purchase", "--yes"]).ended(2);
    ask(&db, &["jobs", "retry", "--state", "done", "--yes"]).ended(0).err.contains("no such jobs");
    let unasked = ask(&db, &["jobs", "retry", "--state", "dead"]).ended(1);
    assert!(unasked.err.contains("--yes"), "{}", unasked.err);

    let args = [
        "jobs",
        "retry",
        "--state",
        "dead",
        "--error",
        "CREDITS DO NOT",
        "--yes",
        "--why",
        "the price is mended",
        "--json",
    ];
    let done = ask(&db, &args).ended(0).object();
    assert_eq!((&done["matching"], &done["changed"], &done["skipped"]), (&json!(5), &json!(5), &json!(0)));
    let dead = ask(&db, &["jobs", "list", "--state", "dead", "--json"]).ended(0).objects();
    assert_eq!(dead.iter().map(|job| &job["id"]).collect::<Vec<_>>(), [&json!(other)]);
    let written: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM bursar.audit WHERE what = 'jobs.retry' AND via = 'cli' AND why = 'the price is mended'
             AND before ->> 'state' = 'dead' AND after ->> 'state' = 'ready'",
    )
    .fetch_one(&db.pool)
    .await
    .unwrap();
    assert_eq!(written, 5);
    let found = ask(&db, &["jobs", "list", "--text", "EVT_OTHER", "--json"]).ended(0).object();
    assert_eq!(found["id"], json!(other));
}

#[tokio::test]
async fn what_was_begun_and_left_is_brought_to_its_end_and_takes_no_newcomer_along() {
    let db = database().await;
    plant(
        &db,
        "SELECT bursar.enqueue(jsonb_agg(jsonb_build_object('kind', 'note_event', 'key', 'k' || n, 'args', '{}'::jsonb, 'max_attempts', 1)))
             FROM generate_series(1, 250) n;
         UPDATE apalis.jobs SET status = 'Failed', done_at = now(), reason = 'gave up'",
    )
    .await;
    let by = Operator { who: "anna".into(), via: Via::Console };
    let filter = JobFilter { state: Some(State::Dead), ..JobFilter::default() };
    let mut connection = db.pool.acquire().await.unwrap();
    let began = bulk::begin(&mut connection, &by, bulk::Asked::new(bulk::Verb::Cancel, &filter)).await.unwrap();
    assert_eq!(began.matching, 250);
    let first = bulk::step(&mut connection, &began.id).await.unwrap().unwrap();
    assert_eq!((first.changed, first.ended_at), (100, None));
    // Whoever did it is gone. Meanwhile another job dies.
    let late = dead_job(&db, "evt_late").await;
    // Two go on at once: a chunk is nobody's twice.
    let mut other = db.pool.acquire().await.unwrap();
    for _ in 0..10 {
        let (a, b) = tokio::join!(bulk::step(&mut connection, &began.id), bulk::step(&mut other, &began.id));
        a.unwrap();
        if b.unwrap().unwrap().ended_at.is_some() {
            break;
        }
    }
    let end = bulk::progress(&mut connection, &began.id).await.unwrap().unwrap();
    assert_eq!((end.changed, end.skipped, end.ended_at.is_some()), (250, 0, true));
    assert!(bulk::unfinished(&mut connection).await.unwrap().is_empty());
    let dead = ask(&db, &["jobs", "list", "--state", "dead", "--json"]).ended(0).object();
    assert_eq!(dead["id"], json!(late), "what came to match afterwards is left alone");
    let refused = sqlx::query("DELETE FROM bursar.audit").execute(&db.pool).await.unwrap_err();
    assert!(refused.to_string().contains("never changed"), "{refused}");
}

#[tokio::test]
async fn done_jobs_of_events_run_again_all_that_match_after_what_it_would_mean_was_shown() {
    let db = database().await;
    for n in 0..3 {
        let id = receive(&db, &format!("evt_{n}"), "invoice.paid").await;
        let lease = claim(&db, "refill_tier").await;
        let skip = json!({"id": id, "attempt": 1, "outcome": "skip", "reason": "not ours: no line sells a tier"});
        assert!(settle(&db, lease, skip).await);
    }
    // What no event became, and what was done of another kind, stays as it is.
    plant(
        &db,
        r#"SELECT bursar.enqueue('[{"kind": "refill_tier", "key": "by hand", "args": {}, "max_attempts": 3}]');
           UPDATE apalis.jobs SET status = 'Done', done_at = bursar.now(), reason = 'not ours: no line' WHERE idempotency_key = 'by hand'"#,
    )
    .await;
    ask(&db, &["events", "replay"]).ended(2);
    ask(&db, &["events", "replay", "evt_1", "--kind", "refill_tier"]).ended(2);
    let which = ["events", "replay", "--kind", "refill_tier", "--reason", "no line sells"];
    let dry = ask(&db, &[&which[..], &["--dry-run", "--json"]].concat()).ended(0).object();
    assert_eq!((&dry["matching"], &dry["safe"]), (&json!(3), &json!(3)));
    assert_eq!(ask(&db, &["jobs", "list", "--state", "done", "--json"]).ended(0).objects().len(), 4);
    let args = ["events", "replay", "--kind", "refill_tier", "--yes", "--why", "the tier has its price", "--json"];
    let done = ask(&db, &args).ended(0).object();
    assert_eq!((&done["matching"], &done["changed"], &done["skipped"]), (&json!(4), &json!(3), &json!(1)));
    let ready = ask(&db, &["jobs", "list", "--state", "ready", "--json"]).ended(0).objects();
    assert_eq!(ready.iter().map(|job| &job["key"]).collect::<Vec<_>>(), ["evt_2", "evt_1", "evt_0"]);
    let written = "SELECT count(*) FROM bursar.audit WHERE what = 'events.replay' AND why = 'the tier has its price'";
    let written: i64 = sqlx::query_scalar(written).fetch_one(&db.pool).await.unwrap();
    assert_eq!(written, 3);
}

#[tokio::test]
async fn what_becomes_ready_after_it_began_is_left_alone_and_what_runs_by_then_is_counted() {
    let db = database().await;
    plant(
        &db,
        r#"SELECT bursar.enqueue('[{"kind": "note_event", "key": "a", "args": {}, "max_attempts": 1}, {"kind": "note_event", "key": "b", "args": {}, "max_attempts": 1},
                                   {"kind": "refill_tier", "key": "later", "args": {}, "max_attempts": 1, "delay_ms": 3600000}]');
           UPDATE apalis.jobs SET enqueued_at = enqueued_at - interval '1 hour'"#,
    )
    .await;
    let by = Operator { who: "anna".into(), via: Via::Console };
    let filter = JobFilter { state: Some(State::Ready), ..JobFilter::default() };
    let mut connection = db.pool.acquire().await.unwrap();
    let began = bulk::begin(&mut connection, &by, bulk::Asked::new(bulk::Verb::Cancel, &filter)).await.unwrap();
    assert_eq!(began.matching, 2);
    // Its time comes, and a worker takes one that was shown.
    plant(
        &db,
        "UPDATE apalis.jobs SET run_at = bursar.now() - interval '1 minute' WHERE idempotency_key = 'later';
         UPDATE apalis.jobs SET status = 'Running', attempts = 1, lock_at = bursar.now() WHERE idempotency_key = 'a'",
    )
    .await;
    let end = bulk::step(&mut connection, &began.id).await.unwrap().unwrap();
    assert_eq!((end.changed, end.skipped, end.ended_at.is_some()), (1, 1, true));
    let states: Vec<(String, String)> =
        sqlx::query_as("SELECT key, state FROM bursar.job ORDER BY key").fetch_all(&db.pool).await.unwrap();
    let expected = [("a", "running"), ("b", "cancelled"), ("later", "ready")];
    assert_eq!(states, expected.map(|(key, state)| (key.to_owned(), state.to_owned())));
}

#[tokio::test]
async fn a_grant_whose_twin_has_posted_is_done_and_not_at_stake() {
    let db = database().await;
    // Stripe tells of one paid invoice twice, and of one session twice; the second of each died after the first had its effect.
    plant(
        &db,
        r#"SELECT bursar.receive('stripe', v.id, v.type, NULL, false, NULL, NULL, v.object,
                   convert_to(format('{"id": "%s", "type": "%s", "livemode": false, "data": {"object": {"id": "%s", "amount_paid": 1900, "currency": "usd"}}}', v.id, v.type, v.object), 'UTF8'), v.kind, 3)
           FROM (VALUES ('evt_1', 'invoice.paid', 'in_1', 'refill_tier'), ('evt_2', 'invoice.payment_succeeded', 'in_1', 'refill_tier'),
                        ('evt_3', 'checkout.session.completed', 'cs_1', 'grant_purchase'),
                        ('evt_4', 'checkout.session.async_payment_succeeded', 'cs_1', 'grant_purchase'),
                        ('evt_5', 'invoice.paid', 'in_2', 'refill_tier')) v (id, type, object, kind);
           SELECT bursar.post(jsonb_agg(jsonb_build_object('key', p.key, 'kind', p.kind, 'debit', 'issuance', 'credit', 'user:alice', 'unit', 'credits',
                   'amount', 1000000, 'event_id', p.event, 'job_id', (SELECT j.id FROM apalis.jobs j WHERE j.idempotency_key = p.event))))
           FROM (VALUES ('refill:sub_1:pro:1', 'refill', 'evt_1'), ('purchase:cs_1', 'purchase', 'evt_3')) p (key, kind, event);
           UPDATE apalis.jobs SET status = CASE WHEN idempotency_key IN ('evt_1', 'evt_3') THEN 'Done' ELSE 'Failed' END, done_at = now()"#,
    )
    .await;
    let dry = ask(&db, &["jobs", "retry", "--state", "dead", "--dry-run", "--json"]).ended(0).object();
    assert_eq!((&dry["matching"], &dry["safe"], &dry["done"]), (&json!(3), &json!(1), &json!(2)), "{dry}");
    assert_eq!(dry["amounts"], json!({"usd": 1900}), "only what nothing has come of is at stake");
    // A job that was pruned and made anew by a replay is the same effect's.
    plant(&db, "UPDATE apalis.jobs SET id = id || '-anew' WHERE idempotency_key = 'evt_1'").await;
    let again = ask(&db, &["events", "replay", "--kind", "refill_tier", "--dry-run", "--json"]).ended(0).object();
    assert_eq!((&again["safe"], &again["done"]), (&json!(0), &json!(1)), "{again}");
}

#[tokio::test]
async fn an_act_that_cannot_be_read_waits_for_a_newer_worker_and_keeps_nothing_from_going_on() {
    let db = database().await;
    dead_job(&db, "evt_1").await;
    // What a newer version began: a verb, and a filter, that this one does not know.
    plant(
        &db,
        r#"ALTER TABLE bursar.bulk DROP CONSTRAINT bulk_verb_known;
           INSERT INTO bursar.bulk (id, verb, filter, who, via, matching, begun_at)
           VALUES ('new-verb', 'banish', '{"state": "dead"}', 'anna', 'cli', 1, bursar.now() - interval '1 hour'),
                  ('new-filter', 'cancel', '{"state": "dead", "moon": "full"}', 'anna', 'cli', 1, bursar.now() - interval '1 hour')"#,
    )
    .await;
    let by = Operator { who: "anna".into(), via: Via::Console };
    let filter = JobFilter { state: Some(State::Dead), ..JobFilter::default() };
    let mut connection = db.pool.acquire().await.unwrap();
    let began = bulk::begin(&mut connection, &by, bulk::Asked::new(bulk::Verb::Cancel, &filter)).await.unwrap();
    bulk::go_on(&mut connection, 10).await.unwrap();
    let end = bulk::progress(&mut connection, &began.id).await.unwrap().unwrap();
    assert_eq!((end.changed, end.ended_at.is_some()), (1, true), "it is done, whatever else waits");
    let waiting = bulk::unfinished(&mut connection).await.unwrap();
    assert_eq!(waiting.len(), 2, "what cannot be read is left to who can: {waiting:?}");
}

#[tokio::test]
async fn an_act_that_meets_a_worker_crosswise_is_done_again_and_not_given_up() {
    let db = database().await;
    let (first, second) = (dead_job(&db, "evt_1").await, dead_job(&db, "evt_2").await);
    let by = Operator { who: "anna".into(), via: Via::Cli };
    let filter = JobFilter { state: Some(State::Dead), ..JobFilter::default() };
    let mut connection = db.pool.acquire().await.unwrap();
    let began = bulk::begin(&mut connection, &by, bulk::Asked::new(bulk::Verb::Retry, &filter)).await.unwrap();
    // Somebody holds one and will want the other, while the act holds that and wants the one.
    let hold = "SELECT FROM apalis.jobs WHERE id = $1 FOR UPDATE";
    let mut other = db.pool.begin().await.unwrap();
    // Each looks for a deadlock once, so long after it began to wait: the act is to look when there is one, and the other not before it.
    sqlx::query("SET deadlock_timeout = '4s'").execute(&mut *connection).await.unwrap();
    sqlx::query("SET LOCAL deadlock_timeout = '1min'").execute(&mut *other).await.unwrap();
    sqlx::query(hold).bind(&first).execute(&mut *other).await.unwrap();
    let step = tokio::spawn(async move { bulk::step(&mut connection, &began.id).await });
    eventually(Duration::from_secs(20), || async {
        let waits =
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        let waiting: i64 = sqlx::query_scalar(waits).fetch_one(&db.pool).await.unwrap();
        if waiting == 1 { Ok(()) } else { Err(waiting) }
    })
    .await;
    sqlx::query(hold).bind(&second).execute(&mut *other).await.unwrap();
    other.commit().await.unwrap();
    let end = step.await.unwrap().unwrap().unwrap();
    assert_eq!((end.changed, end.skipped, end.ended_at.is_some()), (2, 0, true));
}
