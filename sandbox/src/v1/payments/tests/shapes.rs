//! What is answered is what the client crate reads.

use miniserde::Deserialize;
use serde_json::Value;

use super::{Shop, text};

fn reads<T: Deserialize>(object: &Value) {
    let read = miniserde::json::from_str::<T>(&object.to_string());
    assert!(read.is_ok(), "{} is not read: {object:#}", std::any::type_name::<T>());
}

#[test]
fn every_object_is_read_by_the_client_crate() {
    let mut shop = Shop::new();
    let customer = shop.customer();
    reads::<stripe_shared::PaymentMethod>(
        &shop.post("/v1/payment_methods/pm_card_visa/attach", &format!("customer={customer}")),
    );
    for name in ["pm_success_de", "pm_usBankAccount_success", "pm_card_mastercard"] {
        reads::<stripe_shared::PaymentMethod>(
            &shop.post(&format!("/v1/payment_methods/{name}/attach"), &format!("customer={customer}")),
        );
    }
    let waiting = shop.post("/v1/payment_intents", "amount=100&currency=usd&automatic_payment_methods[enabled]=true");
    reads::<stripe_shared::PaymentIntent>(&waiting);
    reads::<stripe_shared::PaymentIntent>(&shop.pay("pm_card_authenticationRequired"));
    let error = shop.refused("/v1/payment_intents", &super::charge("pm_card_chargeDeclined"), 402);
    reads::<stripe_shared::ApiErrors>(&error);
    reads::<stripe_shared::PaymentIntent>(&error["payment_intent"]);
    let sepa = "amount=100&currency=eur&confirm=true&payment_method=pm_success_de&payment_method_types[]=sepa_debit";
    reads::<stripe_shared::PaymentIntent>(&shop.post("/v1/payment_intents", sepa));
    shop.pay("pm_card_createDispute");
    let paid = shop.pay("pm_card_visa");
    reads::<stripe_shared::PaymentIntent>(&paid);
    reads::<stripe_shared::Refund>(&shop.post("/v1/refunds", &format!("charge={}", text(&paid["latest_charge"]))));
    reads::<stripe_shared::SetupIntent>(&shop.post("/v1/setup_intents", "confirm=true&payment_method=pm_card_visa"));
    let credit = shop.post(&format!("/v1/customers/{customer}/balance_transactions"), "amount=-5&currency=usd");
    reads::<stripe_shared::CustomerBalanceTransaction>(&credit);
    for charge in shop.get("/v1/charges?limit=100")["data"].as_array().unwrap() {
        reads::<stripe_shared::Charge>(charge);
    }
    for transaction in shop.get("/v1/balance_transactions?limit=100")["data"].as_array().unwrap() {
        reads::<stripe_shared::BalanceTransaction>(transaction);
    }
    for dispute in shop.get("/v1/disputes")["data"].as_array().unwrap() {
        reads::<stripe_shared::Dispute>(dispute);
    }
    reads::<stripe_shared::Customer>(&shop.get(&format!("/v1/customers/{customer}")));
}
