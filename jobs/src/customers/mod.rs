//! Links users to Stripe customers, and opens their accounts.
//!
//! A user has one customer. The first sight of a user opens the account and grants the initial credits once.

pub(crate) mod apply;
pub mod create_customer;
pub(crate) mod identify_customer;
pub mod initial_credits;
pub(crate) mod open_account;
