//! Destinations that are gone: what Stripe refuses to send is held, the receiver's state says why, and it goes on once they are back.

use super::{
    dead, hear_all, put, receiver,
    standing::{deauthorise, destinations, onboarded},
    why,
};
use crate::payouts::world::World;

/// The destination is refused before anything is executed, twice: for a refusal is asked for again, to see whether it is saved.
const UNSAVED: &str = r#"{"route": "POST /v1/transfers", "fault": "destination_gone", "times": 2}"#;

/// The state of the newest intent of a payout, its generation, and how often it was refused without being saved.
async fn intent(world: &World, job: &str) -> (String, i32, i32) {
    sqlx::query_as(
        "SELECT state, generation, refusals FROM bursar.intent WHERE subject = 'payout:' || $1 ORDER BY generation DESC LIMIT 1",
    )
    .bind(job)
    .fetch_one(&world.db.pool)
    .await
    .unwrap()
}

#[tokio::test]
async fn a_destination_that_is_gone_holds_and_is_paid_to_the_account_that_is_connected_next() {
    let world = World::new().await;
    let old = onboarded(&world, "bob").await;
    // Nobody tells us.
    deauthorise(&world, &old).await;
    for job in ["job_1", "job_2"] {
        world.verify(job, "bob").await;
    }
    assert!(world.step_of("pay_receiver", None).await);
    let (state, reason, _) = world.payout("job_1").await;
    assert!(state == "held" && reason.contains("No such destination"), "{state}: {reason}");
    assert_eq!(intent(&world, "job_1").await, ("rejected".into(), 1, 0), "the refusal is saved under the key");
    world.settle_down().await;
    assert_eq!(receiver(&world, "bob").await, (Some(old.clone()), "deauthorised".into()));
    for job in ["job_1", "job_2"] {
        assert_eq!(world.payout(job).await.0, "held");
        assert_eq!(why(&world, job), format!("bob took away our access to {old}: they must connect again"));
    }
    assert_eq!(
        world.sent().await,
        2,
        "the first attempt and the question whether it is saved; the second payout was not tried"
    );

    let new = onboarded(&world, "bob").await;
    world.is_paid_once("job_1").await;
    world.is_paid_once("job_2").await;
    assert_eq!(destinations(&world).await, [new.clone(), new]);
    assert!(dead(&world).await.is_empty());
}

#[tokio::test]
async fn a_refusal_that_was_not_saved_holds_and_is_sent_under_the_same_key() {
    let world = World::new().await;
    let account = onboarded(&world, "bob").await;
    world.stripe.fault(UNSAVED).await;
    world.verify("job_1", "bob").await;
    assert!(world.step_of("pay_receiver", None).await);
    assert_eq!(
        (world.payout("job_1").await.0.as_str(), receiver(&world, "bob").await.1.as_str()),
        ("held", "inactive")
    );
    assert_eq!(intent(&world, "job_1").await, ("open".into(), 1, 1));
    // Stripe says that the account is active: it goes on.
    world.settle_down().await;
    world.is_paid_once("job_1").await;
    assert_eq!(intent(&world, "job_1").await.1, 1, "the same key");
    assert_eq!(destinations(&world).await, [account]);
    assert!(dead(&world).await.is_empty());
}

