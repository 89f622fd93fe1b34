//! Whatever ends the matter stands the case down at once; and what is no renewal, or was paid before it was heard of, opens none.

use serde_json::{Value, json};

use super::{GENERIC, letters, world::*};

/// A failed renewal on its second day: one letter, one retry.
async fn second_day() -> (World, String) {
    let world = World::new().await;
    world.card(GENERIC).await;
    let invoice = world.renewal_fails().await;
    world.to_day(2).await;
    assert_eq!((world.letters().await.len(), world.tries().await.len()), (1, 2));
    (world, invoice)
}

/// To the end of the schedule and beyond: nothing more was written, tried or paused.
async fn nothing_more(world: &World, state: &str) {
    world.pass(10 * DAY).await;
    assert_eq!(world.case().await.0, state);
    assert_eq!(world.letters().await.len(), 1, "{:?}", world.letters().await);
    assert_eq!(world.asked().await.len(), 1);
    assert!(world.subscription().await["pause_collection"].is_null());
    let left: Vec<_> = world.steps().await.into_iter().filter(|(_, state, _)| state == "planned").collect();
    assert!(left.is_empty(), "{left:?}");
    let (state, why) = world.step("letter:3").await;
    assert!(state == "skipped" && why.contains("stood down"), "{state}: {why}");
    world.is_clean().await;
}

#[tokio::test]
async fn a_paid_invoice_stands_down_and_is_refilled_once() {
    let (world, invoice) = second_day().await;
    world.card("pm_card_visa").await;
    world.pay(&invoice).await;
    world.settle().await;
    assert_eq!(world.case().await, ("paid".into(), "the invoice is paid".into()));
    nothing_more(&world, "paid").await;
    assert_eq!(world.balance().await, "300");
    assert!(world.has_access().await);
}

#[tokio::test]
async fn a_void_invoice_stands_down() {
    let (world, invoice) = second_day().await;
    world.stripe.post(&format!("/v1/invoices/{invoice}/void"), "").await.id();
    world.settle().await;
    nothing_more(&world, "void").await;
}

#[tokio::test]
async fn an_uncollectible_invoice_stands_down() {
    let (world, invoice) = second_day().await;
    world.stripe.post(&format!("/v1/invoices/{invoice}/mark_uncollectible"), "").await.id();
    world.settle().await;
    nothing_more(&world, "uncollectible").await;
}

#[tokio::test]
async fn a_subscription_that_ends_stands_down() {
    let (world, _) = second_day().await;
    let path = format!("/v1/subscriptions/{}", world.subscription);
    world.stripe.send("DELETE", &path, "", &[]).await.unwrap();
    world.settle().await;
    nothing_more(&world, "ended").await;
}

#[tokio::test]
async fn an_operator_stops_a_case_and_says_why() {
    let (world, invoice) = second_day().await;
    let stopped = world.bursar(&["dunning", "stop", &invoice, "--why", "pays by bank transfer"]);
    assert!(stopped.status.success(), "{stopped:?}");
    let again = world.bursar(&["dunning", "stop", &invoice, "--why", "once more"]);
    assert_eq!(again.status.code(), Some(1), "{again:?}");
    let acts: Vec<(String, String, Option<String>, Option<Value>)> =
        sqlx::query_as("SELECT what, subject, why, after FROM bursar.audit").fetch_all(&world.db.pool).await.unwrap();
    let why = Some("pays by bank transfer".to_owned());
    assert_eq!(acts, [("dunning.stop".into(), invoice, why, Some(json!({"state": "stopped"})))]);
    assert!(world.case().await.1.contains("pays by bank transfer"));
    nothing_more(&world, "stopped").await;
}

#[tokio::test]
async fn what_was_paid_without_our_hearing_of_it_is_seen_by_the_next_step() {
    for act in ["pay", "void", "cancel"] {
        let (world, invoice) = second_day().await;
        match act {
            "pay" => {
                world.card("pm_card_visa").await;
                world.pay(&invoice).await;
            }
            "void" => drop(world.stripe.post(&format!("/v1/invoices/{invoice}/void"), "").await.id()),
            _ => {
                let path = format!("/v1/subscriptions/{}", world.subscription);
                world.stripe.send("DELETE", &path, "", &[]).await.unwrap();
            }
        }
        // The webhooks are lost.
        world.events().await;
        let state = match act {
            "pay" => "paid",
            "void" => "void",
            _ => "ended",
        };
        nothing_more(&world, state).await;
    }
}

