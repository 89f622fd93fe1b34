//! What happens to the money: the jobs, the ledger and the inbox.
//!
//! This crate knows PostgreSQL, the ledger and Stripe. It knows no HTTP server, no command line, no environment and no apalis.

pub mod base;
pub mod clawbacks;
pub mod customers;
pub mod desk;
pub mod dunning;
pub mod engine;
pub mod event_gaps;
pub mod inbox;
pub mod ledger;
pub mod notifications;
pub mod payouts;
pub mod receivers;
pub mod reconciliation;
pub mod registry;
pub mod report;
pub mod schedules;
pub mod selling;
pub mod subscriptions;
pub mod terms;
pub mod usage;

pub use bursar_letters as letters;
pub use bursar_stripe::{
    API_VERSION as STRIPE_API_VERSION, Looked as StripeLooked, Reply as StripeReply, Visit, setup as stripe_setup,
    visit,
};
pub use bursar_stripe::{Client as Stripe, Config as StripeConfig, ConfigError as StripeConfigError};
pub use bursar_stripe::{Gate, Lane, Later, Outgoing, OutgoingError, Request as StripeRequest, Seen as StripeSeen};
pub use bursar_stripe::{Leaving, Watch};
use engine::batch::Performer;

/// The performer of every kind of this version, in the order a worker claims them.
pub fn performers() -> Vec<Performer> {
    vec![
        Performer::of::<selling::grant_purchase::GrantPurchase>(),
        Performer::of_call::<customers::create_customer::CreateCustomer>(),
        Performer::of_call::<selling::create_checkout::CreateCheckout>(),
        Performer::of_call::<selling::create_portal::CreatePortal>(),
        Performer::of_call::<selling::check_checkout::CheckCheckout>(),
        Performer::of_call::<selling::expire_checkout::ExpireCheckout>(),
        Performer::of_call::<selling::expire_subscription::ExpireSubscription>(),
        Performer::of::<selling::fail_checkout::FailCheckout>(),
        Performer::of_call::<receivers::create_account::CreateAccount>(),
        Performer::of_call::<receivers::create_account_link::CreateAccountLink>(),
        Performer::of::<subscriptions::refill_tier::RefillTier>(),
        Performer::of::<selling::link_subscriber::LinkSubscriber>(),
        Performer::of::<payouts::record_payout::RecordPayout>(),
        Performer::of_call::<payouts::pay_receiver::PayReceiver>(),
        Performer::of::<customers::open_account::OpenAccount>(),
        Performer::of::<payouts::return_spend::ReturnSpend>(),
        Performer::of::<clawbacks::claw_back::ClawBack>(),
        Performer::of_call::<clawbacks::check_charge::CheckCharge>(),
        Performer::of_call::<payouts::reverse_transfer::ReverseTransfer>(),
        Performer::of_call::<payouts::check_transfer::CheckTransfer>(),
        Performer::of_call::<receivers::check_account::CheckAccount>(),
        Performer::of_call::<customers::identify_customer::AskCustomer>(),
        Performer::of_call::<subscriptions::read_invoice::ReadInvoice>(),
        Performer::of_call::<subscriptions::refill_month::RefillMonth>(),
        Performer::of_call::<subscriptions::sync_subscription::SyncSubscription>(),
        Performer::of_call::<subscriptions::check_change::CheckChange>(),
        Performer::of_call::<subscriptions::move_subscription::MoveSubscription>(),
        Performer::of_outside::<notifications::send_email::SendLetter>(),
        Performer::of::<dunning::close_dunning::CloseDunning>(),
        Performer::of_call::<dunning::open_dunning::OpenDunning>(),
        Performer::of_call::<dunning::dunning_step::DunningStep>(),
        Performer::of_call::<dunning::retry_invoice::RetryInvoice>(),
        Performer::of_call::<dunning::pause_subscription::PauseSubscription>(),
        Performer::of_call::<dunning::cancel_subscription::CancelSubscription>(),
        Performer::of_call::<dunning::resume_subscription::ResumeSubscription>(),
        Performer::of_outside::<notifications::notify_team::NotifyTeam>(),
        Performer::of_call::<usage::report_usage::ReportUsage>(),
        Performer::of::<usage::sum_usage::SumUsage>(),
        Performer::of::<schedules::FireSchedule>(),
        Performer::of::<payouts::release_held::SweepHeld>(),
        Performer::of::<report::send_report::SendReport>(),
        Performer::of::<event_gaps::watch_events::WatchEvents>(),
        Performer::of_call::<event_gaps::read_events::ReadEvents>(),
        Performer::of::<reconciliation::Reconcile>(),
        Performer::of_call::<reconciliation::Read>(),
        Performer::of::<reconciliation::Compare>(),
        Performer::of_call::<reconciliation::Repair>(),
        Performer::of::<inbox::note_event::NoteEvent>(),
    ]
}
