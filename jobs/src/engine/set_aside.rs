//! Setting jobs aside that are in the way of their batch-mates, before anything of the batch is made.
//!
//! A job whose key stands with other content is dead. A job that needs an account which another transaction holds for long waits, at no cost
//! of an attempt, ever longer up to a minute. The account of such a job may be busy and not stuck, and would be found locked at every look.
//! So the jobs of one account that were often set aside wait for their lock by themselves, one such part a worker at a time. They wait
//! once: after a wait in vain they are set aside again, or their time would run out and take an attempt.

use std::collections::HashSet;

use rand::seq::IteratorRandom;
use sqlx::PgConnection;
use tokio::sync::OwnedSemaphorePermit;

use crate::{
    base::db::LockWait,
    engine::{
        apply,
        context::Context,
        job::{Batch, Claimed, Effects, JobError},
        locked_accounts::{self, AccountKey},
        settle::{Settlement, times_locked},
    },
};

/// Looks in vain before a job waits for the lock: half a minute of them.
const OFTEN: u32 = 7;

/// Part of a batch that is performed together.
pub(crate) struct Part {
    pub(crate) batch: Batch,
    pub(crate) wait: LockWait,
    /// Whether it was looked which accounts are locked, after one had been in the way.
    pub(crate) looked: bool,
    /// The accounts that its postings move.
    pub(crate) accounts: HashSet<AccountKey>,
    /// Held where locked accounts are waited for.
    patience: Option<OwnedSemaphorePermit>,
    /// Whether its jobs have waited in vain for a locked account. They do so once.
    waited: bool,
}

impl Part {
    pub(crate) fn new(batch: Batch, wait: LockWait) -> Self {
        Self { batch, wait, looked: false, accounts: HashSet::new(), patience: None, waited: false }
    }

    /// The same once more, after it was looked which accounts are locked.
    pub(crate) fn again(self) -> Self {
        let waited = self.has_waited();
        Self { looked: true, waited, ..Self::new(self.batch, self.wait) }
    }

    pub(crate) fn halves(self) -> [Self; 2] {
        let waited = self.has_waited();
        let (left, right) = self.batch.jobs.split_at(self.batch.jobs.len() / 2);
        [left, right].map(|jobs| Self { waited, ..Self::new(self.batch.of(jobs.to_vec()), LockWait::Shortest) })
    }

    fn has_waited(&self) -> bool {
        self.waited || self.patience.is_some()
    }
}

/// What became of the jobs of a part before anything was made.
pub(crate) struct Aside<'a> {
    /// Their effects are to be made.
    pub(crate) kept: Vec<(&'a Claimed, Effects)>,
    /// They are set aside.
    pub(crate) settled: Vec<Settlement>,
    /// They are of this part no more, and wait for their locks by themselves.
    pub(crate) waiting: Option<Part>,
}

/// Divides the jobs of a part.
pub(crate) async fn set_aside<'a>(
    context: &Context,
    db: &mut PgConnection,
    part: &mut Part,
    jobs: Vec<(&'a Claimed, Effects)>,
) -> Result<Aside<'a>, sqlx::Error> {
    let mut aside = Aside { kept: Vec::with_capacity(jobs.len()), settled: Vec::new(), waiting: None };
    let (owners, wanted): (Vec<&Claimed>, Vec<Effects>) = jobs.into_iter().unzip();
    let conflicts = apply::conflicts(context.domains, &mut *db, &wanted).await?;
    let accounts: Vec<HashSet<AccountKey>> = wanted.iter().map(locked_accounts::accounts).collect();
    part.accounts = accounts.iter().flatten().cloned().collect();
    let held = match part.patience {
        Some(_) => HashSet::new(),
        None => context.locked.look(&mut *db, &part.accounts).await?,
    };
    let mut locked: Vec<(&Claimed, Effects, AccountKey)> = Vec::new();
    for (((claimed, effects), conflict), accounts) in owners.into_iter().zip(wanted).zip(conflicts).zip(&accounts) {
        match (conflict, accounts.intersection(&held).min()) {
            (Some(what), _) => {
                aside.settled.push(Settlement::of_error(claimed, &JobError::Dead(what)).about(&effects));
            }
            (None, Some(account)) => locked.push((claimed, effects, account.clone())),
            (None, None) => aside.kept.push((claimed, effects)),
        }
    }
    if locked.is_empty() {
        return Ok(aside);
    }
    let ids: Vec<String> = locked.iter().map(|(claimed, ..)| claimed.id.clone()).collect();
    let times = times_locked(db, &ids).await?;
    let times = |id: &str| times.get(id).copied().unwrap_or_default();
    let is_often = |claimed: &Claimed| !part.waited && times(&claimed.id) >= OFTEN;
    let often: HashSet<&AccountKey> =
        locked.iter().filter(|(claimed, ..)| is_often(claimed)).map(|(_, _, account)| account).collect();
    let chosen = often.into_iter().choose(&mut rand::rng()).cloned();
    if let Some((account, patience)) = chosen.and_then(|account| Some((account, context.locked.patience()?))) {
        let theirs: HashSet<&str> = locked
            .iter()
            .filter(|(claimed, _, of)| *of == account && is_often(claimed))
            .map(|(claimed, ..)| claimed.id.as_str())
            .collect();
        let (waiting, rest) = part.batch.divide(|job| theirs.contains(job.id.as_str()));
        part.batch = rest;
        aside.waiting = Some(Part { patience: Some(patience), ..Part::new(waiting, LockWait::Long) });
        locked.retain(|(claimed, ..)| part.batch.jobs.iter().any(|job| job.id == claimed.id));
    }
    for (claimed, effects, (account, _)) in &locked {
        aside.settled.push(Settlement::of_lock(claimed, times(&claimed.id), Some(account)).about(effects));
    }
    Ok(aside)
}
