//! Selling: checkouts, what they grant, and the portal.

use std::time::Duration;

use bursar::boot;
use serde_json::{Value, json};

use super::shop::{SOON, Shop, post, read, serve, terms_with};
use crate::support::{bursar, database, eventually};

const CHECKOUT: &str = "/api/stripe/checkout";

#[tokio::test]
async fn a_package_is_sold_by_a_price_made_ad_hoc_and_granted_once() {
    let shop = Shop::open().await;
    let session = shop.checkout(json!({"user_id": "alice", "package": "medium", "email": "alice@example.com"})).await;
    let seen = shop.session(&session).await;
    assert_eq!(
        (&seen["mode"], &seen["amount_subtotal"], &seen["currency"]),
        (&json!("payment"), &json!(2999), &json!("usd"))
    );
    assert_eq!((&seen["client_reference_id"], &seen["metadata"]["user_id"]), (&json!("alice"), &json!("alice")));
    assert_eq!((&seen["metadata"]["credits"], &seen["metadata"]["package"]), (&json!("200"), &json!("medium")));
    let customers = shop.customers().await;
    assert_eq!(customers.len(), 1);
    assert_eq!(
        (&customers[0]["metadata"]["user_id"], &customers[0]["email"]),
        (&json!("alice"), &json!("alice@example.com"))
    );
    assert_eq!(seen["customer"], customers[0]["id"]);

    let standing = shop.get(&format!("{CHECKOUT}/{session}")).await;
    assert_eq!(read(&standing)["state"], "open", "{standing:?}");
    shop.pay(&session).await;
    shop.hear("evt_1", "checkout.session.completed", &session).await;
    shop.hear("evt_2", "checkout.session.completed", &session).await;
    assert_eq!(shop.balance("alice").await, "200");
    let standing = read(&shop.get(&format!("{CHECKOUT}/{session}")).await);
    assert_eq!(
        (&standing["state"], &standing["credits"], &standing["user_id"]),
        (&json!("granted"), &json!("200"), &json!("alice"))
    );
}

#[tokio::test]
async fn a_late_webhook_is_made_up_for_by_looking_and_grants_nothing_twice() {
    let shop = Shop::open().await;
    let session = shop.checkout(json!({"user_id": "alice", "package": "small"})).await;
    shop.pay(&session).await;
    let standing = read(&shop.get(&format!("{CHECKOUT}/{session}")).await);
    assert_eq!((&standing["state"], &standing["credits"]), (&json!("granted"), &json!("50")), "{standing}");
    assert_eq!(shop.balance("alice").await, "50");
    shop.hear("evt_late", "checkout.session.completed", &session).await;
    assert_eq!(shop.balance("alice").await, "50");
}

#[tokio::test]
async fn an_amount_buys_its_worth_to_the_cent_in_every_currency() {
    let shop = Shop::open().await;
    for (amount, currency, credits) in [
        (1234, "usd", "12.34"),
        (500, "jpy", "500"),
        (1230, "kwd", "1.23"),
        (1_200_000, "ugx", "12000"),
        (500, "isk", "5"),
    ] {
        let user = format!("user_{currency}");
        let session = shop.checkout(json!({"user_id": user, "amount": amount, "currency": currency})).await;
        assert_eq!(shop.session(&session).await["amount_subtotal"], amount);
        shop.pay(&session).await;
        shop.hear(&format!("evt_{currency}"), "checkout.session.completed", &session).await;
        assert_eq!(shop.balance(&user).await, credits);
    }
    for (body, words) in [
        (json!({"user_id": "u", "amount": 100, "currency": "eur"}), "Nothing is sold in \"eur\""),
        (json!({"user_id": "u", "amount": 1235, "currency": "kwd"}), "1.235 KWD is no multiple of 0.010 KWD"),
        (json!({"user_id": "u", "amount": 550, "currency": "ugx"}), "5.50 UGX is no multiple of 1.00 UGX"),
        (json!({"user_id": "u", "amount": 0}), "from 1 to"),
        (json!({"user_id": "u", "amount": "25.00"}), "expected i64"),
        (json!({"user_id": "u", "amount": 100_000_000}), "from 1 to"),
    ] {
        let reply = shop.post(CHECKOUT, &body).await;
        assert_eq!(reply.status, 422, "{body}");
        assert!(reply.detail().contains(words), "{reply:?}");
    }
}

