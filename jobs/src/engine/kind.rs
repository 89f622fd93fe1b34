//! Every kind of job there is, and which kind an event becomes.

use std::time::Duration;

use bursar_stripe::Lane;

use crate::inbox::envelope::{Envelope, Source};

/// A kind of job: its name and its limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// The explicit name it has in the queue. Never derived from a type's name, so that a rename orphans nothing.
    pub name: &'static str,
    /// Attempts before the job is dead.
    pub max_attempts: i32,
    /// The longest one attempt may run. The lease is not renewed past it.
    pub timeout: Duration,
    /// How many jobs of the kind may be claimed, run and settled together.
    pub batch: i32,
}

const fn pure(name: &'static str) -> Kind {
    // Ten attempts under full jitter are some four minutes: what a pure job meets is over by then, or needs a new version and an operator.
    Kind { name, max_attempts: 10, timeout: Duration::from_secs(20), batch: 50 }
}

const fn call(name: &'static str) -> Kind {
    // Sixty attempts under full jitter to ten minutes are four hours of an outage at Stripe, or of a key that was rolled at night. A call is
    // performed alone: its request and the look before it, each of ten seconds a page at most, must fit.
    Kind { name, max_attempts: 60, timeout: Duration::from_mins(1), batch: 1 }
}

/// Grants what a paid one-time checkout bought.
pub const GRANT_PURCHASE: Kind = pure("grant_purchase");
/// Ends a checkout whose payment was to come later and did not.
pub const FAIL_CHECKOUT: Kind = pure("fail_checkout");
/// Ties a Stripe customer to a user.
pub const LINK_SUBSCRIBER: Kind = pure("link_subscriber");
/// Grants a tier's monthly credits for a paid invoice.
pub const REFILL_TIER: Kind = pure("refill_tier");
/// Records what a receiver is owed for a verified job.
pub const RECORD_PAYOUT: Kind = pure("record_payout");
/// Opens a user's account with its initial credits.
pub const OPEN_ACCOUNT: Kind = pure("open_account");
/// Notes an event on which this version does not act.
pub const NOTE_EVENT: Kind = pure("note_event");

/// Sends one payout to its receiver, or holds it.
pub const PAY_RECEIVER: Kind = call("pay_receiver");
/// Takes back what a Transfer sent.
pub const REVERSE_TRANSFER: Kind = call("reverse_transfer");
/// Asks Stripe what came back of a Transfer.
pub const CHECK_TRANSFER: Kind = call("check_transfer");
/// Asks Stripe how a receiver's account stands.
pub const CHECK_ACCOUNT: Kind = call("check_account");
/// Asks Stripe whose customer it is.
pub const ASK_CUSTOMER: Kind = call("ask_customer");
/// Asks Stripe how a subscription stands, and grants what a change of its plan is worth.
pub const SYNC_SUBSCRIPTION: Kind = call("sync_subscription");
/// Refills a month of a period that was paid for several.
pub const REFILL_MONTH: Kind = call("refill_month");
/// Reads an invoice that has more lines than its event carries.
pub const READ_INVOICE: Kind = call("read_invoice");
/// Asks Stripe whether anything bills a change of a plan.
pub const CHECK_CHANGE: Kind = call("check_change");
/// Moves a subscription to another price.
pub const MOVE_SUBSCRIPTION: Kind = call("move_subscription");
/// Sends a letter to a user or to the team. A mail server may take its time over a letter, and hurrying it makes a second copy.
pub const SEND_LETTER: Kind = Kind { timeout: Duration::from_mins(2), ..call("send_letter") };
/// Lets go what was held and need not be any more.
pub const SWEEP_HELD: Kind = pure("sweep_held");
/// Returns to a sender what was spent on a rejected job.
pub const RETURN_SPEND: Kind = pure("return_spend");

/// Makes a user's customer at Stripe.
pub const CREATE_CUSTOMER: Kind = call("create_customer");
/// Makes a checkout session.
pub const CREATE_CHECKOUT: Kind = call("create_checkout");
/// Makes a session of the customer portal.
pub const CREATE_PORTAL: Kind = call("create_portal");
/// Makes a receiver's account.
pub const CREATE_ACCOUNT: Kind = call("create_account");
/// Makes a link by which a receiver is onboarded.
pub const CREATE_ACCOUNT_LINK: Kind = call("create_account_link");
/// Asks Stripe where a checkout stands.
pub const CHECK_CHECKOUT: Kind = call("check_checkout");
/// Ends a checkout session that must not be paid any more.
pub const EXPIRE_CHECKOUT: Kind = call("expire_checkout");
/// Ends a subscription whose first payment never came, for another checkout of its user.
pub const EXPIRE_SUBSCRIPTION: Kind = call("expire_subscription");
/// Asks Stripe what came back of a charge.
pub const CHECK_CHARGE: Kind = call("check_charge");
/// Takes back the credits of what was refunded or disputed, and restores them.
pub const CLAW_BACK: Kind = pure("claw_back");
/// Tells the team, by a signed webhook.
pub const NOTIFY_TEAM: Kind = call("notify_team");

