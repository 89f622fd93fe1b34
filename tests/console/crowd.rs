//! Many who look, and those who spend meanwhile.

use std::time::{Duration, Instant};

use bursar_jobs::{
    base::credits::Credits,
    ledger::{self, Posting},
};
use sqlx::{Connection, PgConnection};

use super::*;

/// Searches at once.
const SEARCHES: usize = 24;
/// What one spend may take, on a machine that others use too.
const SOON: Duration = Duration::from_secs(2);

/// Begins searches whose answers nobody waits for yet.
async fn search(anna: &Visitor) -> Vec<Client> {
    let headers = [("cookie", anna.cookie.clone()), ("accept", "text/html,*/*".to_owned())];
    let mut searches = Vec::new();
    for nth in 0..SEARCHES {
        let mut client = Client::connect(anna.address).await;
        client.send(&head("GET", &format!("/jobs?text=needle{nth}"), &headers, 0)).await;
        searches.push(client);
    }
    searches
}

/// Searches that the server is at.
async fn running(db: &mut PgConnection) -> i64 {
    sqlx::query_scalar(
        "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid() AND query LIKE '%position(lower(%'",
    )
    .fetch_one(db)
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn searches_leave_the_connections_to_those_who_spend_and_end_when_nobody_waits_for_them() {
    let desk = Desk::open().await;
    let grant = Posting::grant("purchase", "p".into(), "alice", Credits::whole(100).unwrap());
    ledger::post(&desk.db.pool, &[grant]).await.unwrap();
    let anna = desk.visitor("anna", Role::Viewer).await;
    let mut own = PgConnection::connect(&desk.db.url).await.unwrap();
    let mut wall = PgConnection::connect(&desk.db.url).await.unwrap();
    // Each search waits here, as one does that reads years of jobs.
    sqlx::raw_sql("BEGIN; LOCK TABLE apalis.jobs IN ACCESS EXCLUSIVE MODE").execute(&mut wall).await.unwrap();
    let searches = search(&anna).await;
    let most = i64::from(desk.db.pool.options().get_max_connections().div_ceil(4));
    eventually(Duration::from_secs(20), || async {
        let mut db = PgConnection::connect(&desk.db.url).await.unwrap();
        let running = running(&mut db).await;
        if running == most { Ok(()) } else { Err(running) }
    })
    .await;
    for nth in 0..20 {
        let begun = Instant::now();
        let body = json!({"user_id": "alice", "credits": "1", "key": nth.to_string()});
        let reply = shop::post(desk.address, "/api/credits/spend", &body, None).await;
        assert_eq!(reply.status, 200, "{}", reply.body);
        assert!(begun.elapsed() < SOON, "a spend took {:?} while others searched", begun.elapsed());
    }
    assert_eq!(running(&mut own).await, most, "the searches still wait");
    // They leave; no statement goes on to its time limit.
    let left = Instant::now();
    drop(searches);
    eventually(Duration::from_secs(8), || async {
        let mut db = PgConnection::connect(&desk.db.url).await.unwrap();
        let running = running(&mut db).await;
        if running == 0 { Ok(()) } else { Err(running) }
    })
    .await;
    println!("{SEARCHES} searches were ended {:?} after their pages were left", left.elapsed());
    sqlx::raw_sql("ROLLBACK").execute(&mut wall).await.unwrap();
    assert_eq!(anna.page("/jobs?text=needle").await.status, 200, "and their places are free again");
}
