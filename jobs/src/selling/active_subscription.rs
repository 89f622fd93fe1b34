//! What a user subscribes to, as far as selling is concerned: there is to be one.

use serde::Serialize;
use sqlx::PgConnection;

/// A subscription that is not over, under the names that programs rely on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Active {
    /// `sub_…`
    pub subscription_id: String,
    /// Which tier, where it is known.
    pub tier: Option<String>,
}

/// The subscriptions of a user whose first payment never came: none stands in the way of another checkout, and each makes way for it.
pub async fn unpaid_subscriptions(db: &mut PgConnection, user: &str) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!(r#"SELECT id AS "id!" FROM bursar.unpaid_subscription WHERE user_id = $1 ORDER BY id"#, user)
        .fetch_all(db)
        .await
}

/// The subscription that a user has now, of which there is to be one: one that is not over yet and does not wait for its first payment,
/// or one that a checkout of ours began and of which no more has been heard.
pub async fn active_subscription(db: &mut PgConnection, user: &str) -> Result<Option<Active>, sqlx::Error> {
    let open = sqlx::query_as!(
        Active,
        "SELECT id AS subscription_id, tier FROM bursar.subscription s
         WHERE user_id = $1 AND status NOT IN ('canceled', 'incomplete_expired')
           AND NOT EXISTS (SELECT FROM bursar.unpaid_subscription u WHERE u.id = s.id)
         ORDER BY coalesce(lapses_at > (SELECT bursar.now()), false) DESC, access_until DESC NULLS LAST, changed_at DESC LIMIT 1",
        user
    )
    .fetch_optional(&mut *db)
    .await?;
    if open.is_some() {
        return Ok(open);
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
