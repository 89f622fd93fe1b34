//! What is enqueued and what is claimed: once, at the same cost at any depth, and every kind in its turn.

use super::*;

#[tokio::test]
async fn a_duplicate_in_a_batch_is_already_and_the_rest_stands() {
    use bursar_jobs::engine::{
        enqueue::{Enqueued, enqueue},
        job::NewJob,
    };
    let db = database().await;
    let job = |key: &str| NewJob {
        kind: "probe_post",
        key: key.into(),
        args: json!({"user": key}),
        max_attempts: 3,
        delay_ms: 0,
        cause: None,
    };
    assert!(matches!(enqueue(&db.pool, &[job("a")]).await.unwrap()[..], [Enqueued::New(_)]));
    let again = enqueue(&db.pool, &[job("b"), job("a"), job("c"), job("b")]).await.unwrap();
    assert!(
        matches!(again[..], [Enqueued::New(_), Enqueued::Already, Enqueued::New(_), Enqueued::Already]),
        "{again:?}"
    );
    assert_eq!(count(&db.pool, "SELECT count(*) FROM bursar.job").await, 3);
}

/// Pages touched by one claim, which is what its cost is made of.
async fn pages_of_a_claim(pool: &PgPool) -> i64 {
    let mut tx = pool.begin().await.unwrap();
    let plan: serde_json::Value = sqlx::query(
        "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT * FROM bursar.claim('w', ARRAY['probe_post'], ARRAY[1], ARRAY[60000::bigint], 1)",
    )
    .fetch_one(&mut *tx)
    .await
    .unwrap()
    .get(0);
    tx.rollback().await.unwrap();
    let plan = &plan[0]["Plan"];
    assert_eq!(plan["Actual Rows"].as_f64(), Some(1.0), "{plan}");
    plan["Shared Hit Blocks"].as_i64().unwrap() + plan["Shared Read Blocks"].as_i64().unwrap()
}

#[tokio::test]
async fn a_claim_costs_the_same_with_a_thousand_and_with_200_000_ready() {
    let db = database().await;
    sqlx::query("INSERT INTO apalis.workers (id, worker_type, storage_name, lease_until) VALUES ('w', 'w', 'w', clock_timestamp() + interval '1 hour')")
        .execute(&db.pool)
        .await
        .unwrap();
    let fill = |from: i32, to: i32| {
        let pool = db.pool.clone();
        async move {
            sqlx::query(
                "INSERT INTO apalis.jobs (id, job_type, idempotency_key, job, run_at)
                 SELECT bursar.new_id(), 'probe_post', 'k' || i, '{}', now() - interval '1 hour' FROM generate_series($1, $2) i",
            )
            .bind(from)
            .bind(to)
            .execute(&pool)
            .await
            .unwrap();
        }
    };
    fill(1, 1000).await;
    let shallow = pages_of_a_claim(&db.pool).await;
    // No ANALYZE in between, as on a queue that filled in a minute: the plan must not depend on fresh statistics.
    fill(1001, 200_000).await;
    let deep = pages_of_a_claim(&db.pool).await;
    assert!(deep <= shallow * 2 + 10, "{shallow} pages with 1,000 ready, {deep} with 200,000");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_kind_is_not_claimed_and_a_resumed_one_is() {
    let db = database().await;
    sqlx::query("INSERT INTO bursar.paused_kind (kind) VALUES ('probe_post')").execute(&db.pool).await.unwrap();
    enqueue(&db.pool, "probe_post", 3, &[json!({"user": "alice"})]).await;
    enqueue(&db.pool, "probe_panic", 1, &[json!({})]).await;
    let _worker = probe(&db).start();
    until(&db.pool, DEAD, 1).await;
    assert_eq!(
        count(&db.pool, "SELECT count(*) FROM bursar.job WHERE kind = 'probe_post' AND state = 'ready'").await,
        1
    );
    sqlx::query("DELETE FROM bursar.paused_kind").execute(&db.pool).await.unwrap();
    until(&db.pool, DONE, 1).await;
}

#[tokio::test]
async fn no_kind_starves_where_there_is_less_room_than_kinds() {
    let db = database().await;
    sqlx::query("INSERT INTO apalis.workers (id, worker_type, storage_name, lease_until) VALUES ('w', 'w', 'w', clock_timestamp() + interval '1 hour')")
        .execute(&db.pool)
        .await
        .unwrap();
    for kind in ["a", "b", "c"] {
        enqueue(&db.pool, kind, 3, &[json!({})]).await;
    }
    let claimed: Vec<String> =
        sqlx::query_scalar("SELECT kind FROM bursar.claim('w', ARRAY['c', 'a', 'b'], ARRAY[5, 5, 5], ARRAY[60000, 60000, 60000]::bigint[], 2)")
            .fetch_all(&db.pool)
            .await
            .unwrap();
    assert_eq!(claimed, ["c", "a"], "no more kinds than there is room, in the order given");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_gets_its_turn_in_a_worker_with_room_for_one_batch() {
    use std::sync::Arc;
    let db = database().await;
    let kinds = bursar_jobs::engine::kind::ALL;
    for kind in kinds {
        enqueue(&db.pool, kind.name, 1, &[json!("not its arguments")]).await;
    }
    let (stopper, stop) = bursar::stop::channel();
    let options = bursar::queue::Options { concurrency: 1, ..bursar::queue::Options::default() };
    let terms = bursar_jobs::terms::Terms {
        tiers: Vec::new(),
        packages: Vec::new(),
        skills: std::collections::BTreeMap::new(),
        payout: bursar_jobs::terms::PayoutTerms {
            minor_units_per_credit: 50,
            currency: "usd".into(),
            ..Default::default()
        },
        initial_credits: bursar_jobs::base::credits::Credits::ZERO,
        livemode: false,
        stripe_on: false,
        grace: std::time::Duration::ZERO,
        selling: bursar_jobs::terms::Selling::default(),
        dunning: bursar_jobs::dunning::Dunning::default(),
    };
    let worker = tokio::spawn(bursar::queue::run(db.pool.clone(), options, Arc::new(terms), stop));
    until(&db.pool, "SELECT count(*) FROM bursar.job WHERE state IN ('ready', 'running')", 0).await;
    stopper.stop();
    worker.await.unwrap().unwrap();
    assert_eq!(count(&db.pool, "SELECT count(*) FROM bursar.job").await, i64::try_from(kinds.len()).unwrap());
}
