//! Accounts: what a user has, where it came from, spending it, and what an administrator moves.

use std::sync::Arc;

use bursar_jobs::ledger::{self, Spent};
use serde_json::{Value, json};
use tokio::sync::Barrier;

use super::shop::{Shop, credits, get, post, read, serve};
use crate::support::database;

pub const ADMIN: &str = "/admin/api/v1/transactions";
pub const SPEND: &str = "/api/credits/spend";

pub fn grant(user: &str, amount: &str, key: &str) -> Value {
    json!({"user_id": user, "transaction_type": "admin_grant", "amount": amount, "description": "a test", "key": key})
}

#[tokio::test]
async fn a_thousand_concurrent_spends_over_http_and_sql_are_exact() {
    let db = database().await;
    let (address, _api) = serve(&db.pool, |_| {}).await;
    assert_eq!(post(address, ADMIN, &grant("alice", "700", "g"), None).await.status, 200);
    let barrier = Arc::new(Barrier::new(50));
    // Fifty spenders, twenty spends each; every other one shares the database.
    let spenders = (0..50).map(|n| {
        let (barrier, pool) = (Arc::clone(&barrier), db.pool.clone());
        tokio::spawn(async move {
            barrier.wait().await;
            let mut done = 0;
            for m in 0..20 {
                let key = format!("{n}:{m}");
                let spent = if n % 2 == 0 {
                    let reply =
                        post(address, SPEND, &json!({"user_id": "alice", "credits": 1, "key": key}), None).await;
                    assert!(matches!(reply.status, 200 | 402), "{reply:?}");
                    reply.status == 200
                } else {
                    let spent = ledger::spend(&pool, "alice", credits(1), &key, None, None).await.unwrap();
                    matches!(spent, Spent::Done { .. })
                };
                done += i32::from(spent);
            }
            done
        })
    });
    let mut done = 0;
    for spender in spenders.collect::<Vec<_>>() {
        done += spender.await.unwrap();
    }
    assert_eq!(done, 700);
    assert_eq!(ledger::balance(&db.pool, "alice").await.unwrap(), credits(0));
}

#[tokio::test]
async fn a_spend_is_once_for_its_key_and_402_when_short() {
    let db = database().await;
    let (address, _api) = serve(&db.pool, |_| {}).await;
    post(address, ADMIN, &grant("alice", "3", "g"), None).await;
    let spend = json!({"user_id": "alice", "skill": "research", "key": "s1", "ref": "job_1"});
    let first = post(address, SPEND, &spend, None).await;
    assert_eq!(first.status, 200, "{first:?}");
    let first = read(&first);
    assert_eq!((&first["amount"], &first["balance"], &first["result"]), (&json!("2"), &json!("1"), &json!("posted")));
    assert_eq!(read(&post(address, SPEND, &spend, None).await)["posting"], first["posting"]);
    let header =
        post(address, SPEND, &json!({"user_id": "alice", "skill": "research", "ref": "job_1"}), Some("s1")).await;
    assert_eq!(read(&header)["posting"], first["posting"], "the header says the same");
    let other = post(address, SPEND, &json!({"user_id": "alice", "credits": "0.5", "key": "s1"}), None).await;
    assert_eq!(other.status, 422, "{other:?}");
    let short = post(address, SPEND, &json!({"user_id": "alice", "skill": "research", "key": "s2"}), None).await;
    assert_eq!(short.status, 402, "{short:?}");
    assert_eq!((&read(&short)["balance"], &read(&short)["needed"]), (&json!("1"), &json!("2")));
    let half = post(address, SPEND, &json!({"user_id": "alice", "credits": "0.5", "key": "s3"}), None).await;
    assert_eq!(read(&half)["balance"], "0.5");
    for (body, words) in [
        (json!({"user_id": "alice", "skill": "magic", "key": "k"}), "There is no skill"),
        (json!({"user_id": "alice", "credits": 1}), "Send a `key`"),
        (json!({"user_id": "alice", "key": "k"}), "one of `skill` and `credits`"),
        (json!({"user_id": "alice", "credits": "-1", "key": "k"}), "not more than 0"),
        (json!({"user_id": "alice", "credits": "1e3", "key": "k"}), "digits"),
        (json!({"user_id": "alice", "credits": "9100000000000", "key": "k"}), "cannot be spent"),
        (json!({"user_id": "a\u{0}", "credits": 1, "key": "k"}), "malformed"),
        (json!({"user_id": "alice", "credits": 1, "key": "k\u{0}"}), "`key`"),
        (json!({"user_id": "alice", "credits": 1, "key": "k", "skil": "x"}), "unknown field"),
    ] {
        let reply = post(address, SPEND, &body, None).await;
        assert_eq!(reply.status, 422, "{body}");
        assert!(reply.detail().contains(words), "{reply:?}");
    }
}

