//! What is wrong with the account at Stripe.

use serde_json::json;

use super::bench::{Bench, enabled, types};

#[tokio::test]
async fn an_endpoint_that_is_off_gets_too_little_or_too_much_is_found_with_the_list_to_paste() {
    let bench = Bench::new().await;
    let well = bench.examine(&[]).await;
    for (at, connect, name) in [(0, false, "stripe.webhook"), (1, true, "stripe.connect_webhook")] {
        let path = format!("/v1/webhook_endpoints/{}", bench.endpoints[at]);
        let mut listed = types(connect);
        listed.sort_unstable();
        let list = listed.join(",");

        bench.at_stripe(&path, "disabled=true").await;
        bench.examine(&[]).await.differs_only_by(&well, &[(name, "fail")]);
        bench.at_stripe(&path, "disabled=false").await;

        bench.at_stripe(&path, &enabled(&listed[1..])[1..]).await;
        let report = bench.examine(&[]).await;
        report.differs_only_by(&well, &[(name, "fail")]);
        assert!(report.seen(name).ends_with(&format!("does not get {}", listed[0])), "{}", report.seen(name));
        assert!(report.remedy(name).ends_with(&list), "{}", report.remedy(name));

        let mut more = listed.clone();
        more.push("payout.paid");
        bench.at_stripe(&path, &enabled(&more)[1..]).await;
        let report = bench.examine(&[]).await;
        report.differs_only_by(&well, &[(name, "warn")]);
        assert!(report.seen(name).contains("payout.paid") && report.remedy(name).ends_with(&list));

        bench.at_stripe(&path, &enabled(&listed)[1..]).await;
        bench.examine(&[]).await.differs_only_by(&well, &[]);

        let gone = bench.stripe.send("DELETE", &path, "", &[]).await.unwrap();
        assert_eq!(gone.status, 200);
        let verdict = if connect { "warn" } else { "fail" };
        let report = bench.examine(&[]).await;
        assert_eq!(report.result(name), verdict);
        assert!(report.remedy(name).contains(&bench.url) && report.remedy(name).ends_with(&list));
        let form = format!("url={}/api/stripe/webhook&connect={connect}{}", bench.url, enabled(&listed));
        bench.at_stripe("/v1/webhook_endpoints", &form).await;
    }
}

#[tokio::test]
async fn an_endpoint_of_another_address_or_version_or_a_second_one_is_found() {
    let bench = Bench::new().await;
    let report = bench.examine(&[("BURSAR_WEB__PUBLIC_URL", "http://127.0.0.1:1")]).await;
    assert_eq!((report.result("web.url"), report.result("web.webhook_path")), ("fail", "skip"));
    assert_eq!((report.result("stripe.webhook"), report.result("stripe.connect_webhook")), ("fail", "warn"));
    let report = bench.examine(&[("BURSAR_WEB__WEBHOOK_PATHS", "/hooks")]).await;
    assert_eq!((report.result("web.url"), report.result("web.webhook_path")), ("ok", "fail"));

    let of_url = |more: &str| format!("url={}/api/stripe/webhook{}{more}", bench.url, enabled(&types(false)));
    bench.at_stripe("/v1/webhook_endpoints", &of_url("")).await;
    let report = bench.examine(&[]).await;
    assert_eq!(report.result("stripe.webhook"), "warn");
    assert!(report.seen("stripe.webhook").starts_with("2 endpoints"), "{}", report.seen("stripe.webhook"));
    // Another deployment's is none of ours; where ours is not known, neither can be called well.
    let staging = format!("url=http://127.0.0.1:9/api/stripe/webhook{}", enabled(&types(true)));
    bench.at_stripe("/v1/webhook_endpoints", &staging).await;
    assert_eq!(bench.examine(&[]).await.result("stripe.connect_webhook"), "ok");
    let report = bench.examine(&[("BURSAR_WEB__PUBLIC_URL", "")]).await;
    assert_eq!((report.result("stripe.connect_webhook"), report.result("web.url")), ("warn", "skip"));
    assert!(report.seen("stripe.connect_webhook").contains("http://127.0.0.1:9/"), "{report:?}");
    for endpoint in bench.stripe.get("/v1/webhook_endpoints").await.body["data"].as_array().unwrap() {
        let path = format!("/v1/webhook_endpoints/{}", endpoint["id"].as_str().unwrap());
        assert_eq!(bench.stripe.send("DELETE", &path, "", &[]).await.unwrap().status, 200);
    }
    bench.at_stripe("/v1/webhook_endpoints", &of_url("&api_version=2024-06-20")).await;
    let report = bench.examine(&[]).await;
    assert_eq!(report.result("stripe.webhook"), "warn");
    assert!(report.seen("stripe.webhook").contains("2024-06-20"), "{}", report.seen("stripe.webhook"));
}

