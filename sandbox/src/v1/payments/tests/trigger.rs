//! By the same calls as `stripe trigger`.

use super::{DAY, Shop, text};

#[test]
fn payment_intent_succeeded() {
    let mut shop = Shop::new();
    let intent = shop.post(
        "/v1/payment_intents",
        "amount=2000&confirm=true&currency=usd&description=(created%20by%20Stripe%20CLI)&payment_method=pm_card_visa\
         &payment_method_types[]=card&shipping[name]=Jenny%20Rosen&shipping[address][line1]=510%20Townsend%20St\
         &shipping[address][postal_code]=94103&shipping[address][city]=San%20Francisco&shipping[address][state]=CA\
         &shipping[address][country]=US",
    );
    assert_eq!((text(&intent["status"]), &intent["amount_received"]), ("succeeded", &2000.into()));
    assert_eq!(intent["shipping"]["address"]["city"], "San Francisco");
    let told = shop.world.store.all("event").map(|event| text(&event["type"]).to_owned()).collect::<Vec<_>>();
    assert_eq!(told, ["payment_intent.created", "charge.succeeded", "payment_intent.succeeded", "charge.updated"]);
    let charge = shop.get(&format!("/v1/charges/{}?expand[]=balance_transaction", text(&intent["latest_charge"])));
    assert_eq!(charge["balance_transaction"]["status"], "pending");
    assert_eq!((shop.balance("pending"), shop.balance("available")), (2000, 1_000_000));
    shop.now += 2 * DAY;
    assert_eq!((shop.balance("pending"), shop.balance("available")), (0, 1_002_000));
    let transaction = shop.get(&format!("/v1/balance_transactions/{}", text(&charge["balance_transaction"]["id"])));
    assert_eq!(transaction["status"], "available");
}

#[test]
fn payment_intent_payment_failed() {
    let mut shop = Shop::new();
    let error = shop.refused(
        "/v1/payment_intents",
        "amount=2000&confirm=true&currency=usd&payment_method=pm_card_chargeDeclined&payment_method_types[]=card",
        402,
    );
    assert_eq!(text(&error["type"]), "card_error");
    assert_eq!((text(&error["code"]), text(&error["decline_code"])), ("card_declined", "generic_decline"));
    assert_eq!(error["payment_method"]["card"]["last4"], "0002");
    let intent = &error["payment_intent"];
    assert_eq!((text(&intent["status"]), &intent["latest_charge"]), ("requires_payment_method", &error["charge"]));
    assert_eq!(intent["last_payment_error"]["decline_code"], "generic_decline");
    assert_eq!(shop.told(), ["payment_intent.created", "charge.failed", "payment_intent.payment_failed"]);
    // Another card pays the same intent.
    let path = format!("/v1/payment_intents/{}/confirm", text(&intent["id"]));
    let paid = shop.post(&path, "payment_method=pm_card_visa");
    assert_eq!((text(&paid["status"]), &paid["last_payment_error"]), ("succeeded", &serde_json::Value::Null));
    assert_eq!(shop.refused(&path, "payment_method=pm_card_visa", 400)["code"], "payment_intent_unexpected_state");
}

#[test]
fn charge_refunded() {
    let mut shop = Shop::new();
    let intent = shop.post(
        "/v1/payment_intents",
        "amount=100&confirm=true&currency=usd&payment_method=pm_card_visa&payment_method_types[]=card",
    );
    let refund = shop.post("/v1/refunds", &format!("payment_intent={}", text(&intent["id"])));
    assert_eq!((text(&refund["status"]), &refund["amount"]), ("succeeded", &100.into()));
    assert_eq!(shop.told().split_off(3), ["refund.created", "charge.refunded"]);
    let charge = shop.get(&format!("/v1/charges/{}", text(&refund["charge"])));
    assert_eq!((&charge["refunded"], &charge["amount_refunded"]), (&true.into(), &100.into()));
    let again = shop.refused("/v1/refunds", &format!("charge={}", text(&refund["charge"])), 400);
    assert_eq!(again["code"], "charge_already_refunded");
}

#[test]
fn charge_dispute_created() {
    let mut shop = Shop::new();
    let intent = shop.post(
        "/v1/payment_intents",
        "amount=100&confirm=true&currency=usd&payment_method=pm_card_createDisputeInquiry&payment_method_types[]=card",
    );
    assert!(shop.told().contains(&"charge.dispute.created".to_owned()));
    let disputes = shop.get(&format!("/v1/disputes?payment_intent={}", text(&intent["id"])))["data"].clone();
    assert_eq!(disputes[0]["status"], "warning_needs_response");
    assert_eq!((shop.balance("pending"), shop.balance("available")), (100, 1_000_000));
}

#[test]
fn transfer_created_and_reversed() {
    let mut shop = Shop::new();
    shop.post(
        "/v1/payment_intents",
        "amount=1000&confirm=true&currency=usd&payment_method=pm_card_bypassPending&payment_method_types[]=card",
    );
    assert_eq!(shop.balance("available"), 1_001_000);
    let account = shop.post("/v1/accounts", "");
    let transfer = shop.post("/v1/transfers", &format!("amount=400&currency=usd&destination={}", text(&account["id"])));
    let reversal = shop.post(&format!("/v1/transfers/{}/reversals", text(&transfer["id"])), "amount=100");
    assert_eq!(shop.balance("available"), 1_000_700);
    let all = shop.get("/v1/balance_transactions")["data"].clone();
    let kinds: Vec<_> = all.as_array().unwrap().iter().map(|of| (text(&of["type"]), text(&of["source"]))).collect();
    assert_eq!(kinds[..2], [("transfer_refund", text(&reversal["id"])), ("transfer", text(&transfer["id"]))]);
    assert_eq!(shop.get("/v1/balance_transactions?type=charge")["data"].as_array().unwrap().len(), 1);
}

