//! Metered use: every spend is in one report, and every report at Stripe once.

mod operator;

use std::collections::BTreeMap;

use bursar_jobs::{
    base::credits::Credits,
    ledger::Spent,
    usage::meters::{self, Meter, MeterValue},
};
use serde_json::json;

use crate::clawbacks::world::World;

/// A world in which `research` is metered by its count and `drawing` by its credits, and alice is a customer with credits.
async fn metered() -> World {
    let world = World::new().await;
    let meter = |skill: &str, value| Meter { skill: skill.into(), event_name: format!("{skill}_used"), value };
    meters::declare(&world.db.pool, &[meter("research", MeterValue::Count), meter("drawing", MeterValue::Credits)])
        .await
        .unwrap();
    world.jump("1h 10m").await;
    customer(&world, "alice").await;
    world
}

async fn rich(world: &World, user: &str) {
    sqlx::query("INSERT INTO bursar.account (name, unit, derived, balance) VALUES ('user:' || $1, 'credits', false, 1000000000) ON CONFLICT DO NOTHING")
        .bind(user)
        .execute(&world.db.pool)
        .await
        .unwrap();
}

async fn customer(world: &World, user: &str) {
    rich(world, user).await;
    sqlx::query("INSERT INTO bursar.customer (id, user_id) VALUES ('cus_' || md5($1), $1)")
        .bind(user)
        .execute(&world.db.pool)
        .await
        .unwrap();
}

async fn spend(world: &World, user: &str, skill: &str, micros: i64, key: &str) {
    let spent =
        meters::spend_skill(&world.db.pool, user, skill, Credits::from_micros(micros), key, None).await.unwrap();
    assert!(matches!(spent, Spent::Done { .. }), "{spent:?}");
}

/// Sums what there is and sends it.
async fn sum(world: &World) {
    sqlx::query("SELECT bursar.enqueue(jsonb_build_array(jsonb_build_object('kind', 'sum_usage', 'key', gen_random_uuid(), 'args', '{}'::jsonb, 'max_attempts', 3)))")
        .execute(&world.db.pool)
        .await
        .unwrap();
    world.run_due().await;
}

/// What Stripe has: user, skill and number of the identifier without its hour, and the value.
fn reported(world: &World) -> BTreeMap<String, String> {
    let state = world.stub.state.lock().unwrap();
    let value = |event: &serde_json::Value| event["payload"]["value"].as_str().unwrap().to_owned();
    let short = |identifier: &str| {
        let parts: Vec<&str> = identifier.split(':').collect();
        parts.iter().enumerate().filter(|(i, _)| *i != 3).map(|(_, part)| *part).collect::<Vec<_>>().join(":")
    };
    state.meter_events.iter().map(|(identifier, event)| (short(identifier), value(event))).collect()
}

fn pairs(rows: &[(&str, &str)]) -> BTreeMap<String, String> {
    rows.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test]
async fn an_hour_is_one_report_for_each_user_and_skill_and_a_repetition_changes_nothing() {
    let world = metered().await;
    customer(&world, "bob").await;
    spend(&world, "alice", "research", 2_000_000, "1").await;
    spend(&world, "alice", "research", 2_000_000, "2").await;
    spend(&world, "alice", "drawing", 1_500_000, "3").await;
    spend(&world, "alice", "drawing", 2_000_000, "4").await;
    spend(&world, "bob", "research", 2_000_000, "1").await;
    spend(&world, "bob", "research", 2_000_000, "1").await;
    spend(&world, "alice", "unmetered", 2_000_000, "5").await;
    sum(&world).await;
    assert!(reported(&world).is_empty(), "the hour has not ended");
    world.jump("1h 5m").await;
    for _ in 0..3 {
        sum(&world).await;
    }
    let all = [("usage:alice:research", "2"), ("usage:alice:drawing", "3"), ("usage:bob:research", "1")];
    assert_eq!(reported(&world), pairs(&all));
    let state = world.stub.state.lock().unwrap();
    let (identifier, event) = state.meter_events.iter().find(|(id, _)| id.contains("bob")).unwrap();
    let hour = identifier.rsplit(':').next().unwrap();
    let end = chrono::DateTime::from_timestamp(event["timestamp"].as_i64().unwrap(), 0).unwrap();
    assert_eq!(end.format("%Y-%m-%dT%HZ %M:%S").to_string(), format!("{hour} 59:59"));
    assert_eq!(event["event_name"], json!("research_used"));
}

