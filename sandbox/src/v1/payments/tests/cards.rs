//! What each card does, and when.

use serde_json::{Value, json};

use super::{DAY, Shop, charge, text};
use crate::v1::{
    payment_methods,
    payments::{Paid, Payment, attempt},
};

#[test]
fn declines_say_why() {
    let mut shop = Shop::new();
    for (method, code, reason) in [
        ("pm_card_visa_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds"),
        ("pm_card_visa_chargeDeclinedLostCard", "card_declined", "lost_card"),
        ("pm_card_visa_chargeDeclinedStolenCard", "card_declined", "stolen_card"),
        ("pm_card_visa_chargeDeclinedVelocityLimitExceeded", "card_declined", "card_velocity_exceeded"),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card", ""),
        ("pm_card_chargeDeclinedIncorrectCvc", "incorrect_cvc", ""),
        ("pm_card_chargeDeclinedProcessingError", "processing_error", ""),
        ("pm_card_radarBlock", "card_declined", "fraudulent"),
    ] {
        let error = shop.refused("/v1/payment_intents", &charge(method), 402);
        assert_eq!((text(&error["code"]), text(&error["decline_code"])), (code, reason), "{method}");
        let charge = shop.get(&format!("/v1/charges/{}", text(&error["charge"])));
        assert_eq!((text(&charge["status"]), text(&charge["failure_code"])), ("failed", code));
    }
    assert_eq!(shop.balance("pending"), 0);
}

