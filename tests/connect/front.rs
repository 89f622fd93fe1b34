//! What the application sees: the real server, a real worker, a sandbox.

use std::{collections::HashSet, sync::Arc, time::Duration};

use bursar::api::Seller;
use serde_json::{Value, json};
use tokio::sync::Barrier;

use crate::{
    api::shop::{SOON, Shop, get, post, read, serve},
    support::{database, eventually},
};

const CONNECT: &str = "/api/stripe/connect";

async fn connect(shop: &Shop, key: Option<&str>) -> Value {
    let reply = post(shop.address, CONNECT, &json!({"user_id": "bob"}), key).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    read(&reply)
}

async fn status(shop: &Shop) -> Value {
    let reply = shop.get("/api/stripe/connect/status?user_id=bob").await;
    assert_eq!(reply.status, 200, "{reply:?}");
    read(&reply)
}

/// Where a link leads, by its path at the sandbox.
async fn follow(shop: &Shop, url: &str) -> String {
    let path = url.strip_prefix(&shop.stripe.0.url).unwrap();
    let reply = shop.stripe.get(path).await;
    reply.header("location").unwrap_or_else(|| panic!("{}", reply.text)).to_owned()
}

async fn run(shop: &Shop, sql: &'static str) {
    sqlx::query(sql).execute(&shop.db.pool).await.unwrap();
}

#[tokio::test]
async fn a_receiver_gets_one_express_account_and_a_link_for_each_request() {
    let shop = Shop::open_with(|settings| settings.connect.country = Some("DE".into())).await;
    let first = connect(&shop, Some("k")).await;
    let second = connect(&shop, None).await;
    assert_eq!(first["account"], second["account"]);
    assert_ne!(first["url"], second["url"], "a link is used once");
    assert_eq!(connect(&shop, Some("k")).await, first, "a repetition gets the same link");
    let accounts = shop.stripe.get("/v1/accounts").await.body["data"].clone();
    assert_eq!(accounts.as_array().unwrap().len(), 1);
    let account = &accounts[0];
    assert_eq!((&account["id"], &account["country"]), (&first["account"], &json!("DE")));
    assert_eq!((&account["type"], &account["metadata"]), (&json!("express"), &json!({"user_id": "bob"})));
    assert_eq!(account["capabilities"], json!({"transfers": "inactive"}));

    let url = first["url"].as_str().unwrap();
    assert!(follow(&shop, url).await.contains("/onboarding/visit_"));
    assert_eq!(follow(&shop, url).await, "http://localhost:3000/connect/refresh", "used before");
    // One whose time is over is made anew for its key.
    run(&shop, "UPDATE bursar.onboarding SET expires_at = bursar.now() WHERE key = 'k'").await;
    let third = connect(&shop, Some("k")).await;
    assert!(third["url"] != first["url"] && third["account"] == first["account"], "{third}");
    assert_eq!(connect(&shop, Some("k")).await, third);
}

