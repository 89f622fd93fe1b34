//! The billing portal, and an invoice's page.

use serde_json::json;

use super::*;

/// A customer with a subscription to the first of two plans.
fn subscribed(world: &mut World) -> (String, String, [String; 2]) {
    let prices = [plan(world, "Basic", 900), plan(world, "Pro", 1900)];
    let customer = id(&made(world, "/v1/customers", "email=ann@example.com"));
    let form = format!("customer={customer}&items[0][price]={}", prices[0]);
    let subscription = id(&made(world, "/v1/subscriptions", &form));
    (customer, subscription, prices)
}

fn portal(world: &mut World, customer: &str, more: &str) -> String {
    let form = format!("customer={customer}&return_url=https://shop.example/account&{more}");
    path(&made(world, "/v1/billing_portal/sessions", &form))
}

#[test]
fn a_customer_changes_plan_and_card_and_cancels_and_resumes() {
    let mut world = world();
    let (customer, subscription, prices) = subscribed(&mut world);
    let page = portal(&mut world, &customer, "");
    let shown = get(&mut world, &page).body;
    for part in [
        "Basic",
        "9.00 USD every month",
        "Pro: 19.00 USD every month",
        "SANDBOX-0001",
        "Return to shop.example",
        "renews on",
    ] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    let now = |world: &mut World| got(world, &format!("/v1/subscriptions/{subscription}"));
    let change = format!("do=change&subscription={subscription}&price={}", prices[1]);
    assert_eq!(location(&post(&mut world, &page, &change)), format!("{page}?done=plan"));
    assert_eq!(now(&mut world)["items"]["data"][0]["price"]["id"], prices[1]);
    post(&mut world, &page, &format!("do=cancel&subscription={subscription}"));
    assert_eq!(
        (&now(&mut world)["cancel_at_period_end"], &now(&mut world)["status"]),
        (&json!(true), &json!("active"))
    );
    assert!(get(&mut world, &page).body.contains("Do not cancel after all"));
    post(&mut world, &page, &format!("do=resume&subscription={subscription}"));
    assert_eq!(now(&mut world)["cancel_at_period_end"], false);
    location(&post(&mut world, &page, "do=card&number=4242424242424242&expiry=12/34&cvc=123"));
    let shown = get(&mut world, &format!("{page}?done=card")).body;
    assert!(shown.contains("Your card was changed.") && shown.contains("ending in 4242"), "{shown}");
    let refused = post(&mut world, &page, "do=card&number=1&expiry=12/34&cvc=123");
    assert!(refused.status == 402 && refused.body.contains("card number is incorrect"));
    location(&post(&mut world, &page, "do=details&email=bob@example.com&name=Bob"));
    assert_eq!(got(&mut world, &format!("/v1/customers/{customer}"))["email"], "bob@example.com");
    assert_eq!(told(&world, "customer.subscription.updated"), 3);
}

#[test]
fn nobody_reaches_what_is_anothers() {
    let mut world = world();
    let (_, subscription, prices) = subscribed(&mut world);
    let other = id(&made(&mut world, "/v1/customers", ""));
    let page = portal(&mut world, &other, "");
    for form in ["do=cancel", "do=resume", "do=change"] {
        let form = format!("{form}&subscription={subscription}&price={}", prices[1]);
        assert_eq!(post(&mut world, &page, &form).status, 404);
    }
    let form = format!(
        "customer={other}&flow_data[type]=subscription_cancel&flow_data[subscription_cancel][subscription]={subscription}"
    );
    assert_eq!(api(&mut world, "POST", "/v1/billing_portal/sessions", &form).0, 400);
    assert_eq!(told(&world, "customer.subscription.updated"), 0);
}

