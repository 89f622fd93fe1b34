//! Refills: by invoice and by schedule, and what becomes of what is left over.

use bursar_jobs::terms::Policy;
use serde_json::json;

use super::world::*;

fn annual() -> Sub {
    Sub::new("price_pro_annual", "2027-01-31", "2028-01-31")
}

const YEAR: [&str; 12] = [
    "2027-01-31",
    "2027-02-28",
    "2027-03-31",
    "2027-04-30",
    "2027-05-31",
    "2027-06-30",
    "2027-07-31",
    "2027-08-31",
    "2027-09-30",
    "2027-10-31",
    "2027-11-30",
    "2027-12-31",
];

#[tokio::test]
async fn an_annual_plan_is_refilled_twelve_times_on_its_anchors_day_in_both_layouts() {
    for legacy in [false, true] {
        let world = World::new(terms()).await;
        world.has(&annual());
        world.now(YEAR[0]).await;
        world.play(&[annual().paid("evt_1", legacy)]).await;
        assert_eq!(world.refilled().await, YEAR[..1]);
        for (i, day) in YEAR.iter().enumerate().skip(1) {
            let eve = (at(day) - chrono::TimeDelta::seconds(60)).to_rfc3339();
            world.now(&eve).await;
            world.drain().await;
            assert_eq!(world.refilled().await, YEAR[..i], "the eve of {day}");
            world.now(&(at(day) + chrono::TimeDelta::seconds(60)).to_rfc3339()).await;
            world.drain().await;
            assert_eq!(world.refilled().await, YEAR[..=i], "{day}");
        }
        world.now("2029-01-01").await;
        world.drain().await;
        assert_eq!(world.balance().await, "1800");
        world.is_clean().await;
    }
}

#[tokio::test]
async fn a_downtime_is_caught_up_without_doubling() {
    let world = World::new(terms()).await;
    world.has(&annual());
    world.now(YEAR[0]).await;
    world.play(&[annual().paid("evt_1", false)]).await;
    world.now("2027-06-15").await;
    world.drain().await;
    assert_eq!(world.refilled().await, YEAR[..5]);
    // The same invoice again, as another event and in the older layout, and the worker away until the year after.
    world.hear(&annual().paid("evt_2", true)).await;
    world.now("2028-03-01").await;
    let renewed = Sub { anchor: at("2027-01-31"), ..Sub::new("price_pro_annual", "2028-01-31", "2029-01-31") };
    world.has(&renewed);
    world.hear(&renewed.paid("evt_3", false)).await;
    world.drain().await;
    let mut expected = YEAR.to_vec();
    expected.extend(["2028-01-31", "2028-02-29"]);
    assert_eq!(world.refilled().await, expected);
    world.is_clean().await;
}

#[tokio::test]
async fn the_schedule_ends_with_the_subscription_or_where_another_period_took_its_place() {
    for (how, refills) in [("ended", 3), ("replaced", 3), ("unpaid", 3), ("past_due", 5)] {
        let world = World::new(terms()).await;
        world.has(&annual());
        world.now(YEAR[0]).await;
        world.play(&[annual().paid("evt_1", false)]).await;
        world.now("2027-04-01").await;
        world.drain().await;
        let sub = match how {
            "ended" => Sub { status: "canceled", more: json!({"ended_at": at("2027-04-15").timestamp()}), ..annual() },
            "replaced" => Sub::new("price_team", "2027-04-15", "2027-05-15"),
            status => Sub { status, ..annual() },
        };
        world.has(&sub);
        world.now("2027-06-01").await;
        world.drain().await;
        assert_eq!(world.refilled().await.len(), refills, "{how}");
        if how == "unpaid" {
            // Paid again, it goes on, with what was due meanwhile.
            world.has(&annual());
            world.play(&[event("evt_2", "customer.subscription.updated", "2027-06-01", &annual().object(false))]).await;
            assert_eq!(world.refilled().await, YEAR[..5], "{how}");
        }
        world.is_clean().await;
    }
}

#[tokio::test]
async fn a_scheduled_month_grants_what_the_plan_was_worth_when_it_began() {
    let world = World::new(terms()).await;
    world.has(&annual());
    world.now(YEAR[0]).await;
    world.play(&[annual().paid("evt_1", false)]).await;
    // Two seats from March 15; the worker was away until June, and sees the change first.
    let two = Sub { quantity: 2, ..annual() };
    world.has(&two);
    world.now("2027-06-01").await;
    world.play(&[two.updated("evt_2", "2027-03-15", ("price_pro_annual", 1), false)]).await;
    let amounts: Vec<i64> = sqlx::query_scalar("SELECT amount FROM bursar.posting WHERE kind = 'refill' ORDER BY id")
        .fetch_all(&world.db.pool)
        .await
        .unwrap();
    assert_eq!(amounts, [150, 150, 300, 300, 300].map(|whole: i64| whole * 1_000_000));
    // February's month ran to March 31: 16 of its 31 days were left.
    let extra: i64 = sqlx::query_scalar("SELECT sum(amount)::bigint FROM bursar.posting WHERE kind = 'plan_change'")
        .fetch_one(&world.db.pool)
        .await
        .unwrap();
    assert_eq!(extra, 150_000_000 * 16 / 31);
    world.is_clean().await;
}

