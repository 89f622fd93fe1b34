//! The people who are paid: one Stripe Express account each, its onboarding, and whether it can receive money.
//!
//! What Stripe says of an account is kept with the time at which it was asked; an older answer changes nothing.

pub(crate) mod account;
pub(crate) mod apply;
pub mod change;
pub mod check_account;
pub(crate) mod create_account;
pub(crate) mod create_account_link;
pub mod onboarding;

use crate::engine::domain::Domain;

/// What the engine knows of this domain.
pub const DOMAIN: Domain = Domain {
    apply: Some(|context| Box::pin(apply::apply(context))),

    ..Domain::of("receivers", |change| change.of::<change::Change>().is_some())
};
