//! Every fault on a reversal, with the worker killed at each named point: one reversal at the sandbox, and our books say the same.

use super::{WHY, books_agree, made, paid, reverse};
use crate::payouts::world::World;

const POINTS: [Option<&str>; 5] =
    [None, Some("before_intent"), Some("after_intent"), Some("after_request"), Some("before_settlement")];

const FAULTS: [&str; 13] = [
    r#""fault": "lose_answer""#,
    r#""fault": "slow", "ms": 350"#,
    r#""fault": "reset_before""#,
    r#""fault": "reset_after""#,
    r#""fault": "saved_500""#,
    r#""fault": "saved_500", "applied": true"#,
    r#""fault": "should_retry_false_500", "applied": true"#,
    r#""fault": "unsaved_500""#,
    r#""fault": "conflict_409""#,
    r#""fault": "limit_429", "retry_after": 1"#,
    r#""fault": "html_502""#,
    r#""fault": "garbage_200""#,
    r#""fault": "truncated_200""#,
];

async fn take_back(world: &World, job: &str, fault: &str, cut: Option<&'static str>) {
    paid(world, job, "bob").await;
    world.stripe.fault(&format!(r#"{{"route": "POST /v1/transfers/{{id}}/reversals", {fault}}}"#)).await;
    // A part, so that a second reversal would be possible, and would be seen.
    reverse(world, job, &["--amount", "0.40"]).await;
    assert!(world.step_of("reverse_transfer", cut).await);
    world.settle_down().await;
    world.stripe.send("DELETE", "/_sandbox/faults", "", &[]).await.unwrap();
    let state: String = sqlx::query_scalar("SELECT state FROM bursar.reversal WHERE job_id = $1")
        .bind(job)
        .fetch_one(&world.db.pool)
        .await
        .unwrap();
    if state == "unknown" {
        assert!(fault.contains("saved_500"), "only a saved failure needs an operator: {fault} cut at {cut:?}");
        // Asked again it looks again, and no more; with the operator's word it takes a new key.
        reverse(world, job, &["--amount", "0.40"]).await;
        world.settle_down().await;
        reverse(world, job, &["--amount", "0.40", "--after-saved-failure"]).await;
        world.settle_down().await;
    }
    let (_, _, transfer) = world.payout(job).await;
    let back: Vec<_> =
        made(world).await.into_iter().filter(|r| r["transfer"].as_str() == transfer.as_deref()).collect();
    let case = format!("{fault} cut at {cut:?}: {state}: {back:?}");
    assert_eq!(back.len(), 1, "{case}");
    assert_eq!(back[0]["amount"], 40, "{case}");
    let (state, reason, _) = world.payout(job).await;
    assert_eq!((state.as_str(), reason.as_str()), ("paid", "0.40 USD of it is reversed"), "{case}");
}

/// Half of the faults each, side by side.
async fn faults(half: usize) {
    let world = World::new().await;
    world.receiver("bob").await;
    for (i, fault) in FAULTS.iter().enumerate().filter(|(i, _)| i % 2 == half) {
        for (j, cut) in POINTS.into_iter().enumerate() {
            take_back(&world, &format!("job_{i}_{j}"), fault, cut).await;
        }
    }
    books_agree(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_with_the_worker_killed_at_each_point_leaves_one_reversal_first_half() {
    faults(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_with_the_worker_killed_at_each_point_leaves_one_reversal_second_half() {
    faults(1).await;
}

#[tokio::test]
async fn a_restored_database_finds_the_reversal_that_it_has_forgotten() {
    let world = World::new().await;
    world.receiver("bob").await;
    world.verify_at("job_1", "bob", 48).await;
    world.settle_down().await;
    let (on, back) = world.dump().await;
    reverse(&on, "job_1", &["--amount", "0.40"]).await;
    on.settle_down().await;
    assert_eq!(made(&on).await.len(), 1);
    on.stripe.send("POST", "/_sandbox/keys/prune", "", &[]).await.unwrap();
    // The operator asks again, for the books have forgotten that they had.
    reverse(&back, "job_1", &["--amount", "0.40"]).await;
    back.settle_down().await;
    assert_eq!(made(&back).await.len(), 1, "it was looked for first");
    books_agree(&back).await;
}

#[tokio::test]
async fn a_reversal_under_way_is_not_begun_again_and_a_stopped_one_goes_on() {
    let world = World::new().await;
    world.receiver("bob").await;
    paid(&world, "job_1", "bob").await;
    reverse(&world, "job_1", &[]).await;
    for _ in 0..3 {
        reverse(&world, "job_1", &[]).await;
    }
    let jobs: i64 = sqlx::query_scalar("SELECT count(*) FROM bursar.job WHERE kind = 'reverse_transfer'")
        .fetch_one(&world.db.pool)
        .await
        .unwrap();
    assert_eq!(jobs, 1);
    let id: String = sqlx::query_scalar("SELECT id FROM bursar.job WHERE kind = 'reverse_transfer'")
        .fetch_one(&world.db.pool)
        .await
        .unwrap();
    assert!(world.bursar(&["jobs", "cancel", &id]).status.success());
    world.settle_down().await;
    assert_eq!(made(&world).await.len(), 0);
    let wrong = world.bursar(&["payouts", "reverse", "job_1", WHY[0], WHY[1], "--after-saved-failure"]);
    assert_eq!(wrong.status.code(), Some(1), "{wrong:?}");
    reverse(&world, "job_1", &[]).await;
    world.settle_down().await;
    assert_eq!((made(&world).await.len(), world.payout("job_1").await.0.as_str()), (1, "reversed"));
    books_agree(&world).await;
}
