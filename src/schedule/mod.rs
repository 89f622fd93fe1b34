//! What runs by the calendar. The queue drives it: see `bursar_jobs::schedules`. A worker that starts lays its settings over the table, and
//! says what that changed; nothing of a schedule lives in a process.

use bursar_jobs::{schedules, usage::meters};
use sqlx::PgPool;

use crate::config::Calendar;

/// Makes the database say what is declared.
pub async fn declare(pool: &PgPool, calendar: &Calendar) -> Result<(), sqlx::Error> {
    meters::declare(pool, &calendar.meters).await?;
    let laid = schedules::declare(pool, &calendar.schedules).await?;
    for (names, what) in [(laid.new, "new"), (laid.changed, "changed"), (laid.gone, "gone")] {
        for name in names {
            tracing::info!(schedule = name, "a schedule is {what}; `bursar schedule list` shows all");
        }
    }
    Ok(())
}
