//! The last step, and what comes after it: a late success, somebody else's pause; and a worker that was away.

use bursar_jobs::dunning::Final;

use super::{GENERIC, letters, world::*};

async fn paused() -> (World, String) {
    let world = World::new().await;
    world.card(GENERIC).await;
    let invoice = world.renewal_fails().await;
    world.to_day(8).await;
    assert_eq!(world.case().await.0, "paused");
    (world, invoice)
}

#[tokio::test]
async fn a_late_success_ends_our_pause_restores_access_and_refills_once() {
    let (world, invoice) = paused().await;
    world.pass(40 * DAY).await;
    assert!(!world.has_access().await);
    world.card("pm_card_visa").await;
    world.pay(&invoice).await;
    world.pass(DAY).await;
    assert_eq!(world.case().await.0, "paid");
    let now = world.subscription().await;
    assert!(now["pause_collection"].is_null(), "{now}");
    assert!(now["metadata"]["dunning"].is_null() && now["metadata"]["user_id"] == "alice", "{now}");
    assert_eq!(now["status"], "active");
    assert_eq!(world.step("resume").await, ("done".into(), "it goes on".into()));
    assert_eq!(world.balance().await, "300");
    assert!(world.has_access().await);
    // And it renews as before.
    world.pass(31 * DAY).await;
    assert_eq!(world.balance().await, "450");
    world.is_clean().await;
}

#[tokio::test]
async fn a_pause_that_somebody_else_made_since_stays() {
    let (world, invoice) = paused().await;
    let form = "pause_collection[behavior]=keep_as_draft";
    world.stripe.post(&format!("/v1/subscriptions/{}", world.subscription), form).await.id();
    world.card("pm_card_visa").await;
    world.pay(&invoice).await;
    world.pass(DAY).await;
    assert_eq!(world.case().await.0, "paid");
    assert_eq!(world.subscription().await["pause_collection"]["behavior"], "keep_as_draft");
    let (state, why) = world.step("resume").await;
    assert!(state == "skipped" && why.contains("somebody else"), "{why}");
}

#[tokio::test]
async fn a_subscription_that_was_paused_before_is_left_as_it_is() {
    let world = World::new().await;
    world.card(GENERIC).await;
    let invoice = world.renewal_fails().await;
    let form = "pause_collection[behavior]=void";
    world.stripe.post(&format!("/v1/subscriptions/{}", world.subscription), form).await.id();
    world.to_day(8).await;
    assert_eq!(world.case().await.0, "exhausted");
    world.card("pm_card_visa").await;
    world.pay(&invoice).await;
    world.pass(DAY).await;
    assert_eq!(world.case().await.0, "paid");
    assert_eq!(world.subscription().await["pause_collection"]["behavior"], "void", "it was not ours");
}

#[tokio::test]
async fn the_last_step_cancels_where_the_settings_say_so() {
    let world = World::ending_with(Final::Cancel).await;
    world.card(GENERIC).await;
    world.renewal_fails().await;
    world.to_day(6).await;
    assert_eq!(world.subscription().await["status"], "past_due");
    world.to_day(8).await;
    assert_eq!(world.case().await.0, "cancelled");
    assert_eq!(world.subscription().await["status"], "canceled");
    assert_eq!(world.letters().await.last().unwrap(), &(7, "access_ended".to_owned()));
    assert_eq!(world.tries().await, [0, 1, 3, 5, 7]);
    assert!(!world.has_access().await);
    world.is_clean().await;
}

#[tokio::test]
async fn the_last_step_may_do_nothing() {
    let world = World::ending_with(Final::None).await;
    world.card(GENERIC).await;
    let invoice = world.renewal_fails().await;
    world.to_day(8).await;
    assert_eq!(world.case().await.0, "exhausted");
    let now = world.subscription().await;
    assert!(now["status"] == "past_due" && now["pause_collection"].is_null(), "{now}");
    assert!(world.fields("payment_failed_last").await["deadline"].is_null(), "nothing happens then");
    world.card("pm_card_visa").await;
    world.pay(&invoice).await;
    world.settle().await;
    assert_eq!((world.case().await.0.as_str(), world.balance().await.as_str()), ("paid", "300"));
}

