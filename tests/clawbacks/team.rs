//! The team is told, at least once and under one id.

use super::{bought, world};

#[tokio::test]
async fn the_team_is_told_under_one_id_signed_and_until_it_answers() {
    let world = bought().await;
    world.stub.state.lock().unwrap().team = vec![500, 302, 429];
    world.refund("re_1", 2999, "succeeded");
    world.changed("charge.refunded").await;
    world.settle_down().await;
    let asked = world.stub.asked("POST /team");
    assert_eq!(asked.len(), 4, "three refusals, then it was taken");
    assert!(world.stub.asked("POST /elsewhere").is_empty(), "a redirect is not followed");
    for one in &asked {
        assert_eq!(one.headers["webhook-id"], "refund:re_1");
        assert_eq!(one.body, asked[0].body, "the same bytes in every attempt");
        let secrets = bursar::web::standard_webhooks::Secrets::parse(world::SECRET).unwrap();
        let signed = bursar::web::standard_webhooks::Signed {
            id: &one.headers["webhook-id"],
            timestamp: &one.headers["webhook-timestamp"],
            signature: &one.headers["webhook-signature"],
        };
        assert_eq!(secrets.verify(signed, one.body.as_bytes(), bursar_jobs::base::clock::now().timestamp()), Ok(()));
    }
}

#[tokio::test]
async fn a_team_that_is_gone_is_an_operators_matter() {
    let world = bought().await;
    world.stub.state.lock().unwrap().team = vec![410];
    world.refund("re_1", 2999, "succeeded");
    world.changed("charge.refunded").await;
    world.settle_down().await;
    let dead = world.dead().await;
    assert!(dead.len() == 1 && dead[0].contains("410"), "{dead:?}");
    assert_eq!(world.balance("alice").await, "0", "the credits do not wait for the team");
}

#[tokio::test]
async fn a_worker_that_dies_around_a_webhook_sends_it_again_under_the_same_id() {
    for (point, sent) in [("before_intent", 1), ("after_intent", 1), ("after_request", 2), ("before_settlement", 2)] {
        let world = bought().await;
        world.refund("re_1", 2999, "succeeded");
        world.changed("charge.refunded").await;
        while world.step_of("check_charge", None).await || world.step_of("claw_back", None).await {}
        assert!(world.step_of("notify_team", Some(point)).await);
        world.settle_down().await;
        let ids: Vec<String> =
            world.stub.asked("POST /team").iter().map(|one| one.headers["webhook-id"].clone()).collect();
        assert_eq!(ids, vec!["refund:re_1".to_owned(); sent], "{point}");
        let calls: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM bursar.call c JOIN bursar.job j ON c.job_id = j.id WHERE j.kind = 'notify_team'",
        )
        .fetch_one(&world.db.pool)
        .await
        .unwrap();
        assert_eq!(
            calls,
            if point == "before_intent" { 1 } else { 2 },
            "{point}: each that may have left is on record"
        );
    }
}

#[tokio::test]
async fn a_worker_that_is_killed_around_a_webhook_is_succeeded_by_one_that_sends_it() {
    for (point, sent) in [("after_intent", 1), ("after_request", 2)] {
        let world = bought().await;
        world.refund("re_1", 2999, "succeeded");
        world.changed("charge.refunded").await;
        while world.step_of("check_charge", None).await || world.step_of("claw_back", None).await {}
        let done = "SELECT count(*) = 1 FROM bursar.job WHERE kind = 'notify_team' AND state = 'done'";
        world.killed_at(point, done).await;
        let ids: Vec<String> =
            world.stub.asked("POST /team").iter().map(|one| one.headers["webhook-id"].clone()).collect();
        assert_eq!(ids, vec!["refund:re_1".to_owned(); sent], "{point}");
    }
}
