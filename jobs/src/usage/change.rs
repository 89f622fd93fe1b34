//! What changes about reports of use.

use chrono::{DateTime, Utc};

use crate::engine::change;

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// What was used before a moment goes into reports.
    SumUsage {
        /// The end of the last hour.
        before: DateTime<Utc>,
    },
    /// A report of use comes into another state.
    MoveUsage {
        /// Its row.
        report: i64,
        /// `sent`, `unknown` or `refused`.
        state: &'static str,
        /// Why, in words.
        reason: Option<String>,
    },
}

impl change::Change for Change {}
