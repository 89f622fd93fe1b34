//! Lines that charge a part of the full price, and lines that are not for a subscription's item: what each grants, in both layouts.

use bursar_jobs::terms::{Policy, Terms};
use serde_json::{Value, json};

use super::{stripe::items, world::*};

/// Twelve days that lead to a `billing_cycle_anchor`.
const SHORT: (&str, &str) = ("2026-12-01", "2026-12-13");

/// A line, its full price and its invoice's `billing_reason`.
struct Bill {
    price: &'static str,
    amount: i64,
    unit: Option<i64>,
    period: (&'static str, &'static str),
    proration: bool,
    reason: &'static str,
}

impl Bill {
    fn short(amount: i64, unit: Option<i64>, proration: bool) -> Self {
        Self { price: "price_pro", amount, unit, period: SHORT, proration, reason: "subscription_create" }
    }

    fn line(&self, legacy: bool) -> Value {
        let period = (at(self.period.0), at(self.period.1));
        let mut line = line(SUB, self.price, 1, self.amount, period, self.proration, legacy);
        line["currency"] = json!("usd");
        match (self.unit, legacy) {
            (None, _) => {}
            (Some(unit), false) => line["pricing"]["unit_amount_decimal"] = json!(unit.to_string()),
            (Some(unit), true) => {
                line["price"] = json!({"id": self.price, "object": "price", "currency": "usd", "unit_amount": unit,
                                       "recurring": {"interval": "month", "interval_count": 1}});
            }
        }
        line
    }

    fn event(&self, id: &str, legacy: bool) -> Value {
        let mut invoice = invoice(&format!("in_{id}"), SUB, &[self.line(legacy)], legacy);
        invoice["billing_reason"] = json!(self.reason);
        invoice["period_end"] = json!(at(self.period.0).timestamp());
        event(id, "invoice.paid", self.period.0, &invoice)
    }
}

async fn world(terms: Terms, price: &str, period: (&str, &str)) -> World {
    let world = World::new(terms).await;
    world.has(&Sub::new(price, period.0, period.1));
    world.now(period.0).await;
    world
}

async fn cents(world: &World) -> Vec<(String, String)> {
    world.jobs("refill_tier").await
}

#[tokio::test]
async fn a_short_first_period_grants_the_part_that_is_charged_in_both_layouts_and_whatever_stripe_calls_it() {
    for (amount, credits) in [(1000, "60"), (850, "51"), (1, "0.06")] {
        for (legacy, proration) in [(false, false), (false, true), (true, false), (true, true)] {
            // What the event leaves open is asked, and the answer is the same.
            for unit in [Some(2500), None] {
                let world = world(terms(), "price_pro", SHORT).await;
                world.sells("price_pro", 2500, "month");
                world.play(&[Bill::short(amount, unit, proration).event("evt_1", legacy)]).await;
                let case = format!("{amount} {legacy} {proration} {unit:?}: {:?}", cents(&world).await);
                assert_eq!(world.balance().await, credits, "{case}");
                let asked = world.jobs("read_invoice").await.len();
                assert_eq!(asked, usize::from(unit.is_none() || amount != 1000 && !legacy), "{case}");
                world.is_clean().await;
            }
        }
    }
}

#[tokio::test]
async fn a_price_that_stripe_does_not_say_leaves_the_line_to_an_operator() {
    let world = world(terms(), "price_pro", SHORT).await;
    world.play(&[Bill::short(1000, None, false).event("evt_1", false)]).await;
    let (state, why) = world.jobs("read_invoice").await.remove(0);
    assert!(state == "dead" && why.contains("does not know that price"), "{state} {why}");
    world.stripe.put(
        "/v1/prices/price_pro",
        json!({"id": "price_pro", "object": "price", "currency": "usd", "unit_amount": null, "billing_scheme": "tiered",
               "recurring": {"interval": "month", "interval_count": 1}}),
    );
    let id: String =
        sqlx::query_scalar("SELECT id FROM bursar.job WHERE state = 'dead'").fetch_one(&world.db.pool).await.unwrap();
    assert!(world.bursar(&["jobs", "retry", &id]).status.success());
    world.drain().await;
    let (state, why) = world.jobs("read_invoice").await.remove(0);
    assert!(state == "dead" && why.contains("no single full price"), "{state} {why}");
    assert_eq!(world.balance().await, "0");
}

