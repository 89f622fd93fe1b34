//! One debt, many ways to pay it: by the invoice, by its payment intent, past Stripe; and none of them twice.

use super::*;

const AUTHENTICATES: &str = "pm_card_authenticationRequired";
const FAILS: &str = "pm_card_chargeCustomerFail";

/// What of the card payments came.
fn taken(shop: &Shop) -> i64 {
    let came = shop.world.store.all("charge").filter(|charge| charge["status"] == "succeeded");
    came.map(|charge| charge["amount"].as_i64().unwrap()).sum()
}

/// An open invoice whose payment has failed or waits for its owner, and the path of its intent.
fn open_invoice(shop: &mut Shop, method: &str) -> (String, String) {
    let customer = shop.customer.clone();
    shop.made("/v1/invoiceitems", &format!("customer={customer}&amount=2000&currency=usd"));
    let invoice = shop.made("/v1/invoices", &format!("customer={customer}&pending_invoice_items_behavior=include"));
    let path = format!("/v1/invoices/{invoice}");
    shop.card(method);
    assert_eq!(shop.refused(&format!("{path}/pay"), "").0, 402);
    let intent = intent(shop, &path);
    (path, format!("/v1/payment_intents/{intent}"))
}

fn intent(shop: &mut Shop, invoice: &str) -> String {
    let payment = shop.get(&format!("{invoice}?expand[]=payments"))["payments"]["data"][0].clone();
    payment["payment"]["payment_intent"].as_str().unwrap().to_owned()
}

fn authenticate(shop: &mut Shop, intent: &str) -> u16 {
    let id = intent.rsplit('/').next().unwrap();
    shop.send("POST", &format!("/_sandbox/payment_intents/{id}/authenticate"), "").0
}

#[test]
fn an_intent_that_is_confirmed_pays_its_invoice_and_once() {
    for card in [FAILS, AUTHENTICATES] {
        let mut shop = Shop::new();
        let (invoice, intent) = open_invoice(&mut shop, card);
        let since = shop.count();
        let (status, _) = shop.send("POST", &format!("{intent}/confirm"), "payment_method=pm_card_chargeDeclined");
        assert_eq!((status, shop.get(&invoice)["status"].clone()), (402, "open".into()));
        assert!(shop.told(since).contains(&"invoice.payment_failed".to_owned()));
        shop.post(&format!("{intent}/confirm"), "payment_method=pm_card_visa");
        let paid = shop.get(&format!("{invoice}?expand[]=payments"));
        assert_eq!((&paid["status"], &paid["payments"]["data"][0]["status"]), (&"paid".into(), &"paid".into()));
        assert_eq!(shop.refused(&format!("{invoice}/pay"), "").0, 400);
        assert_eq!(taken(&shop), 2000);
        assert_eq!(shop.told(since).iter().filter(|kind| *kind == "invoice.paid").count(), 1);
    }
}

#[test]
fn a_first_invoice_that_is_paid_by_its_intent_begins_the_subscription() {
    let mut shop = Shop::new();
    shop.card(FAILS);
    let price = shop.price(1900, "month");
    let subscription = shop.subscribe(&price, "");
    assert_eq!(subscription["status"], "incomplete");
    let invoice = format!("/v1/invoices/{}", subscription["latest_invoice"].as_str().unwrap());
    let intent = intent(&mut shop, &invoice);
    shop.post(&format!("/v1/payment_intents/{intent}/confirm"), "payment_method=pm_card_visa");
    assert_eq!(shop.subscription(&subscription)["status"], "active");
    let since = shop.count();
    shop.card("pm_card_visa");
    shop.pass(30 * DAY);
    // Told of once, although it began late.
    assert_eq!(shop.told(since).iter().filter(|kind| *kind == "invoice.upcoming").count(), 1);
    assert_eq!(taken(&shop), 3800);
}

