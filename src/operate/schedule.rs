//! `bursar schedule`: what runs by the calendar; firing, pausing.

use bursar_jobs::schedules::{self, RunError};
use chrono::{DateTime, Utc};
use clap::Subcommand;
use serde::Serialize;
use serde_json::json;
use sqlx::{Connection, PgConnection};

use super::{
    Failure, Screen,
    screen::stamp,
    values::{self, at_keyboard},
};

/// What can be asked of schedules.
#[derive(Debug, Subcommand)]
pub enum Schedule {
    /// All schedules: when each fires next, and what.
    #[command(
        after_help = "They come from [schedules.NAME] in bursar.toml; a changed file takes effect when a worker starts.\n\n\
                            Example:\n  bursar schedule list --json"
    )]
    List,
    /// Fire a schedule now; its ticks come as if nothing had been.
    #[command(after_help = "Example:\n  bursar schedule run usage")]
    Run {
        /// The schedule.
        #[arg(value_parser = values::word)]
        name: String,
    },
    /// Let ticks pass without firing.
    #[command(after_help = "Example:\n  bursar schedule pause nightly")]
    Pause {
        /// The schedule.
        #[arg(value_parser = values::word)]
        name: String,
    },
    /// Let ticks fire again, from the next one on.
    #[command(after_help = "Example:\n  bursar schedule resume nightly")]
    Resume {
        /// The schedule.
        #[arg(value_parser = values::word)]
        name: String,
    },
}

/// Does what was asked.
pub(super) async fn run(asked: Schedule, db: &mut PgConnection, screen: &Screen) -> Result<(), Failure> {
    match asked {
        Schedule::List => list(db, screen).await,
        Schedule::Run { name } => fire(db, screen, &name).await,
        Schedule::Pause { name } => set_paused(db, screen, &name, true).await,
        Schedule::Resume { name } => set_paused(db, screen, &name, false).await,
    }
}

/// A schedule under the names that programs rely on.
#[derive(Serialize)]
struct Line {
    name: String,
    cron: String,
    kind: String,
    args: serde_json::Value,
    catch_up: String,
    source: String,
    paused: bool,
    next_at: Option<DateTime<Utc>>,
    last_at: Option<DateTime<Utc>>,
}

async fn list(db: &mut PgConnection, screen: &Screen) -> Result<(), Failure> {
    let lines = sqlx::query_as!(
        Line,
        "SELECT name, cron, kind, args, catch_up, source, paused, next_at, last_at FROM bursar.schedule ORDER BY name"
    )
    .fetch_all(db)
    .await?;
    screen.rows(&lines, &["name", "next", "cron", "fires", "catch up", "last", "from"], |line| {
        let next = match (line.paused, line.next_at) {
            (true, _) => "paused".to_owned(),
            (false, Some(at)) => screen.moment(at),
            (false, None) => "never".to_owned(),
        };
        vec![
            line.name.clone(),
            next,
            line.cron.clone(),
            line.kind.clone(),
            line.catch_up.clone(),
            line.last_at.map_or_else(|| "never".to_owned(), stamp),
            line.source.clone(),
        ]
    })?;
    if lines.is_empty() {
        screen.note("there are no schedules: [schedules.NAME] in bursar.toml declares them, and a worker that starts takes them over");
    }
    Ok(())
}

#[derive(Serialize)]
struct Fired<'a> {
    schedule: &'a str,
    job: &'a str,
}

async fn fire(db: &mut PgConnection, screen: &Screen, name: &str) -> Result<(), Failure> {
    let mut tx = db.begin().await?;
    match schedules::run(&mut tx, name).await {
        Ok(job) => {
            at_keyboard().note(&mut *tx, "schedule.run", name, (None, Some(json!({ "job_id": job }))), None).await?;
            tx.commit().await?;
            screen.done(&Fired { schedule: name, job: &job }, &format!("{name} was fired: job {job}"))?;
            Ok(())
        }
        Err(RunError::Unknown(_)) => Err(unknown(name)),
        Err(RunError::Kind(error)) => Err(Failure::refused(
            error.to_string(),
            "the settings that declare it are of another version: restart the worker",
        )),
        Err(RunError::Database(error)) => Err(error.into()),
    }
}

#[derive(Serialize)]
struct Paused<'a> {
    schedule: &'a str,
    paused: bool,
}

async fn set_paused(db: &mut PgConnection, screen: &Screen, name: &str, paused: bool) -> Result<(), Failure> {
    let mut tx = db.begin().await?;
    let was = sqlx::query_scalar!("SELECT paused FROM bursar.schedule WHERE name = $1 FOR UPDATE", name)
        .fetch_optional(&mut *tx)
        .await?
        .ok_or_else(|| unknown(name))?;
    sqlx::query!("UPDATE bursar.schedule SET paused = $2 WHERE name = $1", name, paused).execute(&mut *tx).await?;
    let states = (Some(json!({ "paused": was })), Some(json!({ "paused": paused })));
    let what = if paused { "schedule.pause" } else { "schedule.resume" };
    at_keyboard().note(&mut *tx, what, name, states, None).await?;
    tx.commit().await?;
    let word = if paused { "paused" } else { "resumed" };
    screen.done(&Paused { schedule: name, paused }, &format!("{name} is {word}"))?;
    Ok(())
}

fn unknown(name: &str) -> Failure {
    Failure::not_found(format!("there is no schedule {name}"), "bursar schedule list shows those there are")
}
