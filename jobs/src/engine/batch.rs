//! Performing a batch of pure jobs: gather, run, apply, settle, commit, all in one transaction.
//!
//! Jobs that are in the way of their batch-mates are set aside before anything is made ([`set_aside`]). A batch in which something is out of
//! the ordinary all the same (a stale lease, a lock, an error of the database that one job may have caused) is rolled back whole and halved,
//! until the job that it was is alone, so that none takes another along.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
};

use sqlx::PgConnection;

pub use crate::engine::context::{Context, Points, Reached};
use crate::{
    base::db::{self, LockWait},
    engine::{
        apply,
        call::{self, Call},
        change::{self, Applied},
        delivery::{self, Outside},
        job::{Batch, Claimed, Effects, Job, JobError, Outcome, Pure},
        kind::Kind,
        set_aside::{Aside, Part, set_aside},
        settle::{Settlement, settle, times_locked},
        trace_context,
    },
    terms::Terms,
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
        Self { kind: J::KIND, perform: |context, batch| Box::pin(perform::<J>(context, batch)) }
    }

    /// The performer of a job that talks to somebody else than Stripe.
    pub(crate) const fn of_outside<J: Outside>() -> Self {
        Self { kind: J::KIND, perform: |context, batch| Box::pin(delivery::perform::<J>(context, batch)) }
    }

    /// The performer of a call.
    pub const fn of_call<J: Call>() -> Self {
        Self { kind: J::KIND, perform: |context, batch| Box::pin(call::perform::<J>(context, batch)) }
    }
}

async fn perform<J: Pure>(context: &Context, batch: &Batch) -> Result<Report, Disturbed> {
    let mut report = Report::default();
    let mut open = vec![Part::new(batch.clone(), LockWait::Short)];
    while let Some(mut part) = open.pop() {
        let why = match together::<J>(context, &mut part).await? {
            Together::Committed(one, waiting) => {
                report.settled.extend(one.settled);
                open.extend(waiting);
                continue;
            }
            Together::RolledBack(why) => why,
        };
        tracing::debug!(kind = batch.kind.name, jobs = part.batch.jobs.len(), why = why.word(), "rolled back");
        if matches!(why, Why::Locked) && !part.looked && context.locked.learn(&context.pool, &part.accounts).await? {
            open.push(part.again());
            continue;
        }
        match (&part.batch.jobs[..], why) {
            ([job], why) => alone(context, &part.batch, job, why, &mut report).await?,
            (_, Why::Stale(stale)) => {
                let (stale, rest) = part.batch.divide(|job| stale.contains(&job.id));
                open.extend(stale.jobs.iter().map(|job| Part::new(stale.only(job), LockWait::Shortest)));
                open.extend((!rest.jobs.is_empty()).then(|| Part::new(rest, LockWait::Shortest)));
            }
            (_, Why::Conflict(_) | Why::Locked | Why::Refused(_)) => open.extend(part.halves()),
        }
    }
    Ok(report)
}

/// Settles a job that was performed alone and rolled back.
async fn alone(
    context: &Context,
    batch: &Batch,
    job: &Claimed,
    why: Why,
    report: &mut Report,
) -> Result<(), Disturbed> {
    let mut tx = db::begin(&context.pool).await?;
    let settlement = match why {
        Why::Stale(_) => {
            report.stale.push(job.id.clone());
            return Ok(());
        }
        Why::Conflict(what) => Settlement::of_error(job, &JobError::Dead(what)),
        Why::Locked => {
            let times = times_locked(&mut *tx, std::slice::from_ref(&job.id)).await?;
            Settlement::of_lock(job, times.get(&job.id).copied().unwrap_or_default(), None)
        }
        // Data that does not fit its column fits it no better the next time.
        Why::Refused(error) if is_of_class(&error, &["22", "23"]) => {
            Settlement::of_error(job, &JobError::Dead(format!("the database refuses it: {error}")))
        }
        Why::Refused(error) => Settlement::of_error(job, &JobError::Retry { after: None, source: error.into() }),
    };
    let settled = settle(&mut *tx, batch, std::slice::from_ref(&settlement)).await?;
    tx.commit().await?;
    if settled.is_empty() {
        report.stale.push(job.id.clone());
    } else {
        report.settled.push(settlement);
    }
    Ok(())
}

enum Together {
    /// And what waits for its locks by itself.
    Committed(Report, Option<Part>),
    RolledBack(Why),
}

enum Why {
    /// The leases of these were another's: somebody else has, or had, those jobs.
    Stale(Vec<String>),
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
            Self::Stale(_) => "a lease was another's",
            Self::Conflict(_) => "a key stands with other content",
            Self::Locked => "another transaction holds a lock",
            Self::Refused(_) => "the database refused it",
        }
    }
}

