//! Pages where a user could subscribe twice are taken away.

use serde_json::json;

use super::shop::{SOON, Shop, read};
use crate::support::{bursar, eventually};

const CHECKOUT: &str = "/api/stripe/checkout";

/// A page where alice may subscribe.
async fn page(shop: &Shop, key: &str) -> String {
    let reply = shop.keyed(CHECKOUT, key, &json!({"user_id": "alice", "tier": "pro"})).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    read(&reply)["session"].as_str().unwrap().to_owned()
}

fn kind(shop: &Shop, what: &str) {
    let said = bursar(&["jobs", what, "expire_checkout"]).env("DATABASE_URL", &shop.db.url).output().unwrap();
    assert!(said.status.success(), "{said:?}");
}

/// What a session is in the end: at Stripe, and here.
async fn is(shop: &Shop, session: &str, wanted: &str) {
    eventually(SOON, || async {
        let there = shop.session(session).await["status"].as_str().unwrap().to_owned();
        let here: String = sqlx::query_scalar("SELECT state FROM bursar.checkout WHERE session_id = $1")
            .bind(session)
            .fetch_one(&shop.db.pool)
            .await
            .unwrap();
        if there == wanted && here == wanted { Ok(()) } else { Err((there, here)) }
    })
    .await;
}

async fn nothing_is_dead(shop: &Shop) {
    let dead: Vec<(String, String)> = sqlx::query_as("SELECT kind, reason FROM bursar.job WHERE state = 'dead'")
        .fetch_all(&shop.db.pool)
        .await
        .unwrap();
    assert!(dead.is_empty(), "{dead:?}");
}

#[tokio::test]
async fn a_second_page_for_a_subscription_takes_the_first_away_and_leaves_purchases() {
    let shop = Shop::open().await;
    let bought = shop.checkout(json!({"user_id": "alice", "package": "small"})).await;
    let bobs = shop.checkout(json!({"user_id": "bob", "tier": "pro"})).await;
    let (first, second) = (page(&shop, "a").await, page(&shop, "b").await);
    is(&shop, &first, "expired").await;
    for open in [&second, &bought, &bobs] {
        is(&shop, open, "open").await;
    }
    nothing_is_dead(&shop).await;
}

#[tokio::test]
async fn a_subscription_that_begins_takes_the_other_pages_away() {
    let shop = Shop::open().await;
    kind(&shop, "pause");
    let (first, second) = (page(&shop, "a").await, page(&shop, "b").await);
    shop.pay(&first).await;
    shop.hear("evt_1", "checkout.session.completed", &first).await;
    kind(&shop, "resume");
    is(&shop, &second, "expired").await;
    is(&shop, &first, "complete").await;
    nothing_is_dead(&shop).await;
}

#[tokio::test]
async fn a_buyer_who_was_faster_is_a_fact_and_no_fault() {
    let shop = Shop::open().await;
    kind(&shop, "pause");
    let (first, second) = (page(&shop, "a").await, page(&shop, "b").await);
    // No event tells of it: Stripe's refusal to expire it does.
    shop.pay(&first).await;
    kind(&shop, "resume");
    is(&shop, &first, "complete").await;
    is(&shop, &second, "expired").await;
    eventually(SOON, || async {
        let status = read(&shop.get("/api/subscriptions/alice").await);
        if status["has_access"] == true { Ok(()) } else { Err(status) }
    })
    .await;
    nothing_is_dead(&shop).await;
}

#[tokio::test]
async fn a_subscription_that_waits_for_its_first_payment_leaves_the_page_on_which_it_is_made() {
    let shop = Shop::open().await;
    let page = page(&shop, "a").await;
    let customer = shop.customers().await[0]["id"].as_str().unwrap().to_owned();
    let price = shop.session(&page).await["line_items"]["data"][0]["price"]["id"].as_str().unwrap().to_owned();
    // As while a buyer's bank asks for more than the card.
    let form = format!(
        "customer={customer}&items[0][price]={price}&payment_behavior=default_incomplete&metadata[user_id]=alice"
    );
    let made = shop.stripe.post("/v1/subscriptions", &form).await;
    assert_eq!(made.body["status"], "incomplete", "{}", made.text);
    let told = async |id: &str, wanted: &str| {
        shop.hear_of(id, "customer.subscription.updated", &format!("/v1/subscriptions/{}", made.id())).await;
        eventually(SOON, || async {
            let status: Option<String> = sqlx::query_scalar("SELECT status FROM bursar.subscription")
                .fetch_optional(&shop.db.pool)
                .await
                .unwrap();
            if status.as_deref() == Some(wanted) { Ok(()) } else { Err(status) }
        })
        .await;
    };
    told("evt_1", "incomplete").await;
    let expiring = "SELECT count(*) FROM bursar.job WHERE kind = 'expire_checkout'";
    assert_eq!(sqlx::query_scalar::<_, i64>(expiring).fetch_one(&shop.db.pool).await.unwrap(), 0);
    let invoice = made.body["latest_invoice"].as_str().unwrap();
    let paid = shop.stripe.post(&format!("/v1/invoices/{invoice}/pay"), "payment_method=pm_card_visa").await;
    assert_eq!(paid.status, 200, "{}", paid.text);
    told("evt_2", "active").await;
    is(&shop, &page, "expired").await;
    nothing_is_dead(&shop).await;
}
