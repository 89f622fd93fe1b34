//! The private PostgreSQL: data that stays, a folder that is not shared, a database for each test.

use std::path::Path;

use bursar::dev::postgres::{Postgres, PostgresError, StartOptions};
use sqlx::{Connection, PgConnection};

use crate::support;

#[tokio::test]
async fn each_test_has_a_database_of_its_own() {
    let (one, other) = tokio::join!(support::database(), support::database());
    assert_ne!(one.url, other.url);
    sqlx::query("CREATE TABLE seen ()").execute(&one.pool).await.unwrap();
    let seen: Option<String> =
        sqlx::query_scalar("SELECT to_regclass('seen')::text").fetch_one(&other.pool).await.unwrap();
    assert_eq!(seen, None);
    assert!(bursar::migrate::is_current(&other.pool).await.unwrap());
}

#[tokio::test]
async fn data_stays_until_it_is_wiped() {
    let folder = support::scratch();
    let first = start(&folder, false).await.unwrap();
    note(&first, "kept").await;
    first.stop().await.unwrap();
    assert!(!folder.join("postgres/data/postmaster.pid").exists(), "stop waits for the end");

    let second = start(&folder, false).await.unwrap();
    assert_eq!(notes(&second).await, ["kept"]);
    second.stop().await.unwrap();

    let third = start(&folder, true).await.unwrap();
    assert_eq!(notes(&third).await, Vec::<String>::new());
    third.stop().await.unwrap();
}

#[tokio::test]
async fn a_second_owner_is_refused_and_the_first_lives_on() {
    let folder = support::scratch();
    let first = start(&folder, false).await.unwrap();
    let refused = start(&folder, true).await.unwrap_err();
    assert!(matches!(refused, PostgresError::Busy(_)), "{refused}");
    note(&first, "still here").await;
    first.stop().await.unwrap();
}

#[tokio::test]
async fn it_writes_through_to_disk_and_opens_no_port() {
    let folder = support::scratch();
    let server = start(&folder, false).await.unwrap();
    let mut db = PgConnection::connect(&server.url("postgres")).await.unwrap();
    for (setting, value) in [("fsync", "on"), ("synchronous_commit", "on"), ("listen_addresses", "")] {
        let shown: String =
            sqlx::query_scalar("SELECT current_setting($1)").bind(setting).fetch_one(&mut db).await.unwrap();
        assert_eq!(shown, value, "{setting}");
    }
    sqlx::query("CREATE EXTENSION hstore").execute(&mut db).await.unwrap();
    db.close().await.unwrap();
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_folder_with_spaces_and_a_long_path_will_do() {
    let scratch = support::scratch();
    let folder = scratch.join(format!("a folder with 100% of {}", "a long name ".repeat(8)));
    let server = start(&folder, false).await.unwrap();
    note(&server, "reached").await;
    server.stop().await.unwrap();
}

/// Starts one in the folder `postgres` of this folder.
pub async fn start(folder: &Path, fresh: bool) -> Result<Postgres, PostgresError> {
    let folder = folder.join("postgres");
    let options = StartOptions { folder: &folder, fresh, temporary: false, progress: &|line| println!("{line}") };
    Postgres::start(&options).await
}

/// Leaves a word in its data.
pub async fn note(server: &Postgres, word: &str) {
    let mut db = PgConnection::connect(&server.url("postgres")).await.unwrap();
    sqlx::query("CREATE TABLE IF NOT EXISTS notes (word text)").execute(&mut db).await.unwrap();
    sqlx::query("INSERT INTO notes VALUES ($1)").bind(word).execute(&mut db).await.unwrap();
    db.close().await.unwrap();
}

/// The words left in its data.
pub async fn notes(server: &Postgres) -> Vec<String> {
    let mut db = PgConnection::connect(&server.url("postgres")).await.unwrap();
    sqlx::query("CREATE TABLE IF NOT EXISTS notes (word text)").execute(&mut db).await.unwrap();
    let words = sqlx::query_scalar("SELECT word FROM notes").fetch_all(&mut db).await.unwrap();
    db.close().await.unwrap();
    words
}
