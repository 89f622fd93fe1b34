//! Test clocks, and the sandbox's own.

use super::*;

#[test]
fn a_clock_plays_what_is_due_on_it_and_nothing_else() {
    let mut shop = Shop::new();
    let price = shop.price(1900, "month");
    let clock = shop.made("/v1/test_helpers/test_clocks", "frozen_time=1700000000&name=mine");
    let elsewhere = shop.subscribe(&price, "");
    let customer = shop.made("/v1/customers", &format!("email=b@example.com&test_clock={clock}"));
    shop.customer = customer;
    let subscription = shop.subscribe(&price, "");
    assert_eq!((&subscription["created"], &subscription["test_clock"]), (&1_700_000_000.into(), &clock.clone().into()));
    let path = format!("/v1/test_helpers/test_clocks/{clock}");
    let advance = format!("{path}/advance");
    let since = shop.count();
    // 2023-12-14 and an hour and a bit.
    let answer = shop.post(&advance, "frozen_time=1702600000");
    assert_eq!(
        (&answer["status"], &answer["status_details"]["advancing"]["target_frozen_time"]),
        (&"advancing".into(), &1_702_600_000.into())
    );
    let told = shop.told(since);
    assert_eq!(told.first().unwrap(), "test_helpers.test_clock.advancing");
    assert_eq!(told.last().unwrap(), "test_helpers.test_clock.ready");
    assert_eq!(told.iter().filter(|kind| *kind == "invoice.paid").count(), 1);
    let now = shop.get(&path);
    assert_eq!((&now["status"], &now["frozen_time"]), (&"ready".into(), &1_702_600_000.into()));
    assert_eq!(shop.invoices(&subscription).len(), 2);
    assert_eq!(shop.invoices(&elsewhere).len(), 1);
    // The sandbox's own time is not theirs.
    shop.pass(300 * DAY);
    assert_eq!(shop.invoices(&subscription).len(), 2);
    assert_eq!(shop.refused(&advance, "frozen_time=1702600000").0, 400);
    assert_eq!(shop.refused(&advance, "frozen_time=1709600000").0, 400);
    assert_eq!(shop.send("DELETE", &path, "").0, 200);
    assert_eq!(shop.send("GET", &path, "").0, 404);
    assert_eq!(shop.subscription(&subscription)["status"], "canceled");
}

#[test]
fn the_admin_sees_what_comes_next() {
    let mut shop = Shop::new();
    assert_eq!(shop.get("/_sandbox/clock")["next"], Value::Null);
    let price = shop.price(1900, "week");
    shop.subscribe(&price, "");
    // Money arrives before it renews.
    shop.pass(3 * DAY);
    assert_eq!(shop.get("/_sandbox/clock")["next"], START + 7 * DAY);
}
