//! Starts that another session holds up, and a server that takes no writes.

use std::time::Instant;

use sqlx::{Connection, Executor, PgConnection};

use crate::support::{bursar, database};

#[tokio::test]
async fn a_start_that_a_strangers_lock_holds_up_ends_and_says_who_holds_it() {
    for (process, lock) in [
        ("api", "SELECT pg_advisory_lock(hashtextextended('bursar.seed_packages', 0))"),
        ("worker", "SELECT pg_advisory_lock(hashtextextended('schedules', 0))"),
    ] {
        let db = database().await;
        let mut stranger = PgConnection::connect(&db.url).await.unwrap();
        stranger.execute("SET application_name = 'stranger'").await.unwrap();
        stranger.execute(lock).await.unwrap();
        let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut stranger).await.unwrap();

        let mut command = bursar(&[process]);
        command.env("DATABASE_URL", &db.url).env("API_PORT", "0").env("API_TOKEN", "0123456789abcdef");
        command.env("BURSAR_METRICS__WORKER_PORT", "off").env("BURSAR_LETTERS__MAILDIR", "/tmp");
        let begun = Instant::now();
        let ended = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(!ended.status.success(), "{process}: {said}");
        assert!(said.contains(&format!("session {pid} ")) && said.contains("stranger"), "{process}: {said}");
        assert!(said.contains("pg_terminate_backend") && begun.elapsed().as_secs() < 60, "{process}: {said}");
        stranger.close().await.unwrap();
    }
}
