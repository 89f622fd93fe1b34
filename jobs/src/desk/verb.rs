//! What is done to all jobs that match, and what that means for them.

use serde::{Deserialize, Serialize};

use super::risk::DryRun;
use crate::engine::kind;

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// Dead and cancelled ones are made ready again.
    Retry,
    /// Those that have not ended well are cancelled.
    Cancel,
    /// Done ones of events run again.
    Replay,
}

impl Verb {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Cancel => "cancel",
            Self::Replay => "replay",
        }
    }

    /// What it means for those that are safe, done and unknown: a cancellation makes nothing, and looks for nothing.
    pub const fn means(self) -> [&'static str; 3] {
        match self {
            Self::Retry | Self::Replay => [
                "nothing has come of them",
                "their effect is there; a retry finds it and does no more",
                "something may have left; it is looked for, and not sent blindly",
            ],
            Self::Cancel => [
                "nothing has come of them, and nothing will: what was paid for is not granted, what is owed is not sent",
                "their effect is there, and stays",
                "something may have left, and is not looked for any more",
            ],
        }
    }

    /// Whether it releases money, done to these: cancelling never does.
    pub fn releases(self, dry: &DryRun) -> bool {
        self != Self::Cancel && dry.kinds.keys().any(|kind| kind::moves_money(kind))
    }
}
