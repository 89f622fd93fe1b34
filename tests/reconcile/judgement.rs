//! Money for a user that nobody knows: listed, never guessed.

use super::world::{World, found};

#[tokio::test]
async fn money_for_an_unknown_user_is_listed_and_repaired_once_somebody_says_whose_it_is() {
    let world = World::new().await;
    let (_, invoice) = world.subscribe("", &world.monthly).await;
    world.hear(|_| true).await;
    world.month_is_over().await;
    let unknown = [found("user_unknown", &invoice, "", "150", "open")];
    assert_eq!(world.reconcile(true).await, unknown);
    let (evidence, remedy) = world.evidence("user_unknown").await;
    let customer = evidence["customer"].as_str().unwrap();
    assert!(remedy.contains(customer) && remedy.contains("--repair"), "{remedy}");
    let granted: i64 =
        sqlx::query_scalar("SELECT count(*) FROM bursar.posting").fetch_one(&world.db.pool).await.unwrap();
    assert_eq!(granted, 0, "nothing is guessed");
    world.stripe.post(&format!("/v1/customers/{customer}"), "metadata[user_id]=dave").await.id();
    world.hear_all().await;
    assert_eq!(world.reconcile(true).await, [found("missing_grant", &invoice, "dave", "150", "repaired")]);
    assert_eq!(world.balance("dave").await, "150");
    assert_eq!(world.reconcile(true).await, []);
}

#[tokio::test]
async fn whose_an_invoice_is_must_not_be_said_in_two_ways() {
    let world = World::new().await;
    let (_, invoice) = world.subscribe("eve", &world.monthly).await;
    world.hear(|_| true).await;
    let customer =
        world.stripe.get(&format!("/v1/invoices/{invoice}")).await.body["customer"].as_str().unwrap().to_owned();
    sqlx::query("INSERT INTO bursar.customer (id, user_id) VALUES ($1, 'frank')")
        .bind(&customer)
        .execute(&world.db.pool)
        .await
        .unwrap();
    world.month_is_over().await;
    assert_eq!(world.reconcile(true).await, [found("user_unknown", &invoice, "", "150", "open")]);
    let (evidence, _) = world.evidence("user_unknown").await;
    assert_eq!(evidence["books"]["users"], serde_json::json!({"named": ["eve"], "linked": "frank"}));
}

#[tokio::test]
async fn what_is_another_products_is_no_finding() {
    let world = World::new().await;
    // A price and a payment that are not ours, as `stripe trigger` makes them.
    let form = "currency=usd&unit_amount=700&recurring[interval]=month&product_data[name]=other";
    let other = world.stripe.post("/v1/prices", form).await.id();
    world.subscribe("", &other).await;
    let form = "mode=payment&success_url=https://other.example&line_items[0][price_data][currency]=usd\
                &line_items[0][price_data][unit_amount]=2999&line_items[0][price_data][product_data][name]=shoes";
    let (_, intent) = world.buy_by(form).await;
    world.stripe.post("/v1/refunds", &format!("payment_intent={intent}&amount=100")).await.id();
    world.hear(|_| true).await;
    world.month_is_over().await;
    assert_eq!(world.reconcile(false).await, []);
}
