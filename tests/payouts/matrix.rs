//! Every fault, alone and in pairs, with the worker killed at each named point: one Transfer, or none and a stated reason; and our books say
//! what the sandbox's say.

use std::time::Duration;

use super::world::World;
use crate::{queue::probe_at, support::eventually};

const POINTS: [Option<&str>; 5] =
    [None, Some("before_intent"), Some("after_intent"), Some("after_request"), Some("before_settlement")];

const FAULTS: [&str; 16] = [
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
    r#""fault": "lock_timeout""#,
    r#""fault": "balance_insufficient""#,
    r#""fault": "html_502""#,
    r#""fault": "html_502", "applied": false"#,
    r#""fault": "garbage_200""#,
    r#""fault": "truncated_200""#,
];

/// One payout under these faults, its first attempt cut short at a point.
async fn pay(world: &World, job: &str, faults: &[&str], cut: Option<&'static str>) {
    for fault in faults {
        world.stripe.fault(&format!(r#"{{"route": "POST /v1/transfers", {fault}}}"#)).await;
    }
    world.verify(job, "bob").await;
    assert!(world.step_of("pay_receiver", cut).await);
    world.settle_down().await;
    world.stripe.send("DELETE", "/_sandbox/faults", "", &[]).await.unwrap();

    let (state, reason, _) = world.payout(job).await;
    let group = format!("payout:{job}");
    let moved = world.transfers().await.iter().filter(|t| t["transfer_group"] == group.as_str()).count();
    let case = format!("{faults:?} cut at {cut:?}: {state}: {reason}: {moved} Transfers");
    match state.as_str() {
        "paid" => world.is_paid_once(job).await,
        "unknown" => {
            assert_eq!(moved, 0, "{case}");
            assert!(
                faults.iter().any(|fault| fault.contains("saved_500")),
                "only a saved failure needs an operator: {case}"
            );
            assert!(!reason.is_empty(), "{case}");
        }
        _ => panic!("neither paid nor for an operator: {case}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_alone_with_the_worker_killed_at_each_point() {
    let world = World::new().await;
    world.receiver("bob").await;
    for (i, fault) in FAULTS.iter().enumerate() {
        for (j, cut) in POINTS.into_iter().enumerate() {
            pay(&world, &format!("job_{i}_{j}"), &[fault], cut).await;
        }
    }
    assert!(world.bursar(&["ledger", "verify"]).status.success());
}

/// Half of the pairs each, side by side.
async fn pairs(half: usize) {
    let world = World::new().await;
    world.receiver("bob").await;
    for (i, first) in FAULTS.iter().enumerate().filter(|(i, _)| i % 2 == half) {
        for (j, second) in FAULTS.iter().enumerate() {
            for (k, cut) in POINTS.into_iter().enumerate() {
                pay(&world, &format!("job_{i}_{j}_{k}"), &[first, second], cut).await;
            }
        }
    }
    assert!(world.bursar(&["ledger", "verify"]).status.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_pair_of_faults_with_the_worker_killed_at_each_point_first_half() {
    pairs(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_pair_of_faults_with_the_worker_killed_at_each_point_second_half() {
    pairs(1).await;
}

/// The same with a process that really dies, and another that takes over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_process_that_dies_at_each_point_leaves_one_transfer_to_its_successor() {
    let world = World::new().await;
    world.receiver("bob").await;
    sqlx::query("DELETE FROM apalis.workers").execute(&world.db.pool).await.unwrap();
    let worker = || {
        probe_at(&world.db.url).with("PROBE_STRIPE", &world.stripe.0.url).with("PROBE_STRIPE_KEY", &world.stripe.0.key)
    };
    for point in POINTS.into_iter().flatten() {
        let job = format!("job_{point}");
        sqlx::query("INSERT INTO apalis.workers (id, worker_type, storage_name, lease_until) VALUES ('w', 'w', 'w', clock_timestamp() + interval '1 day')")
            .execute(&world.db.pool)
            .await
            .unwrap();
        world.verify(&job, "bob").await;
        sqlx::query("DELETE FROM apalis.workers").execute(&world.db.pool).await.unwrap();
        let mut dies = worker().with("PROBE_KILL_AT", point).start();
        eventually(Duration::from_secs(30), || {
            let ended = dies.try_wait().unwrap();
            async move { ended.ok_or("still alive") }
        })
        .await;
        let _successor = worker().start();
        eventually(Duration::from_secs(30), || async {
            let (state, reason, _) = world.payout(&job).await;
            if state == "paid" { Ok(()) } else { Err(format!("{point}: {state}: {reason}")) }
        })
        .await;
        world.is_paid_once(&job).await;
    }
}