#[tokio::test]
async fn a_tier_is_sold_with_the_user_on_its_subscription_and_a_second_is_refused() {
    let shop = Shop::open_with(|settings| settings.checkout.trial_days = 7).await;
    let session = shop.checkout(json!({"user_id": "alice", "tier": "pro"})).await;
    let seen = shop.session(&session).await;
    assert_eq!((&seen["mode"], &seen["metadata"]["tier"]), (&json!("subscription"), &json!("pro")));
    shop.pay(&session).await;
    shop.hear("evt_1", "checkout.session.completed", &session).await;
    let subscription = shop.session(&session).await["subscription"].as_str().unwrap().to_owned();
    let made = shop.stripe.get(&format!("/v1/subscriptions/{subscription}")).await.body;
    assert_eq!((&made["metadata"]["user_id"], &made["status"]), (&json!("alice"), &json!("trialing")));

    let second = shop.post(CHECKOUT, &json!({"user_id": "alice", "tier": "pro"})).await;
    assert_eq!(second.status, 409, "{second:?}");
    assert!(second.detail().contains("/api/stripe/portal"), "{second:?}");
    assert_eq!(read(&second)["subscription_id"], subscription.as_str());
    // How it stands is asked of Stripe afterwards.
    let status = eventually(SOON, || async {
        let status = read(&shop.get("/api/subscriptions/alice").await);
        if status["subscription_id"] == subscription.as_str() { Ok(status) } else { Err(status) }
    })
    .await;
    assert_eq!(
        (&status["state"], &status["tier"], &status["has_access"]),
        (&json!("trialing"), &json!("pro"), &json!(true))
    );
    assert_eq!(status["balance"], "0", "a trial grants none");
    let standing = read(&shop.get(&format!("{CHECKOUT}/{session}")).await);
    assert_eq!((&standing["state"], &standing["credits"]), (&json!("granted"), &Value::Null), "{standing}");
    let bob = read(&shop.get("/api/subscriptions/bob").await);
    assert_eq!((&bob["state"], &bob["tier"], &bob["access_until"]), (&json!("none"), &Value::Null, &Value::Null));
}

#[tokio::test]
async fn the_same_key_is_the_same_session_and_another_body_is_refused() {
    let shop = Shop::open().await;
    let body = json!({"user_id": "alice", "package": "small"});
    let first = read(&shop.keyed(CHECKOUT, "k1", &body).await);
    assert_eq!(read(&shop.keyed(CHECKOUT, "k1", &body).await), first);
    let other = shop.keyed(CHECKOUT, "k1", &json!({"user_id": "alice", "package": "large"})).await;
    assert_eq!(other.status, 422, "{other:?}");
    assert_ne!(read(&shop.keyed(CHECKOUT, "k2", &body).await)["session"], first["session"]);
    let bob = read(&shop.keyed(CHECKOUT, "k1", &json!({"user_id": "bob", "package": "large"})).await);
    assert_ne!(bob["session"], first["session"], "a key is its user's own");
    assert_eq!(shop.sessions().await, 3);
}

#[tokio::test]
async fn without_a_key_only_a_session_that_is_still_open_is_found_again() {
    let shop = Shop::open().await;
    let body = json!({"user_id": "alice", "package": "small"});
    let first = shop.checkout(body.clone()).await;
    assert_eq!(shop.checkout(body.clone()).await, first);
    assert_ne!(shop.checkout(json!({"user_id": "alice", "package": "large"})).await, first);
    // No event has told of it yet.
    shop.pay(&first).await;
    assert_ne!(shop.checkout(body).await, first, "a second purchase on one day");
    assert_eq!(shop.balance("alice").await, "50", "and looking has granted the first");
}