#[tokio::test]
async fn fractions_of_a_credit_are_reported_once_they_are_whole() {
    let world = metered().await;
    for hour in 0..4 {
        for spent in 0..2 {
            spend(&world, "alice", "drawing", 300_000, &format!("{hour}:{spent}")).await;
        }
        world.jump("1h 5m").await;
        sum(&world).await;
    }
    let state = world.stub.state.lock().unwrap();
    let mut values: Vec<&str> =
        state.meter_events.values().map(|event| event["payload"]["value"].as_str().unwrap()).collect();
    values.sort_unstable();
    // 0.6, 1.2, 1.8, 2.4.
    assert_eq!(values, ["1", "1"]);
}

#[tokio::test]
async fn a_spend_that_commits_after_its_hour_was_summed_is_in_the_next_report() {
    let world = metered().await;
    spend(&world, "alice", "research", 2_000_000, "1").await;
    // An application's transaction, which holds bob's account and thinks.
    customer(&world, "bob").await;
    spend(&world, "bob", "research", 2_000_000, "1").await;
    let mut tx = world.db.pool.begin().await.unwrap();
    sqlx::query("SELECT * FROM bursar.spend_skill('bob', 'research', 2, 'late')").execute(&mut *tx).await.unwrap();
    world.jump("1h 5m").await;
    sum(&world).await;
    assert_eq!(reported(&world), pairs(&[("usage:alice:research", "1"), ("usage:bob:research", "1")]));
    tx.commit().await.unwrap();
    sum(&world).await;
    sum(&world).await;
    let all = [("usage:alice:research", "1"), ("usage:bob:research", "1"), ("usage:bob:research:2", "1")];
    assert_eq!(reported(&world), pairs(&all), "its own identifier, and its own hour");
}

#[tokio::test]
async fn nothing_is_lost_or_doubled_while_spending_and_summing_go_on_at_once() {
    let world = metered().await;
    let users: Vec<String> = (0..4).map(|i| format!("user_{i}")).collect();
    for user in &users {
        customer(&world, user).await;
    }
    let spending = async {
        for i in 0..40 {
            let spends = users.iter().map(|user| {
                let (pool, key) = (world.db.pool.clone(), i.to_string());
                let user = user.clone();
                tokio::spawn(async move {
                    meters::spend_skill(&pool, &user, "research", Credits::from_micros(1_000_000), &key, None)
                        .await
                        .unwrap()
                })
            });
            for one in spends.collect::<Vec<_>>() {
                assert!(matches!(one.await.unwrap(), Spent::Done { .. }));
            }
        }
    };
    // The hour is over for the sums long before it is for the spends.
    let summing = async || {
        for _ in 0..40 {
            sqlx::query("SELECT * FROM bursar.sum_usage(bursar.now() + interval '2 hours')")
                .execute(&world.db.pool)
                .await
                .unwrap();
        }
    };
    tokio::join!(spending, summing(), summing());
    summing().await;
    let (spends, reports, in_one): (i64, i64, i64) = sqlx::query_as(
        "SELECT (SELECT sum(spends) FROM bursar.usage_report)::bigint, (SELECT count(*) FROM bursar.usage_report),
                (SELECT count(*) FROM bursar.metered_spend WHERE report IS NOT NULL)",
    )
    .fetch_one(&world.db.pool)
    .await
    .unwrap();
    assert_eq!((spends, in_one), (160, 160), "over {reports} reports");
}