#[test]
fn a_configuration_says_what_may_be_done() {
    let mut world = world();
    let (customer, subscription, prices) = subscribed(&mut world);
    let form = "features[subscription_cancel][enabled]=true&features[subscription_cancel][mode]=immediately&features[invoice_history][enabled]=false&business_profile[headline]=Hello";
    let configuration = made(&mut world, "/v1/billing_portal/configurations", form);
    assert_eq!(
        (&configuration["features"]["subscription_cancel"]["mode"], &configuration["active"]),
        (&json!("immediately"), &json!(true))
    );
    let page = portal(&mut world, &customer, &format!("configuration={}", id(&configuration)));
    let shown = get(&mut world, &page).body;
    assert!(shown.contains("Cancel the subscription now") && shown.contains("Hello"), "{shown}");
    assert!(
        !shown.contains("SANDBOX-0001") && !shown.contains("Change the card") && !shown.contains("Change the plan"),
        "{shown}"
    );
    let change = format!("do=change&subscription={subscription}&price={}", prices[1]);
    for form in ["quick=4242424242424242", &change] {
        assert_eq!(post(&mut world, &page, form).status, 400);
    }
    post(&mut world, &page, &format!("do=cancel&subscription={subscription}"));
    assert_eq!(got(&mut world, &format!("/v1/subscriptions/{subscription}"))["status"], "canceled");
    let path = format!("/v1/billing_portal/configurations/{}", id(&configuration));
    assert_eq!(made(&mut world, &path, "active=false")["active"], false);
    let form = format!("customer={customer}&configuration={}", id(&configuration));
    assert_eq!(api(&mut world, "POST", "/v1/billing_portal/sessions", &form).0, 400);
    assert_eq!(got(&mut world, "/v1/billing_portal/configurations?active=false")["data"].as_array().unwrap().len(), 1);
    let (status, _) = api(&mut world, "POST", "/v1/billing_portal/configurations", "features[wrong][enabled]=true");
    assert_eq!(status, 400);
}

#[test]
fn a_flow_is_for_one_thing_and_leads_on() {
    let mut world = world();
    let (customer, subscription, _) = subscribed(&mut world);
    let flow = format!(
        "flow_data[type]=subscription_cancel&flow_data[subscription_cancel][subscription]={subscription}\
         &flow_data[after_completion][type]=redirect&flow_data[after_completion][redirect][return_url]=https://shop.example/bye"
    );
    let page = portal(&mut world, &customer, &flow);
    let shown = get(&mut world, &page).body;
    assert!(
        shown.contains("Cancel the subscription")
            && !shown.contains("Change the plan")
            && !shown.contains("Change the card"),
        "{shown}"
    );
    assert_eq!(
        location(&post(&mut world, &page, &format!("do=cancel&subscription={subscription}"))),
        "https://shop.example/bye"
    );
    let card = portal(&mut world, &customer, "flow_data[type]=payment_method_update");
    assert!(!get(&mut world, &card).body.contains("Basic"));
    location(&post(&mut world, &card, "quick=4242424242424242"));
    assert!(get(&mut world, &card).body.contains("Basic"));
}

#[test]
fn a_portal_link_does_not_wait_for_ever() {
    let mut world = world();
    let (customer, subscription, _) = subscribed(&mut world);
    let page = portal(&mut world, &customer, "");
    send(&mut world, "POST", "/_sandbox/advance", r#"{"seconds":301}"#, &[]);
    let over = get(&mut world, &page);
    assert!(over.status == 404 && over.body.contains("https://shop.example/account"), "{}", over.body);
    assert_eq!(post(&mut world, &page, &format!("do=cancel&subscription={subscription}")).status, 404);
    assert_eq!(told(&world, "customer.subscription.updated"), 0);
}

#[test]
fn an_open_invoice_is_paid_on_its_page() {
    let mut world = world();
    let price = plan(&mut world, "Pro", 1900);
    let customer = id(&made(&mut world, "/v1/customers", "email=ann@example.com"));
    let form = format!("customer={customer}&items[0][price]={price}&payment_behavior=default_incomplete");
    let subscription = made(&mut world, "/v1/subscriptions", &form);
    let invoice = got(&mut world, &format!("/v1/invoices/{}", subscription["latest_invoice"].as_str().unwrap()));
    let page = invoice["hosted_invoice_url"].as_str().unwrap().strip_prefix(URL).unwrap().to_owned();
    let shown = get(&mut world, &page).body;
    assert!(
        shown.contains("Pay 19.00 USD") && shown.contains("ann@example.com") && shown.contains("<strong>open</strong>"),
        "{shown}"
    );
    location(&post(&mut world, &page, "quick=4242424242424242"));
    let shown = get(&mut world, &page).body;
    assert!(shown.contains("<strong>paid</strong>") && !shown.contains("<form"), "{shown}");
    assert_eq!(told(&world, "invoice.paid"), 1);
    // A second tab that still has the form.
    let again = post(&mut world, &page, "quick=4242424242424242");
    assert!(again.status == 400 && again.body.contains("already paid"), "{}", again.body);
    assert_eq!(told(&world, "charge.succeeded"), 1);
}
