//! Reversals that were made at Stripe by hand: heard of late, twice, out of order, or found by a look.

use serde_json::json;

use super::{books_agree, made, paid, reverse, shown, tell_reversed};
use crate::payouts::world::World;

/// Takes a part back by hand; the whole where no amount is said.
async fn by_hand(world: &World, key: &str, transfer: &str, form: &str) {
    world.stripe.keyed(key, &format!("/v1/transfers/{transfer}/reversals"), form).await.unwrap();
}

#[tokio::test]
async fn a_reversal_made_in_the_dashboard_is_booked_once_in_parts_and_whole() {
    let world = World::new().await;
    world.receiver("bob").await;
    paid(&world, "job_1", "bob").await;
    let transfer = world.payout("job_1").await.2.unwrap();
    by_hand(&world, "a", &transfer, "amount=30").await;
    // As it was told then; and again, after more has come back: what counts is what Stripe lists now.
    tell_reversed(&world, "evt_1", &transfer).await;
    world.settle_down().await;
    let (state, reason, _) = world.payout("job_1").await;
    assert_eq!((state.as_str(), reason.as_str()), ("paid", "0.30 USD of it is reversed"));
    assert_eq!(shown(&world, "job_1").await["reversed"], 30);
    books_agree(&world).await;
    by_hand(&world, "b", &transfer, "amount=20").await;
    by_hand(&world, "c", &transfer, "").await;
    for event in ["evt_2", "evt_3", "evt_4"] {
        tell_reversed(&world, event, &transfer).await;
    }
    world.settle_down().await;
    assert_eq!((world.payout("job_1").await.0.as_str(), made(&world).await.len()), ("reversed", 3));
    assert_eq!((world.owed_to("bob").await, world.dead_jobs().await), (0, 0));
    books_agree(&world).await;
}

#[tokio::test]
async fn more_than_a_page_of_reversals_is_read_whole() {
    let world = World::new().await;
    world.receiver("bob").await;
    paid(&world, "job_1", "bob").await;
    let transfer = world.payout("job_1").await.2.unwrap();
    for i in 0..100 {
        by_hand(&world, &format!("k{i}"), &transfer, "amount=1").await;
    }
    tell_reversed(&world, "evt_1", &transfer).await;
    world.settle_down().await;
    assert_eq!(world.payout("job_1").await.0, "reversed");
    books_agree(&world).await;
}

#[tokio::test]
async fn ours_and_theirs_at_once_count_once_each() {
    let world = World::new().await;
    world.receiver("bob").await;
    for (i, cut) in ["after_intent", "after_request", "before_settlement"].into_iter().enumerate() {
        let job = format!("job_{i}");
        paid(&world, &job, "bob").await;
        let transfer = world.payout(&job).await.2.unwrap();
        reverse(&world, &job, &["--amount", "0.40"]).await;
        assert!(world.step_of("reverse_transfer", Some(cut)).await);
        by_hand(&world, &format!("hand {i}"), &transfer, "amount=10").await;
        // The event is heard before our own answer is.
        tell_reversed(&world, &format!("evt_{i}"), &transfer).await;
        assert!(world.step_of("check_transfer", None).await);
        books_agree(&world).await;
        world.settle_down().await;
        assert_eq!(shown(&world, &job).await["reversed"], 50, "{cut}");
        let amounts: Vec<i64> = made(&world)
            .await
            .iter()
            .filter(|r| r["transfer"] == transfer.as_str())
            .map(|r| r["amount"].as_i64().unwrap())
            .collect();
        assert_eq!(amounts.iter().sum::<i64>(), 50, "{cut}: {amounts:?}");
        books_agree(&world).await;
    }
}

#[tokio::test]
async fn a_reversal_of_what_came_back_already_is_an_operators_matter_and_carries_nothing() {
    let world = World::new().await;
    world.receiver("bob").await;
    paid(&world, "job_1", "bob").await;
    let transfer = world.payout("job_1").await.2.unwrap();
    by_hand(&world, "hand", &transfer, "").await;
    // Nobody has told us; our own is refused, and then it is asked what came back.
    reverse(&world, "job_1", &[]).await;
    world.settle_down().await;
    let (state, reason, _) = world.payout("job_1").await;
    assert_eq!((state.as_str(), reason.as_str()), ("reversed", "1.00 USD came back"));
    assert_eq!((world.owed_to("bob").await, made(&world).await.len()), (0, 1));
    books_agree(&world).await;
}

#[tokio::test]
async fn a_reversal_heard_of_before_its_transfer_is_known_waits_for_that() {
    let world = World::new().await;
    world.receiver("bob").await;
    world.verify("job_1", "bob").await;
    assert!(world.step_of("pay_receiver", Some("after_request")).await);
    let transfer = world.transfers().await[0]["id"].as_str().unwrap().to_owned();
    by_hand(&world, "hand", &transfer, "").await;
    tell_reversed(&world, "evt_1", &transfer).await;
    assert!(world.step_of("check_transfer", None).await);
    assert_eq!(world.payout("job_1").await.0, "sending");
    world.settle_down().await;
    assert_eq!((world.payout("job_1").await.0.as_str(), world.owed_to("bob").await), ("reversed", 0));
    books_agree(&world).await;
}

#[tokio::test]
async fn a_transfer_that_a_look_finds_reversed_is_booked_as_paid_and_reversed() {
    let world = World::new().await;
    world.receiver("bob").await;
    world.verify_at("job_1", "bob", 48).await;
    assert!(world.step_of("pay_receiver", Some("before_settlement")).await, "looked, sent, and told nobody");
    world.stripe.send("POST", "/_sandbox/keys/prune", "", &[]).await.unwrap();
    // The key is old by now, by our books.
    sqlx::query("UPDATE bursar.intent SET young_since = NULL").execute(&world.db.pool).await.unwrap();
    let transfer = world.transfers().await[0]["id"].as_str().unwrap().to_owned();
    by_hand(&world, "hand", &transfer, "amount=60").await;
    world.settle_down().await;
    let page = shown(&world, "job_1").await;
    assert_eq!((&page["state"], &page["reversed"], world.transfers().await.len()), (&json!("paid"), &json!(60), 1));
    books_agree(&world).await;
}

#[tokio::test]
async fn what_is_not_ours_says_so() {
    let world = World::new().await;
    let account = world.receiver("bob").await;
    let form = format!("amount=7&currency=usd&destination={account}");
    let made = world.stripe.keyed("by hand", "/v1/transfers", &form).await.unwrap();
    tell_reversed(&world, "evt_1", made.body["id"].as_str().unwrap()).await;
    world.settle_down().await;
    let said: String = sqlx::query_scalar("SELECT reason FROM bursar.job WHERE kind = 'check_transfer'")
        .fetch_one(&world.db.pool)
        .await
        .unwrap();
    assert_eq!(said, "not ours: no payout has this Transfer");
}
