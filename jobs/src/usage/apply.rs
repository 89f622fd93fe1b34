//! What metered skills were used for, and what became of the reports.

use crate::{
    engine::{change::changes, domain::ApplyContext, enqueue},
    usage::{change::Change, report_usage::ReportUsage},
};

/// Makes the changes of a batch that concern usage.
pub(crate) async fn apply(context: &mut ApplyContext<'_>) -> Result<(), sqlx::Error> {
    let (db, batch, verdicts) = (&mut *context.db, context.batch, &mut context.verdicts);
    let all: Vec<(usize, &Change)> = changes(batch, Some);
    for (owner, change) in all {
        match change {
            Change::SumUsage { before } => {
                let reports = sqlx::query_scalar!(r#"SELECT report AS "report!" FROM bursar.sum_usage($1)"#, before)
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
        }
        verdicts[owner].new = true;
    }
    Ok(())
}
