//! Laying what is declared over the table, when a worker starts; and firing by hand.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::{PgConnection, PgPool};

use super::{CatchUp, Cron, FireSchedule, fire::fired};
use crate::{
    base::clock,
    engine::{
        enqueue::{self, Enqueued},
        job::JobError,
    },
};

/// A schedule as the settings have it.
#[derive(Debug, Clone)]
pub struct Declared {
    /// Its name.
    pub name: String,
    /// When.
    pub cron: Cron,
    /// Which kind of job it fires.
    pub kind: String,
    /// With which arguments.
    pub args: serde_json::Map<String, Value>,
    /// What becomes of missed ticks.
    pub catch_up: CatchUp,
    /// Whether the settings say so, or bursar itself.
    pub built_in: bool,
}

/// What laying the settings over the table came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Laid {
    /// New ones.
    pub new: Vec<String>,
    /// Those whose time, kind, arguments or catching up changed.
    pub changed: Vec<String>,
    /// Those that are declared no more.
    pub gone: Vec<String>,
}

struct Row {
    cron: String,
    chain: i32,
    next_at: Option<DateTime<Utc>>,
    same: bool,
    waits: bool,
}

/// Makes the table say what is declared, and sees to it that a job waits for the next tick of each. A schedule whose time did not change
/// keeps its next tick: what was missed since is caught up. One worker at a time.
pub async fn declare(pool: &PgPool, declared: &[Declared]) -> Result<Laid, sqlx::Error> {
    let mut tx = crate::base::db::begin(pool).await?;
    sqlx::query!("SELECT pg_advisory_xact_lock(hashtextextended('schedules', 0::bigint))").execute(&mut *tx).await?;
    let now = clock::business(&mut *tx).await?;
    let mut laid = Laid::default();
    let names: Vec<String> = declared.iter().map(|one| one.name.clone()).collect();
    laid.gone = sqlx::query_scalar!("DELETE FROM bursar.schedule WHERE name <> ALL ($1) RETURNING name", &names)
        .fetch_all(&mut *tx)
        .await?;
    let by_name: BTreeMap<&str, &Declared> = declared.iter().map(|one| (one.name.as_str(), one)).collect();
    for (name, one) in by_name {
        lay(&mut tx, name, one, now, &mut laid).await?;
    }
    tx.commit().await?;
    Ok(laid)
}

async fn lay(
    db: &mut PgConnection,
    name: &str,
    one: &Declared,
    now: DateTime<Utc>,
    laid: &mut Laid,
) -> Result<(), sqlx::Error> {
    let (cron, args) = (one.cron.to_string(), Value::Object(one.args.clone()));
    let source = if one.built_in { "built in" } else { "settings" };
    let known = sqlx::query_as!(
        Row,
        r#"SELECT s.cron, s.chain, s.next_at,
                  (s.cron, s.kind, s.args, s.catch_up, s.source) = ($2, $3, $4, $5, $6) AS "same!",
                  EXISTS (SELECT FROM apalis.jobs j WHERE j.job_type = 'fire_schedule' AND j.status IN ('Pending', 'Running')
                          AND j.idempotency_key = s.name || ':' || s.chain::text || ':' || to_char(s.next_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')) AS "waits!"
           FROM bursar.schedule s WHERE s.name = $1 FOR UPDATE OF s"#,
        name,
        cron,
        one.kind,
        args,
        one.catch_up.word(),
        source
    )
    .fetch_optional(&mut *db)
    .await?;
    let (chain, next) = match &known {
        None => {
            laid.new.push(name.to_owned());
            (1, one.cron.after(now))
        }
        Some(row) => {
            if !row.same {
                laid.changed.push(name.to_owned());
            }
            match (row.cron == cron, row.waits) {
                (true, true) => (row.chain, row.next_at),
                // Nothing waits for its tick, say because an operator cancelled it: a new chain, from where the old one stopped.
                (true, false) => (row.chain + 1, row.next_at.or_else(|| one.cron.after(now))),
                (false, _) => (row.chain + 1, one.cron.after(now)),
            }
        }
    };
    sqlx::query!(
        "INSERT INTO bursar.schedule (name, cron, kind, args, catch_up, source, chain, next_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (name) DO UPDATE SET cron = excluded.cron, kind = excluded.kind, args = excluded.args, catch_up = excluded.catch_up,
             source = excluded.source, chain = excluded.chain, next_at = excluded.next_at,
             changed_at = CASE WHEN $9 THEN schedule.changed_at ELSE bursar.now() END",
        name,
        cron,
        one.kind,
        args,
        one.catch_up.word(),
        source,
        chain,
        next,
        known.is_some_and(|row| row.same)
    )
    .execute(&mut *db)
    .await?;
    if let Some(next) = next {
        enqueue::enqueue(db, &[FireSchedule::of(name, chain, next, now)]).await?;
    }
    Ok(())
}

/// Why a schedule was not fired by hand.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// There is none of that name.
    #[error("there is no schedule {0}")]
    Unknown(String),
    /// What it fires cannot be made.
    #[error(transparent)]
    Kind(#[from] JobError),
    /// The database refused.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Fires a schedule now, whatever its time, under a key of its own; the id of the job. Its ticks come as if nothing had been.
pub async fn run(db: &mut PgConnection, name: &str) -> Result<String, RunError> {
    let row = sqlx::query!("SELECT kind, args FROM bursar.schedule WHERE name = $1", name)
        .fetch_optional(&mut *db)
        .await?
        .ok_or_else(|| RunError::Unknown(name.to_owned()))?;
    let now = clock::business(&mut *db).await?;
    loop {
        let key = format!("{name}:by_hand:{}", uuid::Uuid::new_v4());
        let job = fired(&row.kind, &row.args, &key, now)?;
        if let Some(Enqueued::New(id)) = enqueue::enqueue(&mut *db, &[job]).await?.into_iter().next() {
            return Ok(id);
        }
    }
}