#[tokio::test]
async fn prices_must_sell_what_the_settings_say_for_the_same_money() {
    let bench = Bench::new().await;
    let well = bench.examine(&[]).await;
    let sells = |form: &'static str| async { bench.stripe.post("/v1/prices", form).await.id() };
    let once = sells("currency=usd&unit_amount=999&product_data[name]=small").await;
    let dearer = sells("currency=usd&unit_amount=1099&product_data[name]=small").await;
    let weekly = sells("currency=usd&unit_amount=999&product_data[name]=w&recurring[interval]=week").await;
    let free = sells("currency=usd&unit_amount=0&product_data[name]=f&recurring[interval]=month").await;
    let foreign = sells("currency=eur&unit_amount=999&product_data[name]=e&recurring[interval]=month").await;
    for (set, name, verdict, remedy) in [
        (("BURSAR_PACKAGES__SMALL__PRICE", &once), "stripe.package.small", "ok", ""),
        (("BURSAR_PACKAGES__SMALL__PRICE", &dearer), "stripe.package.small", "fail", "own amount"),
        (("BURSAR_PACKAGES__SMALL__PRICE", &weekly), "stripe.package.small", "fail", "one-time price"),
        (("STRIPE_PRICE_PRO", &weekly), "stripe.tier.pro", "ok", ""),
        (("STRIPE_PRICE_PRO", &once), "stripe.tier.pro", "fail", "recurring price"),
        (("STRIPE_PRICE_PRO", &free), "stripe.tier.pro", "warn", "free = true"),
        (("STRIPE_PRICE_PRO", &foreign), "stripe.tier.pro", "warn", "[checkout] currencies"),
    ] {
        let report = bench.examine(&[(set.0, set.1)]).await;
        report.differs_only_by(&well, &[(name, verdict)]);
        assert!(report.remedy(name).contains(remedy), "{set:?}: {}", report.remedy(name));
    }
    // Two that were mistaken for each other: who pays for 50 credits would get 150.
    let report = bench.examine(&[("STRIPE_PRICE_STARTER", "price_pro"), ("STRIPE_PRICE_PRO", "price_starter")]).await;
    report.differs_only_by(&well, &[("stripe.tier.starter", "warn")]);
    assert!(
        report.seen("stripe.tier.starter").starts_with("50 credits cost 25.00 USD (price_pro), and the 150 of pro")
    );
    // What operators changed in the database is what is sold.
    let changed = "INSERT INTO bursar.credit_packages (name, credits, amount, currency, stripe_price_id) VALUES ('small', 50, 1299, 'usd', $1)";
    sqlx::query(changed).bind(&once).execute(&bench.db.pool).await.unwrap();
    let report = bench.examine(&[]).await;
    assert_eq!(report.result("stripe.package.small"), "fail", "{report:?}");
    assert!(report.seen("stripe.package.small").ends_with("12.99 USD here"), "{}", report.seen("stripe.package.small"));
    bench.plant("DELETE FROM bursar.credit_packages").await;

    bench.at_stripe("/v1/prices/price_team", "active=false").await;
    let report = bench.examine(&[]).await;
    report.differs_only_by(&well, &[("stripe.tier.team", "fail")]);
    assert!(report.remedy("stripe.tier.team").contains("Activate"));
    // One that nobody can buy any more still refills those who did.
    let both = bench.examine(&[("STRIPE_PRICE_TEAM", &format!("price_team,{weekly}"))]).await;
    assert_eq!(both.result("stripe.tier.team"), "ok");
}

