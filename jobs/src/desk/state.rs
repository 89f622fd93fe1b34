//! A job's state, in the words of the glossary.

use serde::{Deserialize, Serialize};

/// A job's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Waits for a worker.
    Ready,
    /// Waits for its time.
    Scheduled,
    /// Runs.
    Running,
    /// Done, or skipped.
    Done,
    /// Gave up or quarantined: waits for an operator.
    Dead,
    /// Cancelled by an operator.
    Cancelled,
}

impl State {
    /// All of them, in the order of a job's life.
    pub const ALL: [Self; 6] = [Self::Ready, Self::Scheduled, Self::Running, Self::Done, Self::Dead, Self::Cancelled];

    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Scheduled => "scheduled",
            Self::Running => "running",
            Self::Done => "done",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
        }
    }

    /// The state of a word.
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.word() == word)
    }

    /// The word in apalis's status column.
    pub const fn status(self) -> &'static str {
        match self {
            Self::Ready | Self::Scheduled => "Pending",
            Self::Running => "Running",
            Self::Done => "Done",
            Self::Dead => "Failed",
            Self::Cancelled => "Killed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_is_the_state_that_it_is_of() {
        for state in State::ALL {
            assert_eq!(State::of(state.word()), Some(state));
        }
        assert_eq!(State::of("failed"), None);
    }
}
