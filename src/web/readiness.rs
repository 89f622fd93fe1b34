//! Whether an event could be stored now.

use std::time::{Duration, Instant};

use bursar_jobs::base::clock;
use sqlx::PgPool;
use tokio::sync::Mutex;

use crate::{http::reply::Problem, migrate};

/// How long an answer holds: a probe costs the database at most one query in that time, however many ask.
const FRESH: Duration = Duration::from_secs(1);

/// How long the database may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// The last answer, and when it was given.
#[derive(Debug, Default)]
pub(super) struct Readiness(Mutex<Option<(Instant, State)>>);

#[derive(Debug, Clone, Copy)]
enum State {
    Ready,
    NotMigrated,
    /// A standby, or a server that was told to take no writes, as some do when their disk is full.
    ReadOnly,
    Unreachable,
}

impl Readiness {
    pub async fn check(&self, pool: &PgPool) -> Result<(), Problem> {
        let mut last = self.0.lock().await;
        let state = match *last {
            Some((at, state)) if clock::monotonic().duration_since(at) < FRESH => state,
            _ => {
                let state = ask(pool).await;
                *last = Some((clock::monotonic(), state));
                state
            }
        };
        match state {
            State::Ready => Ok(()),
            State::NotMigrated => {
                Err(Problem::unavailable("The database lacks this version's schema: run `bursar migrate`."))
            }
            State::ReadOnly => Err(Problem::unavailable(
                "The database takes no writes: point DATABASE_URL at the primary, or see why it is read-only \
                 (default_transaction_read_only).",
            )),
            State::Unreachable => Err(Problem::unavailable(
                "The database does not answer: check that it runs and that DATABASE_URL is right.",
            )),
        }
    }
}

async fn ask(pool: &PgPool) -> State {
    let asked = async {
        // Also true of every session of a standby.
        let is_read_only: bool =
            sqlx::query_scalar("SELECT pg_catalog.current_setting('transaction_read_only')::boolean")
                .fetch_one(pool)
                .await?;
        if is_read_only {
            return Ok::<_, sqlx::Error>(State::ReadOnly);
        }
        Ok(if migrate::is_current(pool).await? { State::Ready } else { State::NotMigrated })
    };
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(state)) => state,
        Ok(Err(error)) => {
            tracing::warn!(%error, "not ready: the database does not answer");
            State::Unreachable
        }
        Err(_) => {
            tracing::warn!("not ready: the database did not answer within {PATIENCE:?}");
            State::Unreachable
        }
    }
}
