//! `bursar reconcile`: a month at Stripe compared with the books, by a worker; here it is asked for, watched and read.

mod show;
mod watch;

use bursar_jobs::{desk::runs, reconciliation};
use clap::{Args, Subcommand};
use sqlx::{Connection, PgConnection};

use super::{Failure, Screen, values};

/// What can be asked of reconciliations.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Reconcile {
    /// The month, such as 2026-10, in UTC; by default the last one that is over.
    #[arg(long, value_name = "MONTH")]
    month: Option<String>,
    /// Repair what can be repaired without a judgement.
    #[arg(long)]
    repair: bool,
    /// Print one JSON object.
    #[arg(long, global = true)]
    json: bool,
    /// Something else than comparing a month.
    #[command(subcommand)]
    action: Option<Action>,
}

/// What else can be asked.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// List what was compared, newest first.
    #[command(after_help = "Example:\n  bursar reconcile list")]
    List {
        #[command(flatten)]
        limit: values::Limit,
    },
    /// Show what one comparison found, with the evidence.
    #[command(after_help = "Example:\n  bursar reconcile show 2026-10.1 --json")]
    Show {
        /// Its id: the month, and which comparison of it.
        #[arg(value_name = "RUN", value_parser = values::word)]
        run: String,
    },
    /// Say of a finding that it was looked at and may stay: no comparison counts it again while it is the same.
    #[command(after_help = "Example:\n  bursar reconcile judge 17 --why 'paid by hand before we had bursar'")]
    Judge {
        /// The finding's number.
        finding: i64,
        /// Why it may stay.
        #[arg(long, value_parser = values::sentence)]
        why: String,
    },
}

impl Reconcile {
    /// Whether the answer is wanted as JSON.
    pub(super) fn is_json(&self) -> bool {
        self.json
    }
}

/// Does what was asked.
pub(super) async fn run(asked: Reconcile, db: &mut PgConnection, screen: &Screen) -> Result<(), Failure> {
    match asked.action {
        None => compare(db, screen, asked.month.as_deref(), asked.repair).await,
        Some(Action::List { limit }) => show::list(db, screen, limit).await,
        Some(Action::Show { run }) => show::one(db, screen, &run).await,
        Some(Action::Judge { finding, why }) => show::judge(db, screen, finding, &why).await,
    }
}

async fn compare(db: &mut PgConnection, screen: &Screen, month: Option<&str>, repair: bool) -> Result<(), Failure> {
    let month = match month {
        None => reconciliation::last_month(screen.now()),
        Some(text) => reconciliation::month_of(text, screen.now()).map_err(|why| Failure::WrongUse {
            why,
            hint: "name a month that is over, in UTC, such as: bursar reconcile --month 2026-10".to_owned(),
        })?,
    };
    let mut tx = db.begin().await?;
    let begun = runs::begin(&mut tx, &values::at_keyboard(), month, repair, None).await?;
    tx.commit().await?;
    if begun.joined {
        screen.note(&format!("{} is running already: watching it", begun.run));
    }
    watch::until_over(db, screen, &begun.run).await?;
    show::verdict(db, screen, &begun.run, repair).await
}
