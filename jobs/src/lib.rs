//! What happens to the money: the jobs, the ledger and the inbox.
//!
//! This crate knows PostgreSQL, the ledger and Stripe. It knows no HTTP server, no command line, no environment and no apalis.

pub mod clock;
pub mod credits;
pub mod envelope;
pub mod inbox;
pub mod kinds;
pub mod ledger;
pub mod money;
pub mod terms;
