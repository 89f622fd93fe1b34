//! Other prices in the middle of a period, pauses, ends, discounts.

use super::*;

/// What a change in the middle of a period gives back and charges: the exact proportion, each line to the nearest cent.
fn exact(amount: i64, left: i64, whole: i64) -> i64 {
    (amount * left * 2 + whole) / (whole * 2)
}

#[test]
fn an_upgrade_waits_for_the_next_invoice() {
    let mut shop = Shop::new();
    let (pro, team) = (shop.price(1999, "month"), shop.price(4999, "month"));
    let subscription = shop.subscribe(&pro, "");
    let item = id(&subscription["items"]["data"][0]);
    shop.pass(10 * DAY + 1);
    let form = format!("items[0][id]={item}&items[0][price]={team}");
    let (left, whole) = (18 * DAY - 1, 28 * DAY);
    let (credit, charge) = (-exact(1999, left, whole), exact(4999, left, whole));
    // Told in advance, and nothing of it is kept.
    let details = format!(
        "subscription={}&subscription_details[items][0][id]={item}&subscription_details[items][0][price]={team}",
        id(&subscription)
    );
    let preview = shop.post("/v1/invoices/create_preview", &details);
    assert_eq!(preview["amount_due"], credit + charge + 4999);
    assert!(preview["id"].as_str().unwrap().starts_with("upcoming_in_"));
    assert_eq!(shop.get("/v1/invoiceitems")["data"].as_array().unwrap().len(), 0);

    let changed = shop.post(&format!("/v1/subscriptions/{}", id(&subscription)), &form);
    assert_eq!(
        (&changed["items"]["data"][0]["id"], &changed["items"]["data"][0]["price"]["id"]),
        (&item.into(), &team.into())
    );
    assert_eq!(
        changed["items"]["data"][0]["current_period_end"],
        subscription["items"]["data"][0]["current_period_end"]
    );
    let waiting = shop.get(&format!("/v1/invoiceitems?pending=true&customer={}", shop.customer));
    assert_eq!(waiting["data"].as_array().unwrap().len(), 2);
    assert_eq!(waiting["data"][0]["parent"]["subscription_details"]["subscription"], subscription["id"]);
    shop.pass(20 * DAY);
    let invoice = shop.invoices(&subscription).remove(1);
    let amounts: Vec<i64> = lines(&invoice).iter().map(|line| line.0).collect();
    assert_eq!(amounts, [credit, charge, 4999]);
    assert_eq!(
        (&invoice["amount_paid"], &invoice["billing_reason"]),
        (&(credit + charge + 4999).into(), &"subscription_cycle".into())
    );
    let line = &invoice["lines"]["data"][0];
    assert!(lines(&invoice)[0].1.starts_with("Unused time on Pro after 10 Feb 2027"));
    let parent = &line["parent"]["invoice_item_details"];
    assert_eq!((&parent["proration"], &parent["subscription"]), (&true.into(), &subscription["id"]));
    assert_eq!(parent["proration_details"]["credited_items"]["invoice"], subscription["latest_invoice"]);
    assert_eq!(day(&line["period"]["start"]), "2027-02-10");
}

#[test]
fn a_downgrade_at_once_is_a_credit_that_the_renewal_uses_up() {
    let mut shop = Shop::new();
    let (pro, team) = (shop.price(2000, "month"), shop.price(5000, "month"));
    let subscription = shop.subscribe(&team, "");
    let item = id(&subscription["items"]["data"][0]);
    shop.pass(14 * DAY);
    let path = format!("/v1/subscriptions/{}", id(&subscription));
    shop.post(&path, &format!("items[0][id]={item}&items[0][price]={pro}&proration_behavior=always_invoice"));
    let invoice = shop.invoices(&subscription).remove(1);
    assert_eq!(
        (&invoice["total"], &invoice["amount_due"], &invoice["status"]),
        (&(-1500).into(), &0.into(), &"paid".into())
    );
    assert_eq!(
        (&invoice["billing_reason"], &invoice["ending_balance"]),
        (&"subscription_update".into(), &(-1500).into())
    );
    let path = format!("/v1/customers/{}", shop.customer);
    assert_eq!(shop.get(&path)["balance"], -1500);
    shop.pass(15 * DAY);
    let renewal = shop.invoices(&subscription).remove(2);
    assert_eq!(
        (&renewal["total"], &renewal["amount_due"], &renewal["amount_paid"]),
        (&2000.into(), &500.into(), &500.into())
    );
    assert_eq!((&renewal["starting_balance"], &renewal["ending_balance"]), (&(-1500).into(), &0.into()));
    assert_eq!(shop.get(&path)["balance"], 0);
}

