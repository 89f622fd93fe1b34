//! Ticks of schedules, and what metered skills were used for.

use sqlx::PgConnection;

use crate::engine::apply::{Change, Verdict};
use crate::{
    engine::{enqueue, job::Effects},
    usage::report_usage::ReportUsage,
};

/// Makes the changes of a batch that concern schedules and usage.
pub(crate) async fn apply(
    db: &mut PgConnection,
    batch: &[Effects],
    verdicts: &mut [Verdict],
) -> Result<(), sqlx::Error> {
    for (owner, effects) in batch.iter().enumerate() {
        for change in &effects.changes {
            match change {
                Change::TickSchedule { name, next_at, fired } => {
                    sqlx::query!(
                        "UPDATE bursar.schedule SET next_at = $2, last_at = coalesce($3, last_at) WHERE name = $1",
                        name,
                        *next_at,
                        *fired
                    )
                    .execute(&mut *db)
                    .await?;
                }
                Change::SumUsage { before } => {
                    let reports =
                        sqlx::query_scalar!(r#"SELECT report AS "report!" FROM bursar.sum_usage($1)"#, before)
                            .fetch_all(&mut *db)
                            .await?;
                    let jobs: Vec<_> = reports.into_iter().map(ReportUsage::of).collect();
                    enqueue::enqueue(&mut *db, &jobs).await?;
                }
                Change::MoveUsage { report, state, reason } => {
                    sqlx::query!(
                        "UPDATE bursar.usage_report SET state = $2, reason = $3 WHERE id = $1 AND state <> 'sent'",
                        report,
                        state,
                        reason.as_deref()
                    )
                    .execute(&mut *db)
                    .await?;
                }
                _ => continue,
            }
            verdicts[owner].new = true;
        }
    }
    Ok(())
}
