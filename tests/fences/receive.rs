//! `bursar.receive`: what is new, what is known, and what must not be acknowledged.

use super::*;
use crate::support::database;

async fn receive(pool: &PgPool, source: &str, id: &str, body: &str) -> String {
    sqlx::query_scalar(
        "SELECT bursar.receive($1, $2, 'type', NULL, false, NULL, NULL, NULL, convert_to($3, 'UTF8'), 'fence_event', 3)",
    )
    .bind(source)
    .bind(id)
    .bind(body)
    .fetch_one(pool)
    .await
    .unwrap()
}

/// The keys of the jobs that were enqueued.
async fn jobs(pool: &PgPool) -> Vec<String> {
    sqlx::query_scalar("SELECT key FROM bursar.job WHERE kind = 'fence_event' ORDER BY key")
        .fetch_all(pool)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_new_event_is_kept_with_one_job_and_one_of_stripes_is_known_by_its_id_alone() {
    let db = database().await;
    assert_eq!(receive(&db.pool, "stripe", "evt_1", "one").await, "new");
    assert_eq!(jobs(&db.pool).await, ["evt_1"]);
    assert_eq!(receive(&db.pool, "stripe", "evt_1", "one").await, "duplicate");
    assert_eq!(receive(&db.pool, "stripe", "evt_1", "one, said otherwise").await, "duplicate");
    assert_eq!(jobs(&db.pool).await, ["evt_1"], "and nothing was done");
    assert_eq!(
        count(&db.pool, "SELECT count(*) FROM bursar.event WHERE body = 'one'").await,
        1,
        "as it was received first"
    );
}

#[tokio::test]
async fn an_applications_own_event_with_another_body_is_a_conflict_and_the_same_a_duplicate() {
    let db = database().await;
    for id in ["first", "second"] {
        assert_eq!(receive(&db.pool, "verification", id, id).await, "new");
    }
    for id in ["first", "second"] {
        assert_eq!(receive(&db.pool, "verification", id, id).await, "duplicate", "{id}");
        assert_eq!(receive(&db.pool, "verification", id, "other").await, "conflict", "{id}");
    }
    assert_eq!(jobs(&db.pool).await, ["first", "second"]);
    sql(&db.pool, "UPDATE bursar.event SET body = NULL").await;
    assert_eq!(
        receive(&db.pool, "verification", "first", "other").await,
        "duplicate",
        "what is forgotten contradicts nobody"
    );
}

#[tokio::test]
async fn one_id_of_two_senders_is_two_events_and_two_jobs() {
    let db = database().await;
    assert_eq!(receive(&db.pool, "stripe", "id", "of Stripe").await, "new");
    assert_eq!(receive(&db.pool, "verification", "id", "of the application").await, "new");
    assert_eq!(jobs(&db.pool).await, ["id", "verification:id"]);
    let sources: Vec<String> =
        sqlx::query_scalar("SELECT convert_from(args, 'UTF8')::jsonb ->> 'source' FROM bursar.job ORDER BY key")
            .fetch_all(&db.pool)
            .await
            .unwrap();
    assert_eq!(sources, ["stripe", "verification"]);
    // Each is known by its own body.
    assert_eq!(receive(&db.pool, "verification", "id", "of the application").await, "duplicate");
    assert_eq!(receive(&db.pool, "verification", "id", "of Stripe").await, "conflict");
    assert_eq!(jobs(&db.pool).await.len(), 2);
}
