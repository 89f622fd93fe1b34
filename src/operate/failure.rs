//! Why a command of an operator failed, what would help, and the exit code that says so.

use std::io;

use crate::{config::SettingsError, exit::Exit};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// What was asked about is not there.
    #[error("{what}")]
    NotFound {
        /// What is not there, as a sentence.
        what: String,
        /// What to try.
        hint: String,
    },
    /// It is there, but this may not or cannot be done with it.
    #[error("{why}")]
    Refused {
        /// Why not, as a sentence.
        why: String,
        /// What to try.
        hint: String,
    },
    /// The command was used wrongly, in a way that only the database could tell.
    #[error("{why}")]
    WrongUse {
        /// What was wrong, as a sentence.
        why: String,
        /// What to try.
        hint: String,
    },
    /// A setting is missing or malformed.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The database could not be reached, or refused.
    #[error("the database: {0}")]
    Database(#[from] sqlx::Error),
    /// The answer could not be written.
    #[error("the answer could not be written: {0}")]
    Output(#[from] io::Error),
}

impl Failure {
    /// What is not there, and what to try.
    pub fn not_found(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::NotFound { what: what.into(), hint: hint.into() }
    }

    /// Why it may not be done, and what to try.
    pub fn refused(why: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Refused { why: why.into(), hint: hint.into() }
    }

    /// Whether the reader of the answer went away (`| head`): then all that was wanted has been read.
    pub fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Output(e) if e.kind() == io::ErrorKind::BrokenPipe)
    }

    /// The exit code that says it.
    pub fn exit(&self) -> Exit {
        match self {
            Self::NotFound { .. } => Exit::NotFound,
            Self::WrongUse { .. } => Exit::WrongUse,
            Self::Output(_) if self.is_closed_pipe() => Exit::Done,
            Self::Refused { .. } | Self::Settings(_) | Self::Database(_) | Self::Output(_) => Exit::Failed,
        }
    }

    /// What would help.
    pub fn hint(&self) -> &str {
        match self {
            Self::NotFound { hint, .. } | Self::Refused { hint, .. } | Self::WrongUse { hint, .. } => hint,
            Self::Settings(_) => "in the folder of a running `bursar dev`, its database is found without a setting",
            Self::Database(error) => hint_of(error),
            Self::Output(_) => "is there space where the output goes?",
        }
    }
}

fn hint_of(error: &sqlx::Error) -> &'static str {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    match (error, code.as_deref()) {
        // No such table, schema, function or column.
        (_, Some("42P01" | "3F000" | "42883" | "42703")) => {
            "bring the database to this version's schema: bursar migrate"
        }
        (_, Some("28P01" | "28000" | "3D000")) => {
            "check the user, the password and the database's name in DATABASE_URL"
        }
        (_, Some("22003")) => "the amount is more than an account can hold",
        (_, Some("25006")) => "this is a read-only server: point DATABASE_URL at the primary",
        (sqlx::Error::Configuration(_), _) => "DATABASE_URL looks like postgres://user:password@host:5432/name",
        (sqlx::Error::Io(_) | sqlx::Error::Tls(_), _) => "is PostgreSQL running where DATABASE_URL points?",
        (_, Some(_)) => "nothing was changed; PostgreSQL's log says more",
        (_, None) => "nothing is known to have changed; look before you try again",
    }
}
