//! Releases: what is held for a receiver goes on, a job for each payout.

use sqlx::PgConnection;

use crate::{engine::enqueue, payouts::pay_receiver::PayReceiver};

/// Lets go what is held for a receiver whose row is locked: a job for each.
pub(crate) async fn release(db: &mut PgConnection, user_id: &str) -> Result<(), sqlx::Error> {
    let released = sqlx::query!(
        "UPDATE bursar.payout SET releases = releases + 1, changed_at = bursar.now()
         -- What a limit holds, an account that is active does not let go.
         WHERE receiver_id = $1 AND state = 'held' AND held_by IS NULL
           -- One whose job is alive needs no other: it waits for this row, and then sees what we have written.
           AND NOT EXISTS (SELECT FROM apalis.jobs j WHERE j.job_type = 'pay_receiver' AND j.status IN ('Pending', 'Running')
                             AND j.idempotency_key = payout.job_id || ':' || payout.releases::text)
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
