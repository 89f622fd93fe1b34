//! The email about a trial that will end: it leaves only where what Stripe has now says that the subscription goes on and is charged.

use serde_json::{Value, json};

use super::world::*;

#[expect(clippy::needless_pass_by_value, reason = "it is made for the call everywhere")]
fn trial(more: Value) -> Sub {
    let mut all = json!({"trial_end": at("2027-04-15").timestamp()});
    all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Sub { status: "trialing", more: all, ..Sub::new("price_pro", "2027-04-01", "2027-04-15") }
}

/// What the emails say, once the event came; Stripe has `now`, whatever the event's object says.
async fn emails(now: &Sub, customer: Option<Value>) -> Vec<Value> {
    let world = World::new(terms()).await;
    world.has(now);
    if let Some(customer) = customer {
        world.stripe.put("/v1/customers/cus_1", customer);
    }
    world.now("2027-04-12").await;
    let told = trial(json!({})).object(false);
    world.play(&[event("evt_1", "customer.subscription.trial_will_end", "2027-04-12", &told)]).await;
    let args: Vec<Vec<u8>> = sqlx::query_scalar("SELECT args FROM bursar.job WHERE kind = 'send_letter'")
        .fetch_all(&world.db.pool)
        .await
        .unwrap();
    world.is_clean().await;
    args.iter().map(|args| serde_json::from_slice::<Value>(args).unwrap()["fields"].clone()).collect()
}

#[expect(clippy::needless_pass_by_value, reason = "it is made for the call everywhere")]
fn customer(more: Value) -> Value {
    let mut customer =
        json!({"id": "cus_1", "object": "customer", "metadata": {"user_id": "alice"}, "balance": 0, "discount": null});
    customer.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    customer
}

#[tokio::test]
async fn a_trial_that_does_not_go_on_into_a_charge_is_not_told_of() {
    let end = at("2027-04-15").timestamp();
    let ends = json!({"end_behavior": {"missing_payment_method": "cancel"}});
    for (status, more) in [
        // Ended at once, which sends the event too.
        ("active", json!({"trial_end": at("2027-04-12").timestamp()})),
        ("active", json!({})),
        ("trialing", json!({"trial_end": at("2027-04-11").timestamp()})),
        ("canceled", json!({"ended_at": at("2027-04-11").timestamp()})),
        ("trialing", json!({"cancel_at": end})),
        ("trialing", json!({"cancel_at_period_end": true, "cancel_at": end})),
        ("trialing", json!({"cancel_at_period_end": true})),
        ("trialing", json!({"pause_collection": {"behavior": "void"}})),
        ("trialing", json!({"collection_method": "send_invoice"})),
        ("trialing", json!({"trial_settings": ends})),
        ("paused", json!({})),
    ] {
        let now = Sub { status, ..trial(more) };
        assert_eq!(emails(&now, Some(customer(json!({})))).await, [] as [Value; 0], "{now:?}");
    }
    let told = [json!({"deadline": "2027-04-15"})];
    for more in
        [json!({}), json!({"cancel_at": end + 1}), json!({"trial_settings": ends, "default_payment_method": "pm_1"})]
    {
        assert_eq!(emails(&trial(more), None).await, told);
    }
    let method = customer(json!({"invoice_settings": {"default_payment_method": "pm_1"}}));
    assert_eq!(emails(&trial(json!({"trial_settings": ends})), Some(method)).await, told);
}

#[tokio::test]
async fn an_amount_is_said_only_where_nothing_leaves_it_open() {
    let items = |more: Value, price: Value| {
        let mut item = json!({"id": "si_1", "object": "subscription_item", "quantity": 12,
            "price": {"id": "price_pro", "object": "price", "currency": "usd", "unit_amount": 2500, "billing_scheme": "per_unit",
                      "recurring": {"interval": "month", "interval_count": 1, "usage_type": "licensed"}}});
        item.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        item["price"].as_object_mut().unwrap().extend(price.as_object().unwrap().clone());
        trial(json!({"items": {"object": "list", "data": [item], "has_more": false}}))
    };
    let packs = json!({"transform_quantity": {"divide_by": 4, "round": "up"}});
    let none = json!({});
    for (now, customer, amount) in [
        (items(none.clone(), packs.clone()), customer(none.clone()), Some("75.00 USD")),
        (items(none.clone(), none.clone()), customer(none.clone()), Some("300.00 USD")),
        (items(json!({"discounts": ["di_1"]}), none.clone()), customer(none.clone()), None),
        (
            items(json!({"tax_rates": [{"id": "txr_1", "inclusive": false}]}), none.clone()),
            customer(none.clone()),
            None,
        ),
        (items(none.clone(), packs), customer(json!({"discount": {"id": "di_1"}})), None),
        (items(none.clone(), none.clone()), customer(json!({"balance": -500})), None),
    ] {
        let told = emails(&now, Some(customer)).await;
        assert_eq!(told.len(), 1, "{now:?}");
        assert_eq!(told[0]["amount"].as_str(), amount, "{now:?}");
    }
}
