//! `bursar dunning`: renewals whose payment failed, and what is done about each.

mod show;
mod stop;

use bursar_jobs::{
    base::money,
    desk::dunning::{self, Case},
};
use clap::{Subcommand, ValueEnum};
use sqlx::PgConnection;

use super::{
    Failure, Screen,
    values::{self, Limit, word_of},
};

/// What can be asked of cases of dunning.
#[derive(Debug, Subcommand)]
pub enum Dunning {
    /// List cases, newest first.
    #[command(after_help = "Example:\n  bursar dunning list --state open")]
    List {
        /// Only cases in this state.
        #[arg(long, value_enum)]
        state: Option<State>,
        /// Only this user's.
        #[arg(long, value_name = "USER", value_parser = values::word)]
        user: Option<String>,
        #[command(flatten)]
        limit: Limit,
    },
    /// Show one case: its steps, what came of each, and what is next.
    #[command(after_help = "Example:\n  bursar dunning show in_1Qk2")]
    Show {
        /// `in_…`
        #[arg(value_name = "INVOICE", value_parser = values::word)]
        invoice: String,
    },
    /// Stop a case: no more letters, retries, and no last step. The invoice stays open at Stripe.
    #[command(after_help = "Example:\n  bursar dunning stop in_1Qk2 --why 'pays by bank transfer, ticket 4711'")]
    Stop {
        /// `in_…`
        #[arg(value_name = "INVOICE", value_parser = values::word)]
        invoice: String,
        /// Why, for the record.
        #[arg(long, value_parser = values::sentence)]
        why: String,
    },
}

/// A case's state.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum State {
    /// It is being chased.
    Open,
    /// The last step paused its subscription; paying it ends that.
    Paused,
    /// The last step cancelled its subscription.
    Cancelled,
    /// The last step left it as it is.
    Exhausted,
    /// It was paid.
    Paid,
    /// Its invoice was made void.
    Void,
    /// Its invoice was given up.
    Uncollectible,
    /// Its subscription was over.
    Ended,
    /// An operator stopped it.
    Stopped,
}

fn next(case: &Case, screen: &Screen) -> Option<String> {
    case.next_step.as_ref().zip(case.next_at).map(|(step, at)| format!("{step} {}", screen.away(at)))
}

/// Does what was asked.
pub(super) async fn run(asked: Dunning, db: &mut PgConnection, screen: &Screen) -> Result<(), Failure> {
    match asked {
        Dunning::List { state, user, limit } => list(db, screen, state, user.as_deref(), limit).await,
        Dunning::Show { invoice } => show::run(db, screen, &invoice).await,
        Dunning::Stop { invoice, why } => stop::run(db, screen, &invoice, &why).await,
    }
}

fn no_such(invoice: &str) -> Failure {
    Failure::not_found(
        format!("there is no case of dunning for {invoice}"),
        "list them with: bursar dunning list; only a renewal whose payment failed has one",
    )
}

async fn list(
    db: &mut PgConnection,
    screen: &Screen,
    state: Option<State>,
    user: Option<&str>,
    limit: Limit,
) -> Result<(), Failure> {
    let mut cases = dunning::list(db, state.as_ref().map(word_of).as_deref(), user, None, limit.probe()).await?;
    let more = limit.cut(&mut cases);
    screen.rows(&cases, &["invoice", "user", "owed", "state", "failed", "next", "why"], |case| {
        vec![
            case.invoice_id.clone(),
            case.user_id.clone(),
            money::format(case.amount, &case.currency),
            case.state.clone(),
            screen.away(case.failed_at),
            next(case, screen).unwrap_or_default(),
            case.reason.clone().unwrap_or_default(),
        ]
    })?;
    if cases.is_empty() {
        screen.note("no such cases");
    }
    if more {
        screen.note("there are more: --limit N shows them");
    }
    Ok(())
}
