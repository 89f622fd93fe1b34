//! What is refused, and how.

use serde_json::json;

use super::shop::{TOKEN, get, post, serve};
use crate::{
    support::database,
    web::client::{Client, Reply, head},
};

#[tokio::test]
async fn without_the_token_there_is_nothing_but_a_401() {
    let db = database().await;
    let (address, _api) = serve(&db.pool, |_| {}).await;
    for token in [
        None,
        Some("Bearer wrong"),
        Some("Bearer let-me-i"),
        Some("Bearer let-me-in2"),
        Some("Basic let-me-in-to-test-it"),
    ] {
        for path in ["/api/credits/alice", "/admin/api/v1/transactions", "/nowhere"] {
            let headers: Vec<_> = token.iter().map(|token| ("authorization", (*token).to_owned())).collect();
            let mut client = Client::connect(address).await;
            client.send(&head("GET", path, &headers, 0)).await;
            let reply: Reply = client.reply().await;
            assert_eq!(reply.status, 401, "{token:?}");
            assert!(reply.header("www-authenticate").unwrap().starts_with("Bearer"), "{reply:?}");
            assert!(reply.detail().contains("API_TOKEN") && !reply.body.contains(TOKEN), "{reply:?}");
        }
    }
    assert_eq!(Client::connect(address).await.request("GET", "/healthz").await.status, 200);
}

#[tokio::test]
async fn paths_methods_and_bodies_that_are_wrong_are_told_apart() {
    let db = database().await;
    let (address, _api) = serve(&db.pool, |_| {}).await;
    assert_eq!(get(address, "/nowhere", &[]).await.status, 404);
    assert_eq!(get(address, "/api/credits/a%zz", &[]).await.status, 404);
    assert_eq!(get(address, "/api/credits/a%00b", &[]).await.status, 422);
    assert_eq!(get(address, &format!("/api/credits/{}", "x".repeat(300)), &[]).await.status, 422);
    let wrong = get(address, "/api/stripe/portal", &[]).await;
    assert_eq!((wrong.status, wrong.header("allow")), (405, Some("POST")));
    assert_eq!(post(address, "/api/credits/alice", &json!({}), None).await.status, 405);
    let bearer = [("authorization", format!("Bearer {TOKEN}"))];
    for (body, status) in
        [("", 400), ("{", 400), ("nonsense", 400), ("[]", 422), ("{}", 422), ("{\"user_id\": 7}", 422)]
    {
        let reply = Client::connect(address).await.post("/api/stripe/checkout", &bearer, body).await;
        assert_eq!(reply.status, status, "{body:?}: {reply:?}");
        reply.detail();
    }
    let huge = Client::connect(address).await.post("/api/stripe/checkout", &bearer, &"x".repeat(100_000)).await;
    assert_eq!(huge.status, 413, "{huge:?}");
    for body in [
        json!({"user_id": "u"}),
        json!({"user_id": "u", "tier": "pro", "package": "small"}),
        json!({"user_id": "u", "tier": "gold"}),
        json!({"user_id": "u", "tier": "starter"}),
        json!({"user_id": "u", "package": "gigantic"}),
        json!({"user_id": "u", "package": "small", "currency": "usd"}),
        json!({"user_id": "u", "package": "small", "price": "price_1"}),
        json!({"user_id": "u", "package": "small", "pakage": "small"}),
        json!({"user_id": "u", "package": "small", "success_url": "javascript:alert(1)"}),
        json!({"user_id": "u", "package": "small", "email": "nobody"}),
    ] {
        let reply = post(address, "/api/stripe/checkout", &body, None).await;
        assert_eq!(reply.status, 422, "{body}: {reply:?}");
    }
    for key in ["", "a b\u{1}", &"k".repeat(256)] {
        let headers = [bearer[0].clone(), ("idempotency-key", key.to_owned())];
        let reply = Client::connect(address).await.post("/api/stripe/portal", &headers, "{\"user_id\":\"u\"}").await;
        assert_eq!(reply.status, 400, "{key:?}");
    }
    assert_eq!(get(address, "/api/stripe/checkout/unheard-of", &[]).await.status, 404);
}
