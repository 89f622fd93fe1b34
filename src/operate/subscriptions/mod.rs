//! `bursar subscriptions`: what Stripe says of them, and moving one to another price.

mod relocate;
mod show;

use bursar_jobs::desk::subscriptions::SubscriptionFilter;
use clap::{Subcommand, ValueEnum};
use sqlx::PgConnection;

use super::{
    Failure, Screen,
    screen::stamp,
    values::{self, Limit},
};

/// What can be asked of subscriptions.
#[derive(Debug, Subcommand)]
pub enum Subscriptions {
    /// List subscriptions, last changed first.
    #[command(after_help = "Example:\n  bursar subscriptions list --status past_due")]
    List {
        /// Only in this state, in Stripe's words: active, trialing, past_due, unpaid, paused, canceled, incomplete.
        #[arg(long, value_parser = values::word)]
        status: Option<String>,
        /// Only this user's.
        #[arg(long, value_name = "USER", value_parser = values::word)]
        user: Option<String>,
        /// Only of this tier.
        #[arg(long, value_parser = values::word)]
        tier: Option<String>,
        #[command(flatten)]
        limit: Limit,
    },
    /// Show one subscription, and the months that were refilled.
    #[command(after_help = "Example:\n  bursar subscriptions show sub_1Qk2")]
    Show {
        /// `sub_…`
        #[arg(value_name = "SUB", value_parser = values::word)]
        id: String,
    },
    /// Move a subscription to another price of a tier: at its renewal, so that nothing is granted before it is paid, or now.
    #[command(after_help = "Example:\n  bursar subscriptions move sub_1Qk2 --price price_pro_annual")]
    Move {
        /// `sub_…`
        #[arg(value_name = "SUB", value_parser = values::word)]
        id: String,
        /// The Stripe price that it moves to.
        #[arg(long, value_parser = values::word)]
        price: String,
        /// At its renewal, without a proration; or now, with one.
        #[arg(long, value_enum, default_value_t = When::Renewal)]
        when: When,
    },
}

/// When a move takes place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum When {
    /// When the paid period is over.
    Renewal,
    /// At once.
    Now,
}

/// Does what was asked.
pub(super) async fn run(asked: Subscriptions, db: &mut PgConnection, screen: &Screen) -> Result<(), Failure> {
    match asked {
        Subscriptions::List { status, user, tier, limit } => {
            list(db, screen, &SubscriptionFilter { status, user, tier }, limit).await
        }
        Subscriptions::Show { id } => show::run(db, screen, &id).await,
        Subscriptions::Move { id, price, when } => relocate::run(db, screen, &id, &price, when).await,
    }
}

fn no_such(id: &str) -> Failure {
    Failure::not_found(
        format!("there is no subscription {id}"),
        "list them with: bursar subscriptions list; one that Stripe has and bursar has not heard of is met in its next event",
    )
}

async fn list(
    db: &mut PgConnection,
    screen: &Screen,
    filter: &SubscriptionFilter,
    limit: Limit,
) -> Result<(), Failure> {
    let mut all = filter.page(db, None, limit.probe()).await?;
    let more = limit.cut(&mut all);
    screen.rows(&all, &["id", "user", "status", "tier", "access until", "changed", "then"], |one| {
        vec![
            one.id.clone(),
            one.user_id.clone(),
            one.status.clone(),
            one.tier.clone().unwrap_or_else(|| "none".to_owned()),
            one.access_until.map_or_else(|| "no access".to_owned(), stamp),
            screen.away(one.changed_at),
            one.then(stamp),
        ]
    })?;
    if all.is_empty() {
        screen.note("no such subscriptions");
    }
    if more {
        screen.note("there are more: --limit N shows them");
    }
    Ok(())
}
