//! `bursar sandbox advance`: a month in seconds.
//!
//! The clock of a sandbox and the business time of the database whose jobs call it go on together, from one thing that is due to the
//! next; after each step whatever it caused is let happen, so that things happen in the order in which a real month would bring them.
//! The database decides whether it may be moved at all: see `bursar.guard_clock` in the migrations.

use std::{collections::BTreeMap, path::Path, time::Duration};

use bursar_jobs::{base::clock, engine::kind};
use chrono::{DateTime, Utc};
use hyper::Method;
use serde::Deserialize;
use serde_json::json;
use sqlx::{Connection, PgConnection};
use tokio::time::sleep;

use super::{http, instance::running_instance, steps};
use crate::config::{Settings, SettingsError};

/// What comes by schedule and went well is counted and not told: it would bury what a month does to its customers.
const HOUSEKEEPING: &[&str] = &[
    kind::FIRE_SCHEDULE.name,
    kind::WATCH_EVENTS.name,
    kind::READ_EVENTS.name,
    kind::RECONCILE.name,
    kind::RECONCILE_READ.name,
    kind::RECONCILE_COMPARE.name,
    kind::SUM_USAGE.name,
    kind::SWEEP_HELD.name,
    kind::SEND_REPORT.name,
];
/// How long what a step caused may take.
const PATIENCE: Duration = Duration::from_mins(1);
/// Between two looks at whether it has happened.
const LOOK: Duration = Duration::from_millis(20);

