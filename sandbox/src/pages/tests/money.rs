//! What a checkout comes to, and what comes of it: discounts, taxes, debits, invoices, trials.

use serde_json::json;

use super::*;
use crate::v1::payment_methods;

fn confirm(world: &mut World, session: &Value, method: &str) -> (u16, Value) {
    let form = format!("payment_method={method}&expected_amount={}", session["amount_total"]);
    api(world, "POST", &format!("/v1/payment_pages/{}/confirm", id(session)), &form)
}

/// The calls of `stripe trigger checkout.session.completed`.
#[test]
fn the_cli_completes_a_session() {
    let mut world = world();
    let product = id(&made(&mut world, "/v1/products", "name=a"));
    let price = id(&made(&mut world, "/v1/prices", &format!("product={product}&unit_amount=1500&currency=usd")));
    let form = format!(
        "mode=payment&success_url=https://x.example&cancel_url=https://x.example&line_items[0][price]={price}&line_items[0][quantity]=2\
         &payment_intent_data[shipping][name]=Jenny&payment_intent_data[shipping][address][line1]=a"
    );
    let session = made(&mut world, "/v1/checkout/sessions", &form);
    assert_eq!(got(&mut world, &format!("/v1/payment_pages/{}", id(&session)))["amount_total"], 3000);
    let wrong = format!("/v1/payment_pages/{}/confirm", id(&session));
    assert_eq!(api(&mut world, "POST", &wrong, "payment_method=pm_card_visa&expected_amount=1").0, 400);
    let (status, declined) = confirm(&mut world, &session, "pm_card_chargeDeclined");
    assert_eq!((status, &declined["error"]["type"]), (402, &json!("card_error")));
    let card = payment_methods::of_card(&mut world, "tok_visa", &Value::Null).unwrap();
    let (status, done) = confirm(&mut world, &session, &id(&card));
    assert_eq!((status, &done["payment_status"], &done["status"]), (200, &json!("paid"), &json!("complete")));
    let intent = got(&mut world, &format!("/v1/payment_intents/{}", done["payment_intent"].as_str().unwrap()));
    assert_eq!(intent["shipping"]["name"], "Jenny");
    assert_eq!(told(&world, "checkout.session.completed"), 1);
    for (filter, found) in [("payment_intent", &done["payment_intent"]), ("status", &json!("complete"))] {
        let list = got(&mut world, &format!("/v1/checkout/sessions?{filter}={}", found.as_str().unwrap()));
        assert_eq!(list["data"].as_array().unwrap().len(), 1, "{filter}");
    }
    let lines = got(&mut world, &format!("/v1/checkout/sessions/{}/line_items", id(&session)));
    assert_eq!((&lines["data"][0]["amount_total"], &lines["data"][0]["description"]), (&json!(3000), &json!("a")));
}

#[test]
fn the_cli_expires_a_session() {
    let mut world = world();
    let made = session(&mut world, "");
    let expired = super::made(&mut world, &format!("/v1/checkout/sessions/{}/expire", id(&made)), "");
    assert_eq!((&expired["status"], &expired["url"]), (&json!("expired"), &Value::Null));
    assert_eq!(told(&world, "checkout.session.expired"), 1);
    assert_eq!(confirm(&mut world, &made, "pm_card_visa").0, 400);
}

/// A debit: complete without money, which arrives later or never.
#[test]
fn a_debit_is_told_of_twice() {
    for (succeeded, event, status, iban) in [
        (true, "checkout.session.async_payment_succeeded", "paid", "DE89370400440532013000"),
        (false, "checkout.session.async_payment_failed", "unpaid", "DE62370400440532013001"),
    ] {
        let mut world = world();
        let form = "payment_method_types[]=sepa_debit&payment_intent_data[setup_future_usage]=off_session&invoice_creation[enabled]=true";
        let made = session(&mut world, form);
        assert!(get(&mut world, &path(&made)).body.contains("SEPA debit"));
        let form = format!(
            "type=sepa_debit&sepa_debit[iban]={iban}&billing_details[name]=a&billing_details[email]=a@x.example"
        );
        let debit = super::made(&mut world, "/v1/payment_methods", &form);
        let (code, done) = confirm(&mut world, &made, &id(&debit));
        assert_eq!((code, &done["status"], &done["payment_status"]), (200, &json!("complete"), &json!("unpaid")));
        assert!(done["customer"].is_string(), "a method for later is somebody's: {done}");
        assert_eq!(told(&world, event), 0, "the money is on its way");
        world.pass(world.now + 10 * 24 * 60 * 60);
        assert_eq!(told(&world, event), 1);
        let now = got(&mut world, &format!("/v1/checkout/sessions/{}", id(&made)));
        assert_eq!(now["payment_status"], status);
        assert_eq!((told(&world, "invoice.paid"), now["invoice"].is_string()), (usize::from(succeeded), succeeded));
    }
}

