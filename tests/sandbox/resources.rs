//! What each resource keeps, refuses and tells.

use std::net::Ipv4Addr;

use bursar::sandbox::{self, Options, SandboxError};
use serde_json::{Value, json};

use super::client::{Client, transfer};

async fn events(client: &Client) -> Vec<String> {
    let list = client.get("/v1/events?limit=100").await.body;
    let newest_first = list["data"].as_array().unwrap().iter().map(|event| event["type"].as_str().unwrap().to_owned());
    newest_first.collect::<Vec<_>>().into_iter().rev().collect()
}

fn ids(page: &Value) -> Vec<String> {
    page["data"].as_array().unwrap().iter().map(|object| object["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn all_pages_of_250_transfers_forwards_and_backwards() {
    let client = Client::start().await;
    let (to, other) = (client.receiver().await, client.receiver().await);
    let mut made = Vec::new();
    for _ in 0..250 {
        made.push(client.post("/v1/transfers", &transfer(&to)).await.id());
    }
    client.post("/v1/transfers", &transfer(&other)).await.id();
    let list = format!("/v1/transfers?destination={to}&transfer_group=job_1");
    let (mut older, mut page) = (Vec::new(), client.get(&format!("{list}&limit=100")).await.body);
    for has_more in [true, true, false] {
        assert_eq!((&page["object"], &page["has_more"]), (&"list".into(), &has_more.into()));
        older.extend(ids(&page));
        page = client.get(&format!("{list}&limit=100&starting_after={}", older.last().unwrap())).await.body;
    }
    assert_eq!(
        (page["data"].as_array().unwrap().len(), older.iter().rev().collect::<Vec<_>>()),
        (0, made.iter().collect())
    );
    let back = client.get(&format!("{list}&limit=100&ending_before={}", older[150])).await.body;
    assert_eq!((ids(&back), &back["has_more"]), (older[50..150].to_vec(), &true.into()));
    assert_eq!(ids(&client.get(&list).await.body).len(), 10);
    let at = client.get(&format!("/v1/transfers/{}", made[0])).await.body["created"].as_i64().unwrap();
    for (filter, found) in [("gte", true), ("gt", false), ("lte", true), ("lt", false)] {
        let bound = if filter.starts_with('g') { at + 3600 * i64::from(!found) } else { at + 3600 * i64::from(found) };
        let page = client.get(&format!("{list}&created[{filter}]={bound}")).await.body;
        assert_eq!(!ids(&page).is_empty(), found, "{filter}");
    }
    for bad in ["limit=0", "limit=101", "limit=x", "starting_after=tr_none", "created[gte]=x", "colour=red"] {
        assert_eq!(client.get(&format!("{list}&{bad}")).await.status, 400, "{bad}");
    }
}

#[tokio::test]
async fn errors_are_in_stripes_shape() {
    let client = Client::start().await;
    let cases = [
        ("POST", "/v1/transfers", "amount=1&colour=red", 400, ("invalid_request_error", "parameter_unknown", "colour")),
        ("POST", "/v1/transfers", "currency=usd", 400, ("invalid_request_error", "parameter_missing", "amount")),
        ("POST", "/v1/transfers", "amount=1.5", 400, ("invalid_request_error", "parameter_invalid_integer", "amount")),
        ("POST", "/v1/transfers", "amount=0", 400, ("invalid_request_error", "parameter_invalid_integer", "amount")),
        ("POST", "/v1/transfers", "amount=1&currency=xxx", 400, ("invalid_request_error", "", "currency")),
        (
            "POST",
            "/v1/transfers",
            "amount=1&currency=usd&destination=acct_1",
            400,
            ("invalid_request_error", "resource_missing", "destination"),
        ),
        ("GET", "/v1/customers/cus_none", "", 404, ("invalid_request_error", "resource_missing", "id")),
        ("GET", "/v1/accounts/acct_none", "", 403, ("invalid_request_error", "account_invalid", "")),
        ("GET", "/v1/unicorns", "", 404, ("invalid_request_error", "", "")),
        ("POST", "/v1/customers", "metadata=x", 400, ("invalid_request_error", "", "metadata")),
    ];
    for (method, path, form, status, error) in cases {
        let reply = client.send(method, path, form, &[]).await.unwrap();
        assert_eq!((reply.status, reply.error()), (status, error), "{method} {path} {form}");
        assert!(reply.header("request-id").unwrap().starts_with("req_"));
        assert_eq!(reply.header("stripe-version"), Some("2026-09-30.endive"));
    }
    for key in ["", "Bearer sk_test_1", "Bearer sk_live_1234567890", "Basic c2tfbGl2ZV8xOg=="] {
        let reply = client.send("GET", "/v1/balance", "", &[("Authorization", key)]).await.unwrap();
        assert_eq!((reply.status, reply.error().0), (401, "invalid_request_error"), "{key}");
    }
    let old = client.send("GET", "/v1/balance", "", &[("Stripe-Version", "2024-06-20")]).await.unwrap();
    assert_eq!(old.header("stripe-version"), Some("2024-06-20"));
    let json = client.send("POST", "/v1/customers", "{}", &[("Content-Type", "application/json")]).await.unwrap();
    assert!(json.status == 400 && json.text.contains("application/x-www-form-urlencoded"), "{}", json.text);
    assert!(client.get("/").await.text.contains("not Stripe"));
}

#[tokio::test]
async fn it_takes_one_key_when_told_and_stays_on_this_machine() {
    let client = Client::with(Options { key: Some("sk_test_only_this_one".to_owned()), ..Options::default() }).await;
    assert_eq!(client.get("/v1/balance").await.status, 200);
    let other =
        client.send("GET", "/v1/balance", "", &[("Authorization", "Bearer sk_test_not_this_one")]).await.unwrap();
    assert_eq!(other.status, 401);
    let anywhere = Options { address: (Ipv4Addr::UNSPECIFIED, 0).into(), ..Options::default() };
    assert!(matches!(sandbox::start(anywhere).await, Err(SandboxError::Public(_))));
    let stops = Options { address: (Ipv4Addr::LOCALHOST, 0).into(), ..Options::default() };
    sandbox::start(stops).await.unwrap().stop().await.unwrap();
}

#[tokio::test]
async fn a_transfer_needs_a_capability_and_money() {
    let client = Client::start().await;
    let account =
        client.post("/v1/accounts", "type=express&capabilities[transfers][requested]=true&metadata[user_id]=bob").await;
    let (to, state) = (account.id(), async |state: &str| {
        let path = format!("/_sandbox/accounts/{}", account.id());
        assert_eq!(client.post(&path, &format!(r#"{{"state":"{state}"}}"#)).await.status, 200);
    });
    assert_eq!(account.body["capabilities"]["transfers"], "inactive");
    let link = client
        .post(
            "/v1/account_links",
            &format!("account={to}&type=account_onboarding&refresh_url=https://x.example&return_url=https://x.example"),
        )
        .await;
    assert!(link.body["url"].as_str().unwrap().starts_with(&client.0.url), "{}", link.text);
    let refused = client.post("/v1/transfers", &transfer(&to)).await;
    assert_eq!((refused.status, refused.error().1), (400, "insufficient_capabilities_for_transfer"));
    state("active").await;
    client.post("/_sandbox/balance", r#"{"currency":"usd","available":150}"#).await;
    let sent = client.post("/v1/transfers", &transfer(&to)).await;
    assert_eq!(
        (&sent.body["amount"], &sent.body["livemode"], &sent.body["reversed"]),
        (&100.into(), &false.into(), &false.into())
    );
    let broke = client.post("/v1/transfers", &transfer(&to)).await;
    assert_eq!((broke.status, broke.error().1), (400, "balance_insufficient"));
    let balance = client.get("/v1/balance").await.body;
    let usd = balance["available"].as_array().unwrap().iter().find(|entry| entry["currency"] == "usd").unwrap().clone();
    assert_eq!(usd["amount"], 50);
    let theirs = client.send("GET", "/v1/balance", "", &[("Stripe-Account", &to)]).await.unwrap().body;
    assert_eq!(theirs["available"][0]["amount"], 100);
    state("restricted").await;
    assert_eq!(client.post("/v1/transfers", &transfer(&to)).await.error().1, "insufficient_capabilities_for_transfer");
    state("deauthorised").await;
    assert_eq!(client.post("/v1/transfers", &transfer(&to)).await.error().1, "resource_missing");
    assert_eq!(client.get(&format!("/v1/accounts/{to}")).await.error().1, "account_invalid");
    let told = client.get("/v1/events?types[]=account.updated&types[]=account.application.deauthorized").await.body;
    let told: Vec<_> = told["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| (&e["account"], &e["data"]["object"]["capabilities"]["transfers"]))
        .collect();
    let account = json!(to);
    assert_eq!(told, [(&account, &Value::Null), (&account, &json!("inactive")), (&account, &json!("active"))]);
}

#[tokio::test]
async fn a_reversal_brings_money_back_and_never_too_much() {
    let client = Client::start().await;
    let to = client.receiver().await;
    let id = client.post("/v1/transfers", &transfer(&to)).await.id();
    let path = format!("/v1/transfers/{id}/reversals");
    let first = client.post(&path, "amount=30").await;
    assert!(first.id().starts_with("trr_"));
    assert_eq!(client.post(&path, "amount=71").await.error().2, "amount");
    client.post(&path, "").await.id();
    assert_eq!(client.post(&path, "").await.status, 400);
    let transfer = client.get(&format!("/v1/transfers/{id}")).await.body;
    assert_eq!((&transfer["amount_reversed"], &transfer["reversed"]), (&100.into(), &true.into()));
    assert_eq!(transfer["reversals"]["total_count"], 2);
    assert_eq!(client.get(&format!("{path}/{}", first.id())).await.body["amount"], 30);
    assert_eq!(client.get("/_sandbox/ledger").await.body["sent"]["usd"], 0);
    assert_eq!(events(&client).await.iter().filter(|kind| *kind == "transfer.reversed").count(), 2);
}

#[tokio::test]
async fn a_paid_checkout_makes_what_it_was_for() {
    let client = Client::start().await;
    let product = client.post("/v1/products", "name=Pro").await.id();
    let price = client
        .post("/v1/prices", &format!("product={product}&currency=usd&unit_amount=1900&recurring[interval]=month"))
        .await
        .id();
    let form = format!(
        "mode=subscription&line_items[0][price]={price}&line_items[0][quantity]=1&success_url=https://x.example\
         &client_reference_id=alice&subscription_data[metadata][user_id]=alice&expand[]=line_items"
    );
    let session = client.post("/v1/checkout/sessions", &form).await;
    assert_eq!((&session.body["status"], &session.body["amount_total"]), (&"open".into(), &1900.into()));
    assert_eq!(session.body["line_items"]["data"][0]["price"]["id"], price);
    let path = format!("/_sandbox/checkout/{}/complete", session.id());
    let done = client.post(&path, r#"{"email":"alice@example.com"}"#).await;
    assert_eq!((&done.body["payment_status"], &done.body["status"]), (&"paid".into(), &"complete".into()));
    assert_eq!(client.post(&path, "").await.status, 400);
    let invoice =
        client.get(&format!("/v1/invoices/{}?expand[]=payments", done.body["invoice"].as_str().unwrap())).await.body;
    assert_eq!(
        (&invoice["status"], &invoice["amount_paid"], &invoice["billing_reason"]),
        (&"paid".into(), &1900.into(), &"subscription_create".into())
    );
    assert_eq!(invoice["parent"]["subscription_details"]["metadata"]["user_id"], "alice");
    assert_eq!(invoice["lines"]["data"][0]["pricing"]["price_details"]["price"], price);
    assert_eq!(invoice["payments"]["data"][0]["payment"]["type"], "payment_intent");
    let subscription = done.body["subscription"].as_str().unwrap();
    let shown = client.get(&format!("/v1/subscriptions/{subscription}?expand[]=customer")).await.body;
    assert_eq!((&shown["status"], &shown["customer"]["email"]), (&"active".into(), &"alice@example.com".into()));
    let period = &shown["items"]["data"][0];
    assert!(period["current_period_end"].as_i64() > period["current_period_start"].as_i64());
    let gone = client.send("DELETE", &format!("/v1/subscriptions/{subscription}"), "", &[]).await.unwrap();
    assert_eq!(gone.body["status"], "canceled");
    let told = events(&client).await;
    for kind in [
        "product.created",
        "price.created",
        "customer.created",
        "invoice.created",
        "invoice.finalized",
        "customer.subscription.created",
        "payment_intent.succeeded",
        "charge.succeeded",
        "invoice.paid",
        "invoice.payment_succeeded",
        "checkout.session.completed",
        "customer.subscription.deleted",
    ] {
        assert_eq!(told.iter().filter(|told| *told == kind).count(), 1, "{kind} in {told:?}");
    }
}

#[tokio::test]
async fn a_one_time_checkout_is_paid_by_its_page_or_expires() {
    let client = Client::start().await;
    let form = "mode=payment&line_items[0][price_data][currency]=usd&line_items[0][price_data][unit_amount]=999\
                &line_items[0][price_data][product_data][name]=Credits&line_items[0][quantity]=2&success_url=https://x.example&metadata[credits]=50";
    let session = client.post("/v1/checkout/sessions", form).await.id();
    assert!(session.starts_with("cs_test_"));
    let confirm = format!("/v1/payment_pages/{session}/confirm");
    assert_eq!(client.post(&confirm, "payment_method=pm_card_visa&expected_amount=1").await.status, 400);
    let paid = client.post(&confirm, "payment_method=pm_card_visa&expected_amount=1998").await.body;
    assert_eq!((&paid["payment_status"], &paid["metadata"]["credits"]), (&"paid".into(), &"50".into()));
    let intent = client.get(&format!("/v1/payment_intents/{}", paid["payment_intent"].as_str().unwrap())).await.body;
    assert_eq!(intent["amount_received"], 1998);
    // A Transfer from that charge needs no available balance, and sends no more than came in.
    let to = client.receiver().await;
    client.post("/_sandbox/balance", r#"{"currency":"usd","available":0}"#).await;
    let from = |amount| {
        format!(
            "amount={amount}&currency=usd&destination={to}&source_transaction={}",
            intent["latest_charge"].as_str().unwrap()
        )
    };
    client.post("/v1/transfers", &from(1500)).await.id();
    assert_eq!(client.post("/v1/transfers", &from(499)).await.error().2, "amount");

    let other = client.post("/v1/checkout/sessions", form).await.id();
    let expired = client.post(&format!("/v1/checkout/sessions/{other}/expire"), "").await.body;
    assert_eq!((&expired["status"], &expired["url"]), (&"expired".into(), &Value::Null));
    assert_eq!(events(&client).await.last().unwrap(), "checkout.session.expired");
}

#[tokio::test]
async fn an_open_invoice_is_paid_or_void() {
    let client = Client::start().await;
    let customer = client.post("/v1/customers", "email=a@example.com").await.id();
    let product = client.post("/v1/products", "name=Pro").await.id();
    let price = client
        .post("/v1/prices", &format!("product={product}&currency=usd&unit_amount=1900&recurring[interval]=month"))
        .await
        .id();
    let form =
        format!("customer={customer}&items[0][price]={price}&payment_behavior=default_incomplete&metadata[user_id]=a");
    let subscribe = async || client.post("/v1/subscriptions", &form).await.body;
    let first = subscribe().await;
    assert_eq!(first["status"], "incomplete");
    let pay = format!("/v1/invoices/{}/pay", first["latest_invoice"].as_str().unwrap());
    assert_eq!(client.post(&pay, "").await.body["status"], "paid");
    assert_eq!(client.post(&pay, "").await.error().1, "invoice_already_paid");
    let active = client.get(&format!("/v1/subscriptions/{}", first["id"].as_str().unwrap())).await.body;
    assert_eq!(active["status"], "active");
    let second = subscribe().await;
    let void = format!("/v1/invoices/{}/void", second["latest_invoice"].as_str().unwrap());
    assert_eq!(client.post(&void, "").await.body["status"], "void");
    let open = client.get(&format!("/v1/invoices?customer={customer}&status=paid")).await.body;
    assert_eq!(ids(&open).len(), 1);
}

#[tokio::test]
async fn a_customer_is_changed_deleted_and_its_events_are_found() {
    let client = Client::start().await;
    let before = client.post("/v1/products", "name=Pro").await.id();
    let id = client.post("/v1/customers", "email=a@example.com&metadata[user_id]=a&metadata[x]=1").await.id();
    let path = format!("/v1/customers/{id}");
    let changed = client.post(&path, "name=Alice&metadata[x]=").await.body;
    assert_eq!((&changed["name"], &changed["metadata"]), (&"Alice".into(), &json!({ "user_id": "a" })));
    let gone = client.send("DELETE", &path, "", &[]).await.unwrap().body;
    assert_eq!(gone, json!({ "id": id, "object": "customer", "deleted": true }));
    assert_eq!(client.get(&path).await.body, gone);
    assert_eq!(client.post(&path, "name=Bob").await.status, 404);
    assert_eq!(ids(&client.get("/v1/customers").await.body).len(), 0);
    let list = client.get("/v1/events?types[]=customer.*").await.body;
    let kinds: Vec<_> = list["data"].as_array().unwrap().iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["customer.deleted", "customer.updated", "customer.created"]);
    assert_eq!(
        list["data"][1]["data"]["previous_attributes"],
        json!({ "metadata": { "user_id": "a", "x": "1" }, "name": null })
    );
    let first = client.get("/v1/events?type=product.created").await.body;
    assert_eq!(first["data"][0]["data"]["object"]["id"], before);
    let walk = client.get(&format!("/v1/events?limit=2&ending_before={}", ids(&first)[0])).await.body;
    assert_eq!((ids(&walk), &walk["has_more"]), (ids(&list)[1..].to_vec(), &true.into()));
    client.post("/_sandbox/advance", r#"{"seconds":2592001}"#).await;
    assert_eq!(ids(&client.get("/v1/events").await.body).len(), 0);
}