#[test]
fn what_is_owed_can_be_confirmed_as_soon_as_it_is_finalised() {
    let mut shop = Shop::new();
    let price = shop.price(1900, "month");
    let expand = "expand[]=latest_invoice.confirmation_secret&expand[]=latest_invoice.payments";
    let subscription = shop.subscribe(&price, &format!("&payment_behavior=default_incomplete&{expand}"));
    let invoice = &subscription["latest_invoice"];
    let payment = &invoice["payments"]["data"][0];
    assert_eq!((&subscription["status"], &payment["status"]), (&"incomplete".into(), &"open".into()));
    let intent = format!("/v1/payment_intents/{}", payment["payment"]["payment_intent"].as_str().unwrap());
    assert_eq!(shop.get(&intent)["client_secret"], invoice["confirmation_secret"]["client_secret"]);
    shop.post(&format!("{intent}/confirm"), "payment_method=pm_card_visa");
    let after = shop.subscription(&subscription);
    assert_eq!((&after["status"], &after["latest_invoice"], taken(&shop)), (&"active".into(), &invoice["id"], 1900));
    assert_eq!(shop.world.store.all("payment_intent").count(), 1);
}

#[test]
fn an_intent_that_was_cancelled_is_followed_by_another() {
    let mut shop = Shop::new();
    let (invoice, intent) = open_invoice(&mut shop, FAILS);
    shop.post(&format!("{intent}/cancel"), "");
    shop.post(&format!("{invoice}/pay"), "payment_method=pm_card_visa");
    let payments = shop.get(&format!("{invoice}?expand[]=payments"))["payments"]["data"].clone();
    assert_eq!((&payments[0]["status"], &payments[1]["status"]), (&"canceled".into(), &"paid".into()));
    assert_eq!(taken(&shop), 2000);
}

#[test]
fn what_is_void_or_paid_elsewhere_takes_no_money_any_more() {
    for (how, form) in [("void", ""), ("pay", "paid_out_of_band=true")] {
        let mut shop = Shop::new();
        let (invoice, intent) = open_invoice(&mut shop, AUTHENTICATES);
        shop.post(&format!("{invoice}/{how}"), form);
        let payment = shop.get(&format!("{invoice}?expand[]=payments"))["payments"]["data"][0].clone();
        assert_eq!(payment["status"], "canceled", "{how}");
        assert_eq!(shop.get(&intent)["status"], "canceled", "{how}");
        assert_eq!(authenticate(&mut shop, &intent), 400);
        assert_eq!(shop.refused(&format!("{intent}/confirm"), "payment_method=pm_card_visa").0, 400);
        assert_eq!(taken(&shop), 0);
    }
}

#[test]
fn a_first_invoice_that_expires_takes_no_money_any_more() {
    let mut shop = Shop::new();
    shop.card(AUTHENTICATES);
    let price = shop.price(1900, "month");
    let subscription = shop.subscribe(&price, "");
    let invoice = format!("/v1/invoices/{}", subscription["latest_invoice"].as_str().unwrap());
    let intent = intent(&mut shop, &invoice);
    shop.pass(DAY);
    assert_eq!(shop.subscription(&subscription)["status"], "incomplete_expired");
    assert_eq!(authenticate(&mut shop, &intent), 400);
    assert_eq!(taken(&shop), 0);
}

#[test]
fn what_was_refused_as_a_whole_cannot_be_paid_later() {
    let mut shop = Shop::new();
    shop.card(AUTHENTICATES);
    let price = shop.price(1900, "month");
    let form = format!("customer={}&items[0][price]={price}&payment_behavior=error_if_incomplete", shop.customer);
    let (status, error) = shop.refused("/v1/subscriptions", &form);
    assert_eq!(status, 402);
    assert_eq!(authenticate(&mut shop, error["payment_intent"]["id"].as_str().unwrap()), 400);
    assert_eq!(taken(&shop), 0);
}

