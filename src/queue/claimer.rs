//! The claimer: one loop that takes ready jobs, only as many as can start at once, so that nothing waits claimed.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bursar_jobs::{
    base::clock,
    engine::{
        job::{Batch, Claimed},
        kind::Kind,
    },
};
use sqlx::PgPool;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, watch};
use uuid::Uuid;

use super::{Options, backend::Claim, keeper::Held, wake};
use crate::stop::Stop;

/// Added to an attempt's time limit before a sweep may take it, so that the worker itself gets to settle the time-out.
const GRACE: Duration = Duration::from_secs(5);
/// The wait after the database could not be asked, doubled to the second.
const TROUBLE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(2));

/// Room for batches: over all kinds, and for each.
#[derive(Debug)]
pub struct Slots {
    all: Arc<Semaphore>,
    kinds: Vec<(Kind, Arc<Semaphore>)>,
    size: usize,
    freed: Arc<Notify>,
}

/// Room for one batch of one kind.
#[derive(Debug)]
pub struct Slot {
    permits: Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)>,
    freed: Arc<Notify>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        // First the room, then the word of it.
        self.permits = None;
        self.freed.notify_one();
    }
}

impl Slots {
    /// As much room as the options say.
    pub fn new(options: &Options) -> Arc<Self> {
        let of_kind = || Arc::new(Semaphore::new(options.per_kind));
        Arc::new(Self {
            all: Arc::new(Semaphore::new(options.concurrency)),
            kinds: options.performers.iter().map(|p| (p.kind, of_kind())).collect(),
            size: options.concurrency,
            freed: Arc::default(),
        })
    }

    /// Batches running now.
    pub fn in_flight(&self) -> usize {
        self.size - self.all.available_permits()
    }

    /// The kinds that have room, beginning with another each time, so that none is always last where there is less room than kinds.
    fn open_kinds(&self, turn: usize) -> Vec<Kind> {
        let count = self.kinds.len();
        let in_turn = (0..count).map(|i| &self.kinds[(turn + i) % count]);
        in_turn.filter(|(_, of_kind)| of_kind.available_permits() > 0).map(|(kind, _)| *kind).collect()
    }

    /// Room for one batch. Only the claimer takes any, and no more than it saw: there is always some.
    fn take(&self, kind: Kind) -> Option<Slot> {
        let (_, of_kind) = self.kinds.iter().find(|(known, _)| known.name == kind.name)?;
        let of_kind = Arc::clone(of_kind).try_acquire_owned().ok()?;
        let of_all = Arc::clone(&self.all).try_acquire_owned().ok()?;
        Some(Slot { permits: Some((of_kind, of_all)), freed: Arc::clone(&self.freed) })
    }
}

/// The loop and what it needs.
#[derive(Debug)]
pub struct Claimer {
    pool: PgPool,
    held: watch::Receiver<Held>,
    slots: Arc<Slots>,
    wakes: Arc<Notify>,
    poll: Duration,
}

/// What one look at the queue came to.
enum Look {
    /// There may be more of what was found.
    More,
    /// Nothing more is ready for the room there is.
    Enough,
    /// There is no room.
    Full,
}

impl Claimer {
    /// A claimer for this worker.
    pub fn new(
        pool: PgPool,
        options: &Options,
        held: watch::Receiver<Held>,
        slots: Arc<Slots>,
        wakes: Arc<Notify>,
    ) -> Self {
        Self { pool, held, slots, wakes, poll: options.poll }
    }