#[tokio::test]
async fn a_trial_grants_none_or_what_its_tier_says_once() {
    for (granted, expected) in [(0, "0"), (20, "20")] {
        let mut terms = terms();
        terms.tiers[1].refill.trial = credits(granted);
        let world = World::new(terms).await;
        let sub = Sub { status: "trialing", ..Sub::new("price_pro", "2027-01-01", "2027-01-15") };
        world.has(&sub);
        world.now("2027-01-01").await;
        for id in ["evt_1", "evt_2"] {
            let free = line(SUB, "price_pro", 1, 0, (sub.start, sub.end), false, false);
            world.play(&[event(id, "invoice.paid", "2027-01-01", &invoice("in_1", SUB, &[free], false))]).await;
        }
        assert_eq!(world.balance().await, expected);
        let paid = Sub::new("price_pro", "2027-01-15", "2027-02-15");
        world.has(&paid);
        world.play(&[paid.paid("evt_3", false)]).await;
        assert_eq!(world.balance().await, (150 + granted).to_string());
    }
}

#[tokio::test]
async fn what_is_left_over_follows_the_policy_of_the_tier_and_bought_credits_never_expire() {
    // 150 refilled and 40 of them spent; 200 were bought.
    for (policy, expired, second) in [
        (Policy::Rollover, 0, 0),
        (Policy::Reset, 110, 150),
        (Policy::Cap { months: 1 }, 110, 150),
        (Policy::Cap { months: 2 }, 0, 110),
    ] {
        let world = World::new(with_policy(policy)).await;
        let months = [("2027-01-31", "2027-02-28"), ("2027-02-28", "2027-03-31"), ("2027-03-31", "2027-04-30")];
        let mut balances = Vec::new();
        for (i, (start, end)) in months.into_iter().enumerate() {
            let sub = Sub { anchor: at("2027-01-31"), ..Sub::new("price_pro", start, end) };
            world.has(&sub);
            world.now(start).await;
            // Twice, and told twice: what expired expired once.
            world.hear(&sub.paid(&format!("evt_{i}"), false)).await;
            world.hear(&sub.paid(&format!("evt_{i}_twin"), true)).await;
            world.drain().await;
            if i == 0 {
                world.grant(200).await;
                world.spend(40, "one").await;
            }
            balances.push(world.balance().await.parse::<i64>().unwrap());
        }
        let first = 150 + 310 - expired;
        assert_eq!(balances[1..], [first, first + 150 - second], "{policy:?}: {:?}", world.books().await);
        world.is_clean().await;
    }
}

#[tokio::test]
async fn nothing_expires_that_is_not_there() {
    let world = World::new(with_policy(Policy::Reset)).await;
    let first = Sub::new("price_pro", "2027-01-01", "2027-02-01");
    world.has(&first);
    world.now("2027-01-01").await;
    world.play(&[first.paid("evt_1", false)]).await;
    // An operator took 140: 10 are there.
    let take = ledger_removal(140);
    bursar_jobs::ledger::post(&world.db.pool, &[take]).await.unwrap();
    let second = Sub::new("price_pro", "2027-02-01", "2027-03-01");
    world.has(&second);
    world.now("2027-02-01").await;
    world.play(&[second.paid("evt_2", false)]).await;
    assert_eq!(world.balance().await, "150");
    assert!(world.books().await.contains(&("expiry".into(), "-10".into())), "{:?}", world.books().await);
}

fn ledger_removal(whole: i64) -> bursar_jobs::ledger::Posting {
    use bursar_jobs::ledger::{Account, CREDITS, Posting};
    let user = Account::User("alice".into());
    Posting::new("admin_removal", "taken".into(), user, Account::Issuance, CREDITS, credits(whole).micros())
}

