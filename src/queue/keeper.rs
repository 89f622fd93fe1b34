//! The keeper: renews this worker's lease and sweeps up what other workers lost, on a thread, a runtime and a connection of its
//! own, so that neither a busy runtime nor a drain can stop it.
//!
//! - A worker's name is new for each boot, and new again after the process was frozen: a gap of a whole lease on a clock that counts
//!   suspension means that its jobs may be another's, so it gives up everything it held and starts over under another name.
//! - A database that was away is no freeze: the keeper ticked all the while, and says so when it renews.
//! - A sweep waits for one lease of its own unbroken connection, so that after an outage every living worker has renewed first.

use std::time::Duration;

use bursar_jobs::base::clock;
use sqlx::{Connection, PgConnection, PgPool, postgres::PgConnectOptions};
use tokio::sync::{oneshot, watch};
use uuid::Uuid;

use super::Options;
use crate::telemetry::counts::WORKER;

/// How often it looks for what was lost.
const TICK: Duration = Duration::from_secs(1);
/// Jobs taken back in one sweep; the next follows a tick later.
const MOST: i32 = 500;

/// What the keeper holds for this worker.
#[derive(Debug, Clone)]
pub struct Held {
    /// The worker's name, unique for its boot.
    pub worker: String,
    /// How often the lease has been renewed under that name.
    pub renewals: u64,
    /// Until when the lease surely holds, on [`clock::awake_and_asleep`]: counted from before the renewal was asked for.
    pub until: Duration,
}

impl Held {
    fn new() -> Self {
        Self { worker: new_name(), renewals: 0, until: Duration::ZERO }
    }
}

/// A handle on the keeper's thread.
#[derive(Debug)]
pub struct Keeper {
    held: watch::Receiver<Held>,
    finish: Option<oneshot::Sender<()>>,
    finished: oneshot::Receiver<()>,
}

impl Keeper {
    /// What it holds, now and later.
    pub fn held(&self) -> watch::Receiver<Held> {
        self.held.clone()
    }

    /// Gives up the lease and ends the thread. Call it when nothing runs under the lease any more.
    pub async fn finish(mut self) {
        drop(self.finish.take());
        // An error means that the thread is gone, which is what was asked for.
        drop(tokio::time::timeout(Duration::from_secs(3), self.finished).await);
    }
}

/// Starts the keeper.
pub fn start(pool: &PgPool, options: &Options) -> Result<Keeper, std::io::Error> {
    let (publish, held) = watch::channel(Held::new());
    let (finish, asked) = oneshot::channel();
    let (done, finished) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let watch = Watch {
        connect: (*pool.connect_options()).clone(),
        connection: None,
        lease: options.lease,
        kinds: options.performers.iter().map(|p| p.kind.name.to_owned()).collect(),
        steady_since: clock::awake_and_asleep(),
        publish,
    };
    std::thread::Builder::new().name("lease-keeper".into()).spawn(move || {
        runtime.block_on(watch.keep(asked));
        if done.send(()).is_err() {
            tracing::debug!("nobody waits for the keeper any more");
        }
    })?;
    Ok(Keeper { held, finish: Some(finish), finished })
}

fn new_name() -> String {
    let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_default();
    format!("{host}:{}:{}", std::process::id(), Uuid::now_v7())
}

struct Watch {
    connect: PgConnectOptions,
    connection: Option<PgConnection>,
    lease: Duration,
    kinds: Vec<String>,
    /// Since when the connection has been unbroken.
    steady_since: Duration,
    publish: watch::Sender<Held>,
}

