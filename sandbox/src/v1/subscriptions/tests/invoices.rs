//! Invoices by hand, and what the Stripe CLI's triggers do.

use super::*;

#[test]
fn the_cli_pays_an_invoice_or_is_declined() {
    for (card, paid) in [("pm_card_visa", true), ("pm_card_chargeCustomerFail", false)] {
        let mut shop = Shop::new();
        let customer = shop.customer.clone();
        let (status, method) =
            shop.send("POST", &format!("/v1/payment_methods/{card}/attach"), &format!("customer={customer}"));
        let method = if status == 200 { id(&method) } else { card.to_owned() };
        shop.post("/v1/invoiceitems", &format!("customer={customer}&amount=2000&currency=usd"));
        let invoice = shop.post("/v1/invoices", &format!("customer={customer}&pending_invoice_items_behavior=include"));
        assert_eq!(
            (&invoice["status"], &invoice["amount_due"], &invoice["billing_reason"]),
            (&"draft".into(), &2000.into(), &"manual".into())
        );
        let path = format!("/v1/invoices/{}/pay", id(&invoice));
        let form = format!("payment_method={method}");
        if paid {
            let paid = shop.post(&path, &form);
            assert_eq!((&paid["status"], &paid["attempt_count"]), (&"paid".into(), &1.into()));
            shop.event("invoice.payment_succeeded");
            let intent =
                shop.get(&format!("/v1/invoices/{}?expand[]=payments", id(&invoice)))["payments"]["data"][0]["payment"]
                    ["payment_intent"]
                    .clone();
            let query = format!("payment[type]=payment_intent&payment[payment_intent]={}", intent.as_str().unwrap());
            let found = shop.get(&format!("/v1/invoice_payments?{query}"));
            assert_eq!((&found["data"][0]["invoice"], &found["data"][0]["status"]), (&invoice["id"], &"paid".into()));
            let one = shop.get(&format!("/v1/invoice_payments/{}", id(&found["data"][0])));
            assert_eq!(one["amount_paid"], 2000);
        } else {
            let (status, error) = shop.refused(&path, &form);
            assert_eq!((status, &error["type"]), (402, &"card_error".into()));
            shop.event("invoice.payment_failed");
            assert_eq!(shop.get(&format!("/v1/invoices/{}", id(&invoice)))["status"], "open");
        }
    }
}

#[test]
fn the_cli_makes_changes_and_deletes_a_subscription() {
    let mut shop = Shop::new();
    let price = shop.price(1500, "month");
    let subscription = shop.subscribe(&price, "");
    let path = format!("/v1/subscriptions/{}", id(&subscription));
    shop.post(&path, "metadata[foo]=bar");
    let updated = shop.event("customer.subscription.updated")["data"].clone();
    assert_eq!(updated["previous_attributes"], serde_json::json!({ "metadata": { "foo": null } }));
    assert_eq!(shop.send("DELETE", &path, "").0, 200);
    assert_eq!(
        shop.event("customer.subscription.deleted")["data"]["object"]["cancellation_details"]["reason"],
        "cancellation_requested"
    );
    let listed = |shop: &mut Shop, status: &str| {
        shop.get(&format!("/v1/subscriptions?status={status}"))["data"].as_array().unwrap().len()
    };
    assert_eq!((listed(&mut shop, "all"), listed(&mut shop, "active"), listed(&mut shop, "ended")), (1, 0, 1));
}

