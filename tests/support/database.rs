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
/// What stands for a database in the URL of a kept server.
pub const ANY: &str = "DATABASE";

/// Lives until the process ends, which is what stops our own.
static SERVER: OnceCell<Server> = OnceCell::const_new();
static COUNT: AtomicU32 = AtomicU32::new(0);

/// The server of these tests.
enum Server {
    /// Our own.
    Own(Postgres),
    /// One that another process of these tests keeps, for ours to be started often (`BURSAR_TEST_SERVER`: its URL, [`ANY`] in it).
    Kept(String),
}

impl Server {
    fn url(&self, database: &str) -> String {
        match self {
            Self::Own(postgres) => postgres.url(database),
            Self::Kept(url) => url.replace(ANY, database),
        }
    }

    /// What is copied for each test. A kept server's first template stays as it is.
    fn template(&self) -> String {
        match self {
            Self::Own(_) => TEMPLATE.to_owned(),
            Self::Kept(_) => format!("{TEMPLATE}_{}", std::process::id()),
        }
    }
}

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
    let name = format!("test_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let mut admin = PgConnection::connect(&server.url("postgres")).await.expect("the test server answers");
    let create = format!("CREATE DATABASE {name} TEMPLATE {}", server.template());
    sqlx::query(sqlx::AssertSqlSafe(create)).execute(&mut admin).await.expect("the template can be copied");
    admin.close().await.expect("closing is polite");
    open(server.url(&name)).await
}

/// Business time goes on from this moment, past or future: a test with dates of its own must not depend on today's. The schema lets it
/// be moved ahead alone, and only in a sandbox's database.
pub async fn begin_at(pool: &PgPool, moment: &str) {
    let statements = format!(
        "ALTER TABLE bursar.clock DROP CONSTRAINT clock_only_forward;
         INSERT INTO bursar.clock (ahead) SELECT timestamptz '{moment}' - clock_timestamp()"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(statements)).execute(pool).await.expect("the database is a sandbox's");
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

/// The URL of the server's databases, for another process to use it as a kept one until this process ends.
pub async fn keep() -> String {
    let server = SERVER.get_or_init(start).await;
    let mut admin = PgConnection::connect(&server.url("postgres")).await.expect("the test server answers");
    // Whoever keeps a server runs the same tests again and again, and none that takes its power away.
    for setting in ["ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()"] {
        sqlx::query(setting).execute(&mut admin).await.expect("a superuser may");
    }
    admin.close().await.expect("closing is polite");
    server.url(ANY)
}

async fn start() -> Server {
    let server = match std::env::var("BURSAR_TEST_SERVER") {
        Ok(url) => Server::Kept(url),
        Err(_) => Server::Own(start_own().await),
    };
    let mut admin = PgConnection::connect(&server.url("postgres")).await.expect("the test server answers");
    let template = server.template();
    let create = match server {
        Server::Own(_) => format!("CREATE DATABASE {template}"),
        Server::Kept(_) => format!("CREATE DATABASE {template} TEMPLATE {TEMPLATE}"),
    };
    sqlx::query(sqlx::AssertSqlSafe(create)).execute(&mut admin).await.expect("a database can be made");
    admin.close().await.expect("closing is polite");
    let pool = PgPool::connect(&server.url(&template)).await.expect("the template answers");
    if let Server::Own(_) = server {
        bursar::migrate::migrate(&pool).await.expect("the migrations apply to an empty database");
    }
    mutate(&pool).await;
    // A template is copied only while nobody is connected to it.
    pool.close().await;
    server
}

async fn start_own() -> Postgres {
    for folder in abandoned() {
        // Two test processes may see the same one; whoever comes second finds it gone.
        drop(postgres::remove_abandoned(&folder).await);
    }
    let folder = Path::new("/tmp").join(format!("{PREFIX}{}", std::process::id()));
    let options = StartOptions { folder: &folder, fresh: true, temporary: true, progress: &|line| eprintln!("{line}") };
    Postgres::start(&options).await.unwrap_or_else(|error| panic!("no PostgreSQL for the tests: {error}"))
}

/// Breaks what all tests stand on, where `BURSAR_TEST_MUTATION` names a file of SQL that does: `.ci/fences` sees by it which test notices.
async fn mutate(template: &PgPool) {
    let Ok(file) = std::env::var("BURSAR_TEST_MUTATION") else { return };
    let mutation = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file} cannot be read: {error}"));
    sqlx::raw_sql(sqlx::AssertSqlSafe(mutation)).execute(template).await.expect("the mutation applies");
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