#[tokio::test]
async fn a_worker_that_dies_anywhere_around_a_report_leaves_it_counted_once() {
    for point in ["before_intent", "after_intent", "after_request", "before_settlement"] {
        let world = metered().await;
        spend(&world, "alice", "research", 2_000_000, "1").await;
        world.jump("1h 5m").await;
        sqlx::query(
            "SELECT bursar.enqueue('[{\"kind\": \"sum_usage\", \"key\": \"k\", \"args\": {}, \"max_attempts\": 3}]')",
        )
        .execute(&world.db.pool)
        .await
        .unwrap();
        assert!(world.step_of("sum_usage", None).await);
        assert!(world.step_of("report_usage", Some(point)).await);
        world.settle_down().await;
        assert_eq!(reported(&world), pairs(&[("usage:alice:research", "1")]), "{point}");
        let keys: std::collections::HashSet<String> = world
            .stub
            .asked("POST /v1/billing/meter_events")
            .iter()
            .map(|one| one.headers["idempotency-key"].clone())
            .collect();
        assert_eq!(keys.len(), 1, "{point}: one key, however often it was sent");
        let states: Vec<String> =
            sqlx::query_scalar("SELECT state FROM bursar.usage_report").fetch_all(&world.db.pool).await.unwrap();
        assert_eq!(states, ["sent"], "{point}");
    }
}

#[tokio::test]
async fn a_user_who_is_no_customer_yet_is_reported_once_one() {
    let world = metered().await;
    rich(&world, "carol").await;
    spend(&world, "carol", "research", 2_000_000, "1").await;
    world.jump("1h 5m").await;
    sum(&world).await;
    assert!(reported(&world).is_empty());
    customer(&world, "carol").await;
    world.settle_down().await;
    assert_eq!(reported(&world), pairs(&[("usage:carol:research", "1")]));
}

#[tokio::test]
async fn use_is_reported_for_the_customer_that_took_the_place_of_a_deleted_one() {
    let world = metered().await;
    spend(&world, "alice", "research", 2_000_000, "1").await;
    let sql = "UPDATE bursar.customer SET gone_at = bursar.now() WHERE user_id = 'alice';
               INSERT INTO bursar.customer (id, user_id) VALUES ('cus_new', 'alice')";
    sqlx::raw_sql(sql).execute(&world.db.pool).await.unwrap();
    world.jump("1h 5m").await;
    sum(&world).await;
    let told = format!("{:?}", world.stub.state.lock().unwrap().meter_events);
    assert!(told.contains("cus_new"), "{told}");
}

#[tokio::test]
async fn use_that_was_returned_in_time_is_not_reported() {
    let world = metered().await;
    let spent =
        meters::spend_skill(&world.db.pool, "alice", "research", Credits::from_micros(2_000_000), "1", Some("job_1"))
            .await
            .unwrap();
    assert!(matches!(spent, Spent::Done { .. }));
    let rejected = json!({"type": "job.rejected", "timestamp": "2026-11-01T09:45:00Z", "data": {"job_id": "job_1", "sender_id": "alice"}});
    let body = serde_json::to_vec(&rejected).unwrap();
    let envelope = bursar_jobs::inbox::envelope::Envelope::verification("msg_1", &body).unwrap();
    bursar_jobs::inbox::receive(&world.db.pool, &envelope, &body).await.unwrap();
    world.settle_down().await;
    world.jump("1h 5m").await;
    sum(&world).await;
    assert!(reported(&world).is_empty());
}

#[tokio::test]
async fn names_of_any_length_and_with_colons_have_identifiers_of_their_own_that_fit() {
    let world = metered().await;
    let long = "x".repeat(255);
    let users = ["a:b".to_owned(), "a%3Ab".to_owned(), "é ".to_owned(), long.clone(), format!("{}y", &long[1..])];
    for user in &users {
        customer(&world, user).await;
        spend(&world, user, "research", 2_000_000, "1").await;
    }
    world.jump("1h 5m").await;
    sum(&world).await;
    let state = world.stub.state.lock().unwrap();
    assert_eq!(state.meter_events.len(), users.len());
    assert!(state.meter_events.keys().all(|id| id.len() <= 100 && id.is_ascii()), "{:?}", state.meter_events.keys());
}

