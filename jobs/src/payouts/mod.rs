//! Pays receivers: a verified job becomes one Stripe Transfer, or a stated reason why not.
//!
//! A payout's states and moves are a pure function (`state`). Limits, debts and a receiver's account can hold a payout; nothing rejects it for good
//! but Stripe's refusal of the payout itself.

pub(crate) mod apply;
pub mod book;
pub mod change;
pub(crate) mod check_transfer;
pub mod debt;
pub(crate) mod limits;
pub mod pay_receiver;
pub(crate) mod record_payout;
pub(crate) mod release;
pub mod release_held;
pub(crate) mod return_spend;
pub mod reverse_transfer;
pub mod state;
pub(crate) mod superseded;
pub(crate) mod transfers;
pub(crate) mod verification;

use crate::engine::domain::Domain;

/// What the engine knows of this domain.
pub const DOMAIN: Domain = Domain {
    apply: Some(|context| Box::pin(apply::apply(context))),
    conflicts: Some(|db, batch| Box::pin(apply::conflicts(db, batch))),
    react: Some(|context| Box::pin(apply::react(context))),
    ..Domain::of("payouts", |change| change.of::<change::Change>().is_some())
};
