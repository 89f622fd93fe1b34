//! What stands in the way of a batch before anything of it is made: permanent keys that stand with other content.
//!
//! A job that meets one is dead, and it is told from its batch-mates while there is nothing yet to take back. The keys are permanent and
//! what they stand for is never changed, so that no lock is needed. What is made meanwhile is told by [`apply`](super::apply::apply).

use sqlx::PgConnection;

use super::apply::{Change, changes};
use crate::{
    customers,
    engine::job::Effects,
    ledger::{self, Posting},
    payouts,
};

/// For each job, what of its effects stands with other content.
pub(crate) async fn conflicts(db: &mut PgConnection, batch: &[Effects]) -> Result<Vec<Option<String>>, sqlx::Error> {
    let mut found: Vec<Option<String>> = vec![None; batch.len()];
    let links = changes(batch, |change| match change {
        Change::LinkCustomer(link) => Some(link),
        _ => None,
    });
    for (owner, what) in customers::apply::conflicts(&mut *db, &links).await? {
        found[owner].get_or_insert(what);
    }
    let payouts = changes(batch, |change| match change {
        Change::RecordPayout(payout) => Some(payout),
        _ => None,
    });
    for (owner, what) in payouts::apply::conflicts(&mut *db, &payouts).await? {
        found[owner].get_or_insert(what);
    }
    let (owners, postings): (Vec<usize>, Vec<&Posting>) =
        batch.iter().enumerate().flat_map(|(i, e)| e.postings.iter().map(move |p| (i, p))).unzip();
    for (nth, id) in ledger::conflicts(db, &postings).await? {
        found[owners[nth]].get_or_insert_with(|| ledger::conflict(id, &postings[nth].key));
    }
    Ok(found)
}
