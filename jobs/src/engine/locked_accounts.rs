//! Accounts that another transaction holds for long, such as an application's that was left open.
//!
//! A worker notes each that made it wait too long. From then on it looks at those before it touches anything, and sets their jobs aside at
//! once, so that they hold up nobody else's. The note is a hint of this process alone: what is looked at and found free is forgotten.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use sqlx::{Connection, PgConnection, PgPool};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    base::db::{self, LockWait},
    engine::job::Effects,
};

/// An account's name and its unit.
pub(crate) type AccountKey = (String, String);

/// More than this are not noted; those beyond are waited for each time.
const MOST: usize = 10_000;

/// What a worker knows of locked accounts.
#[derive(Debug)]
pub struct LockedAccounts {
    noted: Mutex<HashSet<AccountKey>>,
    patience: Arc<Semaphore>,
}

impl Default for LockedAccounts {
    fn default() -> Self {
        Self { noted: Mutex::default(), patience: Arc::new(Semaphore::new(1)) }
    }
}

impl LockedAccounts {
    /// Which of these accounts are known to be locked, and still are.
    pub(crate) async fn look(
        &self,
        db: &mut PgConnection,
        accounts: &HashSet<AccountKey>,
    ) -> Result<HashSet<AccountKey>, sqlx::Error> {
        let noted: HashSet<AccountKey> = {
            let noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
            accounts.iter().filter(|account| noted.contains(*account)).cloned().collect()
        };
        if noted.is_empty() {
            return Ok(noted);
        }
        let locked = probe(db, &noted).await?;
        let mut all = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        for free in noted.difference(&locked) {
            all.remove(free);
        }
        drop(all);
        Ok(locked)
    }

    /// Notes which of these accounts are locked now. Returns whether any is.
    pub(crate) async fn learn(&self, pool: &PgPool, accounts: &HashSet<AccountKey>) -> Result<bool, sqlx::Error> {
        if accounts.is_empty() {
            return Ok(false);
        }
        let mut tx = db::begin_waiting(pool, LockWait::Shortest).await?;
        let locked = probe(&mut tx, accounts).await?;
        tx.rollback().await?;
        let found = !locked.is_empty();
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        let room = MOST.saturating_sub(noted.len());
        noted.extend(locked.into_iter().take(room));
        drop(noted);
        Ok(found)
    }

    /// The right to wait for a lock once more, for one batch of this worker at a time.
    pub(crate) fn patience(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.patience).try_acquire_owned().ok()
    }
}

/// The accounts that the postings of a job move, but for those that nobody locks.
pub(crate) fn accounts(effects: &Effects) -> HashSet<AccountKey> {
    let sides = effects.postings.iter().flat_map(|posting| {
        [&posting.debit, &posting.credit].map(|account| (account.to_string(), posting.unit.clone()))
    });
    sides.collect()
}

/// Which of these accounts another transaction has locked. Whatever this locks is let go at once, so that the order of locks is as ever.
async fn probe(db: &mut PgConnection, accounts: &HashSet<AccountKey>) -> Result<HashSet<AccountKey>, sqlx::Error> {
    let (names, units): (Vec<String>, Vec<String>) = accounts.iter().cloned().unzip();
    let mut inner = db.begin().await?;
    let there = sqlx::query!(
        r#"SELECT a.id, a.name, a.unit FROM bursar.account a JOIN unnest($1::text[], $2::text[]) AS w (name, unit)
           ON a.name = w.name AND a.unit = w.unit WHERE NOT a.derived"#,
        &names,
        &units,
    )
    .fetch_all(&mut *inner)
    .await?;
    let ids: Vec<i64> = there.iter().map(|account| account.id).collect();
    let free: HashSet<i64> = sqlx::query_scalar!(
        "SELECT a.id FROM bursar.account a WHERE a.id = ANY($1) ORDER BY a.id FOR NO KEY UPDATE SKIP LOCKED",
        &ids
    )
    .fetch_all(&mut *inner)
    .await?
    .into_iter()
    .collect();
    inner.rollback().await?;
    Ok(there.into_iter().filter(|row| !free.contains(&row.id)).map(|row| (row.name, row.unit)).collect())
}