#[test]
fn a_customer_is_made_with_its_card() {
    let mut shop = Shop::new();
    let customer = shop.post(
        "/v1/customers",
        "description=x&payment_method=pm_card_visa&invoice_settings[default_payment_method]=pm_card_visa",
    );
    let default = text(&customer["invoice_settings"]["default_payment_method"]).to_owned();
    let path = format!("/v1/customers/{}/payment_methods", text(&customer["id"]));
    let theirs = shop.get(&path)["data"].clone();
    assert_eq!((theirs.as_array().unwrap().len(), text(&theirs[0]["id"])), (1, default.as_str()));
    // Detached it is nobody's default, and cannot be used again.
    shop.post(&format!("/v1/payment_methods/{default}/detach"), "");
    let after = shop.get(&format!("/v1/customers/{}", text(&customer["id"])));
    assert_eq!(after["invoice_settings"]["default_payment_method"], serde_json::Value::Null);
    let body = format!("customer={}", text(&customer["id"]));
    let error = shop.refused(&format!("/v1/payment_methods/{default}/attach"), &body, 400);
    assert!(text(&error["message"]).contains("may not be used again"), "{error}");
}

#[test]
fn a_card_that_fails_when_charged_can_be_attached_and_one_that_is_declined_cannot() {
    let mut shop = Shop::new();
    let customer = format!("customer={}", shop.customer());
    let method = shop.post("/v1/payment_methods/pm_card_chargeCustomerFail/attach", &customer);
    assert_ne!(method["id"], "pm_card_chargeCustomerFail");
    let charge = format!("amount=100&currency=usd&confirm=true&{customer}&payment_method={}", text(&method["id"]));
    assert_eq!(shop.refused("/v1/payment_intents", &charge, 402)["type"], "card_error");
    let error = shop.refused("/v1/payment_methods/pm_card_chargeDeclined/attach", &customer, 402);
    assert_eq!((text(&error["type"]), text(&error["code"])), ("card_error", "card_declined"));
}

#[test]
fn a_payment_method_is_made_of_a_token_a_number_or_an_iban() {
    let mut shop = Shop::new();
    let by_token = shop.post(
        "/v1/payment_methods",
        "type=card&card[token]=tok_visa&billing_details[email]=stripe@example.com&billing_details[name]=Jenny",
    );
    assert_eq!((text(&by_token["card"]["last4"]), text(&by_token["billing_details"]["name"])), ("4242", "Jenny"));
    let number = "type=card&card[number]=4242424242424242&card[exp_month]=8&card[exp_year]=2031&card[cvc]=314";
    assert_eq!(shop.post("/v1/payment_methods", number)["card"]["exp_year"], 2031);
    let iban = "type=sepa_debit&sepa_debit[iban]=DE89370400440532013000&billing_details[name]=J&billing_details[email]=j@example.com";
    assert_eq!(shop.post("/v1/payment_methods", iban)["sepa_debit"]["country"], "DE");
    for (body, status, code) in [
        (number.replace("4242424242424242", "4242424242424241"), 402, "incorrect_number"),
        (number.replace("4242424242424242", "4111111111111111"), 402, "card_declined"),
        (number.replace("exp_month]=8", "exp_month]=13"), 402, "invalid_expiry_month"),
        ("type=card&card[token]=tok_none".to_owned(), 400, "resource_missing"),
        ("type=card".to_owned(), 400, "parameter_missing"),
        ("type=sepa_debit&sepa_debit[iban]=1".to_owned(), 400, "invalid_bank_account_iban"),
    ] {
        assert_eq!(shop.refused("/v1/payment_methods", &body, status)["code"], code, "{body}");
    }
}

#[test]
fn a_charge_is_made_without_an_intent() {
    let mut shop = Shop::new();
    let charge = shop.post("/v1/charges", "amount=100&currency=usd&source=tok_visa&metadata[a]=b");
    assert_eq!((text(&charge["status"]), charge["payment_intent"].is_null()), ("succeeded", true));
    let error = shop.refused("/v1/charges", "amount=100&currency=usd&source=tok_chargeDeclined", 402);
    assert_eq!(shop.get(&format!("/v1/charges/{}", text(&error["charge"])))["status"], "failed");
    let held = shop.post("/v1/charges", "amount=100&currency=usd&source=tok_visa&capture=false");
    let path = format!("/v1/charges/{}/capture", text(&held["id"]));
    assert_eq!(shop.post(&path, "amount=60")["amount_captured"], 60);
    assert_eq!(shop.refused(&path, "", 400)["code"], "charge_already_captured");
    assert_eq!(shop.balance("pending"), 160);
    // A charge that failed pays nobody.
    let account = text(&shop.post("/v1/accounts", "")["id"]).to_owned();
    let transfer =
        format!("amount=10&currency=usd&destination={account}&source_transaction={}", text(&error["charge"]));
    assert_eq!(shop.refused("/v1/transfers", &transfer, 400)["param"], "source_transaction");
    let refund = shop.post("/v1/refunds", &format!("charge={}", text(&held["id"])));
    assert_eq!(refund["amount"], 60);
    assert_eq!(shop.told().iter().filter(|told| *told == "charge.captured").count(), 1);
}
