//! Plan changes: what is granted for the rest of a month, in whatever order Stripe tells of it.

use bursar_jobs::terms::Policy;
use proptest::{prelude::*, test_runner::TestRunner};
use serde_json::Value;

use super::world::*;

/// A month of thirty days.
fn month(price: &str) -> Sub {
    Sub::new(price, "2027-04-01", "2027-05-01")
}

async fn begun(price: &str) -> World {
    let world = World::new(terms()).await;
    world.has(&month(price));
    world.now("2027-04-01").await;
    world.play(&[month(price).paid("evt_0", false)]).await;
    world
}

/// The plan changes: when, from, to.
async fn change(world: &World, n: usize, when: &str, from: &str, to: &str) {
    let sub = month(to);
    world.has(&sub);
    world.now(when).await;
    world.play(&[sub.updated(&format!("evt_{n}"), when, (from, 1), n.is_multiple_of(2))]).await;
}

#[tokio::test]
async fn an_upgrade_grants_the_difference_in_proportion_to_the_time_left() {
    let world = begun("price_starter").await;
    change(&world, 1, "2027-04-11", "price_starter", "price_pro").await;
    // 100 more a month, 20 of 30 days left, rounded down to a millionth.
    assert_eq!(world.balance().await, "116.666666");
    assert_eq!(world.books().await[1], ("plan_change".into(), "66.666666".into()));
    // A second one counts from the plan's value, not from what was charged last.
    change(&world, 2, "2027-04-16", "price_pro", "price_team").await;
    assert_eq!(world.balance().await, "291.666666");
    world.is_clean().await;
}

#[tokio::test]
async fn a_quantity_is_a_plan_change_too() {
    let world = begun("price_pro").await;
    let sub = Sub { quantity: 3, ..month("price_pro") };
    world.has(&sub);
    world.now("2027-04-16").await;
    world.play(&[sub.updated("evt_1", "2027-04-16", ("price_pro", 1), false)]).await;
    assert_eq!(world.balance().await, "300");
}

#[tokio::test]
async fn a_loop_nets_zero_whichever_way_it_goes_first() {
    for (base, other) in [("price_starter", "price_team"), ("price_team", "price_starter")] {
        let world = begun(base).await;
        let before = world.balance().await;
        for n in 0..3 {
            change(&world, 2 * n + 1, "2027-04-11", base, other).await;
            change(&world, 2 * n + 2, "2027-04-11", other, base).await;
        }
        assert_eq!(world.balance().await, before, "{base}");
        world.is_clean().await;
    }
}

#[tokio::test]
async fn a_downgrade_takes_effect_at_renewal_and_gives_back_what_an_upgrade_granted_and_no_more() {
    let world = begun("price_pro").await;
    change(&world, 1, "2027-04-11", "price_pro", "price_starter").await;
    assert_eq!(world.balance().await, "150", "the month that was refilled stays");
    let next = Sub::new("price_starter", "2027-05-01", "2027-06-01");
    world.has(&next);
    world.now("2027-05-01").await;
    world.play(&[next.paid("evt_2", false)]).await;
    assert_eq!(world.balance().await, "200");

    let world = begun("price_pro").await;
    change(&world, 1, "2027-04-11", "price_pro", "price_team").await;
    assert_eq!(world.balance().await, "383.333333");
    change(&world, 2, "2027-04-21", "price_team", "price_starter").await;
    // 450 a month less, a third of it left: of the 233.333333 only 83.333333 stay.
    assert_eq!(world.balance().await, "233.333333");
    change(&world, 3, "2027-04-26", "price_starter", "price_team").await;
    change(&world, 4, "2027-04-26", "price_team", "price_starter").await;
    assert_eq!(world.balance().await, "233.333333");
    world.is_clean().await;
}

#[tokio::test]
async fn an_upgrade_that_is_not_paid_grants_nothing_until_it_is() {
    for status in ["past_due", "unpaid", "incomplete"] {
        let world = begun("price_starter").await;
        let sub = Sub { status, ..month("price_pro") };
        world.has(&sub);
        world.now("2027-04-16").await;
        world.play(&[sub.updated("evt_1", "2027-04-16", ("price_starter", 1), false)]).await;
        assert_eq!(world.balance().await, "50", "{status}");
        // Paid days later: it counts from when the plan changed.
        world.has(&month("price_pro"));
        world.now("2027-04-20").await;
        let active = event("evt_2", "customer.subscription.updated", "2027-04-20", &month("price_pro").object(false));
        world.play(&[active]).await;
        assert_eq!(world.balance().await, "100", "{status}");
    }
}

