//! The part of the database that is apalis's own.

use apalis_postgres::PostgresStorage;
use sqlx::migrate::Migration;

/// The migrations that make apalis's schema. They run before ours, which build on it.
pub fn apalis_migrations() -> Vec<Migration> {
    PostgresStorage::<()>::migrations().iter().cloned().collect()
}
