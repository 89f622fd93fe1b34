//! `bursar jobs list`.

use bursar_jobs::desk::JobFilter;
use sqlx::PgConnection;

use crate::operate::{Failure, Screen, values::Limit};

pub(super) async fn list(
    db: &mut PgConnection,
    screen: &Screen,
    filter: &JobFilter,
    limit: Limit,
) -> Result<(), Failure> {
    let mut jobs = filter.page(db, None, limit.probe()).await?;
    let more = limit.cut(&mut jobs);
    screen.rows(&jobs, &["id", "kind", "state", "when", "why"], |job| {
        let moment = job.done_at.unwrap_or(job.run_at);
        vec![
            job.id.clone(),
            job.kind.clone(),
            job.state.clone(),
            screen.away(moment),
            job.reason.clone().or_else(|| job.last_error.clone()).unwrap_or_default(),
        ]
    })?;
    if jobs.is_empty() {
        screen.note("no such jobs");
    }
    if more {
        screen.note("there are more: --limit N shows them");
    }
    let paused = sqlx::query_scalar!("SELECT kind FROM bursar.paused_kind ORDER BY kind").fetch_all(db).await?;
    if !paused.is_empty() {
        screen.note(&format!("paused: {} (bursar jobs resume KIND)", paused.join(", ")));
    }
    Ok(())
}
