//! Subscriptions of many items: more than Stripe shows at once, and with intervals of their own.

use serde_json::{Value, json};

use super::world::*;

/// An item for a price that sells nothing here.
fn add_on(n: usize, every: &str, (start, end): (&str, &str)) -> Value {
    json!({"id": format!("si_addon{n:02}"), "object": "subscription_item", "quantity": 1,
        "current_period_start": at(start).timestamp(), "current_period_end": at(end).timestamp(),
        "price": {"id": format!("price_addon{n}"), "object": "price", "recurring": {"interval": every, "interval_count": 1}}})
}

/// The same subscription with eleven add-ons before what sells the tier: as it is shown, and all its items as they are listed.
fn of_twelve(sub: &Sub) -> (Value, Value) {
    let mut object = sub.object(false);
    let period = ("2027-04-01", "2027-05-01");
    let mut items: Vec<Value> = (0..11).map(|n| add_on(n, "month", period)).collect();
    items.push(object["items"]["data"][0].clone());
    object["items"] = json!({"object": "list", "data": items[..10], "has_more": true, "total_count": 12});
    (object, json!({"object": "list", "data": items, "has_more": false}))
}

/// Stripe has it.
fn has_twelve(world: &World, sub: &Sub) -> Value {
    let (shown, items) = of_twelve(sub);
    world.stripe.put(&format!("/v1/subscriptions/{SUB}"), shown.clone());
    world.stripe.put(&format!("/v1/subscription_items?limit=100&subscription={SUB}"), items);
    shown
}

fn shown(world: &World) -> Value {
    let page = world.bursar(&["subscriptions", "show", SUB, "--json"]);
    assert!(page.status.success(), "{page:?}");
    serde_json::from_slice(&page.stdout).unwrap()
}

#[tokio::test]
async fn a_subscription_of_more_items_than_stripe_shows_gives_access_and_its_annual_plan_all_its_months() {
    let world = World::new(terms()).await;
    let sub = Sub::new("price_pro_annual", "2027-04-01", "2028-04-01");
    let object = has_twelve(&world, &sub);
    world.now("2027-04-01").await;
    world
        .play(&[event("evt_1", "customer.subscription.created", "2027-04-01", &object), sub.paid("evt_2", false)])
        .await;
    let page = shown(&world);
    assert_eq!((&page["has_access"], &page["tier"]), (&json!(true), &json!("pro")), "{page}");
    for month in ["2027-05-02", "2027-06-02"] {
        world.now(month).await;
        world.drain().await;
    }
    assert_eq!(world.balance().await, "450", "the first month, and two that were planned");
    world.is_clean().await;
}

#[tokio::test]
async fn a_plan_change_of_which_an_event_shows_a_part_counts_from_when_it_happened() {
    let world = World::new(terms()).await;
    let starter = Sub::new("price_starter", "2027-04-01", "2027-05-01");
    has_twelve(&world, &starter);
    world.now("2027-04-01").await;
    world.play(&[starter.paid("evt_1", false)]).await;
    let pro = Sub { price: "price_pro".into(), ..starter };
    let object = has_twelve(&world, &pro);
    world.now("2027-04-20").await;
    let mut updated = event("evt_2", "customer.subscription.updated", "2027-04-11", &object);
    updated["data"]["previous_attributes"] = json!({"items": {"data": object["items"]["data"]}});
    world.play(&[updated.clone()]).await;
    // 100 more a month from the 11th, when it happened: 20 of 30 days left.
    assert_eq!(world.balance().await, "116.666666");
    updated["id"] = json!("evt_3");
    world.play(&[updated]).await;
    assert_eq!(world.balance().await, "116.666666");
    world.is_clean().await;
}

#[tokio::test]
async fn a_page_of_items_that_cannot_be_had_is_asked_for_again() {
    let world = World::new(terms()).await;
    let (object, items) = of_twelve(&Sub::new("price_pro", "2027-04-01", "2027-05-01"));
    world.stripe.put(&format!("/v1/subscriptions/{SUB}"), object.clone());
    world.now("2027-04-02").await;
    world.play(&[event("evt_1", "customer.subscription.updated", "2027-04-02", &object)]).await;
    let (state, why) = world.jobs("sync_subscription").await.remove(0);
    assert!(matches!(state.as_str(), "scheduled" | "ready"), "half a subscription is none: {state}: {why}");
    world.stripe.put(&format!("/v1/subscription_items?limit=100&subscription={SUB}"), items);
    world.now("2027-04-03").await;
    world.drain().await;
    assert_eq!(shown(&world)["has_access"], true);
    world.is_clean().await;
}

#[tokio::test]
async fn period_and_grace_are_those_of_the_item_that_sells_the_tier() {
    let year = ("2026-10-01", "2027-10-01");
    for first in [true, false] {
        let world = World::new(terms()).await;
        let sub = Sub { status: "past_due", ..Sub::new("price_pro", "2027-04-10", "2027-05-10") };
        let mut object = sub.object(false);
        let own = object["items"]["data"][0].clone();
        let items = if first { [add_on(0, "year", year), own] } else { [own, add_on(0, "year", year)] };
        object["items"]["data"] = json!(items);
        world.stripe.put(&format!("/v1/subscriptions/{SUB}"), object.clone());
        world.now("2027-04-12").await;
        world.play(&[event("evt_1", "customer.subscription.updated", "2027-04-11", &object)]).await;
        let page = shown(&world);
        assert_eq!((&page["has_access"], &page["tier"]), (&json!(true), &json!("pro")), "{page}");
        for (name, day) in
            [("access_until", "2027-04-17"), ("period_start", "2027-04-10"), ("period_end", "2027-05-10")]
        {
            assert!(page[name].as_str().unwrap().starts_with(day), "{name}: {page}");
        }
        world.now("2027-04-18").await;
        assert_eq!(shown(&world)["has_access"], false);
    }
}

#[tokio::test]
async fn an_annual_tier_is_refilled_by_its_own_period_beside_a_monthly_add_on() {
    let world = World::new(terms()).await;
    let sub = Sub::new("price_pro_annual", "2027-04-01", "2028-04-01");
    let mut month = ("2027-04-01", "2027-05-01");
    let mut object = sub.object(false);
    let own = object["items"]["data"][0].clone();
    for (n, next) in ["2027-06-01", "2027-07-01"].into_iter().enumerate() {
        object["items"]["data"] = json!([add_on(0, "month", month), own]);
        world.stripe.put(&format!("/v1/subscriptions/{SUB}"), object.clone());
        world.now(month.0).await;
        world
            .play(&[if n == 0 {
                sub.paid("evt_1", false)
            } else {
                event("evt_2", "customer.subscription.updated", month.0, &object)
            }])
            .await;
        month = (month.1, next);
    }
    world.now("2027-05-02").await;
    world.drain().await;
    assert_eq!(world.balance().await, "300");
    assert!(shown(&world)["period_end"].as_str().unwrap().starts_with("2028-04-01"));
    world.is_clean().await;
}
