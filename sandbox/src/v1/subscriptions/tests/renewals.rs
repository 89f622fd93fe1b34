//! Periods, trials, failed payments.

use super::*;

#[test]
fn a_year_of_a_monthly_plan_from_the_last_of_january() {
    let mut shop = Shop::new();
    let price = shop.price(1900, "month");
    let subscription = shop.subscribe(&price, "&metadata[user_id]=alice");
    assert_eq!(
        (&subscription["status"], day(&subscription["items"]["data"][0]["current_period_end"])),
        (&"active".into(), "2027-02-28".into())
    );
    shop.pass_to("2028-02-01");
    let invoices = shop.invoices(&subscription);
    let periods: Vec<String> =
        invoices.iter().map(|i| day(&i["lines"]["data"][0]["period"]["start"])[5..].to_owned()).collect();
    assert_eq!(
        periods,
        [
            "01-31", "02-28", "03-31", "04-30", "05-31", "06-30", "07-31", "08-31", "09-30", "10-31", "11-30", "12-31",
            "01-31"
        ]
    );
    for (place, invoice) in invoices.iter().enumerate() {
        let reason = if place == 0 { "subscription_create" } else { "subscription_cycle" };
        assert_eq!((&invoice["billing_reason"], &invoice["status"]), (&reason.into(), &"paid".into()));
        assert_eq!((&invoice["amount_paid"], &invoice["attempt_count"]), (&1900.into(), &1.into()));
        assert_eq!(invoice["parent"]["subscription_details"]["metadata"]["user_id"], "alice");
    }
    let second = &invoices[1];
    assert_eq!(
        second["status_transitions"]["finalized_at"].as_i64().unwrap() - second["created"].as_i64().unwrap(),
        3600
    );
    assert_eq!((second["period_start"].as_i64(), &second["period_end"]), (Some(START), &second["created"]));
}

#[test]
fn a_renewal_is_told_of_in_stripes_order() {
    let mut shop = Shop::new();
    let price = shop.price(1900, "month");
    let subscription = shop.subscribe(&price, "");
    let since = shop.count();
    shop.pass_to("2027-02-27");
    assert_eq!(shop.told(since), ["invoice.upcoming"]);
    let upcoming = shop.event("invoice.upcoming")["data"]["object"].clone();
    assert!(upcoming.get("id").is_none());
    assert_eq!((&upcoming["amount_due"], &upcoming["billing_reason"]), (&1900.into(), &"upcoming".into()));
    let since = shop.count();
    shop.pass_to("2027-03-01");
    assert_eq!(
        shop.told(since),
        [
            "invoice.created",
            "customer.subscription.updated",
            "invoice.finalized",
            "invoice.paid",
            "invoice.payment_succeeded",
            "invoice_payment.paid"
        ]
    );
    let created = shop.event("invoice.created")["data"]["object"].clone();
    assert_eq!((&created["status"], &created["number"]), (&"draft".into(), &Value::Null));
    let updated = shop.event("customer.subscription.updated")["data"].clone();
    let before = updated["previous_attributes"].as_object().unwrap();
    assert_eq!(before.keys().collect::<Vec<_>>(), ["items", "latest_invoice"]);
    assert_eq!(before["latest_invoice"], subscription["latest_invoice"]);
    assert!(shop.event("invoice.paid")["request"]["id"].is_null());
}

#[test]
fn an_annual_plan_renews_once_a_year() {
    let mut shop = Shop::new();
    let price = shop.price(19000, "year");
    let subscription = shop.subscribe(&price, "");
    shop.pass_to("2029-03-01");
    let days: Vec<_> = shop.invoices(&subscription).iter().map(|invoice| day(&invoice["created"])).collect();
    assert_eq!(days, ["2027-01-31", "2028-01-31", "2029-01-31"]);
}

#[test]
fn a_month_at_once_is_a_month_of_days() {
    let play = |steps: i64| {
        let mut shop = Shop::new();
        let (month, day) = (shop.price(1900, "month"), shop.price(100, "day"));
        shop.subscribe(&month, "&trial_period_days=10");
        shop.subscribe(&day, "");
        shop.card("pm_card_chargeCustomerFail");
        for _ in 0..steps {
            shop.pass(60 * DAY / steps);
        }
        let all = shop.world.store.all("event");
        let told: Vec<_> =
            all.map(|e| (e["type"].clone(), e["created"].clone(), e["data"]["object"]["total"].clone())).collect();
        told
    };
    let at_once = play(1);
    assert!(at_once.len() > 50);
    assert_eq!(at_once, play(60));
}

#[test]
fn years_of_days_pass_quickly() {
    let mut shop = Shop::new();
    let price = shop.price(100, "day");
    let subscription = shop.subscribe(&price, "");
    let started = crate::clock::now();
    shop.pass(5 * 365 * DAY);
    let took = crate::clock::now() - started;
    assert_eq!(shop.world.store.all("invoice").count(), 1 + 5 * 365);
    assert_eq!(shop.subscription(&subscription)["status"], "active");
    // Without optimisation and beside other tests; a second or so in a release.
    assert!(took < 30, "{took} s");
}

