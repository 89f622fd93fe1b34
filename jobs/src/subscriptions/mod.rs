//! Keeps subscriptions as Stripe has them, and grants the credits of each service month.
//!
//! An invoice grants the part of a month that its line charges of the full price. A month is granted once, whatever tells of it: an invoice, its
//! twin, a schedule, a repair.

pub(crate) mod apply;
pub mod change;
pub mod charged_share;
pub(crate) mod check_change;
pub(crate) mod granted;
pub(crate) mod invoice;
pub mod move_subscription;
pub(crate) mod price_change;
pub(crate) mod proration;
pub(crate) mod read_invoice;
pub mod recurring_revenue;
pub(crate) mod refill;
pub(crate) mod refill_month;
pub(crate) mod refill_tier;
pub(crate) mod revenue_rows;
pub(crate) mod service_month;
pub mod subscription;
pub mod sync_subscription;

use crate::engine::domain::Domain;

/// What the engine knows of this domain.
pub const DOMAIN: Domain = Domain {
    apply: Some(|context| Box::pin(apply::apply(context))),

    ..Domain::of("subscriptions", |change| change.of::<change::Change>().is_some())
};
