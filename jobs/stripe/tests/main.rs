//! The adapter against what a network and Stripe can do to it.
#![expect(clippy::unwrap_used, reason = "in a test, what cannot be had ends the test")]

mod pages;
mod stub;
mod table;
mod wire;