#[tokio::test]
async fn an_administrator_grants_and_removes_once_for_a_key() {
    let db = database().await;
    let (address, _api) = serve(&db.pool, |_| {}).await;
    let first = read(&post(address, ADMIN, &grant("alice", "25.5", "k"), None).await);
    assert_eq!(
        (&first["result"], &first["balance"], &first["actor"]),
        (&json!("posted"), &json!("25.5"), &json!("api"))
    );
    let again = read(&post(address, ADMIN, &grant("alice", "25.5", "k"), None).await);
    assert_eq!((&again["result"], &again["posting"]), (&json!("already"), &first["posting"]));
    assert_eq!(post(address, ADMIN, &grant("alice", "26", "k"), None).await.status, 422);
    let removal = json!({"user_id": "alice", "transaction_type": "admin_removal", "amount": 30, "description": "abuse", "actor": "ann"});
    let removed = read(&post(address, ADMIN, &removal, None).await);
    assert_eq!((&removed["balance"], removed["key"].as_str().unwrap().len()), (&json!("-4.5"), 36));
    for (field, value) in
        [("amount", json!("0")), ("description", json!(" ")), ("transaction_type", json!("gift")), ("actor", json!(""))]
    {
        let mut body = grant("alice", "1", "other");
        body[field] = value;
        assert_eq!(post(address, ADMIN, &body, None).await.status, 422, "{body}");
    }
    let most = grant("rich", "9000000000000", "r1");
    assert_eq!(post(address, ADMIN, &most, None).await.status, 200);
    let full = post(address, ADMIN, &grant("rich", "9000000000000", "r2"), None).await;
    assert!(full.detail().contains("more than an account can hold"), "{full:?}");
}

#[tokio::test]
async fn a_balance_is_cacheable_and_known_by_its_tag() {
    let db = database().await;
    let (address, _api) = serve(&db.pool, |_| {}).await;
    post(address, ADMIN, &grant("a/b é", "150", "k"), None).await;
    let path = "/api/credits/a%2Fb%20%C3%A9";
    let first = get(address, path, &[]).await;
    assert_eq!(read(&first), json!({"user_id": "a/b é", "balance": "150"}));
    assert_eq!(first.header("cache-control"), Some("private, max-age=2"));
    let tag = first.header("etag").unwrap().to_owned();
    assert_eq!(get(address, path, &[("if-none-match", tag.clone())]).await.status, 304);
    post(address, ADMIN, &grant("a/b é", "1", "k2"), None).await;
    let second = get(address, path, &[("if-none-match", tag)]).await;
    assert_eq!((second.status, &read(&second)["balance"]), (200, &json!("151")));
    assert_eq!(read(&get(address, "/api/credits/nobody", &[]).await)["balance"], "0");
}

#[tokio::test]
async fn a_balance_is_read_while_a_spend_is_not_committed() {
    let db = database().await;
    let (address, _api) = serve(&db.pool, |_| {}).await;
    post(address, ADMIN, &grant("alice", "5", "k"), None).await;
    let mut held = db.pool.begin().await.unwrap();
    ledger::spend(&mut *held, "alice", credits(2), "s", None, None).await.unwrap();
    assert_eq!(read(&get(address, "/api/credits/alice", &[]).await)["balance"], "5");
    held.rollback().await.unwrap();
}

