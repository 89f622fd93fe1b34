//! The queue: apalis as the worker runtime, its schema as the queue, and a claim, a settlement and a rescue of our own.

mod schema;

pub use schema::apalis_migrations;
