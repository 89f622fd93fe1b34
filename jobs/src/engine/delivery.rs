//! What jobs have in common that talk to somebody else than Stripe, who knows no idempotency keys: the mail server, the team's webhook.
//!
//! As every call: what is to leave is on record before it leaves, it leaves holding no transaction and no lock, after a last look at the
//! lease, and a second transaction settles what came back.

use std::future::Future;

use sqlx::PgConnection;

use crate::{
    base::db,
    engine::{
        batch::{Disturbed, Report, is_code, is_disturbance},
        context::Context,
        job::{Batch, Claimed, Job, JobError, Outcome},
        settle::{Settlement, settle, times_locked},
        trace_context,
    },
};

/// A job that talks to somebody else.
pub(crate) trait Outside: Job {
    /// One attempt, to its settlement. None: the job is another worker's.
    fn attempt(
        context: &Context,
        batch: &Batch,
        claimed: &Claimed,
    ) -> impl Future<Output = Result<Option<Settlement>, sqlx::Error>> + Send;
}

/// Performs the jobs of a claim, one after the other.
pub(crate) async fn perform<J: Outside>(context: &Context, batch: &Batch) -> Result<Report, Disturbed> {
    let mut report = Report::default();
    for claimed in &batch.jobs {
        let alone = batch.only(claimed);
        let attempt = J::attempt(context, &alone, claimed);
        let ended = match trace_context::under(&[claimed.id.as_str()], attempt).await {
            Ok(ended) => ended,
            Err(error) if is_code(&error, &["55P03"]) => {
                let mut tx = db::begin(&context.pool).await?;
                let times = times_locked(&mut *tx, std::slice::from_ref(&claimed.id)).await?;
                tx.rollback().await?;
                let times = times.get(&claimed.id).copied().unwrap_or_default();
                conclude(context, &alone, Settlement::of_lock(claimed, times, None)).await?
            }
            Err(error) if is_disturbance(&error) => return Err(Disturbed(error)),
            Err(error) => {
                let retry = JobError::Retry { after: None, source: error.into() };
                conclude(context, &alone, Settlement::of_error(claimed, &retry)).await?
            }
        };
        match ended {
            Some(settlement) => report.settled.push(settlement),
            None => report.stale.push(claimed.id.clone()),
        }
    }
    Ok(report)
}

/// Settles what an attempt came to. None: the job is another worker's.
pub(crate) async fn end(
    context: &Context,
    batch: &Batch,
    claimed: &Claimed,
    ended: Result<Outcome, JobError>,
) -> Result<Option<Settlement>, sqlx::Error> {
    context.reach("before_settlement").await;
    let settlement = match &ended {
        Ok(outcome) => Settlement::of_outcome(claimed, outcome),
        Err(error) => Settlement::of_error(claimed, error),
    };
    conclude(context, batch, settlement).await
}

async fn conclude(context: &Context, batch: &Batch, settlement: Settlement) -> Result<Option<Settlement>, sqlx::Error> {
    let mut tx = db::begin(&context.pool).await?;
    let settled = settle(&mut *tx, batch, std::slice::from_ref(&settlement)).await?;
    tx.commit().await?;
    Ok((!settled.is_empty()).then_some(settlement))
}

/// Whether a job is still this attempt's, and stays so until the transaction ends: one that was cancelled, or swept up and given to another,
/// lets nothing out.
pub(crate) async fn is_ours(db: &mut PgConnection, batch: &Batch, claimed: &Claimed) -> Result<bool, sqlx::Error> {
    let held = sqlx::query_scalar!(
        "SELECT 1 FROM apalis.jobs WHERE id = $1 AND lease = $2 AND attempts = $3 AND status = 'Running' FOR SHARE",
        claimed.id,
        batch.lease,
        claimed.attempt
    )
    .fetch_optional(db)
    .await?;
    Ok(held.is_some())
}
