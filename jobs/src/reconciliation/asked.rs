//! What was asked for one by one, and is not there.

use sqlx::PgConnection;

use super::{Phase, Run, finding::Finding, grants, payouts};

/// What follows from these being missing at Stripe: an id, and how it is missing.
pub(super) async fn missing(
    db: &mut PgConnection,
    run: &Run,
    phase: Phase,
    answers: &[(String, String)],
) -> Result<Vec<Finding>, sqlx::Error> {
    if phase == Phase::Payouts {
        return payouts::lost(db, answers).await;
    }
    let mut findings = Vec::new();
    for (id, why) in answers {
        let postings = sqlx::query_scalar!(
            "SELECT p.id FROM bursar.posting p JOIN bursar.account i ON i.id = p.debit AND i.name = 'issuance' AND i.unit = 'credits'
             WHERE p.ref = $1 AND p.posted_at >= $2 AND p.posted_at < $3 AND p.kind IN ('purchase', 'refill', 'plan_change')
               AND p.reverses IS NULL",
            id,
            run.from,
            run.before
        )
        .fetch_all(&mut *db)
        .await?;
        findings.extend(grants::unpaid(&mut *db, &postings, why).await?);
    }
    Ok(findings)
}
