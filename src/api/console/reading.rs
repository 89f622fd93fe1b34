//! The connection that a page is made of.
//!
//! Pages have a share of the connections and no more, so that whoever looks, or searches through years of words, leaves the others to those
//! who spend. A page that nobody waits for any more ends its statement: the server is told so, for it would go on to its end.

use std::{
    ops::{Deref, DerefMut},
    pin::pin,
    time::Duration,
};

use hyper::StatusCode;
use sqlx::{PgConnection, PgPool, Postgres, Transaction};
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::Trouble;
use crate::api::Api;

/// One in so many connections may be a page's.
const SHARE: u32 = 4;
/// A page waits so long for those before it.
const TURN: Duration = Duration::from_secs(8);
/// What a connection takes to end a transaction in which nothing runs, at most. After that something does.
const AT_REST: Duration = Duration::from_millis(100);

/// As many as may read at once.
pub(in crate::api) fn places(pool: &PgPool) -> Semaphore {
    let most = pool.options().get_max_connections().div_ceil(SHARE);
    Semaphore::new(usize::try_from(most).unwrap_or(1).max(1))
}

/// A transaction to read a page by. It changes nothing, and gives up before its reader does.
pub(super) struct Reading {
    tx: Option<Transaction<'static, Postgres>>,
    /// The server's process, by which its statement is ended.
    process: i32,
    pool: PgPool,
    place: Option<OwnedSemaphorePermit>,
}

/// Waits until there is room for one more who reads.
pub(super) async fn place(api: &Api) -> Result<OwnedSemaphorePermit, Trouble> {
    let Ok(Ok(place)) = timeout(TURN, api.pages.clone().acquire_owned()).await else {
        let say = "Too many pages are being read at once. Try again in a moment.";
        return Err(Trouble::new(StatusCode::SERVICE_UNAVAILABLE, say));
    };
    Ok(place)
}

/// Begins one, once there is room.
pub(super) async fn reading(api: &Api) -> Result<Reading, Trouble> {
    let place = place(api).await?;
    let begin = "BEGIN READ ONLY; SET LOCAL statement_timeout = '10s'; SET LOCAL search_path = pg_catalog, pg_temp; \
                 SET LOCAL max_parallel_workers_per_gather = 0";
    let mut tx = api.pool.begin_with(begin).await?;
    let process = sqlx::query_scalar!(r#"SELECT pg_backend_pid() AS "process!""#).fetch_one(&mut *tx).await?;
    Ok(Reading { tx: Some(tx), process, pool: api.pool.clone(), place: Some(place) })
}

impl Deref for Reading {
    type Target = PgConnection;
    fn deref(&self) -> &PgConnection {
        self.tx.as_ref().expect("it is there until it is dropped")
    }
}

impl DerefMut for Reading {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.tx.as_mut().expect("it is there until it is dropped")
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let (Some(tx), Some(place), Ok(runtime)) = (self.tx.take(), self.place.take(), Handle::try_current()) else {
            return;
        };
        let (pool, process) = (self.pool.clone(), self.process);
        runtime.spawn(async move {
            // The connection is nobody else's until it is at rest, so that no other's statement is ended.
            let mut rollback = pin!(tx.rollback());
            if timeout(AT_REST, &mut rollback).await.is_err() {
                let ended = sqlx::query_scalar!("SELECT pg_cancel_backend($1)", process).fetch_one(&pool).await;
                if let Err(error) = ended {
                    tracing::warn!(%error, "the statement of a page that nobody reads runs until its time limit");
                }
                drop(rollback.await);
            }
            drop(place);
        });
    }
}
