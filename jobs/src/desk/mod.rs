//! The operators' desk: what they see of the queue and do to it, whichever way they come, by command line or console.
//!
//! Every act is a row of the audit, in the transaction of the act.

pub mod about;
pub mod access;
pub mod accounts;
pub mod adjust_credits;
pub mod around;
pub mod bulk;
pub mod change;
pub mod dunning;
pub mod events;
pub mod filter;
pub mod flags;
pub mod job;
pub mod journal;
pub mod overview;
pub mod payout;
pub mod payouts;
pub mod release;
pub mod replay;
pub mod reverse;
pub mod reverse_payout;
pub mod risk;
pub mod runs;
pub mod schedules;
pub mod standing;
pub mod state;
pub mod subscriptions;
mod verb;

use serde_json::Value;
use sqlx::PgExecutor;

use crate::base::audit::{self, Act, Via};

pub use self::{filter::JobFilter, payouts::PayoutFilter, state::State};

/// Who acts, and which way they came.
#[derive(Debug, Clone)]
pub struct Operator {
    /// A name, as the way in knows it.
    pub who: String,
    /// The way.
    pub via: Via,
}

impl Operator {
    /// Writes down what was done.
    pub async fn note(
        &self,
        db: impl PgExecutor<'_>,
        what: &str,
        subject: &str,
        (before, after): (Option<Value>, Option<Value>),
        why: Option<&str>,
    ) -> Result<(), sqlx::Error> {
        audit::note(db, Act { who: &self.who, via: self.via, what, subject, before, after, why }).await
    }
}

/// Where this deployment's objects are found in Stripe's dashboard; none where Stripe is off or a sandbox, which has no dashboard.
pub async fn dashboard(db: impl PgExecutor<'_>) -> Result<Option<&'static str>, sqlx::Error> {
    let mode = sqlx::query_scalar!("SELECT value FROM bursar.setting WHERE name = 'stripe'").fetch_optional(db).await?;
    Ok(match mode.as_deref() {
        Some("live") => Some("https://dashboard.stripe.com/"),
        Some("test") => Some("https://dashboard.stripe.com/test/"),
        Some(_) | None => None,
    })
}