#[tokio::test]
async fn a_trial_that_ends_before_its_anchor_and_a_last_period_that_is_cut_are_parts_too() {
    for proration in [false, true] {
        let world = world(terms(), "price_pro", SHORT).await;
        let cycle = Bill { reason: "subscription_cycle", ..Bill::short(1000, Some(2500), proration) };
        world.play(&[cycle.event("evt_1", false)]).await;
        assert_eq!(world.balance().await, "60", "{proration}");
    }
    // A proration of the time before the cycle's end is a change of plan.
    let world = world(terms(), "price_pro", SHORT).await;
    let mut change = Bill { reason: "subscription_cycle", ..Bill::short(1000, Some(2500), true) }.event("evt_1", false);
    change["data"]["object"]["period_end"] = json!(at(SHORT.1).timestamp());
    world.play(&[change]).await;
    assert_eq!(world.balance().await, "0");
}

#[tokio::test]
async fn a_year_that_is_cut_and_one_that_is_backdated_grant_what_was_paid_over_their_months() {
    for (end, months, all) in [("2027-04-10", 4, "493.2"), ("2026-12-11", 1, "493.2")] {
        let world = world(terms(), "price_pro_annual", ("2026-12-01", end)).await;
        world.sells("price_pro_annual", 2500, "year");
        let cut = Bill { price: "price_pro_annual", period: ("2026-12-01", end), ..Bill::short(685, None, false) };
        world.play(&[cut.event("evt_1", false)]).await;
        for day in ["2027-01-02", "2027-02-02", "2027-03-02", "2027-04-02"] {
            world.now(day).await;
            world.drain().await;
        }
        // 685 of 2500 for a year: 3.288 months.
        assert_eq!((world.refilled().await.len(), world.balance().await), (months, all.to_owned()), "{end}");
        world.is_clean().await;
    }
}

#[tokio::test]
async fn a_change_within_a_short_period_counts_from_the_plan_and_in_the_same_part() {
    let world = world(terms(), "price_pro", SHORT).await;
    world.play(&[Bill::short(1000, Some(2500), true).event("evt_1", false)]).await;
    let up = Sub::new("price_team", SHORT.0, SHORT.1);
    world.has(&up);
    world.now("2026-12-07").await;
    world.play(&[up.updated("evt_2", "2026-12-07", ("price_pro", 1), false)]).await;
    // 350 a month more, two fifths of it, for half of the time.
    assert_eq!(world.balance().await, "130");
    let down = Sub::new("price_pro", SHORT.0, SHORT.1);
    world.has(&down);
    world.play(&[down.updated("evt_3", "2026-12-07T00:00:01Z", ("price_team", 1), false)]).await;
    assert_eq!(world.balance().await, "60.000136", "a second of it");
    world.is_clean().await;
}

#[tokio::test]
async fn what_may_be_kept_is_counted_in_months_of_the_plan_also_in_a_short_one() {
    let world = world(with_policy(Policy::Cap { months: 1 }), "price_pro", SHORT).await;
    world.play(&[Bill::short(1000, Some(2500), false).event("evt_1", false)]).await;
    let next = Sub::new("price_pro", "2026-12-13", "2027-01-13");
    world.has(&next);
    world.now("2026-12-13").await;
    world.play(&[next.paid("evt_2", false)]).await;
    assert_eq!(world.balance().await, "150", "{:?}", world.books().await);
    world.is_clean().await;
}

#[tokio::test]
async fn a_line_that_is_for_no_item_of_a_subscription_sells_no_tier() {
    let fee = |price: &str, legacy: bool| {
        let mut fee = line(SUB, price, 1, 4000, (at("2026-12-01"), at("2026-12-01")), false, legacy);
        if legacy {
            fee["type"] = json!("invoiceitem");
        } else {
            fee["parent"] = json!({"type": "invoice_item_details", "subscription_item_details": null,
                "invoice_item_details": {"invoice_item": "ii_1", "proration": false, "subscription": SUB}});
        }
        fee
    };
    let period = ("2026-12-01", "2026-12-31");
    let item = |price: &str, amount: i64, legacy: bool| {
        line(SUB, price, 1, amount, (at(period.0), at(period.1)), false, legacy)
    };
    for legacy in [false, true] {
        for (lines, wanted) in [
            (vec![item("price_pro", 0, legacy), fee("price_setup_fee", legacy)], "a trial"),
            // An add-on is paid while the tier is tried: its price is no tier's.
            (vec![item("price_pro", 0, legacy), item("price_addon", 1000, legacy)], "a trial"),
            (vec![fee("price_setup_fee", legacy)], "no line is for a subscription's item"),
            (vec![fee("price_pro", legacy)], "sells no tier, whatever its price"),
        ] {
            let world = world(terms(), "price_pro", period).await;
            world.play(&[event("evt_1", "invoice.paid", period.0, &invoice("in_1", SUB, &lines, legacy))]).await;
            let (state, why) = world.jobs("refill_tier").await.remove(0);
            assert!(state == "done" && why.contains(wanted), "{wanted}: {state} {why}");
            assert_eq!(world.balance().await, "0");
            world.is_clean().await;
        }
    }
}

