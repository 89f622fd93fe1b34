//! Reading: a lookup sees all pages or fails, and an object is what it says it is.

use bursar_stripe::{
    Reply, Why,
    accounts::{self, Account},
    customers::{self, Customer},
    embedded,
    subscriptions::{self, Subscription},
    transfers::{self, Filter},
};

use crate::{
    stub::{Do, Stub, error, http},
    wire::client,
};

fn page(ids: &[&str], has_more: bool) -> String {
    let data: Vec<_> = ids
        .iter()
        .map(|id| serde_json::json!({"id": id, "object": "transfer", "amount": 1, "currency": "usd", "created": 1}))
        .collect();
    serde_json::json!({"object": "list", "url": "/v1/transfers", "has_more": has_more, "data": data}).to_string()
}

fn ok(body: &str) -> Do {
    Do::Answer(http(200, &[], body))
}

#[tokio::test]
async fn all_pages_are_read() {
    let stub = Stub::doing(vec![ok(&page(&["tr_3", "tr_2"], true)), ok(&page(&["tr_1"], false))]).await;
    let filter = Filter { transfer_group: Some("payout:j1"), ..Filter::default() };
    let all = transfers::list_all(&client(&stub), &filter).await.unwrap();
    assert_eq!(all.iter().map(|transfer| transfer.id.as_str()).collect::<Vec<_>>(), ["tr_3", "tr_2", "tr_1"]);
    let asked = stub.asked();
    assert_eq!(asked.len(), 2);
    assert!(asked[0].head.starts_with("GET /v1/transfers?limit=100&transfer_group=payout"), "{}", asked[0].head);
    assert!(!asked[0].head.contains("starting_after"));
    assert!(asked[1].head.contains("starting_after=tr_2"), "{}", asked[1].head);
    assert!(
        asked.iter().all(|asked| asked.header("idempotency-key").is_none() && asked.header("stripe-version").is_some())
    );
}

