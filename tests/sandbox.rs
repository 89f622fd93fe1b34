//! The sandbox as a client meets it: over HTTP, on a port of its own.

pub mod client;
mod faults;
mod idempotency;
mod process;
mod resources;
mod webhooks;
