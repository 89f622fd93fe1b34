//! What changes about customers and accounts.

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::engine::change;

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// This Stripe customer is this user.
    LinkCustomer(Link),
    /// The mail address of a customer.
    KeepAddress(Address),
    /// A user has an account, even before the first credit.
    OpenAccount {
        /// The user.
        user_id: String,
    },
}

impl change::Change for Change {}

/// Which user a Stripe customer is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Link {
    /// `cus_…`
    pub id: String,
    /// Ours.
    pub user_id: String,
    /// The event that says so.
    pub event_id: String,
}

/// The mail address of a customer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// `cus_…`
    pub customer: String,
    /// As Stripe has it; none where it has none.
    pub email: Option<String>,
    /// The languages that it prefers, the dearest first, with commas.
    pub locales: Option<String>,
    /// When Stripe was asked; an event's own word counts only until then.
    pub asked_at: Option<DateTime<Utc>>,
}
