//! A purchase whose job is dead, granted by an operator's hand: once, whichever of the two comes first.

use bursar_jobs::{base::credits::Credits, terms::Terms};
use serde_json::json;

use super::{CHECKOUT, balance, drain, end_of, event, postings, receive, terms};
use crate::support::{Database, bursar, database};

fn run(db: &Database, args: &[&str]) -> (Option<i32>, String) {
    let done = bursar(args).env("DATABASE_URL", &db.url).output().unwrap();
    (done.status.code(), String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr))
}

/// A paid checkout whose metadata says other credits than were paid for: its reason, after its job has died of it.
async fn dead(db: &Database) -> String {
    receive(db, &event(CHECKOUT, "evt_1", &[("/data/object/metadata/credits", json!("777"))])).await;
    drain(db, terms()).await;
    let (state, _, reason) = end_of(db, "evt_1").await;
    assert_eq!(state, "dead", "{reason}");
    reason
}

/// The command that a reason names, as a shell would take it apart.
fn command(reason: &str) -> Vec<String> {
    let from = reason.split_once("bursar credits grant").expect(reason).1;
    let words = from.split_once(';').unwrap().0.split_whitespace().map(|word| word.trim_matches('\'').to_owned());
    ["credits".to_owned(), "grant".to_owned()].into_iter().chain(words).collect()
}

async fn retry(db: &Database) {
    retry_on(db, terms()).await;
}

async fn retry_on(db: &Database, terms: Terms) {
    let id: String =
        sqlx::query_scalar("SELECT id FROM bursar.job WHERE key = 'evt_1'").fetch_one(&db.pool).await.unwrap();
    assert_eq!(run(db, &["jobs", "retry", &id]).0, Some(0));
    drain(db, terms).await;
}

#[tokio::test]
async fn a_dead_grant_names_its_way_out_and_a_retry_after_it_grants_nothing_more() {
    let db = database().await;
    let reason = dead(&db).await;
    let user = event(CHECKOUT, "x", &[])["data"]["object"]["metadata"]["user_id"].as_str().unwrap().to_owned();
    let words = command(&reason);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    assert!(words[2] == user && words[5].starts_with("purchase:cs_"), "{reason}");
    for (said, now) in [("granted to", 1), ("were granted before to", 1)] {
        let (code, told) = run(&db, &words);
        assert!(code == Some(0) && told.contains(said), "{told}");
        assert_eq!(postings(&db).await, now);
    }
    let granted = balance(&db, &user).await;
    retry(&db).await;
    let (state, outcome, why) = end_of(&db, "evt_1").await;
    assert_eq!((state.as_str(), outcome.as_str()), ("done", "skip"), "{why}");
    assert!(why.contains("by an operator's hand"), "{why}");
    // Nor does another event of the same session, with its cause mended.
    receive(&db, &event(CHECKOUT, "evt_2", &[])).await;
    drain(&db, terms()).await;
    assert_eq!((balance(&db, &user).await, postings(&db).await), (granted, 1));
}

#[tokio::test]
async fn what_the_job_has_granted_meanwhile_is_not_granted_by_hand() {
    let db = database().await;
    let words = command(&dead(&db).await);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    // The cause is mended, and the purchase told of again.
    receive(&db, &event(CHECKOUT, "evt_2", &[])).await;
    drain(&db, terms()).await;
    let granted = (balance(&db, words[2]).await, postings(&db).await);
    let (code, told) = run(&db, &words);
    assert!(code == Some(0) && told.contains("were granted before to"), "{told}");
    let mut other = words.clone();
    other[3] = "9";
    let (code, told) = run(&db, &other);
    assert!(code == Some(1) && told.contains("nothing was changed"), "{told}");
    assert_eq!((balance(&db, words[2]).await, postings(&db).await), granted);
}

#[tokio::test]
async fn a_grant_by_hand_under_the_key_of_a_finding_is_respected_as_well() {
    let db = database().await;
    let words = command(&dead(&db).await);
    let session = words[5].strip_prefix("purchase:").unwrap().to_owned();
    let key = format!("reconcile:{session}");
    assert_eq!(run(&db, &["credits", "grant", &words[2], "200", "--key", &key, "--why", "x"]).0, Some(0));
    receive(&db, &event(CHECKOUT, "evt_2", &[])).await;
    retry(&db).await;
    for id in ["evt_1", "evt_2"] {
        let (state, outcome, why) = end_of(&db, id).await;
        assert_eq!((state.as_str(), outcome.as_str()), ("done", "skip"), "{id}: {why}");
    }
    assert_eq!((balance(&db, &words[2]).await.as_str(), postings(&db).await), ("200", 1));
}

#[tokio::test]
async fn a_new_buyer_gets_the_initial_credits_with_the_retry() {
    let db = database().await;
    let words = command(&dead(&db).await);
    assert_eq!(run(&db, &words.iter().map(String::as_str).collect::<Vec<_>>()).0, Some(0));
    retry_on(&db, Terms { initial_credits: Credits::whole(5).unwrap(), ..terms() }).await;
    assert_eq!((balance(&db, &words[2]).await.as_str(), postings(&db).await), ("205", 2));
}
