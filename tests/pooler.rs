//! The whole of it through PgBouncer in transaction mode, with fewer connections of the server's than ask for one: nothing takes a session
//! for granted.

use std::{os::unix::fs::MetadataExt, path::PathBuf, process::Command, time::Duration};

use bursar_jobs::{
    base::clock,
    inbox::{self, envelope::Envelope},
};
use nix::unistd::{Uid, User};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection, PgPool, postgres::PgPoolOptions};

use crate::{
    sandbox::client::Client as Sandbox,
    support::{Child, Database, bursar, database, eventually, program::clear_environment, scratch},
};

/// The first that knows prepared statements in transaction mode.
const OLDEST: (u32, u32) = (1, 21);
/// Of the server's, for everybody.
const CONNECTIONS: u32 = 4;
const JOBS: usize = 40;
const SOON: Duration = Duration::from_mins(1);

/// The program, where this machine has one that is new enough; `.ci/pgbouncer` makes one.
fn program() -> Option<PathBuf> {
    let made = concat!(env!("CARGO_MANIFEST_DIR"), "/target/tools/pgbouncer");
    [made, "/usr/sbin/pgbouncer", "/usr/bin/pgbouncer"].map(PathBuf::from).into_iter().find(|program| {
        let Ok(said) = Command::new(program).arg("--version").output() else { return false };
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        let version = said.lines().next().unwrap_or_default().trim_start_matches("PgBouncer ");
        let mut numbers = version.split('.').map_while(|number| number.parse().ok());
        (numbers.next(), numbers.next()) >= (Some(OLDEST.0), Some(OLDEST.1))
    })
}

/// A PgBouncer before a database, until it is dropped.
struct Pooler {
    url: String,
    _process: Child,
    _folder: crate::support::program::Scratch,
}

impl Pooler {
    async fn before(url: &str) -> Option<Self> {
        let Some(program) = program() else {
            println!(
                "SKIPPED: no PgBouncer 1.21 or newer on this machine (`.ci/pgbouncer` makes one): no pooler was tried"
            );
            return None;
        };
        let (name, socket) = url.split_once("localhost/").unwrap().1.split_once("?host=").unwrap();
        let socket = socket.replace("%2F", "/");
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = scratch();
        let settings = format!(
            "[databases]\n{name} = host={socket} user=postgres\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n\
             pool_mode = transaction\ndefault_pool_size = {CONNECTIONS}\nmax_client_conn = 500\nmax_prepared_statements = 200\n\
             ignore_startup_parameters = extra_float_digits\n"
        );
        let file = folder.join("pgbouncer.ini");
        std::fs::write(&file, settings).unwrap();
        let mut command = Command::new(program);
        // It does not run as root; the owner of the socket's folder may look into it.
        if Uid::effective().is_root() {
            let owner = Uid::from_raw(std::fs::metadata(&socket).unwrap().uid());
            command.args(["-u", &User::from_uid(owner).unwrap().unwrap().name]);
        }
        let log = std::fs::File::create(folder.join("log")).unwrap();
        let process = Child::spawn(clear_environment(&mut command).arg(file).stderr(log));
        let url = format!("postgres://postgres@127.0.0.1:{port}/{name}");
        eventually(Duration::from_secs(10), || async {
            let said = std::fs::read_to_string(folder.join("log")).unwrap();
            PgConnection::connect(&url)
                .await
                .map_err(|error| format!("{error}: {said}"))?
                .close()
                .await
                .map_err(|e| e.to_string())
        })
        .await;
        Some(Self { url, _process: process, _folder: folder })
    }

    async fn pool(&self) -> PgPool {
        PgPoolOptions::new().max_connections(10).connect(&self.url).await.unwrap()
    }
}

