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
