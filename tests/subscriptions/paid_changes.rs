//! What comes back of an invoice that paid for a plan change takes back what the change granted, as the sandbox plays it: by an invoice
//! of its own, or by lines on the next renewal; in either layout, and in any order of events.

use bursar_jobs::base::credits::Credits;
use serde_json::Value;

use super::{
    world::*,
    year::{ANCHOR, Year},
};

const AT_ONCE: &str = "&proration_behavior=always_invoice";
const LATER: &str = "&proration_behavior=create_prorations";
const LAYOUTS: [Option<&str>; 2] = [None, Some("2024-06-20")];

/// Alice on the smallest plan since January 31; the middle of her first month is February 14.
async fn begun(version: Option<&str>) -> (Year, String) {
    let mut year = Year::priced(version, [1900, 4900, 14900]).await;
    assert_eq!(ANCHOR, "2055-01-31T10:20:30Z");
    let (_, subscription) = year.subscribe("alice", &year.price(0, false)).await;
    year.hear().await;
    (year, subscription)
}

/// The newest paid invoice: its charge, and what that took.
async fn newest(year: &Year, subscription: &str) -> (String, i64) {
    let path = format!("/v1/invoices?subscription={subscription}&status=paid&limit=1&expand[]=data.payments");
    let invoice = year.stripe.get(&path).await.body["data"][0].clone();
    let intent = invoice["payments"]["data"][0]["payment"]["payment_intent"].as_str();
    let intent = intent.unwrap_or_else(|| panic!("{invoice:#}"));
    let shown = year.stripe.get(&format!("/v1/payment_intents/{intent}")).await.body;
    (shown["latest_charge"].as_str().unwrap().to_owned(), shown["amount"].as_i64().unwrap())
}

async fn refund(year: &Year, charge: &str, amount: i64) -> String {
    year.stripe.post("/v1/refunds", &format!("charge={charge}&amount={amount}")).await.id()
}

async fn balance(year: &Year) -> Credits {
    year.world.balance_of("alice").await
}

async fn sum_of(year: &Year, kind: &str) -> i64 {
    year.world
        .books()
        .await
        .iter()
        .filter(|(of, _)| of == kind)
        .map(|(_, amount)| amount.parse::<Credits>().unwrap().micros())
        .sum()
}

/// A plan change is paid; what was granted for it, in millionths.
async fn upgraded(year: &mut Year, subscription: &str, when: &str, tier: usize, how: &str) -> i64 {
    let before = sum_of(year, "plan_change").await;
    year.pass(when).await;
    let price = year.price(tier, false);
    year.change(subscription, &price, 1, how).await;
    sum_of(year, "plan_change").await - before
}

#[tokio::test]
async fn a_refund_of_an_upgrades_own_invoice_takes_back_what_the_upgrade_granted_in_proportion() {
    for version in LAYOUTS {
        let (mut year, subscription) = begun(version).await;
        let granted = upgraded(&mut year, &subscription, "2055-02-14T00:00:00Z", 1, AT_ONCE).await;
        assert!(granted > credits(50).micros(), "{granted}");
        let (charge, amount) = newest(&year, &subscription).await;
        assert!(amount > 0, "the sandbox charges for it");
        let part = amount / 3;
        refund(&year, &charge, part).await;
        year.hear().await;
        let taken = granted * part / amount;
        assert_eq!(balance(&year).await.micros(), credits(50).micros() + granted - taken, "{version:?}");
        refund(&year, &charge, amount - part).await;
        year.hear().await;
        assert_eq!(balance(&year).await, credits(50), "{version:?}: {:?}", year.world.books().await);
        // What it granted is gone; the downgrade that follows has nothing more to take.
        year.pass("2055-02-20T00:00:00Z").await;
        let starter = year.price(0, false);
        year.change(&subscription, &starter, 1, LATER).await;
        assert_eq!(balance(&year).await, credits(50), "{version:?}: {:?}", year.world.books().await);
        year.world.is_clean().await;
    }
}

