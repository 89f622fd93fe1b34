//! `bursar schedule`: what runs by the calendar; firing, pausing.

use bursar_jobs::{desk::schedules, schedules::RunError};
use clap::Subcommand;
use serde::Serialize;
use sqlx::PgConnection;

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
        /// Why, for whoever reads it later.
        #[arg(long, value_parser = values::sentence)]
        why: Option<String>,
    },
    /// Let ticks pass without firing.
    #[command(after_help = "Example:\n  bursar schedule pause nightly")]
    Pause {
        /// The schedule.
        #[arg(value_parser = values::word)]
        name: String,
        /// Why, for whoever reads it later.
        #[arg(long, value_parser = values::sentence)]
        why: Option<String>,
    },
    /// Let ticks fire again, from the next one on.
    #[command(after_help = "Example:\n  bursar schedule resume nightly")]
    Resume {
        /// The schedule.
        #[arg(value_parser = values::word)]
        name: String,
        /// Why, for whoever reads it later.
        #[arg(long, value_parser = values::sentence)]
        why: Option<String>,
    },
}

/// Does what was asked.
pub(super) async fn run(asked: Schedule, db: &mut PgConnection, screen: &Screen) -> Result<(), Failure> {
    match asked {
        Schedule::List => list(db, screen).await,
        Schedule::Run { name, why } => fire(db, screen, &name, why.as_deref()).await,
        Schedule::Pause { name, why } => set_paused(db, screen, &name, true, why.as_deref()).await,
        Schedule::Resume { name, why } => set_paused(db, screen, &name, false, why.as_deref()).await,
    }
}

async fn list(db: &mut PgConnection, screen: &Screen) -> Result<(), Failure> {
    let lines = schedules::list(db).await?;
    screen.rows(&lines, &["name", "next", "cron", "fires", "catch up", "last", "from", "came to"], |line| {
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
            line.last_job_state.clone().unwrap_or_default(),
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

async fn fire(db: &mut PgConnection, screen: &Screen, name: &str, why: Option<&str>) -> Result<(), Failure> {
    match schedules::run(db, &at_keyboard(), name, why).await {
        Ok(job) => {
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

async fn set_paused(
    db: &mut PgConnection,
    screen: &Screen,
    name: &str,
    paused: bool,
    why: Option<&str>,
) -> Result<(), Failure> {
    if !schedules::set_paused(db, &at_keyboard(), name, paused, why).await? {
        return Err(unknown(name));
    }
    let word = if paused { "paused" } else { "resumed" };
    screen.done(&Paused { schedule: name, paused }, &format!("{name} is {word}"))?;
    Ok(())
}

fn unknown(name: &str) -> Failure {
    Failure::not_found(format!("there is no schedule {name}"), "bursar schedule list shows those there are")
}
