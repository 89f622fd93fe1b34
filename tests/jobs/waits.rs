//! Waits: for a fact, and for somebody else's lock.

use super::*;

#[tokio::test]
async fn an_invoice_before_its_customer_is_known_waits_and_is_granted_once_when_it_is() {
    let db = database().await;
    receive(&db, &event(INVOICE, "evt_invoice", &NO_METADATA)).await;
    drain(&db, terms()).await;
    let (state, outcome, reason) = end_of(&db, "evt_invoice").await;
    assert_eq!((state.as_str(), outcome.as_str()), ("scheduled", "snooze"), "{reason}");
    assert_eq!(
        sqlx::query_scalar::<_, i32>("SELECT attempt FROM bursar.job").fetch_one(&db.pool).await.unwrap(),
        0,
        "a wait is no attempt"
    );

    let subscription = [
        ("/data/object/id", json!("cs_sub")),
        ("/data/object/mode", json!("subscription")),
        ("/data/object/customer", json!("cus_BursarAlice")),
        ("/data/object/metadata", json!({})),
        ("/data/object/client_reference_id", json!("alice")),
    ];
    receive(&db, &event(CHECKOUT, "evt_link", &subscription)).await;
    drain(&db, terms()).await;
    drain(&db, terms()).await;
    assert_eq!(end_of(&db, "evt_link").await.1, "done");
    assert_eq!(end_of(&db, "evt_invoice").await.1, "done", "the link wakes what waited for it");
    assert_eq!(balance(&db, "alice").await, "150");
}