#[test]
fn a_draft_is_changed_finalised_voided_and_given_up() {
    let mut shop = Shop::new();
    let customer = shop.customer.clone();
    let draft = shop.made("/v1/invoices", &format!("customer={customer}&currency=usd"));
    let item = shop
        .made("/v1/invoiceitems", &format!("customer={customer}&invoice={draft}&amount=700&currency=usd&quantity=1"));
    shop.made(
        "/v1/invoiceitems",
        &format!("customer={customer}&invoice={draft}&unit_amount_decimal=50&quantity=6&currency=usd"),
    );
    let path = format!("/v1/invoices/{draft}");
    assert_eq!(shop.get(&path)["amount_due"], 1000);
    assert_eq!(shop.send("DELETE", &format!("/v1/invoiceitems/{item}"), "").0, 200);
    assert_eq!(shop.get(&format!("{path}/lines"))["data"].as_array().unwrap().len(), 1);
    assert_eq!(shop.post(&path, "description=Hello&metadata[a]=b")["description"], "Hello");
    let open = shop.post(&format!("{path}/finalize"), "auto_advance=false");
    assert_eq!(
        (&open["status"], &open["number"], &open["amount_due"]),
        (&"open".into(), &"SANDBOX-0001".into(), &300.into())
    );
    assert_eq!(shop.refused(&format!("{path}/finalize"), "").0, 400);
    assert_eq!(shop.send("DELETE", &path, "").0, 400);
    assert_eq!(shop.post(&format!("{path}/mark_uncollectible"), "")["status"], "uncollectible");
    assert_eq!(shop.post(&format!("{path}/void"), "")["status"], "void");
    assert_eq!(shop.refused(&format!("{path}/pay"), "").0, 400);
    let other = shop.made("/v1/invoices", &format!("customer={customer}"));
    assert_eq!(shop.send("DELETE", &format!("/v1/invoices/{other}"), "").0, 200);
    assert_eq!(shop.send("GET", &format!("/v1/invoices/{other}"), "").0, 404);
    let sent =
        shop.made("/v1/invoices", &format!("customer={customer}&collection_method=send_invoice&days_until_due=3"));
    shop.made("/v1/invoiceitems", &format!("customer={customer}&invoice={sent}&amount=700&currency=usd"));
    shop.post(&format!("/v1/invoices/{sent}/send"), "");
    shop.pass(4 * DAY);
    assert_eq!(shop.event("invoice.overdue")["data"]["object"]["id"], sent);
    let paid = shop.post(&format!("/v1/invoices/{sent}/pay"), "paid_out_of_band=true");
    assert_eq!((&paid["status"], &paid["amount_paid_off_stripe"]), (&"paid".into(), &700.into()));
    let told = shop.told(0);
    assert_eq!(
        (
            told.iter().filter(|k| *k == "invoice.paid").count(),
            told.iter().filter(|k| *k == "invoice.payment_succeeded").count()
        ),
        (1, 0)
    );
    let drafts = shop.get("/v1/invoices?collection_method=send_invoice&status=paid");
    assert_eq!(drafts["data"].as_array().unwrap().len(), 1);
}

#[test]
fn a_draft_that_advances_by_itself_is_paid_in_an_hour() {
    let mut shop = Shop::new();
    let customer = shop.customer.clone();
    shop.made("/v1/invoiceitems", &format!("customer={customer}&amount=2000&currency=usd"));
    let draft = shop
        .made("/v1/invoices", &format!("customer={customer}&pending_invoice_items_behavior=include&auto_advance=true"));
    shop.pass(3599);
    assert_eq!(shop.get(&format!("/v1/invoices/{draft}"))["status"], "draft");
    shop.pass(1);
    assert_eq!(shop.get(&format!("/v1/invoices/{draft}"))["status"], "paid");
}

