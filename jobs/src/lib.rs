//! What happens to the money: the jobs, the ledger and the inbox.
//!
//! This crate knows PostgreSQL, the ledger and Stripe. It knows no HTTP server, no command line, no environment and no apalis.

pub mod backoff;
pub mod clock;
pub mod credits;
pub mod db;
pub mod effects;
pub mod enqueue;
pub mod envelope;
pub mod event;
pub mod inbox;
pub mod job;
pub mod kinds;
pub mod ledger;
pub mod money;
pub mod perform;
pub mod settle;
pub mod terms;

mod grant_purchase;
mod invoice;
mod link_subscriber;
mod note_event;
mod open_account;
mod record_payout;
mod refill_tier;

use perform::Performer;

/// The performer of every kind of this version, in the order a worker claims them.
pub fn performers() -> Vec<Performer> {
    vec![
        Performer::of::<grant_purchase::GrantPurchase>(),
        Performer::of::<refill_tier::RefillTier>(),
        Performer::of::<link_subscriber::LinkSubscriber>(),
        Performer::of::<record_payout::RecordPayout>(),
        Performer::of::<open_account::OpenAccount>(),
        Performer::of::<note_event::NoteEvent>(),
    ]
}
