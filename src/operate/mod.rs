//! What an operator does from the command line: look at events, jobs, credits and payouts, and put right what needs a hand.
//!
//! Every command works on one connection. Data goes to stdout, words to stderr; `--json` gives one object a line.

mod audit;
mod credits;
mod dunning;
mod events;
mod failure;
mod jobs;
mod ledger;
mod payouts;
mod reconcile;
mod report;
mod schedule;
mod screen;
mod subscriptions;
mod table;
mod tokens;
mod usage;
mod values;

use bursar_jobs::base::clock;
use clap::{Args, Subcommand};
use sqlx::PgConnection;

pub use failure::Failure;
pub use screen::{Screen, report};
pub use values::duration;

/// The operator's commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// The inbox: what was received, and what became of it.
    #[command(after_help = "Example:\n  bursar events list --type invoice.paid")]
    Events(Asked<events::Events>),
    /// The queue: what runs, what waits, what is dead.
    #[command(after_help = "Example:\n  bursar jobs list --state dead")]
    Jobs(Asked<jobs::Jobs>),
    /// Users' credits: how many, where from; grant, revoke, spend.
    #[command(after_help = "Example:\n  bursar credits history user_1")]
    Credits(Asked<credits::Credits>),
    /// What receivers are owed and were paid.
    #[command(after_help = "Example:\n  bursar payouts list --state held")]
    Payouts(Asked<payouts::Payouts>),
    /// Renewals whose payment failed: letters, retries, the last step; stop one.
    #[command(after_help = "Example:\n  bursar dunning list")]
    Dunning(Asked<dunning::Dunning>),
    /// Users' subscriptions, as Stripe has them: which tier, until when; move one to another price.
    #[command(after_help = "Example:\n  bursar subscriptions list --user user_1")]
    Subscriptions(Asked<subscriptions::Subscriptions>),
    /// What runs by the calendar.
    #[command(after_help = "Example:\n  bursar schedule list")]
    Schedule(Asked<schedule::Schedule>),
    /// What operators did: who, what, to what, why.
    #[command(after_help = "Example:\n  bursar audit list --since 7d")]
    Audit(Asked<audit::Audit>),
    /// Who may sign in to the console, and as what.
    #[command(after_help = "Example:\n  bursar tokens list")]
    Tokens(Asked<tokens::Tokens>),
    /// What metered skills were used for, and what Stripe was told of it.
    #[command(after_help = "Example:\n  bursar usage list")]
    Usage(Asked<usage::Usage>),
    /// Compare a month at Stripe with the books, by the worker: what is missing, what is too much; and repair it.
    #[command(
        after_help = "A worker does it, with its key: the run goes on when this command ends. Exit code 1: something is left.\n\n\
                      Example:\n  bursar reconcile --month 2026-10\n  bursar reconcile --month 2026-10 --repair"
    )]
    Reconcile(reconcile::Reconcile),
    /// How a week went: payments, recurring revenue, dunning, credits, payouts, and what is to be seen to.
    #[command(after_help = report::FIGURES)]
    Report(report::Report),
    /// The books.
    #[command(after_help = "Example:\n  bursar ledger verify")]
    Ledger(Asked<ledger::Ledger>),
}

/// A command, and how its answer is wanted.
#[derive(Debug, Args)]
pub struct Asked<T: Subcommand> {
    /// Print one JSON object a line.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    what: T,
}

/// Does what was asked.
pub async fn run(command: Command, db: &mut PgConnection) -> Result<(), Failure> {
    let now = clock::business(&mut *db).await?;
    match command {
        Command::Events(asked) => events::run(asked.what, db, &Screen::new(asked.json, now)).await,
        Command::Jobs(asked) => jobs::run(asked.what, db, &Screen::new(asked.json, now)).await,
        Command::Credits(asked) => credits::run(asked.what, db, &Screen::new(asked.json, now)).await,
        Command::Payouts(asked) => payouts::run(asked.what, db, &Screen::new(asked.json, now)).await,
        Command::Dunning(asked) => dunning::run(asked.what, db, &Screen::new(asked.json, now)).await,
        Command::Subscriptions(asked) => subscriptions::run(asked.what, db, &Screen::new(asked.json, now)).await,
        Command::Schedule(asked) => schedule::run(asked.what, db, &Screen::new(asked.json, now)).await,
        Command::Audit(asked) => audit::run(asked.what, db, &Screen::new(asked.json, now)).await,
        Command::Tokens(asked) => tokens::run(asked.what, db, &Screen::new(asked.json, now)).await,
        Command::Usage(asked) => usage::run(asked.what, db, &Screen::new(asked.json, now)).await,
        Command::Reconcile(asked) => {
            let screen = Screen::new(asked.is_json(), now);
            reconcile::run(asked, db, &screen).await
        }
        Command::Report(asked) => {
            let screen = Screen::new(asked.is_json(), now);
            report::run(asked, db, &screen).await
        }
        Command::Ledger(asked) => ledger::run(asked.what, db, &Screen::new(asked.json, now)).await,
    }
}
