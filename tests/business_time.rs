//! Business time: moved where Stripe is a sandbox, and nowhere else; leases do not know of it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use sqlx::{PgPool, Row};

use crate::{
    dev_run::{Folder, said},
    support::database,
};

/// What the database says to a statement that it refuses.
async fn refused(pool: &PgPool, statement: &'static str) -> String {
    sqlx::query(statement).execute(pool).await.expect_err("it is to be refused").to_string()
}

async fn done(pool: &PgPool, statement: &'static str) {
    sqlx::query(statement).execute(pool).await.unwrap();
}

const MOVE: &str = "INSERT INTO bursar.clock (ahead) VALUES ('31 days')
                    ON CONFLICT (one) DO UPDATE SET ahead = excluded.ahead";

#[tokio::test]
async fn only_a_sandboxs_database_is_moved_and_it_stays_one() {
    let db = database().await;
    assert!(refused(&db.pool, MOVE).await.contains("only where Stripe is a sandbox"), "nothing is known of it yet");
    for mode in ["live", "test"] {
        let says = "INSERT INTO bursar.setting (name, value) VALUES ('stripe', $1) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
        sqlx::query(says).bind(mode).execute(&db.pool).await.unwrap();
        assert!(refused(&db.pool, MOVE).await.contains("only where Stripe is a sandbox"), "{mode}");
        for statement in ["UPDATE bursar.setting SET value = 'sandbox'", "DELETE FROM bursar.setting"] {
            assert!(refused(&db.pool, statement).await.contains("no sandbox's"), "{mode}: {statement}");
        }
    }
    let db = database().await;
    done(&db.pool, "INSERT INTO bursar.setting (name, value) VALUES ('stripe', 'sandbox')").await;
    done(&db.pool, MOVE).await;
    assert!(refused(&db.pool, "UPDATE bursar.clock SET ahead = '1 day'").await.contains("does not go back"));
    for statement in ["UPDATE bursar.setting SET value = 'live'", "DELETE FROM bursar.setting"] {
        assert!(refused(&db.pool, statement).await.contains("for good"), "{statement}");
    }
    for statement in ["TRUNCATE bursar.setting", "TRUNCATE bursar.clock", "DELETE FROM bursar.clock"] {
        let said = refused(&db.pool, statement).await;
        assert!(said.contains("is not forgotten") || said.contains("does not go back"), "{statement}: {said}");
    }
}

#[tokio::test]
async fn where_live_events_came_in_no_clock_moves() {
    let db = database().await;
    // A web without a key stores them, and nothing has said yet which Stripe this is.
    done(
        &db.pool,
        "INSERT INTO bursar.event (source, id, type, livemode) VALUES ('stripe', 'evt_1', 'invoice.paid', true)",
    )
    .await;
    done(&db.pool, "INSERT INTO bursar.setting (name, value) VALUES ('stripe', 'sandbox')").await;
    assert!(refused(&db.pool, MOVE).await.contains("where live events came in"));
}

#[tokio::test]
async fn a_process_with_a_real_key_does_not_start_on_a_sandboxs_database() {
    let db = database().await;
    done(&db.pool, "INSERT INTO bursar.setting (name, value) VALUES ('stripe', 'sandbox')").await;
    let mut worker = crate::support::bursar(&["worker"]);
    worker.env("DATABASE_URL", &db.url).env("STRIPE_SECRET_KEY", "sk_live_0123456789abcdef");
    let ended = worker.output().unwrap();
    let words = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{words}");
    assert!(words.contains("has worked with a sandbox"), "{words}");
}

