//! What changes about receivers' accounts, and the links to their onboarding.

use bursar_stripe::accounts::Requirements;
use chrono::{DateTime, Utc};

use crate::engine::change;

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// How a receiver's account stands; what was held for an active one is let go.
    SetReceiver(Standing),
    /// Transfers to a receiver's account turned out not to be active.
    DeactivateReceiver {
        /// The receiver.
        user_id: String,
    },
    /// A receiver has an account. How it stands is for Stripe to say.
    Made {
        /// The receiver.
        user_id: String,
        /// `acct_…`
        account_id: String,
    },
    /// A receiver gets no account, unless an operator sees to it.
    NotMade {
        /// The receiver.
        user_id: String,
        /// For whoever asked.
        why: String,
    },
    /// The platform's access to an account is gone.
    Deauthorised {
        /// `acct_…`
        account_id: String,
        /// When Stripe was asked. An answer to an earlier question counts for nothing.
        asked_at: DateTime<Utc>,
    },
    /// A link is there.
    LinkOpened {
        /// The request.
        id: String,
        /// How often it was made anew before.
        round: i32,
        /// The account that it leads to.
        account_id: String,
        /// Where the owner goes.
        url: String,
        /// When it leads nowhere any more.
        expires_at: Option<DateTime<Utc>>,
    },
    /// No link is there.
    LinkRefused {
        /// The request.
        id: String,
        /// How often it was made anew before.
        round: i32,
        /// For whoever asked.
        why: String,
    },
}

impl change::Change for Change {}

/// How a receiver's account stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Ours.
    pub user_id: String,
    /// `acct_…`
    pub account_id: String,
    /// Whether transfers to it are active.
    pub active: bool,
    /// In a word: `active`, `pending`, `inactive` (not onboarded), `restricted`, or a new one of Stripe's.
    pub state: String,
    /// Whether Stripe pays out to the owner's bank.
    pub payouts_enabled: bool,
    /// What Stripe wants of the owner.
    pub requirements: Requirements,
    /// When Stripe was asked. An answer to an earlier question counts for nothing.
    pub asked_at: DateTime<Utc>,
}

/// A fact: an account of which nothing newer is known has become able to take transfers, or is so still.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiverActivated {
    /// The receiver. Its row is locked.
    pub user_id: String,
}