#[test]
fn more_than_ten_items_are_paged_wherever_they_are_shown() {
    let mut shop = Shop::new();
    let prices: Vec<String> = (1..=12).map(|n| shop.price(n * 100, "month")).collect();
    let items: Vec<String> =
        prices.iter().enumerate().map(|(n, price)| format!("&items[{n}][price]={price}")).collect();
    let subscription = shop.subscribe(&prices[0], &items[1..].concat());
    let shown =
        |object: &Value| (object["items"]["data"].as_array().unwrap().len(), object["items"]["has_more"] == true);
    assert_eq!((shown(&subscription), &subscription["items"]["total_count"]), ((10, true), &12.into()));
    assert_eq!(shown(&shop.get("/v1/subscriptions")["data"][0]), (10, true));
    assert_eq!(shown(&shop.event("customer.subscription.created")["data"]["object"]), (10, true));
    let listed = shop.get(&format!("/v1/subscription_items?subscription={}&limit=100", id(&subscription)));
    assert_eq!((listed["data"].as_array().unwrap().len(), &listed["has_more"]), (12, &false.into()));
    let (first, last) = (id(&listed["data"][0]), id(&listed["data"][11]));
    // All of them are there all the same: the invoice has each, and a change shows what they were.
    assert_eq!(shop.invoices(&subscription)[0]["total"], 7800);
    let rest =
        shop.get(&format!("/v1/subscription_items?subscription={}&limit=5&starting_after={first}", id(&subscription)));
    assert_eq!((rest["data"].as_array().unwrap().len(), &rest["has_more"]), (5, &true.into()));
    shop.post(&format!("/v1/subscription_items/{last}"), "quantity=2&proration_behavior=none");
    let previous = shop.event("customer.subscription.updated")["data"]["previous_attributes"].clone();
    assert_eq!(previous["items"]["data"].as_array().unwrap().len(), 10, "{previous}");
}

#[test]
fn more_than_ten_lines_are_paged() {
    let mut shop = Shop::new();
    let customer = shop.customer.clone();
    for amount in 1..=13 {
        shop.made("/v1/invoiceitems", &format!("customer={customer}&amount={amount}00&currency=usd"));
    }
    let invoice = shop.post("/v1/invoices", &format!("customer={customer}&pending_invoice_items_behavior=include"));
    assert_eq!((invoice["lines"]["data"].as_array().unwrap().len(), &invoice["lines"]["has_more"]), (10, &true.into()));
    assert_eq!((&invoice["total"], invoice.get("_lines")), (&9100.into(), None));
    let rest = shop.get(&format!(
        "/v1/invoices/{}/lines?limit=100&starting_after={}",
        id(&invoice),
        id(&invoice["lines"]["data"][9])
    ));
    assert_eq!(rest["data"].as_array().unwrap().len(), 3);
}

#[test]
fn a_renewal_that_the_balance_covers_is_paid_without_a_payment() {
    let mut shop = Shop::new();
    let price = shop.price(1900, "month");
    let subscription = shop.subscribe(&price, "");
    let customer = shop.customer.clone();
    shop.post(&format!("/v1/customers/{customer}"), "balance=-5000");
    shop.pass_to("2027-03-02");
    let invoice = shop.invoices(&subscription).remove(1);
    assert_eq!(
        (&invoice["status"], &invoice["total"], &invoice["amount_due"], &invoice["attempt_count"]),
        (&"paid".into(), &1900.into(), &0.into(), &0.into())
    );
    assert_eq!((&invoice["starting_balance"], &invoice["ending_balance"]), (&(-5000).into(), &(-3100).into()));
    let expanded = shop.get(&format!("/v1/subscriptions/{}?expand[]=latest_invoice.payments", id(&subscription)));
    assert_eq!(expanded["latest_invoice"]["payments"]["data"], Value::Array(vec![]));
    assert_eq!(shop.world.store.all("charge").count(), 1);
    shop.event("invoice.paid");
}

#[test]
fn a_deleted_customer_has_no_subscriptions_left() {
    let mut shop = Shop::new();
    let price = shop.price(1900, "month");
    let subscription = shop.subscribe(&price, "");
    let customer = shop.customer.clone();
    assert_eq!(shop.send("DELETE", &format!("/v1/customers/{customer}"), "").0, 200);
    assert_eq!(shop.subscription(&subscription)["status"], "canceled");
    let since = shop.count();
    shop.pass(400 * DAY);
    assert_eq!(shop.told(since), [""; 0]);
}