#[test]
fn an_owner_authenticates_when_there_and_cannot_when_not() {
    let mut shop = Shop::new();
    let intent = shop.pay("pm_card_authenticationRequired");
    assert_eq!((text(&intent["status"]), text(&intent["next_action"]["type"])), ("requires_action", "use_stripe_sdk"));
    let path = format!("/_sandbox/payment_intents/{}/authenticate", text(&intent["id"]));
    let failed = shop.post(&path, r#"{"success":false}"#);
    assert_eq!(failed["last_payment_error"]["code"], "payment_intent_authentication_failure");
    let confirm = format!("/v1/payment_intents/{}/confirm", text(&intent["id"]));
    let again = shop.post(&confirm, "payment_method=pm_card_authenticationRequired&return_url=https://x.example");
    assert_eq!(again["next_action"]["redirect_to_url"]["return_url"], "https://x.example");
    assert_eq!(shop.post(&path, "")["status"], "succeeded");
    assert_eq!(shop.refused(&path, "", 400)["code"], "payment_intent_unexpected_state");

    let error = shop.refused(
        "/v1/payment_intents",
        &format!("{}&off_session=true", charge("pm_card_authenticationRequired")),
        402,
    );
    assert_eq!(
        (text(&error["code"]), text(&error["decline_code"])),
        ("authentication_required", "authentication_required")
    );
    let ready = shop.post(
        "/v1/payment_intents",
        &format!("{}&off_session=true", charge("pm_card_authenticationRequiredSetupForOffSession")),
    );
    assert_eq!(ready["status"], "succeeded");
    let vain = shop.pay("pm_card_authenticationRequiredChargeDeclinedInsufficientFunds");
    let after = shop.post(&format!("/_sandbox/payment_intents/{}/authenticate", text(&vain["id"])), "");
    assert_eq!(after["last_payment_error"]["decline_code"], "insufficient_funds");
}

#[test]
fn a_card_that_was_set_up_pays_alone() {
    let mut shop = Shop::new();
    let customer = shop.customer();
    let setup = shop.post(
        "/v1/setup_intents",
        &format!("customer={customer}&confirm=true&payment_method=pm_card_authenticationRequiredOnSetup"),
    );
    assert_eq!(setup["status"], "requires_action");
    let done = shop.post(&format!("/_sandbox/setup_intents/{}/authenticate", text(&setup["id"])), "");
    assert_eq!(done["status"], "succeeded");
    let body = format!("{}&customer={customer}&off_session=true", charge(text(&done["payment_method"])));
    assert_eq!(shop.post("/v1/payment_intents", &body)["status"], "succeeded");
    let declined = shop.refused("/v1/setup_intents", "confirm=true&payment_method=pm_card_chargeDeclined", 402);
    assert_eq!(declined["setup_intent"]["status"], "requires_payment_method");
}

#[test]
fn a_debit_comes_later_or_not_at_all() {
    let mut shop = Shop::new();
    for (method, after, status) in [
        ("pm_success_de", 1, "succeeded"),
        ("pm_successDelayed_de", 180, "succeeded"),
        ("pm_failed_de", 1, "requires_payment_method"),
        ("pm_failedDelayed_de", 180, "requires_payment_method"),
    ] {
        let body =
            format!("amount=1000&currency=eur&confirm=true&payment_method={method}&payment_method_types[]=sepa_debit");
        let intent = shop.post("/v1/payment_intents", &body);
        let path = format!("/v1/payment_intents/{}", text(&intent["id"]));
        assert_eq!(intent["status"], "processing");
        shop.now += after - 1;
        assert_eq!(shop.get(&path)["status"], "processing");
        shop.now += 1;
        assert_eq!(shop.get(&path)["status"], status, "{method}");
    }
    assert_eq!(shop.told().iter().filter(|told| *told == "payment_intent.processing").count(), 4);
    let dollars =
        "amount=1000&currency=usd&confirm=true&payment_method=pm_success_de&payment_method_types[]=sepa_debit";
    assert_eq!(shop.refused("/v1/payment_intents", dollars, 400)["param"], "currency");
    let bank =
        "type=us_bank_account&us_bank_account[account_number]=000222222227&us_bank_account[routing_number]=110000000";
    let bank = shop.post("/v1/payment_methods", bank);
    let body = format!(
        "amount=1000&currency=usd&confirm=true&payment_method={}&payment_method_types[]=us_bank_account",
        text(&bank["id"])
    );
    let intent = shop.post("/v1/payment_intents", &body);
    shop.now += 1;
    let after = shop.get(&format!("/v1/payment_intents/{}", text(&intent["id"])));
    assert_eq!(after["last_payment_error"]["code"], "insufficient_funds");
}

#[test]
fn what_is_held_is_captured_or_let_go() {
    let mut shop = Shop::new();
    let body = format!("{}&capture_method=manual", charge("pm_card_visa"));
    let intent = shop.post("/v1/payment_intents", &body);
    assert_eq!((text(&intent["status"]), &intent["amount_capturable"]), ("requires_capture", &2000.into()));
    assert_eq!(shop.balance("pending"), 0);
    let path = format!("/v1/payment_intents/{}", text(&intent["id"]));
    assert_eq!(shop.refused(&format!("{path}/capture"), "amount_to_capture=2001", 400)["code"], "amount_too_large");
    let captured = shop.post(&format!("{path}/capture"), "amount_to_capture=1500");
    assert_eq!((text(&captured["status"]), &captured["amount_received"]), ("succeeded", &1500.into()));
    assert_eq!(shop.balance("pending"), 1500);
    let refund = shop.post("/v1/refunds", &format!("payment_intent={}", text(&intent["id"])));
    assert_eq!(refund["amount"], 1500);

    let other = shop.post("/v1/payment_intents", &body);
    let cancelled =
        shop.post(&format!("/v1/payment_intents/{}/cancel", text(&other["id"])), "cancellation_reason=abandoned");
    assert_eq!((text(&cancelled["status"]), text(&cancelled["cancellation_reason"])), ("canceled", "abandoned"));
    assert_eq!(shop.get(&format!("/v1/charges/{}", text(&other["latest_charge"])))["refunded"], true);
    assert_eq!(shop.refused(&format!("{path}/cancel"), "", 400)["code"], "payment_intent_unexpected_state");
}

#[test]
fn refunds_add_up_wait_and_fail() {
    let mut shop = Shop::new();
    let intent = shop.pay("pm_card_refundFail");
    let of = format!("payment_intent={}", text(&intent["id"]));
    shop.post("/v1/refunds", &format!("{of}&amount=500&metadata[a]=b&reason=duplicate"));
    let second = shop.post("/v1/refunds", &format!("{of}&amount=700"));
    assert_eq!(shop.refused("/v1/refunds", &format!("{of}&amount=801"), 400)["param"], "amount");
    let charge = format!("/v1/charges/{}", text(&intent["latest_charge"]));
    assert_eq!((&shop.get(&charge)["amount_refunded"], shop.balance("available")), (&1200.into(), 998_800));
    shop.now += 180;
    assert_eq!((&shop.get(&charge)["amount_refunded"], shop.balance("available")), (&0.into(), 1_000_000));
    let failed = shop.get(&format!("/v1/refunds/{}", text(&second["id"])));
    assert_eq!((text(&failed["status"]), failed["failure_balance_transaction"].is_string()), ("failed", true));
    assert_eq!(shop.told().iter().filter(|told| *told == "refund.failed").count(), 2);
    assert_eq!(
        shop.get(&format!("/v1/refunds?charge={}", text(&intent["latest_charge"])))["data"].as_array().unwrap().len(),
        2
    );

    let slow = shop.pay("pm_card_pendingRefund");
    let pending = shop.post("/v1/refunds", &format!("payment_intent={}&amount=1500", text(&slow["id"])));
    assert_eq!((text(&pending["status"]), shop.balance("available")), ("pending", 1_000_000));
    let over = shop.refused("/v1/refunds", &format!("payment_intent={}&amount=501", text(&slow["id"])), 400);
    assert_eq!(over["param"], "amount");
    let other = shop.post("/v1/refunds", &format!("payment_intent={}", text(&slow["id"])));
    assert_eq!(shop.post(&format!("/v1/refunds/{}/cancel", text(&other["id"])), "")["status"], "canceled");
    shop.now += 180;
    assert_eq!(shop.get(&format!("/v1/refunds/{}", text(&pending["id"])))["status"], "succeeded");
    assert_eq!(shop.get(&format!("/v1/charges/{}", text(&slow["latest_charge"])))["amount_refunded"], 1500);
    assert_eq!(shop.told().iter().filter(|told| *told == "charge.refunded").count(), 3);
    let admin = format!("/_sandbox/refunds/{}", text(&pending["id"]));
    assert_eq!(shop.post(&admin, r#"{"status":"failed"}"#)["status"], "failed");
    assert_eq!(shop.refused(&admin, r#"{"status":"succeeded"}"#, 400)["param"], "status");
}

#[test]
fn a_dispute_takes_the_money_and_a_win_brings_it_back() {
    let mut shop = Shop::new();
    for (evidence, status, back) in [("winning_evidence", "won", 2000), ("losing_evidence", "lost", 0)] {
        let before = shop.balance("available");
        let intent = shop.pay("pm_card_createDispute");
        let dispute = shop.get(&format!("/v1/disputes?payment_intent={}", text(&intent["id"])))["data"][0].clone();
        assert_eq!((text(&dispute["status"]), text(&dispute["reason"])), ("needs_response", "fraudulent"));
        assert_eq!(
            (shop.balance("available"), &dispute["balance_transactions"][0]["net"]),
            (before - 3500, &json!(-3500))
        );
        let refund = shop.refused("/v1/refunds", &format!("payment_intent={}", text(&intent["id"])), 400);
        assert_eq!(refund["code"], "charge_disputed");
        let path = format!("/v1/disputes/{}", text(&dispute["id"]));
        let staged = shop.post(&path, "evidence[product_description]=credits&submit=false");
        assert_eq!(
            (text(&staged["status"]), &staged["evidence_details"]["submission_count"]),
            ("needs_response", &0.into())
        );
        assert_eq!(shop.refused(&path, "evidence[nonsense]=1", 400)["code"], "parameter_unknown");
        let submitted = shop.post(&path, &format!("evidence[uncategorized_text]={evidence}"));
        assert_eq!(submitted["status"], "under_review");
        shop.now += 1;
        assert_eq!(shop.get(&path)["status"], status);
        assert_eq!(shop.balance("available"), before - 3500 + back);
    }
    let told = shop.told();
    let count = |kind: &str| told.iter().filter(|told| *told == kind).count();
    assert_eq!(
        ["created", "funds_withdrawn", "updated", "closed", "funds_reinstated"]
            .map(|kind| count(&format!("charge.dispute.{kind}"))),
        [2, 2, 4, 2, 1]
    );
}

#[test]
fn an_inquiry_takes_nothing_until_it_is_escalated() {
    let mut shop = Shop::new();
    let charge = text(&shop.pay("pm_card_visa")["latest_charge"]).to_owned();
    let path = format!("/_sandbox/charges/{charge}/dispute");
    assert_eq!(shop.refused(&path, r#"{"reason":"none"}"#, 400)["param"], "reason");
    let inquiry = shop.post(&path, r#"{"inquiry":true,"reason":"product_not_received"}"#);
    assert_eq!((text(&inquiry["status"]), shop.balance("available")), ("warning_needs_response", 1_000_000));
    let admin = format!("/_sandbox/disputes/{}", text(&inquiry["id"]));
    assert_eq!(shop.refused(&admin, r#"{"status":"won"}"#, 400)["param"], "status");
    assert_eq!(shop.post(&admin, r#"{"status":"needs_response"}"#)["status"], "needs_response");
    assert_eq!(shop.balance("available"), 996_500);
    assert_eq!(shop.post(&admin, r#"{"status":"won"}"#)["status"], "won");
    assert_eq!(shop.balance("available"), 998_500);
    assert!(shop.refused(&path, "", 400)["message"].is_string());

    // Nobody answers: a dispute is lost when it is due, an inquiry comes to nothing.
    let (open, asked) = (shop.pay("pm_card_createDispute"), shop.pay("pm_card_createDisputeInquiry"));
    let closed = shop.pay("pm_card_createDisputeProductNotReceived");
    let mut id = |intent: &Value| {
        let list = shop.get(&format!("/v1/disputes?payment_intent={}", text(&intent["id"])));
        format!("/v1/disputes/{}", text(&list["data"][0]["id"]))
    };
    let (open, asked, closed) = (id(&open), id(&asked), id(&closed));
    assert_eq!(shop.post(&format!("{closed}/close"), "")["status"], "lost");
    shop.now += 9 * DAY;
    assert_eq!(
        (shop.get(&open)["status"].clone(), shop.get(&asked)["status"].clone()),
        (json!("lost"), json!("warning_needs_response"))
    );
    shop.now += 111 * DAY;
    assert_eq!(shop.get(&asked)["status"], "warning_closed");
}

#[test]
fn an_attempt_takes_the_method_that_is_given_or_the_customers_own() {
    let mut shop = Shop::new();
    let customer = shop.customer();
    let payment = Payment { amount: 900, currency: "usd".to_owned(), customer: json!(customer), ..Payment::default() };
    assert!(
        matches!(attempt(&mut shop.world, &payment), Paid::Succeeded(_)),
        "a card that works is the sandbox's kindness"
    );
    shop.post("/v1/payment_methods/pm_card_chargeCustomerFail/attach", &format!("customer={customer}"));
    let Paid::Declined(first, failure) = attempt(&mut shop.world, &payment) else { panic!("the one it has") };
    assert_eq!(failure.status, 402);
    let good = shop.post("/v1/payment_methods/pm_card_mastercard/attach", &format!("customer={customer}"));
    let bad = shop.post("/v1/payment_methods/pm_card_chargeCustomerFail/attach", &format!("customer={customer}"));
    let default = |of: &Value| format!("invoice_settings[default_payment_method]={}", text(&of["id"]));
    shop.post(&format!("/v1/customers/{customer}"), &default(&good));
    // The next try is the same intent's.
    let again =
        Payment { intent: Some(text(&first["id"]).to_owned()), invoice: Some("in_1".to_owned()), ..payment.clone() };
    let Paid::Succeeded(paid) = attempt(&mut shop.world, &again) else { panic!("the default one") };
    assert_eq!((&paid["id"], &paid["payment_method"]), (&first["id"], &good["id"]));
    let given = Payment { method: Some(text(&bad["id"]).to_owned()), ..payment.clone() };
    assert!(matches!(attempt(&mut shop.world, &given), Paid::Declined(..)));
    let unknown = Payment { method: Some("pm_none".to_owned()), ..payment };
    let Paid::Declined(_, failure) = attempt(&mut shop.world, &unknown) else { panic!("no such method") };
    assert_eq!(failure.status, 400);
}

#[test]
fn whoever_waits_for_an_open_payment_hears_of_it() {
    fn heard(world: &mut crate::world::World, intent: &str) {
        let status =
            world.store.get("payment_intent", intent).map(|intent| intent["status"].clone()).unwrap_or_default();
        world.create("note", "note.made", json!({ "id": "note", "object": "note", "status": status }));
    }
    let mut shop = Shop::new();
    let renewal = |method: &str| Payment {
        amount: 900,
        currency: "eur".to_owned(),
        method: Some(method.to_owned()),
        off_session: true,
        invoice: Some("in_1".to_owned()),
        settled: Some(heard),
        ..Payment::default()
    };
    assert!(matches!(attempt(&mut shop.world, &renewal("pm_failed_de")), Paid::Processing(_)));
    shop.now += 1;
    shop.get("/v1/balance");
    assert_eq!(shop.world.store.any("note").unwrap()["status"], "requires_payment_method");
    let Paid::NeedsAction(intent, failure) = attempt(&mut shop.world, &renewal("pm_card_authenticationRequired"))
    else {
        panic!("an invoice's intent waits for its owner")
    };
    assert_eq!(failure.body()["code"], "invoice_payment_intent_requires_action");
    shop.post(&format!("/_sandbox/payment_intents/{}/authenticate", text(&intent["id"])), "");
    assert_eq!(shop.world.store.any("note").unwrap()["status"], "succeeded");
}

#[test]
fn a_buyer_types_a_card() {
    let mut shop = Shop::new();
    let customer = json!(shop.customer());
    for card in ["4242 4242 4242 4242", "tok_visa", "pm_card_visa"] {
        let method = payment_methods::of_card(&mut shop.world, card, &customer).unwrap();
        assert_eq!((&method["card"]["last4"], &method["customer"]), (&json!("4242"), &customer), "{card}");
    }
    for (card, code) in
        [("4242424242424241", "incorrect_number"), ("4111111111111111", "card_declined"), ("", "incorrect_number")]
    {
        let failure = payment_methods::of_card(&mut shop.world, card, &customer).unwrap_err();
        assert_eq!((failure.status, &failure.body()["code"]), (402, &json!(code)), "{card}");
    }
}

#[test]
fn a_customers_balance_is_kept_by_its_transactions() {
    let mut shop = Shop::new();
    let customer = text(&shop.post("/v1/customers", "balance=-500")["id"]).to_owned();
    let path = format!("/v1/customers/{customer}");
    let credit = shop.post(&format!("{path}/balance_transactions"), "amount=-300&currency=usd&description=sorry");
    assert_eq!((&credit["ending_balance"], text(&credit["type"])), (&json!(-800), "adjustment"));
    assert_eq!(shop.post(&path, "balance=-100")["balance"], -100);
    let all = shop.get(&format!("{path}/balance_transactions"))["data"].clone();
    let amounts: Vec<_> = all.as_array().unwrap().iter().map(|of| of["amount"].as_i64().unwrap()).collect();
    assert_eq!(amounts, [700, -300, -500]);
    assert_eq!(
        shop.refused(&format!("{path}/balance_transactions"), "amount=1&currency=eur", 400)["param"],
        "currency"
    );
}