/// One transaction for the whole part.
async fn together<J: Pure>(context: &Context, part: &mut Part) -> Result<Together, Disturbed> {
    let whole = part.batch.clone();
    let done = transact::<J>(context, part).await;
    if !matches!(done, Ok(Together::Committed(..))) {
        // What was to wait by itself is of the part again: nothing else would settle it.
        part.batch = whole;
    }
    match done {
        Ok(together) => Ok(together),
        Err(error) if is_code(&error, &["55P03"]) => Ok(Together::RolledBack(Why::Locked)),
        Err(error) if is_disturbance(&error) => Err(Disturbed(error)),
        Err(error) => Ok(Together::RolledBack(Why::Refused(error))),
    }
}

async fn transact<J: Pure>(context: &Context, part: &mut Part) -> Result<Together, sqlx::Error> {
    let mut tx = db::begin_waiting(&context.pool, part.wait).await?;
    let whole = part.batch.clone();
    let (read, unreadable) = decode::<J>(&whole.jobs);
    let (claimed, jobs): (Vec<&Claimed>, Vec<J>) = read.into_iter().unzip();
    let facts = J::gather(&mut tx, &jobs).await?;

    let mut settlements = unreadable;
    let mut decided = Vec::new();
    for ((claimed, job), facts) in claimed.into_iter().zip(&jobs).zip(&facts) {
        match run(job, facts, &context.terms) {
            Ok(mut effects) => {
                for posting in &mut effects.postings {
                    posting.job_id = Some(claimed.id.clone());
                }
                decided.push((claimed, effects));
            }
            Err(error) => settlements.push(Settlement::of_error(claimed, &error)),
        }
    }
    let Aside { kept, settled, waiting } = set_aside(context, &mut tx, part, decided).await?;
    settlements.extend(settled);
    let (owners, wanted): (Vec<&Claimed>, Vec<Effects>) = kept.into_iter().unzip();
    let jobs: Vec<&str> = owners.iter().map(|claimed| claimed.id.as_str()).collect();
    let applied = trace_context::under(&jobs, apply::apply(context.domains, &mut tx, &wanted)).await?;
    for ((claimed, effects), applied) in owners.into_iter().zip(wanted).zip(applied) {
        let settlement = match (applied, &effects.outcome) {
            (Applied::Conflict(what), _) => return Ok(Together::RolledBack(Why::Conflict(what))),
            (Applied::Already(what), Outcome::Done) => Settlement::of_outcome(claimed, &Outcome::Skip(what)),
            (Applied::New | Applied::Already(_), outcome) => Settlement::of_outcome(claimed, outcome),
        };
        settlements.push(settlement.about(&effects));
    }
    hold_facts(&mut tx, &settlements).await?;
    let batch = &part.batch;
    let settled = settle(&mut *tx, batch, &settlements).await?;
    if settled.len() != batch.jobs.len() {
        let stale = batch.jobs.iter().map(|job| job.id.clone()).filter(|id| !settled.contains(id));
        return Ok(Together::RolledBack(Why::Stale(stale.collect())));
    }
    tx.commit().await?;
    Ok(Together::Committed(Report { settled: settlements, stale: Vec::new() }, waiting))
}

/// Keeps the facts that are about to be waited for from being established unseen: see `bursar.is_known`.
async fn hold_facts(db: &mut PgConnection, settlements: &[Settlement]) -> Result<(), sqlx::Error> {
    let mut facts: Vec<String> = settlements.iter().filter_map(|s| s.waits_for.clone()).collect();
    if facts.is_empty() {
        return Ok(());
    }
    facts.sort_unstable();
    sqlx::query!(
        "SELECT pg_advisory_xact_lock_shared(hashtextextended(fact, 0::bigint)) FROM pg_catalog.unnest($1::text[]) AS fact",
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
        sqlx::Error::Protocol(what) => what == change::RACED,
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_broke_and_a_race_are_the_databases_state_and_no_jobs_doing() {
        for state in [
            sqlx::Error::Protocol(change::RACED.into()),
            sqlx::Error::Io(std::io::Error::other("reset")),
            sqlx::Error::Tls("closed".into()),
            sqlx::Error::PoolTimedOut,
            sqlx::Error::PoolClosed,
            sqlx::Error::WorkerCrashed,
        ] {
            assert!(is_disturbance(&state), "{state}");
        }
        for doing in [sqlx::Error::Protocol("another".into()), sqlx::Error::RowNotFound] {
            assert!(!is_disturbance(&doing), "{doing}");
        }
    }
}
