//! The console in a real browser: Chromium, driven by playwright-core. Without either, the test says so and stops.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use bursar_jobs::desk::access::Role;
use serde_json::Value;

use super::Desk;
use crate::support::{Child, bursar, eventually, scratch};

const PLAYWRIGHT: &str = "1.65.1";
/// Looked at for contrast, and at a phone's width.
const PAGES: &[&str] = &[
    "/",
    "/jobs?state=done",
    "/payouts",
    "/payouts/job_a_rather_long_name_of_a_job_for_a_phone",
    "/payouts/job_2",
    "/jobs?state=dead",
    "/dunning",
    "/dunning/in_failed",
    "/reconcile",
    "/reconcile/2026-01.1",
    "/events",
    "/event-types",
    "/events/evt_1",
    "/accounts",
    "/accounts/user_1",
    "/subscriptions",
    "/subscriptions/sub_1",
    "/schedules",
    "/audit",
];
const PATIENCE: Duration = Duration::from_mins(4);

/// A browser of this machine.
fn chromium() -> Option<PathBuf> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .flat_map(|folder| names.map(|name| folder.join(name)))
        .find(|program| program.is_file())
}

/// The folder that has playwright-core, fetched once.
fn playwright() -> Result<PathBuf, String> {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let folder = cache.join(format!("playwright-core-{PLAYWRIGHT}"));
    if !folder.exists() {
        let begun = cache.join(format!("playwright-core.{}", std::process::id()));
        let mut npm = Command::new("npm");
        npm.args([
            "install",
            "--no-save",
            "--no-audit",
            "--no-fund",
            "--ignore-scripts",
            "--fetch-retries=1",
            "--prefix",
        ]);
        npm.arg(&begun).arg(format!("playwright-core@{PLAYWRIGHT}")).stdin(Stdio::null());
        let said = npm.output().map_err(|error| format!("npm does not run: {error}"))?;
        if !said.status.success() {
            drop(fs::remove_dir_all(&begun));
            return Err(format!("npm: {}", String::from_utf8_lossy(&said.stderr)));
        }
        if fs::rename(&begun, &folder).is_err() {
            drop(fs::remove_dir_all(&begun));
        }
    }
    Ok(folder)
}

#[tokio::test]
async fn an_operator_finds_reads_tries_and_retries_by_keyboard() {
    let Some(chromium) = chromium() else {
        println!("SKIPPED: no Chromium on this machine (apt install chromium): the console was not seen in a browser");
        return;
    };
    let playwright = match playwright() {
        Ok(folder) => folder,
        Err(why) => {
            println!("SKIPPED: playwright-core is not to be had: the console was not seen in a browser. {why}");
            return;
        }
    };
    let desk = Desk::open().await;
    plant(&desk).await;
    let _worker = Child::spawn(
        bursar(&["worker"])
            .env("DATABASE_URL", &desk.db.url)
            .env("STRIPE_PRICE_PRO", "price_new")
            .env("BURSAR_STRIPE__LIVEMODE", "false")
            .stdout(Stdio::null())
            .stderr(Stdio::null()),
    );
    eventually(super::shop::SOON, || async {
        let alive = "SELECT count(*) FROM apalis.workers WHERE lease_until > clock_timestamp()";
        let alive: i64 = sqlx::query_scalar(alive).fetch_one(&desk.db.pool).await.map_err(|e| e.to_string())?;
        if alive > 0 { Ok(()) } else { Err("no worker yet".to_owned()) }
    })
    .await;
    let home = scratch();
    let shots = std::env::var_os("BURSAR_SCREENSHOTS").map_or_else(|| home.to_path_buf(), PathBuf::from);
    // A script imports what stands in a folder above it.
    let script = playwright.join("browser.mjs");
    fs::write(&script, include_str!("browser.mjs")).unwrap();
    let mut node = tokio::process::Command::new("node");
    node.arg(&script)
        .env("BASE", format!("http://{}", desk.address))
        .env("TOKEN", desk.token("olga", Role::Operator).await)
        .env("VIEWER", desk.token("vera", Role::Viewer).await)
        .env("SHOTS", &shots)
        .env("PAGES", PAGES.join(" "))
        .env("CHROMIUM", chromium)
        .env("HOME", &*home)
        .kill_on_drop(true);
    let ended = tokio::time::timeout(PATIENCE, node.output()).await.expect("the browser ends in time").unwrap();
    let (said, complained) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert!(ended.status.success(), "{said}\n{complained}");
    let mut seen = serde_json::Map::new();
    for line in said.lines() {
        seen.extend(
            serde_json::from_str::<serde_json::Map<String, Value>>(line).unwrap_or_else(|e| panic!("{e}: {line}")),
        );
    }
    let has = |what: &str, words: &str| {
        let text = seen[what].as_str().unwrap();
        assert!(text.contains(words), "{words:?} is missing in {text}");
    };
    has("why", "price_new sells no tier");
    has("risk", "is safe: nothing has come of it (19.00 USD)");
    has("dry", "250 jobs match: 250 refill_tier");
    has("dry", "4750.00 USD");
    has("bulk", "250 of 250 changed");
    has("state", "done");
    let (time, at) = (seen["time"].as_str().unwrap(), seen["at"].as_str().unwrap());
    assert!(!time.contains("UTC") && at.ends_with('Z'), "{time} {at}");
    assert_eq!(seen["viewerButtons"], 0);
    has("zone", "Times are in Asia/Tokyo (UTC+9)");
    assert_eq!(seen["wide"], serde_json::json!([]));
    assert_eq!(seen["hidden"], serde_json::json!([]));
    has("found", "Found by state paid");
    assert_eq!(seen["poor"], serde_json::json!([]));
    let granted: i64 = sqlx::query_scalar("SELECT count(*) FROM bursar.posting WHERE kind = 'refill'")
        .fetch_one(&desk.db.pool)
        .await
        .unwrap();
    assert_eq!(granted, 250, "each once");
}