#[tokio::test]
async fn a_refund_of_the_renewal_that_paid_for_an_upgrade_takes_its_share_of_both() {
    for version in LAYOUTS {
        let (mut year, subscription) = begun(version).await;
        let granted = upgraded(&mut year, &subscription, "2055-02-14T00:00:00Z", 1, LATER).await;
        year.pass("2055-03-02T00:00:00Z").await;
        let whole = credits(50 + 150).micros() + granted;
        assert_eq!(balance(&year).await.micros(), whole);
        let (charge, amount) = newest(&year, &subscription).await;
        let part = amount / 4;
        refund(&year, &charge, part).await;
        year.hear().await;
        let taken = granted * part / amount + credits(150).micros() * part / amount;
        assert_eq!(balance(&year).await.micros(), whole - taken, "{version:?}: {:?}", year.world.books().await);
        refund(&year, &charge, amount - part).await;
        year.hear().await;
        assert_eq!(balance(&year).await, credits(50), "{version:?}");
        year.world.is_clean().await;
    }
}

#[tokio::test]
async fn a_dispute_of_an_upgrades_invoice_takes_it_flags_the_user_and_won_restores_it() {
    for version in LAYOUTS {
        let (mut year, subscription) = begun(version).await;
        let granted = upgraded(&mut year, &subscription, "2055-02-14T00:00:00Z", 1, AT_ONCE).await;
        let (charge, amount) = newest(&year, &subscription).await;
        let opened = year.stripe.send("POST", &format!("/_sandbox/charges/{charge}/dispute"), "{}", &[]).await.unwrap();
        let dispute = opened.id();
        year.hear().await;
        assert_eq!(balance(&year).await, credits(50), "{version:?}");
        let flags = || sqlx::query_as("SELECT user_id, source FROM bursar.user_flag");
        let flagged: Vec<(String, String)> = flags().fetch_all(&year.world.db.pool).await.unwrap();
        assert_eq!(flagged, [("alice".to_owned(), dispute.clone())]);
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM bursar.job WHERE kind = 'notify_team'")
            .fetch_one(&year.world.db.pool)
            .await
            .unwrap();
        assert_eq!(count, 1, "the team is told once of the dispute");
        let close = format!("/_sandbox/disputes/{dispute}");
        year.stripe.send("POST", &close, r#"{"status":"won"}"#, &[]).await.unwrap().id();
        year.hear().await;
        assert_eq!(balance(&year).await.micros(), credits(50).micros() + granted, "{version:?}");
        let flagged: Vec<(String, String)> = flags().fetch_all(&year.world.db.pool).await.unwrap();
        assert!(flagged.is_empty());
        // And a refund of all of it after that takes what came back.
        refund(&year, &charge, amount).await;
        year.hear().await;
        assert_eq!(balance(&year).await, credits(50), "{version:?}: {:?}", year.world.books().await);
        year.world.is_clean().await;
    }
}

#[tokio::test]
async fn a_refund_of_one_of_two_upgrades_in_a_month_leaves_the_other() {
    for version in LAYOUTS {
        let (mut year, subscription) = begun(version).await;
        let first = upgraded(&mut year, &subscription, "2055-02-10T00:00:00Z", 1, AT_ONCE).await;
        let (of_first, paid_first) = newest(&year, &subscription).await;
        let second = upgraded(&mut year, &subscription, "2055-02-14T00:00:00Z", 2, AT_ONCE).await;
        let (of_second, paid_second) = newest(&year, &subscription).await;
        assert_ne!(of_first, of_second);
        refund(&year, &of_second, paid_second).await;
        year.hear().await;
        assert_eq!(balance(&year).await.micros(), credits(50).micros() + first, "{version:?}");
        // Down again: of the second what was granted is gone, and the first is as it was.
        year.pass("2055-02-18T00:00:00Z").await;
        let pro = year.price(1, false);
        year.change(&subscription, &pro, 1, LATER).await;
        assert_eq!(balance(&year).await.micros(), credits(50).micros() + first, "{version:?}: {second}");
        refund(&year, &of_first, paid_first).await;
        year.hear().await;
        assert_eq!(balance(&year).await, credits(50), "{version:?}: {:?}", year.world.books().await);
        year.world.is_clean().await;
    }
}

#[tokio::test]
async fn a_refund_that_is_heard_of_before_what_was_paid_takes_back_once_that_is_known() {
    for version in LAYOUTS {
        let (mut year, subscription) = begun(version).await;
        year.advance("2055-02-14T00:00:00Z").await;
        let pro = year.price(1, false);
        year.change_unheard(&subscription, &pro, 1, AT_ONCE).await;
        let (charge, amount) = newest(&year, &subscription).await;
        refund(&year, &charge, amount).await;
        let is_paid =
            |event: &Value| matches!(event["type"].as_str(), Some("invoice.paid" | "invoice.payment_succeeded"));
        let (paid, others): (Vec<Value>, Vec<Value>) = year.taken().await.into_iter().partition(is_paid);
        year.world.now("2055-02-14T00:01:00Z").await;
        year.world.play(&others).await;
        assert!(balance(&year).await > credits(100), "nothing says yet what the refund is of");
        year.world.play(&paid).await;
        assert_eq!(balance(&year).await, credits(50), "{version:?}");
        year.world.is_clean().await;
    }
}

/// Two upgrades, the first refunded in part, a downgrade; all that was told of it, and what a person would count.
async fn story(version: Option<&str>) -> (Year, Vec<Value>, i64) {
    let mut year = Year::priced(version, [1900, 4900, 14900]).await;
    let (_, subscription) = year.subscribe("alice", &year.price(0, false)).await;
    year.advance("2055-02-10T00:00:00Z").await;
    let (pro, team) = (year.price(1, false), year.price(2, false));
    year.change_unheard(&subscription, &pro, 1, AT_ONCE).await;
    let (charge, paid) = newest(&year, &subscription).await;
    refund(&year, &charge, paid / 2).await;
    year.advance("2055-02-14T00:00:00Z").await;
    year.change_unheard(&subscription, &team, 1, LATER).await;
    year.advance("2055-02-21T00:00:00Z").await;
    year.change_unheard(&subscription, &pro, 1, LATER).await;
    refund(&year, &charge, paid / 4).await;
    year.advance("2055-03-02T00:00:00Z").await;
    let (renewal, amount) = newest(&year, &subscription).await;
    refund(&year, &renewal, amount / 5).await;
    let events = year.taken().await;
    let whole = (at("2055-02-28T10:20:30Z") - at(ANCHOR)).num_seconds();
    let worth = |more: i64, from: &str| more * (at("2055-02-28T10:20:30Z") - at(from)).num_seconds() / whole;
    let (first, month) = (worth(100_000_000, "2055-02-10"), 150_000_000);
    let second = worth(350_000_000, "2055-02-14") - worth(350_000_000, "2055-02-21");
    let left = |granted: i64, of: i64, refunded: i64| granted - granted * refunded / of;
    let of_first = left(first, paid, paid / 2 + paid / 4);
    let of_renewal = left(second, amount, amount / 5) + left(month, amount, amount / 5);
    (year, events, 50_000_000 + of_first + of_renewal)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn any_order_of_changes_payments_and_refunds_ends_in_the_same_books() {
    for version in LAYOUTS {
        let (mut year, events, wanted) = story(version).await;
        for round in 0..7 {
            let mut events: Vec<Value> = events.iter().chain(&events).cloned().collect();
            if round > 0 {
                year.shuffle(&mut events);
            }
            let world = World::over(year.terms.clone(), &year.stripe.0.url, &year.stripe.0.key).await;
            world.now("2055-03-02T00:01:00Z").await;
            for (i, event) in events.iter().enumerate() {
                world.hear(event).await;
                if i % 4 == round {
                    world.drain().await;
                }
            }
            // From the fifth round on all jobs that are ready run at the same time.
            world.drain_at_once().await;
            let end = world.balance_of("alice").await;
            assert_eq!(end.micros(), wanted, "{version:?}, {round}: {:#?}", world.books().await);
            world.is_clean().await;
        }
    }
}
