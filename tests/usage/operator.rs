//! Reports that wait for an operator, for nobody can know whether Stripe has them.

use serde_json::json;

use super::{metered, pairs, reported, spend, sum};
use crate::clawbacks::world::World;

/// Alice used it once in an hour that is days ago by now, and no worker reported it.
async fn days_late() -> World {
    let world = metered().await;
    spend(&world, "alice", "research", 2_000_000, "1").await;
    world.jump("50h 5m").await;
    sum(&world).await;
    world
}

fn asked(world: &World) -> usize {
    world.stub.asked("POST /v1/billing/meter_events").len()
}

#[tokio::test]
async fn use_of_days_ago_may_have_been_sent_before_a_restore_and_waits_for_an_operator() {
    let world = days_late().await;
    let dead = world.dead().await;
    assert!(dead.len() == 1 && dead[0].contains("bursar usage release 1"), "{dead:?}");
    assert_eq!(asked(&world), 0, "its row is young, its hour is not");
    let listed = world.bursar(&["usage", "list", "--json"]);
    let line: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!((&line["id"], &line["state"], &line["value"]), (&json!(1), &json!("unknown"), &json!(1)));

    let released = world.bursar(&["usage", "release", "--all", "--why", "nothing was restored"]);
    assert!(released.status.success(), "{released:?}");
    world.run_due().await;
    assert_eq!(reported(&world), pairs(&[("usage:alice:research", "1")]));
    assert!(world.dead().await.is_empty());
    let act: (String, String) =
        sqlx::query_as("SELECT what || ' ' || subject, why FROM bursar.audit").fetch_one(&world.db.pool).await.unwrap();
    assert_eq!(act, ("usage.release usage:1".into(), "nothing was restored".into()));
    let again = world.bursar(&["usage", "release", "1"]);
    assert_eq!(again.status.code(), Some(1), "{again:?}");
    assert_eq!(world.bursar(&["usage", "release", "99"]).status.code(), Some(3));
}

#[tokio::test]
async fn use_of_days_ago_that_stripe_has_is_said_to_be_sent_and_not_sent() {
    let world = days_late().await;
    assert!(world.bursar(&["usage", "sent", "1"]).status.success());
    world.run_due().await;
    assert_eq!(asked(&world), 0);
    let state: String =
        sqlx::query_scalar("SELECT state FROM bursar.usage_report").fetch_one(&world.db.pool).await.unwrap();
    assert!(state == "sent" && world.dead().await.is_empty());
}

#[tokio::test]
async fn a_release_lets_an_outcome_go_that_was_not_known_once_and_not_for_ever() {
    let world = metered().await;
    spend(&world, "alice", "research", 2_000_000, "1").await;
    world.jump("1h 5m").await;
    let sum_it =
        "SELECT bursar.enqueue('[{\"kind\": \"sum_usage\", \"key\": \"k\", \"args\": {}, \"max_attempts\": 3}]')";
    sqlx::query(sum_it).execute(&world.db.pool).await.unwrap();
    assert!(world.step_of("sum_usage", None).await);
    assert!(world.step_of("report_usage", Some("after_request")).await);
    for sends in [2, 3] {
        world.jump("25h 5m").await;
        world.settle_down().await;
        assert_eq!(world.dead().await.len(), 1);
        assert!(world.bursar(&["usage", "release", "1"]).status.success());
        assert!(
            world.step_of("report_usage", Some("before_settlement")).await,
            "looks, is told that an operator has, and sends"
        );
        assert_eq!(asked(&world), sends);
    }
}
