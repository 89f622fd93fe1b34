//! `bursar audit`: what operators did.

use std::time::Duration;

use bursar_jobs::{base::clock, desk::journal::ActFilter};
use chrono::TimeDelta;
use clap::Subcommand;
use sqlx::PgConnection;

use super::{
    Failure, Screen,
    screen::stamp,
    values::{self, Limit},
};

/// What can be asked of the audit.
#[derive(Debug, Subcommand)]
pub enum Audit {
    /// List what operators did, newest first: who, what, to what, and why; with --json also what it was before and after.
    #[command(
        after_help = "Examples:\n  bursar audit list --what payouts --since 7d\n  bursar audit list --subject job_99 --json"
    )]
    List {
        /// Only what this one did: the name of a token, or of a user of the system.
        #[arg(long, value_name = "NAME", value_parser = values::word)]
        who: Option<String>,
        /// Only what was done to this: a job, a user, an event, a schedule.
        #[arg(long, value_name = "ID", value_parser = values::word)]
        subject: Option<String>,
        /// Only this: jobs.retry, or all that begins so, like jobs.
        #[arg(long, value_parser = values::word)]
        what: Option<String>,
        /// Only what was done in this last length of time, like 90s, 15m, 2h, 7d or 4w.
        #[arg(long, value_name = "DURATION", value_parser = values::duration)]
        since: Option<Duration>,
        #[command(flatten)]
        limit: Limit,
    },
}

/// Does what was asked.
pub(super) async fn run(asked: Audit, db: &mut PgConnection, screen: &Screen) -> Result<(), Failure> {
    let Audit::List { who, subject, what, since, limit } = asked;
    // Acts are written down in real time.
    let since = since.and_then(|length| TimeDelta::from_std(length).ok()).map(|length| clock::now() - length);
    let mut acts = ActFilter { who, subject, what, since }.page(db, None, limit.probe()).await?;
    let more = limit.cut(&mut acts);
    screen.rows(&acts, &["when", "who", "what", "subject", "why"], |act| {
        vec![stamp(act.at), act.who.clone(), act.what.clone(), act.subject.clone(), act.why.clone().unwrap_or_default()]
    })?;
    if acts.is_empty() {
        screen.note("no such acts");
    }
    if more {
        screen.note("there are more: --limit N shows them");
    }
    Ok(())
}
