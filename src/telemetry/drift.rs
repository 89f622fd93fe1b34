//! Ledger drift: whether the balances that are kept are those that the postings come to. `bursar ledger verify` reads everything; this goes
//! round the accounts, some at a time, so that a scrape costs the same whatever the books hold. What was seen to be wrong is looked at again
//! each time, until it is right.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use bursar_jobs::base::clock;
use sqlx::PgPool;

/// Between two steps.
const EVERY: Duration = Duration::from_secs(10);
/// Accounts in one step; fewer after a step that took too long.
const MOST: i64 = 200;

#[derive(Debug)]
pub(super) struct Drift {
    /// The last account that was looked at in this round.
    after: i64,
    most: i64,
    checked: u32,
    wrong: BTreeSet<i64>,
    at: Option<Instant>,
}

impl Default for Drift {
    fn default() -> Self {
        Self { after: 0, most: MOST, checked: 0, wrong: BTreeSet::new(), at: None }
    }
}

impl Drift {
    /// How many were checked, and how many are known to differ; nothing before the first step.
    pub fn seen(&self) -> Option<(f64, f64)> {
        self.at?;
        Some((f64::from(self.checked), f64::from(u32::try_from(self.wrong.len()).unwrap_or(u32::MAX))))
    }

    /// The next step, when it is time. In one statement, so that a balance and its postings are of one moment.
    pub async fn step(&mut self, pool: &PgPool, begin: &'static str) -> Result<(), sqlx::Error> {
        if self.at.is_some_and(|at| at.elapsed() < EVERY) {
            return Ok(());
        }
        let most = self.most;
        // Until it is known to have gone well: an account with a very long history must not stop the round.
        self.most = (most / 2).max(1);
        let after = self.after;
        if most == 1 {
            self.after += 1;
        }
        let again: Vec<i64> = self.wrong.iter().copied().collect();
        let mut tx = pool.begin_with(begin).await?;
        let rows: Vec<(i64, bool)> = sqlx::query_as(
            "SELECT a.id, a.balance = coalesce((SELECT sum(p.amount) FROM bursar.posting p WHERE p.credit = a.id), 0)
                                    - coalesce((SELECT sum(p.amount) FROM bursar.posting p WHERE p.debit = a.id), 0)
             FROM (SELECT id, balance FROM (SELECT id, balance FROM bursar.account WHERE NOT derived AND id > $1 ORDER BY id LIMIT $2) next
                   UNION SELECT id, balance FROM bursar.account WHERE id = ANY ($3)) a ORDER BY a.id",
        )
        .bind(after)
        .bind(most)
        .bind(&again)
        .fetch_all(&mut *tx)
        .await?;
        tx.rollback().await?;
        let next: Vec<i64> =
            rows.iter().map(|(id, _)| *id).filter(|id| *id > after).take(usize::try_from(most).unwrap_or(0)).collect();
        let is_round = i64::try_from(next.len()).unwrap_or(i64::MAX) < most;
        self.after = if is_round { 0 } else { next.last().copied().unwrap_or(0) };
        self.checked = self.checked.saturating_add(u32::try_from(rows.len()).unwrap_or(u32::MAX));
        for (id, right) in rows {
            if right {
                self.wrong.remove(&id);
            } else if self.wrong.insert(id) {
                tracing::error!(
                    account = id,
                    "an account keeps another balance than its postings come to: run `bursar ledger verify`"
                );
            }
        }
        self.most = MOST;
        self.at = Some(clock::monotonic());
        Ok(())
    }
}
