//! `bursar jobs`: the queue, in the words of the view `bursar.job`.

mod change;
mod list;
mod pause;
mod show;

use clap::Subcommand;
use sqlx::PgConnection;

use super::{
    Failure, Screen,
    values::{self, Limit},
};

pub(super) use change::{State, lock, put_back};

/// What can be asked of the queue.
#[derive(Debug, Subcommand)]
pub enum Jobs {
    /// List jobs, newest first.
    #[command(after_help = "Example:\n  bursar jobs list --state dead --kind refill_tier")]
    List {
        /// Only jobs in this state.
        #[arg(long, value_enum)]
        state: Option<State>,
        /// Only jobs of this kind.
        #[arg(long, value_parser = values::word)]
        kind: Option<String>,
        #[command(flatten)]
        limit: Limit,
    },
    /// Show one job: its state and why, every attempt with its errors, its arguments, and what to do next.
    #[command(after_help = "Example:\n  bursar jobs show 01993c5e-7a00-7cc3-8c4e-0a8b7d6f1e2d")]
    Show {
        /// The job's id.
        id: String,
    },
    /// Make dead or cancelled jobs ready again, with their full number of attempts.
    #[command(after_help = "Example:\n  bursar jobs retry 01993c5e-7a00-7cc3-8c4e-0a8b7d6f1e2d\n  \
                            bursar jobs list --state dead --json | jq -r .id | xargs bursar jobs retry")]
    Retry {
        /// The jobs' ids.
        #[arg(required = true)]
        ids: Vec<String>,
    },
    /// Cancel jobs that are not done. What a running one did in the database is rolled back.
    #[command(
        after_help = "Example:\n  bursar jobs cancel 01993c5e-7a00-7cc3-8c4e-0a8b7d6f1e2d --why 'sent by mistake'"
    )]
    Cancel {
        /// The jobs' ids.
        #[arg(required = true)]
        ids: Vec<String>,
        /// Why, for whoever reads it later.
        #[arg(long, value_parser = values::sentence)]
        why: Option<String>,
    },
    /// Start no more jobs of a kind; those that run end as usual.
    #[command(after_help = "Example:\n  bursar jobs pause refill_tier")]
    Pause {
        /// The kind.
        #[arg(value_parser = values::known_kinds())]
        kind: String,
    },
    /// Start jobs of a paused kind again.
    #[command(after_help = "Example:\n  bursar jobs resume refill_tier")]
    Resume {
        /// The kind.
        #[arg(value_parser = values::known_kinds())]
        kind: String,
    },
}

/// Does what was asked.
pub(super) async fn run(asked: Jobs, db: &mut PgConnection, screen: &Screen) -> Result<(), Failure> {
    match asked {
        Jobs::List { state, kind, limit } => list::list(db, screen, state, kind.as_deref(), limit).await,
        Jobs::Show { id } => show::show(db, screen, &id).await,
        Jobs::Retry { ids } => change::retry(db, screen, &ids).await,
        Jobs::Cancel { ids, why } => change::cancel(db, screen, &ids, why.as_deref()).await,
        Jobs::Pause { kind } => pause::pause(db, screen, &kind).await,
        Jobs::Resume { kind } => pause::resume(db, screen, &kind).await,
    }
}

fn not_found(id: &str) -> Failure {
    Failure::not_found(
        format!("there is no job {id}"),
        "list them with: bursar jobs list (done jobs are pruned after a while)",
    )
}