#[tokio::test]
async fn what_stripe_refused_and_did_not_keep_is_paid_to_the_account_that_is_connected_next() {
    let world = World::new().await;
    let old = onboarded(&world, "bob").await;
    deauthorise(&world, &old).await;
    world.stripe.fault(UNSAVED).await;
    world.verify("job_1", "bob").await;
    assert!(world.step_of("pay_receiver", None).await);
    assert_eq!(world.payout("job_1").await.0, "held");
    assert_eq!(intent(&world, "job_1").await, ("open".into(), 1, 1));
    // The other account comes; other bytes do not go under a used key, nor under the next while the old request may be under way.
    while receiver(&world, "bob").await.1 != "deauthorised" {
        assert!(world.step_of("check_account", None).await);
    }
    let new = world.account("bob").await;
    put(&world, &new, "active").await;
    world.account_updated(&new).await;
    assert!(world.step_of("check_account", None).await);
    assert_eq!(receiver(&world, "bob").await, (Some(new.clone()), "active".into()));
    assert!(world.step_of("pay_receiver", None).await, "it was let go by itself");
    assert!(world.transfers().await.is_empty(), "not while a request to the old account may be under way");
    sqlx::query("UPDATE bursar.intent SET changed_at = changed_at - interval '2 hours' WHERE subject = 'payout:job_1'")
        .execute(&world.db.pool)
        .await
        .unwrap();
    world.settle_down().await;
    world.is_paid_once("job_1").await;
    assert_eq!(destinations(&world).await, [new]);
}

#[tokio::test]
async fn a_saved_refusal_that_is_replayed_after_the_receiver_came_back_does_not_hold_for_ever() {
    let world = World::new().await;
    let account = onboarded(&world, "bob").await;
    deauthorise(&world, &account).await;
    world.verify("job_1", "bob").await;
    // Stripe refuses, and saves that; the worker dies before it has written it down.
    assert!(world.step_of("pay_receiver", Some("after_request")).await);
    assert_eq!(world.payout("job_1").await.0, "sending");
    put(&world, &account, "active").await;
    hear_all(&world).await;
    world.settle_down().await;
    world.is_paid_once("job_1").await;
    assert_eq!(
        intent(&world, "job_1").await,
        ("succeeded".into(), 2, 0),
        "the saved refusal stays under the first key"
    );
    assert_eq!((receiver(&world, "bob").await.1.as_str(), dead(&world).await.len()), ("active", 0));
}

#[tokio::test]
async fn a_deleted_account_is_gone_and_a_rejected_one_is_restricted_and_holds() {
    let world = World::new().await;
    let deleted = onboarded(&world, "bob").await;
    let reply = world.stripe.send("DELETE", &format!("/v1/accounts/{deleted}"), "", &[]).await.unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text);
    let rejected = onboarded(&world, "eve").await;
    let reply = world.stripe.post(&format!("/v1/accounts/{rejected}/reject"), "reason=fraud").await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    world.verify("job_1", "bob").await;
    world.verify("job_2", "eve").await;
    world.settle_down().await;
    for (user, job, state) in [("bob", "job_1", "deauthorised"), ("eve", "job_2", "restricted")] {
        assert_eq!((receiver(&world, user).await.1.as_str(), world.payout(job).await.0.as_str()), (state, "held"));
    }
    assert!(why(&world, "job_2").contains("rejected.fraud"), "{}", why(&world, "job_2"));
    assert!(dead(&world).await.is_empty(), "{:?}", dead(&world).await);
}

/// Stripe says of an account that it is active, and refuses to send to it: each is asked with a pause that grows.
#[tokio::test]
async fn an_account_that_is_active_and_refused_is_asked_about_later_each_time() {
    let world = World::new().await;
    onboarded(&world, "bob").await;
    world.stripe.fault(&UNSAVED.replace("\"times\": 2", "\"times\": 6")).await;
    world.verify("job_1", "bob").await;
    let mut pauses = Vec::new();
    for _ in 0..3 {
        assert!(world.step_of("pay_receiver", None).await);
        let sql = "SELECT extract(epoch FROM run_at - clock_timestamp())::float8 FROM apalis.jobs
                   WHERE job_type = 'check_account' AND status = 'Pending'";
        pauses.push(sqlx::query_scalar::<_, f64>(sql).fetch_one(&world.db.pool).await.unwrap());
        assert!(world.step_of("check_account", None).await);
    }
    assert!(
        pauses[0] < 1.0 && (100.0..121.0).contains(&pauses[1]) && (200.0..241.0).contains(&pauses[2]),
        "{pauses:?}"
    );
    world.settle_down().await;
    world.is_paid_once("job_1").await;
}
