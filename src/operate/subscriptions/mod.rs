//! `bursar subscriptions`: what Stripe says of them, and moving one to another price.

mod relocate;
mod show;

use bursar_jobs::credits::Credits;
use chrono::{DateTime, Utc};
use clap::{Subcommand, ValueEnum};
use serde::Serialize;
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

/// A subscription, under the names that programs rely on.
#[derive(Debug, Serialize)]
struct Subscription {
    id: String,
    user_id: String,
    status: String,
    tier: Option<String>,
    price: Option<String>,
    quantity: i64,
    /// Until when it gives access; null: none.
    access_until: Option<DateTime<Utc>>,
    has_access: bool,
    /// What a month grants.
    #[serde(serialize_with = "as_credits")]
    credits_a_month: i64,
    interval: Option<String>,
    interval_count: Option<i32>,
    period_start: Option<DateTime<Utc>>,
    period_end: Option<DateTime<Utc>>,
    cancel_at: Option<DateTime<Utc>>,
    cancel_at_period_end: bool,
    trial_end: Option<DateTime<Utc>>,
    ended_at: Option<DateTime<Utc>>,
    paused: Option<String>,
    schedule_id: Option<String>,
    customer_id: Option<String>,
    asked_at: DateTime<Utc>,
    changed_at: DateTime<Utc>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape that serde calls")]
fn as_credits<S: serde::Serializer>(micros: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    Credits::from_micros(*micros).serialize(serializer)
}

/// Does what was asked.
pub(super) async fn run(asked: Subscriptions, db: &mut PgConnection, screen: &Screen) -> Result<(), Failure> {
    match asked {
        Subscriptions::List { status, user, tier, limit } => {
            list(db, screen, [status.as_deref(), user.as_deref(), tier.as_deref()], limit).await
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
    [status, user, tier]: [Option<&str>; 3],
    limit: Limit,
) -> Result<(), Failure> {
    let mut all = sqlx::query_as!(
        Subscription,
        r#"SELECT id, user_id, status, tier, price, quantity, access_until, coalesce(lapses_at > bursar.now(), false) AS "has_access!",
                  plan_value AS credits_a_month, interval, interval_count, period_start, period_end, cancel_at, cancel_at_period_end,
                  trial_end, ended_at, paused, schedule_id, customer_id, asked_at, changed_at
           FROM bursar.subscription
           WHERE ($1::text IS NULL OR status = $1) AND ($2::text IS NULL OR user_id = $2) AND ($3::text IS NULL OR tier = $3)
           ORDER BY changed_at DESC, id DESC LIMIT $4"#,
        status,
        user,
        tier,
        limit.probe(),
    )
    .fetch_all(db)
    .await?;
    let more = limit.cut(&mut all);
    screen.rows(&all, &["id", "user", "status", "tier", "access until", "changed", "then"], |one| {
        vec![
            one.id.clone(),
            one.user_id.clone(),
            one.status.clone(),
            one.tier.clone().unwrap_or_else(|| "none".to_owned()),
            one.access_until.map_or_else(|| "no access".to_owned(), stamp),
            screen.away(one.changed_at),
            one.then(),
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

impl Subscription {
    /// What becomes of it next, in words.
    fn then(&self) -> String {
        match (self.ended_at, self.cancel_at, &self.paused, &self.schedule_id) {
            (Some(at), ..) => format!("ended {}", stamp(at)),
            (None, Some(at), ..) => format!("is cancelled {}", stamp(at)),
            (None, None, Some(how), _) => format!("its collection is paused ({how})"),
            (None, None, None, Some(schedule)) => format!("follows {schedule}"),
            (None, None, None, None) => "renews".to_owned(),
        }
    }
}
