//! Performing a batch of pure jobs: gather, run, apply, settle, commit, all in one transaction.
//!
//! A batch in which anything is out of the ordinary (a conflict, a stale lease, an error of the database that one job may have
//! caused) is rolled back whole, and each of its jobs is then performed alone, so that none takes another along.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use bursar_letters::Postbox;
use bursar_stripe::{Client, Outgoing};
use sqlx::{PgConnection, PgPool};

use crate::{
    call::{self, Call},
    db,
    effects::{self, Applied},
    job::{Batch, Claimed, Effects, Job, JobError, Outcome, Pure, Snooze},
    kinds::Kind,
    outside::{self, Outside},
    settle::{Settlement, settle},
    terms::Terms,
    traced,
};

/// What became of a batch.
#[derive(Debug, Default)]
pub struct Report {
    /// What was settled.
    pub settled: Vec<Settlement>,
    /// Jobs whose lease was another's by then: nothing of theirs was committed.
    pub stale: Vec<String>,
}

/// Why a batch could not be performed now. Nothing was committed; the caller repeats it while it holds the lease, and no attempt
/// is spent: a deadlock, a serialisation failure, a lock time-out, a lost connection.
#[derive(Debug, thiserror::Error)]
#[error("the database was in the way: {0}")]
pub struct Disturbed(#[from] pub sqlx::Error);

/// What jobs are performed with.
#[derive(Clone)]
pub struct Context {
    /// The database.
    pub pool: PgPool,
    /// The terms of trade.
    pub terms: Arc<Terms>,
    /// Stripe, where it is on.
    pub stripe: Option<Client>,
    /// The team's webhook, where there is one.
    pub notify: Option<Outgoing>,
    /// Where letters are written and leave; none: this worker sends none.
    pub letters: Option<Postbox>,
    /// Whether the lease of a batch still covers a request that leaves now, by a clock that counts suspension.
    pub lease: Arc<dyn Fn(&Batch) -> bool + Send + Sync>,
    /// Where tests cut a call short.
    pub points: Points,
}

/// What happens when a call reaches a named point: nothing, but in tests, which end the process there, or never go on.
#[derive(Clone, Default)]
pub struct Points(pub Option<Reached>);

/// Called with the name of each point that a call reaches: `before_intent`, `after_intent`, `after_request`, `before_settlement`.
pub type Reached = Arc<dyn Fn(&'static str) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

impl std::fmt::Debug for Points {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Points").field(&self.0.is_some()).finish()
    }
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("stripe", &self.stripe.is_some()).finish_non_exhaustive()
    }
}

impl Context {
    pub(crate) fn may_send(&self, batch: &Batch) -> bool {
        (self.lease)(batch)
    }

    pub(crate) async fn reach(&self, point: &'static str) {
        if let Some(reached) = &self.points.0 {
            reached(point).await;
        }
    }
}

/// A kind with the way to perform it.
#[derive(Clone, Copy)]
pub struct Performer {
    /// The kind.
    pub kind: Kind,
    /// Performs a batch of it.
    pub perform: for<'a> fn(&'a Context, &'a Batch) -> Performing<'a>,
}

impl std::fmt::Debug for Performer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Performer").field("kind", &self.kind.name).finish_non_exhaustive()
    }
}

/// A batch being performed.
pub type Performing<'a> = Pin<Box<dyn Future<Output = Result<Report, Disturbed>> + Send + 'a>>;

impl Performer {
    /// The performer of a pure job.
    pub const fn of<J: Pure>() -> Self {
        Self { kind: J::KIND, perform: |context, batch| Box::pin(perform::<J>(&context.pool, &context.terms, batch)) }
    }

    /// The performer of a job that talks to somebody else than Stripe.
    pub(crate) const fn of_outside<J: Outside>() -> Self {
        Self { kind: J::KIND, perform: |context, batch| Box::pin(outside::perform::<J>(context, batch)) }
    }

    /// The performer of a call.
    pub const fn of_call<J: Call>() -> Self {
        Self { kind: J::KIND, perform: |context, batch| Box::pin(call::perform::<J>(context, batch)) }
    }
}

