//! A neighbour who may create in `public`: an operator or a function there that fits better than PostgreSQL's own would run as whoever
//! uses it. Nothing of ours may find one.

use std::{fs, path::Path, sync::Arc, time::Duration};

use bursar::{queue, stop};
use bursar_jobs::{
    base::credits::Credits,
    inbox::{self, Received, envelope::Envelope},
    ledger::{self, Spent},
};
use serde_json::{Value, json};
use sqlx::{
    AssertSqlSafe, Connection, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use crate::{
    api::shop,
    jobs::{CHECKOUT, INVOICE, event, terms},
    support::{Child, bursar, database, eventually},
    web::client::{Client, stripe_signature},
};

const SECRET: &str = "whsec_fedcba9876543210fedcba9876543210";
const SOON: Duration = Duration::from_mins(1);

/// A database full of traps, as the product sees it, and its URL.
struct Trapped {
    pool: PgPool,
    url: String,
    /// Connections of the test's own, which look names up among PostgreSQL's alone.
    eyes: PgPool,
}

impl Trapped {
    async fn new() -> Self {
        let db = database().await;
        sqlx::raw_sql(include_str!("support/traps.sql")).execute(&db.pool).await.unwrap();
        let options: PgConnectOptions = db.url.parse().unwrap();
        let eyes = PgPoolOptions::new()
            .max_connections(2)
            .connect_with(options.options([("search_path", "pg_catalog,pg_temp")]))
            .await
            .unwrap();
        Self { pool: db.pool, url: db.url, eyes }
    }
}

#[tokio::test]
async fn every_function_of_ours_looks_names_up_among_postgresqls_own_alone() {
    let db = database().await;
    let open: Vec<String> = sqlx::query_scalar(
        "SELECT p.oid::regprocedure::text FROM pg_proc p WHERE p.pronamespace IN ('bursar'::regnamespace, 'apalis'::regnamespace)
           AND NOT coalesce('search_path=pg_catalog, pg_temp' = ANY (p.proconfig), false)",
    )
    .fetch_all(&db.pool)
    .await
    .unwrap();
    assert!(open.is_empty(), "end each with SET search_path = pg_catalog, pg_temp: {open:?}");
}

/// The SQL name of a parameter's type, from what the checked statements say.
fn parameter(name: &Value) -> String {
    let name = name.as_str().unwrap_or_else(|| panic!("{name} is no type that this test knows"));
    name.strip_suffix("Array").map_or_else(|| name.to_owned(), |of| format!("{of}[]"))
}

/// Each checked statement becomes the body of a function, which PostgreSQL reads at once, noting what it refers to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_checked_statement_finds_what_a_neighbour_made() {
    let db = Trapped::new().await;
    let mut reader = PgConnection::connect(&db.url).await.unwrap();
    sqlx::raw_sql("CREATE SCHEMA audit").execute(&mut reader).await.unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(".sqlx");
    let (mut read, mut found) = (0, Vec::new());
    for file in fs::read_dir(folder).unwrap() {
        let statement: Value = serde_json::from_slice(&fs::read(file.unwrap().path()).unwrap()).unwrap();
        let query = statement["query"].as_str().unwrap();
        if query.starts_with("SET ") {
            continue;
        }
        let parameters = statement["describe"]["parameters"]["Left"].as_array().cloned().unwrap_or_default();
        let parameters: Vec<String> = parameters.iter().map(parameter).collect();
        let made = format!(
            "CREATE FUNCTION audit.statement_{read} ({}) RETURNS void LANGUAGE sql BEGIN ATOMIC {query}\n; END",
            parameters.join(", ")
        );
        read += 1;
        if let Err(error) = sqlx::raw_sql(AssertSqlSafe(made)).execute(&mut reader).await {
            found.push(format!("{error}: {query}"));
        }
    }
    assert!(read > 300, "only {read} statements are there");
    let strange: Vec<(String, String)> = sqlx::query_as(
        "SELECT pg_describe_object(d.refclassid, d.refobjid, 0), pg_get_function_sqlbody(p.oid)
         FROM pg_depend d JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid AND p.pronamespace = 'audit'::regnamespace
         WHERE (d.refclassid = 'pg_operator'::regclass AND d.refobjid IN (SELECT o.oid FROM pg_operator o WHERE o.oprnamespace = 'public'::regnamespace))
            OR (d.refclassid = 'pg_proc'::regclass AND d.refobjid IN (SELECT f.oid FROM pg_proc f WHERE f.pronamespace = 'public'::regnamespace))",
    )
    .fetch_all(&db.eyes)
    .await
    .unwrap();
    found.extend(strange.into_iter().map(|(what, query)| format!("{what}: {query}")));
    assert!(found.is_empty(), "{} statements find what is not PostgreSQL's:\n{}", found.len(), found.join("\n\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn web_the_money_jobs_spends_and_pages_go_through_a_database_full_of_traps() {
    let db = Trapped::new().await;
    // They are traps indeed.
    let caught = sqlx::query("SELECT 1::bigint * interval '1 second'").execute(&db.pool).await.unwrap_err();
    assert!(caught.to_string().contains("trap: an operator"), "{caught}");

    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut web = bursar(&["web"]);
    web.env("DATABASE_URL", &db.url).env("PORT", address.port().to_string()).env("HOST", "127.0.0.1");
    web.env("STRIPE_WEBHOOK_SECRET", SECRET)
        .env("BURSAR_WEB__VERIFICATIONS", "false")
        .env("BURSAR_METRICS__WEB_PORT", "0");
    let _web = Child::spawn(&mut web);
    eventually(SOON, || async { tokio::net::TcpStream::connect(address).await.map(drop) }).await;
    for (nth, body) in
        [event(CHECKOUT, "evt_1", &[]), event(INVOICE, "evt_2", &[]), event(CHECKOUT, "evt_3", &[])].iter().enumerate()
    {
        let body = body.to_string();
        let mut client = Client::connect(address).await;
        let reply = client.post("/api/stripe/webhook", &[stripe_signature(SECRET, &body)], &body).await;
        assert_eq!(reply.status, 200, "{nth}: {}", reply.body);
    }
    let verified = json!({"type": "job.verified", "timestamp": "2026-11-01T09:45:00Z",
        "data": {"job_id": "job-1", "skill": "research", "receiver_id": "bob", "sender_id": "alice"}});
    let verified = verified.to_string().into_bytes();
    let received = inbox::receive(&db.pool, &Envelope::verification("msg_1", &verified).unwrap(), &verified).await;
    assert_eq!(received.unwrap(), Received::New);

    let (stopper, stop) = stop::channel();
    let worker = tokio::spawn(queue::run(db.pool.clone(), queue::Options::default(), Arc::new(terms()), stop));
    eventually(SOON, || async {
        let open: Vec<(String, String)> =
            sqlx::query_as("SELECT kind, state FROM bursar.job WHERE state IN ('ready', 'running')")
                .fetch_all(&db.eyes)
                .await
                .unwrap();
        if open.is_empty() { Ok(()) } else { Err(open) }
    })
    .await;
    stopper.stop();
    worker.await.unwrap().unwrap();
    let failed: Vec<(String, Option<String>)> =
        sqlx::query_as("SELECT outcome, reason FROM bursar.attempt WHERE outcome NOT IN ('done', 'skip', 'snooze')")
            .fetch_all(&db.eyes)
            .await
            .unwrap();
    assert!(failed.is_empty(), "{failed:?}");
    let credits = |whole| Credits::whole(whole).unwrap();
    let before = ledger::balance(&db.pool, "alice").await.unwrap();
    assert_eq!(before, credits(350), "a package and a month of its tier");
    let taken = ledger::spend(&db.pool, "alice", credits(2), "k", None, None).await.unwrap();
    assert!(matches!(taken, Spent::Done { balance, .. } if balance == credits(348)), "{taken:?}");

    let (api, _stopper) = shop::serve(&db.pool, |_| {}).await;
    let spend = json!({"user_id": "alice", "skill": "research", "key": "one"});
    let reply = shop::post(api, "/api/credits/spend", &spend, None).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    let anna = crate::console::enter(api, &db.eyes, "anna", bursar_jobs::desk::access::Role::Payer).await;
    for page in [
        "/",
        "/jobs",
        "/jobs?text=x",
        "/payouts",
        "/dunning",
        "/reconcile",
        "/events",
        "/event-types",
        "/accounts",
        "/accounts/alice",
        "/subscriptions",
        "/schedules",
        "/audit",
    ] {
        anna.sees(page, &[]).await;
    }
    for command in [
        &["ledger", "verify"][..],
        &["jobs", "list"],
        &["credits", "history", "alice"],
        &["payouts", "list"],
        &["schedule", "list"],
    ] {
        let done = bursar(command).env("DATABASE_URL", &db.url).output().unwrap();
        assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
    }
}
