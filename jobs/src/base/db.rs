//! Transactions that end.

use sqlx::{PgPool, Postgres, Transaction};

/// How long a transaction waits for a lock that another one holds, before it is answered with 55P03.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockWait {
    /// 3 s: nobody else waits for this transaction.
    Long,
    /// 250 ms, some batches of our own: others wait for this one.
    Short,
    /// 50 ms: one of many in a row.
    Shortest,
}

macro_rules! begin {
    ($lock_timeout:literal) => {
        concat!(
            "BEGIN; SET LOCAL lock_timeout = '",
            $lock_timeout,
            "'; SET LOCAL statement_timeout = '15s'; SET LOCAL idle_in_transaction_session_timeout = '5s'; ",
            "SET LOCAL search_path = pg_catalog, pg_temp"
        )
    };
}

/// Begins a transaction with limits of its own, in the same round trip, and gone with it (so that a pooler may stand between).
///
/// A lock that another transaction holds, such as an application's that spent credits and thinks, is waited for a little and then
/// answered with 55P03. A worker that was frozen in the middle is cut off by the database before its lease's end, and lets go of what
/// it had locked. Names are looked up among PostgreSQL's own alone, whoever may create others in `public`.
pub async fn begin(pool: &PgPool) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    begin_waiting(pool, LockWait::Long).await
}

/// The same, with another wait for locks.
pub async fn begin_waiting(pool: &PgPool, wait: LockWait) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    pool.begin_with(match wait {
        LockWait::Long => begin!("3s"),
        LockWait::Short => begin!("250ms"),
        LockWait::Shortest => begin!("50ms"),
    })
    .await
}
