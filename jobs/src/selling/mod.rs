//! Sells: checkouts for tiers, packages and amounts, the portal, and what a completed checkout grants.
//!
//! A user has at most one open checkout for a subscription. A completed checkout is granted once, under the session's own key.

pub mod active_subscription;
pub(crate) mod apply;
pub mod change;
pub mod check_checkout;
pub(crate) mod create_checkout;
pub(crate) mod create_portal;
pub(crate) mod expire_checkout;
pub(crate) mod expire_subscription;
pub(crate) mod fail_checkout;
pub(crate) mod grant_purchase;
pub(crate) mod link_subscriber;
pub mod order;
pub mod packages;
pub(crate) mod purchase;

use crate::engine::domain::Domain;

/// What the engine knows of this domain.
pub const DOMAIN: Domain = Domain {
    apply: Some(|context| Box::pin(apply::apply(context))),
    react: Some(|context| Box::pin(apply::react(context))),

    ..Domain::of("selling", |change| change.of::<change::Change>().is_some())
};
