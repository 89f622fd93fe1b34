//! Transactions that end.

use sqlx::{PgPool, Postgres, Transaction};

/// Begins a transaction with limits of its own, in the same round trip, and gone with it (so that a pooler may stand between).
///
/// A lock that another transaction holds, such as an application's that spent credits and thinks, is waited for a little and then
/// answered with 55P03. A worker that was frozen in the middle is cut off by the database before its lease's end, and lets go of what
/// it had locked.
pub async fn begin(pool: &PgPool) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    pool.begin_with(
        "BEGIN; SET LOCAL lock_timeout = '3s'; SET LOCAL statement_timeout = '15s'; SET LOCAL idle_in_transaction_session_timeout = '5s'",
    )
    .await
}
