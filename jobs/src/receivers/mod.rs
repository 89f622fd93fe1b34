//! The people who are paid: one Stripe Express account each, its onboarding, and whether it can receive money.
//!
//! What Stripe says of an account is kept with the time at which it was asked; an older answer changes nothing.

pub(crate) mod account;
pub(crate) mod apply;
pub mod check_account;
pub(crate) mod create_account;
pub(crate) mod create_account_link;
pub mod onboarding;
