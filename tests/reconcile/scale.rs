//! Many objects: bounded memory, bounded time. A stub lists as many paid invoices and charges as it is told to, a hundred a page.

use std::{net::Ipv4Addr, time::Duration};

use chrono::{DateTime, NaiveDate, Utc};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

use crate::support::{Child, bursar, database, eventually};

/// Paid invoices in the month, and as many charges.
const OBJECTS: usize = 4_000;
/// Of all invoices, each of these was never granted.
const MISSING: usize = 1_000;
/// More than a worker may ever take, in kB.
const MOST_MEMORY: u64 = 100 * 1024;

fn month() -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 10, 1).unwrap()
}

/// When all of it was paid.
fn paid_at() -> DateTime<Utc> {
    "2026-10-09T10:00:00Z".parse().unwrap()
}

fn invoice(n: usize) -> Value {
    let at = paid_at().timestamp();
    let details = json!({ "subscription": format!("sub_{n}"), "metadata": { "user_id": format!("user_{n}") } });
    // As long as Stripe's own are, for memory's sake.
    json!({ "id": format!("in_{n}"), "object": "invoice", "status": "paid", "livemode": false, "created": at, "currency": "usd",
        "amount_paid": 1900, "customer": format!("cus_{n}"), "metadata": {}, "description": "x".repeat(3000),
        "status_transitions": { "paid_at": at }, "parent": { "type": "subscription_details", "subscription_details": details },
        "lines": { "object": "list", "has_more": false, "data": [{ "id": format!("il_{n}"), "object": "line_item", "amount": 1900,
            "quantity": 1, "period": { "start": at, "end": at + 2_678_400 }, "metadata": {}, "description": "y".repeat(1000),
            "pricing": { "type": "price_details", "price_details": { "price": "price_pro" } },
            "parent": { "type": "subscription_item_details",
                        "subscription_item_details": { "subscription": format!("sub_{n}"), "proration": false } } }] } })
}

fn charge(n: usize) -> Value {
    json!({ "id": format!("ch_{n}"), "object": "charge", "amount": 1900, "currency": "usd", "livemode": false, "amount_refunded": 0,
            "disputed": false, "payment_intent": format!("pi_{n}"), "description": "z".repeat(3000) })
}

/// Answers a list's page; whatever else is asked for is empty.
async fn serve(stream: TcpStream, objects: usize) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head).await.ok()? == 0 {
                return None;
            }
        }
        let path = head.split(' ').nth(1)?;
        let after = path.split_once("starting_after=").map(|(_, rest)| rest.split('&').next().unwrap_or_default());
        let from: usize = match after.and_then(|id| id.split_once('_')) {
            Some((_, n)) => n.parse::<usize>().ok()? + 1,
            None => 0,
        };
        let of: Option<fn(usize) -> Value> = match path.split('?').next()? {
            "/v1/invoices" => Some(invoice),
            "/v1/charges" => Some(charge),
            _ => None,
        };
        let to = if of.is_some() { (from + 100).min(objects) } else { from };
        let data: Vec<Value> = of.map(|of| (from..to).map(of).collect()).unwrap_or_default();
        let more = of.is_some() && to < objects;
        let body = json!({ "object": "list", "data": data, "has_more": more }).to_string();
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all(format!("{head}{body}").as_bytes()).await.ok()?;
    }
}

/// The most memory that a process has had, in kB.
fn peak(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Compares so many; the seconds that it took, and the most memory before and after.
async fn compare(objects: usize) -> (f64, u64, u64) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, objects));
        }
    });
    let db = database().await;
    // All but a few were granted, in the month.
    sqlx::query("INSERT INTO bursar.account (name, unit, derived) SELECT 'user:user_' || n, 'credits', false FROM generate_series(0, $1 - 1) n")
        .bind(i32::try_from(objects).unwrap())
        .execute(&db.pool)
        .await
        .unwrap();
    sqlx::query(
        "INSERT INTO bursar.posting (key, kind, debit, credit, amount, ref, posted_at)
         SELECT 'refill:sub_' || n || ':pro:2026-10-09T10:00:00Z', 'refill', i.id, u.id, 150000000, 'in_' || n, $2
         FROM generate_series(0, $1 - 1) n JOIN bursar.account u ON u.name = 'user:user_' || n
         JOIN bursar.account i ON i.name = 'issuance' WHERE n % $3 <> 7",
    )
    .bind(i32::try_from(objects).unwrap())
    .bind(paid_at())
    .bind(i32::try_from(MISSING).unwrap())
    .execute(&db.pool)
    .await
    .unwrap();
    sqlx::query("ANALYZE").execute(&db.pool).await.unwrap();
    let mut command = bursar(&["worker"]);
    command.env("DATABASE_URL", &db.url).env("STRIPE_SECRET_KEY", "sk_test_0123456789abcdef");
    command.env("STRIPE_API_BASE", &url).env("STRIPE_PRICE_PRO", "price_pro");
    command.stderr(std::process::Stdio::null()).stdout(std::process::Stdio::null());
    let worker = Child::spawn(&mut command);
    eventually(Duration::from_secs(30), || async {
        let alive: bool =
            sqlx::query_scalar("SELECT EXISTS (SELECT FROM apalis.workers WHERE lease_until > clock_timestamp())")
                .fetch_one(&db.pool)
                .await
                .unwrap();
        alive.then_some(()).ok_or("no worker yet")
    })
    .await;
    let before = peak(worker.id());
    let begun = std::time::Instant::now();
    let mut tx = db.pool.begin().await.unwrap();
    let run = bursar_jobs::reconciliation::begin(&mut tx, month(), "tester", None).await.unwrap().run;
    tx.commit().await.unwrap();
    eventually(Duration::from_secs(500), || async {
        let (state, phase, compared): (String, String, i64) =
            sqlx::query_as("SELECT state, phase, objects FROM bursar.reconciliation WHERE id = $1")
                .bind(&run)
                .fetch_one(&db.pool)
                .await
                .unwrap();
        if state == "done" { Ok(()) } else { Err((state, phase, compared)) }
    })
    .await;
    let took = begun.elapsed().as_secs_f64();
    let (compared, found): (i64, i64) = sqlx::query_as(
        "SELECT r.objects, (SELECT count(*) FROM bursar.finding f WHERE f.run = r.id AND f.type = 'missing_grant') FROM bursar.reconciliation r",
    )
    .fetch_one(&db.pool)
    .await
    .unwrap();
    assert_eq!((compared, found), (i64::try_from(2 * objects).unwrap(), i64::try_from(objects / MISSING).unwrap()));
    let all: i64 = sqlx::query_scalar("SELECT count(*) FROM bursar.finding").fetch_one(&db.pool).await.unwrap();
    assert_eq!(all, found, "and nothing else");
    (took, before, peak(worker.id()))
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_objects_take_no_more_memory_than_a_page() {
    let objects = std::env::var("RECONCILE_OBJECTS").map_or(OBJECTS, |n| n.parse().unwrap());
    let (took, before, after) = compare(objects).await;
    eprintln!("{} objects in {took:.1} s: {before} kB before, {after} kB at most", 2 * objects);
    assert!(after < MOST_MEMORY, "{after} kB");
}