fn coupon(world: &mut World, coupon: Value) {
    let promotion = json!({ "id": "promo_1", "object": "promotion_code", "active": true, "code": "LESS", "customer": null,
        "expires_at": null, "max_redemptions": 1, "promotion": { "type": "coupon", "coupon": "less" }, "times_redeemed": 0 });
    world.store.insert("coupon", coupon);
    world.store.insert("promotion_code", promotion);
}

#[test]
fn a_code_takes_off_what_its_coupon_says_and_as_often_as_it_may() {
    let mut world = world();
    coupon(
        &mut world,
        json!({ "id": "less", "object": "coupon", "percent_off": 12.5, "valid": true, "times_redeemed": 0 }),
    );
    let made = session(&mut world, "allow_promotion_codes=true");
    let wrong = post(&mut world, &path(&made), "do=discount&promotion_code=MORE");
    assert!(wrong.status == 400 && wrong.body.contains("This code is invalid"), "{}", wrong.body);
    let page = post(&mut world, &path(&made), "do=discount&promotion_code=less");
    // An eighth of 1900, to the nearest cent.
    assert!(page.body.contains("-2.38 USD") && page.body.contains("Pay 16.62 USD"), "{}", page.body);
    location(&post(&mut world, &path(&made), "quick=4242424242424242"));
    let done = got(&mut world, &format!("/v1/checkout/sessions/{}", id(&made)));
    assert_eq!((&done["amount_subtotal"], &done["amount_total"]), (&json!(1900), &json!(1662)));
    assert_eq!(done["total_details"]["amount_discount"], 238);
    assert_eq!(done["discounts"], json!([{ "coupon": null, "promotion_code": "promo_1" }]));
    assert_eq!(world.store.all("charge").next().unwrap()["amount"], 1662);
    let second = session(&mut world, "allow_promotion_codes=true");
    assert_eq!(post(&mut world, &path(&second), "do=discount&promotion_code=LESS").status, 400);
    let closed = session(&mut world, "");
    assert_eq!(post(&mut world, &path(&closed), "do=discount&promotion_code=LESS").status, 400);
}

