//! Time and restores: keys that Stripe has forgotten, workers that thaw, databases that come back older than the money.

use super::world::World;

/// Makes everything that is known here 30 hours older, and lets Stripe forget its keys.
async fn thirty_hours_later(world: &World) {
    for older in [
        "UPDATE bursar.intent SET young_since = young_since - interval '30 hours', changed_at = changed_at - interval '30 hours'",
        "UPDATE bursar.payout SET recorded_at = recorded_at - interval '30 hours', verified_at = verified_at - interval '30 hours'",
    ] {
        sqlx::query(older).execute(&world.db.pool).await.unwrap();
    }
    world.stripe.send("POST", "/_sandbox/advance", r#"{"seconds": 108000}"#, &[]).await.unwrap();
    world.stripe.send("POST", "/_sandbox/keys/prune", "", &[]).await.unwrap();
}

#[tokio::test]
async fn an_answer_that_was_lost_30_hours_ago_is_looked_for_and_not_sent_again() {
    let world = World::new().await;
    world.receiver("bob").await;
    world.stripe.fault(r#"{"route": "POST /v1/transfers", "fault": "lose_answer"}"#).await;
    world.verify("job_1", "bob").await;
    world.step_of("pay_receiver", None).await;
    assert_eq!(world.payout("job_1").await.0, "unknown");
    thirty_hours_later(&world).await;
    let sent = world.sent().await;
    world.settle_down().await;
    world.is_paid_once("job_1").await;
    assert_eq!(world.sent().await, sent, "it was found by looking");
}

#[tokio::test]
async fn a_request_that_never_arrived_30_hours_ago_is_looked_for_and_then_sent() {
    let world = World::new().await;
    world.receiver("bob").await;
    world.stripe.fault(r#"{"route": "POST /v1/transfers", "fault": "reset_before"}"#).await;
    world.verify("job_1", "bob").await;
    world.step_of("pay_receiver", None).await;
    thirty_hours_later(&world).await;
    world.settle_down().await;
    world.is_paid_once("job_1").await;
}

#[tokio::test]
async fn a_worker_thawed_after_its_successor_paid_moves_nothing() {
    let world = World::new().await;
    world.receiver("bob").await;
    world.verify("job_1", "bob").await;
    // The first worker has committed the intent and is frozen before its request leaves.
    let frozen = world.claim("pay_receiver").await.unwrap();
    world.sweep().await;
    world.settle_down().await;
    world.is_paid_once("job_1").await;
    // Thawed past its lease, it may not send; and were it to, the key is the same.
    let performer = bursar_jobs::performers().into_iter().find(|p| p.kind.name == "pay_receiver").unwrap();
    for context in [world.without_lease(), world.context()] {
        let report = (performer.perform)(&context, &frozen).await.unwrap();
        assert!(report.settled.is_empty(), "{report:?}");
    }
    world.is_paid_once("job_1").await;
}

#[tokio::test]
async fn a_late_request_of_a_thawed_worker_meets_the_same_key() {
    let world = World::new().await;
    world.receiver("bob").await;
    world.verify("job_1", "bob").await;
    // It is frozen with the request in its hands; its successor pays; then the request goes out after all.
    let frozen = world.claim("pay_receiver").await.unwrap();
    let form: String = {
        world.sweep().await;
        world.settle_down().await;
        let sent = world.requests_of_ours().await;
        let sent = sent.iter().find(|r| r["path"] == "/v1/transfers" && r["method"] == "POST").unwrap();
        sent["form"].as_str().map_or_else(|| sent["form"].to_string(), str::to_owned)
    };
    assert!(!frozen.jobs.is_empty() && !form.is_empty());
    let request: serde_json::Value =
        sqlx::query_scalar("SELECT request FROM bursar.intent").fetch_one(&world.db.pool).await.unwrap();
    let late = world.stripe.keyed("payout:job_1:1", "/v1/transfers", request["form"].as_str().unwrap()).await.unwrap();
    assert_eq!(late.header("idempotent-replayed"), Some("true"));
    world.is_paid_once("job_1").await;
}

/// What a database remembers of payouts, to be put back.
async fn restore_to_before_the_payment(world: &World) {
    for undo in [
        "ALTER TABLE bursar.posting DISABLE TRIGGER posting_is_immutable",
        "DELETE FROM bursar.posting WHERE kind = 'transfer'",
        "ALTER TABLE bursar.posting ENABLE TRIGGER posting_is_immutable",
        "UPDATE bursar.account SET balance = 100 WHERE name = 'receiver:bob'",
        "DELETE FROM bursar.call",
        "DELETE FROM bursar.intent",
        "UPDATE bursar.payout SET state = 'held', transfer_id = NULL, reason = NULL",
        "UPDATE apalis.jobs SET status = 'Pending', attempts = 0, done_at = NULL, lease = NULL WHERE job_type = 'pay_receiver'",
    ] {
        sqlx::query(undo).execute(&world.db.pool).await.unwrap();
    }
}

#[tokio::test]
async fn after_a_restore_to_before_the_payment_there_is_still_one() {
    let world = World::new().await;
    world.receiver("bob").await;
    world.verify("job_1", "bob").await;
    world.settle_down().await;
    world.is_paid_once("job_1").await;
    // Restored at once: the same bytes under the same young key are replayed.
    restore_to_before_the_payment(&world).await;
    world.settle_down().await;
    world.is_paid_once("job_1").await;
    // Restored 30 hours later, when Stripe has forgotten the key: an old debt is looked for before it is first sent.
    restore_to_before_the_payment(&world).await;
    thirty_hours_later(&world).await;
    let sent = world.sent().await;
    world.settle_down().await;
    world.is_paid_once("job_1").await;
    assert_eq!(world.sent().await, sent);
}

#[tokio::test]
async fn a_verification_that_comes_again_after_a_restore_has_lost_it_pays_no_second_time() {
    let world = World::new().await;
    world.receiver("bob").await;
    world.verify_at("job_1", "bob", 20).await;
    world.settle_down().await;
    world.is_paid_once("job_1").await;
    restore_to_before_the_payment(&world).await;
    sqlx::query("DELETE FROM bursar.payout").execute(&world.db.pool).await.unwrap();
    for gone in [
        "DELETE FROM apalis.jobs WHERE job_type IN ('pay_receiver', 'record_payout')",
        "DELETE FROM bursar.event WHERE source = 'verification'",
        "ALTER TABLE bursar.posting DISABLE TRIGGER posting_is_immutable",
        "DELETE FROM bursar.posting",
        "ALTER TABLE bursar.posting ENABLE TRIGGER posting_is_immutable",
        "UPDATE bursar.account SET balance = 0",
    ] {
        sqlx::query(gone).execute(&world.db.pool).await.unwrap();
    }
    world.stripe.send("POST", "/_sandbox/advance", r#"{"seconds": 108000}"#, &[]).await.unwrap();
    world.stripe.send("POST", "/_sandbox/keys/prune", "", &[]).await.unwrap();
    // The same verification, by its own word 50 hours old.
    world.verify_at("job_1", "bob", 50).await;
    world.settle_down().await;
    world.is_paid_once("job_1").await;
}

#[tokio::test]
async fn a_restore_to_a_refusal_looks_before_it_raises_the_generation() {
    let world = World::new().await;
    world.receiver("bob").await;
    world.balance(0).await;
    world.verify("job_1", "bob").await;
    world.step_of("pay_receiver", None).await;
    // The dump is taken here: generation 1 is refused for good. Then it is paid under the second.
    world.balance(100_000).await;
    world.settle_down().await;
    world.is_paid_once("job_1").await;
    for undo in [
        "ALTER TABLE bursar.posting DISABLE TRIGGER posting_is_immutable",
        "DELETE FROM bursar.posting WHERE kind = 'transfer'",
        "ALTER TABLE bursar.posting ENABLE TRIGGER posting_is_immutable",
        "UPDATE bursar.account SET balance = 100 WHERE name = 'receiver:bob'",
        "DELETE FROM bursar.call",
        "DELETE FROM bursar.intent WHERE generation > 1",
        "UPDATE bursar.payout SET state = 'sending', transfer_id = NULL",
        "UPDATE apalis.jobs SET status = 'Pending', done_at = NULL, lease = NULL WHERE job_type = 'pay_receiver'",
    ] {
        sqlx::query(undo).execute(&world.db.pool).await.unwrap();
    }
    thirty_hours_later(&world).await;
    world.settle_down().await;
    world.is_paid_once("job_1").await;
}

#[tokio::test]
async fn a_key_is_as_old_as_its_debt_and_not_as_its_intent() {
    let world = World::new().await;
    world.receiver("bob").await;
    world.verify_at("job_1", "bob", 22).await;
    world.settle_down().await;
    world.is_paid_once("job_1").await;
    restore_to_before_the_payment(&world).await;
    world.stripe.fault(r#"{"route": "POST /v1/transfers", "fault": "reset_before"}"#).await;
    world.step_of("pay_receiver", None).await;
    // Three hours later the debt is 25 hours old, and Stripe has forgotten.
    for older in [
        "UPDATE bursar.intent SET young_since = young_since - interval '3 hours'",
        "UPDATE bursar.payout SET recorded_at = recorded_at - interval '3 hours', verified_at = verified_at - interval '3 hours'",
    ] {
        sqlx::query(older).execute(&world.db.pool).await.unwrap();
    }
    world.stripe.send("POST", "/_sandbox/keys/prune", "", &[]).await.unwrap();
    world.settle_down().await;
    world.is_paid_once("job_1").await;
}

#[tokio::test]
async fn a_key_from_the_future_is_not_young() {
    let world = World::new().await;
    world.receiver("bob").await;
    world.stripe.fault(r#"{"route": "POST /v1/transfers", "fault": "lose_answer"}"#).await;
    world.verify("job_1", "bob").await;
    world.step_of("pay_receiver", None).await;
    sqlx::query("UPDATE bursar.intent SET young_since = clock_timestamp() + interval '18 hours'")
        .execute(&world.db.pool)
        .await
        .unwrap();
    world.stripe.send("POST", "/_sandbox/keys/prune", "", &[]).await.unwrap();
    world.settle_down().await;
    world.is_paid_once("job_1").await;
}

#[tokio::test]
async fn a_verification_that_does_not_say_its_age_is_looked_for_first() {
    let world = World::new().await;
    world.receiver("bob").await;
    let event = serde_json::json!({"type": "job.verified", "data": {"job_id": "job_1", "skill": "research", "receiver_id": "bob"}});
    world.tell("msg_1", &event).await;
    world.settle_down().await;
    world.is_paid_once("job_1").await;
    let first: String =
        sqlx::query_scalar("SELECT what FROM bursar.call WHERE subject = 'payout:job_1' ORDER BY id LIMIT 1")
            .fetch_one(&world.db.pool)
            .await
            .unwrap();
    assert_eq!(first, "look");
}

#[tokio::test]
async fn a_database_dumped_before_the_payment_and_restored_after_it_pays_no_second_time() {
    for hours in [0, 30] {
        let world = World::new().await;
        world.receiver("bob").await;
        world.verify("job_1", "bob").await;
        let (world, restored) = world.dump().await;
        world.settle_down().await;
        world.is_paid_once("job_1").await;
        if hours > 0 {
            thirty_hours_later(&restored).await;
        }
        restored.settle_down().await;
        restored.is_paid_once("job_1").await;
    }
}

#[tokio::test]
async fn a_database_dumped_in_the_middle_of_the_payment_and_restored_after_it_pays_no_second_time() {
    for hours in [0, 30] {
        let world = World::new().await;
        world.receiver("bob").await;
        world.verify("job_1", "bob").await;
        assert!(
            world.step_of("pay_receiver", Some("after_intent")).await,
            "the intent is committed, and nothing has left"
        );
        let (world, restored) = world.dump().await;
        world.settle_down().await;
        world.is_paid_once("job_1").await;
        if hours > 0 {
            thirty_hours_later(&restored).await;
        }
        restored.settle_down().await;
        restored.is_paid_once("job_1").await;
    }
}