#[tokio::test]
async fn a_failure_that_is_told_after_the_payment_opens_nothing() {
    let world = World::new().await;
    world.card(GENERIC).await;
    world.renews().await;
    let events = world.events().await;
    let failed: Vec<Value> = events.iter().filter(|event| event["type"] == "invoice.payment_failed").cloned().collect();
    assert_eq!(failed.len(), 1);
    world.card("pm_card_visa").await;
    world.pay(&world.invoice().await).await;
    for event in events.iter().filter(|event| event["type"] != "invoice.payment_failed") {
        world.receive(event).await;
    }
    world.settle().await;
    assert_eq!(world.balance().await, "300");
    world.receive(&failed[0]).await;
    world.settle().await;
    assert_eq!(world.cases().await, 0);
    let (state, why) = world.jobs("open_dunning").await.pop().unwrap();
    assert!(state == "done" && why.contains("it is paid"), "{why}");
}

#[tokio::test]
async fn twins_later_failures_and_replays_are_one_case() {
    let world = World::new().await;
    world.card(GENERIC).await;
    world.renews().await;
    let events = world.events().await;
    let failed = events.iter().find(|event| event["type"] == "invoice.payment_failed").unwrap();
    let at = failed["created"].as_i64().unwrap();
    // A later failure comes first, the twin in between.
    for (id, created) in [("evt_later", at + 7200), ("evt_first", at), ("evt_twin", at)] {
        let mut event = failed.clone();
        (event["id"], event["created"]) = (json!(id), json!(created));
        world.receive(&event).await;
        world.settle().await;
    }
    assert_eq!(world.cases().await, 1);
    let first: i64 = sqlx::query_scalar("SELECT extract(epoch FROM failed_at)::bigint FROM bursar.dunning_case")
        .fetch_one(&world.db.pool)
        .await
        .unwrap();
    assert_eq!(first, at, "counted from the first failure");
    let moved: i64 = sqlx::query_scalar("SELECT extract(epoch FROM run_at)::bigint FROM bursar.job WHERE kind = 'dunning_step' AND key LIKE '%:retry:3'")
        .fetch_one(&world.db.pool)
        .await
        .unwrap();
    assert!((at + 3 * DAY..at + 3 * DAY + 2).contains(&moved), "its steps too: {}", moved - at);
    let replayed = world.bursar(&["events", "replay", "evt_first"]);
    assert!(replayed.status.success(), "{replayed:?}");
    world.to_day(8).await;
    assert_eq!(world.tries().await, [0, 1, 3, 5, 7]);
    assert_eq!(world.letters().await.len(), 4);
}

#[tokio::test]
async fn a_first_invoice_is_not_chased() {
    let world = World::new().await;
    world.card(GENERIC).await;
    let subscription = world.subscribe("&payment_behavior=allow_incomplete").await;
    let shown = world.at_stripe(&format!("/v1/subscriptions/{subscription}")).await;
    assert_eq!(shown["status"], "incomplete");
    world.pass(2 * DAY).await;
    assert_eq!(world.cases().await, 0);
    let (state, why) = world.jobs("open_dunning").await.pop().unwrap();
    assert!(state == "done" && why.contains("a first invoice"), "{why}");
    assert!(world.asked().await.is_empty());
}

#[tokio::test]
async fn an_invoice_of_nobody_is_not_ours() {
    let world = World::new().await;
    let customer = world.stripe.post("/v1/customers", "email=bob@example.com").await.id();
    let product = world.stripe.post("/v1/products", "name=Another").await.id();
    let form = format!("product={product}&currency=usd&unit_amount=500&recurring[interval]=month");
    let price = world.stripe.post("/v1/prices", &form).await.id();
    let visa = world.stripe.post("/v1/payment_methods/pm_card_visa/attach", &format!("customer={customer}")).await.id();
    let form = format!("customer={customer}&items[0][price]={price}&default_payment_method={visa}");
    world.stripe.post("/v1/subscriptions", &form).await.id();
    let body = r#"{"becomes": "4000000000000341"}"#;
    world.stripe.send("POST", &format!("/_sandbox/payment_methods/{visa}"), body, &[]).await.unwrap();
    world.pass(33 * DAY).await;
    assert_eq!(world.cases().await, 0);
    let jobs = world.jobs("open_dunning").await;
    assert!(
        !jobs.is_empty() && jobs.iter().all(|(state, why)| state == "done" && why.contains("not ours")),
        "{jobs:?}"
    );
}

#[tokio::test]
async fn a_successful_retry_ends_it() {
    let world = World::new().await;
    world.card(GENERIC).await;
    world.renewal_fails().await;
    world.to_day(2).await;
    world.card("pm_card_visa").await;
    world.to_day(4).await;
    assert_eq!(world.case().await.0, "paid");
    assert_eq!(world.tries().await, [0, 1, 3]);
    assert_eq!(world.step("retry:3").await, ("done".into(), "paid".into()));
    world.pass(10 * DAY).await;
    // The letter of that day waited for the try, and was not needed.
    assert_eq!(world.letters().await, letters(&[(0, "payment_failed_first")]));
    assert_eq!(world.balance().await, "300");
    assert!(world.has_access().await);
    world.is_clean().await;
}