#[tokio::test]
async fn the_account_its_tax_its_clock_and_its_balance_are_looked_at() {
    let bench = Bench::new().await;
    let well = bench.examine(&[]).await;
    for (setup, name, verdict, remedy) in [
        (json!({"tax_missing": ["head_office"]}), "stripe.tax", "fail", "automatic_tax"),
        (json!({"charges_enabled": false}), "stripe.account", "warn", "activation"),
        (json!({"date_off": -400}), "stripe.clock", "fail", "NTP"),
        (json!({"date_off": 20}), "stripe.clock", "warn", "NTP"),
    ] {
        bench.at_stripe("/_sandbox/setup", &setup.to_string()).await;
        let report = bench.examine(&[]).await;
        report.differs_only_by(&well, &[(name, verdict)]);
        assert!(report.remedy(name).contains(remedy), "{setup}: {}", report.remedy(name));
    }
    bench.at_stripe("/_sandbox/setup", "{}").await;
    bench.at_stripe("/_sandbox/balance", r#"{"currency":"usd","available":0}"#).await;
    bench.examine(&[]).await.differs_only_by(&well, &[("stripe.balance", "warn")]);
    let untaxed = bench.examine(&[("BURSAR_CHECKOUT__AUTOMATIC_TAX", "false")]).await;
    assert_eq!(untaxed.result("stripe.tax"), "skip");
}

#[tokio::test]
async fn a_portal_that_was_never_set_up_is_found() {
    let bench = Bench::new().await;
    let listed = bench.stripe.get("/v1/billing_portal/configurations").await;
    let id = listed.body["data"][0]["id"].as_str().unwrap().to_owned();
    bench.at_stripe(&format!("/v1/billing_portal/configurations/{id}"), "active=false").await;
    let report = bench.examine(&[]).await;
    assert_eq!((report.code, report.result("stripe.portal")), (Some(1), "fail"));
}

#[tokio::test]
async fn what_is_metered_must_be_counted_and_charged_as_it_is_sent() {
    let bench = Bench::new().await;
    let well = bench.examine(&[]).await;
    let meter = |event: &str, formula: &str| {
        let form = format!("display_name=R&event_name={event}&default_aggregation[formula]={formula}");
        let path = "/v1/billing/meters";
        let stripe = &bench.stripe;
        async move { stripe.post(path, &form).await.id() }
    };
    let (sums, counts) = (meter("research_used", "sum").await, meter("runs", "count").await);
    let price = |meter: &str| {
        let form = format!(
            "currency=usd&unit_amount=5&product_data[name]=u&recurring[interval]=month&recurring[usage_type]=metered&recurring[meter]={meter}"
        );
        let stripe = &bench.stripe;
        async move { stripe.post("/v1/prices", &form).await.id() }
    };
    let (right, wrong) = (price(&sums).await, price(&counts).await);
    let plain = "currency=usd&unit_amount=999&product_data[name]=p&recurring[interval]=month";
    let plain = bench.stripe.post("/v1/prices", plain).await.id();
    let both = format!("{right},price_of_nobody");
    for (event, prices, verdict, seen) in [
        ("research_used", right.as_str(), "ok", "counts research_used, charged by"),
        ("research_used", wrong.as_str(), "fail", "charges by"),
        ("research_used", plain.as_str(), "fail", "not charged by use"),
        ("research_used", both.as_str(), "fail", "price_of_nobody is not there"),
        ("research_used", "", "warn", "no price is named"),
        ("reserch_used", right.as_str(), "fail", "never charged"),
        ("runs", wrong.as_str(), "fail", "formula is count, not sum"),
    ] {
        let set = [("BURSAR_METERS__RESEARCH__EVENT", event), ("BURSAR_METERS__RESEARCH__PRICES", prices)];
        let report = bench.examine(&set).await;
        assert_eq!(report.result("stripe.meter.research"), verdict, "{set:?}: {report:?}");
        assert!(report.seen("stripe.meter.research").contains(seen), "{}", report.seen("stripe.meter.research"));
        let changed = [("stripe.meter.research", verdict), ("schedules", "warn")];
        // The schedule of the reports is new to this database.
        report.differs_only_by(&well, &changed);
    }
    bench.at_stripe(&format!("/v1/prices/{right}"), "active=false").await;
    let set =
        [("BURSAR_METERS__RESEARCH__EVENT", "research_used"), ("BURSAR_METERS__RESEARCH__PRICES", right.as_str())];
    assert_eq!(bench.examine(&set).await.result("stripe.meter.research"), "fail");
    // No job reads a meter: a key that may not is enough, and the doctor says what it could not see.
    let key = "rk_test_4eC39HqLyjWDarjtT1zdp7dc";
    bench.at_stripe("/_sandbox/setup", &json!({ "restricted": { (key): ENOUGH } }).to_string()).await;
    bench.at_stripe(&format!("/v1/prices/{right}"), "active=true").await;
    let report = bench.examine(&[set[0], set[1], ("STRIPE_SECRET_KEY", key)]).await;
    assert_eq!((report.result("stripe.permissions"), report.result("stripe.meter.research")), ("ok", "warn"));
    assert!(report.remedy("stripe.meter.research").contains("rak_billing_meter_read"), "{report:?}");
}

/// What jobs read, and what the doctor alone looks at, by Stripe's names of the permissions.
const ENOUGH: &[&str] = &[
    "rak_account_read",
    "rak_balance_read",
    "rak_balance_transaction_read",
    "rak_billing_portal_configuration_read",
    "rak_charge_read",
    "rak_checkout_session_read",
    "rak_credit_note_read",
    "rak_customer_write",
    "rak_dispute_read",
    "rak_event_read",
    "rak_invoice_payment_read",
    "rak_invoice_read",
    "rak_invoiceitem_read",
    "rak_payment_intent_read",
    "rak_plan_read",
    "rak_refund_read",
    "rak_subscription_read",
    "rak_subscription_schedule_read",
    "rak_tax_setting_read",
    "rak_transfer_write",
    "rak_webhook_read",
];

#[tokio::test]
async fn a_restricted_key_may_enough_and_not_too_much() {
    let bench = Bench::new().await;
    let well = bench.examine(&[]).await;
    let key = "rk_test_4eC39HqLyjWDarjtT1zdp7dc";
    let with = |permissions: Vec<&str>| json!({ "restricted": { (key): permissions } }).to_string();
    let set = [("STRIPE_SECRET_KEY", key)];

    bench.at_stripe("/_sandbox/setup", &with(ENOUGH.to_vec())).await;
    bench.examine(&set).await.differs_only_by(&well, &[]);

    let less: Vec<_> =
        ENOUGH.iter().copied().filter(|one| !one.contains("transfer") && !one.contains("dispute")).collect();
    bench.at_stripe("/_sandbox/setup", &with(less)).await;
    let report = bench.examine(&set).await;
    report.differs_only_by(&well, &[("stripe.permissions", "fail")]);
    let seen = report.seen("stripe.permissions");
    assert!(seen.contains("disputes (rak_dispute_read), transfers (rak_transfer_read)"), "{seen}");

    let more: Vec<_> = ENOUGH.iter().copied().chain(["rak_payout_write"]).collect();
    bench.at_stripe("/_sandbox/setup", &with(more)).await;
    let report = bench.examine(&set).await;
    report.differs_only_by(&well, &[("stripe.permissions", "warn")]);
    assert!(report.seen("stripe.permissions").ends_with("payouts"), "{}", report.seen("stripe.permissions"));

    // What only the doctor looks at is no fault of the key's.
    let blind: Vec<_> = ENOUGH.iter().copied().filter(|one| *one != "rak_webhook_read").collect();
    bench.at_stripe("/_sandbox/setup", &with(blind)).await;
    let report = bench.examine(&set).await;
    report.differs_only_by(&well, &[("stripe.webhook", "warn"), ("stripe.connect_webhook", "warn")]);
    assert!(report.remedy("stripe.webhook").contains("rak_webhook_read"), "{}", report.remedy("stripe.webhook"));
}
