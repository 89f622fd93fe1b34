//! `bursar events`: the inbox.

mod gaps;
mod list;
mod replay;
mod show;

use std::time::Duration;

use bursar_jobs::kinds;
use clap::{Subcommand, ValueEnum};
use sqlx::PgConnection;

use super::{
    Failure, Screen,
    values::{self, Limit},
};

/// What can be asked of the inbox.
#[derive(Debug, Subcommand)]
pub enum Events {
    /// List events, newest first.
    #[command(after_help = "Example:\n  bursar events list --type invoice.paid --since 2h")]
    List {
        /// Only events of this type.
        #[arg(long = "type", value_name = "TYPE", value_parser = values::word)]
        kind: Option<String>,
        /// Only events from here.
        #[arg(long, value_enum)]
        source: Option<Sender>,
        /// Only events received in this last length of time, like 90s, 15m, 2h, 7d or 4w.
        #[arg(long, value_name = "DURATION", value_parser = values::duration)]
        since: Option<Duration>,
        #[command(flatten)]
        limit: Limit,
    },
    /// How far Stripe's own list of events was compared with the inbox, and what had never arrived.
    #[command(
        after_help = "A worker compares every quarter of an hour (`bursar schedule list`: event-watch). What never arrived is \
                            taken and acted on; this command only shows it.\n\nExample:\n  bursar events gaps"
    )]
    Gaps {
        #[command(flatten)]
        limit: Limit,
    },
    /// Show one event: its envelope, its body, and what it caused.
    #[command(after_help = "Example:\n  bursar events show evt_1Qk2")]
    Show {
        /// The event's id.
        id: String,
    },
    /// Run an event's job again. What it did before it does not do twice: every effect has its key.
    #[command(after_help = "Example:\n  bursar events replay evt_1Qk2")]
    Replay {
        /// The event's id.
        id: String,
        /// Why, for whoever reads it later.
        #[arg(long, value_parser = values::sentence)]
        why: Option<String>,
    },
}

/// Who sent an event.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Sender {
    /// Stripe.
    Stripe,
    /// The application itself.
    Verification,
}

/// Does what was asked.
pub(super) async fn run(asked: Events, db: &mut PgConnection, screen: &Screen) -> Result<(), Failure> {
    match asked {
        Events::List { kind, source, since, limit } => {
            list::list(db, screen, kind.as_deref(), source, since, limit).await
        }
        Events::Gaps { limit } => gaps::gaps(db, screen, limit).await,
        Events::Show { id } => show::show(db, screen, &id).await,
        Events::Replay { id, why } => replay::replay(db, screen, &id, why.as_deref()).await,
    }
}

fn not_found(id: &str) -> Failure {
    Failure::not_found(
        format!("there is no event {id} in the inbox"),
        "list them with: bursar events list; what Stripe sent is in its dashboard under Developers, Events",
    )
}

/// The kinds that an event may have become.
fn kinds() -> Vec<String> {
    kinds::ALL.iter().map(|kind| kind.name.to_owned()).collect()
}
