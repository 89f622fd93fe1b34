//! Moves: an operator moves a subscription to another price.

use serde_json::json;

use super::world::*;

async fn known(sub: &Sub) -> World {
    let world = World::new(terms()).await;
    world.has(sub);
    world.now("2027-04-01").await;
    world.play(&[sub.paid("evt_1", false)]).await;
    world
}

fn sub() -> Sub {
    Sub::new("price_starter", "2027-04-01", "2027-05-01")
}

#[tokio::test]
async fn a_move_at_renewal_makes_a_schedule_of_two_phases() {
    let world = known(&sub()).await;
    let schedule = json!({"id": "sub_sched_1", "object": "subscription_schedule", "phases": []});
    world.stripe.put("POST /v1/subscription_schedules", schedule.clone());
    world.stripe.put("POST /v1/subscription_schedules/sub_sched_1", schedule);
    for (price, amount, interval) in [("price_starter", 900, "month"), ("price_pro_annual", 24_000, "year")] {
        let object = json!({"id": price, "object": "price", "unit_amount": amount, "currency": "usd",
                            "recurring": {"interval": interval, "interval_count": 1}});
        world.stripe.put(&format!("/v1/prices/{price}"), object);
    }
    let asked = world.bursar(&["subscriptions", "move", SUB, "--price", "price_pro_annual"]);
    assert!(asked.status.success(), "{asked:?}");
    // Asked again while it is under way: refused.
    assert_eq!(world.bursar(&["subscriptions", "move", SUB, "--price", "price_team"]).status.code(), Some(1));
    world.drain().await;
    world.is_clean().await;
    let posts = world.stripe.posts();
    assert_eq!(posts.len(), 2, "{posts:?}");
    assert_eq!(posts[0], ("/v1/subscription_schedules".into(), vec![("from_subscription".into(), SUB.into())]));
    let field = |name: &str| posts[1].1.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone()).unwrap_or_default();
    let end = at("2027-05-01").timestamp().to_string();
    for (name, value) in [
        ("end_behavior", "release"),
        ("phases[0][items][0][price]", "price_starter"),
        ("phases[0][end_date]", &end),
        ("phases[1][items][0][price]", "price_pro_annual"),
        ("phases[1][items][0][quantity]", "1"),
        ("phases[1][start_date]", &end),
        ("phases[1][proration_behavior]", "none"),
    ] {
        assert_eq!(field(name), value, "{name}: {:?}", posts[1]);
    }
    assert_eq!(world.balance().await, "50", "nothing is granted before it is paid");
    // Its user is told, once.
    let letters: Vec<(String, Vec<u8>)> = sqlx::query_as("SELECT key, args FROM bursar.job WHERE kind = 'send_letter'")
        .fetch_all(&world.db.pool)
        .await
        .unwrap();
    assert_eq!(letters.len(), 1);
    assert!(letters[0].0.starts_with("price_change:"), "{}", letters[0].0);
    let told: serde_json::Value = serde_json::from_slice(&letters[0].1).unwrap();
    let fields = json!({"when": "2027-05-01", "old_price": "9.00 USD", "old_monthly": "9.00 USD",
                        "new_price": "240.00 USD", "new_yearly": "240.00 USD"});
    assert_eq!(
        (&told["letter"], &told["user_id"], &told["fields"]),
        (&json!("price_change"), &json!("alice"), &fields)
    );
}

#[tokio::test]
async fn a_move_whose_price_stripe_does_not_tell_stands_and_an_operator_tells_the_user() {
    let world = known(&sub()).await;
    let schedule = json!({"id": "sub_sched_1", "object": "subscription_schedule", "phases": []});
    world.stripe.put("POST /v1/subscription_schedules", schedule.clone());
    world.stripe.put("POST /v1/subscription_schedules/sub_sched_1", schedule);
    assert!(world.bursar(&["subscriptions", "move", SUB, "--price", "price_pro"]).status.success());
    world.drain().await;
    assert_eq!(world.stripe.posts().len(), 2);
    let jobs = world.jobs("move_subscription").await;
    assert!(jobs.iter().any(|(state, why)| state == "dead" && why.contains("its user is not told")), "{jobs:?}");
}

#[tokio::test]
async fn a_move_now_changes_the_item() {
    let world = known(&sub()).await;
    world.stripe.put(&format!("POST /v1/subscriptions/{SUB}"), sub().object(false));
    assert!(world.bursar(&["subscriptions", "move", SUB, "--price", "price_pro", "--when", "now"]).status.success());
    world.drain().await;
    let posts = world.stripe.posts();
    assert_eq!(posts[0].0, format!("/v1/subscriptions/{SUB}"));
    assert!(posts[0].1.contains(&("items[0][price]".into(), "price_pro".into())), "{posts:?}");
    world.is_clean().await;
}

#[tokio::test]
async fn a_move_that_makes_no_sense_is_refused_with_the_reason() {
    let world = known(&sub()).await;
    assert_eq!(world.bursar(&["subscriptions", "move", "sub_none", "--price", "price_pro"]).status.code(), Some(3));
    assert_eq!(world.bursar(&["subscriptions", "move", SUB, "--price", "price_starter"]).status.code(), Some(1));
    assert!(world.bursar(&["subscriptions", "move", SUB, "--price", "price_of_nothing"]).status.success());
    world.drain().await;
    let (state, why) = world.jobs("move_subscription").await.pop().unwrap();
    assert_eq!(state, "dead");
    assert!(why.contains("sells no tier"), "{why}");
    let scheduled = Sub { more: json!({"schedule": "sub_sched_9"}), ..sub() };
    world.has(&scheduled);
    assert!(world.bursar(&["subscriptions", "move", SUB, "--price", "price_pro"]).status.success());
    world.drain().await;
    assert!(world.jobs("move_subscription").await.pop().unwrap().1.contains("sub_sched_9"));
    assert!(world.stripe.posts().is_empty());
}