#[tokio::test]
async fn concurrent_first_checkouts_make_one_customer() {
    let shop = Shop::open().await;
    let asked = (0..12).map(|n| {
        let (body, key) = (json!({"user_id": "alice", "package": "small"}), format!("k{n}"));
        let address = shop.address;
        tokio::spawn(async move { super::shop::post(address, CHECKOUT, &body, Some(&key)).await })
    });
    for reply in asked.collect::<Vec<_>>() {
        let reply = reply.await.unwrap();
        assert_eq!(reply.status, 200, "{reply:?}");
    }
    assert_eq!(shop.customers().await.len(), 1);
    assert_eq!(shop.sessions().await, 12);
}

#[tokio::test]
async fn a_customer_deleted_at_stripe_is_made_anew() {
    let shop = Shop::open().await;
    shop.checkout(json!({"user_id": "alice", "package": "small"})).await;
    let old = shop.customers().await[0]["id"].as_str().unwrap().to_owned();
    shop.stripe.send("DELETE", &format!("/v1/customers/{old}"), "", &[]).await.unwrap();
    let session = shop.checkout(json!({"user_id": "alice", "package": "large"})).await;
    let new = shop.session(&session).await["customer"].as_str().unwrap().to_owned();
    assert_ne!(new, old);
    assert_eq!(shop.customers().await.len(), 1);
    let portal = shop.post("/api/stripe/portal", &json!({"user_id": "alice"})).await;
    assert_eq!(portal.status, 200, "{portal:?}");
}

#[tokio::test]
async fn what_stripe_refuses_is_said_with_its_reason() {
    let shop = Shop::open_with(|settings| {
        terms_with(settings, |terms| terms.packages.push(super::shop::package("odd", 7, Some("price_nowhere"))));
    })
    .await;
    let reply = shop.keyed(CHECKOUT, "k", &json!({"user_id": "alice", "package": "odd"})).await;
    assert_eq!(reply.status, 502, "{reply:?}");
    assert!(reply.detail().contains("price_nowhere"), "{reply:?}");
}

#[tokio::test]
async fn a_user_begins_so_many_a_minute_and_repetitions_begin_nothing() {
    let shop = Shop::open_with(|settings| settings.checkout.per_minute = 2).await;
    let body = json!({"user_id": "alice", "package": "small"});
    assert_eq!(shop.keyed(CHECKOUT, "k1", &body).await.status, 200);
    assert_eq!(shop.post("/api/stripe/portal", &json!({"user_id": "alice"})).await.status, 200);
    let limited = shop.keyed(CHECKOUT, "k2", &body).await;
    assert_eq!(limited.status, 429, "{limited:?}");
    assert!((1..=60).contains(&limited.header("retry-after").unwrap().parse::<i64>().unwrap()));
    assert_eq!(shop.keyed(CHECKOUT, "k1", &body).await.status, 200);
    assert_eq!(
        shop.checkout(body).await.len(),
        shop.checkout(json!({"user_id": "bob", "package": "small"})).await.len()
    );
}

#[tokio::test]
async fn the_portal_is_a_page_for_the_users_customer() {
    let shop = Shop::open().await;
    let asked = json!({"user_id": "alice", "return_url": "https://shop.example/account"});
    let page = shop.keyed("/api/stripe/portal", "p1", &asked).await;
    assert_eq!(page.status, 200, "{page:?}");
    assert!(read(&page)["url"].as_str().unwrap().starts_with("http"));
    assert_eq!(read(&shop.keyed("/api/stripe/portal", "p1", &asked).await), read(&page));
    assert_eq!(shop.keyed("/api/stripe/portal", "p1", &json!({"user_id": "alice"})).await.status, 422);
    assert_eq!(shop.customers().await.len(), 1);
}

