//! Reports metered usage to Stripe.
//!
//! Spends of a metered skill are summed by the hour. Each sum is reported once, under its own identifier; what Stripe may have forgotten waits for
//! an operator.

pub(crate) mod apply;
pub mod change;
pub mod meters;
pub mod report_usage;
pub(crate) mod sum_usage;

use crate::engine::domain::Domain;

/// What the engine knows of this domain.
pub const DOMAIN: Domain = Domain {
    apply: Some(|context| Box::pin(apply::apply(context))),

    ..Domain::of("usage", |change| change.of::<change::Change>().is_some())
};