#[tokio::test]
async fn an_invoice_with_more_lines_than_its_event_carries_is_read_whole() {
    for legacy in [false, true] {
        let world = World::new(terms()).await;
        let sub = Sub::new("price_pro", "2027-01-31", "2027-02-28");
        world.has(&sub);
        world.now("2027-01-31").await;
        let period = (sub.start, sub.end);
        let mut paid = event("evt_1", "invoice.paid", "2027-01-31", &invoice("in_1", SUB, &[], legacy));
        paid["data"]["object"]["lines"] =
            json!({"data": [line(SUB, "price_other", 1, 5, period, true, legacy)], "has_more": true});
        let first = line(SUB, "price_other", 1, 5, period, true, false);
        let last = line(SUB, "price_pro", 2, 3800, period, false, false);
        let after = first["id"].as_str().unwrap();
        world
            .stripe
            .put("/v1/invoices/in_1/lines?limit=100", json!({"object": "list", "data": [first], "has_more": true}));
        world.stripe.put(
            &format!("/v1/invoices/in_1/lines?limit=100&starting_after={after}"),
            json!({"object": "list", "data": [last], "has_more": false}),
        );
        world.play(&[paid]).await;
        assert_eq!(world.balance().await, "300", "{:?}", world.jobs("read_invoice").await);
        world.is_clean().await;
    }
}

#[tokio::test]
async fn a_month_counts_from_the_anchor_where_its_period_begins_on_a_shorter_month() {
    // From a leap day; the year's line begins on February 28, its second month on March 29.
    let world = World::new(terms()).await;
    let sub = Sub { anchor: at("2028-02-29"), ..Sub::new("price_pro_annual", "2029-02-28", "2030-02-28") };
    world.has(&sub);
    world.now("2029-02-28").await;
    world.play(&[sub.paid("evt_1", false)]).await;
    let end: chrono::DateTime<chrono::Utc> =
        sqlx::query_scalar("SELECT end_at FROM bursar.service_month").fetch_one(&world.db.pool).await.unwrap();
    assert_eq!(end, at("2029-03-29"));
    world.now("2030-02-01").await;
    world.drain().await;
    let refilled = world.refilled().await;
    assert_eq!((refilled.len(), refilled[1].as_str(), refilled[11].as_str()), (12, "2029-03-29", "2030-01-29"));
    world.is_clean().await;
}

#[tokio::test]
async fn what_a_refund_took_back_of_a_refill_does_not_expire_besides() {
    let world = World::new(with_policy(Policy::Reset)).await;
    let first = Sub::new("price_pro", "2027-01-01", "2027-02-01");
    world.has(&first);
    world.now("2027-01-01").await;
    world.play(&[first.paid("evt_1", false)]).await;
    world.grant(200).await;
    let refill: i64 = sqlx::query_scalar("SELECT id FROM bursar.posting WHERE kind = 'refill'")
        .fetch_one(&world.db.pool)
        .await
        .unwrap();
    let mut back = ledger_removal(150);
    (back.kind, back.reverses) = ("reversal", Some(refill));
    bursar_jobs::ledger::post(&world.db.pool, &[back]).await.unwrap();
    let second = Sub::new("price_pro", "2027-02-01", "2027-03-01");
    world.has(&second);
    world.now("2027-02-01").await;
    world.play(&[second.paid("evt_2", false)]).await;
    assert_eq!(world.balance().await, "350", "{:?}", world.books().await);
}

#[tokio::test]
async fn a_refund_of_a_year_takes_its_share_of_every_month_of_it_whenever_the_month_comes() {
    let world = World::new(terms()).await;
    world.has(&annual());
    world.now(YEAR[0]).await;
    world.play(&[annual().paid("evt_1", false)]).await;
    world.now("2027-04-01").await;
    world.drain().await;
    assert_eq!(world.balance().await, "450");
    let list = |data: serde_json::Value| json!({"object": "list", "data": data, "has_more": false});
    let charge = json!({"id": "ch_1", "object": "charge", "amount": 19_000, "currency": "usd", "invoice": "in_evt_1"});
    let refund = json!({"id": "re_1", "object": "refund", "amount": 9_500, "currency": "usd", "status": "succeeded",
                        "created": 1, "charge": "ch_1"});
    world.stripe.put("/v1/charges/ch_1", charge.clone());
    world.stripe.put("/v1/refunds?limit=100&charge=ch_1", list(json!([refund])));
    world.stripe.put("/v1/disputes?limit=100&charge=ch_1", list(json!([])));
    world.stripe.put("/v1/invoice_payments?limit=100&invoice=in_evt_1", list(json!([])));
    world.play(&[event("evt_2", "charge.refunded", "2027-04-01", &charge)]).await;
    assert_eq!(world.balance().await, "225", "half of three months");
    world.now("2027-05-01").await;
    world.drain().await;
    assert_eq!(world.balance().await, "300", "and half of the fourth");
    world.is_clean().await;
}

