//! What holds a payout: a minimum, and caps of a day; and what each skill is paid.

use std::{sync::Arc, time::Duration};

use bursar_jobs::{
    engine::context::Context,
    payouts::release_held::{self, SweepHeld},
    terms::{Limits, SkillRate, Terms},
};
use serde_json::{Value, json};

use crate::{payouts::world::World, support::eventually};

/// A world with these limits in US cents.
async fn limited(limits: Limits) -> World {
    World::new().await.on_terms(|terms| limit(terms, limits))
}

fn limit(terms: &mut Terms, limits: Limits) {
    terms.payout.limits.insert("usd".into(), limits);
    terms.skills.insert("short".into(), "1".parse().unwrap());
}

async fn verify_skill(world: &World, job: &str, skill: &str) {
    let event = json!({"type": "job.verified", "data": {"job_id": job, "skill": skill, "receiver_id": "bob"}});
    world.tell(&format!("msg_{job}"), &event).await;
}

async fn states(world: &World) -> Vec<(String, String)> {
    sqlx::query_as("SELECT job_id, state FROM bursar.payout ORDER BY job_id").fetch_all(&world.db.pool).await.unwrap()
}

async fn sent_in_all(world: &World) -> i64 {
    world.transfers().await.iter().map(|t| t["amount"].as_i64().unwrap()).sum()
}

async fn told(world: &World) -> Vec<Value> {
    let rows: Vec<(Value,)> =
        sqlx::query_as("SELECT convert_from(job, 'utf8')::jsonb FROM apalis.jobs WHERE job_type = 'notify_team' ORDER BY idempotency_key")
            .fetch_all(&world.db.pool)
            .await
            .unwrap();
    rows.into_iter().map(|(args,)| args).collect()
}

#[tokio::test]
async fn below_the_minimum_payouts_are_held_and_once_it_is_reached_all_of_them_go() {
    let world = limited(Limits { minimum: 200, ..Limits::default() }).await;
    world.receiver("bob").await;
    for job in ["job_1", "job_2"] {
        verify_skill(&world, job, if job == "job_1" { "research" } else { "short" }).await;
        world.settle_down().await;
    }
    assert_eq!(world.payout("job_1").await.1, "1.00 USD is missing to the minimum of 2.00 USD");
    assert_eq!(world.payout("job_2").await.1, "0.50 USD is missing to the minimum of 2.00 USD");
    assert_eq!(world.transfers().await.len(), 0);
    // Neither the sweep nor news of the account lets them go.
    assert!(release_held::is_due(&world.db.pool).await.unwrap());
    bursar_jobs::engine::enqueue::enqueue(&world.db.pool, &[SweepHeld::of(bursar_jobs::base::clock::now())])
        .await
        .unwrap();
    let account: String =
        sqlx::query_scalar("SELECT account_id FROM bursar.receiver").fetch_one(&world.db.pool).await.unwrap();
    world.account_updated(&account).await;
    world.settle_down().await;
    assert_eq!(world.transfers().await.len(), 0);

    verify_skill(&world, "job_3", "short").await;
    world.settle_down().await;
    assert!(states(&world).await.iter().all(|(_, state)| state == "paid"), "{:?}", states(&world).await);
    assert_eq!((world.transfers().await.len(), sent_in_all(&world).await), (3, 200));
    // It begins again.
    verify_skill(&world, "job_4", "research").await;
    world.settle_down().await;
    assert_eq!(world.payout("job_4").await.0, "held");
    // An operator's word lets one pass.
    assert!(world.bursar(&["payouts", "release", "job_4"]).status.success());
    world.settle_down().await;
    world.is_paid_once("job_4").await;
    assert!(world.bursar(&["ledger", "verify"]).status.success());
}

#[tokio::test]
async fn a_minimum_that_is_lowered_is_seen_by_the_sweep() {
    let world = limited(Limits { minimum: 200, ..Limits::default() }).await;
    world.receiver("bob").await;
    world.verify("job_1", "bob").await;
    world.settle_down().await;
    assert_eq!(world.payout("job_1").await.0, "held");
    let world = world.on_terms(|terms| limit(terms, Limits { minimum: 100, ..Limits::default() }));
    bursar_jobs::engine::enqueue::enqueue(&world.db.pool, &[SweepHeld::of(bursar_jobs::base::clock::now())])
        .await
        .unwrap();
    world.settle_down().await;
    world.is_paid_once("job_1").await;
}

#[tokio::test]
async fn what_is_held_for_want_of_an_account_counts_for_the_minimum() {
    let world = limited(Limits { minimum: 200, ..Limits::default() }).await;
    for job in ["job_1", "job_2"] {
        world.verify(job, "bob").await;
        world.settle_down().await;
    }
    world.receiver("bob").await;
    world.settle_down().await;
    for job in ["job_1", "job_2"] {
        world.is_paid_once(job).await;
    }
}

