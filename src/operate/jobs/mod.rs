//! `bursar jobs`: the queue, in the words of the view `bursar.job`.

pub(super) mod all;
mod change;
mod list;
mod pause;
mod show;

use std::time::Duration;

use bursar_jobs::desk::{JobFilter, State, bulk::Verb};
use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use sqlx::PgConnection;

use super::{
    Failure, Screen,
    values::{self, Limit},
};

/// Which jobs: the same as in the console.
#[derive(Debug, Args)]
pub struct Which {
    /// Only jobs in this state: ready, scheduled, running, done, dead or cancelled.
    #[arg(long, value_parser = values::state)]
    state: Option<State>,
    /// Only jobs of this kind.
    #[arg(long, value_parser = values::word)]
    kind: Option<String>,
    /// Only jobs with these words in their reason or last error.
    #[arg(long, value_name = "WORDS", value_parser = values::sentence)]
    error: Option<String>,
    /// Only jobs with these words in their id, key, cause or arguments.
    #[arg(long, value_name = "WORDS", value_parser = values::sentence)]
    text: Option<String>,
    /// Only jobs that ended (or, not over yet, were enqueued) longer ago than this, like 90s, 15m, 2h, 7d or 4w.
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    older: Option<Duration>,
    /// Only jobs that ended (or, not over yet, were enqueued) in this last length of time.
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    since: Option<Duration>,
}

impl Which {
    fn filter(self, now: DateTime<Utc>) -> JobFilter {
        let ago = |length: Duration| now - length;
        JobFilter {
            state: self.state,
            kind: self.kind,
            error: self.error,
            text: self.text,
            before: self.older.map(ago),
            since: self.since.map(ago),
        }
    }

    fn is_empty(&self) -> bool {
        self.kind.is_none()
            && self.state.is_none()
            && self.error.is_none()
            && self.text.is_none()
            && self.older.is_none()
            && self.since.is_none()
    }
}

/// How it is done.
#[derive(Debug, Args)]
pub struct How {
    /// Show what it would mean (how many are safe, done already, unknown, and the amount), and do nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Do it without being asked.
    #[arg(long, short)]
    pub yes: bool,
    /// Why, for whoever reads it later.
    #[arg(long, value_parser = values::sentence)]
    pub why: Option<String>,
}

/// What can be asked of the queue.
#[derive(Debug, Subcommand)]
pub enum Jobs {
    /// List jobs, newest first.
    #[command(after_help = "Example:\n  bursar jobs list --state dead --kind refill_tier")]
    List {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        limit: Limit,
    },
    /// Show one job: its state and why, every attempt with its errors, its arguments, and what to do next.
    #[command(after_help = "Example:\n  bursar jobs show 01993c5e-7a00-7cc3-8c4e-0a8b7d6f1e2d")]
    Show {
        /// The job's id.
        id: String,
    },
    /// Make dead or cancelled jobs ready again, with their full number of attempts: those named, or all that match.
    ///
    /// What it would mean is shown first: how many are safe, how many had their effect already, and how many are unknown. What may have
    /// left is looked for at Stripe before anything is sent.
    #[command(after_help = "Example:\n  bursar jobs retry 01993c5e-7a00-7cc3-8c4e-0a8b7d6f1e2d\n  \
                            bursar jobs retry --state dead --kind pay_receiver --dry-run\n  \
                            bursar jobs retry --state dead --error 'sells no tier' --yes")]
    Retry {
        /// The jobs' ids.
        ids: Vec<String>,
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        how: How,
    },
    /// Cancel jobs that are not done: those named, or all that match. What a running one did in the database is rolled back.
    #[command(
        after_help = "Example:\n  bursar jobs cancel 01993c5e-7a00-7cc3-8c4e-0a8b7d6f1e2d --why 'sent by mistake'\n  \
                      bursar jobs cancel --state dead --kind note_event --older 30d"
    )]
    Cancel {
        /// The jobs' ids.
        ids: Vec<String>,
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        how: How,
    },
    /// Start no more jobs of a kind; those that run end as usual.
    #[command(after_help = "Example:\n  bursar jobs pause refill_tier --why 'the prices are wrong'")]
    Pause {
        /// The kind.
        #[arg(value_parser = values::known_kinds())]
        kind: String,
        /// Why, for whoever reads it later.
        #[arg(long, value_parser = values::sentence)]
        why: Option<String>,
    },
    /// Start jobs of a paused kind again.
    #[command(after_help = "Example:\n  bursar jobs resume refill_tier")]
    Resume {
        /// The kind.
        #[arg(value_parser = values::known_kinds())]
        kind: String,
        /// Why, for whoever reads it later.
        #[arg(long, value_parser = values::sentence)]
        why: Option<String>,
    },
}

/// Does what was asked.
pub(super) async fn run(asked: Jobs, db: &mut PgConnection, screen: &Screen) -> Result<(), Failure> {
    match asked {
        Jobs::List { which, limit } => list::list(db, screen, &which.filter(screen.now()), limit).await,
        Jobs::Show { id } => show::show(db, screen, &id).await,
        Jobs::Retry { ids, which, how } => act(db, screen, Verb::Retry, ids, which, how).await,
        Jobs::Cancel { ids, which, how } => act(db, screen, Verb::Cancel, ids, which, how).await,
        Jobs::Pause { kind, why } => pause::pause(db, screen, &kind, why.as_deref()).await,
        Jobs::Resume { kind, why } => pause::resume(db, screen, &kind, why.as_deref()).await,
    }
}

async fn act(
    db: &mut PgConnection,
    screen: &Screen,
    verb: Verb,
    ids: Vec<String>,
    which: Which,
    how: How,
) -> Result<(), Failure> {
    let why = how.why.as_deref();
    match (ids.is_empty(), which.is_empty()) {
        (true, false) => {
            let filter = which.filter(screen.now());
            all::run(db, screen, all::Asked { verb, filter, dry_run: how.dry_run, yes: how.yes, why }).await
        }
        (false, true) if !how.dry_run => change::each(db, screen, verb, &ids, why).await,
        (false, true) => all::judge(db, screen, verb, &ids).await,
        (true, true) | (false, false) => Err(Failure::WrongUse {
            why: "which jobs? Name their ids, or say which by --state, --kind, --error, --text, --older or --since"
                .into(),
            hint: "for example: bursar jobs retry --state dead --dry-run".into(),
        }),
    }
}

fn not_found(id: &str) -> Failure {
    Failure::not_found(
        format!("there is no job {id}"),
        "list them with: bursar jobs list (done jobs are pruned after a while)",
    )
}
