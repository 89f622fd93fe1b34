//! Schedules, as operators see and drive them. Each act is a row of the audit.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use super::Operator;
use crate::schedules::{self, RunError};

/// A schedule, under the names that programs rely on.
#[derive(Debug, Clone, Serialize)]
pub struct Schedule {
    /// Its name.
    pub name: String,
    /// When, in UTC.
    pub cron: String,
    /// The kind of job that it fires.
    pub kind: String,
    /// With which arguments.
    pub args: Value,
    /// What becomes of missed ticks.
    pub catch_up: String,
    /// Who declares it: the settings, or bursar itself.
    pub source: String,
    /// Whether its ticks pass without firing.
    pub paused: bool,
    /// The next tick; null: its time never comes again.
    pub next_at: Option<DateTime<Utc>>,
    /// The last tick that fired.
    pub last_at: Option<DateTime<Utc>>,
    /// The last job that it fired, by its time or by hand; null: none, or it was pruned.
    pub last_job: Option<String>,
    /// That job's state.
    pub last_job_state: Option<String>,
    /// Why it is in that state.
    #[serde(skip)]
    pub last_job_reason: Option<String>,
}

/// All of them, by name.
pub async fn list(db: &mut PgConnection) -> Result<Vec<Schedule>, sqlx::Error> {
    // A tick's job has the tick in its key; of one fired by hand the audit knows.
    sqlx::query_as!(
        Schedule,
        r#"SELECT s.name, s.cron, s.kind, s.args, s.catch_up, s.source, s.paused, s.next_at, s.last_at,
                  v.id AS "last_job?", v.state AS "last_job_state?", v.reason AS last_job_reason
           FROM bursar.schedule s
           LEFT JOIN LATERAL (
               SELECT j.id FROM apalis.jobs j
               WHERE j.job_type = s.kind AND j.idempotency_key = s.name || ':' || to_char(s.last_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
               UNION ALL
               (SELECT a.after ->> 'job'::text FROM bursar.audit a WHERE a.subject = s.name AND a.what = 'schedule.run' ORDER BY a.id DESC LIMIT 1)
               -- Ids grow with time.
               ORDER BY 1 DESC LIMIT 1
           ) l ON true
           LEFT JOIN bursar.job v ON v.id = l.id
           ORDER BY s.name"#
    )
    .fetch_all(db)
    .await
}

/// The kind that a schedule fires; none where there is no such schedule.
pub async fn kind_of(db: &mut PgConnection, name: &str) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar!("SELECT kind FROM bursar.schedule WHERE name = $1", name).fetch_optional(db).await
}

/// Fires a schedule now; the id of the job. Its ticks come as if nothing had been.
pub async fn run(db: &mut PgConnection, by: &Operator, name: &str, why: Option<&str>) -> Result<String, RunError> {
    let mut tx = db.begin().await?;
    let job = schedules::run(&mut tx, name).await?;
    by.note(&mut *tx, "schedule.run", name, (None, Some(json!({ "job": job }))), why).await?;
    tx.commit().await?;
    Ok(job)
}

/// Lets ticks pass without firing, or fire again from the next one on. False: there is no such schedule. One that is so already stays so,
/// and nothing is written down.
pub async fn set_paused(
    db: &mut PgConnection,
    by: &Operator,
    name: &str,
    paused: bool,
    why: Option<&str>,
) -> Result<bool, sqlx::Error> {
    let mut tx = db.begin().await?;
    let was = sqlx::query_scalar!("SELECT paused FROM bursar.schedule WHERE name = $1 FOR UPDATE", name)
        .fetch_optional(&mut *tx)
        .await?;
    let Some(was) = was else { return Ok(false) };
    if was != paused {
        sqlx::query!("UPDATE bursar.schedule SET paused = $2 WHERE name = $1", name, paused).execute(&mut *tx).await?;
        let state = |paused: bool| Some(json!({ "paused": paused }));
        let what = if paused { "schedule.pause" } else { "schedule.resume" };
        by.note(&mut *tx, what, name, (state(was), state(paused)), why).await?;
    }
    tx.commit().await?;
    Ok(true)
}
