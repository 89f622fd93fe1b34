//! Brings a database to this version's schema: apalis's migrations first, then ours, under one lock and in one history.

use sqlx::{
    Connection, PgConnection, PgPool,
    migrate::{MigrateError, Migrator},
};

use crate::queue;

/// Applies what is missing; a second run, or two at once, change nothing more.
///
/// The history is kept in `bursar._migrations`, so that an application that shares the database may use sqlx's own table.
///
/// The lock is a transaction's, on a connection beside: sqlx's own is a session's, which a pooler gives to another client before it is
/// given back, and then for ever.
pub async fn migrate(pool: &PgPool) -> Result<(), MigrateError> {
    let mut beside = PgConnection::connect_with(&pool.connect_options()).await?;
    let mut lock = beside.begin().await?;
    // However long another one takes, and however long ours does.
    sqlx::raw_sql("SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0")
        .execute(&mut *lock)
        .await?;
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('bursar.migrate', 0))").execute(&mut *lock).await?;
    migrator().set_locking(false).run(pool).await?;
    lock.commit().await?;
    Ok(beside.close().await?)
}

/// Whether every migration of this version has been applied; for readiness and for a hint at start.
pub async fn is_current(pool: &PgPool) -> Result<bool, sqlx::Error> {
    let newest = migrator().iter().map(|m| m.version).max();
    let applied: Result<Option<i64>, _> =
        sqlx::query_scalar("SELECT max(version) FROM bursar._migrations WHERE success").fetch_one(pool).await;
    match applied {
        Ok(version) => Ok(version >= newest),
        // No such schema or table: never migrated.
        Err(sqlx::Error::Database(e)) if matches!(e.code().as_deref(), Some("42P01" | "3F000")) => Ok(false),
        Err(other) => Err(other),
    }
}

fn migrator() -> Migrator {
    let mut all = queue::apalis_migrations();
    all.extend(sqlx::migrate!("./migrations").iter().cloned());
    let mut migrator = Migrator::with_migrations(all);
    migrator.create_schema("bursar");
    migrator.dangerous_set_table_name("bursar._migrations");
    migrator
}