#[tokio::test]
async fn the_sandbox_counts_what_was_used() {
    let stripe = crate::sandbox::client::Client::start().await;
    let world = World::against(&stripe.0.url, &stripe.0.key).await;
    let meter = Meter { skill: "research".into(), event_name: "research_used".into(), value: MeterValue::Count };
    meters::declare(&world.db.pool, &[meter]).await.unwrap();
    let form = "display_name=Research&event_name=research_used&default_aggregation[formula]=sum";
    let made = stripe.post("/v1/billing/meters", form).await.id();
    let of = stripe.post("/v1/customers", "metadata[user_id]=alice").await.id();
    rich(&world, "alice").await;
    sqlx::query("INSERT INTO bursar.customer (id, user_id) VALUES ($1, 'alice')")
        .bind(&of)
        .execute(&world.db.pool)
        .await
        .unwrap();
    for key in ["1", "2", "3"] {
        spend(&world, "alice", "research", 2_000_000, key).await;
    }
    world.jump("1h 5m").await;
    stripe.send("POST", "/_sandbox/advance", r#"{"seconds": 7200}"#, &[]).await.unwrap();
    for _ in 0..2 {
        sum(&world).await;
    }
    assert!(world.dead().await.is_empty(), "{:?}", world.dead().await);
    let (hour, now): (i64, i64) = sqlx::query_as(
        "SELECT extract(epoch FROM hour)::bigint, extract(epoch FROM date_trunc('hour', bursar.now()))::bigint FROM bursar.usage_report",
    )
    .fetch_one(&world.db.pool)
    .await
    .unwrap();
    let summary = format!("/v1/billing/meters/{made}/event_summaries?customer={of}&start_time={hour}&end_time={now}");
    let summary = stripe.get(&summary).await.body;
    assert_eq!(summary["data"][0]["aggregated_value"].as_f64(), Some(3.0), "{summary}");
}

#[tokio::test]
async fn what_stripe_will_not_take_and_what_nobody_can_know_is_an_operators_matter() {
    let world = metered().await;
    spend(&world, "alice", "research", 2_000_000, "1").await;
    world.jump("36d 0h 5m").await;
    sum(&world).await;
    let dead = world.dead().await;
    assert!(dead.len() == 1 && dead[0].contains("older than 35 days"), "{dead:?}");

    let world = metered().await;
    spend(&world, "alice", "research", 2_000_000, "1").await;
    world.jump("1h 5m").await;
    sqlx::query(
        "SELECT bursar.enqueue('[{\"kind\": \"sum_usage\", \"key\": \"k\", \"args\": {}, \"max_attempts\": 3}]')",
    )
    .execute(&world.db.pool)
    .await
    .unwrap();
    assert!(world.step_of("sum_usage", None).await);
    assert!(world.step_of("report_usage", Some("after_request")).await);
    // A day later the key may be forgotten.
    world.jump("25h 5m").await;
    world.settle_down().await;
    let dead = world.dead().await;
    assert!(dead.len() == 1 && dead[0].contains("no list of meter events"), "{dead:?}");
    assert_eq!(world.stub.asked("POST /v1/billing/meter_events").len(), 1, "never sent again on a guess");
}

#[tokio::test]
async fn a_worker_that_is_killed_around_a_report_is_succeeded_by_one_that_counts_it_once() {
    for point in ["after_intent", "after_request"] {
        let world = metered().await;
        spend(&world, "alice", "research", 2_000_000, "1").await;
        world.jump("1h 5m").await;
        sqlx::query(
            "SELECT bursar.enqueue('[{\"kind\": \"sum_usage\", \"key\": \"k\", \"args\": {}, \"max_attempts\": 3}]')",
        )
        .execute(&world.db.pool)
        .await
        .unwrap();
        world.killed_at(point, "SELECT count(*) = 1 FROM bursar.usage_report WHERE state = 'sent'").await;
        assert_eq!(reported(&world), pairs(&[("usage:alice:research", "1")]), "{point}");
        let keys: std::collections::HashSet<String> = world
            .stub
            .asked("POST /v1/billing/meter_events")
            .iter()
            .map(|one| one.headers["idempotency-key"].clone())
            .collect();
        assert_eq!(keys.len(), 1, "{point}");
    }
}
