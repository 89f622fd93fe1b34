//! Making the effects of a batch true: a statement for each sort of effect, however many jobs want it.

use sqlx::PgConnection;

use crate::{
    engine::{
        change::{AnyChange, Applied, Verdict},
        domain::{ApplyContext, Domain},
        enqueue::{self, Wanted},
        job::Effects,
    },
    ledger::{self, Posted, Posting},
};

/// Makes the effects of a batch true inside the caller's transaction; one answer a job, in order.
///
/// A change that no domain takes is an error: it rolls back what wanted it.
pub async fn apply(domains: &[Domain], db: &mut PgConnection, batch: &[Effects]) -> Result<Vec<Applied>, sqlx::Error> {
    let is_taken = |change: &&AnyChange| domains.iter().any(|domain| (domain.takes)(change));
    if let Some(lost) = batch.iter().flat_map(|effects| &effects.changes).find(|change| !is_taken(change)) {
        return Err(sqlx::Error::Protocol(format!("no domain takes {lost:?}: list its domain in the registry")));
    }
    let mut context = ApplyContext::new(db, batch);
    for apply in domains.iter().filter_map(|domain| domain.apply) {
        apply(&mut context).await?;
    }
    for react in domains.iter().filter_map(|domain| domain.react) {
        react(&mut context).await?;
    }
    let ApplyContext { db, mut verdicts, follow_ups, .. } = context;
    post(db, batch, &mut verdicts).await?;
    let mut wanted: Vec<Wanted<'_>> = follow_ups.iter().map(|job| Wanted::of(None, job)).collect();
    for (nth, effects) in batch.iter().enumerate() {
        wanted.extend(effects.follow_ups.iter().map(|job| Wanted::of(Some(nth), job)));
    }
    enqueue::enqueue_all(&mut *db, &wanted).await?;
    Ok(verdicts.into_iter().map(Verdict::into_applied).collect())
}

/// For each job of a batch, what of its effects stands with other content before anything of them is made.
///
/// A job that meets such a key is dead, and it is told from its batch-mates while there is nothing yet to take back. The keys are permanent
/// and what they stand for is never changed, so that no lock is needed. What is made meanwhile is told by [`apply`].
pub(crate) async fn conflicts(
    domains: &[Domain],
    db: &mut PgConnection,
    batch: &[Effects],
) -> Result<Vec<Option<String>>, sqlx::Error> {
    let mut found: Vec<Option<String>> = vec![None; batch.len()];
    for conflicts in domains.iter().filter_map(|domain| domain.conflicts) {
        for (owner, what) in conflicts(&mut *db, batch).await? {
            found[owner].get_or_insert(what);
        }
    }
    let (owners, postings): (Vec<usize>, Vec<&Posting>) =
        batch.iter().enumerate().flat_map(|(i, e)| e.postings.iter().map(move |p| (i, p))).unzip();
    for (nth, id) in ledger::conflicts(db, &postings).await? {
        found[owners[nth]].get_or_insert_with(|| ledger::conflict(id, &postings[nth].key));
    }
    Ok(found)
}

async fn post(db: &mut PgConnection, batch: &[Effects], verdicts: &mut [Verdict]) -> Result<(), sqlx::Error> {
    let (owners, postings): (Vec<usize>, Vec<Posting>) =
        batch.iter().enumerate().flat_map(|(i, e)| e.postings.iter().map(move |p| (i, p.clone()))).unzip();
    if postings.is_empty() {
        return Ok(());
    }
    for ((owner, posting), posted) in owners.into_iter().zip(&postings).zip(ledger::post(db, &postings).await?) {
        match posted {
            Posted::New(_) => verdicts[owner].new = true,
            // What was said of it before, of the payout itself, is more telling.
            Posted::Already(id) => {
                verdicts[owner].already.get_or_insert_with(|| format!("posting {id} has this key: {}", posting.key));
            }
            Posted::Conflict(id) => {
                verdicts[owner].conflict.get_or_insert_with(|| ledger::conflict(id, &posting.key));
            }
        }
    }
    Ok(())
}
