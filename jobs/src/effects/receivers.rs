//! Receivers: how their accounts stand, and what is let go when one becomes active.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::{Change, Verdict};
use crate::{enqueue, job::Effects, pay_receiver::PayReceiver};

/// How a receiver's account stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Ours.
    pub user_id: String,
    /// `acct_…`
    pub account_id: String,
    /// Whether transfers to it are active.
    pub active: bool,
    /// In a word, for people.
    pub state: String,
    /// When Stripe was asked. An answer to an earlier question counts for nothing.
    pub asked_at: DateTime<Utc>,
}

/// Makes the changes of a batch that concern receivers.
pub(super) async fn apply(
    db: &mut PgConnection,
    batch: &[Effects],
    verdicts: &mut [Verdict],
) -> Result<(), sqlx::Error> {
    for (owner, effects) in batch.iter().enumerate() {
        for change in &effects.changes {
            match change {
                Change::SetReceiver(standing) => match set(db, standing).await? {
                    Some(conflict) => verdicts[owner].conflict = Some(conflict),
                    None => verdicts[owner].new = true,
                },
                Change::DeactivateReceiver { user_id } => {
                    sqlx::query!(
                        "UPDATE bursar.receiver SET active = false, state = 'inactive', changed_at = bursar.now() WHERE user_id = $1",
                        user_id
                    )
                    .execute(&mut *db)
                    .await?;
                }
                Change::ReleaseHeld { user_id } => {
                    sqlx::query!("SELECT FROM bursar.receiver WHERE user_id = $1 FOR UPDATE", user_id)
                        .execute(&mut *db)
                        .await?;
                    release(db, user_id).await?;
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// Sets a receiver's standing under its row. What comes back is a conflict.
async fn set(db: &mut PgConnection, standing: &Standing) -> Result<Option<String>, sqlx::Error> {
    let owner = sqlx::query_scalar!(
        "SELECT user_id FROM bursar.receiver WHERE account_id = $1 AND user_id <> $2",
        standing.account_id,
        standing.user_id
    )
    .fetch_optional(&mut *db)
    .await?;
    if let Some(owner) = owner {
        return Ok(Some(format!("{} belongs to {owner}, not to {}", standing.account_id, standing.user_id)));
    }
    let set = sqlx::query_scalar!(
        "INSERT INTO bursar.receiver AS r (user_id, account_id, active, state, asked_at) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (user_id) DO UPDATE SET account_id = excluded.account_id, active = excluded.active, state = excluded.state,
             asked_at = excluded.asked_at, changed_at = bursar.now()
         WHERE (r.account_id IS NULL OR r.account_id = excluded.account_id)
           AND (r.asked_at IS NULL OR r.asked_at < excluded.asked_at)
         RETURNING user_id",
        standing.user_id,
        standing.account_id,
        standing.active,
        standing.state,
        standing.asked_at,
    )
    .fetch_optional(&mut *db)
    .await?;
    if set.is_none() {
        let account =
            sqlx::query_scalar!("SELECT account_id FROM bursar.receiver WHERE user_id = $1", standing.user_id)
                .fetch_one(&mut *db)
                .await?;
        if account.as_ref() == Some(&standing.account_id) {
            // A later question was answered first.
            return Ok(None);
        }
        return Ok(Some(format!("{} is paid to another account than {}", standing.user_id, standing.account_id)));
    }
    if standing.active {
        release(db, &standing.user_id).await?;
    }
    Ok(None)
}

/// Lets go what is held for a receiver whose row is locked: a job for each.
pub(super) async fn release(db: &mut PgConnection, user_id: &str) -> Result<(), sqlx::Error> {
    let released = sqlx::query!(
        "UPDATE bursar.payout SET releases = releases + 1, changed_at = bursar.now()
         -- What a limit holds, an account that is active does not let go.
         WHERE receiver_id = $1 AND state = 'held' AND held_by IS NULL
           -- One whose job is alive needs no other: it waits for this row, and then sees what we have written.
           AND NOT EXISTS (SELECT FROM apalis.jobs j WHERE j.job_type = 'pay_receiver' AND j.status IN ('Pending', 'Running')
                             AND j.idempotency_key = payout.job_id || ':' || payout.releases)
         RETURNING job_id, releases",
        user_id
    )
    .fetch_all(&mut *db)
    .await?;
    let jobs: Vec<_> = released
        .iter()
        .map(|row| PayReceiver::release(&row.job_id, row.releases, &format!("receiver:{user_id}")))
        .collect();
    enqueue::enqueue(db, &jobs).await?;
    Ok(())
}
