//! Schedules: when a job is fired by the calendar, and what becomes of ticks that were missed.
//!
//! A schedule is driven by the queue alone. Of each there is one job that waits for the next tick; it fires what is to be fired and
//! enqueues its successor in one transaction, so that one tick is one firing, whatever crashes and however many workers run. Settings are
//! laid over the table when a worker starts: a changed time begins a new chain of waiting jobs, and the old one ends by itself.

pub(crate) mod apply;
pub mod change;
mod cron;
mod declare;
mod fire;

use crate::engine::domain::Domain;

pub use cron::{Cron, CronError};
pub use declare::{Declared, Laid, RunError, declare, run};
pub use fire::FireSchedule;

/// What the engine knows of this domain.
pub const DOMAIN: Domain = Domain {
    apply: Some(|context| Box::pin(apply::apply(context))),

    ..Domain::of("schedules", |change| change.of::<change::Change>().is_some())
};

/// What becomes of ticks that passed while nothing ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CatchUp {
    /// One firing for all of them, that of the last.
    Once,
    /// Each fires, in order.
    All,
    /// None fires.
    None,
}

impl CatchUp {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::Once, Self::All, Self::None];

    /// As settings and the database say it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Once => "once",
            Self::All => "all",
            Self::None => "none",
        }
    }

    /// Reads it.
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.word() == word)
    }
}
