//! `bursar events`.

use serde_json::{Value, json};

use super::{ask, claim, dead_job, names, plant, receive, settle};
use crate::support::database;

#[tokio::test]
async fn events_are_listed_by_type_source_and_age() {
    let db = database().await;
    receive(&db, "evt_1", "invoice.paid").await;
    receive(&db, "evt_2", "x.y").await;
    plant(&db, "INSERT INTO bursar.event (source, id, type) VALUES ('verification', 'msg_1', 'job.verified')").await;
    plant(&db, "UPDATE bursar.event SET received_at = received_at - interval '3 hours' WHERE id = 'evt_2'").await;
    let ids = |filter: &[&str]| {
        let answer = ask(&db, &[&["events", "list", "--json"], filter].concat()).ended(0);
        answer.objects().iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&[]), ["msg_1", "evt_1", "evt_2"]);
    assert_eq!(ids(&["--type", "invoice.paid"]), ["evt_1"]);
    assert_eq!(ids(&["--source", "verification"]), ["msg_1"]);
    assert_eq!(ids(&["--since", "2h"]), ["msg_1", "evt_1"]);
    assert_eq!(ids(&["--older", "2h"]), ["evt_2"]);
    assert_eq!(ids(&["--limit", "1"]), ["msg_1"]);

    let event = ask(&db, &["events", "list", "--type", "invoice.paid", "--json"]).ended(0).object();
    assert_eq!(
        names(&event),
        [
            "account",
            "api_version",
            "created",
            "id",
            "job_state",
            "livemode",
            "object_id",
            "received_at",
            "source",
            "type"
        ]
    );
    assert_eq!(
        (&event["job_state"], &event["object_id"], &event["livemode"]),
        (&json!("ready"), &json!("obj_evt_1"), &json!(false))
    );
}

#[tokio::test]
async fn an_event_is_shown_with_what_it_caused() {
    let db = database().await;
    let job = receive(&db, "evt_1", "invoice.paid").await;
    sqlx::query("SELECT bursar.enqueue(jsonb_build_array(jsonb_build_object('kind', 'k', 'key', 'follow', 'args', '{}'::jsonb, 'max_attempts', 1, 'cause', $1::text)))")
        .bind(&job)
        .execute(&db.pool)
        .await
        .unwrap();
    plant(&db, r#"SELECT bursar.post('[{"key": "refill:1", "kind": "refill", "debit": "issuance", "credit": "user:u1", "unit": "credits",
                  "amount": 2500000, "event_id": "evt_1"}]')"#).await;
    let shown = ask(&db, &["events", "show", "evt_1", "--json"]).ended(0).object();
    assert_eq!(shown["body"]["data"]["object"]["id"], "obj_evt_1");
    let jobs = shown["jobs"].as_array().unwrap();
    assert_eq!(jobs.iter().map(|job| &job["kind"]).collect::<Vec<_>>(), ["refill_tier", "k"]);
    assert_eq!(shown["postings"][0]["amount"], "2.5");
    assert_eq!(shown["postings"][0]["credit"], "user:u1");

    let read = ask(&db, &["events", "show", "evt_1"]).ended(0).out;
    for said in [&job, "2.5 credits from issuance to user:u1", "bursar events replay evt_1", "obj_evt_1"] {
        assert!(read.contains(said), "{said:?} is missing in {read}");
    }
    ask(&db, &["events", "show", "evt_none"]).ended(3);
}

#[tokio::test]
async fn a_replay_puts_an_ended_job_back_and_leaves_a_live_one() {
    let db = database().await;
    ask(&db, &["events", "replay", "evt_1"]).ended(3);
    let dead = dead_job(&db, "evt_1").await;
    let replayed = ask(&db, &["events", "replay", "evt_1", "--json"]).ended(0).object();
    assert_eq!(
        replayed,
        json!({"event": "evt_1", "source": "stripe", "job": dead, "kind": "grant_purchase", "was": "dead"})
    );
    let live = ask(&db, &["events", "replay", "evt_1"]).ended(1);
    assert!(live.err.contains("is ready already"), "{}", live.err);

    let lease = claim(&db, "grant_purchase").await;
    ask(&db, &["events", "replay", "evt_1"]).ended(1);
    assert!(settle(&db, lease, json!({"id": dead, "attempt": 2, "outcome": "done"})).await);
    assert_eq!(ask(&db, &["events", "replay", "evt_1", "--json"]).ended(0).object()["was"], "done");
    let job = ask(&db, &["jobs", "show", &dead, "--json"]).ended(0).object();
    assert_eq!((&job["state"], &job["max_attempts"]), (&json!("ready"), &json!(12)));
}

#[tokio::test]
async fn a_replay_makes_the_job_anew_where_it_was_pruned_or_was_of_another_kind() {
    let db = database().await;
    let pruned = receive(&db, "evt_1", "invoice.paid").await;
    plant(&db, "DELETE FROM apalis.jobs").await;
    let replayed = ask(&db, &["events", "replay", "evt_1", "--json"]).ended(0).object();
    assert_eq!((&replayed["was"], &replayed["kind"]), (&Value::Null, &json!("refill_tier")));
    assert_ne!(replayed["job"], json!(pruned));
    let job = ask(&db, &["jobs", "list", "--json"]).ended(0).object();
    assert_eq!((&job["key"], &job["cause"], &job["max_attempts"]), (&json!("evt_1"), &json!("evt_1"), &json!(10)));

    // An earlier version only noted such an event.
    plant(&db, "UPDATE apalis.jobs SET job_type = 'note_event', status = 'Done'").await;
    assert_eq!(ask(&db, &["events", "replay", "evt_1", "--json"]).ended(0).object()["kind"], "refill_tier");
    assert_eq!(ask(&db, &["jobs", "list", "--json"]).ended(0).objects().len(), 2);

    plant(&db, "UPDATE bursar.event SET body = NULL").await;
    let refused = ask(&db, &["events", "replay", "evt_1"]).ended(1);
    assert!(refused.err.contains("was pruned"), "{}", refused.err);
    assert_eq!(ask(&db, &["events", "show", "evt_1", "--json"]).ended(0).object()["body"], Value::Null);
}
