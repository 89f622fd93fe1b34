//! Requests of which nothing came, and pages that nobody needs any more.

use std::time::Duration;

use serde_json::json;

use super::shop::{Shop, post, serve};
use crate::support::database;

#[tokio::test]
async fn a_request_whose_job_is_dead_is_answered_and_not_waited_for() {
    let db = database().await;
    let (address, _stopper) = serve(&db.pool, |settings| settings.patience = Duration::from_millis(50)).await;
    for (path, kind, body) in [
        ("/api/stripe/checkout", "create_checkout", json!({"user_id": "alice", "package": "small"})),
        ("/api/stripe/portal", "create_portal", json!({"user_id": "alice"})),
    ] {
        assert_eq!(post(address, path, &body, Some("k")).await.status, 503, "{path}: no worker is there yet");
        // Its worker died with it, again and again, until the sweeper gave it up.
        let killed = "UPDATE apalis.jobs SET status = 'Failed', done_at = bursar.now(), reason = 'its worker died' WHERE job_type = $1";
        sqlx::query(killed).bind(kind).execute(&db.pool).await.unwrap();
        let answer = post(address, path, &body, Some("k")).await;
        assert_eq!(answer.status, 502, "{path}: {answer:?}");
        assert!(answer.detail().contains("bursar jobs list --state dead"), "{answer:?}");
        assert_eq!(post(address, path, &body, Some("k2")).await.status, 503, "another key begins anew");
    }
}

#[tokio::test]
async fn pages_of_the_portal_are_forgotten_after_a_month() {
    let shop = Shop::open().await;
    let page = async |key: &str| shop.keyed("/api/stripe/portal", key, &json!({"user_id": "alice"})).await;
    for key in ["old", "new"] {
        assert_eq!(page(key).await.status, 200);
    }
    sqlx::query("UPDATE bursar.portal SET requested_at = requested_at - interval '31 days' WHERE key = 'old'")
        .execute(&shop.db.pool)
        .await
        .unwrap();
    assert_eq!(page("newer").await.status, 200);
    let keys: Vec<String> =
        sqlx::query_scalar("SELECT key FROM bursar.portal ORDER BY key").fetch_all(&shop.db.pool).await.unwrap();
    assert_eq!(keys, ["new", "newer"]);
}