/// Why time does not pass.
#[derive(Debug, thiserror::Error)]
pub enum AdvanceError {
    /// No sandbox there.
    #[error("no sandbox answers at {0}: {1}. Start one with `bursar dev` or `bursar sandbox`, or name it with --url")]
    Unreachable(String, #[source] http::Unanswered),
    /// It answered something else.
    #[error("the sandbox at {0} answered {1}")]
    Refused(String, String),
    /// The sandbox does not go there.
    #[error("the sandbox can be moved by {0} more days and no further")]
    TooFar(i64),
    /// The settings are no good.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The database failed, or refused.
    #[error("the database: {0}")]
    Database(#[from] sqlx::Error),
    /// What was caused does not end.
    #[error("{0} after {PATIENCE:?}. Is a worker running, and no kind of job paused?")]
    Restless(String),
}

/// What to do.
#[derive(Debug)]
pub struct Options {
    /// How far.
    pub by: Duration,
    /// The sandbox; that of the `bursar dev` of this folder, or one at the usual port, where none is named.
    pub url: Option<String>,
    /// One JSON object a line.
    pub json: bool,
}

/// The sandbox's clock, as it says.
#[derive(Debug, Deserialize)]
struct Clock {
    now: i64,
    ahead_seconds: i64,
    /// How far it lets itself be moved.
    left_seconds: i64,
    /// When the next thing is due there.
    #[serde(default)]
    next: Option<i64>,
    /// Events that are on their way.
    #[serde(default)]
    undelivered: i64,
}

/// Both clocks, and what was seen so far.
struct Month {
    sandbox: String,
    db: Option<PgConnection>,
    json: bool,
    seen: DateTime<Utc>,
    counts: BTreeMap<String, u64>,
}

/// Moves a sandbox, and the jobs of the instance that uses it.
pub async fn run(options: Options) -> Result<(), AdvanceError> {
    let instance = running_instance(Path::new(".")).filter(|_| options.url.is_none());
    let settings = Settings::load(&[])?;
    let (sandbox, database) = match instance {
        Some(instance) => (instance.sandbox, Some(instance.database_url)),
        None if settings.database_is_set() => (options.url, Some(settings.database_url()?.expose().to_owned())),
        None => (options.url, None),
    };
    let sandbox = sandbox.unwrap_or_else(|| format!("http://127.0.0.1:{}", crate::sandbox::PORT));
    let mut db = match database {
        Some(url) => Some(PgConnection::connect(&url).await?),
        None => None,
    };
    let seen = match &mut db {
        Some(db) => clock::business(db).await?,
        None => DateTime::UNIX_EPOCH,
    };
    let mut month = Month { sandbox, db, json: options.json, seen, counts: BTreeMap::new() };
    month.play(i64::try_from(options.by.as_secs()).unwrap_or(i64::MAX)).await
}

impl Month {
    async fn play(&mut self, seconds: i64) -> Result<(), AdvanceError> {
        if let Some(db) = &mut self.db {
            // Until we end. Two at once would each move the sandbox, and the jobs but once.
            sqlx::query("SELECT pg_advisory_lock(hashtext('bursar.clock')::bigint)").execute(db).await?;
        }
        self.rest().await?;
        let start = self.clock().await?;
        if seconds > start.left_seconds {
            // Said before the database is moved, which is never moved back.
            return Err(AdvanceError::TooFar(start.left_seconds / 86_400));
        }
        let target = start.now.saturating_add(seconds);
        loop {
            let clock = self.clock().await?;
            let jobs = self.next_job().await?;
            let due = [clock.next, jobs].into_iter().flatten().min();
            // What is overdue is due now; a step is a second at least, so that this ends.
            let to = due.map_or(target, |due| due.clamp(clock.now + 1, target.max(clock.now + 1)));
            if clock.now >= target {
                break;
            }
            self.step(&clock, to - clock.now).await?;
            self.rest().await?;
            self.tell().await?;
        }
        self.conclude(&start).await
    }

    /// The database first: a key must never seem younger to us than it is to the sandbox, which forgets it by its own clock.
    async fn step(&mut self, clock: &Clock, seconds: i64) -> Result<(), AdvanceError> {
        if let Some(db) = &mut self.db {
            let ahead = clock.ahead_seconds + seconds;
            sqlx::query!(
                "INSERT INTO bursar.clock (ahead) VALUES ($1::bigint::float8 * interval '1 second')
                 ON CONFLICT (one) DO UPDATE SET ahead = greatest(clock.ahead, excluded.ahead)",
                ahead
            )
            .execute(&mut *db)
            .await?;
            sqlx::query!("SELECT bursar.wake()").execute(db).await?;
        }
        self.ask(Method::POST, "/_sandbox/advance", json!({ "seconds": seconds }).to_string()).await?;
        Ok(())
    }

    /// Waits until nothing is on its way or at work.
    async fn rest(&mut self) -> Result<(), AdvanceError> {
        let begun = clock::monotonic();
        loop {
            let undelivered = self.clock().await?.undelivered;
            let jobs = self.at_work().await?;
            if (undelivered, jobs) == (0, 0) {
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                return Err(AdvanceError::Restless(format!(
                    "{undelivered} events are not delivered and {jobs} jobs not done"
                )));
            }
            sleep(LOOK).await;
        }
    }

    async fn at_work(&mut self) -> Result<i64, AdvanceError> {
        let Some(db) = &mut self.db else { return Ok(0) };
        let jobs = sqlx::query_scalar!(
            r#"SELECT count(*) AS "jobs!" FROM apalis.jobs j
               WHERE j.status = 'Running' OR j.status = 'Pending' AND j.run_at <= (SELECT bursar.now())
                 AND NOT EXISTS (SELECT FROM bursar.paused_kind p WHERE p.kind = j.job_type)"#
        );
        Ok(jobs.fetch_one(db).await?)
    }

    /// When the next job is due, in seconds. Ticks of the gap watch are no such thing: it looks back over all of them wherever else time
    /// stops.
    async fn next_job(&mut self) -> Result<Option<i64>, AdvanceError> {
        let Some(db) = &mut self.db else { return Ok(None) };
        let at = sqlx::query_scalar!(
            r#"SELECT ceil(extract(epoch FROM min(j.run_at)))::bigint FROM apalis.jobs j
               WHERE j.status = 'Pending' AND NOT EXISTS (SELECT FROM bursar.paused_kind p WHERE p.kind = j.job_type)
                 AND NOT (j.job_type = 'fire_schedule' AND j.idempotency_key LIKE 'event-watch:%')"#
        );
        Ok(at.fetch_one(db).await?)
    }

    /// Tells what was done since it last told.
    async fn tell(&mut self) -> Result<(), AdvanceError> {
        let Some(db) = &mut self.db else { return Ok(()) };
        let attempts = sqlx::query!(
            r#"SELECT a.ended_at AS "ended_at!", e.type AS "type?", coalesce(j.job_type, 'a job') AS "kind!", a.outcome AS "outcome!", a.reason
               FROM bursar.attempt a
               LEFT JOIN apalis.jobs j ON j.id = a.job_id LEFT JOIN bursar.event e ON e.id = j.cause AND e.source = 'stripe'
               WHERE a.ended_at > $1 ORDER BY a.ended_at, a.job_id LIMIT 10000"#,
            self.seen
        )
        .fetch_all(db)
        .await?;
        for attempt in attempts {
            self.seen = self.seen.max(attempt.ended_at);
            *self.counts.entry(attempt.outcome.clone()).or_default() += 1;
            if self.json {
                steps::show(
                    &json!({ "at": attempt.ended_at, "event": attempt.r#type, "kind": attempt.kind,
                             "outcome": attempt.outcome, "reason": attempt.reason })
                    .to_string(),
                );
            } else if attempt.outcome != "skip"
                && !(attempt.outcome == "done" && HOUSEKEEPING.contains(&attempt.kind.as_str()))
            {
                let cause = attempt.r#type.unwrap_or_default();
                let reason = attempt.reason.map_or_else(String::new, |reason| format!(": {reason}"));
                steps::show(&format!(
                    "{}  {cause:<32} {} {}{reason}",
                    attempt.ended_at.format("%Y-%m-%d %H:%M"),
                    attempt.kind,
                    attempt.outcome
                ));
            }
        }
        Ok(())
    }

    async fn conclude(&mut self, start: &Clock) -> Result<(), AdvanceError> {
        let clock = self.clock().await?;
        let at = |seconds| DateTime::from_timestamp(seconds, 0).unwrap_or_default();
        let counts = &self.counts;
        if self.json {
            steps::show(&json!({ "from": at(start.now), "to": at(clock.now), "attempts": counts }).to_string());
            return Ok(());
        }
        let days = (clock.now - start.now) / 86_400;
        let said: Vec<String> = counts.iter().map(|(outcome, count)| format!("{count} {outcome}")).collect();
        let jobs = match (&self.db, said.is_empty()) {
            (None, _) => "no database is known here: only the sandbox was moved".to_owned(),
            (_, true) => "no job had anything to do".to_owned(),
            (_, false) => format!("attempts of jobs: {}", said.join(", ")),
        };
        steps::show(&format!("it is {} now, {days} days on; {jobs}", at(clock.now).format("%Y-%m-%d %H:%M UTC")));
        Ok(())
    }

    async fn clock(&self) -> Result<Clock, AdvanceError> {
        let text = self.ask(Method::GET, "/_sandbox/clock", String::new()).await?;
        serde_json::from_str(&text).map_err(|_| AdvanceError::Refused(self.sandbox.clone(), text))
    }

    async fn ask(&self, method: Method, path: &str, body: String) -> Result<String, AdvanceError> {
        let unreachable = |error| AdvanceError::Unreachable(self.sandbox.clone(), error);
        let (status, text) =
            http::ask(method, &self.sandbox, path, &[], body.into_bytes()).await.map_err(unreachable)?;
        if status.is_success() { Ok(text) } else { Err(AdvanceError::Refused(self.sandbox.clone(), text)) }
    }
}
