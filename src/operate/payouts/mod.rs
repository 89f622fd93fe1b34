//! `bursar payouts`: what receivers are owed for verified jobs.

mod release;
mod reverse;
mod show;

use std::time::Duration;

use bursar_jobs::{base::money, desk::PayoutFilter, payouts::state};
use chrono::{DateTime, Utc};
use clap::{Args, Subcommand, ValueEnum};
use sqlx::PgConnection;

use super::{
    Failure, Screen,
    values::{self, Limit, word_of},
};

/// Which payouts: the same as in the console.
#[derive(Debug, Args)]
pub struct Which {
    /// Only payouts in this state.
    #[arg(long, value_enum)]
    state: Option<State>,
    /// Only payouts to this receiver.
    #[arg(long, value_name = "USER", value_parser = values::word)]
    receiver: Option<String>,
    /// Only payouts in this currency, like usd.
    #[arg(long, value_parser = values::word)]
    currency: Option<String>,
    /// Only payouts that this limit holds.
    #[arg(long, value_name = "LIMIT", value_parser = ["minimum", "cap"])]
    held_by: Option<String>,
    /// Only payouts with these words in their job, receiver, sender, skill, Transfer, event or reason.
    #[arg(long, value_name = "WORDS", value_parser = values::sentence)]
    text: Option<String>,
    /// Only payouts that were recorded longer ago than this, like 90s, 15m, 2h, 7d or 4w.
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    older: Option<Duration>,
    /// Only payouts that were recorded in this last length of time.
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    since: Option<Duration>,
}

impl Which {
    fn filter(self, now: DateTime<Utc>) -> PayoutFilter {
        PayoutFilter {
            state: self.state.and_then(|state| state::State::parse(&word_of(&state))),
            receiver: self.receiver,
            currency: self.currency.map(|currency| currency.to_lowercase()),
            held_by: self.held_by,
            text: self.text,
            before: self.older.map(|length| now - length),
            since: self.since.map(|length| now - length),
        }
    }
}

/// What can be asked of payouts.
#[derive(Debug, Subcommand)]
pub enum Payouts {
    /// List payouts, newest first.
    #[command(after_help = "Example:\n  bursar payouts list --state held --receiver user_2")]
    List {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        limit: Limit,
    },
    /// Show one payout.
    #[command(after_help = "Example:\n  bursar payouts show job_99")]
    Show {
        /// The id of the verified job it is owed for.
        #[arg(value_name = "JOB_ID")]
        job: String,
    },
    /// Let a payout go: one that is held, was skipped or rejected, or whose outcome is not known. What may have left before is looked for
    /// first, and sent again only under the same key: never a second Transfer.
    ///
    /// Of all that match, it is shown first what that would mean: how many are safe, are done already, are unknown, and their sums. Those that
    /// were shown are let go, and no others.
    #[command(after_help = "Examples:\n  bursar payouts release job_99\n  \
                            bursar payouts release --state held --receiver user_2 --dry-run\n  \
                            bursar payouts release --state held --held-by cap --yes --why 'a busy day, looked at'")]
    Release {
        /// The id of the verified job it is owed for.
        #[arg(value_name = "JOB_ID")]
        job: Option<String>,
        #[command(flatten)]
        which: Which,
        /// Show what it would mean, and do nothing.
        #[arg(long)]
        dry_run: bool,
        /// Do it without being asked.
        #[arg(long, short)]
        yes: bool,
        /// Why, for whoever reads it later.
        #[arg(long, value_parser = values::sentence)]
        why: Option<String>,
        /// Use a new key, where Stripe saved a failure under the old one and no Transfer is there. Look at Stripe's dashboard first.
        #[arg(long, requires = "job")]
        after_saved_failure: bool,
    },
    /// Take back what was paid for a job, because it was refunded: by a Transfer reversal. What the receiver has not is carried, and netted
    /// from later payouts. Of one that was not sent, the debt is undone.
    #[command(after_help = "Examples:\n  bursar payouts reverse job_99 --why 'the sender was refunded'\n  \
                            bursar payouts reverse job_99 --amount 0.50 --why 'half of it was refunded'")]
    Reverse {
        /// The id of the verified job it was paid for.
        #[arg(value_name = "JOB_ID")]
        job: String,
        /// Why; kept with who asked.
        #[arg(long, value_parser = values::sentence)]
        why: String,
        /// Show what it would mean, and do nothing.
        #[arg(long)]
        dry_run: bool,
        /// How much of it is to be reversed in all, in the payout's currency, like 0.50; all of it otherwise. Asked again, it changes nothing.
        #[arg(long, value_name = "MONEY")]
        amount: Option<String>,
        /// Use a new key, where Stripe saved a failure under the old one and nothing has come back. Look at Stripe's dashboard first.
        #[arg(long)]
        after_saved_failure: bool,
    },
}

