//! One private PostgreSQL for the whole test process, started by the first test that needs it; a migrated database for each test,
//! copied from a template. The server ends with the process, and its folder with the server.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use bursar::dev::postgres::{self, Postgres, StartOptions};
use sqlx::{Connection, PgConnection, PgPool, postgres::PgPoolOptions};
use tokio::sync::OnceCell;

const PREFIX: &str = "bursar-test-";
const TEMPLATE: &str = "bursar_template";

/// Lives until the process ends, which is what stops the server.
static SERVER: OnceCell<Postgres> = OnceCell::const_new();
static COUNT: AtomicU32 = AtomicU32::new(0);

/// A migrated, empty database of one test. It goes with the server.
pub struct Database {
    /// Connections to it. A pool belongs to the runtime of its test and is never shared.
    pub pool: PgPool,
    /// For other processes, and for psql.
    pub url: String,
}

/// Makes a database.
pub async fn database() -> Database {
    let server = SERVER.get_or_init(start).await;
    let name = format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed));
    let mut admin = PgConnection::connect(&server.url("postgres")).await.expect("the test server answers");
    let create = format!("CREATE DATABASE {name} TEMPLATE {TEMPLATE}");
    sqlx::query(sqlx::AssertSqlSafe(create)).execute(&mut admin).await.expect("the template can be copied");
    admin.close().await.expect("closing is polite");
    open(server.url(&name)).await
}

/// A database as it is now, twice: to go on with, and to come back to, as from a dump. Its pool must be closed.
pub async fn duplicate(url: &str) -> (Database, Database) {
    let server = SERVER.get().expect("the database is on the test server");
    let name =
        url.split("localhost/").nth(1).and_then(|rest| rest.split('?').next()).expect("a URL with a database in it");
    let copy = format!("{name}_dump");
    let mut admin = PgConnection::connect(&server.url("postgres")).await.expect("the test server answers");
    let create = format!("CREATE DATABASE {copy} TEMPLATE {name}");
    sqlx::query(sqlx::AssertSqlSafe(create)).execute(&mut admin).await.expect("nobody is connected to it");
    admin.close().await.expect("closing is polite");
    (open(server.url(name)).await, open(server.url(&copy)).await)
}

async fn open(url: String) -> Database {
    let options = PgPoolOptions::new().max_connections(10).acquire_timeout(Duration::from_secs(30));
    let pool = options.connect(&url).await.expect("the database answers");
    Database { pool, url }
}

async fn start() -> Postgres {
    for folder in abandoned() {
        // Two test processes may see the same one; whoever comes second finds it gone.
        drop(postgres::remove_abandoned(&folder).await);
    }
    let folder = Path::new("/tmp").join(format!("{PREFIX}{}", std::process::id()));
    let options = StartOptions { folder: &folder, fresh: true, temporary: true, progress: &|line| eprintln!("{line}") };
    let server = Postgres::start(&options).await.unwrap_or_else(|error| panic!("no PostgreSQL for the tests: {error}"));
    let mut admin = PgConnection::connect(&server.url("postgres")).await.expect("the test server answers");
    let create = format!("CREATE DATABASE {TEMPLATE}");
    sqlx::query(sqlx::AssertSqlSafe(create)).execute(&mut admin).await.expect("a database can be made");
    admin.close().await.expect("closing is polite");
    let pool = PgPool::connect(&server.url(TEMPLATE)).await.expect("the template answers");
    bursar::migrate::migrate(&pool).await.expect("the migrations apply to an empty database");
    // A template is copied only while nobody is connected to it.
    pool.close().await;
    server
}

/// Folders of test processes that are gone and whose watchdog could not clean up, as after a reboot.
fn abandoned() -> Vec<PathBuf> {
    let entries = std::fs::read_dir("/tmp").expect("/tmp can be read").filter_map(Result::ok);
    entries
        .filter(|entry| {
            let name = entry.file_name();
            let pid = name.to_str().and_then(|name| name.strip_prefix(PREFIX)).and_then(|pid| pid.parse().ok());
            pid.is_some_and(|pid| nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None).is_err())
        })
        .map(|entry| entry.path())
        .collect()
}
