//! What main wires: each process starts from its settings, does its work, and stops in good order on SIGTERM.

use std::{
    fs::{self, File},
    io::{Read, Write},
    net::TcpStream,
    process::Stdio,
    time::Duration,
};

use nix::sys::signal::Signal;
use sqlx::PgPool;

use super::{ask, receive};
use crate::support::{Child, bursar, database, eventually, scratch};

const SOON: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_worker_runs_what_is_ready_and_stops_when_told() {
    let db = database().await;
    let id = receive(&db, "evt_1", "x.y").await;
    let mut worker = Child::spawn(bursar(&["worker"]).env("DATABASE_URL", &db.url));
    eventually(SOON, || async {
        let job = ask(&db, &["jobs", "show", &id, "--json"]).ended(0).object();
        if job["state"] == "done" { Ok(()) } else { Err(job) }
    })
    .await;
    assert!(ask(&db, &["jobs", "show", &id]).ended(0).out.contains("skipped: "));
    worker.signal(Signal::SIGTERM);
    assert!(worker.wait().unwrap().success());
}

#[tokio::test]
async fn web_answers_and_stops_when_told() {
    let (db, folder) = (database().await, scratch());
    let err = File::create(folder.join("err")).unwrap();
    let mut command = bursar(&["web"]);
    command.env("DATABASE_URL", &db.url).env("PORT", "0").stderr(err);
    command
        .env("STRIPE_WEBHOOK_SECRET", "whsec_of_a_test_endpoint")
        .env("VERIFICATION_SECRET", "whsec_dGhlIHNlY3JldCBvZiBhIHRlc3Q=");
    let mut web = Child::spawn(&mut command);
    let address = eventually(SOON, || async {
        let said = fs::read_to_string(folder.join("err")).unwrap();
        let after = said.split_once("address=").and_then(|(_, rest)| rest.split_whitespace().next().map(String::from));
        after.ok_or(said)
    })
    .await;
    let mut connection = TcpStream::connect(&address).unwrap();
    connection.write_all(b"GET /readyz HTTP/1.1\r\nHost: bursar\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    web.signal(Signal::SIGTERM);
    assert!(web.wait().unwrap().success());
}

#[tokio::test]
async fn migrate_brings_an_empty_database_to_this_version_and_again_changes_nothing() {
    let db = database().await;
    let (server, name) = db.url.split_once("/test_").unwrap();
    let options = name.split_once('?').map_or_else(String::new, |(_, options)| format!("?{options}"));
    sqlx::raw_sql("CREATE DATABASE never_migrated").execute(&db.pool).await.unwrap();
    let url = format!("{server}/never_migrated{options}");
    for _ in 0..2 {
        let migrated = bursar(&["migrate"]).env("DATABASE_URL", &url).output().unwrap();
        assert!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));
    }
    let pool = PgPool::connect(&url).await.unwrap();
    assert!(bursar::migrate::is_current(&pool).await.unwrap());
}

#[tokio::test]
async fn a_migration_that_another_session_holds_up_names_that_session() {
    let db = database().await;
    let mut other = db.pool.begin().await.unwrap();
    let pid: i32 = sqlx::query_scalar(
        "SELECT pg_backend_pid() FROM (SELECT set_config('application_name', 'deploy.sh', true),
         pg_advisory_xact_lock(hashtextextended('bursar.migrate', 0))) AS held",
    )
    .fetch_one(&mut *other)
    .await
    .unwrap();
    let refused = bursar::migrate::migrate_within(&db.pool, std::time::Duration::from_millis(100)).await.unwrap_err();
    let said = refused.to_string();
    assert!(said.contains(&format!("session {pid} (role ")) && said.contains(", deploy.sh) has held"), "{said}");
    other.rollback().await.unwrap();
    bursar::migrate::migrate_within(&db.pool, std::time::Duration::from_millis(100)).await.unwrap();
}

#[tokio::test]
async fn without_a_database_each_command_names_the_setting() {
    for command in [&["web"][..], &["worker"], &["migrate"], &["jobs", "list"]] {
        let refused = bursar(command).env("STRIPE_WEBHOOK_SECRET", "whsec_test").output().unwrap();
        let said = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(1), "{command:?}: {said}");
        assert!(said.contains("DATABASE_URL") && said.contains("bursar dev"), "{command:?}: {said}");
    }
}

#[tokio::test]
async fn in_the_folder_of_a_running_dev_its_database_is_found() {
    let (db, folder) = (database().await, scratch());
    let mut command = bursar(&["dev"]);
    command.current_dir(&*folder).env("DATABASE_URL", &db.url).env("PORT", "0").stdout(Stdio::null());
    let mut dev = Child::spawn(&mut command);
    eventually(SOON, || async { bursar::dev::running_instance(&folder).map(drop).ok_or("it does not run yet") }).await;
    ask(&db, &["credits", "grant", "alice", "5", "--key", "k", "--why", "w"]).ended(0);
    let balance = bursar(&["credits", "balance", "alice"]).current_dir(&*folder).output().unwrap();
    assert_eq!(String::from_utf8(balance.stdout).unwrap(), "alice has 5 credits\n");
    dev.signal(Signal::SIGTERM);
    assert!(dev.wait().unwrap().success());
}
