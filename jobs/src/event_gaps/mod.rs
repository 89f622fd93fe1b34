//! Finds events that Stripe made and never delivered.
//!
//! A schedule lists Stripe's events and stores those that the inbox lacks.

pub(crate) mod apply;
pub(crate) mod read_events;
pub mod watch_events;
