//! Runs jobs of any kind: claims in batches, decides, applies, settles, all in one transaction.
//!
//! The engine names no domain. A job reads facts and returns effects (`job`); a batch applies the effects of its jobs together and settles them
//! under their leases (`batch`); a call to Stripe leaves under a committed intent (`call`).

pub mod apply;
pub mod backoff;
pub mod batch;
pub mod call;
pub mod change;
pub mod context;
pub(crate) mod delivery;
pub mod domain;
pub mod enqueue;
pub mod job;
pub mod kind;
pub mod locked_accounts;
pub mod rate_limit;
pub(crate) mod set_aside;
pub mod settle;
pub mod trace_context;