#[tokio::test]
async fn a_receivers_cap_holds_what_exceeds_it_until_an_operator_releases_that_one() {
    let world = limited(Limits { daily_cap_per_receiver: Some(200), ..Limits::default() }).await;
    world.receiver("bob").await;
    world.receiver("carol").await;
    for job in ["job_1", "job_2", "job_3", "job_4"] {
        world.verify(job, "bob").await;
        world.settle_down().await;
    }
    world.verify("job_5", "carol").await;
    world.settle_down().await;
    world.is_paid_once("job_5").await;
    let (state, reason, _) = world.payout("job_3").await;
    assert_eq!(state, "held");
    assert!(
        reason.starts_with("beyond the cap of 2.00 USD a day to bob: 2.00 USD left on ")
            && reason.contains("bursar payouts release job_3"),
        "{reason}"
    );
    let told = told(&world).await;
    assert_eq!(told.len(), 1, "once for each receiver and day: {told:?}");
    assert_eq!((&told[0]["type"], &told[0]["data"]["job_id"]), (&json!("payout.capped"), &json!("job_3")));
    // Neither the sweep nor news of the account lets them go.
    assert!(!release_held::is_due(&world.db.pool).await.unwrap());
    bursar_jobs::engine::enqueue::enqueue(&world.db.pool, &[SweepHeld::of(bursar_jobs::base::clock::now())])
        .await
        .unwrap();
    let account: String = sqlx::query_scalar("SELECT account_id FROM bursar.receiver WHERE user_id = 'bob'")
        .fetch_one(&world.db.pool)
        .await
        .unwrap();
    world.account_updated(&account).await;
    world.settle_down().await;
    assert_eq!(world.payout("job_3").await.0, "held");

    assert!(world.bursar(&["payouts", "release", "job_3"]).status.success());
    world.settle_down().await;
    world.is_paid_once("job_3").await;
    assert_eq!(world.payout("job_4").await.0, "held", "one that was released is one");
    let acts: Vec<(String, String, Value)> =
        sqlx::query_as("SELECT what, subject, before FROM bursar.audit").fetch_all(&world.db.pool).await.unwrap();
    assert_eq!(acts.len(), 1);
    assert_eq!(
        (acts[0].0.as_str(), acts[0].1.as_str(), &acts[0].2["held_by"]),
        ("payouts.release", "job_3", &json!("cap"))
    );

    // The next day is another; what tripped stays for the operator.
    sqlx::query("UPDATE bursar.payout SET sent_on = sent_on - 1").execute(&world.db.pool).await.unwrap();
    world.verify("job_6", "bob").await;
    world.settle_down().await;
    world.is_paid_once("job_6").await;
    assert_eq!(world.payout("job_4").await.0, "held");
    assert!(world.bursar(&["ledger", "verify"]).status.success());
}

