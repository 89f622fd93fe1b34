//! Receivers' accounts: made once, onboarded by links, and what becomes of payouts as they come and go.

mod crash;
mod front;
mod gone;
mod standing;

use bursar_jobs::receivers::onboarding::{self, Begun, Onboarding};
use serde_json::Value;

use crate::payouts::world::World;

/// Asks to be onboarded, as `api` does.
pub async fn ask(world: &World, user: &str, key: Option<&str>) -> Begun {
    let onboarding = Onboarding {
        user_id: user.to_owned(),
        key: key.map(str::to_owned),
        return_url: "https://shop.example/return".into(),
        refresh_url: "https://shop.example/refresh".into(),
        country: None,
    };
    let mut tx = world.db.pool.begin().await.unwrap();
    let begun = onboarding::begin(&mut tx, &onboarding, 1000).await.unwrap();
    tx.commit().await.unwrap();
    begun
}

/// What the sandbox said on connected accounts comes in, as a Connect endpoint has it: with `account` in the envelope. And all of it is
/// worked off.
pub async fn hear_all(world: &World) {
    let events = world.stripe.get("/v1/events?limit=100").await.body;
    for event in events["data"].as_array().unwrap().iter().filter(|event| event["account"].is_string()) {
        world.hear(event).await;
    }
    world.settle_down().await;
}

/// The accounts at Stripe that can be reached.
pub async fn accounts(world: &World) -> Vec<Value> {
    world.stripe.get("/v1/accounts?limit=100").await.body["data"].as_array().unwrap().clone()
}

/// The receiver's account and state.
pub async fn receiver(world: &World, user: &str) -> (Option<String>, String) {
    sqlx::query_as("SELECT account_id, state FROM bursar.receiver WHERE user_id = $1")
        .bind(user)
        .fetch_one(&world.db.pool)
        .await
        .unwrap()
}

/// Puts an account into a state at Stripe.
pub async fn put(world: &World, account: &str, state: &str) {
    let path = format!("/_sandbox/accounts/{account}");
    let reply = world.stripe.post(&path, &format!(r#"{{"state": "{state}"}}"#)).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
}

/// The reasons of the dead jobs.
pub async fn dead(world: &World) -> Vec<String> {
    sqlx::query_scalar("SELECT coalesce(reason, '') FROM bursar.job WHERE state = 'dead' ORDER BY id")
        .fetch_all(&world.db.pool)
        .await
        .unwrap()
}

/// The state and the reason of the only job that an event became.
pub async fn became(world: &World, event: &str) -> (String, String) {
    sqlx::query_as("SELECT state, coalesce(reason, '') FROM bursar.job WHERE key = $1")
        .bind(event)
        .fetch_one(&world.db.pool)
        .await
        .unwrap()
}

/// An operator's look at a payout: why it is where it is.
pub fn why(world: &World, job: &str) -> String {
    let shown = world.bursar(&["payouts", "show", job, "--json"]);
    assert!(shown.status.success(), "{shown:?}");
    let page: Value = serde_json::from_slice(&shown.stdout).unwrap();
    page["reason"].as_str().unwrap().to_owned()
}
