//! Cards that only their owners can help, and Stripe's own retries.

use super::{GENERIC, letters, world::*};

const LOST: &str = "4000000000009987";
const STOLEN: &str = "4000000000009979";
const BLOCKED: &str = "4000000000004954";
const ASKS_EACH_TIME: &str = "4000002760003184";

#[tokio::test]
async fn a_hard_decline_asks_for_a_card_once_and_does_not_retry() {
    for number in [LOST, STOLEN, BLOCKED, ASKS_EACH_TIME] {
        let world = World::new().await;
        world.turns_into(number).await;
        world.renewal_fails().await;
        world.to_day(6).await;
        let expected = [(0, "card_needed"), (3, "payment_failed_again"), (5, "payment_failed_last")];
        assert_eq!(world.letters().await, letters(&expected), "{number}");
        assert!(world.asked().await.is_empty(), "{number}: {:?}", world.steps().await);
        let (state, why) = world.step("retry:3").await;
        assert!(state == "skipped" && why.contains("needs its owner"), "{number}: {why}");
        world.to_day(8).await;
        assert_eq!(world.case().await.0, "paused", "{number}: nothing is tried, and the last step comes");
        world.is_clean().await;
    }
}

#[tokio::test]
async fn another_card_is_tried_again() {
    let world = World::new().await;
    world.turns_into(LOST).await;
    world.renewal_fails().await;
    world.to_day(2).await;
    assert!(world.asked().await.is_empty());
    world.card("pm_card_visa").await;
    world.to_day(4).await;
    assert_eq!(world.case().await.0, "paid");
    assert_eq!(world.tries().await, [0, 3]);
    assert_eq!(world.balance().await, "300");
}

#[tokio::test]
async fn a_card_that_turns_hard_between_the_steps_is_asked_for_at_once() {
    for number in [LOST, ASKS_EACH_TIME] {
        let world = World::new().await;
        world.card("pm_card_visa").await;
        world.turns_into("4000000000000341").await;
        world.renewal_fails().await;
        world.turns_into(number).await;
        world.to_day(6).await;
        assert_eq!(world.asked().await.len(), 1, "{number}: {:?}", world.steps().await);
        let expected =
            [(0, "payment_failed_first"), (1, "card_needed"), (3, "payment_failed_again"), (5, "payment_failed_last")];
        assert_eq!(world.letters().await, letters(&expected), "{number}");
        world.is_clean().await;
    }
}

#[tokio::test]
async fn where_stripe_tries_again_by_itself_we_keep_to_the_letters_until_it_gives_up() {
    let world = World::new().await;
    world.smart_retries("unpaid").await;
    world.card(GENERIC).await;
    world.renewal_fails().await;
    world.to_day(12).await;
    assert!(world.asked().await.is_empty(), "{:?}", world.steps().await);
    let expected = [(0, "payment_failed_first"), (3, "payment_failed_again"), (5, "payment_failed_last")];
    assert_eq!(world.letters().await, letters(&expected));
    assert_eq!(world.case().await.0, "open", "Stripe has not given up yet");
    assert!(world.step("final:7").await.1.contains("Stripe still tries"));
    world.to_day(15).await;
    assert_eq!(world.case().await.0, "paused");
    assert_eq!(world.subscription().await["pause_collection"]["behavior"], "void");
    assert!(world.asked().await.is_empty());
    assert_eq!(world.letters().await.len(), 4);
    world.is_clean().await;
}

#[tokio::test]
async fn where_stripe_cancels_the_case_ends_with_the_subscription() {
    let world = World::new().await;
    world.smart_retries("cancel").await;
    world.card(GENERIC).await;
    world.renewal_fails().await;
    world.to_day(20).await;
    assert_eq!(world.case().await.0, "ended");
    assert!(world.asked().await.is_empty());
    world.is_clean().await;
}

#[tokio::test]
async fn whether_stripe_tries_again_is_asked_anew_at_each_step() {
    let world = World::new().await;
    world.smart_retries("past_due").await;
    world.card(GENERIC).await;
    let invoice = world.renewal_fails().await;
    world.to_day(2).await;
    assert!(world.asked().await.is_empty());
    // Somebody turns Stripe's own retries off for this invoice.
    world
        .stripe
        .send("POST", "/_sandbox/settings", r#"{"smart_retries": false, "after_retries": "past_due"}"#, &[])
        .await
        .unwrap();
    let tried = world.stripe.post(&format!("/v1/invoices/{invoice}/pay"), "").await;
    assert_eq!(tried.status, 402, "{}", tried.text);
    world.to_day(8).await;
    assert_eq!(world.asked().await, [3, 5, 7].map(|day| format!("dunning:{invoice}:retry:{day}:1")));
    assert_eq!(world.case().await.0, "paused");
}
