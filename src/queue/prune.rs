//! Forgetting what is long done, on a schedule and in small batches. The ledger, the ids of events and dead jobs are kept.

use std::time::Duration;

use sqlx::PgPool;

use crate::stop::Stop;

/// How often it looks.
const EVERY: Duration = Duration::from_hours(1);
/// Rows forgotten in one transaction.
const MOST: i32 = 1000;
/// The pause between two of them, so that a backlog does not crowd out work.
const BREATH: Duration = Duration::from_millis(100);

/// Prunes until stop is said.
pub async fn run(pool: PgPool, stop: Stop) {
    while !stop.is_said() {
        let pause = match prune(&pool).await {
            Ok(0) => EVERY,
            Ok(rows) => {
                tracing::debug!(rows, "pruned");
                BREATH
            }
            Err(error) => {
                tracing::debug!(%error, "not pruned; trying again later");
                EVERY
            }
        };
        tokio::select! {
            () = stop.wait() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Prunes a batch; how many rows it forgot.
pub async fn prune(pool: &PgPool) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(r#"SELECT bursar.prune($1) AS "rows!""#, MOST).fetch_one(pool).await
}