#[test]
fn a_debit_that_is_on_its_way_cannot_come_for_a_void_invoice() {
    let mut shop = Shop::new();
    let customer = shop.customer.clone();
    shop.made("/v1/invoiceitems", &format!("customer={customer}&amount=2000&currency=usd"));
    let invoice = shop.made("/v1/invoices", &format!("customer={customer}&pending_invoice_items_behavior=include"));
    let invoice = format!("/v1/invoices/{invoice}");
    shop.card("pm_usBankAccount_success");
    assert_eq!(shop.post(&format!("{invoice}/pay"), "")["status"], "open");
    assert_eq!(shop.refused(&format!("{invoice}/void"), "").0, 400);
    assert_eq!(shop.refused(&format!("{invoice}/pay"), "paid_out_of_band=true").0, 400);
    shop.pass(DAY);
    assert_eq!(shop.get(&invoice)["status"], "paid");
    assert_eq!(taken(&shop), 2000);
}

#[test]
fn a_subscription_that_a_debit_saves_is_not_expired_meanwhile() {
    let mut shop = Shop::new();
    shop.card(FAILS);
    let price = shop.price(1900, "month");
    let subscription = shop.subscribe(&price, "");
    let form = format!("customer={}", shop.customer);
    let debit = shop.made("/v1/payment_methods/pm_usBankAccount_success/attach", &form);
    let invoice = format!("/v1/invoices/{}", subscription["latest_invoice"].as_str().unwrap());
    shop.post(&format!("{invoice}/pay"), &format!("payment_method={debit}"));
    assert_eq!(shop.subscription(&subscription)["status"], "active");
    shop.pass(2 * DAY);
    assert_eq!((shop.subscription(&subscription)["status"].clone(), taken(&shop)), ("active".into(), 1900));
}

#[test]
fn the_card_of_another_customer_and_one_that_was_detached_pay_nothing() {
    let mut shop = Shop::new();
    let price = shop.price(1900, "month");
    let mine = shop.made("/v1/payment_methods/pm_card_visa/attach", &format!("customer={}", shop.customer));
    let subscription = shop.subscribe(&price, &format!("&default_payment_method={mine}"));
    shop.card("pm_card_mastercard");
    shop.post(&format!("/v1/payment_methods/{mine}/detach"), "");
    shop.pass_to("2027-03-02");
    let last = shop.world.store.all("charge").next_back().cloned().unwrap();
    assert_eq!(last["payment_method_details"]["card"]["brand"], "mastercard");
    let path = format!("/v1/subscriptions/{}", id(&subscription));
    assert_eq!(shop.refused(&path, &format!("default_payment_method={mine}")).0, 400);

    let other = shop.made("/v1/customers", "email=b@example.com");
    let theirs = shop.made("/v1/payment_methods/pm_card_visa/attach", &format!("customer={other}"));
    let (invoice, _) = open_invoice(&mut shop, FAILS);
    let since = shop.count();
    for method in [theirs.as_str(), mine.as_str(), "pm_none"] {
        assert_eq!(shop.refused(&format!("{invoice}/pay"), &format!("payment_method={method}")).0, 400);
    }
    assert_eq!(shop.told(since), [""; 0]);
}

#[test]
fn a_session_that_has_expired_takes_no_money_any_more() {
    let mut shop = Shop::new();
    let form = format!("product={}&currency=usd&unit_amount=2000", shop.product);
    let price = shop.made("/v1/prices", &form);
    let form =
        format!("mode=payment&line_items[0][price]={price}&line_items[0][quantity]=1&success_url=https://x.example");
    let session = shop.made("/v1/checkout/sessions", &form);
    shop.post(&format!("/v1/payment_pages/{session}/confirm"), &format!("payment_method={AUTHENTICATES}"));
    let intent = id(shop.world.store.all("payment_intent").next_back().unwrap());
    shop.post(&format!("/v1/checkout/sessions/{session}/expire"), "");
    assert_eq!((authenticate(&mut shop, &intent), taken(&shop)), (400, 0));
}
