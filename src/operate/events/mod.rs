//! `bursar events`: the inbox.

mod gaps;
mod list;
mod replay;
mod show;

use std::time::Duration;

use bursar_jobs::{
    desk::{JobFilter, State, bulk::Verb, events::EventFilter},
    inbox::envelope::Source,
};
use clap::{Args, Subcommand, ValueEnum};
use sqlx::PgConnection;

use super::{
    Failure, Screen,
    jobs::{How, all},
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
        /// Only events received longer ago than this, like 90s, 15m, 2h, 7d or 4w.
        #[arg(long, value_name = "DURATION", value_parser = values::duration)]
        older: Option<Duration>,
        /// Only events received in this last length of time.
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
    /// Run an event's job again, or all done ones that match. What they did before they do not do twice: every effect has its key.
    #[command(after_help = "Example:\n  bursar events replay evt_1Qk2\n  \
                            bursar events replay --kind refill_tier --since 2d --dry-run")]
    Replay {
        /// The event's id.
        id: Option<String>,
        #[command(flatten)]
        which: Again,
        #[command(flatten)]
        how: How,
    },
}

/// Which events: those whose jobs are done, and match.
#[derive(Debug, Args)]
pub struct Again {
    /// Only events that became jobs of this kind.
    #[arg(long, value_parser = values::known_kinds())]
    kind: Option<String>,
    /// Only events whose job was skipped with these words.
    #[arg(long, value_name = "WORDS", value_parser = values::sentence)]
    reason: Option<String>,
    /// Only events whose job was done longer ago than this, like 90s, 15m, 2h, 7d or 4w.
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    older: Option<Duration>,
    /// Only events whose job was done in this last length of time.
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    since: Option<Duration>,
}

impl Again {
    fn is_empty(&self) -> bool {
        self.kind.is_none() && self.reason.is_none() && self.older.is_none() && self.since.is_none()
    }
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
        Events::List { kind, source, object, user, older, since, limit } => {
            let ago = |length: Duration| screen.now() - length;
            let (before, since, source) = (older.map(ago), since.map(ago), source.map(Source::from));
            let filter = EventFilter { id: None, kind, source, object, user, before, since };
            list::list(db, screen, &filter, limit).await
        }
        Events::Gaps { limit } => gaps::gaps(db, screen, limit).await,
        Events::Show { id } => show::show(db, screen, &id).await,
        Events::Replay { id, which, how } => again(db, screen, id, which, how).await,
    }
}

async fn again(
    db: &mut PgConnection,
    screen: &Screen,
    id: Option<String>,
    which: Again,
    how: How,
) -> Result<(), Failure> {
    let why = how.why.as_deref();
    match id {
        Some(id) if which.is_empty() && !how.dry_run => replay::replay(db, screen, &id, why).await,
        None if !which.is_empty() => {
            let ago = |length: Duration| screen.now() - length;
            let filter = JobFilter {
                state: Some(State::Done),
                kind: which.kind,
                error: which.reason,
                before: which.older.map(ago),
                since: which.since.map(ago),
                ..JobFilter::default()
            };
            let asked = all::Asked { verb: Verb::Replay, filter, dry_run: how.dry_run, yes: how.yes, why };
            all::run(db, screen, asked).await
        }
        Some(_) | None => Err(Failure::WrongUse {
            why: "which events? Name one, or say which by --kind, --reason, --older or --since".into(),
            hint: "for example: bursar events replay --kind refill_tier --since 2d --dry-run".into(),
        }),
    }
}

fn not_found(id: &str) -> Failure {
    Failure::not_found(
        format!("there is no event {id} in the inbox"),
        "list them with: bursar events list; what Stripe sent is in its dashboard under Developers, Events",
    )
}
