//! Repetitions and keys: alike on every route. And bodies that only read like what was meant.

use serde_json::{Value, json};

use super::{
    accounts::{ADMIN, SPEND, grant},
    shop::{Shop, TOKEN, get, post, read, serve},
};
use crate::{
    support::database,
    web::client::{Client, Reply},
};

fn is_repetition(reply: &Reply) -> bool {
    reply.header("idempotent-replayed") == Some("true")
}

#[tokio::test]
async fn a_repetition_is_answered_as_the_first_time_says_so_and_another_body_is_422_on_every_route() {
    let shop = Shop::open().await;
    post(shop.address, ADMIN, &grant("alice", "10", "start"), None).await;
    let spend = json!({"user_id": "alice", "credits": "1"});
    let admin = json!({"user_id": "alice", "transaction_type": "admin_grant", "amount": "1", "description": "sorry"});
    let portal = json!({"user_id": "alice", "return_url": "https://x.example/a"});
    let buy = json!({"user_id": "alice", "package": "small"});
    for (path, body, field, other) in [
        (SPEND, &spend, "credits", json!("2")),
        (SPEND, &spend, "ref", json!("job_1")),
        (ADMIN, &admin, "amount", json!("2")),
        (ADMIN, &admin, "description", json!("another reason")),
        (ADMIN, &admin, "transaction_type", json!("admin_removal")),
        ("/api/stripe/portal", &portal, "return_url", json!("https://x.example/b")),
        ("/api/stripe/checkout", &buy, "success_url", json!("https://x.example/b")),
    ] {
        let key = format!("k:{path}:{field}");
        let first = post(shop.address, path, body, Some(&key)).await;
        assert!(first.status == 200 && !is_repetition(&first), "{path}: {first:?}");
        let again = post(shop.address, path, body, Some(&key)).await;
        assert!(again.status == 200 && is_repetition(&again), "{path}: {again:?}");
        let (mut first, mut again) = (read(&first), read(&again));
        for same in [&mut first, &mut again] {
            // What says that it is a repetition, in the answer that had a field for that.
            same.as_object_mut().unwrap().remove("result");
        }
        assert_eq!(first, again, "{path}");
        let mut changed = body.clone();
        changed[field] = other;
        let refused = post(shop.address, path, &changed, Some(&key)).await;
        assert_eq!(refused.status, 422, "{path} {field}: {refused:?}");
        assert!(refused.detail().contains("stands for") && !is_repetition(&refused), "{refused:?}");
    }
    let connect = json!({"user_id": "bob"});
    let first = post(shop.address, "/api/stripe/connect", &connect, Some("k")).await;
    let again = post(shop.address, "/api/stripe/connect", &connect, Some("k")).await;
    assert_eq!((is_repetition(&first), is_repetition(&again), read(&first)), (false, true, read(&again)));
    // Without a key a checkout finds the session that is still open, and says so; a spend is refused, a transaction gets a key.
    let other = json!({"user_id": "carol", "package": "small"});
    let first = post(shop.address, "/api/stripe/checkout", &other, None).await;
    let again = post(shop.address, "/api/stripe/checkout", &other, None).await;
    assert_eq!((is_repetition(&first), is_repetition(&again), read(&first)), (false, true, read(&again)));
    let made = read(&post(shop.address, ADMIN, &admin, None).await);
    let again = post(shop.address, ADMIN, &admin, made["key"].as_str()).await;
    assert!(is_repetition(&again), "{again:?}");
    assert_eq!((&read(&again)["posting"], &read(&again)["result"]), (&made["posting"], &json!("already")));
}

#[tokio::test]
async fn bodies_that_only_read_like_what_was_meant_are_refused() {
    let db = database().await;
    let (address, _api) = serve(&db.pool, |_| {}).await;
    post(address, ADMIN, &grant("alice", "10", "start"), None).await;
    let bearer = [("authorization", format!("Bearer {TOKEN}"))];
    let send = async |path: &str, body: String| Client::connect(address).await.post(path, &bearer, &body).await;
    for (path, body) in [
        (SPEND, json!(["alice", null, "1", "k", null])),
        (ADMIN, json!(["alice", "admin_grant", "1", "why", "k", null])),
        (
            ADMIN,
            json!({"user_id": "alice", "transaction_type": {"admin_grant": null}, "amount": "1", "description": "why"}),
        ),
        (ADMIN, json!({"user_id": "alice", "transaction_type": 0, "amount": "1", "description": "why"})),
        ("/api/stripe/portal", json!(["alice", null])),
        ("/api/stripe/connect", json!(["alice"])),
        ("/api/stripe/checkout", json!(["alice", "pro", null, null, null, null, null, null, null])),
        (SPEND, Value::Null),
        (SPEND, json!("alice")),
        (SPEND, json!({"user_id": "alice", "credits": ["1"], "key": "k"})),
        (SPEND, json!({"user_id": "alice", "credits": 9_223_372_036_854.775, "key": "k"})),
    ] {
        let reply = send(path, body.to_string()).await;
        assert_eq!(reply.status, 422, "{path} {body}: {reply:?}");
    }
    let twice = send(SPEND, r#"{"user_id": "alice", "credits": "1", "credits": "2", "key": "k"}"#.into()).await;
    assert_eq!(twice.status, 422, "{twice:?}");
    assert_eq!(read(&get(address, "/api/credits/alice", &[]).await)["balance"], "10", "nothing was spent");
    // A number is a number, however it is written.
    for (number, key, balance) in
        [("0.000001", "n1", "9.999999"), ("1e-6", "n2", "9.999998"), ("1.5e0", "n3", "8.499998")]
    {
        let reply = send(SPEND, format!(r#"{{"user_id": "alice", "credits": {number}, "key": "{key}"}}"#)).await;
        assert_eq!((reply.status, &read(&reply)["balance"]), (200, &json!(balance)), "{number}: {reply:?}");
    }
    let spends = get(address, SPEND, &[]).await;
    assert_eq!(
        (spends.status, spends.header("allow")),
        (405, Some("POST")),
        "there is no user of that name to be read by accident"
    );
}
