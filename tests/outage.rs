//! PostgreSQL stopped for a minute under load: nothing is lost, no attempt is spent, and no hand is needed.

use std::time::Duration;

use bursar::dev::postgres::{Postgres, StartOptions};
use sqlx::PgPool;

use crate::{
    queue::{enqueue, probe_at},
    support::{eventually, scratch},
};

/// Longer than any time-out of a pool: where the stock worker dies, this one waits.
const OUTAGE: Duration = Duration::from_mins(1);
const JOBS: usize = 2000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_stopped_for_a_minute_under_load_loses_nothing_and_needs_no_hand() {
    let folder = scratch();
    let start = || async {
        let options = StartOptions { folder: &folder, fresh: false, temporary: false, progress: &|_| {} };
        Postgres::start(&options).await.expect("a PostgreSQL of its own")
    };
    let server = start().await;
    let url = server.url("postgres");
    let pool = PgPool::connect(&url).await.unwrap();
    bursar::migrate::migrate(&pool).await.unwrap();
    let args: Vec<_> = (0..JOBS).map(|i| serde_json::json!({"user": format!("u{i}")})).collect();
    enqueue(&pool, "probe_post", 3, &args).await;
    let log = folder.join("worker.log");
    let mut worker = probe_at(&url).logging_to(log.clone()).start();
    let done = "SELECT count(*) FROM bursar.job WHERE state = 'done'";
    eventually(Duration::from_secs(30), || async {
        let done: i64 = sqlx::query_scalar(done).fetch_one(&pool).await.unwrap();
        if done > 20 { Ok(()) } else { Err(format!("{done} done")) }
    })
    .await;
    let before: i64 = sqlx::query_scalar(done).fetch_one(&pool).await.unwrap();
    pool.close().await;
    server.stop().await.unwrap();
    // The outage is what is tested: its length is no wait for anything.
    tokio::time::sleep(OUTAGE).await;
    assert!(worker.try_wait().unwrap().is_none(), "a database that is away ends no worker");

    let complaints = std::fs::read_to_string(&log).unwrap().matches("WARN").count();
    assert!(complaints < 200, "it waits patiently: {complaints} lines in a minute");

    let _server = start().await;
    let pool = PgPool::connect(&url).await.unwrap();
    eventually(Duration::from_mins(1), || async {
        let done: i64 = sqlx::query_scalar(done).fetch_one(&pool).await.map_err(|e| e.to_string())?;
        if done == i64::try_from(JOBS).unwrap() { Ok(()) } else { Err(format!("{done} done")) }
    })
    .await;
    let postings: i64 = sqlx::query_scalar("SELECT count(*) FROM bursar.posting").fetch_one(&pool).await.unwrap();
    assert_eq!(postings, i64::try_from(JOBS).unwrap(), "{before} were done before the outage");
    let outcomes: Vec<String> =
        sqlx::query_scalar("SELECT DISTINCT outcome FROM bursar.attempt").fetch_all(&pool).await.unwrap();
    assert_eq!(outcomes, ["done"], "the outage cost no attempt");
}