#[tokio::test]
async fn a_case_keeps_the_schedule_that_it_was_opened_with() {
    let world = World::with(|terms| {
        terms.dunning.schedule.retry_days = vec![2];
        terms.dunning.schedule.letter_days = vec![1];
        terms.dunning.schedule.final_day = 4;
        terms.dunning.portal_url = Some("https://shop.example/billing".into());
    })
    .await;
    world.card(GENERIC).await;
    world.renewal_fails().await;
    let mut world = world;
    world.deploy(|terms| terms.dunning.schedule = bursar_jobs::dunning::Dunning::default().schedule);
    world.to_day(5).await;
    assert_eq!(world.tries().await, [0, 2]);
    assert_eq!(world.letters().await, letters(&[(1, "payment_failed_first"), (4, "access_paused")]));
    let fields = world.fields("payment_failed_first").await;
    assert_eq!(fields["portal_url"], "https://shop.example/billing");
    assert_eq!(fields["amount"], "19.00 USD");
    assert!(fields["deadline"].is_string() && fields["invoice_url"].is_string(), "{fields}");
}

#[tokio::test]
async fn ten_days_of_downtime_are_made_up_for_without_a_burst() {
    for heard_before in [false, true] {
        let world = World::new().await;
        world.card(GENERIC).await;
        world.renews().await;
        if heard_before {
            world.settle().await;
        }
        world.advance(10 * DAY).await;
        let begun = world.letters().await.len();
        world.pass(DAY).await;
        let last = (10, "payment_failed_last".to_owned());
        let written = world.letters().await;
        if heard_before {
            assert_eq!(written[begun..], [last], "{written:?}");
        } else {
            assert!(written.len() == 1 && written[0].1 == "payment_failed_last", "{written:?}");
        }
        assert_eq!(world.tries().await, [0, 10], "one retry, and not four");
        for late in ["letter:3", "retry:1", "retry:3", "retry:5"] {
            let (state, why) = world.step(late).await;
            assert!(state == "skipped" && why.contains("late"), "{late}: {state}: {why}");
        }
        assert_eq!(world.case().await.0, "open", "the letter named a day that has not come yet");
        assert!(world.subscription().await["pause_collection"].is_null());
        world.pass(2 * DAY).await;
        assert_eq!(world.case().await.0, "paused");
        assert_eq!(world.letters().await.len(), begun + 2);
        world.is_clean().await;
    }
}

/// A letter that went out late names a later day; access lasts as long, whatever the subscription's own terms say.
#[tokio::test]
async fn access_lasts_until_the_day_that_a_letter_named() {
    let world = World::new().await;
    world.card(GENERIC).await;
    world.renews().await;
    world.pass(6 * DAY).await;
    let (promised, state): (Option<chrono::DateTime<chrono::Utc>>, String) =
        sqlx::query_as("SELECT promised_until, state FROM bursar.dunning_case")
            .fetch_one(&world.db.pool)
            .await
            .unwrap();
    let (until, lapses): (chrono::DateTime<chrono::Utc>, chrono::DateTime<chrono::Utc>) =
        sqlx::query_as("SELECT access_until, lapses_at FROM bursar.subscription")
            .fetch_one(&world.db.pool)
            .await
            .unwrap();
    let promised = promised.expect("a letter named a day");
    assert_eq!(state, "open");
    assert!(until >= promised && lapses >= promised, "{until} is before {promised}");
    // Asked of Stripe again, it stays so.
    let path = format!("/v1/subscriptions/{}", world.subscription);
    assert_eq!(world.stripe.post(&path, "metadata[note]=x").await.status, 200);
    world.settle().await;
    let again: chrono::DateTime<chrono::Utc> =
        sqlx::query_scalar("SELECT access_until FROM bursar.subscription").fetch_one(&world.db.pool).await.unwrap();
    assert_eq!(again, until);
    assert!(world.has_access().await);
    world.pass(10 * DAY).await;
    assert!(!world.has_access().await, "and no longer");
    world.is_clean().await;
}