#[tokio::test]
async fn packages_are_seeded_and_what_somebody_edits_stays() {
    let shop = Shop::open().await;
    let settings = super::shop::settings();
    boot::seed(&shop.db.pool, &settings.terms).await.unwrap();
    sqlx::query("UPDATE bursar.credit_packages SET amount = 3999 WHERE name = 'medium'")
        .execute(&shop.db.pool)
        .await
        .unwrap();
    sqlx::query("UPDATE bursar.credit_packages SET active = false WHERE name = 'bulk'")
        .execute(&shop.db.pool)
        .await
        .unwrap();
    let mut changed = settings.terms.clone();
    for package in &mut changed.packages {
        package.amount += 1;
    }
    boot::seed(&shop.db.pool, &changed).await.unwrap();
    let rows: Vec<(String, i64)> =
        sqlx::query_as("SELECT name, amount FROM bursar.credit_packages WHERE active ORDER BY name")
            .fetch_all(&shop.db.pool)
            .await
            .unwrap();
    assert_eq!(rows, [("large".into(), 6000), ("medium".into(), 3999), ("small".into(), 1000)]);

    let gone = shop.post(CHECKOUT, &json!({"user_id": "alice", "package": "bulk"})).await;
    assert!(gone.detail().contains("Known: large, medium, small"), "{gone:?}");
    let session = shop.checkout(json!({"user_id": "alice", "package": "medium"})).await;
    // What was agreed on holds, whatever the package says by the time it is paid.
    sqlx::query("UPDATE bursar.credit_packages SET amount = 4999, credits = 1 WHERE name = 'medium'")
        .execute(&shop.db.pool)
        .await
        .unwrap();
    shop.pay(&session).await;
    shop.hear("evt_1", "checkout.session.completed", &session).await;
    assert_eq!(shop.balance("alice").await, "200");
}

#[tokio::test]
async fn the_look_of_a_checkout_follows_the_settings() {
    let shop = Shop::open_with(|settings| {
        settings.checkout.allow_promotion_codes = true;
        settings.checkout.automatic_tax = true;
        settings.checkout.invoice_creation = true;
        settings.checkout.cancel_url = Some("https://shop.example/no".into());
    })
    .await;
    let body = json!({"user_id": "alice", "package": "small", "success_url": "https://shop.example/yes?s={CHECKOUT_SESSION_ID}"});
    let seen = shop.session(&shop.checkout(body).await).await;
    assert_eq!(seen["success_url"], "https://shop.example/yes?s={CHECKOUT_SESSION_ID}");
    assert_eq!(
        (&seen["cancel_url"], &seen["allow_promotion_codes"]),
        (&json!("https://shop.example/no"), &json!(true))
    );
    assert_eq!((&seen["automatic_tax"]["enabled"], &seen["invoice_creation"]["enabled"]), (&json!(true), &json!(true)));
}

#[tokio::test]
async fn a_user_seen_first_at_a_checkout_starts_with_the_initial_credits_once() {
    let shop =
        Shop::open_with(|settings| terms_with(settings, |terms| terms.initial_credits = super::shop::credits(5))).await;
    let session = shop.checkout(json!({"user_id": "alice", "package": "small"})).await;
    assert_eq!(shop.balance("alice").await, "5");
    shop.pay(&session).await;
    shop.hear("evt_1", "checkout.session.completed", &session).await;
    shop.checkout(json!({"user_id": "alice", "package": "large"})).await;
    assert_eq!(shop.balance("alice").await, "55");
}

#[tokio::test]
async fn a_user_id_of_255_bytes_buys_and_one_of_300_does_not() {
    let shop = Shop::open().await;
    let long = "é".repeat(127) + "x";
    let session = shop.checkout(json!({"user_id": long, "package": "small"})).await;
    let ascii = "x".repeat(255);
    let other = shop.checkout(json!({"user_id": ascii, "package": "small"})).await;
    assert_eq!(shop.session(&other).await["client_reference_id"], Value::Null, "Stripe takes 200 characters");
    shop.pay(&session).await;
    shop.hear("evt_1", "checkout.session.completed", &session).await;
    assert_eq!(shop.balance(&long).await, "50");
    for bad in ["x".repeat(300), "a\0b".into(), String::new()] {
        let reply = shop.post(CHECKOUT, &json!({"user_id": bad, "package": "small"})).await;
        assert_eq!(reply.status, 422, "{reply:?}");
    }
}

