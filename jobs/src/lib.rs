//! What happens to the money: the jobs, the ledger and the inbox.
//!
//! This crate knows PostgreSQL, the ledger and Stripe. It knows no HTTP server, no command line, no environment and no apalis.

pub mod audit;
pub mod backoff;
pub mod by_hand;
pub mod calendar;
pub mod call;
pub mod charge;
pub mod checkout;
pub mod clawback;
pub mod clock;
pub mod connect;
pub mod context;
pub mod credits;
pub mod db;
pub mod desk;
pub mod dunning;
pub mod effects;
pub mod enqueue;
pub mod envelope;
pub mod event;
pub mod first_sight;
pub mod history;
pub mod inbox;
pub mod intent;
pub mod job;
pub mod json_object;
pub mod kinds;
pub mod ledger;
pub mod locked;
pub mod meters;
pub mod money;
pub mod owed;
pub mod packages;
pub mod payout;
pub mod perform;
pub mod reconcile;
pub mod report;
pub mod schedules;
pub mod settle;
pub mod subscriber;
pub mod terms;
pub mod traced;
pub mod turns;
pub mod watch;
pub mod worth;

mod aside;
mod ask_customer;
mod cancel_subscription;
pub mod check_account;
mod check_change;
mod check_charge;
pub mod check_checkout;
mod check_transfer;
mod claw_back;
mod claw_changes;
mod close_dunning;
mod create_account;
mod create_account_link;
mod create_checkout;
pub mod create_customer;
mod create_portal;
mod dunning_step;
mod expire_checkout;
mod expire_subscription;
mod fail_checkout;
mod grant_purchase;
mod granted;
mod invoice;
mod invoice_refills;
mod letter;
mod limits;
mod link_subscriber;
pub mod move_subscription;
mod note_event;
pub mod notify_team;
mod open_account;
mod open_dunning;
mod outside;
mod pause_subscription;
pub mod pay_receiver;
pub mod payout_books;
mod plan;
mod plan_paid;
mod price;
mod read_events;
mod read_invoice;
mod record_payout;
mod refill_month;
mod refill_tier;
pub mod report_usage;
mod resume_subscription;
mod retry_invoice;
mod return_spend;
pub mod reverse_payout;
pub mod reverse_transfer;
mod sale;
pub mod send_letter;
pub mod send_report;
pub mod subscription;
mod sum_usage;
mod superseded;
pub mod sweep_held;
pub mod sync_subscription;
mod verdict;

pub use bursar_letters as letters;
pub use bursar_stripe::{
    API_VERSION as STRIPE_API_VERSION, Looked as StripeLooked, Reply as StripeReply, Visit, setup as stripe_setup,
    visit,
};
pub use bursar_stripe::{Client as Stripe, Config as StripeConfig, ConfigError as StripeConfigError};
pub use bursar_stripe::{Gate, Lane, Later, Outgoing, OutgoingError, Request as StripeRequest, Seen as StripeSeen};
pub use bursar_stripe::{Leaving, Watch};
use perform::Performer;

/// The performer of every kind of this version, in the order a worker claims them.
pub fn performers() -> Vec<Performer> {
    vec![
        Performer::of::<grant_purchase::GrantPurchase>(),
        Performer::of_call::<create_customer::CreateCustomer>(),
        Performer::of_call::<create_checkout::CreateCheckout>(),
        Performer::of_call::<create_portal::CreatePortal>(),
        Performer::of_call::<check_checkout::CheckCheckout>(),
        Performer::of_call::<expire_checkout::ExpireCheckout>(),
        Performer::of_call::<expire_subscription::ExpireSubscription>(),
        Performer::of::<fail_checkout::FailCheckout>(),
        Performer::of_call::<create_account::CreateAccount>(),
        Performer::of_call::<create_account_link::CreateAccountLink>(),
        Performer::of::<refill_tier::RefillTier>(),
        Performer::of::<link_subscriber::LinkSubscriber>(),
        Performer::of::<record_payout::RecordPayout>(),
        Performer::of_call::<pay_receiver::PayReceiver>(),
        Performer::of::<open_account::OpenAccount>(),
        Performer::of::<return_spend::ReturnSpend>(),
        Performer::of::<claw_back::ClawBack>(),
        Performer::of_call::<check_charge::CheckCharge>(),
        Performer::of_call::<reverse_transfer::ReverseTransfer>(),
        Performer::of_call::<check_transfer::CheckTransfer>(),
        Performer::of_call::<check_account::CheckAccount>(),
        Performer::of_call::<ask_customer::AskCustomer>(),
        Performer::of_call::<read_invoice::ReadInvoice>(),
        Performer::of_call::<refill_month::RefillMonth>(),
        Performer::of_call::<sync_subscription::SyncSubscription>(),
        Performer::of_call::<check_change::CheckChange>(),
        Performer::of_call::<move_subscription::MoveSubscription>(),
        Performer::of_outside::<send_letter::SendLetter>(),
        Performer::of::<close_dunning::CloseDunning>(),
        Performer::of_call::<open_dunning::OpenDunning>(),
        Performer::of_call::<dunning_step::DunningStep>(),
        Performer::of_call::<retry_invoice::RetryInvoice>(),
        Performer::of_call::<pause_subscription::PauseSubscription>(),
        Performer::of_call::<cancel_subscription::CancelSubscription>(),
        Performer::of_call::<resume_subscription::ResumeSubscription>(),
        Performer::of_outside::<notify_team::NotifyTeam>(),
        Performer::of_call::<report_usage::ReportUsage>(),
        Performer::of::<sum_usage::SumUsage>(),
        Performer::of::<schedules::FireSchedule>(),
        Performer::of::<sweep_held::SweepHeld>(),
        Performer::of::<send_report::SendReport>(),
        Performer::of::<watch::WatchEvents>(),
        Performer::of_call::<read_events::ReadEvents>(),
        Performer::of::<reconcile::Reconcile>(),
        Performer::of_call::<reconcile::Read>(),
        Performer::of::<reconcile::Compare>(),
        Performer::of_call::<reconcile::Repair>(),
        Performer::of::<note_event::NoteEvent>(),
    ]
}
