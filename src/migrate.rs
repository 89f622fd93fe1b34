//! Brings a database to this version's schema: apalis's migrations first, then ours, under one lock and in one history.

use sqlx::{
    PgPool,
    migrate::{MigrateError, Migrator},
};

use crate::queue;

/// Applies what is missing; a second run, or two at once, change nothing more.
///
/// The history is kept in `bursar._migrations`, so that an application that shares the database may use sqlx's own table.
pub async fn migrate(pool: &PgPool) -> Result<(), MigrateError> {
    migrator().run(pool).await
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
