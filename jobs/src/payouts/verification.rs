//! One verdict at a time on one of the marketplace's jobs: verified and rejected must not both pass each other by.

use sqlx::PgConnection;

/// Holds the verdicts on these jobs until the transaction ends, in one order.
pub async fn hold(db: &mut PgConnection, job_ids: &[String]) -> Result<(), sqlx::Error> {
    let mut names: Vec<String> = job_ids.iter().map(|id| format!("verdict:{id}")).collect();
    names.sort_unstable();
    names.dedup();
    sqlx::query!(
        "SELECT pg_advisory_xact_lock(hashtextextended(name, 0::bigint)) FROM pg_catalog.unnest($1::text[]) AS name",
        &names
    )
    .execute(db)
    .await?;
    Ok(())
}
