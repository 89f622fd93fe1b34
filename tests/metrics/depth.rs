//! What a scrape costs where much has gone through.

#![expect(clippy::float_cmp, reason = "they are counts, which a float holds exactly")]

use std::collections::BTreeMap;

use sqlx::PgConnection;

use super::{SOON, World};

const DEEP: u32 = 30_000;
/// Their rows stay when they are over.
const TABLES: [&str; 5] = ["jobs", "event", "letter", "finding", "payout"];

/// How often each table was gone to, and how many of its rows were read, of the table or of its indexes.
async fn read(db: &mut PgConnection) -> BTreeMap<String, (i64, i64)> {
    sqlx::query("SELECT pg_stat_force_next_flush(), pg_stat_clear_snapshot()").execute(&mut *db).await.unwrap();
    let rows: Vec<(String, i64, i64)> = sqlx::query_as(
        "SELECT t.relname::text, t.seq_scan + coalesce(t.idx_scan, 0),
                t.seq_tup_read + (SELECT sum(i.idx_tup_read)::bigint FROM pg_stat_user_indexes i WHERE i.relid = t.relid)
         FROM pg_stat_user_tables t WHERE t.schemaname IN ('apalis', 'bursar') AND t.relname = ANY ($1)",
    )
    .bind(TABLES.map(str::to_owned))
    .fetch_all(db)
    .await
    .unwrap();
    rows.into_iter().map(|(table, scans, rows)| (table, (scans, rows))).collect()
}

#[tokio::test]
async fn a_scrape_reads_each_open_job_once_and_nothing_that_is_over() {
    let world = World::start(&[]).await;
    world.settled().await;
    let mut db = world.db.pool.acquire().await.unwrap();
    // A kind that no worker of this version takes.
    let sql = format!(
        "INSERT INTO apalis.jobs (id, job_type, idempotency_key, job, status, run_at, done_at)
         SELECT 'j' || n, 'of_later', n::text, '{{}}', CASE WHEN n > {DEEP} THEN 'Done' ELSE 'Pending' END, bursar.now() - interval '1 hour',
                CASE WHEN n > {DEEP} THEN bursar.now() END
         FROM generate_series(1, 2 * {DEEP}) n;
         INSERT INTO bursar.event (source, id, type, received_at) SELECT 'stripe', 'evt_' || n, 'invoice.paid', bursar.now() - interval '1 minute'
         FROM generate_series(1, {DEEP}) n;
         INSERT INTO bursar.letter (key, job_id, letter, message_id, state) SELECT 'k' || n, 'j', 'l', '<m>', 'sent' FROM generate_series(1, {DEEP}) n;
         INSERT INTO bursar.payout (job_id, receiver_id, skill, credits, amount, currency, state)
         SELECT 'p' || n, 'bob', 'research', 1, 1, 'usd', 'paid' FROM generate_series(1, {DEEP}) n;
         INSERT INTO bursar.reconciliation (id, month, asked_by) VALUES ('r', '2026-10-01', 'me');
         INSERT INTO bursar.finding (run, type, object, evidence, automatic, remedy, state)
         SELECT 'r', 'user_unknown', 'o' || n, '{{}}', false, '', 'judged' FROM generate_series(1, {DEEP}) n"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut *db).await.unwrap();
    sqlx::raw_sql("ANALYZE apalis.jobs, bursar.event, bursar.letter, bursar.payout, bursar.finding")
        .execute(&mut *db)
        .await
        .unwrap();
    let before = read(&mut db).await;
    let shown = world.scrape(2).await;
    assert_eq!(shown.sum("bursar_jobs", &[("kind", "of_later"), ("state", "ready")]), f64::from(DEEP));
    assert!((3600.0..4000.0).contains(&shown.sum("bursar_oldest_ready_age_seconds", &[])));
    assert!((60.0..400.0).contains(&shown.sum("bursar_last_event_age_seconds", &[])));
    assert_eq!(shown.sum("bursar_reading_ok", &[]), 10.0);

    // A server counts its readings a moment later.
    let mut db = db.detach();
    let mut after = read(&mut db).await;
    let begun = bursar_jobs::base::clock::monotonic();
    while TABLES[1..].iter().any(|table| after[*table].0 == before[*table].0) {
        assert!(begun.elapsed() < SOON, "{before:?} {after:?}");
        tokio::task::yield_now().await;
        after = read(&mut db).await;
    }
    for table in TABLES {
        let rows = after[table].1 - before[table].1;
        let most = if table == "jobs" { i64::from(DEEP) * 11 / 10 } else { 1000 };
        assert!(rows <= most, "{rows} rows of {table} were read, where {most} suffice");
    }
}

#[tokio::test]
async fn a_process_counts_its_time_from_its_start_and_not_from_the_first_scrape() {
    let world = World::start(&[]).await;
    let listening = bursar_jobs::base::clock::monotonic();
    world.settled().await;
    for nth in 0..3 {
        let since = listening.elapsed().as_secs_f64();
        let shown = world.scrape(nth).await.sum("bursar_process_uptime_seconds", &[]);
        assert!(shown >= since, "process {nth} says {shown} s, and it has listened for {since} s");
    }
}
