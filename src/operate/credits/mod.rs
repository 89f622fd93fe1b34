//! `bursar credits`: a user's account, and the three ways an operator moves credits.

mod change;
mod history;
mod unflag;

use bursar_jobs::{
    base::credits::Credits as Amount,
    desk::{
        accounts::{self, Flag},
        adjust_credits::Way,
    },
    ledger,
};
use clap::{Args, Subcommand};
use serde::Serialize;
use sqlx::PgConnection;

use super::{
    Failure, Screen,
    values::{self, Limit},
};

/// What can be asked of a user's credits.
#[derive(Debug, Subcommand)]
pub enum Credits {
    /// How many credits a user has.
    #[command(after_help = "Example:\n  bursar credits balance user_1")]
    Balance {
        /// The user's id.
        #[arg(value_parser = values::word)]
        user: String,
    },
    /// Where a user's credits came from and went to, newest first.
    #[command(after_help = "Example:\n  bursar credits history user_1 --limit 10")]
    History {
        /// The user's id.
        #[arg(value_parser = values::word)]
        user: String,
        #[command(flatten)]
        limit: Limit,
    },
    /// Give credits to a user, once for its key.
    #[command(after_help = "Example:\n  bursar credits grant user_1 25 --key ticket-4711 --why 'outage on Monday'")]
    Grant(Move),
    /// Take credits from a user, once for its key. The balance may go below zero.
    #[command(
        after_help = "Example:\n  bursar credits revoke user_1 25 --key ticket-4712 --why 'granted to the wrong user'"
    )]
    Revoke(Move),
    /// Spend a user's credits, once for its key. Refused where the balance does not cover it.
    #[command(after_help = "Example:\n  bursar credits spend user_1 2 --key job-99 --ref job-99")]
    Spend {
        /// The user's id.
        #[arg(value_parser = values::word)]
        user: String,
        /// Credits, like 150 or 2.5.
        #[arg(value_parser = values::amount, allow_negative_numbers = true)]
        amount: Amount,
        /// What makes a repetition harmless: one spend for a user and a key.
        #[arg(long, value_parser = values::word)]
        key: String,
        /// What it was for.
        #[arg(long = "ref", value_name = "REF", value_parser = values::word)]
        reference: Option<String>,
    },
    /// Take a dispute's flag from a user, once somebody has looked. Credits stay as they are.
    #[command(after_help = "Example:\n  bursar credits unflag user_1 du_1Nv2 --why 'paid by bank transfer'")]
    Unflag {
        /// The user's id.
        #[arg(value_parser = values::word)]
        user: String,
        /// The dispute.
        #[arg(value_parser = values::word)]
        dispute: String,
        /// Why, for the record.
        #[arg(long, value_parser = values::sentence)]
        why: String,
    },
}

/// An amount that a person moves.
#[derive(Debug, Args)]
pub struct Move {
    /// The user's id.
    #[arg(value_parser = values::word)]
    user: String,
    /// Credits, like 150 or 2.5.
    #[arg(value_parser = values::amount, allow_negative_numbers = true)]
    amount: Amount,
    /// What makes a repetition harmless: one posting for a key. Made and shown where it is not given.
    #[arg(long, value_parser = values::word)]
    key: Option<String>,
    /// Why, for whoever reads the books later.
    #[arg(long, value_parser = values::sentence)]
    why: String,
    /// Who does it; the name of the system's user where it is not given.
    #[arg(long, value_name = "NAME", value_parser = values::word)]
    by: Option<String>,
}

/// Does what was asked.
pub(super) async fn run(asked: Credits, db: &mut PgConnection, screen: &Screen) -> Result<(), Failure> {
    match asked {
        Credits::Balance { user } => balance(db, screen, &user).await,
        Credits::History { user, limit } => history::history(db, screen, &user, limit).await,
        Credits::Grant(asked) => change::by_hand(db, screen, asked, Way::Grant).await,
        Credits::Revoke(asked) => change::by_hand(db, screen, asked, Way::Removal).await,
        Credits::Unflag { user, dispute, why } => unflag::run(db, screen, &user, &dispute, &why).await,
        Credits::Spend { user, amount, key, reference } => {
            change::spend(db, screen, &user, amount, &key, reference.as_deref()).await
        }
    }
}

#[derive(Serialize)]
#[expect(clippy::struct_field_names, reason = "the name that programs rely on")]
struct Balance<'a> {
    user_id: &'a str,
    balance: Amount,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    flags: Vec<Flag>,
}

async fn balance(db: &mut PgConnection, screen: &Screen, user: &str) -> Result<(), Failure> {
    let balance = ledger::balance(&mut *db, user).await?;
    let flags = accounts::flags(&mut *db, user).await?;
    let words: Vec<String> = flags.iter().map(|flag| format!("{} {}", flag.flag, flag.source)).collect();
    let flagged = if words.is_empty() { String::new() } else { format!("; flagged: {}", words.join(", ")) };
    screen.done(&Balance { user_id: user, balance, flags }, &format!("{user} has {balance} credits{flagged}"))?;
    if accounts::credits(db, user).await?.is_none() {
        screen.note(&format!("there is no account {user}: nothing was ever posted to it"));
    }
    Ok(())
}
