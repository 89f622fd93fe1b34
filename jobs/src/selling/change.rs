//! What changes about something that is sold.

use chrono::{DateTime, Utc};

use crate::engine::change;

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A checkout has its session.
    Opened {
        /// The checkout.
        id: String,
        /// `cs_…`
        session: String,
        /// Where the buyer goes.
        url: Option<String>,
        /// When it is over if nobody pays.
        expires_at: Option<DateTime<Utc>>,
    },
    /// A checkout gets no session, unless an operator sees to it.
    Refused {
        /// The checkout.
        id: String,
        /// For whoever asked.
        why: String,
    },
    /// A session was gone through to its end.
    Complete {
        /// `cs_…`
        session: String,
        /// The checkout that it names.
        checkout: Option<String>,
        /// Stripe's word for whether it is paid.
        payment_status: Option<String>,
        /// What it began, in mode `subscription`.
        subscription: Option<String>,
    },
    /// A session was gone through, and its payment, which was to come later, did not come.
    Failed {
        /// `cs_…`
        session: String,
        /// The checkout that it names.
        checkout: Option<String>,
        /// What it began, in mode `subscription`.
        subscription: Option<String>,
        /// For whoever asks.
        why: String,
    },
    /// A checkout gets no session, and none is wanted any more.
    Unbegun {
        /// The checkout.
        id: String,
        /// For whoever asked.
        why: String,
    },
    /// Nobody paid a session in time.
    Expired {
        /// `cs_…`
        session: String,
    },
    /// A page of the portal is there.
    PortalOpened {
        /// The request.
        id: String,
        /// Where the user goes.
        url: String,
    },
    /// No page of the portal is there.
    PortalRefused {
        /// The request.
        id: String,
        /// For whoever asked.
        why: String,
    },
    /// Stripe says that a customer is not there any more.
    CustomerGone {
        /// `cus_…`
        customer: String,
    },
}

impl change::Change for Change {}