impl Watch {
    async fn keep(mut self, mut asked: oneshot::Receiver<()>) {
        let mut last = clock::awake_and_asleep();
        let mut due = last;
        let mut tick = tokio::time::interval(TICK.min(self.lease / 4));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = &mut asked => break,
                _ = tick.tick() => {}
            }
            let now = clock::awake_and_asleep();
            if now.saturating_sub(last) >= self.lease {
                tracing::warn!(
                    "this process stood still for {:?}, longer than its lease: it gives up what it held",
                    now.saturating_sub(last)
                );
                self.start_over();
            }
            last = now;
            // No call may outlast a part of the lease: the loop must go on ticking to know that it was awake.
            let patience = self.lease / 4;
            let renew_now = now >= due;
            let trouble = match tokio::time::timeout(patience, self.turn(renew_now)).await {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some(format!("no answer within {patience:?}")),
            };
            match trouble {
                None if renew_now => due = now + self.lease / 4,
                None => {}
                Some(error) => {
                    if self.connection.is_some() || now.saturating_sub(self.steady_since) >= self.lease {
                        tracing::warn!(
                            error,
                            "the database is away; jobs in flight are kept and go on once it is back"
                        );
                    }
                    self.connection = None;
                    self.steady_since = clock::awake_and_asleep();
                }
            }
        }
        if let Some(connection) = &mut self.connection {
            let worker = self.publish.borrow().worker.clone();
            // Only a courtesy: a lease that is not given up runs out.
            drop(sqlx::query!("DELETE FROM apalis.workers WHERE id = $1", worker).execute(connection).await);
        }
    }

    fn start_over(&mut self) {
        self.publish.send_replace(Held::new());
        self.connection = None;
        self.steady_since = clock::awake_and_asleep();
    }

    async fn turn(&mut self, renew_now: bool) -> Result<(), sqlx::Error> {
        if self.connection.is_none() {
            self.connection = Some(PgConnection::connect_with(&self.connect).await?);
            self.steady_since = clock::awake_and_asleep();
        }
        if renew_now {
            self.renew().await?;
        }
        if clock::awake_and_asleep().saturating_sub(self.steady_since) >= self.lease {
            self.sweep().await?;
        }
        Ok(())
    }

    async fn renew(&mut self) -> Result<(), sqlx::Error> {
        let Some(connection) = &mut self.connection else { return Ok(()) };
        let asked = clock::awake_and_asleep();
        let Held { worker, renewals, .. } = self.publish.borrow().clone();
        let lease = i64::try_from(self.lease.as_millis()).unwrap_or(i64::MAX);
        if renewals == 0 {
            sqlx::query!(
                "INSERT INTO apalis.workers (id, worker_type, storage_name, layers, last_seen, started_at, kinds, lease_until)
                 VALUES ($1, 'bursar', 'bursar', '', clock_timestamp(), clock_timestamp(), $2,
                         clock_timestamp() + $3::bigint::float8 * interval '1 millisecond')
                 ON CONFLICT (id) DO UPDATE SET lease_until = excluded.lease_until",
                worker,
                &self.kinds,
                lease,
            )
            .execute(connection)
            .await?;
        } else {
            let renewed =
                sqlx::query_scalar!("SELECT bursar.renew($1, $2, true)", worker, lease).fetch_one(connection).await?;
            if renewed != Some(true) {
                tracing::warn!(worker, "another worker took this one for dead: it gives up what it held");
                self.publish.send_replace(Held::new());
                return Ok(());
            }
        }
        self.publish.send_modify(|held| {
            held.renewals += 1;
            held.until = asked + self.lease;
        });
        Ok(())
    }

    async fn sweep(&mut self) -> Result<(), sqlx::Error> {
        let Some(connection) = &mut self.connection else { return Ok(()) };
        let lost = sqlx::query!(
            r#"SELECT id AS "id!", kind AS "kind!", state AS "state!", reason AS "reason!" FROM bursar.sweep($1)"#,
            MOST
        )
        .fetch_all(connection)
        .await?;
        for job in lost {
            WORKER.settled(&job.kind, "lost");
            tracing::warn!(job = job.id, kind = job.kind, state = job.state, "an attempt was lost: {}", job.reason);
        }
        Ok(())
    }
}