#[test]
fn an_amount_off_is_spread_and_never_more_than_there_is() {
    let mut world = world();
    coupon(
        &mut world,
        json!({ "id": "less", "object": "coupon", "amount_off": 1000, "currency": "usd", "valid": true }),
    );
    let two = "line_items[1][price_data][currency]=usd&line_items[1][price_data][unit_amount]=100&line_items[1][price_data][product_data][name]=b&discounts[0][coupon]=less";
    let made = session(&mut world, &format!("{two}&expand[]=line_items"));
    let off: Vec<i64> = made["line_items"]["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| line["amount_discount"].as_i64().unwrap())
        .collect();
    assert_eq!((off, &made["amount_total"]), (vec![950, 50], &json!(1000)));
    world.store.insert(
        "coupon",
        json!({ "id": "all", "object": "coupon", "amount_off": 99_999, "currency": "usd", "valid": true }),
    );
    let free = session(&mut world, "discounts[0][coupon]=all");
    assert_eq!(free["amount_total"], 0);
    assert!(get(&mut world, &path(&free)).body.contains("nothing is due"));
    location(&post(&mut world, &path(&free), "do=free"));
    let done = got(&mut world, &format!("/v1/checkout/sessions/{}", id(&free)));
    assert_eq!((&done["payment_status"], &done["payment_intent"]), (&json!("no_payment_required"), &Value::Null));
    let unknown = "mode=payment&success_url=https://x.example&discounts[0][coupon]=none&line_items[0][price_data][currency]=usd&line_items[0][price_data][unit_amount]=1&line_items[0][price_data][product_data][name]=a";
    assert_eq!(api(&mut world, "POST", "/v1/checkout/sessions", unknown).0, 400);
}

#[test]
fn taxes_are_inside_the_total() {
    let mut world = world();
    assert_eq!(send(&mut world, "POST", "/_sandbox/tax", r#"{"percent":101}"#, &[]).status, 400);
    assert_eq!(send(&mut world, "POST", "/_sandbox/tax", r#"{"percent":8.875}"#, &[]).status, 200);
    let untaxed = session(&mut world, "");
    assert_eq!(untaxed["amount_total"], 1900);
    let made = session(&mut world, "automatic_tax[enabled]=true");
    assert_eq!(
        (&made["amount_subtotal"], &made["amount_total"], &made["total_details"]["amount_tax"]),
        (&json!(1900), &json!(2069), &json!(169))
    );
    let inclusive =
        session(&mut world, "automatic_tax[enabled]=true&line_items[0][price_data][tax_behavior]=inclusive");
    assert_eq!((&inclusive["amount_total"], &inclusive["total_details"]["amount_tax"]), (&json!(1900), &json!(155)));
}

#[test]
fn a_purchase_makes_an_invoice_where_one_is_wanted() {
    let mut world = world();
    let made = session(&mut world, "invoice_creation[enabled]=true&invoice_creation[invoice_data][metadata][order]=7");
    location(&post(&mut world, &path(&made), "quick=4242424242424242&email=ann@example.com"));
    let done = got(&mut world, &format!("/v1/checkout/sessions/{}", id(&made)));
    let invoice = got(&mut world, &format!("/v1/invoices/{}?expand[]=payments", done["invoice"].as_str().unwrap()));
    assert_eq!(
        (&invoice["status"], &invoice["amount_paid"], &invoice["metadata"]["order"]),
        (&json!("paid"), &json!(1900), &json!("7"))
    );
    assert_eq!(invoice["payments"]["data"][0]["payment"]["payment_intent"], done["payment_intent"]);
    assert_eq!((&invoice["customer"], &invoice["customer_email"]), (&done["customer"], &json!("ann@example.com")));
    for kind in ["invoice.created", "invoice.finalized", "invoice.paid", "charge.succeeded"] {
        assert_eq!(told(&world, kind), 1, "{kind}");
    }
}

#[test]
fn a_trial_costs_nothing_yet_and_says_what_it_will() {
    let mut world = world();
    let price = plan(&mut world, "Pro", 1900);
    let form = format!(
        "mode=subscription&line_items[0][price]={price}&success_url=https://x.example&subscription_data[trial_period_days]=7&subscription_data[metadata][user]=ann"
    );
    let made = made(&mut world, "/v1/checkout/sessions", &form);
    assert_eq!(made["amount_total"], 0);
    let page = get(&mut world, &path(&made));
    assert!(page.body.contains("Free until 22 January 2027. Then 19.00 USD every month."), "{}", page.body);
    location(&post(&mut world, &path(&made), "quick=4242424242424242"));
    let done = got(&mut world, &format!("/v1/checkout/sessions/{}?expand[]=subscription", id(&made)));
    assert_eq!(
        (&done["payment_status"], &done["subscription"]["status"]),
        (&json!("no_payment_required"), &json!("trialing"))
    );
    assert_eq!(done["subscription"]["metadata"]["user"], "ann");
}

#[test]
fn a_card_is_saved_without_a_payment() {
    let mut world = world();
    let customer = id(&made(&mut world, "/v1/customers", "email=ann@example.com"));
    let form = format!("mode=setup&currency=usd&success_url=https://x.example&customer={customer}");
    let made = made(&mut world, "/v1/checkout/sessions", &form);
    let page = get(&mut world, &path(&made));
    assert!(
        page.body.contains("Save the card") && page.body.contains("value=\"ann@example.com\" readonly"),
        "{}",
        page.body
    );
    location(&post(&mut world, &path(&made), "quick=4242424242424242"));
    let done = got(&mut world, &format!("/v1/checkout/sessions/{}?expand[]=setup_intent", id(&made)));
    assert_eq!(
        (&done["setup_intent"]["status"], &done["setup_intent"]["customer"]),
        (&json!("succeeded"), &json!(customer))
    );
    let method = world.store.any(done["setup_intent"]["payment_method"].as_str().unwrap()).unwrap();
    assert_eq!((&method["customer"], told(&world, "charge.succeeded")), (&json!(customer), 0));
}

#[test]
fn amounts_are_shown_as_their_currency_has_them() {
    let mut world = world();
    for (currency, shown) in [("jpy", "Pay 1,900 JPY"), ("kwd", "Pay 1.900 KWD"), ("eur", "Pay 19.00 EUR")] {
        let form = format!(
            "mode=payment&success_url=https://x.example&line_items[0][price_data][currency]={currency}\
             &line_items[0][price_data][unit_amount]=1900&line_items[0][price_data][product_data][name]=a"
        );
        let made = made(&mut world, "/v1/checkout/sessions", &form);
        assert!(get(&mut world, &path(&made)).body.contains(shown), "{shown}");
    }
}