#[tokio::test]
async fn half_a_lookup_is_none() {
    let odd = [r#"{"object":"list","data":[]}"#, r#"{"object":"list","has_more":false,"data":[{"id":"tr_1"}]}"#];
    let mut bad: Vec<Do> = odd.into_iter().map(ok).collect();
    bad.extend([ok(&page(&[], true)), Do::Answer(http(500, &[], &error("api_error", ""))), Do::ResetAfter]);
    for second in bad {
        let stub = Stub::doing(vec![ok(&page(&["tr_2"], true)), second]).await;
        let seen = transfers::list_all(&client(&stub), &Filter::default()).await.unwrap_err();
        assert!(matches!(seen.reply, Reply::Unknown { .. }), "{seen}");
    }
}

#[tokio::test]
async fn a_list_without_an_end_is_given_up() {
    let stub = Stub::doing(vec![ok(&page(&["tr_1"], true))]).await;
    let seen = transfers::list_all(&client(&stub), &Filter::default()).await.unwrap_err();
    assert!(matches!(seen.reply, Reply::Unknown { why: Why::TooManyPages, .. }), "{seen}");
    assert_eq!(stub.asked().len(), 1000);
}

#[tokio::test]
async fn facts_are_read() {
    let stub = Stub::doing(vec![
        ok(r#"{"object":"account","id":"acct_1","capabilities":{"transfers":"active"}}"#),
        ok(r#"{"object":"customer","id":"cus_1","deleted":true}"#),
        ok(r#"{"object":"subscription","id":"sub_1","customer":"cus_1","metadata":{"user_id":"u1"},"status":"brand_new"}"#),
    ])
    .await;
    let client = client(&stub);
    let account: Account = client.send(&accounts::retrieve("acct_1"), None).await.read().unwrap();
    assert_eq!(account.transfers, accounts::Capability::Active);
    let customer: Customer = client.send(&customers::retrieve("cus_1"), None).await.read().unwrap();
    assert!(customer.deleted && customer.metadata.is_empty());
    let subscription: Subscription = client.send(&subscriptions::retrieve("../x"), None).await.read().unwrap();
    assert_eq!((subscription.metadata["user_id"].as_str(), subscription.customer.as_deref()), ("u1", Some("cus_1")));
    let lines: Vec<_> = stub.asked().iter().map(|asked| asked.head.lines().next().unwrap().to_owned()).collect();
    assert_eq!(
        lines,
        [
            "GET /v1/accounts/acct_1 HTTP/1.1",
            "GET /v1/customers/cus_1 HTTP/1.1",
            "GET /v1/subscriptions/%2E%2E%2Fx HTTP/1.1"
        ]
    );
}

#[tokio::test]
async fn the_lists_within_an_object_are_read_to_their_last_page() {
    let list = |ids: std::ops::Range<i32>, has_more: bool| {
        let data: Vec<_> =
            ids.map(|n| serde_json::json!({"id": format!("si_{n}"), "object": "subscription_item"})).collect();
        serde_json::json!({"object": "list", "data": data, "has_more": has_more})
    };
    let object =
        |id: &str, items: serde_json::Value| serde_json::json!({"object": "subscription", "id": id, "items": items});
    let (some, all) = (object("sub_1", list(0..10, true)), object("sub_2", list(0..2, false)));
    let page = serde_json::json!({"object": "list", "data": [some, all], "has_more": false});
    for (answer, first) in [(some.clone(), "/items/data"), (page, "/data/0/items/data")] {
        let pages =
            vec![ok(&answer.to_string()), ok(&list(0..100, true).to_string()), ok(&list(100..102, false).to_string())];
        let stub = Stub::doing(pages).await;
        let client = client(&stub);
        let seen = client.send(&subscriptions::retrieve("sub_1"), None).await;
        let Reply::Success(whole) = embedded::whole(&client, seen).await.reply else { panic!("not read") };
        let items = whole.pointer(first).unwrap().as_array().unwrap();
        assert_eq!((items.len(), &items[101]["id"]), (102, &serde_json::json!("si_101")));
        let asked: Vec<_> = stub.asked().iter().map(|asked| asked.head.lines().next().unwrap().to_owned()).collect();
        assert_eq!(
            asked[1..],
            [
                "GET /v1/subscription_items?limit=100&subscription=sub_1 HTTP/1.1",
                "GET /v1/subscription_items?limit=100&starting_after=si_99&subscription=sub_1 HTTP/1.1",
            ]
        );
    }
    // Half an object is none, whatever its other pages say.
    for second in [
        Do::Answer(http(500, &[], &error("api_error", ""))),
        Do::Answer(http(404, &[], &error("invalid_request_error", "gone"))),
        Do::ResetAfter,
    ] {
        let stub = Stub::doing(vec![ok(&some.to_string()), second]).await;
        let client = client(&stub);
        let seen = client.send(&subscriptions::retrieve("sub_1"), None).await;
        let seen = embedded::whole(&client, seen).await;
        assert!(matches!(seen.reply, Reply::Unknown { .. }), "{seen}");
    }
}

#[tokio::test]
async fn the_pages_of_each_list_are_where_stripe_has_them() {
    let lists = [
        ("invoice", "in_1", "lines", "/v1/invoices/in_1/lines"),
        ("checkout.session", "cs_1", "line_items", "/v1/checkout/sessions/cs_1/line_items"),
        ("charge", "ch_1", "refunds", "/v1/refunds"),
        ("transfer", "tr_1", "reversals", "/v1/transfers/tr_1/reversals"),
    ];
    for (kind, id, field, path) in lists {
        let object =
            serde_json::json!({"object": kind, "id": id, field: {"object": "list", "data": [], "has_more": true}});
        let rest = serde_json::json!({"object": "list", "data": [{"id": "x_1"}], "has_more": false});
        let stub = Stub::doing(vec![ok(&object.to_string()), ok(&rest.to_string())]).await;
        let client = client(&stub);
        let seen = client.send(&subscriptions::retrieve("x"), None).await;
        let Reply::Success(whole) = embedded::whole(&client, seen).await.reply else { panic!("{kind}") };
        assert_eq!(whole[field]["data"][0]["id"], "x_1");
        let asked = stub.asked()[1].head.lines().next().unwrap().to_owned();
        assert!(asked.starts_with(&format!("GET {path}?limit=100")), "{asked}");
    }
}
