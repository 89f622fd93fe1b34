//! What is given back was paid, what is too little waits, and no currency becomes another.

use super::*;

fn cancel(shop: &mut Shop, of: &Value) -> i64 {
    let path = format!("/v1/subscriptions/{}?prorate=true&invoice_now=true", id(of));
    assert_eq!(shop.send("DELETE", &path, "").0, 200);
    shop.get(&format!("/v1/customers/{}", shop.customer))["balance"].as_i64().unwrap()
}

#[test]
fn no_more_is_given_back_than_was_paid() {
    for (off, credit) in [("percent_off=100", 0), ("percent_off=50", -1400), ("amount_off=800&currency=usd", -2400)] {
        let mut shop = Shop::new();
        let price = shop.price(5600, "month");
        let coupon = shop.made("/v1/coupons", &format!("{off}&duration=once"));
        let subscription = shop.subscribe(&price, &format!("&discounts[0][coupon]={coupon}"));
        shop.pass(14 * DAY);
        assert_eq!(cancel(&mut shop, &subscription), credit, "{off}");
    }
}

#[test]
fn a_first_period_that_leads_to_the_anchor_is_a_part_of_one() {
    let mut shop = Shop::new();
    let (pro, team) = (shop.price(3100, "month"), shop.price(6200, "month"));
    let anchor = START + 10 * DAY;
    let subscription = shop.subscribe(&pro, &format!("&billing_cycle_anchor={anchor}"));
    // From January 10 to February 10 there are 31 days.
    assert_eq!(lines(&shop.invoices(&subscription)[0])[0].0, 1000);
    shop.pass(5 * DAY);
    let item = id(&subscription["items"]["data"][0]);
    let path = format!("/v1/subscriptions/{}", id(&subscription));
    shop.post(&path, &format!("items[0][id]={item}&items[0][price]={team}&proration_behavior=always_invoice"));
    let amounts: Vec<i64> = lines(&shop.invoices(&subscription)[1]).iter().map(|line| line.0).collect();
    assert_eq!(amounts, [-500, 1000]);
    assert_eq!(cancel(&mut shop, &subscription), -1000);
}

#[test]
fn a_trial_in_the_middle_of_a_paid_period_gives_the_rest_of_it_back() {
    let mut shop = Shop::new();
    let price = shop.price(2800, "month");
    let subscription = shop.subscribe(&price, "&cancel_at_period_end=true");
    shop.pass(14 * DAY);
    let path = format!("/v1/subscriptions/{}", id(&subscription));
    let end = START + 60 * DAY;
    let after = shop.post(&path, &format!("trial_end={end}&proration_behavior=always_invoice"));
    // It still ends with its period, which is now another.
    assert_eq!((&after["status"], &after["cancel_at"]), (&"trialing".into(), &end.into()));
    assert_eq!(shop.get(&format!("/v1/customers/{}", shop.customer))["balance"], -1400);
    shop.pass(59 * DAY);
    assert_eq!(shop.subscription(&subscription)["status"], "canceled");
}

#[test]
fn what_is_too_little_to_be_charged_is_owed_with_the_next_invoice() {
    let mut shop = Shop::new();
    let customer = shop.customer.clone();
    let bill = |shop: &mut Shop, amount: i64| {
        shop.made("/v1/invoiceitems", &format!("customer={customer}&amount={amount}&currency=usd"));
        let form = format!("customer={customer}&pending_invoice_items_behavior=include");
        let invoice = shop.made("/v1/invoices", &form);
        shop.post(&format!("/v1/invoices/{invoice}/finalize"), "auto_advance=false")
    };
    let small = bill(&mut shop, 20);
    assert_eq!(
        (&small["status"], &small["total"], &small["amount_due"], &small["ending_balance"]),
        (&"paid".into(), &20.into(), &0.into(), &20.into())
    );
    let path = format!("/v1/customers/{customer}");
    assert_eq!(shop.get(&path)["balance"], 20);
    let kinds = shop.get(&format!("{path}/balance_transactions"));
    assert_eq!((&kinds["data"][0]["type"], &kinds["data"][0]["invoice"]), (&"invoice_too_small".into(), &small["id"]));
    let next = bill(&mut shop, 40);
    assert_eq!(
        (&next["status"], &next["starting_balance"], &next["amount_due"]),
        (&"open".into(), &20.into(), &60.into())
    );
    assert_eq!(shop.get(&path)["balance"], 0);
    shop.post(&format!("/v1/invoices/{}/void", id(&next)), "");
    assert_eq!(shop.get(&path)["balance"], 20);
}

#[test]
fn credit_of_one_currency_pays_nothing_in_another() {
    let mut shop = Shop::new();
    let customer = shop.customer.clone();
    shop.post(&format!("/v1/customers/{customer}"), "balance=-5000");
    let finalized = |shop: &mut Shop, amount: i64, currency: &str| {
        let form = format!("customer={customer}&amount={amount}&currency={currency}");
        shop.made("/v1/invoiceitems", &form);
        let form = format!("customer={customer}&pending_invoice_items_behavior=include&currency={currency}");
        let invoice = shop.made("/v1/invoices", &form);
        shop.post(&format!("/v1/invoices/{invoice}/finalize"), "auto_advance=false")
    };
    assert_eq!(finalized(&mut shop, 2000, "eur")["amount_due"], 2000);
    assert_eq!(finalized(&mut shop, -700, "eur")["ending_balance"], -700);
    assert_eq!(finalized(&mut shop, 2000, "eur")["amount_due"], 1300);
    assert_eq!(finalized(&mut shop, 2000, "usd")["ending_balance"], -3000);
    assert_eq!(shop.get(&format!("/v1/customers/{customer}"))["balance"], -3000);
}

#[test]
fn an_invoice_for_a_subscription_is_of_nothing_else() {
    let mut shop = Shop::new();
    let price = shop.price(1900, "month");
    let subscription = shop.subscribe(&price, "");
    let customer = shop.customer.clone();
    let other = shop.made("/v1/invoiceitems", &format!("customer={customer}&amount=500&currency=usd"));
    let form = format!("customer={customer}&amount=700&currency=usd&subscription={}", id(&subscription));
    shop.made("/v1/invoiceitems", &form);
    let invoice = shop.post("/v1/invoices", &format!("customer={customer}&subscription={}", id(&subscription)));
    assert_eq!(invoice["total"], 700);
    assert_eq!(shop.get(&format!("/v1/invoiceitems/{other}"))["invoice"], Value::Null);
}
