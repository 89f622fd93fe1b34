//! Brings a database to this version's schema: apalis's migrations first, then ours, under one lock and in one history.

use std::time::Duration;

use sqlx::{
    AssertSqlSafe, Connection, PgConnection, PgPool, SqlSafeStr,
    migrate::{MigrateError, Migration, Migrator},
};

use crate::queue;

/// Names are looked up among PostgreSQL's own alone: in `public` somebody else may have created others.
const SAFE_PATH: &str = "SET LOCAL search_path = pg_catalog, pg_temp;\n";

/// How long another session is waited for that holds the lock of the migrations. However long ours take themselves.
const LOCK_PATIENCE: Duration = Duration::from_mins(5);

/// Applies what is missing; a second run, or two at once, change nothing more.
///
/// The history is kept in `bursar._migrations`, so that an application that shares the database may use sqlx's own table.
pub async fn migrate(pool: &PgPool) -> Result<(), MigrateError> {
    migrate_within(pool, LOCK_PATIENCE).await
}

/// The same, with another patience for who holds the lock of the migrations: any role of this database can.
///
/// The lock is a transaction's, on a connection beside: sqlx's own is a session's, which a pooler gives to another client before it is
/// given back, and then for ever.
pub async fn migrate_within(pool: &PgPool, patience: Duration) -> Result<(), MigrateError> {
    let mut beside = PgConnection::connect_with(&pool.connect_options()).await?;
    let mut lock = beside.begin().await?;
    let limits = format!(
        "SET LOCAL lock_timeout = {}; SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0",
        patience.as_millis()
    );
    sqlx::raw_sql(AssertSqlSafe(limits)).execute(&mut *lock).await?;
    let locked = sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('bursar.migrate', 0::bigint))")
        .execute(&mut *lock)
        .await;
    match locked {
        Ok(_) => {}
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("55P03") => {
            lock.rollback().await?;
            let holder = holder(&mut beside).await?.unwrap_or_else(|| "another session".to_owned());
            let remedy = "end that session (SELECT pg_terminate_backend(pid)), or wait for it, and migrate again";
            let said = format!("{holder} has held the lock of the migrations for {} s: {remedy}", patience.as_secs());
            return Err(MigrateError::Source(said.into()));
        }
        Err(error) => return Err(error.into()),
    }
    migrator().set_locking(false).run(pool).await?;
    lock.commit().await?;
    Ok(beside.close().await?)
}

/// Who holds the lock of the migrations.
async fn holder(db: &mut PgConnection) -> Result<Option<String>, sqlx::Error> {
    let row: Option<(i32, String, String)> = sqlx::query_as(
        "SELECT h.pid, coalesce(h.usename, '?')::text, coalesce(h.application_name, '')
         FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity h ON h.pid = l.pid
         WHERE l.locktype = 'advisory' AND l.granted AND h.datname = current_database() AND l.objsubid = 1
           AND (l.classid::bigint << 32 | l.objid::bigint) = hashtextextended('bursar.migrate', 0::bigint) LIMIT 1",
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|(pid, role, program)| session(pid, &role, &program)))
}

/// A session of the database, in words.
pub(crate) fn session(pid: i32, role: &str, program: &str) -> String {
    let program = if program.is_empty() { String::new() } else { format!(", {program}") };
    format!("session {pid} (role {role}{program})")
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
    all.extend(sqlx::migrate!("./migrations").iter().cloned().map(|migration| Migration {
        // The checksum stays that of the file. What a view or a default refers to is decided here, once and for all.
        sql: AssertSqlSafe(format!("{SAFE_PATH}{}", migration.sql.as_str())).into_sql_str(),
        ..migration
    }));
    let mut migrator = Migrator::with_migrations(all);
    migrator.create_schema("bursar");
    migrator.dangerous_set_table_name("bursar._migrations");
    migrator
}
