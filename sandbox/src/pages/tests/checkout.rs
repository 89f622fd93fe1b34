//! Checkout's page, and who may send its form.

use super::*;

#[test]
fn a_card_that_works_pays_and_leads_back() {
    let mut world = world();
    let made = session(&mut world, "customer_creation=always");
    let page = get(&mut world, &path(&made));
    for shown in
        ["19.00 USD", "Credits", "shop.example", "Your order", "4000 0027 6000 3184", "https://shop.example/cart"]
    {
        assert!(page.body.contains(shown), "{shown} in {}", page.body);
    }
    let form = "email=ann@example.com&name=Ann&number=4242+4242+4242+4242&expiry=12+%2F+34&cvc=123&do=card";
    let done = post(&mut world, &path(&made), form);
    assert_eq!(location(&done), format!("https://shop.example/done?s={}", id(&made)));
    let now = got(&mut world, &format!("/v1/checkout/sessions/{}?expand[]=customer", id(&made)));
    assert_eq!((now["status"].as_str(), now["payment_status"].as_str()), (Some("complete"), Some("paid")));
    assert_eq!(
        (&now["customer_details"]["email"], &now["customer"]["name"]),
        (&"ann@example.com".into(), &"Ann".into())
    );
    assert_eq!(told(&world, "checkout.session.completed"), 1);
    // Sending it again pays nothing again.
    let again = post(&mut world, &path(&made), form);
    assert!(again.status == 200 && again.body.contains("nothing more to pay"), "{}", again.body);
    assert_eq!((told(&world, "checkout.session.completed"), told(&world, "charge.succeeded")), (1, 1));
}

#[test]
fn a_refusal_is_shown_and_another_card_can_be_tried() {
    let mut world = world();
    let made = session(&mut world, "");
    for (form, shown) in [
        ("quick=4000000000000002", "Your card was declined"),
        ("do=card&number=4242424242424241&expiry=12/34&cvc=123", "card number is incorrect"),
        ("do=card&number=4242424242424242&expiry=12/20&cvc=123", "in the past"),
        ("do=card&number=4242424242424242&expiry=1234&cvc=123", "expiration date is incomplete"),
        ("do=card&number=4242424242424242&expiry=12/34&cvc=1", "security code is invalid"),
    ] {
        let page = post(&mut world, &path(&made), form);
        assert!(page.status == 402 && page.body.contains(shown), "{shown}: {} {}", page.status, page.body);
        assert_eq!(got(&mut world, &format!("/v1/checkout/sessions/{}", id(&made)))["status"], "open");
    }
    location(&post(&mut world, &path(&made), "quick=4242424242424242"));
    assert_eq!(told(&world, "checkout.session.completed"), 1);
}

#[test]
fn a_card_that_must_be_authenticated_pays_once_its_owner_has_done_so() {
    let mut world = world();
    let made = session(&mut world, "");
    let page = post(&mut world, &path(&made), "quick=4000002760003184");
    assert!(page.body.contains("3D Secure") && page.body.contains("19.00 USD"), "{}", page.body);
    assert!(get(&mut world, &path(&made)).body.contains("Complete: it is me"));
    let failed = post(&mut world, &path(&made), "do=fail");
    assert!(failed.status == 402 && failed.body.contains("failed authentication"), "{}", failed.body);
    assert_eq!(told(&world, "checkout.session.completed"), 0);
    post(&mut world, &path(&made), "quick=4000002760003184");
    location(&post(&mut world, &path(&made), "do=authenticate"));
    assert_eq!(told(&world, "checkout.session.completed"), 1);
    let stray = post(&mut world, &path(&made), "do=authenticate");
    assert_eq!((stray.status, told(&world, "checkout.session.completed")), (200, 1));
}

#[test]
fn whatever_is_written_on_a_page_is_text() {
    let mut world = world();
    let evil = "%3Cscript%3Ealert(1)%3C/script%3E%22%27%3Cb%3E";
    let form = format!(
        "mode=payment&line_items[0][price_data][currency]=usd&line_items[0][price_data][unit_amount]=1900&allow_promotion_codes=true\
         &line_items[0][price_data][product_data][name]={evil}&success_url=https://x.example/{evil}&cancel_url=https://x.example/{evil}&customer_email={evil}"
    );
    let made = super::made(&mut world, "/v1/checkout/sessions", &form);
    let pages = [
        get(&mut world, &path(&made)),
        post(&mut world, &path(&made), &format!("do=discount&promotion_code={evil}")),
        post(&mut world, &path(&made), &format!("do=card&number={evil}&expiry={evil}&cvc={evil}&email={evil}")),
        get(&mut world, &format!("/_sandbox/checkout/{evil}")),
        get(&mut world, &format!("/_sandbox/portal/{evil}")),
    ];
    for page in pages {
        assert!(!page.body.contains("<script") && !page.body.contains("<b>"), "{}", page.body);
    }
    assert!(get(&mut world, &path(&made)).body.contains("&lt;script&gt;alert(1)"));
}