/// Begins to compare a month with Stripe.
pub const RECONCILE: Kind = pure("reconcile");
/// Reads a page of what is compared.
pub const RECONCILE_READ: Kind = call("reconcile_read");
/// Compares a page with the books.
pub const RECONCILE_COMPARE: Kind = Kind { batch: 1, ..pure("reconcile_compare") };
/// Repairs what was found.
pub const RECONCILE_REPAIR: Kind = call("reconcile_repair");

/// Fires what a schedule is for.
pub const FIRE_SCHEDULE: Kind = pure("fire_schedule");
/// Puts what metered skills were used for into reports.
pub const SUM_USAGE: Kind = pure("sum_usage");
/// Writes the report of a week that is over to the team.
pub const SEND_REPORT: Kind = Kind { timeout: Duration::from_mins(2), batch: 1, ..pure("send_report") };
/// Reports use to Stripe.
pub const REPORT_USAGE: Kind = call("report_usage");

/// Looks at how far Stripe's events were compared with the inbox, and has it gone on with.
pub const WATCH_EVENTS: Kind = pure("watch_events");
/// Compares a page of Stripe's events with the inbox, and takes what never arrived. Some days of an outage at Stripe: it goes on when that
/// ends, and until then the watch warns.
pub const READ_EVENTS: Kind = Kind { max_attempts: 1000, ..call("read_events") };
/// Ends a case of dunning whose invoice is chased no more.
pub const CLOSE_DUNNING: Kind = pure("close_dunning");
/// Opens the case of a renewal whose payment failed.
pub const OPEN_DUNNING: Kind = Kind { timeout: QUESTIONS, ..call("open_dunning") };
/// Takes a step of dunning: asks how the invoice stands, and does what the schedule has for the day.
pub const DUNNING_STEP: Kind = Kind { timeout: QUESTIONS, ..call("dunning_step") };
/// Tries to take the money of an invoice, for one step of dunning.
pub const RETRY_INVOICE: Kind = Kind { timeout: QUESTIONS, ..call("retry_invoice") };
/// Pauses a subscription that is not paid for.
pub const PAUSE_SUBSCRIPTION: Kind = call("pause_subscription");
/// Cancels a subscription that is not paid for.
pub const CANCEL_SUBSCRIPTION: Kind = call("cancel_subscription");
/// Lets a subscription that we paused go on.
pub const RESUME_SUBSCRIPTION: Kind = call("resume_subscription");

/// Six questions of ten seconds at most, one after the other.
const QUESTIONS: Duration = Duration::from_mins(2);

/// All kinds of this version, in the order a worker claims them.
pub const ALL: &[Kind] = &[
    GRANT_PURCHASE,
    // Somebody waits before a page.
    CREATE_CUSTOMER,
    CREATE_CHECKOUT,
    CREATE_PORTAL,
    CHECK_CHECKOUT,
    EXPIRE_CHECKOUT,
    EXPIRE_SUBSCRIPTION,
    FAIL_CHECKOUT,
    CREATE_ACCOUNT,
    CREATE_ACCOUNT_LINK,
    REFILL_TIER,
    LINK_SUBSCRIBER,
    RECORD_PAYOUT,
    PAY_RECEIVER,
    OPEN_ACCOUNT,
    RETURN_SPEND,
    CLAW_BACK,
    CHECK_CHARGE,
    REVERSE_TRANSFER,
    CHECK_TRANSFER,
    CHECK_ACCOUNT,
    ASK_CUSTOMER,
    READ_INVOICE,
    REFILL_MONTH,
    SYNC_SUBSCRIPTION,
    CHECK_CHANGE,
    MOVE_SUBSCRIPTION,
    CLOSE_DUNNING,
    OPEN_DUNNING,
    DUNNING_STEP,
    RETRY_INVOICE,
    PAUSE_SUBSCRIPTION,
    CANCEL_SUBSCRIPTION,
    RESUME_SUBSCRIPTION,
    SEND_LETTER,
    NOTIFY_TEAM,
    REPORT_USAGE,
    SUM_USAGE,
    FIRE_SCHEDULE,
    SWEEP_HELD,
    SEND_REPORT,
    WATCH_EVENTS,
    READ_EVENTS,
    RECONCILE,
    RECONCILE_READ,
    RECONCILE_COMPARE,
    RECONCILE_REPAIR,
    NOTE_EVENT,
];

/// Kinds that move money at Stripe, set right what was moved, or become a payout: who runs one again releases it.
pub const MONEY: &[Kind] = &[RECORD_PAYOUT, PAY_RECEIVER, REVERSE_TRANSFER, RETRY_INVOICE, RECONCILE_REPAIR];