async fn perform<J: Pure>(pool: &PgPool, terms: &Terms, batch: &Batch) -> Result<Report, Disturbed> {
    if batch.jobs.len() > 1 {
        match together::<J>(pool, terms, batch).await? {
            Together::Committed(report) => return Ok(report),
            Together::RolledBack(why) => {
                tracing::debug!(kind = batch.kind.name, why = why.word(), "performing each job of the batch alone");
            }
        }
    }
    let mut report = Report::default();
    for job in &batch.jobs {
        let alone = batch.only(job);
        let settlement = match together::<J>(pool, terms, &alone).await? {
            Together::Committed(one) => {
                report.settled.extend(one.settled);
                continue;
            }
            Together::RolledBack(why) => match why {
                Why::Stale => {
                    report.stale.push(job.id.clone());
                    continue;
                }
                Why::Conflict(what) => Settlement::of_error(job, &JobError::Dead(what)),
                Why::Locked => Settlement::of_outcome(job, &Outcome::Snooze(wait_for_lock())),
                // Data that does not fit its column fits it no better the next time.
                Why::Refused(error) if is_of_class(&error, &["22", "23"]) => {
                    Settlement::of_error(job, &JobError::Dead(format!("the database refuses it: {error}")))
                }
                Why::Refused(error) => {
                    Settlement::of_error(job, &JobError::Retry { after: None, source: error.into() })
                }
            },
        };
        let mut tx = db::begin(pool).await?;
        let settled = settle(&mut *tx, &alone, std::slice::from_ref(&settlement)).await?;
        tx.commit().await?;
        if settled.is_empty() { report.stale.push(job.id.clone()) } else { report.settled.push(settlement) }
    }
    Ok(report)
}

enum Together {
    Committed(Report),
    RolledBack(Why),
}

enum Why {
    /// A lease was another's: somebody else has, or had, that job.
    Stale,
    /// A permanent key stands with other content.
    Conflict(String),
    /// Another transaction holds a lock that one of them needs.
    Locked,
    /// The database refused what a job wanted, for a reason that repeating does not mend.
    Refused(sqlx::Error),
}

impl Why {
    /// Without what an error of the database may quote of a row.
    fn word(&self) -> &'static str {
        match self {
            Self::Stale => "a lease was another's",
            Self::Conflict(_) => "a key stands with other content",
            Self::Locked => "another transaction holds a lock",
            Self::Refused(_) => "the database refused it",
        }
    }
}

/// One transaction for the whole batch.
async fn together<J: Pure>(pool: &PgPool, terms: &Terms, batch: &Batch) -> Result<Together, Disturbed> {
    match transact::<J>(pool, terms, batch).await {
        Ok(together) => Ok(together),
        Err(error) if is_code(&error, &["55P03"]) => Ok(Together::RolledBack(Why::Locked)),
        Err(error) if is_disturbance(&error) => Err(Disturbed(error)),
        Err(error) => Ok(Together::RolledBack(Why::Refused(error))),
    }
}

