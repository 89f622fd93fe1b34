//! Operators' own tokens, as bearers: each may what its role may, under its own name, until it is revoked.

use std::time::Duration;

use bursar_jobs::{
    base::clock,
    desk::access::{self, Role},
};
use serde_json::{Value, json};

use super::shop::{read, serve};
use crate::{
    support::database,
    web::client::{Client, head},
};

#[tokio::test]
async fn a_token_of_an_operator_may_what_its_role_may_under_its_own_name_until_it_is_revoked() {
    let db = database().await;
    let (address, _api) = serve(&db.pool, |_| {}).await;
    let ask = async |token: &str, method: &str, path: &str, body: &Value| {
        let body = if method == "GET" { String::new() } else { body.to_string() };
        let headers = [("authorization", format!("Bearer {token}"))];
        let mut client = Client::connect(address).await;
        client.send(&head(method, path, &headers, body.len())).await;
        client.send(&body).await;
        client.reply().await
    };
    let grant = json!({"user_id": "alice", "transaction_type": "admin_grant", "amount": 25, "description": "an outage",
        "key": "k", "actor": "somebody else"});
    let spend = json!({"user_id": "alice", "credits": 5, "key": "s"});
    let (granting, spending) = ("/admin/api/v1/transactions", "/api/credits/spend");
    let mut tokens = Vec::new();
    for (role, reads, spends, grants) in
        [(Role::Payer, 200, 200, 200), (Role::Operator, 200, 200, 403), (Role::Viewer, 200, 403, 403)]
    {
        let token = access::create(&db.pool, role.word(), role, "test").await.unwrap().unwrap();
        assert_eq!(ask(&token, "POST", granting, &grant).await.status, grants, "{role:?}");
        assert_eq!(ask(&token, "POST", spending, &spend).await.status, spends, "{role:?}");
        assert_eq!(ask(&token, "GET", "/api/credits/alice", &Value::Null).await.status, reads, "{role:?}");
        tokens.push(token);
    }
    let balance = read(&ask(&tokens[2], "GET", "/api/credits/alice", &Value::Null).await);
    assert_eq!(balance["balance"], "20", "each once");
    let written: (String, String, Option<String>) =
        sqlx::query_as("SELECT who, via, why FROM bursar.audit WHERE what = 'credits.grant'")
            .fetch_one(&db.pool)
            .await
            .unwrap();
    assert_eq!(written, ("payer".into(), "api".into(), Some("an outage".into())), "its own name, once");
    let written: Vec<(String, String, String)> =
        sqlx::query_as("SELECT who, via, subject FROM bursar.audit WHERE what = 'credits.spend'")
            .fetch_all(&db.pool)
            .await
            .unwrap();
    assert_eq!(
        written,
        [("payer".into(), "api".into(), "alice".into())],
        "what a person spends for a user is an act, once"
    );
    // A path is what it says when it is read, however it is written.
    for disguised in
        ["/%61dmin/api/v1/transactions", "/%61%64%6D%69%6E/api/v1/transactions", "/admin/api/v%31/transactions"]
    {
        let mut other = grant.clone();
        other["key"] = json!(disguised);
        for token in &tokens[1..] {
            assert_eq!(ask(token, "POST", disguised, &other).await.status, 403, "{disguised}");
        }
    }
    assert!(access::revoke(&db.pool, "payer").await.unwrap().is_some());
    assert_eq!(ask(&tokens[0], "GET", "/api/credits/alice", &Value::Null).await.status, 401);
}

#[tokio::test]
async fn what_a_token_of_an_operator_begins_for_a_user_is_written_down_once() {
    let db = database().await;
    let (address, _api) = serve(&db.pool, |settings| settings.patience = Duration::ZERO).await;
    let token = access::create(&db.pool, "olga", Role::Operator, "test").await.unwrap().unwrap();
    for _ in 0..2 {
        for (path, body) in [
            ("/api/stripe/checkout", json!({"user_id": "alice", "package": "medium"})),
            ("/api/stripe/connect", json!({"user_id": "bob"})),
            ("/api/stripe/portal", json!({"user_id": "alice"})),
        ] {
            let body = body.to_string();
            let headers = [("authorization", format!("Bearer {token}")), ("idempotency-key", "k".to_owned())];
            let mut client = Client::connect(address).await;
            client.send(&head("POST", path, &headers, body.len())).await;
            client.send(&body).await;
            assert_eq!(client.reply().await.status, 503, "{path}: no worker answers");
        }
    }
    let written: Vec<(String, String, String)> =
        sqlx::query_as("SELECT what, subject, who FROM bursar.audit WHERE via = 'api' ORDER BY what")
            .fetch_all(&db.pool)
            .await
            .unwrap();
    let expected = [("checkout.begin", "alice"), ("connect.begin", "bob"), ("portal.begin", "alice")];
    assert_eq!(written, expected.map(|(what, user)| (what.to_owned(), user.to_owned(), "olga".to_owned())));
}

#[tokio::test]
async fn who_guesses_bearers_waits_and_who_has_one_does_not() {
    let db = database().await;
    let (address, _api) = serve(&db.pool, |_| {}).await;
    let token = access::create(&db.pool, "vera", Role::Viewer, "test").await.unwrap().unwrap();
    let ask = async |token: &str| {
        let mut client = Client::connect(address).await;
        let headers = [("authorization", format!("Bearer {token}"))];
        let begun = clock::monotonic();
        client.send(&head("GET", "/api/credits/alice", &headers, 0)).await;
        (client.reply().await.status, begun.elapsed())
    };
    for n in 0..20 {
        assert_eq!(ask(&format!("guess{n}")).await.0, 401);
    }
    let (status, waited) = ask("guess").await;
    assert!(status == 401 && waited >= Duration::from_secs(1), "{status} after {waited:?}");
    assert_eq!(ask(&token).await.0, 200, "nobody is locked out by another's guesses");
}
