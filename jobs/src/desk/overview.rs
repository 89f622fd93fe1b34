//! How it all stands, on one page.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgConnection;

/// How it all stands.
#[derive(Debug, Clone, Serialize)]
pub struct Overview {
    /// The queue, by kind; done jobs apart.
    pub queue: Vec<Depth>,
    /// How long the oldest ready job has waited, in seconds.
    pub oldest_ready: Option<f64>,
    /// How long the oldest running job has run, in seconds.
    pub oldest_running: Option<f64>,
    /// Minutes of the last hour, oldest first.
    pub minutes: Vec<Minute>,
    /// Workers alive.
    pub workers: Vec<Worker>,
    /// Payouts that are not at their end, by state and currency.
    pub payouts: Vec<Payouts>,
    /// When the last event was received.
    pub last_event_at: Option<DateTime<Utc>>,
    /// Kinds that an operator has paused.
    pub paused: Vec<String>,
    /// Users to look at: open disputes, second subscriptions.
    pub flagged: i64,
    /// Acts in bulk that have not come to their end within minutes.
    pub acts: Vec<Unfinished>,
}

/// An act in bulk that does not come to its end.
#[derive(Debug, Clone, Serialize)]
pub struct Unfinished {
    /// The act.
    pub id: String,
    /// What is done.
    pub verb: String,
    /// Who began it.
    pub who: String,
    /// When.
    pub begun_at: DateTime<Utc>,
    /// So many had their turn.
    pub seen: i64,
    /// Of so many.
    pub matching: i64,
}

/// One kind's jobs.
#[derive(Debug, Clone, Serialize)]
pub struct Depth {
    /// The kind.
    pub kind: String,
    /// Waiting for a worker.
    pub ready: i64,
    /// Waiting for their time.
    pub scheduled: i64,
    /// Running.
    pub running: i64,
    /// Waiting for an operator.
    pub dead: i64,
}

/// What ended in one minute.
#[derive(Debug, Clone, Serialize)]
pub struct Minute {
    /// Its beginning.
    pub at: DateTime<Utc>,
    /// Attempts that ended well: done, skip, snooze.
    pub well: i64,
    /// Attempts that did not: retry, dead, lost, cancel.
    pub badly: i64,
    /// Events received.
    pub events: i64,
}

/// A worker that is alive.
#[derive(Debug, Clone, Serialize)]
pub struct Worker {
    /// Its name.
    pub id: String,
    /// How many jobs it runs.
    pub running: i64,
    /// Since when.
    pub since: Option<DateTime<Utc>>,
}

/// Payouts in one state.
#[derive(Debug, Clone, Serialize)]
pub struct Payouts {
    /// The state.
    pub state: String,
    /// How many.
    pub count: i64,
    /// So many of them may have been sent, and no job looks for them any more.
    pub stopped: i64,
    /// Their sum, in minor units.
    pub amount: i64,
    /// Lower-case ISO code.
    pub currency: String,
    /// When the oldest was recorded.
    pub oldest_at: Option<DateTime<Utc>>,
}

