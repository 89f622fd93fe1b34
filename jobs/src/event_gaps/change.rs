//! What changes about the comparison of Stripe's events with the inbox.

use chrono::{DateTime, Utc};

use crate::engine::change;
use crate::inbox::envelope::Envelope;

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The gap watch begins: nothing created before this is looked for.
    BeginWatch(DateTime<Utc>),
    /// Events out of Stripe's own list; those that never arrived are received as if they had.
    TakeEvents(Listed),
    /// Every event that was created before a walk began was compared.
    EndWalk {
        /// When it began.
        walk: DateTime<Utc>,
    },
}

impl change::Change for Change {}

/// Events as Stripe listed them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// When the walk began that reads them.
    pub walk: DateTime<Utc>,
    /// When they were asked for.
    pub asked_at: DateTime<Utc>,
    /// Each with its bytes.
    pub events: Vec<(Envelope, Vec<u8>)>,
}
