//! Receivers' accounts: whose they are, and how they stand.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, types::Json};

use crate::receivers::{change::Standing, onboarding};

/// What became of an answer about an account.
pub(super) enum Set {
    /// It is kept.
    Kept,
    /// A later question was answered first.
    Stale,
    /// The account cannot be this receiver's, and why.
    Conflict(String),
}

/// Sets a receiver's standing under its row.
pub(super) async fn set(db: &mut PgConnection, standing: &Standing) -> Result<Set, sqlx::Error> {
    if let Some(conflict) = attach(&mut *db, &standing.user_id, &standing.account_id).await? {
        return Ok(Set::Conflict(conflict));
    }
    let set = sqlx::query_scalar!(
        "UPDATE bursar.receiver SET active = $3, state = $4, asked_at = $5, payouts_enabled = $6, requirements = $7, changed_at = bursar.now()
         WHERE user_id = $1 AND account_id = $2 AND (asked_at IS NULL OR asked_at < $5)
         RETURNING user_id",
        standing.user_id,
        standing.account_id,
        standing.active,
        standing.state,
        standing.asked_at,
        standing.payouts_enabled,
        Json(&standing.requirements) as _,
    )
    .fetch_optional(&mut *db)
    .await?;
    Ok(if set.is_some() { Set::Kept } else { Set::Stale })
}

/// Makes an account a receiver's, under the receiver's row, which stays locked. What comes back is a conflict.
///
/// An account takes another's place only where the platform's access to the old one is gone, and where no payout may still be on its way
/// to it: its Transfer, or the look for it, needs the old account.
pub(crate) async fn attach(db: &mut PgConnection, user: &str, account: &str) -> Result<Option<String>, sqlx::Error> {
    sqlx::query!("INSERT INTO bursar.receiver (user_id) VALUES ($1) ON CONFLICT DO NOTHING", user)
        .execute(&mut *db)
        .await?;
    let row = sqlx::query!("SELECT account_id, state FROM bursar.receiver WHERE user_id = $1 FOR NO KEY UPDATE", user)
        .fetch_one(&mut *db)
        .await?;
    if row.account_id.as_deref() == Some(account) {
        return Ok(None);
    }
    let owner = sqlx::query_scalar!(
        "SELECT user_id FROM bursar.receiver WHERE (account_id = $1 OR former OPERATOR(pg_catalog.<>) '{}' AND former OPERATOR(pg_catalog.@>) ARRAY[$1]) AND user_id <> $2",
        account,
        user
    )
    .fetch_optional(&mut *db)
    .await?;
    if let Some(owner) = owner {
        return Ok(Some(format!(
            "{account} belongs to {owner}, not to {user}: correct its metadata.user_id at Stripe"
        )));
    }
    if let Some(old) = &row.account_id {
        if row.state != "deauthorised" {
            return Ok(Some(format!(
                "{user} is paid to another account than {account}: {old}, which is {}. Reject one of them at Stripe",
                row.state
            )));
        }
        if let Some(why) = onboarding::on_its_way(&mut *db, user).await? {
            return Ok(Some(format!("{account} cannot take the place of {old} yet: {why}")));
        }
    }
    sqlx::query!(
        "UPDATE bursar.receiver SET account_id = $2, active = false, state = 'unknown', asked_at = NULL, payouts_enabled = false,
                requirements = NULL, changed_at = bursar.now(),
                former = CASE WHEN account_id IS NULL THEN former ELSE pg_catalog.array_append(former, account_id) END
         WHERE user_id = $1",
        user,
        account,
    )
    .execute(&mut *db)
    .await?;
    onboarding::enqueue_links(db, user).await?;
    Ok(None)
}

/// Takes an account for gone: nothing is sent to it until Stripe says otherwise. Whose it is; none where it is nobody's, or where a later
/// question was answered otherwise.
pub(crate) async fn deauthorise(
    db: &mut PgConnection,
    account: &str,
    asked_at: DateTime<Utc>,
) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar!(
        "UPDATE bursar.receiver SET active = false, payouts_enabled = false, requirements = NULL, asked_at = $2,
                changed_at = CASE WHEN state = 'deauthorised' THEN changed_at ELSE bursar.now() END,
                deauthorised_at = CASE WHEN state = 'deauthorised' THEN deauthorised_at ELSE bursar.now() END,
                deauthorisations = deauthorisations + CASE WHEN state = 'deauthorised' THEN 0 ELSE 1 END,
                state = 'deauthorised'
         WHERE account_id = $1 AND (asked_at IS NULL OR asked_at < $2)
         RETURNING user_id",
        account,
        asked_at,
    )
    .fetch_optional(db)
    .await
}
