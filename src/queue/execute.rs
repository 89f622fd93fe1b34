//! Executing a claim: perform it under its time limit, repeat it when only the database was in the way, and see to it that
//! whatever happens is settled or left to the sweep.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bursar_jobs::{
    base::{clock, db},
    engine::{
        backoff,
        batch::{Disturbed, Performer, Report},
        context::Context,
        job::{Batch, JobError},
        rate_limit::Turns,
        settle::{Settlement, settle},
        trace_context,
    },
    terms::Terms,
};
use sqlx::PgPool;
use tokio::sync::watch;
use tracing::{Instrument, Span as LogSpan};

use super::{Options, backend::Claim, keeper::Held, told};
use crate::telemetry::{
    quiet,
    stripe::{Timed, Watched},
    traces::{self, Made, Origin},
};

/// What every claim is executed with.
#[derive(Debug)]
pub struct Engine {
    context: Arc<Context>,
    performers: HashMap<&'static str, Performer>,
    held: watch::Receiver<Held>,
}

/// How one try ended.
enum Try {
    Reported(Report),
    Disturbed(Disturbed),
    Panicked(String),
    TimedOut,
}

impl Engine {
    /// An engine for a worker.
    pub fn new(pool: PgPool, terms: Arc<Terms>, options: &Options, held: watch::Receiver<Held>) -> Self {
        let performers = options.performers.iter().map(|p| (p.kind.name, *p)).collect();
        let lease = held.clone();
        let stripe = options.stripe.clone().map(|stripe| match options.requests_per_second {
            Some(limit) => stripe.behind(Arc::new(Timed(Arc::new(Turns::new(pool.clone(), limit))))),
            None => stripe,
        });
        let stripe = stripe.map(|stripe| stripe.watched_by(Arc::new(Watched)));
        let context = Context {
            domains: bursar_jobs::registry::DOMAINS,
            pool,
            terms,
            stripe,
            notify: options.notify.clone(),
            letters: options.letters.clone(),
            lease: Arc::new(move |batch| {
                let held = lease.borrow();
                held.worker == batch.worker && clock::awake_and_asleep() < held.until
            }),
            points: options.points.clone(),
            locked: Arc::default(),
        };
        Self { context: Arc::new(context), performers, held }
    }

    /// Executes a claim to its end. Never an error: apalis would end the worker.
    pub async fn execute(self: Arc<Self>, claim: Claim) {
        let Claim { batch, slot } = claim;
        let batch = Arc::new(batch);
        let started = clock::monotonic();
        let origins = traces::origins(&self.context.pool, &batch).await;
        let span = told::span(&batch);
        // Over all tries: a request that left before the database went away was made.
        let made = Made::default();
        loop {
            let renewals = self.held.borrow().renewals;
            match self.attempt(&batch, &origins, &made, span.clone()).await {
                Try::Reported(report) => {
                    told::tell(&batch, &report, started.elapsed());
                    told::trace(&batch, &report, &origins, made.take(), started.elapsed());
                    break;
                }
                Try::Disturbed(disturbed) => {
                    if !self.calm(&batch, &disturbed, renewals).instrument(span.clone()).await {
                        span.in_scope(|| tracing::warn!("the lease was lost: its jobs are another worker's"));
                        told::broken(&batch, "lease_lost", &origins, made.take(), started.elapsed());
                        break;
                    }
                }
                Try::Panicked(said) if batch.jobs.len() == 1 => {
                    told::broken(&batch, "panicked", &origins, made.take(), started.elapsed());
                    self.give_back(&batch, &format!("the job panicked: {said}")).instrument(span).await;
                    break;
                }
                Try::TimedOut if batch.jobs.len() == 1 => {
                    told::broken(&batch, "timed_out", &origins, made.take(), started.elapsed());
                    self.give_back(&batch, &format!("timed out after {:?}", batch.kind.timeout)).instrument(span).await;
                    break;
                }
                Try::TimedOut | Try::Panicked(_) => {
                    // Which of them it was is not known. The sweep takes them back at their deadline, and each then runs alone.
                    tracing::warn!(
                        kind = batch.kind.name,
                        jobs = batch.jobs.len(),
                        "a batch broke; its jobs will run alone"
                    );
                    break;
                }
            }
        }
        drop(slot);
    }

    /// One try, in a task of its own: a panic or a loop in it takes nothing else along.
    async fn attempt(&self, batch: &Arc<Batch>, origins: &HashMap<String, Origin>, made: &Made, span: LogSpan) -> Try {
        let Some(performer) = self.performers.get(batch.kind.name).copied() else {
            return Try::Panicked(format!("no performer for {}", batch.kind.name));
        };
        let (context, batch) = (Arc::clone(&self.context), Arc::clone(batch));
        let limit = batch.kind.timeout;
        let (contexts, made) = (traces::contexts(origins), made.clone());
        let run = async move {
            let run = trace_context::attempts(contexts, (performer.perform)(&context, &batch));
            traces::attempt(made, run).await
        };
        let task = tokio::spawn(run.instrument(span));
        let abort = task.abort_handle();
        match tokio::time::timeout(limit, task).await {
            Ok(Ok(Ok(report))) => Try::Reported(report),
            Ok(Ok(Err(disturbed))) => Try::Disturbed(disturbed),
            Ok(Err(join)) => Try::Panicked(join.to_string()),
            Err(_) => {
                abort.abort();
                Try::TimedOut
            }
        }
    }

    /// Waits until a repetition makes sense. False: the lease is lost, and with it the right to repeat.
    async fn calm(&self, batch: &Batch, disturbed: &Disturbed, renewals: u64) -> bool {
        if matches!(&disturbed.0, sqlx::Error::Database(e) if matches!(e.code().as_deref(), Some("40P01" | "40001" | "55P03")))
        {
            // Two transactions met: the other one is through in a moment.
            tokio::time::sleep(Duration::from_millis(20).mul_f64(backoff::jitter())).await;
            return self.held.borrow().worker == batch.worker;
        }
        tracing::warn!(error = %disturbed, "repeating once the lease is renewed; no attempt is spent");
        // The lease may have run out meanwhile; a settlement under it would be refused. So the keeper goes first.
        let mut held = self.held.clone();
        let news = held.wait_for(|held| held.worker != batch.worker || held.renewals > renewals).await;
        news.is_ok_and(|held| held.worker == batch.worker)
    }

    /// Settles what did not settle itself: each job of the batch goes to its next attempt, or dies at its limit.
    async fn give_back(&self, batch: &Batch, why: &str) {
        loop {
            let renewals = self.held.borrow().renewals;
            let settlements: Vec<Settlement> = batch
                .jobs
                .iter()
                .map(|job| Settlement::of_error(job, &JobError::Retry { after: None, source: why.into() }))
                .collect();
            let settled = async {
                let mut tx = db::begin(&self.context.pool).await?;
                let settled = settle(&mut *tx, batch, &settlements).await?;
                tx.commit().await?;
                Ok(settled)
            };
            match settled.await {
                Ok(settled) => {
                    told::given_back(batch, settled.len());
                    tracing::warn!(settled = settled.len(), of = batch.jobs.len(), "{}", quiet(why));
                    return;
                }
                Err(error) => {
                    if !self.calm(batch, &Disturbed(error), renewals).await {
                        return;
                    }
                }
            }
        }
    }
}
