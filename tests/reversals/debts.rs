//! What a receiver has not is carried, and netted from later payouts.

use serde_json::{Value, json};

use super::{books_agree, made, paid, receiver_has, reverse, shown, tell_reversed};
use crate::payouts::world::World;

/// Bob was paid for a job, has spent it, and the job was refunded.
async fn in_debt(world: &World, job: &str, account: &str) {
    paid(world, job, "bob").await;
    receiver_has(world, account, 0).await;
    reverse(world, job, &[]).await;
    world.settle_down().await;
}

#[tokio::test]
async fn a_receiver_who_has_not_the_money_carries_the_debt_and_a_later_payout_settles_it() {
    let world = World::new().await;
    let account = world.receiver("bob").await;
    in_debt(&world, "job_1", &account).await;
    let (state, reason, _) = world.payout("job_1").await;
    assert_eq!(state, "reversed", "{reason}");
    assert_eq!(
        (reason.as_str(), world.owed_to("bob").await),
        ("1.00 USD of it is carried: later payouts settle it", -100)
    );
    assert_eq!((made(&world).await.len(), world.dead_jobs().await), (0, 0));
    books_agree(&world).await;

    // All of the next is netted: nothing leaves.
    let sent = world.sent().await;
    world.verify("job_2", "bob").await;
    world.settle_down().await;
    let (state, reason, transfer) = world.payout("job_2").await;
    assert_eq!((state.as_str(), transfer), ("paid", None), "{reason}");
    assert!(reason.contains("1.00 USD of it settles the debt carried by job_1"), "{reason}");
    assert_eq!((world.sent().await, world.owed_to("bob").await), (sent, 0));
    let page = shown(&world, "job_2").await;
    assert_eq!((&page["netted"], &page["transfer_amount"]), (&json!(100), &json!(0)));
    assert_eq!(page["nettings"], json!([{"amount": 100, "why": "settles the debt carried by job_1"}]));
    assert_eq!(shown(&world, "job_1").await["nettings"], json!([{"amount": 100, "why": "netted from job_2"}]));
    paid(&world, "job_3", "bob").await;
    books_agree(&world).await;
}

