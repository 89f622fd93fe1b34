//! A worker that dies on the way, and answers that are lost: the same key is the same session.

use std::time::Duration;

use serde_json::json;

use super::shop::{post, read, serve};
use crate::payouts::world::World;

const CHECKOUT: &str = "/api/stripe/checkout";

#[tokio::test]
async fn a_worker_killed_anywhere_on_the_way_leaves_one_customer_and_one_session() {
    for point in ["before_intent", "after_intent", "after_request", "before_settlement"] {
        let world = World::new().await;
        let (address, _api) = serve(&world.db.pool, |settings| settings.patience = Duration::from_millis(50)).await;
        let body = json!({"user_id": "alice", "package": "small"});
        let early = post(address, CHECKOUT, &body, Some("k")).await;
        assert_eq!(early.status, 503, "{early:?}");
        assert!(early.header("retry-after").is_some());

        assert!(world.step_of("create_customer", Some(point)).await);
        assert!(world.step_of("create_customer", None).await);
        assert!(world.step_of("create_checkout", Some(point)).await);
        world.settle_down().await;

        let reply = post(address, CHECKOUT, &body, Some("k")).await;
        assert_eq!(reply.status, 200, "{point}: {reply:?}");
        let sessions = world.stripe.get("/v1/checkout/sessions").await.body;
        assert_eq!(sessions["data"].as_array().unwrap().len(), 1, "{point}");
        assert_eq!(sessions["data"][0]["id"], read(&reply)["session"], "{point}");
        assert_eq!(world.stripe.get("/v1/customers").await.body["data"].as_array().unwrap().len(), 1, "{point}");
    }
}

#[tokio::test]
async fn a_lost_answer_is_found_by_looking_once_its_key_is_old() {
    let world = World::new().await;
    let (address, _api) = serve(&world.db.pool, |settings| settings.patience = Duration::from_millis(50)).await;
    let body = json!({"user_id": "alice", "package": "small"});
    post(address, CHECKOUT, &body, Some("k")).await;
    assert!(world.step_of("create_customer", Some("after_request")).await);
    forget(&world).await;
    assert!(world.step_of("create_customer", None).await, "looks");
    world.stripe.fault(r#"{"route": "POST /v1/checkout/sessions", "fault": "lose_answer"}"#).await;
    assert!(world.step_of("create_checkout", None).await);
    forget(&world).await;
    world.settle_down().await;
    assert_eq!(post(address, CHECKOUT, &body, Some("k")).await.status, 200);
    for path in ["/v1/customers", "/v1/checkout/sessions"] {
        assert_eq!(world.stripe.get(path).await.body["data"].as_array().unwrap().len(), 1, "{path}");
    }
}

/// A day and more goes by: Stripe forgets the keys.
async fn forget(world: &World) {
    sqlx::query("UPDATE bursar.intent SET young_since = young_since - interval '30 hours'")
        .execute(&world.db.pool)
        .await
        .unwrap();
    assert_eq!(world.stripe.post("/_sandbox/keys/prune", "{}").await.status, 200);
}