async fn count(db: &Database, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(&db.pool).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_migrations_at_once_through_a_pooler_leave_one_schema_and_no_lock() {
    let db = database().await;
    let Some(pooler) = Pooler::before(&db.url).await else { return };
    sqlx::raw_sql("DROP SCHEMA bursar CASCADE; DROP SCHEMA apalis CASCADE").execute(&db.pool).await.unwrap();
    let migrate = || Child::spawn(bursar(&["migrate"]).env("DATABASE_URL", &pooler.url));
    let [mut one, mut two] = [migrate(), migrate()];
    for process in [&mut one, &mut two] {
        eventually(SOON, || {
            let ended = process.try_wait().unwrap();
            async move { ended.map(|ended| assert!(ended.success())).ok_or("it still runs") }
        })
        .await;
    }
    assert!(bursar::migrate::is_current(&db.pool).await.unwrap());
    let locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'
                 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    assert_eq!(count(&db, locks).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_works_through_a_pooler_and_a_killed_worker_doubles_nothing() {
    let (db, stripe) = (database().await, Sandbox::start().await);
    let Some(pooler) = Pooler::before(&db.url).await else { return };
    let command = |args: &[&str]| {
        let mut command = bursar(args);
        command.env("DATABASE_URL", &pooler.url).env("BURSAR_DATABASE__LISTEN_URL", &db.url);
        command.env("STRIPE_SECRET_KEY", &stripe.0.key).env("STRIPE_API_BASE", &stripe.0.url);
        command.env("BURSAR_METRICS__WORKER_PORT", "0");
        command
    };
    let form = "type=express&capabilities[transfers][requested]=true&metadata[user_id]=bob";
    let account = stripe.post("/v1/accounts", form).await.id();
    stripe.post(&format!("/_sandbox/accounts/{account}"), r#"{"state":"active"}"#).await;
    let form = format!("amount={}&currency=usd&source=tok_bypassPending", 100 * JOBS);
    assert_eq!(stripe.post("/v1/charges", &form).await.status, 200);

    // What web does, by the same door and through the pooler: bought credits, and verified jobs, both told twice.
    let pool = pooler.pool().await;
    let bought: Value = serde_json::from_str(include_str!("../fixtures/checkout.session.completed.json")).unwrap();
    let mut telling = tokio::task::JoinSet::new();
    for n in (0..JOBS).chain(0..JOBS) {
        let (pool, mut bought) = (pool.clone(), bought.clone());
        telling.spawn(async move {
            bought["id"] = json!(format!("evt_{n}"));
            bought["data"]["object"]["id"] = json!(format!("cs_{n}"));
            let body = serde_json::to_vec(&bought).unwrap();
            inbox::receive(&pool, &Envelope::stripe(&body).unwrap(), &body).await.unwrap();
            let data =
                json!({"job_id": format!("job_{n}"), "skill": "research", "receiver_id": "bob", "sender_id": "alice"});
            let verified = json!({"type": "job.verified", "timestamp": clock::now().to_rfc3339(), "data": data});
            let (id, body) = (format!("msg_{n}"), serde_json::to_vec(&verified).unwrap());
            inbox::receive(&pool, &Envelope::verification(&id, &body).unwrap(), &body).await
        });
    }
    // The same id with another second in its body is refused, and nothing else.
    drop(telling.join_all().await);
    let event = json!({"id": "evt_account", "object": "event", "type": "account.updated", "livemode": false, "account": account,
                       "data": {"object": {"id": account, "object": "account"}}});
    let body = serde_json::to_vec(&event).unwrap();
    inbox::receive(&pool, &Envelope::stripe(&body).unwrap(), &body).await.unwrap();

    let mut killed = Child::spawn(&mut command(&["worker"]));
    let _other = Child::spawn(&mut command(&["worker"]));
    eventually(SOON, || async {
        let done = count(&db, "SELECT count(*) FROM bursar.job WHERE state = 'done'").await;
        if done > 20 { Ok(()) } else { Err(format!("{done} done")) }
    })
    .await;
    killed.kill().unwrap();
    // What the killed worker had begun is tried again after a while: it is scheduled meanwhile.
    eventually(Duration::from_mins(2), || async {
        let open = "SELECT count(*) FROM bursar.job WHERE kind IN ('grant_purchase', 'record_payout', 'pay_receiver') AND state <> 'done'";
        let open = count(&db, open).await;
        let paid = count(&db, "SELECT count(*) FROM bursar.payout WHERE state = 'paid'").await;
        let granted = count(&db, "SELECT count(*) FROM bursar.posting WHERE kind = 'purchase'").await;
        if (open, paid, granted) == (0, 40, 40) { Ok(()) } else { Err(format!("{open} open, {paid} paid, {granted} granted")) }
    })
    .await;
    assert_eq!(stripe.transfers().await, JOBS);
    assert_eq!(count(&db, "SELECT count(*) FROM bursar.job WHERE state = 'dead'").await, 0);
    let ask = |args: &[&str]| {
        let said = command(args).output().unwrap();
        assert!(said.status.success(), "{args:?}: {}", String::from_utf8_lossy(&said.stderr));
        String::from_utf8(said.stdout).unwrap()
    };
    let balance = ask(&["credits", "balance", "alice", "--json"]);
    assert!(balance.contains("\"balance\":\"8000\""), "{balance}");
    assert!(ask(&["credits", "spend", "alice", "2", "--key", "s1", "--json"]).contains("s1"));
    assert_eq!(ask(&["payouts", "list", "--state", "paid", "--limit", "100", "--json"]).lines().count(), JOBS);
    assert!(ask(&["ledger", "verify", "--json"]).contains("\"violations\":[]"));
    let sessions =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'bursar'
                    AND query NOT LIKE 'LISTEN%'";
    assert!(count(&db, sessions).await <= i64::from(CONNECTIONS), "all went through the pooler");
}
