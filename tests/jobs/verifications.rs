//! The application's own events: debts, accounts, and ids that come twice.

use super::*;

fn with_stripe() -> Terms {
    Terms { stripe_on: true, ..terms() }
}

#[tokio::test]
async fn a_verified_job_is_a_debt_to_its_receiver_once_whatever_the_delivery() {
    let db = database().await;
    verify(&db, "msg_1", &verified("job_1", "bob", "research")).await;
    verify(&db, "msg_2", &verified("job_1", "bob", "research")).await;
    drain(&db, with_stripe()).await;
    assert_eq!(payout(&db, "job_1").await, ("bob".into(), 100, "usd".into(), "held".into()));
    let owed: i64 =
        sqlx::query_scalar("SELECT balance FROM bursar.account WHERE name = 'receiver:bob' AND unit = 'usd'")
            .fetch_one(&db.pool)
            .await
            .unwrap();
    assert_eq!(owed, 100);

    verify(&db, "msg_3", &verified("job_1", "mallory", "research")).await;
    verify(&db, "msg_4", &verified("job_2", "bob", "juggling")).await;
    drain(&db, with_stripe()).await;
    assert!(end_of(&db, "msg_3").await.2.contains("to bob"), "another receiver for the same job is a conflict");
    let (state, _, reason) = end_of(&db, "msg_4").await;
    assert_eq!(state, "dead");
    assert!(reason.contains("\"juggling\" has no price"), "{reason}");
    assert_eq!(postings(&db).await, 1);
}

#[tokio::test]
async fn where_stripe_is_off_a_payout_is_recorded_as_skipped() {
    let db = database().await;
    verify(&db, "msg_1", &verified("job_1", "bob", "research")).await;
    drain(&db, terms()).await;
    assert_eq!(payout(&db, "job_1").await.3, "skipped");
}

#[tokio::test]
async fn a_new_user_gets_an_account_and_the_initial_credits_once() {
    let db = database().await;
    let created = json!({"type": "user.created", "timestamp": "2026-11-01T09:45:00Z", "data": {"user_id": "carol"}});
    verify(&db, "msg_1", &created).await;
    verify(&db, "msg_2", &created).await;
    drain(&db, Terms { initial_credits: credits(5), ..terms() }).await;
    assert_eq!(balance(&db, "carol").await, "5");
    let accounts: i64 = sqlx::query_scalar("SELECT count(*) FROM bursar.account WHERE name = 'user:carol'")
        .fetch_one(&db.pool)
        .await
        .unwrap();
    assert_eq!(accounts, 1);
}

#[tokio::test]
async fn a_batch_with_one_conflict_in_it_settles_the_others_and_quarantines_that_one() {
    let db = database().await;
    for i in 0..20 {
        verify(&db, &format!("msg_{i}"), &verified(&format!("job_{i}"), "bob", "research")).await;
    }
    verify(&db, "twice", &verified("job_7", "mallory", "research")).await;
    drain(&db, terms()).await;
    let states: Vec<(String, i64)> = sqlx::query_as("SELECT state, count(*) FROM bursar.job GROUP BY 1 ORDER BY 1")
        .fetch_all(&db.pool)
        .await
        .unwrap();
    assert_eq!(states, [("dead".into(), 1), ("done".into(), 20)]);
    assert_eq!(postings(&db).await, 20);
}

#[tokio::test]
async fn one_id_from_both_sources_is_two_events_and_two_jobs() {
    let db = database().await;
    let stripe = json!({"id": "same", "object": "event", "type": "a.new.type", "livemode": false, "data": {"object": {"id": 7}}});
    assert_eq!(receive(&db, &stripe).await, Received::New);
    assert_eq!(verify(&db, "same", &json!({"type": "another.new.type", "data": {}})).await, Received::New);
    drain(&db, terms()).await;
    let keys: Vec<String> = sqlx::query_scalar("SELECT key FROM bursar.job WHERE kind = 'note_event' ORDER BY key")
        .fetch_all(&db.pool)
        .await
        .unwrap();
    assert_eq!(keys, ["same", "verification:same"]);
}

#[tokio::test]
async fn the_team_is_told_once_a_day_of_an_applications_type_that_nothing_acts_on() {
    let db = database().await;
    for id in ["w1", "w2"] {
        verify(&db, id, &json!({"type": "job.verifed", "data": {"job_id": "job_1"}})).await;
    }
    receive(&db, &json!({"id": "evt_1", "object": "event", "type": "a.new.type", "livemode": false})).await;
    drain(&db, terms()).await;
    let told: Vec<(String, String)> = sqlx::query_as(
        "SELECT split_part(j.key, ':', 3), convert_from(a.job, 'UTF8')::jsonb ->> 'type'
         FROM bursar.job j JOIN apalis.jobs a ON a.id = j.id WHERE j.kind = 'notify_team'",
    )
    .fetch_all(&db.pool)
    .await
    .unwrap();
    assert_eq!(told, [("job.verifed".to_owned(), "event.unknown_type".to_owned())]);
}

#[tokio::test]
async fn another_body_under_a_known_webhook_id_is_not_acknowledged() {
    let db = database().await;
    assert_eq!(verify(&db, "w1", &verified("job_1", "bob", "research")).await, Received::New);
    assert_eq!(verify(&db, "w1", &verified("job_1", "bob", "research")).await, Received::Duplicate);
    assert_eq!(verify(&db, "w1", &verified("job_2", "carol", "research")).await, Received::Conflict);
}
