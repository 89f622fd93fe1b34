//! Reading: a lookup sees all pages or fails, and an object is what it says it is.

use bursar_stripe::{
    Reply, Why,
    accounts::{self, Account},
    customers::{self, Customer},
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