    /// Claims until stop is said. Dropping `claims` then tells apalis that nothing more comes.
    pub async fn run(self, claims: mpsc::UnboundedSender<Claim>, stop: Stop) {
        let mut trouble = TROUBLE.0;
        let mut woken = clock::monotonic();
        let mut turn = 0_usize;
        while !stop.is_said() {
            turn = turn.wrapping_add(1);
            let pause = match self.look(&claims, turn).await {
                Ok(Look::More) => {
                    trouble = TROUBLE.0;
                    continue;
                }
                Ok(Look::Full) => Duration::MAX,
                // Enqueues within the debounce window of a wake-up send none of their own: look again right after it.
                Ok(Look::Enough) if woken.elapsed() < wake::DEBOUNCE * 2 => wake::DEBOUNCE,
                Ok(Look::Enough) => self.poll,
                Err(error) => {
                    tracing::warn!(%error, "cannot claim jobs; trying again in {trouble:?}");
                    trouble = (trouble * 2).min(TROUBLE.1);
                    trouble
                }
            };
            tokio::select! {
                () = stop.wait() => {}
                () = self.slots.freed.notified() => {}
                () = self.wakes.notified(), if pause != Duration::MAX => woken = clock::monotonic(),
                () = tokio::time::sleep(pause), if pause != Duration::MAX => {}
            }
        }
    }

    async fn look(&self, claims: &mpsc::UnboundedSender<Claim>, turn: usize) -> Result<Look, sqlx::Error> {
        let worker = self.held.borrow().worker.clone();
        let kinds = self.slots.open_kinds(turn);
        let most = self.slots.all.available_permits();
        if kinds.is_empty() || most == 0 {
            return Ok(Look::Full);
        }
        let mut more = false;
        for batch in claim(&self.pool, &worker, &kinds, most).await? {
            more |= batch.jobs.len() == usize::try_from(batch.kind.batch).unwrap_or(usize::MAX);
            let Some(slot) = self.slots.take(batch.kind) else {
                tracing::error!(
                    kind = batch.kind.name,
                    "claimed without room for it: its jobs go back when their time is up"
                );
                continue;
            };
            tracing::debug!(kind = batch.kind.name, jobs = batch.jobs.len(), "claimed");
            if claims.send(Claim { batch, slot }).is_err() {
                // apalis is gone, which only an ending process does; the sweep of another worker takes these over.
                return Ok(Look::Full);
            }
        }
        Ok(if more { Look::More } else { Look::Enough })
    }
}

/// Claims ready jobs of these kinds: one statement, a batch and a lease a kind.
async fn claim(pool: &PgPool, worker: &str, kinds: &[Kind], most: usize) -> Result<Vec<Batch>, sqlx::Error> {
    let names: Vec<String> = kinds.iter().map(|kind| kind.name.to_owned()).collect();
    let limits: Vec<i32> = kinds.iter().map(|kind| kind.batch).collect();
    let timeouts: Vec<i64> =
        kinds.iter().map(|kind| i64::try_from((kind.timeout + GRACE).as_millis()).unwrap_or(i64::MAX)).collect();
    let rows = sqlx::query!(
        r#"SELECT id AS "id!", kind AS "kind!", key, args AS "args!", attempt AS "attempt!", max_attempts AS "max_attempts!",
                  allowance AS "allowance!", lease AS "lease!", enqueued_at AS "enqueued_at!",
                  claimed_at AS "claimed_at!"
           FROM bursar.claim($1, $2, $3, $4, $5)"#,
        worker,
        &names,
        &limits,
        &timeouts,
        i32::try_from(most).unwrap_or(i32::MAX),
    )
    .fetch_all(pool)
    .await?;
    let mut batches: BTreeMap<Uuid, Batch> = BTreeMap::new();
    for row in rows {
        let Some(kind) = kinds.iter().find(|kind| kind.name == row.kind) else { continue };
        let batch = batches.entry(row.lease).or_insert_with(|| Batch {
            kind: *kind,
            worker: worker.to_owned(),
            lease: row.lease,
            jobs: Vec::new(),
        });
        batch.jobs.push(Claimed {
            id: row.id,
            key: row.key,
            args: row.args,
            attempt: row.attempt,
            max_attempts: row.max_attempts,
            allowance: row.allowance,
            enqueued_at: row.enqueued_at,
            claimed_at: row.claimed_at,
        });
    }
    Ok(batches.into_values().collect())
}