#[test]
fn a_trial_that_is_ended_at_once_is_told_of_as_one_that_ends() {
    let mut shop = Shop::new();
    let price = shop.price(1900, "month");
    let subscription = shop.subscribe(&price, "&trial_period_days=14");
    let path = format!("/v1/subscriptions/{}", id(&subscription));
    assert_eq!(shop.post(&path, "trial_end=now")["status"], "active");
    let told = shop.event("customer.subscription.trial_will_end");
    assert_eq!(told["data"]["object"]["status"], "active");
    let since = shop.count();
    shop.post(&path, "trial_end=now");
    assert!(
        !shop.told(since).contains(&"customer.subscription.trial_will_end".to_owned()),
        "there is no trial any more"
    );
}

#[test]
fn a_trial_is_warned_of_and_becomes_paid() {
    let mut shop = Shop::new();
    let price = shop.price(1900, "month");
    let subscription = shop.subscribe(&price, "&trial_period_days=14");
    assert_eq!(subscription["status"], "trialing");
    let first = shop.invoices(&subscription).remove(0);
    assert_eq!(
        (&first["status"], &first["amount_paid"], &first["attempt_count"]),
        (&"paid".into(), &0.into(), &0.into())
    );
    assert_eq!(shop.world.store.all("charge").count(), 0);
    let since = shop.count();
    shop.pass(11 * DAY);
    assert_eq!(shop.told(since), ["invoice.upcoming", "customer.subscription.trial_will_end"]);
    shop.pass(4 * DAY);
    let after = shop.subscription(&subscription);
    assert_eq!(
        (&after["status"], day(&after["items"]["data"][0]["current_period_end"])),
        (&"active".into(), "2027-03-14".into())
    );
    assert_eq!(shop.invoices(&subscription)[1]["amount_paid"], 1900);
    let changed = shop.event("customer.subscription.updated")["data"]["previous_attributes"].clone();
    assert_eq!(changed["status"], "trialing");
}

#[test]
fn a_trial_without_a_card_is_paused_and_resumed_or_ends() {
    let mut shop = Shop::new();
    let price = shop.price(1900, "month");
    let missing =
        |what: &str| format!("&trial_period_days=1&trial_settings[end_behavior][missing_payment_method]={what}");
    let (paused, ended) = (shop.subscribe(&price, &missing("pause")), shop.subscribe(&price, &missing("cancel")));
    shop.pass(DAY);
    assert_eq!(shop.subscription(&paused)["status"], "paused");
    assert_eq!(shop.subscription(&ended)["status"], "canceled");
    shop.event("customer.subscription.paused");
    shop.pass(40 * DAY);
    assert_eq!(shop.invoices(&paused).len(), 1);
    let resumed = shop.post(&format!("/v1/subscriptions/{}/resume", id(&paused)), "");
    assert_eq!(resumed["status"], "active");
    assert_eq!(resumed["billing_cycle_anchor"], shop.now);
    shop.event("customer.subscription.resumed");
    shop.pass(32 * DAY);
    assert_eq!(shop.invoices(&paused).len(), 3);
}

#[test]
fn a_failed_renewal_is_retried_and_paid_late() {
    let mut shop = Shop::new();
    let price = shop.price(1900, "month");
    let subscription = shop.subscribe(&price, "");
    shop.card("pm_card_chargeCustomerFail");
    let since = shop.count();
    shop.pass_to("2027-03-01");
    assert_eq!(
        shop.told(since),
        [
            "invoice.upcoming",
            "invoice.created",
            "customer.subscription.updated",
            "invoice.finalized",
            "invoice.updated",
            "invoice.payment_failed",
            "customer.subscription.updated"
        ]
    );
    assert_eq!(shop.subscription(&subscription)["status"], "past_due");
    let failed = shop.invoices(&subscription).remove(1);
    assert_eq!((&failed["status"], &failed["attempt_count"]), (&"open".into(), &1.into()));
    assert_eq!(day(&failed["next_payment_attempt"]), "2027-03-01");
    shop.pass_to("2027-03-02");
    assert_eq!(shop.invoices(&subscription)[1]["attempt_count"], 2);
    // A try by hand is not the schedule's.
    let (status, error) = shop.refused(&format!("/v1/invoices/{}/pay", id(&failed)), "");
    assert_eq!((status, &error["type"], &error["code"]), (402, &"card_error".into(), &"card_declined".into()));
    assert_eq!(shop.invoices(&subscription)[1]["attempt_count"], 2);
    shop.card("pm_card_visa");
    shop.pass_to("2027-03-04");
    let paid = shop.invoices(&subscription).remove(1);
    assert_eq!((&paid["status"], &paid["attempt_count"]), (&"paid".into(), &3.into()));
    assert_eq!(paid["next_payment_attempt"], Value::Null);
    assert_eq!(shop.subscription(&subscription)["status"], "active");
    let (status, error) = shop.refused(&format!("/v1/invoices/{}/pay", id(&failed)), "");
    assert_eq!((status, &error["code"]), (400, &"invoice_already_paid".into()));
}

