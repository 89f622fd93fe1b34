//! `bursar payouts`: what receivers are owed for verified jobs.

mod release;
mod reverse;
mod show;

use bursar_jobs::{credits::Credits, money};
use chrono::{DateTime, Utc};
use clap::{Subcommand, ValueEnum};
use serde::Serialize;
use sqlx::PgConnection;

use super::{
    Failure, Screen,
    values::{self, Limit, word_of},
};

/// What can be asked of payouts.
#[derive(Debug, Subcommand)]
pub enum Payouts {
    /// List payouts, newest first.
    #[command(after_help = "Example:\n  bursar payouts list --state held --receiver user_2")]
    List {
        /// Only payouts in this state.
        #[arg(long, value_enum)]
        state: Option<State>,
        /// Only payouts to this receiver.
        #[arg(long, value_name = "USER", value_parser = values::word)]
        receiver: Option<String>,
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
    /// first, or sent again under the same key: never a second Transfer.
    #[command(after_help = "Example:\n  bursar payouts release job_99")]
    Release {
        /// The id of the verified job it is owed for.
        #[arg(value_name = "JOB_ID")]
        job: String,
        /// Use a new key, where Stripe saved a failure under the old one and no Transfer is there. Look at Stripe's dashboard first.
        #[arg(long)]
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

/// A payout, under the names that programs rely on.
#[derive(Debug, Serialize)]
struct Payout {
    job_id: String,
    receiver_id: String,
    /// In the currency's minor unit.
    amount: i64,
    currency: String,
    state: String,
    transfer_id: Option<String>,
    /// What its Transfer sends, or sent; null before that is fixed.
    transfer_amount: Option<i64>,
    /// What of it settled debts of the receiver.
    netted: i64,
    /// What came back of its Transfer.
    returned: i64,
    /// What of it was reversed, and is owed no more.
    reversed: i64,
    /// What of that did not come back, and is not settled by later payouts yet.
    carried: i64,
    reason: Option<String>,
    skill: String,
    sender_id: Option<String>,
    recorded_at: DateTime<Utc>,
    #[serde(serialize_with = "as_credits")]
    credits: i64,
    event_id: Option<String>,
    changed_at: DateTime<Utc>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape that serde calls")]
fn as_credits<S: serde::Serializer>(micros: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    Credits::from_micros(*micros).serialize(serializer)
}

/// Does what was asked.
pub(super) async fn run(asked: Payouts, db: &mut PgConnection, screen: &Screen) -> Result<(), Failure> {
    match asked {
        Payouts::List { state, receiver, limit } => list(db, screen, state, receiver.as_deref(), limit).await,
        Payouts::Show { job } => show::run(db, screen, &job).await,
        Payouts::Reverse { job, why, amount, after_saved_failure } => {
            let asked = reverse::Asked { job: &job, why: &why, amount: amount.as_deref(), after_saved_failure };
            reverse::run(db, screen, &asked).await
        }
        Payouts::Release { job, after_saved_failure } => release::run(db, screen, &job, after_saved_failure).await,
    }
}

fn no_such(job: &str) -> Failure {
    Failure::not_found(format!("there is no payout for the job {job}"), "list them with: bursar payouts list")
}

async fn list(
    db: &mut PgConnection,
    screen: &Screen,
    state: Option<State>,
    receiver: Option<&str>,
    limit: Limit,
) -> Result<(), Failure> {
    let mut payouts = sqlx::query_as!(
        Payout,
        r#"SELECT job_id, receiver_id, amount, currency, state, transfer_id, skill, sender_id, recorded_at, credits,
                -- Of one that is held, what its receiver's account lacks now, unless something else stopped it.
                CASE WHEN state = 'held' AND reason NOT LIKE 'stopped: %' OR state = 'held' AND reason IS NULL
                     THEN coalesce(bursar.why_held(receiver_id), reason) ELSE reason END AS reason,
                event_id, changed_at, transfer_amount, netted, returned, undone AS reversed, greatest(carried - recovered, 0) AS "carried!"
         FROM bursar.payout
         WHERE ($1::text IS NULL OR state = $1) AND ($2::text IS NULL OR receiver_id = $2)
         ORDER BY recorded_at DESC, job_id DESC LIMIT $3"#,
        state.as_ref().map(word_of),
        receiver,
        limit.probe(),
    )
    .fetch_all(db)
    .await?;
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