#[tokio::test]
async fn what_is_under_way_is_never_stopped_by_a_cap() {
    let world = World::new().await;
    world.receiver("bob").await;
    world.stripe.fault(r#"{"route": "POST /v1/transfers", "fault": "lose_answer"}"#).await;
    world.verify("job_1", "bob").await;
    world.step_of("pay_receiver", None).await;
    assert_eq!(world.payout("job_1").await.0, "unknown");
    let world = world
        .on_terms(|terms| limit(terms, Limits { daily_cap: Some(0), daily_cap_per_receiver: Some(0), minimum: 1000 }));
    world.settle_down().await;
    world.is_paid_once("job_1").await;
}

/// Performs what there is on several hands at once.
async fn work_off(world: &Arc<World>, hands: usize) {
    // The test's claim pulls every job's time forward, which two cannot do at once.
    let claims = Arc::new(tokio::sync::Mutex::new(()));
    let works: Vec<_> = (0..hands)
        .map(|_| {
            let (world, claims) = (Arc::clone(world), Arc::clone(&claims));
            tokio::spawn(async move {
                let performer = world.performer("pay_receiver");
                let context: Context = world.context();
                loop {
                    let batch = {
                        let _alone = claims.lock().await;
                        world.claim("pay_receiver").await
                    };
                    let Some(batch) = batch else { break };
                    (performer.perform)(&context, &batch).await.unwrap();
                }
            })
        })
        .collect();
    for work in works {
        work.await.unwrap();
    }
    world.settle_down().await;
}

async fn fifty(world: &World, receivers: usize) {
    for i in 0..receivers {
        world.receiver(&format!("user_{i}")).await;
    }
    for i in 0..50 {
        world.verify(&format!("job_{i:02}"), &format!("user_{}", i % receivers)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_payouts_on_two_hands_come_to_exactly_the_cap_of_a_day() {
    let world = Arc::new(limited(Limits { daily_cap: Some(2050), ..Limits::default() }).await);
    fifty(&world, 5).await;
    work_off(&world, 2).await;
    assert_eq!((world.transfers().await.len(), sent_in_all(&world).await), (20, 2000));
    let held = states(&world).await.into_iter().filter(|(_, state)| state == "held").count();
    assert_eq!(held, 30);
    assert!(told(&world).await.len() <= 5);
    assert!(world.bursar(&["ledger", "verify"]).status.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_receivers_at_one_moment_do_not_pass_a_cap_together() {
    let world = Arc::new(limited(Limits { daily_cap: Some(150), ..Limits::default() }).await);
    let mut batches = Vec::new();
    for (job, receiver) in [("job_1", "bob"), ("job_2", "carol")] {
        world.receiver(receiver).await;
        world.verify(job, receiver).await;
        batches.push(world.claim("pay_receiver").await.unwrap());
    }
    // Nobody can commit an intent: both have decided as far as they can before either has.
    let mut gate = world.db.pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE bursar.intent IN SHARE MODE").execute(&mut *gate).await.unwrap();
    let works: Vec<_> = batches
        .into_iter()
        .map(|batch| {
            let (performer, context) = (world.performer("pay_receiver"), world.context());
            tokio::spawn(async move { (performer.perform)(&context, &batch).await.unwrap() })
        })
        .collect();
    eventually(Duration::from_secs(20), || async {
        let waiting: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
             WHERE NOT l.granted AND d.datname = current_database()",
        )
        .fetch_one(&world.db.pool)
        .await
        .unwrap();
        if waiting == 2 { Ok(()) } else { Err(format!("{waiting} wait")) }
    })
    .await;
    gate.rollback().await.unwrap();
    for work in works {
        work.await.unwrap();
    }
    world.settle_down().await;
    assert_eq!((world.transfers().await.len(), sent_in_all(&world).await), (1, 100));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_payouts_on_two_hands_come_to_exactly_each_receivers_cap() {
    let world = Arc::new(limited(Limits { daily_cap_per_receiver: Some(700), ..Limits::default() }).await);
    fifty(&world, 2).await;
    work_off(&world, 2).await;
    assert_eq!((world.transfers().await.len(), sent_in_all(&world).await), (14, 1400));
    assert_eq!(told(&world).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minimum_is_reached_once_however_many_hands_reach_it() {
    let world = Arc::new(limited(Limits { minimum: 2500, ..Limits::default() }).await);
    fifty(&world, 2).await;
    work_off(&world, 2).await;
    assert_eq!((world.transfers().await.len(), sent_in_all(&world).await), (50, 5000));
}

#[tokio::test]
async fn each_skill_is_paid_at_its_own_rate_and_in_its_own_currency() {
    let world = World::new().await.on_terms(|terms| {
        for (skill, cost, per, currency) in
            [("essay", "0.5", 30, "eur"), ("third", "0.333333", 50, "usd"), ("short", "1", 70, "usd")]
        {
            terms.skills.insert(skill.into(), cost.parse().unwrap());
            terms
                .payout
                .skills
                .insert(skill.into(), SkillRate { minor_units_per_credit: per, currency: currency.into() });
        }
        terms.payout.limits.insert("eur".into(), Limits { minimum: 10, ..Limits::default() });
    });
    world.receiver("bob").await;
    for skill in ["essay", "third", "short", "research", "unpriced"] {
        verify_skill(&world, &format!("job_{skill}"), skill).await;
    }
    world.settle_down().await;
    let mut moved: Vec<(String, i64)> = world
        .transfers()
        .await
        .iter()
        .map(|t| (t["currency"].as_str().unwrap().to_owned(), t["amount"].as_i64().unwrap()))
        .collect();
    moved.sort();
    assert_eq!(moved, [("eur".to_owned(), 15), ("usd".to_owned(), 70), ("usd".to_owned(), 100)]);
    let dead: Vec<String> = sqlx::query_scalar("SELECT reason FROM bursar.job WHERE state = 'dead' ORDER BY reason")
        .fetch_all(&world.db.pool)
        .await
        .unwrap();
    assert_eq!(dead.len(), 2, "{dead:?}");
    assert!(dead[0].starts_with("0.333333 credits at 50 a credit is no whole, positive amount"), "{dead:?}");
    assert!(dead[1].starts_with("the skill \"unpriced\" has no price"), "{dead:?}");
    assert!(world.bursar(&["ledger", "verify"]).status.success());
}

#[tokio::test]
async fn what_a_cap_held_goes_at_the_operators_first_word_whatever_the_minimum() {
    let limits = Limits { minimum: 200, daily_cap_per_receiver: Some(200), ..Limits::default() };
    let world = limited(limits).await;
    world.receiver("bob").await;
    for job in ["job_1", "job_2", "job_3", "job_4"] {
        world.verify(job, "bob").await;
        world.settle_down().await;
    }
    assert_eq!(sent_in_all(&world).await, 200);
    let (state, reason, _) = world.payout("job_4").await;
    assert!(state == "held" && reason.contains("beyond the cap"), "{state}: {reason}");
    assert!(world.bursar(&["payouts", "release", "job_4"]).status.success());
    world.settle_down().await;
    world.is_paid_once("job_4").await;
}