#[test]
fn after_the_last_retry_a_setting_decides() {
    for (setting, status) in [("cancel", "canceled"), ("unpaid", "unpaid"), ("past_due", "past_due")] {
        let mut shop = Shop::new();
        shop.post("/_sandbox/settings", &format!(r#"{{"smart_retries":true,"after_retries":"{setting}"}}"#));
        let price = shop.price(1900, "month");
        let subscription = shop.subscribe(&price, "");
        shop.card("pm_card_chargeCustomerFail");
        shop.pass_to("2027-03-20");
        assert_eq!(shop.subscription(&subscription)["status"], status);
        let invoice = shop.invoices(&subscription).remove(1);
        assert_eq!((&invoice["attempt_count"], &invoice["next_payment_attempt"]), (&9.into(), &Value::Null));
    }
}

#[test]
fn without_smart_retries_nothing_is_tried_again() {
    let mut shop = Shop::new();
    let kept = shop.post("/_sandbox/settings", r#"{"smart_retries":false}"#);
    assert_eq!(kept["after_retries"], "cancel");
    let price = shop.price(1900, "month");
    let subscription = shop.subscribe(&price, "");
    shop.card("pm_card_chargeCustomerFail");
    shop.pass_to("2027-03-20");
    let invoice = shop.invoices(&subscription).remove(1);
    assert_eq!((&invoice["attempt_count"], &invoice["next_payment_attempt"]), (&1.into(), &Value::Null));
    assert_eq!(shop.subscription(&subscription)["status"], "past_due");
}

#[test]
fn a_first_payment_that_fails_leaves_it_incomplete_for_23_hours() {
    let mut shop = Shop::new();
    let price = shop.price(1900, "month");
    shop.card("pm_card_chargeCustomerFail");
    let form = format!("customer={}&items[0][price]={price}&payment_behavior=error_if_incomplete", shop.customer);
    let (status, error) = shop.refused("/v1/subscriptions", &form);
    assert_eq!((status, &error["type"]), (402, &"card_error".into()));
    assert_eq!(shop.world.store.all("subscription").count(), 0);
    assert_eq!(shop.world.store.all("invoice").count(), 0);
    let (late, saved) = (shop.subscribe(&price, ""), shop.subscribe(&price, ""));
    assert_eq!(late["status"], "incomplete");
    let invoice = shop.invoices(&late).remove(0);
    assert_eq!((&invoice["status"], &invoice["next_payment_attempt"]), (&"open".into(), &Value::Null));
    shop.card("pm_card_visa");
    shop.post(&format!("/v1/invoices/{}/pay", saved["latest_invoice"].as_str().unwrap()), "");
    shop.pass(DAY);
    assert_eq!(shop.subscription(&late)["status"], "incomplete_expired");
    assert_eq!(shop.invoices(&late)[0]["status"], "void");
    shop.pass(31 * DAY);
    assert_eq!(shop.invoices(&late).len(), 1);
    assert_eq!((shop.subscription(&saved)["status"].clone(), shop.invoices(&saved).len()), ("active".into(), 2));
}

#[test]
fn a_first_payment_that_is_on_its_way_comes_or_fails_later() {
    let mut shop = Shop::new();
    let price = shop.price(1900, "month");
    shop.card("pm_card_authenticationRequired");
    let subscription = shop.subscribe(&price, "");
    assert_eq!(subscription["status"], "incomplete");
    let invoice = shop.invoices(&subscription).remove(0);
    assert_eq!(shop.event("invoice.payment_action_required")["data"]["object"]["id"], invoice["id"]);
    let (status, error) = shop.refused(&format!("/v1/invoices/{}/pay", id(&invoice)), "off_session=true");
    assert_eq!((status, &error["type"]), (402, &"card_error".into()));
    shop.card("pm_card_visa");
    let paid = shop.post(&format!("/v1/invoices/{}/pay", id(&invoice)), "");
    assert_eq!((&paid["status"], &shop.subscription(&subscription)["status"]), (&"paid".into(), &"active".into()));
}

#[test]
fn a_hard_decline_is_not_tried_again_with_the_same_card() {
    let mut shop = Shop::new();
    let price = shop.price(1900, "month");
    let subscription = shop.subscribe(&price, "");
    shop.card("pm_card_authenticationRequired");
    shop.pass_to("2027-03-10");
    let invoice = shop.invoices(&subscription).remove(1);
    assert_eq!((&invoice["status"], &invoice["attempt_count"]), (&"open".into(), &1.into()));
    assert!(invoice["next_payment_attempt"].is_i64());
    shop.card("pm_card_visa");
    shop.pass(2 * DAY);
    let invoice = shop.invoices(&subscription).remove(1);
    assert_eq!((&invoice["status"], &invoice["attempt_count"]), (&"paid".into(), &2.into()));
}