#[test]
fn another_interval_begins_a_new_period() {
    let mut shop = Shop::new();
    let (month, year) = (shop.price(2000, "month"), shop.price(20000, "year"));
    let subscription = shop.subscribe(&month, "");
    let item = id(&subscription["items"]["data"][0]);
    shop.pass(7 * DAY);
    let path = format!("/v1/subscriptions/{}", id(&subscription));
    let changed = shop.post(&path, &format!("items[0][id]={item}&items[0][price]={year}"));
    assert_eq!(changed["billing_cycle_anchor"], shop.now);
    assert_eq!(day(&changed["items"]["data"][0]["current_period_end"]), "2028-02-07");
    let invoice = shop.invoices(&subscription).remove(1);
    let amounts: Vec<i64> = lines(&invoice).iter().map(|line| line.0).collect();
    assert_eq!((amounts, &invoice["status"]), (vec![-1500, 20000], &"paid".into()));
    // The old end of a month comes, and nothing happens.
    let since = shop.count();
    shop.pass(60 * DAY);
    assert_eq!(shop.told(since), [""; 0]);
    let back = shop.post(&path, &format!("items[0][id]={item}&items[0][price]={month}&proration_behavior=none"));
    assert_eq!(back["billing_cycle_anchor"], shop.now);
    assert_eq!(lines(&shop.invoices(&subscription)[2]).len(), 1);
}

#[test]
fn items_come_and_go_one_by_one() {
    let mut shop = Shop::new();
    let (pro, seat) = (shop.price(2800, "month"), shop.price(280, "month"));
    let subscription = shop.subscribe(&pro, "");
    shop.pass(14 * DAY);
    let form = format!("subscription={}&price={seat}&quantity=3", id(&subscription));
    let item = shop.made("/v1/subscription_items", &form);
    shop.post(&format!("/v1/subscription_items/{item}"), "quantity=5");
    shop.pass(7 * DAY);
    let (status, gone) = shop.send("DELETE", &format!("/v1/subscription_items/{item}"), "proration_behavior=none");
    assert_eq!((status, &gone["deleted"]), (200, &true.into()));
    let all = shop.get("/v1/invoiceitems?pending=true");
    let mut amounts: Vec<i64> = all["data"].as_array().unwrap().iter().map(|i| i["amount"].as_i64().unwrap()).collect();
    amounts.sort_unstable();
    assert_eq!(amounts, [-420, 420, 700]);
    let only = id(&subscription["items"]["data"][0]);
    let (status, _) = shop.send("DELETE", &format!("/v1/subscription_items/{only}"), "");
    assert_eq!(status, 400);
    let (status, _) =
        shop.refused("/v1/subscription_items", &format!("subscription={}&price={pro}", id(&subscription)));
    assert_eq!(status, 400);
}

#[test]
fn a_refused_upgrade_changes_nothing_where_that_is_asked_for() {
    let mut shop = Shop::new();
    let (pro, team) = (shop.price(2000, "month"), shop.price(5000, "month"));
    let subscription = shop.subscribe(&pro, "");
    shop.card("pm_card_chargeCustomerFail");
    shop.pass(14 * DAY);
    let item = id(&subscription["items"]["data"][0]);
    let form = format!("items[0][id]={item}&items[0][price]={team}&proration_behavior=always_invoice");
    let path = format!("/v1/subscriptions/{}", id(&subscription));
    let before = shop.subscription(&subscription);
    assert_eq!(shop.refused(&path, &format!("{form}&payment_behavior=error_if_incomplete")).0, 402);
    assert_eq!(shop.subscription(&subscription), before);
    assert_eq!(shop.get("/v1/invoiceitems")["data"].as_array().unwrap().len(), 0);
    assert_eq!(shop.post(&path, &form)["status"], "past_due");
}

#[test]
fn it_ends_with_its_period_or_goes_on_after_all() {
    let mut shop = Shop::new();
    let price = shop.price(1900, "month");
    let (ends, stays) = (shop.subscribe(&price, ""), shop.subscribe(&price, ""));
    for of in [&ends, &stays] {
        let told = shop.post(&format!("/v1/subscriptions/{}", id(of)), "cancel_at_period_end=true");
        assert_eq!(told["cancel_at"], told["items"]["data"][0]["current_period_end"]);
    }
    shop.post(&format!("/v1/subscriptions/{}", id(&stays)), "cancel_at_period_end=false");
    shop.pass_to("2027-03-02");
    let ended = shop.subscription(&ends);
    assert_eq!((&ended["status"], day(&ended["ended_at"])), (&"canceled".into(), "2027-02-28".into()));
    assert_eq!((shop.invoices(&ends).len(), shop.invoices(&stays).len()), (1, 2));
    assert_eq!(shop.event("customer.subscription.deleted")["created"], ended["ended_at"]);
    let later = shop.subscribe(&price, &format!("&cancel_at={}", shop.now + 5 * DAY));
    shop.pass(6 * DAY);
    assert_eq!(shop.subscription(&later)["status"], "canceled");
}

