//! Payouts: whatever is lost on the way, a verified job moves its money at most once, and our books say what the sandbox's say.

mod let_go;
mod matrix;
mod races;
mod restore;
pub mod world;

use serde_json::json;

use world::World;

#[tokio::test]
async fn a_verified_job_is_paid_by_one_transfer_with_everything_from_its_job_id() {
    let world = World::new().await;
    let account = world.receiver("bob").await;
    world.verify("job_1", "bob").await;
    world.settle_down().await;

    world.is_paid_once("job_1").await;
    let transfer = &world.transfers().await[0];
    assert_eq!(transfer["amount"], 100);
    assert_eq!(transfer["currency"], "usd");
    assert_eq!(transfer["destination"], account.as_str());
    assert_eq!(transfer["transfer_group"], "payout:job_1");
    assert_eq!(transfer["metadata"], json!({"job_id": "job_1", "user_id": "bob"}));
    assert_eq!(transfer["idempotency_key"], "payout:job_1:1");
    assert_eq!(world.owed_to("bob").await, 0, "the debt is settled in the books");
}

#[tokio::test]
async fn without_an_account_a_payout_is_held_and_sent_once_the_account_is_active() {
    let world = World::new().await;
    world.verify("job_1", "bob").await;
    world.settle_down().await;
    assert_eq!(world.payout("job_1").await.0, "held");
    assert_eq!(world.owed_to("bob").await, 100);

    let account = world.account("bob").await;
    world.account_updated(&account).await;
    world.settle_down().await;
    assert_eq!(world.payout("job_1").await.0, "held", "an account that is not active yet changes nothing");

    world.activate(&account).await;
    world.account_updated(&account).await;
    world.settle_down().await;
    world.is_paid_once("job_1").await;
}

#[tokio::test]
async fn what_a_lost_event_left_held_is_found_by_the_sweep() {
    let world = World::new().await;
    world.verify("job_1", "bob").await;
    world.settle_down().await;
    let account = world.receiver("bob").await;
    // The receiver is active, and nobody has let its payout go: as if the release had been lost.
    sqlx::query("UPDATE bursar.payout SET state = 'held', transfer_id = NULL WHERE job_id = 'job_1'")
        .execute(&world.db.pool)
        .await
        .unwrap();
    sqlx::query("DELETE FROM apalis.jobs WHERE job_type = 'pay_receiver'").execute(&world.db.pool).await.unwrap();
    assert_eq!(world.transfers().await.len(), 0, "{account}");
    assert!(bursar_jobs::payouts::release_held::is_due(&world.db.pool).await.unwrap());
    let sweep = bursar_jobs::payouts::release_held::SweepHeld::of(bursar_jobs::base::clock::now());
    bursar_jobs::engine::enqueue::enqueue(&world.db.pool, &[sweep]).await.unwrap();
    world.settle_down().await;
    world.is_paid_once("job_1").await;
}

