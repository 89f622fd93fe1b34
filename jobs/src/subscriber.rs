//! What a user subscribes to.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgConnection;

/// A subscription that gives access, under the names that programs rely on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Subscription {
    /// `sub_…`
    pub subscription_id: String,
    /// Which tier, where it is known.
    pub tier: Option<String>,
    /// Stripe's word.
    pub status: String,
    /// Until when the user has what the tier gives, where that is known.
    pub access_until: Option<DateTime<Utc>>,
    /// Whether it ends then.
    pub cancel_at_period_end: bool,
}

/// The subscription that a user has now, of which there is to be one.
///
/// Until subscriptions have a table of their own, those are known that began with a checkout of ours which is complete.
pub async fn active_subscription(db: &mut PgConnection, user: &str) -> Result<Option<Subscription>, sqlx::Error> {
    sqlx::query_as!(
        Subscription,
        r#"SELECT c.subscription_id AS "subscription_id!", substr(c.item, 6) AS tier, 'active' AS "status!",
                  NULL::timestamptz AS access_until, false AS "cancel_at_period_end!"
           FROM bursar.checkout c
           WHERE c.user_id = $1 AND c.mode = 'subscription' AND c.state = 'complete' AND c.subscription_id IS NOT NULL
           ORDER BY c.requested_at DESC LIMIT 1"#,
        user
    )
    .fetch_optional(db)
    .await
}