#[tokio::test]
async fn a_month_whose_price_sells_no_tier_for_now_waits_for_an_operator_and_is_not_lost() {
    let mut world = World::new(terms()).await;
    world.has(&annual());
    world.now(YEAR[0]).await;
    world.play(&[annual().paid("evt_1", false)]).await;
    // A deploy whose settings lack the price.
    let mut without = terms();
    without.tiers.iter_mut().for_each(|tier| tier.prices.clear());
    world.deploy(without);
    world.now("2027-03-01").await;
    world.drain().await;
    let jobs = world.jobs("refill_month").await;
    assert!(jobs.iter().any(|(state, why)| state == "dead" && why.contains("price_pro_annual")), "{jobs:?}");
    world.deploy(terms());
    let id: String =
        sqlx::query_scalar("SELECT id FROM bursar.job WHERE state = 'dead'").fetch_one(&world.db.pool).await.unwrap();
    let retried = world.bursar(&["jobs", "retry", &id]);
    assert!(retried.status.success(), "{retried:?}");
    world.now("2027-04-01").await;
    world.drain().await;
    assert_eq!(world.refilled().await, YEAR[..3]);
    world.is_clean().await;
}

#[tokio::test]
async fn a_price_by_the_week_grants_by_its_days_and_its_changes_too() {
    let weekly = |price: &str, start: &str, end: &str| Sub {
        more: json!({"items": {"object": "list", "has_more": false, "data": [{"id": "si_1", "object": "subscription_item", "quantity": 1,
            "price": {"id": price, "object": "price", "recurring": {"interval": "week", "interval_count": 1}},
            "current_period_start": at(start).timestamp(), "current_period_end": at(end).timestamp()}]}}),
        ..Sub::new(price, start, end)
    };
    for legacy in [false, true] {
        let world = World::new(terms()).await;
        for price in ["price_starter", "price_pro"] {
            world.sells(price, 1900, "week");
        }
        for (n, (start, end)) in [("2027-02-05", "2027-02-12"), ("2027-02-12", "2027-02-19")].into_iter().enumerate() {
            let sub = weekly("price_starter", start, end);
            world.has(&sub);
            world.now(start).await;
            world.play(&[sub.paid(&format!("evt_{n}"), legacy)]).await;
        }
        // 50 a month: 7 × 12 / 365 of them a week.
        assert_eq!(world.balance().await, "23.013698", "{legacy}");
        let sub = weekly("price_pro", "2027-02-12", "2027-02-19");
        world.has(&sub);
        world.now("2027-02-15T12:00:00Z").await;
        let mut updated = event("evt_up", "customer.subscription.updated", "2027-02-15T12:00:00Z", &sub.object(false));
        updated["data"]["previous_attributes"] =
            json!({"items": weekly("price_starter", "2027-02-12", "2027-02-19").object(false)["items"]});
        world.play(&[updated]).await;
        // Half a week of 100 more a month.
        assert_eq!(world.balance().await, "34.520547", "{legacy}: {:?}", world.books().await);
        world.is_clean().await;
    }
}

#[tokio::test]
async fn a_tier_at_price_0_refills_where_it_says_that_it_is_free() {
    for (free, wanted) in [(true, "50"), (false, "0")] {
        let mut terms = terms();
        terms.tiers[0].refill.free = free;
        let world = World::new(terms).await;
        let sub = Sub::new("price_starter", "2027-01-01", "2027-02-01");
        world.has(&sub);
        world.now("2027-01-01").await;
        let line = line(SUB, "price_starter", 1, 0, (sub.start, sub.end), false, false);
        world.play(&[event("evt_1", "invoice.paid", "2027-01-01", &invoice("in_1", SUB, &[line], false))]).await;
        assert_eq!(world.balance().await, wanted);
    }
}

#[tokio::test]
async fn a_metered_price_is_skipped_and_says_so_and_another_unknown_one_waits_for_an_operator() {
    let sub = Sub::new("price_use", "2027-01-01", "2027-02-01");
    let paid = |legacy: bool, usage: &str| {
        let mut line = line(SUB, "price_use", 1, 700, (sub.start, sub.end), false, legacy);
        if legacy {
            line["price"]["recurring"] = json!({"interval": "month", "usage_type": usage});
        }
        event("evt_1", "invoice.paid", "2027-01-01", &invoice("in_1", SUB, &[line], legacy))
    };
    for (legacy, usage, declared, wanted) in [
        (true, "metered", false, "skip"),
        (true, "licensed", false, "dead"),
        (true, "licensed", true, "skip"),
        (false, "metered", true, "skip"),
        (false, "metered", false, "dead"),
    ] {
        let mut terms = terms();
        terms.selling.metered.extend(declared.then(|| "price_use".to_owned()));
        let world = World::new(terms).await;
        world.has(&sub);
        world.now("2027-01-01").await;
        world.play(&[paid(legacy, usage)]).await;
        let jobs = world.jobs("refill_tier").await;
        let (state, why) = &jobs[0];
        match wanted {
            "dead" => assert!(state == "dead" && why.contains("[meters.SKILL] prices"), "{legacy} {usage}: {jobs:?}"),
            _ => assert!(state == "done" && why.contains("a metered price"), "{legacy} {usage}: {jobs:?}"),
        }
    }
}
