//! Findings that are over by what happened since.

use sqlx::PgConnection;

use crate::{engine::domain::ApplyContext, payouts::change::PayoutPaid};

/// Closes what a comparison found of payouts that have their Transfer now.
pub(crate) async fn react(context: &mut ApplyContext<'_>) -> Result<(), sqlx::Error> {
    for paid in context.facts() {
        close(&mut *context.db, &paid).await?;
    }
    Ok(())
}

/// A paid payout is stuck no more, and its Transfer is known. Another Transfer for the same job stays a finding.
async fn close(db: &mut PgConnection, paid: &PayoutPaid) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE bursar.finding SET state = 'repaired', closed_by = $3, changed_at = bursar.now()
         WHERE state = 'open' AND (type = 'payout_stuck' AND object = $1 OR type = 'unknown_transfer' AND object = $2)",
        paid.job_id,
        paid.transfer,
        format!("the payout is paid by {}", paid.transfer),
    )
    .execute(db)
    .await
    .map(drop)
}