#[tokio::test]
async fn a_wait_has_an_age_limit_and_then_is_dead() {
    let db = database().await;
    receive(&db, &event(INVOICE, "evt_1", &NO_METADATA)).await;
    sqlx::query("UPDATE apalis.jobs SET enqueued_at = enqueued_at - interval '73 hours'")
        .execute(&db.pool)
        .await
        .unwrap();
    drain(&db, terms()).await;
    let (state, _, reason) = end_of(&db, "evt_1").await;
    assert_eq!(state, "dead");
    assert!(reason.contains("waited 72 h in vain"), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_an_application_leaves_open_costs_no_attempt_and_stops_nobody_else() {
    let db = database().await;
    for (id, user) in [("evt_0", "alice"), ("evt_1", "alice"), ("evt_2", "bob"), ("evt_3", "alice")] {
        let patches = [
            ("/data/object/id", json!(format!("cs_{id}"))),
            ("/data/object/client_reference_id", json!(user)),
            ("/data/object/metadata", json!({"user_id": user, "credits": "200"})),
        ];
        receive(&db, &event(CHECKOUT, id, &patches)).await;
        if id == "evt_0" {
            drain(&db, terms()).await;
        }
    }
    let mut open = db.pool.begin().await.unwrap();
    let spent = ledger::spend(&mut *open, "alice", credits(1), "thinking", None, None).await.unwrap();
    assert!(matches!(spent, ledger::Spent::Done { .. }));

    drain(&db, terms()).await;
    assert_eq!(balance(&db, "bob").await, "200", "an innocent batch-mate is done");
    let waiting: Vec<(String, i32, String)> =
        sqlx::query_as("SELECT state, attempt, reason FROM bursar.job WHERE state <> 'done'")
            .fetch_all(&db.pool)
            .await
            .unwrap();
    assert_eq!(waiting.len(), 2, "{waiting:?}");
    for (state, attempt, reason) in waiting {
        assert!(["scheduled", "ready"].contains(&state.as_str()), "{state}: {reason}");
        assert_eq!(attempt, 0, "{reason}");
        assert!(reason.contains("another transaction holds a lock"), "{reason}");
    }
    open.commit().await.unwrap();
    sqlx::query("UPDATE apalis.jobs SET run_at = clock_timestamp() WHERE status = 'Pending'")
        .execute(&db.pool)
        .await
        .unwrap();
    drain(&db, terms()).await;
    assert_eq!(balance(&db, "alice").await, "599");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_made_while_an_invoice_decides_to_wait_wakes_it_all_the_same() {
    let db = database().await;
    receive(&db, &event(INVOICE, "evt_invoice", &NO_METADATA)).await;
    // Old, so that a lost wake-up would show: the next look by itself would be half an hour away.
    sqlx::query("UPDATE apalis.jobs SET enqueued_at = enqueued_at - interval '10 hours'")
        .execute(&db.pool)
        .await
        .unwrap();
    // The settlement is held up after the facts were gathered; the link comes in between.
    let mut barrier = db.pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE bursar.attempt IN SHARE MODE").execute(&mut *barrier).await.unwrap();
    let (stopper, stop) = stop::channel();
    let worker = tokio::spawn(queue::run(db.pool.clone(), queue::Options::default(), Arc::new(terms()), stop));
    eventually(Duration::from_secs(20), || async {
        let waiting: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_locks WHERE relation = 'bursar.attempt'::regclass AND NOT granted",
        )
        .fetch_one(&db.pool)
        .await
        .unwrap();
        if waiting > 0 { Ok(()) } else { Err("nobody settles yet") }
    })
    .await;
    let customer = json!({"id": "evt_link", "object": "event", "type": "customer.updated", "livemode": false,
                          "data": {"object": {"id": "cus_BursarAlice", "object": "customer", "metadata": {"user_id": "alice"}}}});
    receive(&db, &customer).await;
    barrier.rollback().await.unwrap();
    eventually(Duration::from_secs(20), || async {
        let balance = balance(&db, "alice").await;
        if balance == "150" { Ok(()) } else { Err(balance) }
    })
    .await;
    stopper.stop();
    worker.await.unwrap().unwrap();
}

/// Purchases of 200 credits each, by these users, the n-th by the session `cs_{user}`.
async fn buy(db: &Database, users: &[&str]) {
    for user in users {
        let patches = [
            ("/data/object/id", json!(format!("cs_{user}"))),
            ("/data/object/client_reference_id", json!(user)),
            ("/data/object/metadata", json!({"user_id": user, "credits": "200"})),
        ];
        receive(db, &event(CHECKOUT, &format!("evt_{user}"), &patches)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_is_never_free_for_long_is_waited_for_in_the_end() {
    let db = database().await;
    buy(&db, &["alice"]).await;
    drain(&db, terms()).await;
    // Two transactions at a time, one waiting for the other: whoever does not stand in the queue for the row never gets it.
    let (over, is_over) = tokio::sync::watch::channel(false);
    let busy: Vec<_> = (0..2)
        .map(|_| {
            let (pool, is_over) = (db.pool.clone(), is_over.clone());
            tokio::spawn(async move {
                while !*is_over.borrow() {
                    let mut tx = pool.begin().await.unwrap();
                    sqlx::query("SELECT FROM bursar.account WHERE name = 'user:alice' FOR NO KEY UPDATE")
                        .execute(&mut *tx)
                        .await
                        .unwrap();
                    sqlx::query("SELECT pg_sleep(0.6)").execute(&mut *tx).await.unwrap();
                    tx.commit().await.unwrap();
                }
            })
        })
        .collect();
    let patches = [
        ("/data/object/id", json!("cs_2")),
        ("/data/object/client_reference_id", json!("alice")),
        ("/data/object/metadata", json!({"user_id": "alice", "credits": "200"})),
    ];
    receive(&db, &event(CHECKOUT, "evt_2", &patches)).await;
    sqlx::query(
        "INSERT INTO bursar.attempt (job_id, attempt, started_at, ended_at, outcome, reason)
         SELECT id, 1, clock_timestamp(), clock_timestamp(), 'snooze', 'another transaction holds a lock on the account user:alice'
         FROM apalis.jobs CROSS JOIN generate_series(1, 7) WHERE idempotency_key = 'evt_2'",
    )
    .execute(&db.pool)
    .await
    .unwrap();
    let (stopper, stop) = stop::channel();
    let worker = tokio::spawn(queue::run(db.pool.clone(), queue::Options::default(), Arc::new(terms()), stop));
    eventually(Duration::from_secs(30), || async {
        let balance = balance(&db, "alice").await;
        if balance == "400" { Ok(()) } else { Err(balance) }
    })
    .await;
    over.send(true).unwrap();
    for task in busy {
        task.await.unwrap();
    }
    stopper.stop();
    worker.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_another_transaction_is_about_to_take_holds_up_its_own_job_alone() {
    let db = database().await;
    let users: Vec<String> = (0..20).map(|nth| format!("u{nth}")).collect();
    buy(&db, &users.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let key: String = {
        let other = database().await;
        buy(&other, &["u7"]).await;
        drain(&other, terms()).await;
        sqlx::query_scalar("SELECT key FROM bursar.posting").fetch_one(&other.pool).await.unwrap()
    };
    let mut open = db.pool.begin().await.unwrap();
    sqlx::query("INSERT INTO bursar.posting (key, kind, debit, credit, amount) VALUES ($1, 'purchase', 1, 2, 1)")
        .bind(key)
        .execute(&mut *open)
        .await
        .unwrap();
    drain(&db, terms()).await;
    let waiting: Vec<(String, i32, String)> =
        sqlx::query_as("SELECT key, attempt, coalesce(reason, '') FROM bursar.job WHERE state <> 'done'")
            .fetch_all(&db.pool)
            .await
            .unwrap();
    let [(job, 0, reason)] = &waiting[..] else { panic!("{waiting:?}") };
    assert!(job == "evt_u7" && reason.contains("another transaction holds a lock that it needs"), "{job}: {reason}");
    open.rollback().await.unwrap();
    sqlx::query("UPDATE apalis.jobs SET run_at = clock_timestamp() WHERE status = 'Pending'")
        .execute(&db.pool)
        .await
        .unwrap();
    drain(&db, terms()).await;
    assert_eq!(postings(&db).await, 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_database_refuses_of_one_job_is_dead_and_its_batch_mates_are_done() {
    let db = database().await;
    let users: Vec<String> = (0..30).map(|nth| format!("u{nth}")).collect();
    sqlx::query("INSERT INTO bursar.account (name, unit, derived, balance) VALUES ('user:u11', 'credits', false, 9223372036854775807)")
        .execute(&db.pool)
        .await
        .unwrap();
    buy(&db, &users.iter().map(String::as_str).collect::<Vec<_>>()).await;
    drain(&db, terms()).await;
    let (state, _, reason) = end_of(&db, "evt_u11").await;
    assert!(state == "dead" && reason.contains("out of range"), "{state}: {reason}");
    assert_eq!(postings(&db).await, 29);
}
