//! A worker that dies on the way, and answers that are lost: still one account.

use serde_json::json;

use super::{accounts, ask, dead, receiver};
use crate::payouts::world::World;

#[tokio::test]
async fn a_worker_killed_anywhere_on_the_way_leaves_one_account_and_a_link() {
    for point in ["before_intent", "after_intent", "after_request", "before_settlement"] {
        let world = World::new().await;
        ask(&world, "bob", Some("k")).await;
        assert!(world.step_of("create_account", Some(point)).await);
        assert!(world.step_of("create_account", None).await);
        assert!(world.step_of("create_account_link", Some(point)).await, "{point}");
        world.settle_down().await;

        let accounts = accounts(&world).await;
        assert_eq!(accounts.len(), 1, "{point}: {accounts:?}");
        assert_eq!(accounts[0]["metadata"], json!({"user_id": "bob"}));
        assert_eq!(accounts[0]["capabilities"], json!({"transfers": "inactive"}));
        assert_eq!(receiver(&world, "bob").await.0.as_deref(), accounts[0]["id"].as_str(), "{point}");
        let links: Vec<(String, Option<String>)> =
            sqlx::query_as("SELECT state, url FROM bursar.onboarding").fetch_all(&world.db.pool).await.unwrap();
        assert!(links.len() == 1 && links[0].0 == "open" && links[0].1.is_some(), "{point}: {links:?}");
        assert!(dead(&world).await.is_empty(), "{point}");
    }
}

#[tokio::test]
async fn a_lost_answer_is_found_by_looking_once_its_key_is_old() {
    let world = World::new().await;
    // Others', and one of ours that is not bob's.
    world.stripe.post("/v1/accounts", "type=express").await.id();
    world.account("carol").await;
    ask(&world, "bob", None).await;
    world.stripe.fault(r#"{"route": "POST /v1/accounts", "fault": "lose_answer"}"#).await;
    assert!(world.step_of("create_account", None).await);
    forget(&world).await;
    world.settle_down().await;
    let accounts = accounts(&world).await;
    let bobs: Vec<_> = accounts.iter().filter(|a| a["metadata"]["user_id"] == "bob").collect();
    assert_eq!((accounts.len(), bobs.len()), (3, 1), "{accounts:?}");
    assert_eq!(receiver(&world, "bob").await.0.as_deref(), bobs[0]["id"].as_str());
}

#[tokio::test]
async fn whatever_stripe_answers_first_there_is_one_account() {
    for fault in ["lose_answer", "saved_500", "html_502", "garbage_200", "limit_429"] {
        let world = World::new().await;
        ask(&world, "bob", None).await;
        let spec = json!({"route": "POST /v1/accounts", "fault": fault}).to_string();
        world.stripe.fault(&spec).await;
        world.settle_down().await;
        let made = accounts(&world).await;
        let (account, _) = receiver(&world, "bob").await;
        if fault == "saved_500" {
            // Nothing was made, and the key has nothing else to say: an operator decides.
            assert_eq!((made.len(), account), (0, None), "{fault}");
            assert_eq!(dead(&world).await.len(), 1, "{fault}");
        } else {
            assert_eq!((made.len(), account.as_deref()), (1, made[0]["id"].as_str()), "{fault}");
        }
    }
}

#[tokio::test]
async fn a_database_that_came_back_from_before_the_account_finds_it() {
    let world = World::new().await;
    ask(&world, "bob", Some("k")).await;
    let (on, back) = world.dump().await;
    on.settle_down().await;
    forget(&on).await;
    sqlx::query("UPDATE bursar.receiver SET first_asked_at = first_asked_at - interval '30 hours'")
        .execute(&back.db.pool)
        .await
        .unwrap();
    sqlx::query(
        "UPDATE apalis.jobs SET job = convert_to(jsonb_set(convert_from(job, 'UTF8')::jsonb, '{asked_at}',
                    to_jsonb((convert_from(job, 'UTF8')::jsonb ->> 'asked_at')::timestamptz - interval '30 hours'))::text, 'UTF8')
         WHERE job_type = 'create_account'",
    )
    .execute(&back.db.pool)
    .await
    .unwrap();
    back.settle_down().await;
    assert_eq!(accounts(&back).await.len(), 1);
    assert_eq!(receiver(&back, "bob").await.0, receiver(&on, "bob").await.0);
}

/// A day and more goes by: Stripe forgets the keys.
async fn forget(world: &World) {
    sqlx::query("UPDATE bursar.intent SET young_since = young_since - interval '30 hours'")
        .execute(&world.db.pool)
        .await
        .unwrap();
    assert_eq!(world.stripe.post("/_sandbox/keys/prune", "{}").await.status, 200);
}