#[tokio::test]
async fn an_account_that_loses_its_capability_holds_again_and_is_paid_later() {
    let world = World::new().await;
    world.receiver("bob").await;
    world.stripe.fault(r#"{"route": "POST /v1/transfers", "fault": "capability_inactive"}"#).await;
    world.verify("job_1", "bob").await;
    world.step_of("pay_receiver", None).await;
    let (state, reason, _) = world.payout("job_1").await;
    assert_eq!(state, "held", "{reason}");
    assert_eq!(world.transfers().await.len(), 0);
    // Stripe is asked how the account stands, and says that it is active after all.
    world.settle_down().await;
    world.is_paid_once("job_1").await;
    assert_eq!(
        world.transfers().await[0]["idempotency_key"],
        "payout:job_1:2",
        "the refusal was saved under the first key"
    );
}

#[tokio::test]
async fn balance_insufficient_waits_and_goes_on_under_the_next_generation() {
    let world = World::new().await;
    world.receiver("bob").await;
    world.balance(0).await;
    world.verify("job_1", "bob").await;
    for _ in 0..3 {
        world.step(None).await;
    }
    let (state, reason, _) = world.payout("job_1").await;
    assert_eq!(state, "sending", "{reason}");
    assert!(reason.contains("balance"), "{reason}");
    world.balance(100_000).await;
    world.settle_down().await;
    world.is_paid_once("job_1").await;
}

#[tokio::test]
async fn a_changed_parameter_under_a_used_key_is_refused_before_it_leaves() {
    let world = World::new().await;
    world.receiver("bob").await;
    world.stripe.fault(r#"{"route": "POST /v1/transfers", "fault": "lose_answer"}"#).await;
    world.verify("job_1", "bob").await;
    world.step(None).await;
    assert_eq!(world.payout("job_1").await.0, "unknown");
    let sent = world.sent().await;
    sqlx::query("UPDATE bursar.payout SET amount = 7, transfer_amount = 7 WHERE job_id = 'job_1'")
        .execute(&world.db.pool)
        .await
        .unwrap();
    world.settle_down().await;
    assert_eq!(world.sent().await, sent, "nothing left");
    let reason: String = sqlx::query_scalar("SELECT reason FROM bursar.job WHERE state = 'dead'")
        .fetch_one(&world.db.pool)
        .await
        .unwrap();
    assert!(reason.contains("changed under the used key payout:job_1:1"), "{reason}");
}

#[tokio::test]
async fn a_transfer_that_is_not_what_was_meant_is_left_unknown_for_an_operator() {
    let world = World::new().await;
    let account = world.receiver("bob").await;
    // Somebody else's hand, under our group.
    let form = format!("amount=7&currency=usd&destination={account}&transfer_group=payout%3Ajob_1");
    world.stripe.keyed("by hand", "/v1/transfers", &form).await.unwrap();
    world.verify_at("job_1", "bob", 48).await;
    world.settle_down().await;
    let (state, reason, _) = world.payout("job_1").await;
    assert_eq!(state, "unknown", "{reason}");
    assert!(!reason.contains("saved a failure"), "{reason}");
    assert_eq!(world.transfers().await.len(), 1, "no money moved twice");
    assert_eq!(world.dead_jobs().await, 1);
}

#[tokio::test]
async fn a_saved_failure_ends_with_an_operator_and_goes_on_when_they_say_so() {
    let world = World::new().await;
    world.receiver("bob").await;
    world.stripe.fault(r#"{"route": "POST /v1/transfers", "fault": "saved_500"}"#).await;
    world.verify("job_1", "bob").await;
    let mut waits = Vec::new();
    while world.step(None).await {
        let wait: Option<f64> = sqlx::query_scalar(
            "SELECT extract(epoch FROM a.run_at - clock_timestamp())::float8 FROM apalis.jobs a JOIN bursar.job j ON j.id = a.id
             WHERE a.status = 'Pending' AND j.reason LIKE '%looking again'",
        )
        .fetch_optional(&world.db.pool)
        .await
        .unwrap();
        waits.extend(wait.map(|seconds| (seconds / 60.0).round()));
    }
    assert_eq!(waits, [1.0, 2.0, 4.0], "minutes between the looks");
    let (state, reason, _) = world.payout("job_1").await;
    assert_eq!(state, "unknown", "{reason}");
    assert!(reason.contains("after 4 looks"), "{reason}");
    assert_eq!((world.transfers().await.len(), world.dead_jobs().await), (0, 1));

    let plain = world.bursar(&["payouts", "release", "job_1"]);
    assert!(plain.status.success(), "{plain:?}");
    world.settle_down().await;
    assert_eq!(
        world.payout("job_1").await.0,
        "unknown",
        "released or not, a saved failure is looked behind and not sent again"
    );

    let raised = world.bursar(&["payouts", "release", "job_1", "--after-saved-failure"]);
    assert!(raised.status.success(), "{raised:?}");
    world.settle_down().await;
    world.is_paid_once("job_1").await;
    assert_eq!(world.transfers().await[0]["idempotency_key"], "payout:job_1:2");
}

#[tokio::test]
async fn every_call_is_shown_with_its_key_its_request_and_its_answer() {
    let world = World::new().await;
    world.receiver("bob").await;
    world.stripe.fault(r#"{"route": "POST /v1/transfers", "fault": "html_502"}"#).await;
    world.verify("job_1", "bob").await;
    world.settle_down().await;
    let shown = world.bursar(&["payouts", "show", "job_1", "--json"]);
    let page: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(page["state"], "paid");
    let calls = page["calls"].as_array().unwrap();
    assert_eq!(calls.len(), 2, "{page}");
    assert_eq!(
        (&calls[0]["what"], &calls[0]["status"], &calls[0]["generation"]),
        (&json!("send"), &json!(502), &json!(1))
    );
    assert_eq!((&calls[1]["status"], &calls[1]["replayed"]), (&json!(200), &json!(true)));
    assert!(calls.iter().all(|call| call["idempotency_key"] == "payout:job_1:1"), "{page}");
    assert!(calls[1]["request_id"].as_str().unwrap().starts_with("req_"));
    let words = String::from_utf8(world.bursar(&["payouts", "show", "job_1"]).stdout).unwrap();
    assert!(words.contains("call 2") && words.contains("replayed"), "{words}");
}

#[tokio::test]
async fn a_rejected_job_returns_what_was_spent_on_it_once() {
    use bursar_jobs::{
        base::credits::Credits,
        ledger::{self, Posting},
    };
    let world = World::new().await;
    let pool = &world.db.pool;
    ledger::post(pool, &[Posting::grant("purchase", "p".into(), "alice", Credits::from_micros(10_000_000))])
        .await
        .unwrap();
    ledger::spend(pool, "alice", Credits::from_micros(2_000_000), "k", Some("job_1"), None).await.unwrap();
    for id in ["msg_1", "msg_2"] {
        world.tell(id, &json!({"type": "job.rejected", "data": {"job_id": "job_1", "skill": "research", "receiver_id": "bob", "sender_id": "alice"}})).await;
    }
    world.settle_down().await;
    assert_eq!(ledger::balance(pool, "alice").await.unwrap().to_string(), "10");
    assert!(world.bursar(&["ledger", "verify"]).status.success());
}

#[tokio::test]
async fn an_invoice_of_an_unknown_customer_is_granted_once_stripe_says_whose_it_is() {
    let world = World::new().await;
    let customer = world.stripe.post("/v1/customers", "metadata[user_id]=carol").await.id();
    let invoice = World::invoice("evt_1", &customer);
    world.hear(&invoice).await;
    for kind in ["refill_tier", "ask_customer", "refill_tier"] {
        assert!(world.step_of(kind, None).await, "{kind}");
    }
    assert_eq!(bursar_jobs::ledger::balance(&world.db.pool, "carol").await.unwrap().to_string(), "150");

    world.hear(&World::invoice("evt_2", "cus_nobody")).await;
    for kind in ["refill_tier", "ask_customer"] {
        assert!(world.step_of(kind, None).await, "{kind}");
    }
    let asked: (String, String) =
        sqlx::query_as("SELECT state, reason FROM bursar.job WHERE kind = 'ask_customer' AND cause = 'evt_2'")
            .fetch_one(&world.db.pool)
            .await
            .unwrap();
    assert_eq!(asked.0, "done");
    assert!(asked.1.contains("does not know cus_nobody"), "{}", asked.1);
}

#[tokio::test]
async fn every_request_has_the_pinned_version_and_where_it_changes_something_a_key() {
    let world = World::new().await;
    world.receiver("bob").await;
    world.verify("job_1", "bob").await;
    world.verify_at("job_2", "bob", 48).await;
    world.settle_down().await;
    let requests = world.requests_of_ours().await;
    assert!(requests.len() >= 4, "{requests:?}");
    for request in requests {
        assert_eq!(request["stripe_version"], "2026-09-30.endive", "{request}");
        assert_eq!(request["method"] == "POST", request["idempotency_key"].is_string(), "{request}");
        assert!(request["status"].as_u64().unwrap() < 500, "known path and parameters: {request}");
    }
}
