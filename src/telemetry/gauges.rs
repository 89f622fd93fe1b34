//! What the database says of all processes together, read when it is scraped, and at most every few seconds.
//!
//! Each reading has a time limit of its own and fails alone: its numbers are then missing, for a stale number would look like a good one, and
//! `bursar_reading_ok` says so. A table that a version does not have is no failure.
//!
//! The statements are read by one reader as (metric, labels, value), which checked queries could not be; a test reads each against the
//! schema.

use std::{
    future::Future,
    sync::atomic::AtomicU64,
    time::{Duration, Instant},
};

use bursar_jobs::base::clock;
use prometheus_client::{
    encoding::text,
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};
use sqlx::PgPool;
use tokio::{sync::Mutex, time::timeout};

use super::{counts::register, drift::Drift, names};

/// A scrape within this time of another costs the database nothing.
const FRESH: Duration = Duration::from_secs(5);
/// A reading that takes longer is given up: by the database, and a little later by us.
/// And the tables are gone through by their indexes, whatever the statistics say: what is over outgrows what is open.
const LIMIT: &str = "BEGIN READ ONLY; SET LOCAL statement_timeout = '1s'; SET LOCAL lock_timeout = '500ms'; \
                     SET LOCAL enable_seqscan = off; SET LOCAL jit = off; SET LOCAL search_path = pg_catalog, pg_temp";
const PATIENCE: Duration = Duration::from_millis(1500);
/// All readings together: less than a scraper waits.
const ALTOGETHER: Duration = Duration::from_secs(6);

/// A statement whose rows are (metric, labels, value).
struct Reading {
    name: &'static str,
    /// The table it reads that not every version has.
    needs: Option<&'static str>,
    sql: &'static str,
}