#[tokio::test]
async fn advice_about_a_price_without_a_tier_says_what_it_grants_and_what_else_to_do() {
    let period = ("2026-12-01", "2027-01-01");
    let world = world(terms(), "price_new", period).await;
    let lines = [line(SUB, "price_new", 1, 2500, (at(period.0), at(period.1)), false, false)];
    world.play(&[event("evt_1", "invoice.paid", period.0, &invoice("in_1", SUB, &lines, false))]).await;
    let (state, why) = world.jobs("refill_tier").await.remove(0);
    assert_eq!(state, "dead");
    for said in ["if it is to sell one", "that grants the tier's credits", "sells something else", "cancel this job"] {
        assert!(why.contains(said), "{said}: {why}");
    }
}

#[tokio::test]
async fn a_quantity_of_0_sells_nothing_also_where_its_tier_has_trial_credits() {
    for trial in [0, 10] {
        for legacy in [false, true] {
            let mut terms = terms();
            terms.tiers.iter_mut().for_each(|tier| tier.refill.trial = credits(trial));
            let period = ("2026-12-01", "2027-01-01");
            let world = world(terms, "price_pro", period).await;
            let none = line(SUB, "price_pro", 0, 0, (at(period.0), at(period.1)), false, legacy);
            world.play(&[event("evt_1", "invoice.paid", period.0, &invoice("in_1", SUB, &[none], legacy))]).await;
            let (state, why) = world.jobs("refill_tier").await.remove(0);
            assert!(state == "done" && why.contains("a quantity of 0"), "{state} {why}");
            assert_eq!(world.balance().await, "0");
            world.is_clean().await;
        }
    }
}

#[tokio::test]
async fn a_change_that_nothing_bills_grants_nothing_before_the_renewal_and_takes_nothing_back() {
    let (pro, team) =
        (Sub::new("price_pro", "2027-04-01", "2027-05-01"), Sub::new("price_team", "2027-04-01", "2027-05-01"));
    let world = world(terms(), "price_pro", ("2027-04-01", "2027-05-01")).await;
    world.play(&[pro.paid("evt_0", false)]).await;
    // `proration_behavior=none`: 500 a month instead of 150, from the renewal on.
    world.stripe.put("/v1/invoiceitems", items(false));
    world.has(&team);
    world.now("2027-04-16").await;
    world.play(&[team.updated("evt_1", "2027-04-16", ("price_pro", 1), false)]).await;
    assert_eq!(world.balance().await, "150");
    let (state, why) = world.jobs("check_change").await.remove(0);
    assert!(state == "done" && why.contains("nothing bills the change"), "{state} {why}");
    // Down again, and up with prorations: only that moved money.
    world.has(&pro);
    world.now("2027-04-21").await;
    world.play(&[pro.updated("evt_2", "2027-04-21", ("price_team", 1), false)]).await;
    assert_eq!(world.balance().await, "150");
    world.stripe.put("/v1/invoiceitems", items(true));
    world.has(&team);
    world.now("2027-04-26").await;
    world.play(&[team.updated("evt_3", "2027-04-26", ("price_pro", 1), false)]).await;
    // 350 more a month, 5 of 30 days left.
    assert_eq!(world.balance().await, "208.333333");
    let next = Sub::new("price_team", "2027-05-01", "2027-06-01");
    world.has(&next);
    world.now("2027-05-01").await;
    world.play(&[next.paid("evt_4", false)]).await;
    assert_eq!(world.balance().await, "708.333333");
    world.is_clean().await;
}

#[tokio::test]
async fn an_event_that_is_about_nothing_of_ours_is_skipped_with_the_reason() {
    let world = World::new(terms()).await;
    let capability = json!({"id": "transfers", "object": "capability", "account": "acct_platform", "status": "active", "requested": true});
    let refund = json!({"id": "re_1", "object": "refund", "charge": null, "payment_intent": null, "amount": 5, "currency": "usd"});
    world
        .play(&[
            event("evt_1", "capability.updated", "2026-12-01", &capability),
            event(
                "evt_2",
                "account.application.deauthorized",
                "2026-12-01",
                &json!({"id": "ca_1", "object": "application"}),
            ),
            event("evt_3", "refund.created", "2026-12-01", &refund),
        ])
        .await;
    for (kind, wanted) in
        [("check_account", "the platform's own"), ("check_charge", "neither a charge nor a payment intent")]
    {
        for (state, why) in world.jobs(kind).await {
            assert!(state == "done" && why.contains(wanted), "{kind}: {state} {why}");
        }
    }
    assert_eq!((world.jobs("check_account").await.len(), world.jobs("check_charge").await.len()), (2, 1));
    world.is_clean().await;
}
