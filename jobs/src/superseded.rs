//! Dead jobs of a payout that is let go anew: its next job goes on where they stopped, so that nobody is asked to look at them any more.
//!
//! Nothing is sent or unsent by this: what a payout sends is decided by its intent, whichever of its jobs runs. One that is being retried
//! at this moment stays what it is.

use serde_json::json;
use sqlx::PgConnection;

use crate::{
    audit::{self, Act, Via},
    kinds::PAY_RECEIVER,
};

/// Who let it go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct By<'a> {
    pub who: &'a str,
    pub via: Via,
    pub why: Option<&'a str>,
}

/// Cancels the dead jobs of a payout that was let go for the `releases`-th time, written down; under the payout's row.
pub(crate) async fn cancel(db: &mut PgConnection, job_id: &str, releases: i32, by: By<'_>) -> Result<(), sqlx::Error> {
    let reason =
        format!("cancelled by {}: the payout was let go again, and {job_id}:{releases} goes on with it", by.who);
    // A row that somebody holds is not waited for: its holder may wait for the payout's row.
    let cancelled = sqlx::query_scalar!(
        "UPDATE apalis.jobs
         SET status = 'Killed', done_at = bursar.now(), reason = $4, waits_for = NULL
         WHERE id IN (SELECT j.id FROM apalis.jobs j
                      WHERE j.job_type = $1 AND j.status = 'Failed'
                        AND j.idempotency_key IN (SELECT $2 || ':' || n FROM generate_series(0, $3::integer - 1) n)
                      FOR UPDATE SKIP LOCKED)
         RETURNING id",
        PAY_RECEIVER.name,
        job_id,
        releases,
        reason,
    )
    .fetch_all(&mut *db)
    .await?;
    for id in cancelled {
        let state = |state: &str| Some(json!({ "kind": PAY_RECEIVER.name, "state": state }));
        let (before, after) = (state("dead"), state("cancelled"));
        let act = Act { who: by.who, via: by.via, what: "jobs.cancel", subject: &id, before, after, why: by.why };
        audit::note(&mut *db, act).await?;
    }
    Ok(())
}