#[test]
fn a_form_from_another_site_does_nothing() {
    let mut world = world();
    let made = session(&mut world, "");
    let pay = "quick=4242424242424242";
    for (origin, host) in [
        ("https://evil.example", "127.0.0.1:12111"),
        ("null", "127.0.0.1:12111"),
        // A name that was made to lead here.
        ("http://evil.example:12111", "evil.example:12111"),
        ("http://127.0.0.1:9999", "127.0.0.1:12111"),
    ] {
        let refused = send(&mut world, "POST", &path(&made), pay, &[("origin", origin), ("host", host)]);
        assert_eq!(refused.status, 403, "{origin}");
        let advance = r#"{"seconds":60}"#;
        let admin = send(&mut world, "POST", "/_sandbox/advance", advance, &[("origin", origin), ("host", host)]);
        assert_eq!(admin.status, 403, "{origin}");
    }
    assert_eq!(told(&world, "charge.succeeded"), 0);
    // Every route, reads too: a name that was made to lead here would show its site the answer.
    for (origin, host) in [
        (None, "evil.example:12111"),
        (None, "127.0.0.1.evil.example"),
        (Some("http://evil.example"), "127.0.0.1:12111"),
    ] {
        let mut headers = vec![("authorization", "Bearer sk_test_123456789"), ("host", host)];
        headers.extend(origin.map(|origin| ("origin", origin)));
        let all = ["/_sandbox", "/_sandbox/ledger", "/_sandbox/requests", "/v1/balance", "/v1/customers", &path(&made)];
        for route in all {
            let refused = send(&mut world, "GET", route, "", &headers);
            assert_eq!(refused.status, 403, "{route} {host} {origin:?}: {}", refused.body);
        }
        assert_eq!(send(&mut world, "POST", "/v1/customers", "name=a", &headers).status, 403);
    }
    for host in ["127.0.0.1:12111", "localhost:12111", "[::1]:12111", "bursar.localhost"] {
        let headers = [("authorization", "Bearer sk_test_123456789"), ("host", host)];
        for route in ["/_sandbox/ledger", "/v1/balance"] {
            assert_eq!(send(&mut world, "GET", route, "", &headers).status, 200, "{route} {host}");
        }
    }
    // Where others are meant to reach it, it has any name, and its pages are still its own alone.
    world.is_public = true;
    let named = [("authorization", "Bearer sk_test_123456789"), ("host", "sandbox:12111")];
    assert_eq!(send(&mut world, "GET", "/v1/balance", "", &named).status, 200);
    let foreign = [named[0], named[1], ("origin", "http://evil.example")];
    assert_eq!(send(&mut world, "GET", "/v1/balance", "", &foreign).status, 403);
    world.is_public = false;
    let own = send(
        &mut world,
        "POST",
        &path(&made),
        pay,
        &[("origin", "http://localhost:12111"), ("host", "localhost:12111")],
    );
    location(&own);
    let other = session(&mut world, "");
    location(&send(&mut world, "POST", &path(&other), pay, &[]));
}

#[test]
fn only_the_web_is_led_to() {
    let mut world = world();
    let line = "mode=payment&line_items[0][price_data][currency]=usd&line_items[0][price_data][unit_amount]=1&line_items[0][price_data][product_data][name]=a";
    for (address, code) in [
        ("javascript:alert(1)", "url_invalid"),
        ("shop.example", "url_invalid"),
        ("https://", "url_invalid"),
        ("data:text/html,a", "url_invalid"),
        ("https:///evil", "url_invalid"),
        ("https://a%0d%0aX: y", "url_invalid"),
    ] {
        let (status, body) = api(&mut world, "POST", "/v1/checkout/sessions", &format!("{line}&success_url={address}"));
        assert_eq!((status, body["error"]["code"].as_str()), (400, Some(code)), "{address}");
        let (status, _) = api(
            &mut world,
            "POST",
            "/v1/checkout/sessions",
            &format!("{line}&success_url=https://x.example&cancel_url={address}"),
        );
        assert_eq!(status, 400, "{address}");
        let intent = format!("amount=500&currency=usd&confirm=true&payment_method=pm_card_visa&return_url={address}");
        assert_eq!(api(&mut world, "POST", "/v1/payment_intents", &intent).0, 400, "{address}");
    }
}

#[test]
fn a_session_that_waits_too_long_expires_by_itself() {
    let mut world = world();
    let made = session(&mut world, &format!("expires_at={}", NOW + 1800));
    send(&mut world, "POST", "/_sandbox/advance", r#"{"seconds":1799}"#, &[]);
    assert_eq!(told(&world, "checkout.session.expired"), 0);
    send(&mut world, "POST", "/_sandbox/advance", r#"{"seconds":90000}"#, &[]);
    assert_eq!(told(&world, "checkout.session.expired"), 1);
    let event = world.store.all("event").find(|event| event["type"] == "checkout.session.expired").unwrap();
    assert_eq!(event["created"], NOW + 1800);
    let page = get(&mut world, &path(&made));
    assert!(page.body.contains("has expired") && page.body.contains("https://shop.example/cart"), "{}", page.body);
    assert_eq!(api(&mut world, "POST", &format!("/v1/checkout/sessions/{}/expire", id(&made)), "").0, 400);
    let paid = session(&mut world, "");
    post(&mut world, &path(&paid), "quick=4242424242424242");
    send(&mut world, "POST", "/_sandbox/advance", r#"{"seconds":90000}"#, &[]);
    assert_eq!(told(&world, "checkout.session.expired"), 1);
}

#[test]
fn a_customer_without_an_address_gets_the_one_that_was_typed() {
    let mut world = world();
    let customer = id(&made(&mut world, "/v1/customers", "name=Ann"));
    let made = session(&mut world, &format!("customer={customer}"));
    let form = "email=ann@example.com&number=4242+4242+4242+4242&expiry=12+%2F+34&cvc=123&do=card";
    post(&mut world, &path(&made), form);
    assert_eq!(got(&mut world, &format!("/v1/customers/{customer}"))["email"], "ann@example.com");
}

#[test]
fn who_has_paid_in_a_demonstration_comes_back_to_a_page() {
    let mut world = world();
    let page = get(&mut world, "/_sandbox/back/checkout?session_id=cs_1");
    assert!(page.status == 200 && page.body.contains("success_url"), "{}", page.body);
}