/// Reads it.
pub async fn read(db: &mut PgConnection) -> Result<Overview, sqlx::Error> {
    let queue = sqlx::query_as!(
        Depth,
        // Each part by its own index, none of which holds what is done: history costs nothing.
        r#"SELECT kind AS "kind!", sum(ready)::bigint AS "ready!", sum(scheduled)::bigint AS "scheduled!", sum(running)::bigint AS "running!",
                  sum(dead)::bigint AS "dead!"
           FROM (SELECT job_type AS kind, count(*) FILTER (WHERE run_at <= (SELECT bursar.now())) AS ready,
                        count(*) FILTER (WHERE run_at > (SELECT bursar.now())) AS scheduled, 0 AS running, 0 AS dead
                 FROM apalis.jobs WHERE status = 'Pending' GROUP BY 1
                 UNION ALL SELECT job_type, 0, 0, count(*), 0 FROM apalis.jobs WHERE status = 'Running' GROUP BY 1
                 UNION ALL SELECT job_type, 0, 0, 0, count(*) FROM apalis.jobs WHERE status = 'Failed' GROUP BY 1) parts
           GROUP BY kind ORDER BY kind"#
    )
    .fetch_all(&mut *db)
    .await?;
    let ages = sqlx::query!(
        "SELECT extract(epoch FROM bursar.now() - (SELECT min(run_at) FROM apalis.jobs WHERE status = 'Pending' AND run_at <= (SELECT bursar.now())))::float8 AS ready,
                extract(epoch FROM clock_timestamp() - (SELECT min(lock_at) FROM apalis.jobs WHERE status = 'Running'))::float8 AS running"
    )
    .fetch_one(&mut *db)
    .await?;
    let minutes = sqlx::query_as!(
        Minute,
        r#"WITH hour AS (SELECT generate_series(date_trunc('minute', bursar.now()) - interval '59 minutes', date_trunc('minute', bursar.now()), interval '1 minute') AS at),
               ended AS (SELECT date_trunc('minute', ended_at) AS at, count(*) FILTER (WHERE outcome IN ('done', 'skip', 'snooze')) AS well,
                             count(*) FILTER (WHERE outcome NOT IN ('done', 'skip', 'snooze')) AS badly
                         FROM bursar.attempt WHERE ended_at >= (SELECT bursar.now()) - interval '1 hour' GROUP BY 1),
               came AS (SELECT date_trunc('minute', received_at) AS at, count(*) AS events FROM bursar.event
                        WHERE received_at >= (SELECT bursar.now()) - interval '1 hour' GROUP BY 1)
           SELECT h.at AS "at!", coalesce(e.well, 0) AS "well!", coalesce(e.badly, 0) AS "badly!", coalesce(c.events, 0) AS "events!"
           FROM hour h LEFT JOIN ended e USING (at) LEFT JOIN came c USING (at) ORDER BY h.at"#
    )
    .fetch_all(&mut *db)
    .await?;
    let workers = sqlx::query_as!(
        Worker,
        r#"SELECT w.id, (SELECT count(*) FROM apalis.jobs j WHERE j.lock_by = w.id AND j.status = 'Running') AS "running!", w.started_at AS since
           FROM apalis.workers w WHERE w.lease_until > clock_timestamp() ORDER BY w.id"#
    )
    .fetch_all(&mut *db)
    .await?;
    let payouts = sqlx::query_as!(
        Payouts,
        r#"SELECT p.state, count(*) AS "count!", coalesce(sum(p.amount), 0)::bigint AS "amount!", p.currency, min(p.recorded_at) AS oldest_at,
                  count(*) FILTER (WHERE p.state IN ('sending', 'unknown') AND NOT EXISTS
                      (SELECT FROM apalis.jobs j WHERE j.job_type = 'pay_receiver' AND j.idempotency_key = p.job_id || ':' || p.releases::text
                       AND j.status IN ('Pending', 'Running'))) AS "stopped!"
           FROM bursar.payout p WHERE p.state NOT IN ('paid', 'reversed') GROUP BY p.state, p.currency ORDER BY p.state, p.currency"#
    )
    .fetch_all(&mut *db)
    .await?;
    let last_event_at = sqlx::query_scalar!("SELECT max(received_at) FROM bursar.event").fetch_one(&mut *db).await?;
    let paused = sqlx::query_scalar!("SELECT kind FROM bursar.paused_kind ORDER BY kind").fetch_all(&mut *db).await?;
    // One that was just begun is on its way; a worker looks every minute.
    let acts = sqlx::query_as!(
        Unfinished,
        r#"SELECT id, verb, who, begun_at, changed + skipped AS "seen!", matching FROM bursar.bulk
           WHERE ended_at IS NULL AND begun_at < (SELECT bursar.now()) - interval '5 minutes' ORDER BY begun_at LIMIT 10"#
    )
    .fetch_all(&mut *db)
    .await?;
    let flagged = sqlx::query_scalar!(r#"SELECT pg_catalog.count(DISTINCT user_id) AS "count!" FROM bursar.user_flag"#)
        .fetch_one(db)
        .await?;
    Ok(Overview {
        queue,
        oldest_ready: ages.ready,
        oldest_running: ages.running,
        minutes,
        workers,
        payouts,
        last_event_at,
        paused,
        flagged,
        acts,
    })
}
