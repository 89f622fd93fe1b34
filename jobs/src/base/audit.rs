//! What operators did, written down in the transaction of the act itself.

use serde_json::Value;
use sqlx::PgExecutor;

/// One act.
#[derive(Debug, Clone)]
pub struct Act<'a> {
    /// Who did it: a name, as the way in knows it.
    pub who: &'a str,
    /// Which way they came.
    pub via: Via,
    /// The command's own words: `payouts.release`.
    pub what: &'a str,
    /// What it was done to: a job's id, a user, an invoice.
    pub subject: &'a str,
    /// What it was before, where that can be said.
    pub before: Option<Value>,
    /// What it is now, where that can be said.
    pub after: Option<Value>,
    /// Why, in the operator's words.
    pub why: Option<&'a str>,
}

/// Which way an operator came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// The command line.
    Cli,
    /// The console in a browser.
    Console,
    /// A token, over HTTP.
    Api,
    /// Nobody's hand: a schedule that an operator declared.
    Schedule,
}

impl Via {
    /// The way of a word.
    pub fn of(word: &str) -> Option<Self> {
        [Self::Cli, Self::Console, Self::Api, Self::Schedule].into_iter().find(|via| via.word() == word)
    }

    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Cli => "cli",
            Self::Console => "console",
            Self::Api => "api",
            Self::Schedule => "schedule",
        }
    }
}

/// Writes an act down, in the caller's transaction.
pub async fn note(db: impl PgExecutor<'_>, act: Act<'_>) -> Result<(), sqlx::Error> {
    let storable = |text: &str| text.replace('\0', "\u{fffd}");
    sqlx::query!(
        "INSERT INTO bursar.audit (who, via, what, subject, before, after, why) VALUES ($1, $2, $3, $4, $5, $6, $7)",
        storable(act.who).chars().take(255).collect::<String>(),
        act.via.word(),
        act.what,
        storable(act.subject),
        act.before,
        act.after,
        act.why.map(storable),
    )
    .execute(db)
    .await?;
    Ok(())
}
