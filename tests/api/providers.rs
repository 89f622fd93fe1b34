//! Providers other than Stripe.

use std::collections::BTreeMap;

use bursar::{api::Seller, boot, config};
use bursar_jobs::ledger;
use serde_json::{Value, json};

use super::shop::{credits, post, read, serve};
use crate::support::{bursar, database};

const CHECKOUT: &str = "/api/stripe/checkout";

#[tokio::test]
async fn a_dummy_grants_at_once_and_once_for_a_key() {
    let db = database().await;
    let (address, _api) = serve(&db.pool, |settings| settings.seller = Seller::Dummy).await;
    let body =
        json!({"user_id": "alice", "package": "small", "success_url": "https://shop.example/?s={CHECKOUT_SESSION_ID}"});
    let first = post(address, CHECKOUT, &body, Some("k")).await;
    assert_eq!(first.status, 200, "{first:?}");
    assert_eq!(read(&first)["url"], "https://shop.example/?s=dummy:alice:k");
    post(address, CHECKOUT, &body, Some("k")).await;
    assert_eq!(ledger::balance(&db.pool, "alice").await.unwrap(), credits(50));
    let other = post(address, CHECKOUT, &json!({"user_id": "alice", "package": "large"}), Some("k")).await;
    assert_eq!(other.status, 422, "{other:?}");
    post(address, CHECKOUT, &body, None).await;
    assert_eq!(ledger::balance(&db.pool, "alice").await.unwrap(), credits(100), "without a key it is another purchase");
    let standing = super::shop::get(address, "/api/stripe/checkout/dummy:alice:k", &[]).await;
    assert_eq!((&read(&standing)["state"], &read(&standing)["credits"]), (&json!("granted"), &json!("50")));
}

#[test]
fn a_dummy_refuses_to_start_beside_a_live_key() {
    let refused = bursar(&["worker"])
        .env("DATABASE_URL", "postgres://nobody@localhost/unused")
        .env("STRIPE_SECRET_KEY", "sk_live_abcdefghijkl")
        .env("BURSAR_STRIPE__PROVIDER", "dummy")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("beside a live key"), "{said}");
}

#[test]
fn api_refuses_to_start_without_a_token() {
    let refused = bursar(&["api"]).env("DATABASE_URL", "postgres://nobody@localhost/unused").output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("API_TOKEN") && said.contains("not set"), "{said}");
}

#[tokio::test]
async fn where_stripe_is_off_credit_checks_pass_over_http_and_sql_and_nothing_is_sold() {
    let db = database().await;
    let off: BTreeMap<String, String> = [("BURSAR_STRIPE__PROVIDER".to_owned(), "off".to_owned())].into();
    let off = config::Settings::from_parts(&[], off, None).unwrap().stripe().unwrap();
    boot::say_checks(&db.pool, &off, false).await.unwrap();
    let (address, _api) = serve(&db.pool, |_| {}).await;
    let spend = json!({"user_id": "alice", "credits": 2, "key": "s"});
    let passed = read(&post(address, "/api/credits/spend", &spend, None).await);
    assert_eq!(
        (&passed["result"], &passed["posting"], &passed["balance"]),
        (&json!("passed"), &Value::Null, &json!("0"))
    );
    let status: String =
        sqlx::query_scalar("SELECT status FROM bursar.spend('alice', 2, 'other')").fetch_one(&db.pool).await.unwrap();
    assert_eq!(status, "done");
    let sold = post(address, CHECKOUT, &json!({"user_id": "alice", "package": "small"}), None).await;
    assert!(sold.status == 409 && sold.detail().contains("Stripe is off"), "{sold:?}");

    boot::say_checks(&db.pool, &off, true).await.unwrap();
    assert_eq!(post(address, "/api/credits/spend", &spend, None).await.status, 402);
}