#[tokio::test]
async fn twenty_requests_at_once_make_one_account() {
    let shop = Shop::open().await;
    let barrier = Arc::new(Barrier::new(20));
    let askers = (0..20).map(|_| {
        let (barrier, address) = (Arc::clone(&barrier), shop.address);
        tokio::spawn(async move {
            barrier.wait().await;
            let reply = post(address, CONNECT, &json!({"user_id": "bob"}), None).await;
            assert_eq!(reply.status, 200, "{reply:?}");
            read(&reply)
        })
    });
    let (mut accounts, mut urls) = (HashSet::new(), HashSet::new());
    for asker in askers.collect::<Vec<_>>() {
        let seen = asker.await.unwrap();
        accounts.insert(seen["account"].to_string());
        urls.insert(seen["url"].to_string());
    }
    assert_eq!((accounts.len(), urls.len()), (1, 20));
    assert_eq!(shop.stripe.get("/v1/accounts").await.body["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn the_status_asks_stripe_where_what_is_known_is_old_and_the_account_is_not_active() {
    let shop = Shop::open().await;
    assert_eq!(shop.get("/api/stripe/connect/status?user_id=bob").await.status, 404);
    let account = connect(&shop, None).await["account"].as_str().unwrap().to_owned();
    let asked = async || -> bool {
        let sql = "SELECT asked_at IS NOT NULL FROM bursar.receiver WHERE user_id = 'bob'";
        sqlx::query_scalar(sql).fetch_one(&shop.db.pool).await.unwrap()
    };
    eventually(SOON, || async { if asked().await { Ok(()) } else { Err(()) } }).await;
    let seen = status(&shop).await;
    let due = json!(["external_account", "tos_acceptance.date"]);
    let wanted = json!({"currently_due": due, "past_due": due, "disabled_reason": "requirements.past_due"});
    assert_eq!(
        seen,
        json!({"user_id": "bob", "state": "inactive", "payouts_enabled": false, "requirements": wanted, "account": account})
    );

    // The receiver has gone through the onboarding, and no event has come.
    shop.stripe.post(&format!("/_sandbox/accounts/{account}"), r#"{"state": "active"}"#).await;
    run(&shop, "UPDATE bursar.receiver SET asked_at = asked_at - interval '1 minute'").await;
    let seen = status(&shop).await;
    assert_eq!((&seen["state"], &seen["payouts_enabled"]), (&json!("active"), &json!(true)), "{seen}");
    let asks = async || {
        let all = shop.stripe.get("/_sandbox/requests").await.body["requests"].as_array().unwrap().clone();
        all.iter().filter(|r| r["method"] == "GET" && r["path"].as_str().unwrap().contains("/v1/accounts/")).count()
    };
    let before = asks().await;
    run(&shop, "UPDATE bursar.receiver SET asked_at = asked_at - interval '1 minute'").await;
    status(&shop).await;
    assert_eq!(asks().await, before, "of an active account the events tell");
}

#[tokio::test]
async fn a_status_is_told_without_a_worker_and_for_any_user_of_whom_something_is_known() {
    let db = database().await;
    let (address, _api) = serve(&db.pool, |settings| settings.patience = Duration::from_millis(50)).await;
    let sql = "INSERT INTO bursar.receiver (user_id, account_id, state) VALUES ('a+b é', 'acct_1', 'pending');
               INSERT INTO bursar.account (name, unit, derived) VALUES ('user:carol', 'credits', false)";
    sqlx::raw_sql(sql).execute(&db.pool).await.unwrap();
    let ask = async |query: &str| get(address, &format!("/api/stripe/connect/status{query}"), &[]).await;
    let seen = read(&ask("?user_id=a%2Bb+%C3%A9").await);
    assert_eq!((&seen["state"], &seen["account"]), (&json!("pending"), &json!("acct_1")));
    let none = read(&ask("?user_id=carol").await);
    assert_eq!((&none["state"], &none["account"]), (&json!("none"), &Value::Null));
    let long = format!("?user_id={}", "x".repeat(300));
    for (query, code) in [
        ("?user_id=nobody", 404),
        ("", 400),
        ("?user_id=%zz", 400),
        ("?user=bob", 400),
        ("?user_id=bob&user_id=bob", 400),
        ("?user_id=", 422),
        ("?user_id=a%00b", 422),
        (long.as_str(), 422),
    ] {
        let reply = ask(query).await;
        assert_eq!(reply.status, code, "{query}: {reply:?}");
        reply.detail();
    }
    assert_eq!(post(address, "/api/stripe/connect/status", &json!({}), None).await.status, 405);
}

#[tokio::test]
async fn what_cannot_be_onboarded_is_refused_and_nothing_is_begun() {
    let db = database().await;
    let (address, _api) = serve(&db.pool, |settings| settings.patience = Duration::from_millis(50)).await;
    for body in [
        json!({}),
        json!({"user_id": ""}),
        json!({"user_id": "x".repeat(300)}),
        json!({"user_id": "a\u{0}b"}),
        json!({"user_id": 7}),
        json!({"user_id": "bob", "account": "acct_1"}),
    ] {
        let reply = post(address, CONNECT, &body, None).await;
        assert_eq!(reply.status, 422, "{body}: {reply:?}");
        reply.detail();
    }
    let begun = async || -> (i64, i64) {
        let sql = "SELECT (SELECT count(*) FROM bursar.receiver), (SELECT count(*) FROM bursar.onboarding)";
        sqlx::query_as(sql).fetch_one(&db.pool).await.unwrap()
    };
    assert_eq!(begun().await, (0, 0));
    let late = post(address, CONNECT, &json!({"user_id": "bob"}), Some("k")).await;
    assert!(late.status == 503 && late.header("retry-after").is_some(), "no worker is there: {late:?}");
    post(address, CONNECT, &json!({"user_id": "bob"}), Some("k")).await;
    assert_eq!(begun().await, (1, 1), "a repetition begins nothing");

    let (off, _off) = serve(&db.pool, |settings| settings.seller = Seller::Off).await;
    let reply = post(off, CONNECT, &json!({"user_id": "carol"}), None).await;
    assert!(reply.status == 409 && reply.detail().contains("Stripe is off"), "{reply:?}");
}

#[tokio::test]
async fn a_user_may_ask_for_so_many_links_a_minute() {
    let shop = Shop::open_with(|settings| settings.checkout.per_minute = 2).await;
    connect(&shop, Some("a")).await;
    connect(&shop, Some("b")).await;
    let limited = post(shop.address, CONNECT, &json!({"user_id": "bob"}), None).await;
    assert!(limited.status == 429 && limited.header("retry-after").is_some(), "{limited:?}");
    connect(&shop, Some("a")).await;
    let other = post(shop.address, CONNECT, &json!({"user_id": "carol"}), None).await;
    assert_eq!(other.status, 200, "{other:?}");
}

#[tokio::test]
async fn an_account_that_stripe_refuses_is_told_and_left_to_an_operator() {
    let shop = Shop::open().await;
    shop.stripe.fault(r#"{"route": "POST /v1/accounts", "fault": "capability_inactive"}"#).await;
    let refused = post(shop.address, CONNECT, &json!({"user_id": "bob"}), None).await;
    assert!(refused.status == 502 && refused.detail().contains("refused an account for bob"), "{refused:?}");
    let again = post(shop.address, CONNECT, &json!({"user_id": "bob"}), None).await;
    assert!(again.status == 409 && again.detail().contains("bursar jobs show"), "{again:?}");
}
