//! Dead jobs of what an operator let go anew, or undid: nobody is asked to look at them any more.
//!
//! Nothing is sent or unsent by this: what leaves is decided by an intent, whichever of the jobs runs. One that is being retried at this moment
//! stays what it is.

use serde_json::json;
use sqlx::PgConnection;

use crate::{
    base::audit::{self, Act, Via},
    engine::kind::{PAY_RECEIVER, REVERSE_TRANSFER},
};

/// Who did it, and why.
#[derive(Debug, Clone, Copy)]
pub(crate) struct By<'a> {
    pub who: &'a str,
    pub via: Via,
    pub why: Option<&'a str>,
}

/// A payout was let go for the `releases`-th time: the dead jobs of the times before are cancelled; under the payout's row.
pub(crate) async fn payout(db: &mut PgConnection, job_id: &str, releases: i32, by: By<'_>) -> Result<(), sqlx::Error> {
    let why = format!("the payout was let go again, and {job_id}:{releases} goes on with it");
    cancel(db, PAY_RECEIVER.name, (job_id, releases), &why, by).await
}

/// A reversal (`job_99:1`) was let go for the `releases`-th time: the same.
pub(crate) async fn reversal(db: &mut PgConnection, of: &str, releases: i32, by: By<'_>) -> Result<(), sqlx::Error> {
    let why = format!("the reversal was let go again, and {of}:{releases} goes on with it");
    cancel(db, REVERSE_TRANSFER.name, (of, releases), &why, by).await
}

/// A payout of which nothing was sent was undone, and there is nothing to send any more.
pub(crate) async fn undone(db: &mut PgConnection, job_id: &str, by: By<'_>) -> Result<(), sqlx::Error> {
    let releases =
        sqlx::query_scalar!("SELECT releases FROM bursar.payout WHERE job_id = $1", job_id).fetch_one(&mut *db).await?;
    cancel(db, PAY_RECEIVER.name, (job_id, releases + 1), "the payout was undone, and is owed no more", by).await
}

/// Cancels the dead jobs of these keys, written down.
async fn cancel(
    db: &mut PgConnection,
    kind: &str,
    (of, before): (&str, i32),
    why: &str,
    by: By<'_>,
) -> Result<(), sqlx::Error> {
    // A row that somebody holds is not waited for: its holder may wait for the payout's row.
    let cancelled = sqlx::query_scalar!(
        "UPDATE apalis.jobs
         SET status = 'Killed', done_at = bursar.now(), reason = $4, waits_for = NULL
         WHERE id IN (SELECT j.id FROM apalis.jobs j
                      WHERE j.job_type = $1 AND j.status = 'Failed'
                        AND j.idempotency_key IN (SELECT $2 || ':' || n::text FROM generate_series(0, $3::integer - 1) n)
                      FOR UPDATE SKIP LOCKED)
         RETURNING id",
        kind,
        of,
        before,
        format!("cancelled by {}: {why}", by.who),
    )
    .fetch_all(&mut *db)
    .await?;
    for id in cancelled {
        let state = |state: &str| Some(json!({ "kind": kind, "state": state }));
        let (before, after) = (state("dead"), state("cancelled"));
        let act = Act { who: by.who, via: by.via, what: "jobs.cancel", subject: &id, before, after, why: by.why };
        audit::note(&mut *db, act).await?;
    }
    Ok(())
}
