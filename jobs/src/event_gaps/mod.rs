//! Finds events that Stripe made and never delivered.
//!
//! A schedule lists Stripe's events and stores those that the inbox lacks.

pub(crate) mod apply;
pub mod change;
pub(crate) mod read_events;
pub mod watch_events;

use crate::engine::domain::Domain;

/// What the engine knows of this domain.
pub const DOMAIN: Domain = Domain {
    apply: Some(|context| Box::pin(apply::apply(context))),

    ..Domain::of("event_gaps", |change| change.of::<change::Change>().is_some())
};
