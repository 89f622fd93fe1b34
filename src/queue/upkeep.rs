//! Upkeep: now and then a look at what is held, and the forgetting of what is long done, in small batches. The ledger, the ids of events
//! and dead jobs are kept.

use std::time::Duration;

use bursar_jobs::{
    base::clock,
    desk::bulk,
    engine::enqueue,
    payouts::release_held::{self, SweepHeld},
};
use sqlx::PgPool;

use crate::stop::Stop;

/// How often it looks. The job it enqueues is unique for its stretch of time, so that workers may all ask for it.
const EVERY: Duration = Duration::from_mins(1);
/// Rows forgotten in one transaction.
const MOST: i32 = 1000;
/// Chunks of one act in bulk, in one turn.
const STEPS: usize = 100;
/// The pause between two of them, so that a backlog does not crowd out work.
const BREATH: Duration = Duration::from_millis(100);

/// Keeps house until stop is said.
pub async fn run(pool: PgPool, stop: Stop) {
    while !stop.is_said() {
        let pause = match turn(&pool).await {
            Ok(0) => EVERY,
            Ok(rows) => {
                tracing::debug!(rows, "pruned");
                BREATH
            }
            Err(error) => {
                tracing::debug!(%error, "no upkeep; trying again later");
                EVERY
            }
        };
        tokio::select! {
            () = stop.wait() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

async fn turn(pool: &PgPool) -> Result<i64, sqlx::Error> {
    if release_held::is_due(pool).await? {
        enqueue::enqueue(pool, &[SweepHeld::of(clock::business(pool).await?)]).await?;
    }
    // Bounded, so that the house is kept meanwhile; the rest is done in the next turn.
    let mut db = pool.acquire().await?;
    bulk::go_on(&mut db, STEPS).await?;
    drop(db);
    sqlx::query_scalar!(r#"SELECT bursar.prune($1) AS "rows!""#, MOST).fetch_one(pool).await
}