#[tokio::test]
async fn where_a_tiers_checkout_stands_does_not_depend_on_how_the_database_sorts_text() {
    let shop = Shop::open().await;
    let sql = "INSERT INTO bursar.checkout (id, user_id, key, asked, mode, item, credits, fields, state, session_id, payment_status, subscription_id)
               VALUES ('c', 'alice', 'k', '{}', 'subscription', 'tier:pro', 1, '[]', 'complete', 'cs_1', 'paid', 'sub_1');
               INSERT INTO bursar.service_month (subscription_id, start_at, end_at, user_id, value, left_over, refill_key)
               VALUES ('sub_1', '2027-01-01', '2027-02-01', 'alice', 1, 1, 'refill:sub_1:pro:2027-01-01T00:00:00Z');
               SELECT bursar.post('[{\"key\": \"refill:sub_1:pro:2027-01-01T00:00:00Z\", \"kind\": \"refill\", \"debit\": \"issuance\",
                                     \"credit\": \"user:alice\", \"unit\": \"credits\", \"amount\": 150000000}]');
               ALTER TABLE bursar.posting ALTER COLUMN key TYPE text COLLATE \"en-x-icu\"";
    sqlx::raw_sql(sql).execute(&shop.db.pool).await.unwrap();
    let standing = read(&shop.get(&format!("{CHECKOUT}/cs_1")).await);
    assert_eq!((&standing["state"], &standing["credits"]), (&json!("granted"), &json!("150")), "{standing}");
}

#[tokio::test]
async fn without_a_key_a_checkout_whose_job_was_cancelled_is_not_waited_for() {
    let db = database().await;
    let (address, _stopper) = serve(&db.pool, |settings| settings.patience = Duration::from_millis(50)).await;
    let ask = async || post(address, CHECKOUT, &json!({"user_id": "alice", "package": "small"}), None).await.status;
    let begun = async || -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM bursar.checkout").fetch_one(&db.pool).await.unwrap()
    };
    assert_eq!((ask().await, ask().await, begun().await), (503, 503, 1), "no worker is there yet");
    let job: String = sqlx::query_scalar("SELECT id FROM bursar.job WHERE kind = 'create_checkout'")
        .fetch_one(&db.pool)
        .await
        .unwrap();
    let cancelled = bursar(&["jobs", "cancel", &job]).env("DATABASE_URL", &db.url).output().unwrap();
    assert!(cancelled.status.success(), "{cancelled:?}");
    assert_eq!((ask().await, begun().await), (503, 2), "another was begun");
}

#[tokio::test]
async fn two_subscriptions_of_one_user_are_flagged_and_the_team_is_told() {
    let shop = Shop::open().await;
    let mut all = Vec::new();
    for key in ["a", "b"] {
        let reply = shop.keyed(CHECKOUT, key, &json!({"user_id": "alice", "tier": "pro"})).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        all.push(read(&reply)["session"].as_str().unwrap().to_owned());
        // As if both were paid before any page could be taken away.
        let paused = bursar(&["jobs", "pause", "expire_checkout"]).env("DATABASE_URL", &shop.db.url).output().unwrap();
        assert!(paused.status.success(), "{paused:?}");
    }
    for (n, session) in all.iter().enumerate() {
        shop.pay(session).await;
        shop.hear(&format!("evt_{n}"), "checkout.session.completed", session).await;
    }
    eventually(SOON, || async {
        let flags: Vec<String> = sqlx::query_scalar(
            "SELECT source FROM bursar.user_flag WHERE user_id = 'alice' AND flag = 'second_subscription'",
        )
        .fetch_all(&shop.db.pool)
        .await
        .unwrap();
        let told: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM bursar.job WHERE kind = 'notify_team' AND key LIKE '%second_subscription:%'",
        )
        .fetch_one(&shop.db.pool)
        .await
        .unwrap();
        if (flags.len(), told) == (2, 1) { Ok(()) } else { Err((flags, told)) }
    })
    .await;
}