#[tokio::test]
async fn a_change_at_the_renewal_is_in_the_refill_and_not_granted_twice() {
    let next = Sub::new("price_pro", "2027-05-01", "2027-06-01");
    let events = [
        next.updated("evt_1", "2027-05-01", ("price_starter", 1), false),
        next.updated("evt_2", "2027-05-01T00:00:02Z", ("price_starter", 1), false),
        next.paid("evt_3", false),
    ];
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let world = begun("price_starter").await;
        world.has(&next);
        world.now("2027-05-01T00:01:00Z").await;
        world.play(&order.map(|i| events[i].clone())).await;
        assert_eq!(world.balance().await, "200", "{order:?}: {:?}", world.books().await);
        world.is_clean().await;
    }
}

#[tokio::test]
async fn a_change_that_begins_a_new_period_is_refilled_and_not_granted_besides() {
    // From a month to a year: Stripe begins a new period at once.
    let next = Sub::new("price_team_annual", "2027-04-16", "2028-04-16");
    let events = [next.updated("evt_1", "2027-04-16", ("price_starter", 1), false), next.paid("evt_2", false)];
    for order in [[0, 1], [1, 0]] {
        let world = begun("price_starter").await;
        world.has(&next);
        world.now("2027-04-16").await;
        world.play(&order.map(|i| events[i].clone())).await;
        assert_eq!(world.balance().await, "550", "{order:?}: {:?}", world.books().await);
    }
}

#[tokio::test]
async fn a_change_that_no_event_told_of_counts_from_when_it_is_seen() {
    let world = begun("price_starter").await;
    world.has(&month("price_pro"));
    world.now("2027-04-16").await;
    let look = bursar_jobs::subscriptions::sync_subscription::SyncSubscription::of(SUB, "reconcile");
    bursar_jobs::engine::enqueue::enqueue(&world.db.pool, &[look]).await.unwrap();
    world.drain().await;
    let seen = world.balance_of("alice").await;
    assert!((credits(99)..=credits(100)).contains(&seen), "{seen}");
    // Its event comes after all: then its own time counts.
    world.play(&[month("price_pro").updated("evt_1", "2027-04-11", ("price_starter", 1), false)]).await;
    assert_eq!(world.balance().await, "116.666666");
}

/// The events of two months of a subscription's life, in both layouts, and how it stands at the end.
fn life() -> (Vec<Value>, Sub) {
    let (may, june) = (("2027-05-01", "2027-06-01"), ("2027-06-01", "2027-07-01"));
    let sub = |price: &str, (start, end): (&str, &str)| Sub { anchor: at("2027-05-01"), ..Sub::new(price, start, end) };
    let end = sub("price_team", june);
    let mut events = vec![
        event("evt_00", "customer.subscription.created", may.0, &sub("price_starter", may).object(false)),
        sub("price_starter", may).paid("evt_01", false),
        sub("price_team", may).updated("evt_02", "2027-05-07T01:02:03Z", ("price_starter", 1), true),
        sub("price_pro", may).updated("evt_03", "2027-05-11T04:05:06Z", ("price_team", 1), false),
        sub("price_pro", june).paid("evt_04", true),
        sub("price_team", june).updated("evt_05", "2027-06-10T07:08:09Z", ("price_pro", 1), false),
        sub("price_starter", june).updated("evt_06", "2027-06-10T07:08:09Z", ("price_team", 1), true),
        sub("price_team", june).updated("evt_07", "2027-06-20T10:11:12Z", ("price_starter", 1), false),
    ];
    let proration = line(SUB, "price_team", 1, 500, (at("2027-06-20T10:11:12Z"), end.end), true, false);
    events.push(event("evt_08", "invoice.paid", "2027-06-20T10:11:12Z", &invoice("in_p", SUB, &[proration], false)));
    (events, end)
}

/// What a person would count: the time at each plan, and what was refilled at least.
fn recomputed() -> i64 {
    let (starter, pro, team) = (50_000_000i128, 150_000_000i128, 500_000_000i128);
    let part = |more: i128, when: &str, end: &str, start: &str| {
        more * i128::from((at(end) - at(when)).num_seconds()) / i128::from((at(end) - at(start)).num_seconds())
    };
    let may = part(team - starter, "2027-05-07T01:02:03Z", "2027-06-01", "2027-05-01")
        + part(pro - team, "2027-05-11T04:05:06Z", "2027-06-01", "2027-05-01");
    let at_once = part(team - pro, "2027-06-10T07:08:09Z", "2027-07-01", "2027-06-01")
        + part(starter - team, "2027-06-10T07:08:09Z", "2027-07-01", "2027-06-01");
    let june = at_once + part(team - starter, "2027-06-20T10:11:12Z", "2027-07-01", "2027-06-01");
    i64::try_from(starter + pro + may.max(0) + june.max(0)).unwrap()
}