/// Ten thousand dead jobs; two hundred and fifty of them are refills whose price was not in the settings.
async fn plant(desk: &Desk) {
    let invoice = r#"{"id": "evt_%1$s", "type": "invoice.paid", "created": 1790000000, "livemode": false, "api_version": "2024-06-20",
        "data": {"object": {"id": "in_%1$s", "object": "invoice", "status": "paid", "paid": true, "customer": "cus_%1$s", "currency": "usd",
        "amount_paid": 1900, "subscription": "sub_%1$s", "billing_reason": "subscription_cycle",
        "subscription_details": {"metadata": {"user_id": "user_%1$s"}}, "lines": {"has_more": false, "data": [{"id": "il_%1$s",
        "object": "line_item", "amount": 1900, "quantity": 1, "proration": false, "subscription": "sub_%1$s", "type": "subscription",
        "price": {"id": "price_new"}, "period": {"start": 1790000000, "end": 1792592000}}]}}}}"#;
    let received =
        "SELECT bursar.receive('stripe', 'evt_' || n, 'invoice.paid', now(), false, '2024-06-20', NULL, 'in_' || n,
                        convert_to(format($1, n), 'UTF8'), 'refill_tier', 10) FROM generate_series(1, 250) n";
    sqlx::query(received).bind(invoice).execute(&desk.db.pool).await.unwrap();
    let others = "SELECT bursar.enqueue(jsonb_agg(jsonb_build_object('kind', 'note_event', 'key', 'other' || n, 'args', '{}'::jsonb, 'max_attempts', 3)))
                  FROM generate_series(1, 9750) n";
    sqlx::query(others).execute(&desk.db.pool).await.unwrap();
    let died = "UPDATE apalis.jobs SET status = 'Failed', attempts = 1, done_at = bursar.now() - random() * interval '50 minutes',
                    reason = CASE job_type WHEN 'refill_tier' THEN 'a user paid for price_new sells no tier: add it to a tier''s prices' ELSE 'its arguments cannot be read' END";
    sqlx::query(died).execute(&desk.db.pool).await.unwrap();
    // A user of whom there is something in every part of their page.
    desk.plant(
        "INSERT INTO bursar.subscription (id, user_id, status, tier, price, quantity, plan_value, cancel_at_period_end, access_until, lapses_at, asked_at)
         VALUES ('sub_1', 'user_1', 'past_due', 'pro', 'price_new', 1, 150000000, true, now() + interval '3 days', now() + interval '4 days', now());
         INSERT INTO bursar.service_month (subscription_id, start_at, end_at, user_id, value, left_over, refill_key)
         VALUES ('sub_1', now() - interval '40 days', now() - interval '9 days', 'user_1', 150000000, 0, 'refill:old');
         INSERT INTO bursar.plan_change (subscription_id, at, old_value, new_value) VALUES ('sub_1', now() - interval '20 days', 0, 150000000);
         INSERT INTO bursar.charge (id, amount, currency, asked_at) VALUES ('ch_1', 1900, 'usd', now());
         INSERT INTO bursar.dispute (id, charge, amount, currency, status, created_at, user_id) VALUES ('du_1', 'ch_1', 1900, 'usd', 'under_review', now(), 'user_1');
         INSERT INTO bursar.customer (id, user_id, email) VALUES ('cus_a', 'user_1', 'user_1@example.com');
         INSERT INTO bursar.receiver (user_id, account_id, state) VALUES ('user_1', 'acct_1', 'restricted');
         INSERT INTO bursar.payout (job_id, receiver_id, sender_id, skill, credits, amount, currency, state, transfer_id)
         SELECT 'job_of_a_rather_long_name_' || n, 'user_1', 'user_2', 'research', 2000000, 100, 'usd', state, 'tr_1NirD82eZvKYlo2CIvbtLWuY' || n
         FROM unnest(ARRAY['held', 'unknown', 'paid', 'rejected', 'skipped']) WITH ORDINALITY AS s (state, n);
         SELECT bursar.post(jsonb_agg(jsonb_build_object('key', 'admin:' || n, 'kind', 'admin_grant', 'debit', 'issuance', 'credit', 'user:user_1',
             'unit', 'credits', 'amount', 2500000, 'event_id', 'evt_1', 'ref', 'in_1', 'actor', 'anna', 'why', 'an outage'))) FROM generate_series(1, 60) n",
    )
    .await;
    let tried = "INSERT INTO bursar.attempt (job_id, attempt, worker, started_at, ended_at, outcome, reason)
                 SELECT id, 1, 'worker-7', done_at - interval '40 ms', done_at, 'dead', reason FROM apalis.jobs ORDER BY done_at";
    sqlx::query(tried).execute(&desk.db.pool).await.unwrap();
    sqlx::raw_sql(MONEY).execute(&desk.db.pool).await.unwrap();
}

