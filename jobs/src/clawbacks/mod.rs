//! Takes back the credits of money that went back: refunds, disputes, credit notes.
//!
//! What must be taken is counted absolutely, from Stripe's own totals for the charge (`amounts`), so a repeated or late event takes nothing twice.
//! A dispute that is won gives back what it took. Each step notifies the team.

pub(crate) mod after_plan_change;
pub mod amounts;
pub(crate) mod apply;
pub mod change;
pub(crate) mod check_charge;
pub(crate) mod claw_back;
pub(crate) mod notify;
pub(crate) mod plan_changes;
pub(crate) mod refund_emails;

use crate::engine::domain::Domain;

/// What the engine knows of this domain.
pub const DOMAIN: Domain = Domain {
    apply: Some(|context| Box::pin(apply::apply(context))),
    react: Some(|context| Box::pin(apply::react(context))),
    ..Domain::of("clawbacks", |change| change.of::<change::Change>().is_some())
};