#[tokio::test]
async fn a_debt_is_netted_over_several_payouts_and_what_is_sent_is_less_by_it() {
    let world = World::new().await.on_terms(|terms| {
        terms.skills.insert("long".into(), "5".parse().unwrap());
    });
    let account = world.receiver("bob").await;
    // 2.50 USD are carried.
    let data = |job: &str| json!({"type": "job.verified", "timestamp": bursar_jobs::base::clock::now().to_rfc3339(), "data": {"job_id": job, "skill": "long", "receiver_id": "bob"}});
    world.tell("msg_long", &data("job_1")).await;
    world.settle_down().await;
    receiver_has(&world, &account, 0).await;
    reverse(&world, "job_1", &[]).await;
    world.settle_down().await;
    assert_eq!(world.owed_to("bob").await, -250);
    let mut amounts = Vec::new();
    for job in ["job_2", "job_3", "job_4", "job_5"] {
        world.verify(job, "bob").await;
        world.settle_down().await;
        assert_eq!(world.payout(job).await.0, "paid");
        let page = shown(&world, job).await;
        amounts.push((page["netted"].as_i64().unwrap(), page["transfer_amount"].as_i64().unwrap()));
        books_agree(&world).await;
    }
    assert_eq!(amounts, [(100, 0), (100, 0), (50, 50), (0, 100)]);
    let sent: Vec<Value> = world.transfers().await.iter().map(|t| t["amount"].clone()).collect();
    assert_eq!(json!(sent), json!([250, 50, 100]));
    assert_eq!(world.owed_to("bob").await, 0);

    // The one that was netted in part is refunded too: what it sent comes back, and what it had settled is carried anew.
    receiver_has(&world, &account, 1000).await;
    reverse(&world, "job_4", &[]).await;
    world.settle_down().await;
    let page = shown(&world, "job_4").await;
    assert_eq!((&page["state"], &page["returned"], &page["carried"]), (&json!("reversed"), &json!(50), &json!(50)));
    assert_eq!(world.owed_to("bob").await, -50);
    // And one that was netted whole: no request leaves for it.
    let asked = world.requests().await.len();
    reverse(&world, "job_2", &[]).await;
    assert_eq!((world.requests().await.len(), world.owed_to("bob").await), (asked, -150));
    books_agree(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_transfer_sends_is_fixed_with_its_intent_whatever_becomes_of_the_debt() {
    let world = World::new().await.on_terms(|terms| {
        terms.skills.insert("short".into(), "1".parse().unwrap());
    });
    let account = world.receiver("bob").await;
    let data = json!({"type": "job.verified", "timestamp": bursar_jobs::base::clock::now().to_rfc3339(), "data": {"job_id": "job_1", "skill": "short", "receiver_id": "bob"}});
    world.tell("msg_short", &data).await;
    world.settle_down().await;
    receiver_has(&world, &account, 0).await;
    reverse(&world, "job_1", &[]).await;
    world.settle_down().await;
    assert_eq!(world.owed_to("bob").await, -50);
    for (i, cut) in ["after_intent", "after_request", "before_settlement"].into_iter().enumerate() {
        let job = format!("job_cut_{i}");
        world.verify(&job, "bob").await;
        assert!(world.step_of("pay_receiver", Some(cut)).await);
        let fixed = shown(&world, &job).await["transfer_amount"].clone();
        assert_eq!(fixed, if i == 0 { 50 } else { 100 }, "{cut}");
        // A new debt comes up while the outcome is not known: it is the next one's.
        world.settle_down().await;
        world.is_paid_once(&job).await;
        assert_eq!(shown(&world, &job).await["transfer_amount"], fixed);
    }
    // Refused, held again, and released: the amount stands, and so does what was netted.
    receiver_has(&world, &account, 0).await;
    reverse(&world, "job_cut_1", &[]).await;
    world.settle_down().await;
    assert_eq!(world.owed_to("bob").await, -100);
    world.stripe.fault(r#"{"route": "POST /v1/transfers", "fault": "capability_inactive"}"#).await;
    let data = |job: &str| json!({"type": "job.verified", "timestamp": bursar_jobs::base::clock::now().to_rfc3339(), "data": {"job_id": job, "skill": "long", "receiver_id": "bob"}});
    let world = world.on_terms(|terms| {
        terms.skills.insert("long".into(), "5".parse().unwrap());
    });
    world.tell("msg_long", &data("job_long")).await;
    assert!(world.step_of("record_payout", None).await && world.step_of("pay_receiver", None).await);
    let page = shown(&world, "job_long").await;
    assert_eq!((&page["state"], &page["transfer_amount"], &page["netted"]), (&json!("held"), &json!(150), &json!(100)));
    books_agree(&world).await;
    world.settle_down().await;
    let page = shown(&world, "job_long").await;
    assert_eq!((&page["state"], &page["transfer_amount"], &page["netted"]), (&json!("paid"), &json!(150), &json!(100)));
    assert_eq!(world.owed_to("bob").await, 0);
    books_agree(&world).await;
}

#[tokio::test]
async fn a_held_payout_that_was_netted_and_is_reversed_carries_what_it_had_settled() {
    let world = World::new().await.on_terms(|terms| {
        terms.skills.insert("long".into(), "5".parse().unwrap());
    });
    let account = world.receiver("bob").await;
    in_debt(&world, "job_1", &account).await;
    world.stripe.fault(r#"{"route": "POST /v1/transfers", "fault": "capability_inactive"}"#).await;
    let data = json!({"type": "job.verified", "timestamp": bursar_jobs::base::clock::now().to_rfc3339(), "data": {"job_id": "job_2", "skill": "long", "receiver_id": "bob"}});
    world.tell("msg_2", &data).await;
    assert!(world.step_of("record_payout", None).await && world.step_of("pay_receiver", None).await);
    assert_eq!((world.payout("job_2").await.0.as_str(), world.owed_to("bob").await), ("held", 150));
    reverse(&world, "job_2", &[]).await;
    assert_eq!((world.payout("job_2").await.0.as_str(), world.owed_to("bob").await), ("reversed", -100));
    books_agree(&world).await;
    world.settle_down().await;
    assert_eq!(world.payout("job_2").await.0, "reversed");
    books_agree(&world).await;
}

#[tokio::test]
async fn a_debt_in_one_currency_is_not_settled_in_another() {
    let world = World::new().await.on_terms(|terms| {
        terms.skills.insert("essay".into(), "2".parse().unwrap());
        let rate = bursar_jobs::terms::SkillRate { minor_units_per_credit: 40, currency: "eur".into() };
        terms.payout.skills.insert("essay".into(), rate);
    });
    let account = world.receiver("bob").await;
    in_debt(&world, "job_1", &account).await;
    let data = json!({"type": "job.verified", "timestamp": bursar_jobs::base::clock::now().to_rfc3339(), "data": {"job_id": "job_eur", "skill": "essay", "receiver_id": "bob"}});
    world.tell("msg_eur", &data).await;
    world.settle_down().await;
    let page = shown(&world, "job_eur").await;
    assert_eq!(
        (&page["state"], &page["transfer_amount"], &page["currency"]),
        (&json!("paid"), &json!(80), &json!("eur"))
    );
    assert_eq!(world.payout("job_1").await.0, "reversed");
    assert!(world.bursar(&["ledger", "verify"]).status.success());
}

#[tokio::test]
async fn a_carried_debt_that_comes_back_after_all_is_settled_by_that() {
    let world = World::new().await;
    let account = world.receiver("bob").await;
    in_debt(&world, "job_1", &account).await;
    let (_, _, transfer) = world.payout("job_1").await;
    let transfer = transfer.unwrap();
    receiver_has(&world, &account, 500).await;
    world.stripe.keyed("by hand", &format!("/v1/transfers/{transfer}/reversals"), "").await.unwrap();
    tell_reversed(&world, "evt_1", &transfer).await;
    world.settle_down().await;
    assert_eq!((world.payout("job_1").await.0.as_str(), world.owed_to("bob").await), ("reversed", 0));
    books_agree(&world).await;
    paid(&world, "job_2", "bob").await;
    assert_eq!(shown(&world, "job_2").await["netted"], 0);
    books_agree(&world).await;
}

#[tokio::test]
async fn a_reversal_that_is_put_off_carries_nothing() {
    let world = World::new().await;
    world.receiver("bob").await;
    paid(&world, "job_1", "bob").await;
    world.stripe.fault(r#"{"route": "POST /v1/transfers/{id}/reversals", "fault": "limit_429", "times": 3}"#).await;
    reverse(&world, "job_1", &[]).await;
    world.settle_down().await;
    assert_eq!((world.payout("job_1").await.0.as_str(), made(&world).await.len()), ("reversed", 1));
    assert_eq!(world.owed_to("bob").await, 0);
    books_agree(&world).await;
}