/// Something for each room about money to show. No worker has anything to do with it.
const MONEY: &str = "
    INSERT INTO bursar.payout (job_id, receiver_id, skill, credits, amount, currency, state, transfer_id, reason) VALUES
        ('job_a_rather_long_name_of_a_job_for_a_phone', 'bob', 'research', 1, 100, 'usd', 'rejected', NULL, 'Stripe refused it: No such destination: acct_1234567890abcdef'),
        ('job_2', 'bob', 'research', 1, 900, 'usd', 'unknown', NULL, 'no answer'), ('job_3', 'bob', 'research', 1, 900, 'usd', 'paid', 'tr_1234567890', NULL);
    INSERT INTO bursar.intent (subject, generation, idempotency_key, request, fingerprint, state) VALUES ('payout:job_2', 1, 'payout:job_2:1', '{}', 'f', 'unknown');
    INSERT INTO bursar.call (subject, intent_id, job_id, attempt, what, begun_at, answered_at, answer)
        SELECT i.subject, i.id, '01993c5e-7a00-7cc3-8c4e-0a8b7d6f1e2d', n, 'send', bursar.now() - (30 - n) * interval '4 minutes', bursar.now(), 'unknown: the connection broke before an answer came'
        FROM generate_series(1, 25) n, bursar.intent i ORDER BY n;
    INSERT INTO bursar.dunning_case (invoice_id, subscription_id, user_id, state, failed_at, amount, currency, schedule)
        VALUES ('in_failed', 'sub_failed', 'alice', 'stopped', bursar.now() - interval '4 days', 1900, 'usd', '{\"final\": \"cancel\"}');
    INSERT INTO bursar.dunning_step (invoice_id, step, day, due_at, state, outcome)
        VALUES ('in_failed', 'letter:0', 0, bursar.now() - interval '4 days', 'done', 'sent'), ('in_failed', 'retry:3', 3, bursar.now(), 'skipped', 'stopped');
    INSERT INTO bursar.reconciliation (id, month, asked_by, state, phase, objects, ended_at)
        VALUES ('2026-01.1', '2026-01-01', 'schedule', 'done', 'done', 1234, bursar.now());
    INSERT INTO bursar.finding (run, type, object, user_id, amount, unit, evidence, automatic, remedy)
        VALUES ('2026-01.1', 'missing_grant', 'in_1234567890abcdefghijkl', 'alice', 150000000, 'credits', '{}', true, 'bursar reconcile --repair')";
