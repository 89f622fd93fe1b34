//! Accounts that come, are restricted, go, and come back: what is owed is held meanwhile, and paid once.

use bursar_jobs::{base::clock, engine::enqueue, payouts::release_held::SweepHeld, receivers::onboarding::Begun};
use serde_json::json;

use super::{accounts, ask, became, dead, hear_all, put, receiver, why};
use crate::payouts::world::World;

/// A receiver who went through the door and is active.
pub async fn onboarded(world: &World, user: &str) -> String {
    ask(world, user, None).await;
    world.settle_down().await;
    let account = receiver(world, user).await.0.unwrap();
    put(world, &account, "active").await;
    hear_all(world).await;
    assert_eq!(receiver(world, user).await.1, "active");
    account
}

pub async fn deauthorise(world: &World, account: &str) {
    let reply = world.stripe.post(&format!("/_sandbox/accounts/{account}/deauthorize"), "").await;
    assert_eq!(reply.status, 200, "{}", reply.text);
}

/// The account that every Transfer went to.
pub async fn destinations(world: &World) -> Vec<String> {
    world.transfers().await.iter().map(|t| t["destination"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn why_a_payout_is_held_is_said_in_a_sentence_at_each_step_until_it_is_paid() {
    let world = World::new().await;
    world.verify("job_1", "bob").await;
    world.settle_down().await;
    assert_eq!(why(&world, "job_1"), "bob has no connected account: POST /api/stripe/connect makes one");

    ask(&world, "bob", None).await;
    world.settle_down().await;
    let account = receiver(&world, "bob").await.0.unwrap();
    assert_eq!(
        why(&world, "job_1"),
        format!("bob has not finished the onboarding of {account}: Stripe wants external_account, tos_acceptance.date")
    );

    put(&world, &account, "pending").await;
    hear_all(&world).await;
    assert_eq!(why(&world, "job_1"), format!("Stripe is looking at {account} (bob)"));

    put(&world, &account, "restricted").await;
    hear_all(&world).await;
    assert_eq!(receiver(&world, "bob").await.1, "restricted");
    assert_eq!(
        why(&world, "job_1"),
        format!("Stripe restricts {account} (requirements.past_due), and wants: individual.verification.document")
    );
    let list = String::from_utf8(world.bursar(&["payouts", "list"]).stdout).unwrap();
    assert!(list.contains("individual.verification.document"), "{list}");

    put(&world, &account, "active").await;
    hear_all(&world).await;
    world.is_paid_once("job_1").await;
}

#[tokio::test]
async fn a_restricted_account_holds_again_and_a_reactivated_one_is_paid() {
    let world = World::new().await;
    let account = onboarded(&world, "bob").await;
    put(&world, &account, "restricted").await;
    hear_all(&world).await;
    world.verify("job_1", "bob").await;
    world.settle_down().await;
    assert_eq!((world.payout("job_1").await.0.as_str(), world.sent().await), ("held", 0));
    put(&world, &account, "active").await;
    hear_all(&world).await;
    world.is_paid_once("job_1").await;
}

#[tokio::test]
async fn a_deauthorised_receiver_is_held_and_paid_to_the_account_they_connect_next() {
    let world = World::new().await;
    let old = onboarded(&world, "bob").await;
    world.verify("job_1", "bob").await;
    world.settle_down().await;
    world.is_paid_once("job_1").await;

    deauthorise(&world, &old).await;
    hear_all(&world).await;
    assert_eq!(receiver(&world, "bob").await, (Some(old.clone()), "deauthorised".into()));
    world.verify("job_2", "bob").await;
    world.settle_down().await;
    assert_eq!((world.payout("job_2").await.0.as_str(), world.sent().await), ("held", 1), "nothing was tried");
    assert_eq!(why(&world, "job_2"), format!("bob took away our access to {old}: they must connect again"));

    let new = onboarded(&world, "bob").await;
    assert_ne!(new, old);
    world.is_paid_once("job_2").await;
    world.is_paid_once("job_1").await;
    assert_eq!(destinations(&world).await, [old.clone(), new.clone()]);
    // Nobody else comes by the old one.
    let sql = "SELECT former FROM bursar.receiver WHERE user_id = 'bob'";
    let former: Vec<String> = sqlx::query_scalar(sql).fetch_one(&world.db.pool).await.unwrap();
    assert_eq!(former, [old]);
    assert!(dead(&world).await.is_empty());
}

#[tokio::test]
async fn a_second_deauthorisation_leads_to_a_third_account_and_lost_answers_to_no_fourth() {
    let world = World::new().await;
    for _ in 0..2 {
        let account = onboarded(&world, "bob").await;
        deauthorise(&world, &account).await;
        hear_all(&world).await;
    }
    ask(&world, "bob", None).await;
    // It was made, and its answer was lost; the old account is back, and goes again: another number, and the look finds what is there.
    world.stripe.fault(r#"{"route": "POST /v1/accounts", "fault": "lose_answer"}"#).await;
    while accounts(&world).await.is_empty() {
        assert!(world.step_of("create_account", None).await);
    }
    sqlx::query("UPDATE bursar.receiver SET deauthorisations = deauthorisations + 1")
        .execute(&world.db.pool)
        .await
        .unwrap();
    ask(&world, "bob", None).await;
    world.settle_down().await;
    let made = accounts(&world).await;
    assert_eq!(made.len(), 1, "{made:?}");
    assert_eq!(receiver(&world, "bob").await.0.as_deref(), made[0]["id"].as_str());
    assert!(dead(&world).await.is_empty());
}

#[tokio::test]
async fn an_account_is_not_replaced_while_a_payout_may_be_on_its_way_to_it() {
    let world = World::new().await;
    let old = onboarded(&world, "bob").await;
    world.stripe.fault(r#"{"route": "POST /v1/transfers", "fault": "lose_answer"}"#).await;
    world.verify("job_1", "bob").await;
    assert!(world.step_of("pay_receiver", None).await);
    assert_eq!(world.payout("job_1").await.0, "unknown");
    deauthorise(&world, &old).await;
    let gone = json!({"id": "evt_gone", "object": "event", "type": "account.application.deauthorized", "livemode": false,
                      "account": old, "data": {"object": {"id": "ca_1", "object": "application"}}});
    world.hear(&gone).await;
    assert!(world.step_of("check_account", None).await);

    let Begun::Stopped(why) = ask(&world, "bob", None).await else { panic!("begun") };
    assert!(why.contains("the payout for job_1 is unknown"), "{why}");
    // Nor by an account that somebody made elsewhere.
    let other = world.account("bob").await;
    world.account_updated(&other).await;
    assert!(world.step_of("check_account", None).await);
    assert_eq!(receiver(&world, "bob").await.0, Some(old));
    assert!(dead(&world).await[0].contains("cannot take the place of"), "{:?}", dead(&world).await);

    // Once it is known what became of it, another account is made.
    world.settle_down().await;
    world.is_paid_once("job_1").await;
    assert!(matches!(ask(&world, "bob", None).await, Begun::Asked(_)));
    world.settle_down().await;
    assert_eq!(receiver(&world, "bob").await.0, Some(other), "the one that is there is used, and no third is made");
    assert_eq!(accounts(&world).await.len(), 1);
}

#[tokio::test]
async fn an_account_that_cannot_be_reached_is_taken_for_gone_whoever_asks() {
    let world = World::new().await;
    let account = onboarded(&world, "bob").await;
    deauthorise(&world, &account).await;
    world.account_updated(&account).await;
    world.settle_down().await;
    assert_eq!(receiver(&world, "bob").await.1, "deauthorised");
    // It was a mistake, and is reached again: the same account, and what was held goes.
    world.verify("job_1", "bob").await;
    world.settle_down().await;
    assert_eq!(world.payout("job_1").await.0, "held");
    put(&world, &account, "active").await;
    world.account_updated(&account).await;
    world.settle_down().await;
    world.is_paid_once("job_1").await;
}

#[tokio::test]
async fn an_answer_to_an_earlier_question_does_not_take_an_account_away() {
    let world = World::new().await;
    let account = onboarded(&world, "bob").await;
    deauthorise(&world, &account).await;
    world.account_updated(&account).await;
    assert!(world.step_of("check_account", None).await);
    let sql = "UPDATE bursar.receiver SET state = 'active', active = true, asked_at = asked_at + interval '1 hour'";
    sqlx::query(sql).execute(&world.db.pool).await.unwrap();
    world.account_updated(&account).await;
    world.settle_down().await;
    assert_eq!(receiver(&world, "bob").await.1, "active", "a later answer stands");
}

#[tokio::test]
async fn a_link_to_an_account_that_is_gone_is_refused_and_the_next_request_makes_another() {
    let world = World::new().await;
    let old = onboarded(&world, "bob").await;
    deauthorise(&world, &old).await;
    ask(&world, "bob", Some("k")).await;
    world.settle_down().await;
    let sql = "SELECT reason FROM bursar.onboarding WHERE key = 'k' AND state = 'refused'";
    let reason: String = sqlx::query_scalar(sql).fetch_one(&world.db.pool).await.unwrap();
    assert!(reason.contains("refused a link"), "{reason}");
    assert_eq!(receiver(&world, "bob").await.1, "deauthorised");
    ask(&world, "bob", Some("k2")).await;
    world.settle_down().await;
    assert_ne!(receiver(&world, "bob").await.0, Some(old));
}

#[tokio::test]
async fn an_account_that_is_there_already_is_used_and_no_second_one_made() {
    let world = World::new().await;
    let account = world.account("bob").await;
    world.account_updated(&account).await;
    world.settle_down().await;
    ask(&world, "bob", None).await;
    world.settle_down().await;
    assert_eq!((accounts(&world).await.len(), receiver(&world, "bob").await.0), (1, Some(account)));

    // Or heard of while ours is asked for.
    ask(&world, "carol", None).await;
    let carols = world.account("carol").await;
    world.account_updated(&carols).await;
    assert!(world.step_of("check_account", None).await);
    world.settle_down().await;
    assert_eq!((accounts(&world).await.len(), receiver(&world, "carol").await.0), (2, Some(carols)));
    let open: i64 = sqlx::query_scalar("SELECT count(*) FROM bursar.onboarding WHERE state = 'open'")
        .fetch_one(&world.db.pool)
        .await
        .unwrap();
    assert_eq!((open, dead(&world).await.len()), (2, 0));
}

#[tokio::test]
async fn an_account_of_another_user_and_a_second_one_are_conflicts() {
    let world = World::new().await;
    let bobs = onboarded(&world, "bob").await;
    world.stripe.post(&format!("/v1/accounts/{bobs}"), "metadata[user_id]=mallory").await.id();
    world.account_updated(&bobs).await;
    world.settle_down().await;
    let second = world.account("bob").await;
    put(&world, &second, "active").await;
    world.account_updated(&second).await;
    world.settle_down().await;
    let dead = dead(&world).await;
    assert!(dead[0].contains(&format!("{bobs} belongs to bob, not to mallory")), "{dead:?}");
    assert!(dead[1].contains("bob is paid to another account"), "{dead:?}");
    assert_eq!(receiver(&world, "bob").await, (Some(bobs), "active".into()));
}

#[tokio::test]
async fn events_of_connected_accounts_count_and_those_that_say_nothing_are_told() {
    let world = World::new().await;
    let account = onboarded(&world, "bob").await;
    let event = |id: &str, kind: &str, account: Option<&str>, live: bool| {
        json!({"id": id, "object": "event", "type": kind, "livemode": live, "account": account,
               "data": {"object": {"id": "transfers", "object": "capability", "account": account}}})
    };
    put(&world, &account, "restricted").await;
    world.hear(&event("evt_live", "capability.updated", Some(&account), true)).await;
    world.settle_down().await;
    assert_eq!(receiver(&world, "bob").await.1, "active", "the other mode's");
    world.hear(&event("evt_cap", "capability.updated", Some(&account), false)).await;
    world.settle_down().await;
    assert_eq!(receiver(&world, "bob").await.1, "restricted");

    let gone = "account.application.deauthorized";
    world.hear(&event("evt_none", gone, None, false)).await;
    world.hear(&event("evt_else", gone, Some("acct_elsewhere"), false)).await;
    let nobodys = world.stripe.post("/v1/accounts", "type=express").await.id();
    world.hear(&event("evt_nobody", "capability.updated", Some(&nobodys), false)).await;
    let long = world.stripe.post("/v1/accounts", &format!("metadata[user_id]={}", "x".repeat(300))).await.id();
    world.hear(&event("evt_long", "capability.updated", Some(&long), false)).await;
    world.settle_down().await;
    for (id, state, words) in [
        ("evt_live", "done", "not ours: a live mode event"),
        ("evt_none", "done", "names no connected account"),
        ("evt_else", "done", "no receiver is paid to acct_elsewhere"),
        ("evt_nobody", "done", "names no user (metadata.user_id)"),
        ("evt_long", "dead", "255"),
    ] {
        let (seen, reason) = became(&world, id).await;
        assert!(seen == state && reason.contains(words), "{id}: {seen}: {reason}");
    }
    // An account that is known as theirs stays theirs, whatever its metadata lost.
    world.stripe.post(&format!("/v1/accounts/{account}"), "metadata[user_id]=").await.id();
    put(&world, &account, "active").await;
    hear_all(&world).await;
    assert_eq!(receiver(&world, "bob").await.1, "active");
}

#[tokio::test]
async fn the_sweep_asks_about_a_gone_account_for_a_day_and_then_no_more() {
    let world = World::new().await;
    let account = onboarded(&world, "bob").await;
    deauthorise(&world, &account).await;
    hear_all(&world).await;
    world.verify("job_1", "bob").await;
    world.settle_down().await;
    let asks = async || {
        let all = world.requests().await;
        all.iter().filter(|r| r["method"] == "GET" && r["path"].as_str().unwrap().contains(&account)).count()
    };
    let before = asks().await;
    assert!(bursar_jobs::payouts::release_held::is_due(&world.db.pool).await.unwrap());
    enqueue::enqueue(&world.db.pool, &[SweepHeld::of(clock::now())]).await.unwrap();
    world.settle_down().await;
    assert_eq!(asks().await, before + 1);

    let sql = "UPDATE bursar.receiver SET deauthorised_at = deauthorised_at - interval '2 days'";
    sqlx::query(sql).execute(&world.db.pool).await.unwrap();
    assert!(!bursar_jobs::payouts::release_held::is_due(&world.db.pool).await.unwrap());
    enqueue::enqueue(&world.db.pool, &[SweepHeld::of(clock::now() + chrono::TimeDelta::hours(2))]).await.unwrap();
    world.settle_down().await;
    assert_eq!(asks().await, before + 1);
}
