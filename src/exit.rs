//! What the process says when it ends: the exit codes that scripts rely on.

use std::process::ExitCode;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It was done.
    Done,
    /// It failed, or was refused.
    Failed,
    /// It was used wrongly; the same number that clap ends with.
    WrongUse,
    /// What it asks about is not there.
    NotFound,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::WrongUse => 2,
            Exit::NotFound => 3,
        })
    }
}
