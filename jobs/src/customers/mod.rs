//! Links users to Stripe customers, and opens their accounts.
//!
//! A user has one customer. The first sight of a user opens the account and grants the initial credits once.

pub(crate) mod apply;
pub mod change;
pub mod create_customer;
pub(crate) mod identify_customer;
pub mod initial_credits;
pub(crate) mod open_account;

use crate::engine::domain::Domain;

/// What the engine knows of this domain.
pub const DOMAIN: Domain = Domain {
    apply: Some(|context| Box::pin(apply::apply(context))),
    conflicts: Some(|db, batch| Box::pin(apply::conflicts(db, batch))),
    ..Domain::of("customers", |change| change.of::<change::Change>().is_some())
};
