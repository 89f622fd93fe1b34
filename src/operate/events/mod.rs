//! `bursar events`: the inbox.

mod gaps;
mod list;
mod replay;
mod show;

use std::time::Duration;

use bursar_jobs::{desk::events::EventFilter, envelope::Source};
use chrono::TimeDelta;
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
        /// Only events about this object: `in_…`, `cus_…`, a verified job.
        #[arg(long, value_name = "ID", value_parser = values::word)]
        object: Option<String>,
        /// Only this user's: those that caused a posting or a payout of theirs, or are about an object that is known to be theirs.
        #[arg(long, value_name = "USER", value_parser = values::word)]
        user: Option<String>,
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

impl From<Sender> for Source {
    fn from(sender: Sender) -> Self {
        match sender {
            Sender::Stripe => Self::Stripe,
            Sender::Verification => Self::Verification,
        }
    }
}

/// Does what was asked.
pub(super) async fn run(asked: Events, db: &mut PgConnection, screen: &Screen) -> Result<(), Failure> {
    match asked {
        Events::List { kind, source, object, user, since, limit } => {
            let since = since.and_then(|length| TimeDelta::from_std(length).ok()).map(|length| screen.now() - length);
            let source = source.map(Source::from);
            let filter = EventFilter { kind, source, object, user, since, ..EventFilter::default() };
            list::list(db, screen, &filter, limit).await
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