/// What is read. What grows with the books is not counted: each of these goes by an index or reads a small table.
const READINGS: &[Reading] = &[
    Reading {
        name: "queue",
        needs: None,
        sql: "SELECT 'bursar_jobs', ARRAY[job_type, state], count(*)::float8
              FROM (SELECT job_type, CASE WHEN run_at <= t.now THEN 'ready' ELSE 'scheduled' END AS state
                    FROM apalis.jobs, (SELECT bursar.now() AS now OFFSET 0) t WHERE status = 'Pending'
                    UNION ALL SELECT job_type, 'running' FROM apalis.jobs WHERE status = 'Running'
                    UNION ALL SELECT job_type, 'dead' FROM apalis.jobs WHERE status = 'Failed') j GROUP BY job_type, state",
    },
    Reading {
        // By the first of each kind: the deeper the queue, the more somebody wants to know this.
        name: "ages",
        needs: None,
        sql: "WITH RECURSIVE kind (name) AS (
                  (SELECT job_type FROM apalis.jobs WHERE status = 'Pending' ORDER BY job_type LIMIT 1)
                  UNION ALL
                  SELECT (SELECT j.job_type FROM apalis.jobs j WHERE j.status = 'Pending' AND j.job_type > kind.name ORDER BY j.job_type LIMIT 1)
                  FROM kind WHERE kind.name IS NOT NULL
              ), first (run_at) AS (
                  SELECT min(f.run_at) FROM kind, LATERAL (SELECT j.run_at FROM apalis.jobs j WHERE j.status = 'Pending' AND j.job_type = kind.name
                                                           ORDER BY j.run_at LIMIT 1) f
              )
              SELECT 'bursar_oldest_ready_age_seconds', '{}'::text[], coalesce(greatest(extract(epoch FROM bursar.now() - run_at), 0), 0)::float8 FROM first
              UNION ALL SELECT 'bursar_oldest_running_age_seconds', '{}', coalesce(extract(epoch FROM clock_timestamp() - min(lock_at)), 0)::float8
              FROM apalis.jobs WHERE status = 'Running'
              UNION ALL SELECT 'bursar_workers_alive', '{}', count(*)::float8 FROM apalis.workers WHERE lease_until > clock_timestamp()
              UNION ALL SELECT 'bursar_kinds_paused', '{}', count(*)::float8 FROM bursar.paused_kind",
    },
    Reading {
        name: "payouts",
        needs: None,
        sql: "SELECT m.metric, ARRAY[p.state, p.currency], CASE m.metric WHEN 'bursar_payouts' THEN p.n ELSE p.amount END
              FROM (SELECT state, currency, count(*)::float8 AS n, sum(amount)::float8 AS amount FROM bursar.payout
                    WHERE state NOT IN ('paid', 'reversed') GROUP BY state, currency) p,
                   (VALUES ('bursar_payouts'), ('bursar_payouts_minor_units')) AS m (metric)",
    },
    Reading {
        name: "letters",
        needs: Some("bursar.letter"),
        sql: "SELECT 'bursar_letters', ARRAY[state], count(*)::float8 FROM bursar.letter WHERE state <> 'sent' GROUP BY state",
    },
    Reading {
        name: "events",
        needs: None,
        sql: "SELECT 'bursar_last_event_age_seconds', '{}'::text[], extract(epoch FROM bursar.now() - at)::float8
              FROM (SELECT max(received_at) AS at FROM bursar.event) e WHERE at IS NOT NULL",
    },
    Reading {
        name: "event_watch",
        needs: Some("bursar.event_watch"),
        sql: "SELECT 'bursar_event_watch_lag_seconds', '{}'::text[], extract(epoch FROM bursar.now() - compared_until)::float8 FROM bursar.event_watch
              UNION ALL SELECT 'bursar_missed_events', '{}', count(*)::float8 FROM bursar.missed_event
              WHERE overdue AND found_at > (SELECT bursar.now()) - interval '1 day'",
    },
    Reading {
        name: "schedules",
        needs: Some("bursar.schedule"),
        sql: "SELECT 'bursar_schedule_tick_age_seconds', ARRAY[name], extract(epoch FROM bursar.now() - last_at)::float8 FROM bursar.schedule
              WHERE last_at IS NOT NULL
              UNION ALL SELECT 'bursar_schedule_overdue_seconds', ARRAY[name],
                  CASE WHEN paused THEN 0 ELSE greatest(coalesce(extract(epoch FROM bursar.now() - next_at), 0), 0) END::float8 FROM bursar.schedule",
    },
    Reading {
        name: "dunning",
        needs: Some("bursar.dunning_case"),
        sql: "SELECT 'bursar_dunning_cases', ARRAY[state], count(*)::float8 FROM bursar.dunning_case GROUP BY state",
    },
    Reading {
        name: "findings",
        needs: Some("bursar.finding"),
        sql: "SELECT 'bursar_open_findings', ARRAY[type], count(*)::float8 FROM bursar.finding WHERE state = 'open' GROUP BY type",
    },
];