async fn transact<J: Pure>(pool: &PgPool, terms: &Terms, batch: &Batch) -> Result<Together, sqlx::Error> {
    let mut tx = db::begin(pool).await?;
    let (read, unreadable) = decode::<J>(&batch.jobs);
    let (claimed, jobs): (Vec<&Claimed>, Vec<J>) = read.into_iter().unzip();
    let facts = J::gather(&mut tx, &jobs).await?;

    let mut settlements = unreadable;
    let (mut owners, mut wanted) = (Vec::new(), Vec::new());
    for ((claimed, job), facts) in claimed.into_iter().zip(&jobs).zip(&facts) {
        match run(job, facts, terms) {
            Ok(mut effects) => {
                for posting in &mut effects.postings {
                    posting.job_id = Some(claimed.id.clone());
                }
                owners.push(claimed);
                wanted.push(effects);
            }
            Err(error) => settlements.push(Settlement::of_error(claimed, &error)),
        }
    }
    let jobs: Vec<&str> = owners.iter().map(|claimed| claimed.id.as_str()).collect();
    let applied = traced::under(&jobs, effects::apply(&mut tx, &wanted)).await?;
    for ((claimed, effects), applied) in owners.into_iter().zip(wanted).zip(applied) {
        let settlement = match (applied, &effects.outcome) {
            (Applied::Conflict(what), _) => return Ok(Together::RolledBack(Why::Conflict(what))),
            (Applied::Already(what), Outcome::Done) => Settlement::of_outcome(claimed, &Outcome::Skip(what)),
            (Applied::New | Applied::Already(_), outcome) => Settlement::of_outcome(claimed, outcome),
        };
        settlements.push(settlement.about(&effects));
    }
    hold_facts(&mut tx, &settlements).await?;
    if settle(&mut *tx, batch, &settlements).await?.len() != batch.jobs.len() {
        return Ok(Together::RolledBack(Why::Stale));
    }
    tx.commit().await?;
    Ok(Together::Committed(Report { settled: settlements, stale: Vec::new() }))
}

/// Keeps the facts that are about to be waited for from being established unseen: see `bursar.is_known`.
async fn hold_facts(db: &mut PgConnection, settlements: &[Settlement]) -> Result<(), sqlx::Error> {
    let mut facts: Vec<String> = settlements.iter().filter_map(|s| s.waits_for.clone()).collect();
    if facts.is_empty() {
        return Ok(());
    }
    facts.sort_unstable();
    sqlx::query!(
        "SELECT pg_advisory_xact_lock_shared(hashtextextended(fact, 0)) FROM unnest($1::text[]) AS fact",
        &facts
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Arguments that this version cannot read make the job dead, never lost.
fn decode<J: Job>(jobs: &[Claimed]) -> (Vec<(&Claimed, J)>, Vec<Settlement>) {
    let (mut read, mut unreadable) = (Vec::with_capacity(jobs.len()), Vec::new());
    for claimed in jobs {
        match serde_json::from_slice(&claimed.args) {
            Ok(job) => read.push((claimed, job)),
            Err(error) => {
                let reason = format!("its arguments cannot be read: {error}");
                unreadable.push(Settlement::of_error(claimed, &JobError::Dead(reason)));
            }
        }
    }
    (read, unreadable)
}

fn run<J: Pure>(job: &J, facts: &J::Facts, terms: &Terms) -> Result<Effects, JobError> {
    let effects = catch_unwind(AssertUnwindSafe(|| job.run(facts, terms))).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
        let said = said.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        Err(JobError::Retry { after: None, source: format!("the job panicked: {said}").into() })
    })?;
    if effects.keys_are_distinct() {
        Ok(effects)
    } else {
        Err(JobError::Dead("two of its postings have one key: a mistake in the job".into()))
    }
}

/// A wait that costs no attempt: whoever holds the lock is neither the job's fault nor its batch-mates'.
fn wait_for_lock() -> Snooze {
    Snooze {
        reason: "another transaction holds a lock that it needs (an application's, left open?)".into(),
        fact: None,
        limit: Duration::from_hours(72),
    }
}

pub(crate) fn is_code(error: &sqlx::Error, codes: &[&str]) -> bool {
    matches!(error, sqlx::Error::Database(e) if e.code().is_some_and(|code| codes.contains(&&*code)))
}

fn is_of_class(error: &sqlx::Error, classes: &[&str]) -> bool {
    matches!(error, sqlx::Error::Database(e) if e.code().is_some_and(|code| classes.contains(&&code[..2])))
}

/// Whether an error is the database's state and not the job's doing.
pub(crate) fn is_disturbance(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            // Deadlock, serialisation, statement time-out, too many connections, shutdown, disk full, connection loss, or cut off
            // while it stood still in a transaction.
            matches!(&*code, "40P01" | "40001" | "57014" | "25P03" | "25P04")
                || matches!(&code[..2], "08" | "53" | "57" | "58")
        }),
        sqlx::Error::Protocol(what) => what == effects::RACED,
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        _ => false,
    }
}