#[tokio::test]
async fn history_leads_from_a_credit_to_its_job_event_and_object() {
    let shop = Shop::open().await;
    let session = shop.checkout(json!({"user_id": "alice", "package": "small"})).await;
    shop.pay(&session).await;
    shop.hear("evt_1", "checkout.session.completed", &session).await;
    for n in 0..4 {
        shop.post(SPEND, &json!({"user_id": "alice", "credits": 1, "key": format!("s{n}")})).await;
    }
    let page = read(&shop.get("/api/credits/alice/history?limit=3").await);
    assert_eq!(page["postings"].as_array().unwrap().len(), 3);
    assert_eq!((&page["postings"][0]["amount"], &page["postings"][0]["balance"]), (&json!("-1"), &json!("46")));
    let rest = read(&shop.get(&format!("/api/credits/alice/history?before={}", page["next"])).await);
    let bought = &rest["postings"][1];
    assert_eq!((&rest["next"], &bought["kind"], &bought["balance"]), (&Value::Null, &json!("purchase"), &json!("50")));
    assert_eq!(
        (&bought["event_id"], &bought["object_id"], &bought["ref"]),
        (&json!("evt_1"), &json!(session), &json!(session))
    );
    let job: String = sqlx::query_scalar("SELECT kind FROM bursar.job WHERE id = $1")
        .bind(bought["job_id"].as_str().unwrap())
        .fetch_one(&shop.db.pool)
        .await
        .unwrap();
    assert_eq!(job, "grant_purchase");
    for bad in ["limit=0", "limit=x", "before=-1", "limit=1&limit=2", "offset=3"] {
        assert_eq!(shop.get(&format!("/api/credits/alice/history?{bad}")).await.status, 400, "{bad}");
    }
    let known: Vec<(String, String)> = sqlx::query_as(
        "SELECT type, amount::text FROM bursar.credit_transactions WHERE user_id = 'alice' ORDER BY id LIMIT 2",
    )
    .fetch_all(&shop.db.pool)
    .await
    .unwrap();
    assert_eq!(known, [("purchase".into(), "50".into()), ("spend".into(), "-1".into())]);
}

#[tokio::test]
async fn what_one_user_did_is_read_without_reading_what_all_did() {
    let db = database().await;
    let (address, _stopper) = serve(&db.pool, |_| {}).await;
    let sql = "SELECT count(*) FROM bursar.post((SELECT jsonb_agg(jsonb_build_object('key', 'k' || i, 'kind', 'refill', 'debit',
                   CASE WHEN i % 3 = 0 THEN 'user:u' || i % 500 ELSE 'issuance' END, 'credit',
                   CASE WHEN i % 3 = 0 THEN 'usage' ELSE 'user:u' || i % 500 END, 'unit', 'credits', 'amount', i::bigint * 1000000))
               FROM generate_series(1, 20000) i));
               ANALYZE bursar.account; ANALYZE bursar.posting";
    sqlx::raw_sql(sql).execute(&db.pool).await.unwrap();
    let plan: Vec<String> = sqlx::query_scalar(
        "EXPLAIN SELECT * FROM bursar.credit_transactions WHERE user_id = 'u7' ORDER BY created_at DESC LIMIT 50",
    )
    .fetch_all(&db.pool)
    .await
    .unwrap();
    assert!(!plan.iter().any(|line| line.contains("Seq Scan on posting")), "{plan:#?}");
    // Page by page, each balance is what the account held then.
    let amount = |line: &Value, name: &str| line[name].as_str().unwrap().parse::<i64>().unwrap();
    let mut lines = Vec::new();
    let mut query = "limit=7".to_owned();
    loop {
        let page = read(&get(address, &format!("/api/credits/u7/history?{query}"), &[]).await);
        lines.extend(page["postings"].as_array().unwrap().clone());
        let Some(next) = page["next"].as_i64() else { break };
        query = format!("limit=7&before={next}");
    }
    assert_eq!(lines.len(), 40);
    let mut held = 0;
    for line in lines.iter().rev() {
        held += amount(line, "amount");
        assert_eq!(amount(line, "balance"), held, "{line}");
    }
}