type Row = (String, Vec<String>, f64);
type Labels = Vec<(&'static str, String)>;

/// What was read last.
#[derive(Debug)]
pub(super) struct Gauges {
    pool: PgPool,
    last: Mutex<Last>,
}

#[derive(Debug, Default)]
struct Last {
    at: Option<Instant>,
    text: String,
    drift: Drift,
}

impl Gauges {
    pub fn new(pool: PgPool) -> Self {
        Self { pool, last: Mutex::default() }
    }

    /// As OpenMetrics' text without its end. Whoever asks while another reads waits for what that one reads.
    pub async fn read(&self) -> String {
        let mut last = self.last.lock().await;
        if last.at.is_none_or(|at| at.elapsed() >= FRESH) {
            let begun = clock::monotonic();
            let read = self.all(&mut last.drift, begun).await;
            last.text = written(&read);
            last.at = Some(clock::monotonic());
        }
        last.text.clone()
    }

    async fn all(&self, drift: &mut Drift, begun: Instant) -> Vec<Row> {
        let mut rows = Vec::new();
        let mut unreachable = false;
        for reading in READINGS {
            let read = if unreachable || begun.elapsed() > ALTOGETHER {
                Err("no time was left for it".to_owned())
            } else {
                within(rows_of(&self.pool, reading)).await
            };
            // A statement that the database gave up says nothing of the next one; a database that does not answer does.
            unreachable |= read.as_ref().is_err_and(|error| error == SILENT);
            note(&mut rows, reading.name, read);
        }
        let checked = if unreachable || begun.elapsed() > ALTOGETHER {
            Err("no time was left for it".to_owned())
        } else {
            within(drift.step(&self.pool, LIMIT)).await
        };
        note(&mut rows, "ledger", checked.map(|()| Vec::new()));
        if let Some((checked, wrong)) = drift.seen() {
            rows.push(("bursar_ledger_checked_accounts".to_owned(), Vec::new(), checked));
            rows.push(("bursar_ledger_drift_accounts".to_owned(), Vec::new(), wrong));
        }
        rows
    }
}

/// What is said when no answer came at all.
const SILENT: &str = "the database does not answer";

async fn within<T>(read: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, String> {
    match timeout(PATIENCE, read).await {
        Ok(Ok(read)) => Ok(read),
        Ok(Err(error @ sqlx::Error::Database(_))) => Err(error.to_string()),
        Ok(Err(_)) | Err(_) => Err(SILENT.to_owned()),
    }
}

async fn rows_of(pool: &PgPool, reading: &Reading) -> Result<Vec<Row>, sqlx::Error> {
    let mut tx = pool.begin_with(LIMIT).await?;
    if let Some(table) = reading.needs
        && !sqlx::query_scalar::<_, bool>("SELECT to_regclass($1) IS NOT NULL").bind(table).fetch_one(&mut *tx).await?
    {
        return Ok(Vec::new());
    }
    let rows = sqlx::query_as(reading.sql).fetch_all(&mut *tx).await?;
    tx.rollback().await?;
    Ok(rows)
}

fn note(rows: &mut Vec<Row>, name: &str, read: Result<Vec<Row>, String>) {
    rows.push(("bursar_reading_ok".to_owned(), vec![name.to_owned()], f64::from(u8::from(read.is_ok()))));
    match read {
        Ok(read) => rows.extend(read),
        Err(error) => {
            tracing::warn!(reading = name, error, "a reading for the metrics failed: its numbers are missing");
        }
    }
}

fn written(rows: &[Row]) -> String {
    let mut registry = Registry::default();
    for metric in names::ALL.iter().filter(|metric| metric.from == names::From::Database) {
        let values = Family::<Labels, Gauge<f64, AtomicU64>>::default();
        for (_, labels, value) in rows.iter().filter(|(name, ..)| name == metric.name) {
            let labels = metric.labels.iter().copied().zip(labels.iter().cloned()).collect();
            values.get_or_create(&labels).set(*value);
        }
        register(&mut registry, metric.name, values);
    }
    let mut text = String::new();
    if let Err(error) = text::encode_registry(&mut text, &registry) {
        tracing::error!(%error, "what was read could not be written");
    }
    text
}

#[cfg(test)]
mod tests {
    use sqlx::postgres::PgPoolOptions;

    use super::*;

    #[tokio::test]
    async fn a_database_that_is_away_costs_the_numbers_and_not_the_scrape() {
        let pool = PgPoolOptions::new().connect_lazy("postgres://nobody@127.0.0.1:1/none").unwrap();
        let gauges = Gauges::new(pool);
        let begun = clock::monotonic();
        let text = gauges.read().await;
        assert!(begun.elapsed() < ALTOGETHER, "one silence is enough");
        for name in READINGS.iter().map(|reading| reading.name).chain(["ledger"]) {
            assert!(text.contains(&format!("bursar_reading_ok{{reading=\"{name}\"}} 0.0\n")), "{text}");
        }
        assert!(
            !text.contains("bursar_jobs{") && !text.contains("bursar_ledger_drift_accounts 0"),
            "no number is made up"
        );
    }
}
