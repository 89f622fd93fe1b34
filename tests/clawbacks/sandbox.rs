//! Refunds and disputes as the sandbox plays them, and its own events in any order, twice, and with some lost.

use serde_json::{Value, json};

use super::world::World;
use crate::sandbox::client::Client;

/// The order of events, from a number: the same for the same number.
fn shuffle<T>(items: &mut [T], mut seed: u64) {
    for i in (1..items.len()).rev() {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        items.swap(i, usize::try_from(seed >> 33).unwrap() % (i + 1));
    }
}

/// A purchase of 200 credits by alice with this card; its charge.
async fn buy(stripe: &Client, card: &str) -> String {
    let form = "mode=payment&line_items[0][price_data][currency]=usd&line_items[0][price_data][unit_amount]=2999\
                &line_items[0][price_data][product_data][name]=Credits&line_items[0][quantity]=1&success_url=https://x.example\
                &metadata[credits]=200&metadata[user_id]=alice&client_reference_id=alice";
    let session = stripe.post("/v1/checkout/sessions", form).await.id();
    let confirm = format!("/v1/payment_pages/{session}/confirm");
    let paid = stripe.post(&confirm, &format!("payment_method={card}&expected_amount=2999")).await.body;
    let intent = stripe.get(&format!("/v1/payment_intents/{}", paid["payment_intent"].as_str().unwrap())).await.body;
    intent["latest_charge"].as_str().unwrap_or_else(|| panic!("{paid}")).to_owned()
}

async fn list(stripe: &Client, path: &str) -> Vec<Value> {
    stripe.get(path).await.body["data"].as_array().unwrap().clone()
}

/// What alice has left, by Stripe's final word alone, in millionths.
async fn recomputed(stripe: &Client, charge: &str) -> i64 {
    let refunds = list(stripe, &format!("/v1/refunds?charge={charge}&limit=100")).await;
    let counts =
        |refund: &&Value| ["succeeded", "pending", "requires_action"].contains(&refund["status"].as_str().unwrap());
    let refunded: i64 = refunds.iter().filter(counts).map(|refund| refund["amount"].as_i64().unwrap()).sum();
    let disputes = list(stripe, &format!("/v1/disputes?charge={charge}&limit=100")).await;
    let takes =
        |dispute: &Value| ["needs_response", "under_review", "lost"].contains(&dispute["status"].as_str().unwrap());
    if disputes.iter().any(takes) { 0 } else { 200_000_000 - 200_000_000 * refunded / 2999 }
}

async fn balance(world: &World) -> i64 {
    sqlx::query_scalar("SELECT coalesce(sum(balance), 0)::bigint FROM bursar.account WHERE name = 'user:alice'")
        .fetch_one(&world.db.pool)
        .await
        .unwrap()
}

/// Plays a card and what happens to its payment, and hears of it in several orders.
async fn play(card: &str, acts: &[&str]) {
    let stripe = Client::start().await;
    let charge = buy(&stripe, card).await;
    for act in acts {
        match act.split_once(' ') {
            Some(("refund", amount)) => {
                drop(stripe.post("/v1/refunds", &format!("charge={charge}&amount={amount}")).await.id());
            }
            Some(("evidence", what)) => {
                let dispute = list(&stripe, &format!("/v1/disputes?charge={charge}")).await.remove(0);
                let path = format!("/v1/disputes/{}", dispute["id"].as_str().unwrap());
                drop(stripe.post(&path, &format!("evidence[uncategorized_text]={what}&submit=true")).await.id());
            }
            _ => {
                let passed = stripe.send("POST", "/_sandbox/advance", r#"{"seconds": 600}"#, &[]).await.unwrap();
                assert_eq!(passed.status, 200, "{}", passed.text);
            }
        }
    }
    let wanted = recomputed(&stripe, &charge).await;
    let told = list(&stripe, "/v1/events?limit=100").await;
    for seed in 0..3_u64 {
        let world = World::against(&stripe.0.url, &stripe.0.key).await;
        let mut events: Vec<Value> = told.iter().chain(&told).cloned().collect();
        shuffle(&mut events, seed);
        for (i, event) in events.iter().enumerate() {
            world.hear(event).await;
            if i % 4 == usize::try_from(seed).unwrap() {
                world.settle_down().await;
            }
        }
        world.settle_down().await;
        assert_eq!(
            balance(&world).await,
            wanted,
            "{card} {acts:?} {seed}: {:?} {:?}",
            world.moved().await,
            world.dead().await
        );
        assert!(world.dead().await.is_empty(), "{:?}", world.dead().await);
        world.verify();
    }
}

#[tokio::test]
async fn refunds_end_where_stripe_ends_in_any_order_of_events() {
    play("pm_card_visa", &[]).await;
    play("pm_card_visa", &["refund 1000", "refund 7", "refund 1992"]).await;
    play("pm_card_visa", &["refund 333", "refund 333"]).await;
}

#[tokio::test]
async fn refunds_that_wait_and_refunds_that_fail_end_where_stripe_ends() {
    play("pm_card_pendingRefund", &["refund 1000"]).await;
    play("pm_card_pendingRefund", &["refund 1000", "refund 500", "advance"]).await;
    play("pm_card_refundFail", &["refund 1000", "refund 500"]).await;
    play("pm_card_refundFail", &["refund 1000", "refund 500", "advance"]).await;
}

#[tokio::test]
async fn disputes_end_where_stripe_ends_in_any_order_of_events() {
    play("pm_card_createDispute", &[]).await;
    play("pm_card_createDispute", &["evidence winning_evidence", "advance"]).await;
    play("pm_card_createDispute", &["evidence losing_evidence", "advance"]).await;
    play("pm_card_createDisputeInquiry", &[]).await;
}

#[tokio::test]
async fn the_team_hears_the_deadline_that_stripe_set() {
    let stripe = Client::start().await;
    let charge = buy(&stripe, "pm_card_createDispute").await;
    let world = World::against(&stripe.0.url, &stripe.0.key).await;
    for event in list(&stripe, "/v1/events?limit=100").await {
        world.hear(&event).await;
    }
    world.settle_down().await;
    let dispute = list(&stripe, &format!("/v1/disputes?charge={charge}")).await.remove(0);
    let due = dispute["evidence_details"]["due_by"].as_i64().unwrap();
    let told = world.told();
    let opened = &told.iter().find(|(what, _)| what == "dispute.opened").unwrap().1;
    let said: chrono::DateTime<chrono::Utc> = opened["due_by"].as_str().unwrap().parse().unwrap();
    assert_eq!((said.timestamp(), &opened["dispute"], &opened["user_id"]), (due, &dispute["id"], &json!("alice")));
}