#[test]
fn any_order_and_repetition_of_a_subscriptions_events_gives_the_same_books() {
    let (events, end) = life();
    let count = events.len();
    let orders = (Just((0..count).collect::<Vec<_>>()).prop_shuffle(), prop::collection::vec(0..count, 0..6), 0..count);
    let mut runner =
        TestRunner::new(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() });
    runner
        .run(&orders, |(mut order, again, together)| {
            order.extend(again);
            let (events, end) = (&events, &end);
            let seen = tokio::runtime::Runtime::new().unwrap().block_on(async move {
                let world = World::new(terms()).await;
                world.has(end);
                world.now("2027-06-21").await;
                for (i, which) in order.into_iter().enumerate() {
                    let mut event = events[which].clone();
                    if i >= count {
                        // One change as another event.
                        event["id"] = format!("evt_again_{i}").into();
                    }
                    world.hear(&event).await;
                    if i >= together {
                        world.drain().await;
                    }
                }
                world.drain().await;
                world.is_clean().await;
                let balance: i64 = sqlx::query_scalar("SELECT balance FROM bursar.account WHERE name = 'user:alice'")
                    .fetch_one(&world.db.pool)
                    .await
                    .unwrap();
                balance
            });
            prop_assert_eq!(seen, recomputed());
            Ok(())
        })
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn jobs_that_run_at_the_same_time_give_the_same_books() {
    // All events at once, each twice, and every job that is ready performed at the same time as the others.
    for _ in 0..5 {
        let (events, end) = life();
        let world = World::new(terms()).await;
        world.has(&end);
        world.now("2027-06-21").await;
        for (i, event) in events.iter().chain(&events).enumerate() {
            let mut event = event.clone();
            event["id"] = format!("evt_{i:02}").into();
            world.hear(&event).await;
        }
        world.drain_at_once().await;
        assert_eq!(world.balance_of("alice").await.micros(), recomputed(), "{:?}", world.books().await);
        world.is_clean().await;
    }
}

#[tokio::test]
async fn a_change_whose_successor_has_not_been_heard_of_waits_for_it() {
    let world = begun("price_starter").await;
    // Up, and down again before the first event is looked at: Stripe has the old price by now.
    world.now("2027-04-16").await;
    world.play(&[month("price_team").updated("evt_1", "2027-04-11", ("price_starter", 1), false)]).await;
    assert_eq!(world.balance().await, "50", "nothing that would be taken back is granted");
    world.play(&[month("price_starter").updated("evt_2", "2027-04-16", ("price_team", 1), false)]).await;
    // Five days of thirty of 450 more a month.
    assert_eq!(world.balance().await, "125");
}

/// The invoice of a switch to another interval: what is left of the old period is credited, and a new period begins now.
fn switched(id: &str, sub: &Sub, old: (&str, &str), legacy: bool) -> Value {
    let lines = [
        line(SUB, old.0, 1, -1000, (sub.start, at(old.1)), true, legacy),
        line(SUB, &sub.price, 1, 1900, (sub.start, sub.end), false, legacy),
    ];
    event(id, "invoice.paid", &sub.start.to_rfc3339(), &invoice(&format!("in_{id}"), SUB, &lines, legacy))
}

#[tokio::test]
async fn a_loop_between_the_month_and_the_year_nets_zero() {
    for policy in [Policy::Rollover, Policy::Reset] {
        let world = World::new(with_policy(policy)).await;
        let first = Sub::new("price_pro", "2027-04-01", "2027-05-01");
        world.has(&first);
        world.now("2027-04-01").await;
        world.play(&[first.paid("evt_0", false)]).await;
        let mut old = ("price_pro", "2027-05-01".to_owned());
        for n in 1..=4 {
            let (price, end) =
                if n % 2 == 1 { ("price_pro_annual", "2028-04-16") } else { ("price_pro", "2027-05-16") };
            let when = format!("2027-04-16T00:0{n}:00Z");
            let sub = Sub::new(price, &when, &format!("{end}T00:0{n}:00Z"));
            world.has(&sub);
            world.now(&when).await;
            let paid = switched(&format!("evt_{n}"), &sub, (old.0, &old.1), false);
            let twin = switched(&format!("evt_twin_{n}"), &sub, (old.0, &old.1), true);
            world.play(&[paid, twin]).await;
            old = (price, sub.end.to_rfc3339());
        }
        // Half of the first month was used; of the others minutes; the last is whole.
        let left = world.balance().await.parse::<f64>().unwrap();
        let wanted = if policy == Policy::Reset { 150.0 } else { 225.0 };
        assert!((left - wanted).abs() < 0.1, "{policy:?}: {left}: {:?}", world.books().await);
        world.is_clean().await;
    }
}