#[tokio::test]
async fn jobs_and_the_age_of_keys_go_by_it_and_leases_do_not() {
    let db = database().await;
    done(&db.pool, "INSERT INTO bursar.setting (name, value) VALUES ('stripe', 'sandbox')").await;
    done(
        &db.pool,
        "INSERT INTO apalis.workers (id, worker_type, storage_name, lease_until) VALUES ('w', 'w', 'w', clock_timestamp() + interval '1 hour')",
    )
    .await;
    done(&db.pool, r#"SELECT bursar.enqueue('[{"kind": "k", "key": "later", "args": {}, "max_attempts": 3, "delay_ms": 864000000}]')"#)
        .await;
    let claimed = || async {
        let claim = "SELECT * FROM bursar.claim('w', ARRAY['k'], ARRAY[10], ARRAY[60000::bigint])";
        sqlx::query(claim).fetch_all(&db.pool).await.unwrap()
    };
    let young = || async {
        let young = "SELECT bursar.is_young(clock_timestamp() - interval '1 minute')";
        sqlx::query_scalar::<_, bool>(young).fetch_one(&db.pool).await.unwrap()
    };
    assert!(claimed().await.is_empty(), "it is due in ten days");
    assert!(young().await);
    done(&db.pool, MOVE).await;
    assert!(!young().await, "a sandbox has forgotten it by now");
    let jobs = claimed().await;
    assert_eq!(jobs.len(), 1, "the worker's lease still holds");
    let moved: bool = sqlx::query_scalar("SELECT $1 > clock_timestamp() + interval '30 days'")
        .bind(jobs[0].get::<chrono::DateTime<chrono::Utc>, _>("claimed_at"))
        .fetch_one(&db.pool)
        .await
        .unwrap();
    assert!(moved, "the job sees the business time of its attempt");
    let lost = sqlx::query("SELECT * FROM bursar.sweep(10)").fetch_all(&db.pool).await.unwrap();
    assert!(lost.is_empty(), "its deadline is in real time");
}

#[tokio::test]
async fn a_month_passes_for_the_sandbox_and_the_jobs_of_dev_together() {
    let folder = Folder::new();
    let _dev = folder.start(&["dev"]).await;
    let instance = folder.instance().unwrap();
    let pool = PgPool::connect(&instance.database_url).await.unwrap();
    // An account that nobody opened: asked for by a job that is due in ten days.
    done(
        &pool,
        r#"SELECT bursar.enqueue('[{"kind": "open_account", "key": "erin", "args": {"user": "erin"}, "max_attempts": 3, "delay_ms": 864000000}]')"#,
    )
    .await;
    let advanced = folder.command(&["sandbox", "advance", "31d", "--json"]).output().unwrap();
    assert!(advanced.status.success(), "{advanced:?}");
    let lines: Vec<serde_json::Value> =
        said(&advanced).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().any(|line| line["kind"] == "open_account"), "{lines:?}");
    let ahead: i64 =
        sqlx::query_scalar("SELECT extract(epoch FROM bursar.ahead())::bigint").fetch_one(&pool).await.unwrap();
    assert!((31 * 86_400 - 60..=31 * 86_400).contains(&ahead), "{ahead}");
    let clock = said(&folder.paste(&format!("curl -s {}/_sandbox/clock", instance.sandbox.unwrap())));
    let clock: serde_json::Value = serde_json::from_str(&clock).unwrap();
    assert_eq!(clock["ahead_seconds"], ahead, "both clocks went together");
    pool.close().await;
}

#[tokio::test]
async fn two_renewals_refill_as_two_real_months_would() {
    let folder = Folder::new();
    let _dev = folder.start(&["dev"]).await;
    let sandbox = folder.instance().unwrap().sandbox.unwrap();
    let create = |path: &str, form: &str| {
        let line = format!("curl -s -u sk_test_bursar_sandbox: {sandbox}/v1/{path} -g -d '{form}'");
        let made: serde_json::Value = serde_json::from_str(&said(&folder.paste(&line))).unwrap();
        made["id"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned()
    };
    let customer = create("customers", "metadata[user_id]=carol");
    create("subscriptions", &format!("customer={customer}&items[0][price]=price_pro&metadata[user_id]=carol"));
    let balance = "SELECT trim_scale(bursar.balance('carol'))::text";
    folder.eventually(balance, "150").await;
    let advanced = folder.command(&["sandbox", "advance", "63d"]).output().unwrap();
    assert!(advanced.status.success(), "{advanced:?}");
    folder.eventually(balance, "450").await;
    let refills =
        "SELECT count(DISTINCT date_trunc('month', posted_at))::text FROM bursar.posting WHERE kind = 'refill'";
    folder.eventually(refills, "3").await;
    let words = said(&advanced);
    assert!(words.contains("refill_tier done") && words.contains("63 days on"), "{words}");
}

#[tokio::test]
async fn both_clocks_stay_together_whoever_moves_them_how_far() {
    let folder = Folder::new();
    let _dev = folder.start(&["dev"]).await;
    let at_once: Vec<_> = (0..4).map(|_| folder.command(&["sandbox", "advance", "1d"]).spawn().unwrap()).collect();
    for mut advance in at_once {
        assert!(advance.wait().unwrap().success());
    }
    let refused = folder.command(&["sandbox", "advance", "20000d"]).output().unwrap();
    let words = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && words.contains("no further"), "{words}");
    let clock = said(&folder.paste(&format!("curl -s {}/_sandbox/clock", folder.instance().unwrap().sandbox.unwrap())));
    let clock: serde_json::Value = serde_json::from_str(&clock).unwrap();
    let sandbox = clock["ahead_seconds"].as_i64().unwrap();
    assert!((4 * 86_400 - 60..=4 * 86_400).contains(&sandbox), "{sandbox}");
    folder.eventually("SELECT extract(epoch FROM bursar.ahead())::bigint::text", &sandbox.to_string()).await;
}

/// Asked directly, business time is asked again for every row, and no index is used: what should read the last hour reads all of history.
#[test]
fn no_query_compares_rows_with_the_time_but_through_a_subquery() {
    let (mut folders, mut asked) = (vec![PathBuf::from("src"), PathBuf::from("jobs/src")], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(&folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap_or_default();
            for (before, _) in text.match_indices("bursar.now()").map(|(at, _)| text.split_at(at)) {
                let before = before.trim_end();
                if before.ends_with(['<', '>']) || before.ends_with("<=") || before.ends_with(">=") {
                    asked.push(format!("{}:{}", path.display(), before.lines().count()));
                }
            }
        }
    }
    assert!(asked.is_empty(), "write (SELECT bursar.now()): {asked:#?}");
}
