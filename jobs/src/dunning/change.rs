//! What changes about a case of dunning.

use chrono::{DateTime, TimeDelta, Utc};

use crate::dunning::{Schedule, Step};
use crate::engine::change;

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A case is opened, with all its steps and their jobs.
    Open(Box<NewCase>),
    /// Its invoice failed again, or, by an event that came late, before.
    Heard {
        /// `in_…`
        invoice: String,
        /// When, by the event's word.
        failed_at: DateTime<Utc>,
    },
    /// A step comes into another state.
    Step {
        /// `in_…`
        invoice: String,
        /// Which.
        step: Step,
        /// `planned`, `running`, `sending`, `unknown`, `done` or `skipped`.
        state: &'static str,
        /// In words.
        outcome: String,
        /// When it looks again, if it does.
        due_at: Option<DateTime<Utc>>,
    },
    /// The job of a step gave up. What came of the step is for an operator.
    Stuck {
        /// `in_…`
        invoice: String,
        /// Which; none: the last one.
        step: Option<Step>,
        /// In words.
        why: String,
    },
    /// A case comes to an end, and what is left of it stands down.
    Close {
        /// `in_…`
        invoice: String,
        /// Any state but `open`.
        state: &'static str,
        /// In words.
        reason: String,
    },
    /// A letter named a deadline.
    Promise {
        /// `in_…`
        invoice: String,
        /// Until then.
        until: DateTime<Utc>,
    },
    /// A card was asked for.
    CardAsked {
        /// `in_…`
        invoice: String,
    },
    /// It is looked whether a pause of ours is there, to be lifted.
    Resume {
        /// `in_…`
        invoice: String,
        /// What for, in a word: one look for each.
        occasion: String,
        /// When.
        delay: TimeDelta,
    },
}

impl change::Change for Change {}

/// A case that is to be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCase {
    /// `in_…`
    pub invoice_id: String,
    /// `sub_…`
    pub subscription_id: String,
    /// `cus_…`
    pub customer_id: Option<String>,
    /// Whose.
    pub user_id: String,
    /// The first failure that was heard of.
    pub failed_at: DateTime<Utc>,
    /// What is owed, in the currency's minor unit.
    pub amount: i64,
    /// Lower-case ISO code.
    pub currency: String,
    /// As it is configured now.
    pub schedule: Schedule,
    /// The event that told of it.
    pub event_id: String,
    /// Business time.
    pub now: DateTime<Utc>,
}
