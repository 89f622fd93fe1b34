//! What changes about charges that money came back of.

use bursar_stripe::charges::Told;
use chrono::{DateTime, Utc};

use crate::engine::change;

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// What Stripe says of a charge, its refunds and its disputes, and when it was asked.
    RecordCharge(Box<Told>, DateTime<Utc>),
    /// The team is told of a dispute's stage, and whose it is.
    TellDispute {
        /// `du_…`
        id: String,
        /// Whose purchase it is.
        user_id: String,
        /// The stage, in a word.
        told: &'static str,
    },
    /// The user is written to about a refund.
    NoteRefundLetter {
        /// `re_…`
        id: String,
    },
}

impl change::Change for Change {}
