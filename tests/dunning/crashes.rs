//! Workers that die between every two steps, answers that are lost, keys that are forgotten: at most one try of a card for each step.

use bursar_jobs::dunning::Final;

use super::{GENERIC, world::*};

const POINTS: [&str; 4] = ["before_intent", "after_intent", "after_request", "before_settlement"];

#[tokio::test]
async fn a_worker_killed_between_every_two_steps_of_a_case_tries_and_writes_once() {
    let world = World::new().await;
    world.card(GENERIC).await;
    for kind in ["open_dunning", "dunning_step", "retry_invoice", "pause_subscription", "resume_subscription"] {
        for point in POINTS {
            // A question has no intent, and its answer no other way.
            world.kill(kind, point);
        }
    }
    let invoice = world.renewal_fails().await;
    world.to_day(2).await;
    // The first letter's step, or the first retry's, took those for steps: the last letter and the last step get their own.
    for point in POINTS {
        world.kill("dunning_step", point);
    }
    world.to_day(4).await;
    for point in POINTS {
        world.kill("dunning_step", point);
        world.kill("retry_invoice", point);
    }
    world.to_day(6).await;
    for point in POINTS {
        world.kill("dunning_step", point);
        world.kill("retry_invoice", point);
    }
    world.to_day(8).await;
    assert_eq!(world.case().await.0, "paused", "{:?}", world.steps().await);
    assert_eq!(world.tries().await, [0, 1, 3, 5, 7]);
    let names: Vec<String> = world.letters().await.into_iter().map(|(_, name)| name).collect();
    assert_eq!(names, ["payment_failed_first", "payment_failed_again", "payment_failed_last", "access_paused"]);
    world.card("pm_card_visa").await;
    world.pay(&invoice).await;
    world.pass(DAY).await;
    assert!(world.subscription().await["pause_collection"].is_null());
    assert!(world.all_killed(), "every point was reached");
    assert_eq!(world.balance().await, "300");
    world.is_clean().await;
}

#[tokio::test]
async fn a_worker_killed_around_the_cancellation_cancels_once_and_says_so_once() {
    for point in POINTS {
        let world = World::ending_with(Final::Cancel).await;
        world.card(GENERIC).await;
        world.renewal_fails().await;
        world.to_day(6).await;
        world.kill("cancel_subscription", point);
        world.to_day(9).await;
        assert!(world.all_killed());
        assert_eq!(world.case().await.0, "cancelled", "{point}: {:?}", world.steps().await);
        assert_eq!(world.subscription().await["status"], "canceled");
        let ended = world.letters().await.into_iter().filter(|(_, name)| name == "access_ended").count();
        assert_eq!(ended, 1, "{point}");
        world.is_clean().await;
    }
}

#[tokio::test]
async fn a_try_whose_answer_is_lost_is_known_later_and_the_last_step_waits_for_that() {
    for fault in ["lose_answer", "html_502"] {
        let world = World::new().await;
        world.card(GENERIC).await;
        world.renewal_fails().await;
        world.to_day(6).await;
        let lost = format!(r#"{{"route": "POST /v1/invoices/{{id}}/pay", "fault": "{fault}", "times": 3}}"#);
        world.stripe.fault(&lost).await;
        world.to_day(8).await;
        assert_eq!(world.case().await.0, "paused", "{fault}: {:?}", world.steps().await);
        assert_eq!(world.tries().await, [0, 1, 3, 5, 7], "{fault}");
        world.is_clean().await;
    }
}

#[tokio::test]
async fn the_last_step_does_not_act_while_a_try_is_not_known_to_have_failed() {
    let world = World::new().await;
    world.card(GENERIC).await;
    let invoice = world.renewal_fails().await;
    world.to_day(6).await;
    world.stripe.fault(r#"{"route": "POST /v1/invoices/{id}/pay", "fault": "saved_500", "times": 1}"#).await;
    world.to_day(8).await;
    assert_eq!(world.step("retry:7").await.0, "unknown", "{:?}", world.steps().await);
    assert_eq!(world.case().await.0, "open");
    assert!(world.subscription().await["pause_collection"].is_null());
    let waits: String =
        sqlx::query_scalar("SELECT reason FROM bursar.job WHERE kind = 'dunning_step' AND state = 'scheduled'")
            .fetch_one(&world.db.pool)
            .await
            .unwrap();
    assert!(waits.contains("not known yet that retry:7 has failed"), "{waits}");
    assert!(world.tries().await.len() <= 5, "{:?}", world.tries().await);
    // An operator decides.
    assert!(world.bursar(&["dunning", "stop", &invoice, "--why", "settled by hand"]).status.success());
    world.pass(DAY).await;
    assert_eq!(world.case().await.0, "stopped");
}

#[tokio::test]
async fn a_try_that_left_before_a_long_outage_is_found_and_not_made_again() {
    let world = World::new().await;
    world.card(GENERIC).await;
    world.renewal_fails().await;
    // The try leaves, and its worker dies; nobody is there for thirty hours, and Stripe forgets the key.
    world.kill("retry_invoice", "before_settlement");
    world.just_past_day(1).await;
    world.until_killed().await;
    assert_eq!(world.tries().await, [0, 1]);
    world.advance(30 * 60 * 60).await;
    world.stripe.post("/_sandbox/keys/prune", "").await;
    world.pass(60 * 60).await;
    assert_eq!(world.tries().await, [0, 1], "{:?}", world.steps().await);
    assert!(world.step("retry:1").await.1.contains("declined"), "{:?}", world.step("retry:1").await);
    world.is_clean().await;
}

#[tokio::test]
async fn a_payment_that_comes_while_the_pause_is_under_way_leaves_no_pause_behind() {
    for point in ["after_intent", "after_request", "before_settlement"] {
        let world = World::new().await;
        world.card(GENERIC).await;
        let invoice = world.renewal_fails().await;
        world.to_day(6).await;
        world.kill("pause_subscription", point);
        world.just_past_day(7).await;
        world.until_killed().await;
        world.card("pm_card_visa").await;
        world.pay(&invoice).await;
        world.pass(DAY).await;
        assert_eq!(world.case().await.0, "paid", "{point}");
        assert!(world.subscription().await["pause_collection"].is_null(), "{point}: {:?}", world.steps().await);
        assert_eq!(world.balance().await, "300");
        world.is_clean().await;
    }
}
