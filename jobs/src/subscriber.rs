//! What a user subscribes to, as far as selling is concerned: there is to be one.

use serde::Serialize;
use sqlx::PgConnection;

use crate::subscription::{self, OfUser};

/// A subscription that is not over, under the names that programs rely on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Active {
    /// `sub_…`
    pub subscription_id: String,
    /// Which tier, where it is known.
    pub tier: Option<String>,
}

/// The subscription that a user has now, of which there is to be one: one that is not over yet, or one that a checkout of ours began and
/// of which no more has been heard.
pub async fn active_subscription(db: &mut PgConnection, user: &str) -> Result<Option<Active>, sqlx::Error> {
    if let Some(OfUser { id, tier, is_open: true, .. }) = subscription::of_user(&mut *db, user).await? {
        return Ok(Some(Active { subscription_id: id, tier }));
    }
    sqlx::query_as!(
        Active,
        r#"SELECT c.subscription_id AS "subscription_id!", substr(c.item, 6) AS tier FROM bursar.checkout c
           WHERE c.user_id = $1 AND c.mode = 'subscription' AND c.state = 'complete' AND c.subscription_id IS NOT NULL
             AND NOT EXISTS (SELECT FROM bursar.subscription s WHERE s.id = c.subscription_id)
           ORDER BY c.requested_at DESC LIMIT 1"#,
        user
    )
    .fetch_optional(db)
    .await
}