#[test]
fn ending_now_gives_back_what_is_left() {
    let mut shop = Shop::new();
    let price = shop.price(2800, "month");
    let subscription = shop.subscribe(&price, "");
    shop.pass(7 * DAY);
    let path = format!("/v1/subscriptions/{}", id(&subscription));
    let (status, ended) = shop.send("DELETE", &path, "prorate=true&invoice_now=true");
    assert_eq!((status, &ended["status"]), (200, &"canceled".into()));
    assert_eq!(shop.get(&format!("/v1/customers/{}", shop.customer))["balance"], -2100);
    assert_eq!(shop.send("DELETE", &path, "").0, 404);
    assert_eq!(shop.refused(&path, "items[0][quantity]=2").0, 400);
    let since = shop.count();
    shop.pass(100 * DAY);
    assert_eq!(shop.told(since), [""; 0]);
}

#[test]
fn collection_is_paused_and_goes_on() {
    for (behavior, status) in [("void", "void"), ("mark_uncollectible", "uncollectible"), ("keep_as_draft", "draft")] {
        let mut shop = Shop::new();
        let price = shop.price(1900, "month");
        let subscription = shop.subscribe(&price, "");
        let path = format!("/v1/subscriptions/{}", id(&subscription));
        let form =
            format!("pause_collection[behavior]={behavior}&pause_collection[resumes_at]={}", shop.now + 40 * DAY);
        assert_eq!(shop.post(&path, &form)["pause_collection"]["behavior"], behavior);
        shop.pass(65 * DAY);
        let statuses: Vec<_> = shop.invoices(&subscription).iter().map(|invoice| invoice["status"].clone()).collect();
        assert_eq!(statuses, ["paid", status, "paid"]);
        let after = shop.subscription(&subscription);
        assert_eq!((&after["pause_collection"], &after["status"]), (&Value::Null, &"active".into()));
    }
}

#[test]
fn a_whole_discount_and_one_for_three_months() {
    let mut shop = Shop::new();
    let price = shop.price(1999, "month");
    shop.made("/v1/coupons", "id=FREE&percent_off=100&duration=forever");
    let coupon = shop.made("/v1/coupons", "percent_off=12.5&duration=repeating&duration_in_months=3&max_redemptions=1");
    let code =
        shop.made("/v1/promotion_codes", &format!("promotion[type]=coupon&promotion[coupon]={coupon}&code=SPRING"));
    let free = shop.subscribe(&price, "&discounts[0][coupon]=FREE");
    let spring = shop.subscribe(&price, &format!("&discounts[0][promotion_code]={code}"));
    let form = format!("customer={}&items[0][price]={price}&discounts[0][promotion_code]={code}", shop.customer);
    assert_eq!(shop.refused("/v1/subscriptions", &form).0, 400);
    shop.pass_to("2027-06-15");
    assert!(
        shop.invoices(&free).iter().all(|i| i["status"] == "paid" && i["amount_due"] == 0 && i["subtotal"] == 1999)
    );
    let totals: Vec<_> = shop.invoices(&spring).iter().map(|invoice| invoice["total"].as_i64().unwrap()).collect();
    assert_eq!(totals, [1749, 1749, 1749, 1999, 1999]);
    let first = shop.invoices(&spring).remove(0);
    assert_eq!(first["total_discount_amounts"][0]["amount"], 250);
    assert_eq!(first["lines"]["data"][0]["discount_amounts"][0]["amount"], 250);
    let once = shop.made("/v1/coupons", "amount_off=500&currency=usd&duration=once");
    let third = shop.subscribe(&price, &format!("&discounts[0][coupon]={once}"));
    shop.pass(31 * DAY);
    let totals: Vec<_> = shop.invoices(&third).iter().map(|invoice| invoice["total"].as_i64().unwrap()).collect();
    assert_eq!(totals, [1499, 1999]);
}

#[test]
fn a_schedule_moves_it_to_another_price_at_the_end_of_the_period() {
    let mut shop = Shop::new();
    let (pro, team) = (shop.price(5000, "month"), shop.price(2000, "month"));
    let subscription = shop.subscribe(&pro, "");
    let schedule = shop.post("/v1/subscription_schedules", &format!("from_subscription={}", id(&subscription)));
    let (start, end) = (&schedule["phases"][0]["start_date"], &schedule["phases"][0]["end_date"]);
    let form = format!(
        "phases[0][items][0][price]={pro}&phases[0][start_date]={start}&phases[0][end_date]={end}&phases[1][items][0][price]={team}&phases[1][iterations]=1&end_behavior=release"
    );
    shop.post(&format!("/v1/subscription_schedules/{}", id(&schedule)), &form);
    shop.pass_to("2027-03-01");
    let after = shop.subscription(&subscription);
    assert_eq!(after["items"]["data"][0]["price"]["id"], team);
    let renewal = shop.invoices(&subscription).remove(1);
    assert_eq!((lines(&renewal).len(), &renewal["amount_paid"]), (1, &2000.into()));
    shop.pass_to("2027-04-05");
    let released = shop.get(&format!("/v1/subscription_schedules/{}", id(&schedule)));
    assert_eq!(
        (&released["status"], &shop.subscription(&subscription)["schedule"]),
        (&"released".into(), &Value::Null)
    );
    assert_eq!(shop.invoices(&subscription).len(), 3);
}