/// Whether a job of a kind releases money.
pub fn moves_money(kind: &str) -> bool {
    MONEY.iter().any(|money| money.name == kind)
}

/// The types of Stripe's events on which this version acts, and which kind of job each becomes. A Checkout that begins a
/// subscription is no purchase: see [`of_event`].
pub const STRIPE_EVENTS: &[(&str, Kind)] = &[
    ("checkout.session.completed", GRANT_PURCHASE),
    ("checkout.session.async_payment_succeeded", GRANT_PURCHASE),
    ("checkout.session.async_payment_failed", FAIL_CHECKOUT),
    ("customer.created", LINK_SUBSCRIBER),
    ("customer.updated", LINK_SUBSCRIBER),
    ("customer.subscription.created", LINK_SUBSCRIBER),
    ("invoice.paid", REFILL_TIER),
    ("invoice.payment_succeeded", REFILL_TIER),
    ("customer.subscription.updated", SYNC_SUBSCRIPTION),
    ("customer.subscription.deleted", SYNC_SUBSCRIPTION),
    ("customer.subscription.paused", SYNC_SUBSCRIPTION),
    ("customer.subscription.resumed", SYNC_SUBSCRIPTION),
    ("customer.subscription.pending_update_applied", SYNC_SUBSCRIPTION),
    ("customer.subscription.pending_update_expired", SYNC_SUBSCRIPTION),
    ("customer.subscription.trial_will_end", SYNC_SUBSCRIPTION),
    ("invoice.payment_failed", OPEN_DUNNING),
    ("invoice.voided", CLOSE_DUNNING),
    ("invoice.marked_uncollectible", CLOSE_DUNNING),
    ("charge.refunded", CHECK_CHARGE),
    ("charge.refund.updated", CHECK_CHARGE),
    ("refund.created", CHECK_CHARGE),
    ("refund.updated", CHECK_CHARGE),
    ("refund.failed", CHECK_CHARGE),
    ("credit_note.created", CHECK_CHARGE),
    ("credit_note.updated", CHECK_CHARGE),
    ("credit_note.voided", CHECK_CHARGE),
    ("charge.dispute.created", CHECK_CHARGE),
    ("charge.dispute.updated", CHECK_CHARGE),
    ("charge.dispute.funds_withdrawn", CHECK_CHARGE),
    ("charge.dispute.funds_reinstated", CHECK_CHARGE),
    ("charge.dispute.closed", CHECK_CHARGE),
    ("account.updated", CHECK_ACCOUNT),
    ("account.application.deauthorized", CHECK_ACCOUNT),
    ("capability.updated", CHECK_ACCOUNT),
    ("transfer.reversed", CHECK_TRANSFER),
];

/// The types of the application's own events on which this version acts, and which kind of job each becomes.
pub const APPLICATION_EVENTS: &[(&str, Kind)] =
    &[("job.verified", RECORD_PAYOUT), ("job.rejected", RETURN_SPEND), ("user.created", OPEN_ACCOUNT)];

/// How much a kind's requests of Stripe matter beside those of others, where all of them are too many.
pub fn lane_of(kind: Kind) -> Lane {
    const PAID_OUT: &[Kind] = &[PAY_RECEIVER, REVERSE_TRANSFER];
    const SOMEBODY_WAITS: &[Kind] = &[
        CREATE_CUSTOMER,
        CREATE_CHECKOUT,
        CREATE_PORTAL,
        CHECK_CHECKOUT,
        EXPIRE_SUBSCRIPTION,
        CREATE_ACCOUNT,
        CREATE_ACCOUNT_LINK,
    ];
    const NOBODY_WAITS: &[Kind] = &[READ_EVENTS, REPORT_USAGE, RECONCILE_READ, RECONCILE_REPAIR];
    match kind {
        _ if PAID_OUT.contains(&kind) => Lane::Money,
        _ if SOMEBODY_WAITS.contains(&kind) => Lane::People,
        _ if NOBODY_WAITS.contains(&kind) => Lane::Bulk,
        _ => Lane::Ordinary,
    }
}

/// Which kind of job an event becomes. Nothing is dropped: what no job acts on becomes a [`NOTE_EVENT`], which an operator sees
/// and which a later version can replay.
pub fn of_event(event: &Envelope) -> Kind {
    match (event.source, event.kind.as_str()) {
        (Source::Stripe, kind) => match STRIPE_EVENTS.iter().find(|(acted_on, _)| *acted_on == kind) {
            Some((_, kind)) if *kind == GRANT_PURCHASE && event.mode.as_deref() == Some("subscription") => {
                LINK_SUBSCRIBER
            }
            Some((_, kind)) => *kind,
            None => NOTE_EVENT,
        },
        (Source::Verification, kind) => {
            APPLICATION_EVENTS.iter().find(|(acted_on, _)| *acted_on == kind).map_or(NOTE_EVENT, |(_, kind)| *kind)
        }
    }
}
