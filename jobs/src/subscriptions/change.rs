//! What changes about subscriptions, and what their grants stand on.

use chrono::{DateTime, Utc};

use crate::engine::change;
use crate::subscriptions::charged_share::Months;
use crate::subscriptions::recurring_revenue::Worth;

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A subscription as Stripe answered it.
    SetSubscription(Box<SubscriptionRow>),
    /// What a subscription is worth.
    NoteWorth(Box<Worth>),
    /// A month of service was refilled.
    RefillMonth(Month),
    /// What plan changes granted in a month.
    SetExtra(Month),
    /// A month of service ends then.
    EndMonth {
        /// `sub_…`
        subscription_id: String,
        /// The month.
        start_at: DateTime<Utc>,
        /// Its end.
        end_at: DateTime<Utc>,
    },
    /// A subscription's plan changed.
    NotePlanChange(PlanChange),
    /// An invoice paid for a change of a plan.
    PayChange(PaidChange),
    /// Stripe says that an invoice is paid.
    InvoicePaid {
        /// `in_…`
        invoice: String,
    },
}

impl change::Change for Change {}

/// A fact: a newer answer about a subscription is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionChanged {
    /// `sub_…`
    pub id: String,
    /// Whose.
    pub user_id: String,
    /// Stripe's word.
    pub status: String,
}

impl SubscriptionChanged {
    /// Whether it is over for good.
    pub fn is_over(&self) -> bool {
        matches!(self.status.as_str(), "canceled" | "incomplete_expired")
    }
}

/// A fact: it is known now which invoice paid for a change of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangePaid {
    /// `sub_…`
    pub subscription_id: String,
    /// What the change counts from.
    pub at: DateTime<Utc>,
    /// `in_…`
    pub invoice: String,
}

/// A fact: plan changes granted more, or less, in a month than before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtraSet {
    /// `sub_…`
    pub subscription_id: String,
    /// When the month begins.
    pub start_at: DateTime<Utc>,
    /// In how many postings.
    pub changes: i32,
}

/// A fact: Stripe says that an invoice is paid. Whoever says it again makes nothing new.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvoicePaid {
    /// `in_…`
    pub invoice: String,
}

/// A subscription as Stripe answered it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionRow {
    /// `sub_…`
    pub id: String,
    /// Whose.
    pub user_id: String,
    /// `cus_…`
    pub customer_id: Option<String>,
    /// Stripe's word.
    pub status: String,
    /// `price_…`
    pub price: Option<String>,
    /// The tier that it sells.
    pub tier: Option<String>,
    /// How many.
    pub quantity: i64,
    /// `month`, `year` …, and how many of them.
    pub interval: Option<(String, i32)>,
    /// What a month grants, in millionths.
    pub plan_value: i64,
    /// The paid period.
    pub period: Option<(DateTime<Utc>, DateTime<Utc>)>,
    /// What months are counted from.
    pub anchor: Option<DateTime<Utc>>,
    /// When its trial ends.
    pub trial_end: Option<DateTime<Utc>>,
    /// When it will be cancelled.
    pub cancel_at: Option<DateTime<Utc>>,
    /// Whether at the end of its period.
    pub cancel_at_period_end: bool,
    /// When it was over.
    pub ended_at: Option<DateTime<Utc>>,
    /// What becomes of invoices while the collection is paused.
    pub paused: Option<String>,
    /// `sub_sched_…`
    pub schedule_id: Option<String>,
    /// Until when it gives access.
    pub access_until: Option<DateTime<Utc>>,
    /// When that is surely over.
    pub lapses_at: Option<DateTime<Utc>>,
    /// When Stripe was asked.
    pub asked_at: DateTime<Utc>,
}

/// A month of service that was refilled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Month {
    /// `sub_…`
    pub subscription_id: String,
    /// When it begins.
    pub start_at: DateTime<Utc>,
    /// When the next may begin.
    pub end_at: DateTime<Utc>,
    /// Whose.
    pub user_id: String,
    /// What its refill granted, in millionths.
    pub value: i64,
    /// What its plan grants in a month that is paid in full: more than `value` where it was paid in part.
    pub plan_value: i64,
    /// How many months the period pays for that begins with it, where that does not follow from its length.
    pub paid: Option<Months>,
    /// What was left of refills at its start, with its own.
    pub left_over: i64,
    /// What plan changes granted in it.
    pub extra: i64,
    /// In how many postings.
    pub changes: i32,
    /// The posting that refilled it.
    pub refill_key: String,
    /// Whether it took the place of what was left of the month before, for which Stripe gave the money back.
    pub replaces: bool,
}

/// A change of a plan's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanChange {
    /// `sub_…`
    pub subscription_id: String,
    /// By the signed event's word.
    pub at: DateTime<Utc>,
    /// Before, in millionths a month.
    pub old_value: i64,
    /// After.
    pub new_value: i64,
    /// The event that told of it.
    pub event_id: Option<String>,
    /// Whether anything bills it: as long as that is not known, it grants nothing.
    pub billed: bool,
}

/// Proration lines of a paid invoice that begin at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaidChange {
    /// `sub_…`
    pub subscription_id: String,
    /// What the change counts from.
    pub at: DateTime<Utc>,
    /// `in_…`
    pub invoice: String,
    /// What the lines come to, in minor units.
    pub amount: i64,
    /// What the new plan grants a month by the lines, in millionths.
    pub value: i64,
}
