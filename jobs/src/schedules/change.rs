//! What changes about schedules.

use chrono::{DateTime, Utc};

use crate::engine::change;

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A tick of a schedule has come.
    TickSchedule {
        /// The schedule.
        name: String,
        /// The next tick, if there ever is one.
        next_at: Option<DateTime<Utc>>,
        /// The tick that fired, if one did.
        fired: Option<DateTime<Utc>>,
    },
}

impl change::Change for Change {}
