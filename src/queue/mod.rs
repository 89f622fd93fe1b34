//! The queue: apalis as the worker runtime, its schema as the queue, and a claim, a settlement and a rescue of our own.
//!
//! # The seam, and why it is here
//!
//! apalis 1.0's stock PostgreSQL storage acknowledges in batches after the fact, fenced by a worker's name, and rescues without
//! counting: a killed worker's finished jobs run again, a thawed worker runs beside its successor, a job that kills its worker is
//! retried for ever. None of its ways of acknowledging commits the effect together with the settlement. Three seams were tried:
//!
//! - *a layer over the stock storage* closes the crash gaps, but leaves the claim's plan (200 ms at 120,000 ready), the buffering
//!   of claimed jobs and one settlement a job;
//! - *a `Persistence` of our own* under apalis's `Persisted` keeps the buffering: a fetched batch waits claimed, and while it
//!   does the worker neither renews nor acknowledges;
//! - *a [`Backend`](apalis_core::backend::Backend) of our own* ([`backend`]) has none of it, and is what stands here.
//!
//! What was seen on the way, and is relied on: a worker polls its backend only when it can take a task, and ends by itself once the
//! backend says `None`, its context is told to stop, and the tasks in flight are done, so draining needs no signal of apalis's; an `Err` from
//! a backend or a handler ends the worker, so neither is ever returned here; all handlers of a worker share one task, so each
//! batch runs in a task of its own; `PostgresStorage::migrations()` can be taken without running them.
//!
//! # The parts
//!
//! [`claimer`] claims what can start at once, a batch of one kind under one lease, and hands it to apalis through [`backend`];
//! [`execute`] performs it and settles it in the transaction of its effect; [`keeper`], on a thread of its own, renews the worker's
//! lease and sweeps up what others lost; [`wake`] listens; [`upkeep`] looks after what is held and forgets what is long done. A lease has two ends: the worker's,
//! renewed every two seconds by the database's clock in a row of its own, and the attempt's deadline, which nothing renews.

mod backend;
mod claimer;
mod execute;
mod keeper;
mod schema;
mod told;
mod upkeep;
mod wake;

use std::{sync::Arc, time::Duration};

use apalis::prelude::{Monitor, WorkerBuilder};
use bursar_jobs::{
    Outgoing, Stripe,
    engine::{batch::Performer, context::Points},
    letters::Postbox,
    terms::Terms,
};
use sqlx::PgPool;
use tokio::sync::Notify;

pub use schema::apalis_migrations;

use crate::stop::Stop;

/// How a worker behaves. The defaults hold the promises of the README; tests shorten them.
#[derive(Debug, Clone)]
pub struct Options {
    /// What this worker can perform; by default every kind of this version.
    pub performers: Vec<Performer>,
    /// Where to LISTEN, a direct connection even where a pooler stands before the database. None: polling alone.
    pub listen_url: Option<String>,
    /// How long a worker may be silent before its jobs are another's. A crash is mended within this and a second or two.
    pub lease: Duration,
    /// How often an idle worker looks without having been woken.
    pub poll: Duration,
    /// Batches in flight at once, over all kinds. Each takes a database connection while it runs.
    pub concurrency: usize,
    /// Batches in flight at once of any one kind.
    pub per_kind: usize,
    /// Stripe, where it is on.
    pub stripe: Option<Stripe>,
    /// What Stripe allows all processes together in a second, where there is a limit.
    pub requests_per_second: Option<u32>,
    /// The team's webhook, where there is one.
    pub notify: Option<Outgoing>,
    /// Where letters are written and leave; none: this worker sends none.
    pub letters: Option<Postbox>,
    /// Where tests cut a call short. No setting reaches it.
    pub points: Points,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            performers: bursar_jobs::performers(),
            listen_url: None,
            lease: Duration::from_secs(8),
            poll: Duration::from_millis(250),
            concurrency: 8,
            per_kind: 4,
            stripe: None,
            requests_per_second: None,
            notify: None,
            letters: None,
            points: Points::default(),
        }
    }
}

/// Why a worker could not run.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The thread that keeps the lease could not be started.
    #[error("the lease keeper could not be started: {0}")]
    Keeper(#[from] std::io::Error),
    /// apalis's monitor ended with an error.
    #[error("the worker ended early: {0}")]
    Monitor(String),
    /// Jobs in flight did not end in time after the stop; another worker will take them over.
    #[error("{0} batches were still running {1:?} after the stop; another worker will take their jobs over")]
    Drain(usize, Duration),
}

/// Runs a worker until `stop` is said; then claims no more, lets what is running finish under its lease, and returns.
pub async fn run(pool: PgPool, options: Options, terms: Arc<Terms>, stop: Stop) -> Result<(), QueueError> {
    let keeper = keeper::start(&pool, &options)?;
    let wakes = Arc::new(Notify::new());
    let listener =
        options.listen_url.clone().map(|url| tokio::spawn(wake::listen(url, Arc::clone(&wakes), stop.clone())));
    let upkeep = tokio::spawn(upkeep::run(pool.clone(), stop.clone()));

    let slots = claimer::Slots::new(&options);
    let (claims, backend) = backend::channel();
    let claimer = claimer::Claimer::new(pool.clone(), &options, keeper.held(), Arc::clone(&slots), Arc::clone(&wakes));
    let claiming = tokio::spawn(claimer.run(claims, stop.clone()));

    let engine = Arc::new(execute::Engine::new(pool.clone(), terms, &options, keeper.held()));
    // The backend can be taken once: this worker is not restarted, since neither it nor its handler ever answers with an error.
    let backend = std::sync::Mutex::new(Some(backend));
    let monitor = Monitor::new().register(move |_| {
        let backend = backend.lock().ok().and_then(|mut b| b.take()).unwrap_or_else(backend::Claims::closed);
        let engine = Arc::clone(&engine);
        WorkerBuilder::new("bursar").backend(backend).build(move |claim: backend::Claim| {
            let engine = Arc::clone(&engine);
            async move { engine.execute(claim).await }
        })
    });

    let limit = drain_limit(&options);
    let overdue = async {
        stop.wait().await;
        tokio::time::sleep(limit).await;
    };
    let ended = tokio::select! {
        // It ends by itself: the claimer stops, the backend says None, and what is in flight ends.
        ended = monitor.run() => ended.map_err(|error| QueueError::Monitor(error.to_string())),
        () = overdue => Err(QueueError::Drain(slots.in_flight(), limit)),
    };
    for task in [Some(claiming), listener, Some(upkeep)].into_iter().flatten() {
        task.abort();
    }
    keeper.finish().await;
    ended
}

/// As long as the longest attempt may run, and a little to settle it.
fn drain_limit(options: &Options) -> Duration {
    let longest = options.performers.iter().map(|p| p.kind.timeout).max().unwrap_or_default();
    longest + Duration::from_secs(5)
}
