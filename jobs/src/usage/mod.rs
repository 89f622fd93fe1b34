//! Reports metered usage to Stripe.
//!
//! Spends of a metered skill are summed by the hour. Each sum is reported once, under its own identifier; what Stripe may have forgotten waits for
//! an operator.

pub mod meters;
pub mod report_usage;
pub(crate) mod sum_usage;