/// A payout's state.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum State {
    /// Owed, and not sent yet.
    Held,
    /// Its Transfer is being made.
    Sending,
    /// Whether its Transfer was made is not known.
    Unknown,
    /// Its Transfer was made.
    Paid,
    /// Stripe refused it.
    Rejected,
    /// Recorded while Stripe was off.
    Skipped,
    /// Its Transfer was reversed.
    Reversed,
}

/// Does what was asked.
pub(super) async fn run(asked: Payouts, db: &mut PgConnection, screen: &Screen) -> Result<(), Failure> {
    match asked {
        Payouts::List { which, limit } => list(db, screen, &which.filter(screen.now()), limit).await,
        Payouts::Show { job } => show::run(db, screen, &job).await,
        Payouts::Reverse { job, why, dry_run, amount, after_saved_failure } => {
            let asked =
                reverse::Asked { job: &job, why: &why, dry_run, amount: amount.as_deref(), after_saved_failure };
            reverse::run(db, screen, &asked).await
        }
        Payouts::Release { job, which, dry_run, yes, why, after_saved_failure } => {
            let filter = which.filter(screen.now());
            let why = why.as_deref();
            match (job, filter.is_empty()) {
                (Some(job), true) if dry_run => release::judge(db, screen, &job).await,
                (Some(job), true) => release::one(db, screen, &job, after_saved_failure, why).await,
                (None, false) => release::all(db, screen, &release::All { filter, dry_run, yes, why }).await,
                (Some(_), false) | (None, true) => Err(Failure::WrongUse {
                    why: "which payouts? Name one by its job, or say which by --state and other filters".into(),
                    hint: "for example: bursar payouts release --state held --dry-run".into(),
                }),
            }
        }
    }
}

fn no_such(job: &str) -> Failure {
    Failure::not_found(format!("there is no payout for the job {job}"), "list them with: bursar payouts list")
}

async fn list(db: &mut PgConnection, screen: &Screen, filter: &PayoutFilter, limit: Limit) -> Result<(), Failure> {
    let mut payouts = filter.page(db, None, limit.probe()).await?;
    let more = limit.cut(&mut payouts);
    screen.rows(
        &payouts,
        &["job", "receiver", "amount", "reversed", "state", "recorded", "Transfer", "why"],
        |payout| {
            vec![
                payout.job_id.clone(),
                payout.receiver_id.clone(),
                money::format(payout.amount, &payout.currency),
                if payout.reversed > 0 { money::format(payout.reversed, &payout.currency) } else { String::new() },
                payout.state.clone(),
                screen.away(payout.recorded_at),
                payout.transfer_id.clone().unwrap_or_default(),
                payout.reason.clone().unwrap_or_default(),
            ]
        },
    )?;
    if payouts.is_empty() {
        screen.note("no such payouts");
    }
    if more {
        screen.note("there are more: --limit N shows them");
    }
    Ok(())
}
