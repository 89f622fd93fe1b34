//! Send a letter. This version sends none: that a letter was due is recorded, and seen.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::{
    job::{Effects, Job, JobError, NewJob, Pure},
    kinds::{Kind, SEND_LETTER},
    terms::Terms,
};

/// One letter, to one user or to the team.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SendLetter {
    /// Which letter, by the name of its template: `trial_will_end` …
    pub letter: String,
    /// To which user; none: to the team.
    #[serde(default)]
    pub user_id: Option<String>,
    /// What it is about: `sub_…`, `in_…`
    pub about: String,
    /// What the template's fields are filled with; what it names beside these is filled from what is known of the user.
    #[serde(default)]
    pub fields: BTreeMap<String, String>,
}

impl SendLetter {
    /// A letter to a user.
    pub fn to_user(letter: &str, user_id: &str, about: &str) -> Self {
        Self {
            letter: letter.to_owned(),
            user_id: Some(user_id.to_owned()),
            about: about.to_owned(),
            fields: BTreeMap::new(),
        }
    }

    /// A letter to the team.
    pub fn to_team(letter: &str, about: &str) -> Self {
        Self { letter: letter.to_owned(), user_id: None, about: about.to_owned(), fields: BTreeMap::new() }
    }

    /// The same letter with a field filled: `amount` with `9.99 USD`.
    #[must_use]
    pub fn with(mut self, field: &str, value: impl Into<String>) -> Self {
        self.fields.insert(field.to_owned(), value.into());
        self
    }

    /// The job that sends a letter; one of each key, ever.
    pub fn job(&self, key: String, cause: Option<String>) -> NewJob {
        NewJob {
            kind: SEND_LETTER.name,
            key,
            args: serde_json::json!({
                "letter": self.letter, "user_id": self.user_id, "about": self.about, "fields": self.fields,
            }),
            max_attempts: SEND_LETTER.max_attempts,
            delay_ms: 0,
            cause,
        }
    }
}

impl Job for SendLetter {
    const KIND: Kind = SEND_LETTER;
}

impl Pure for SendLetter {
    type Facts = ();

    async fn gather(_: &mut PgConnection, jobs: &[Self]) -> Result<Vec<()>, sqlx::Error> {
        Ok(vec![(); jobs.len()])
    }

    fn run(&self, (): &(), _: &Terms) -> Result<Effects, JobError> {
        let to = self.user_id.as_deref().unwrap_or("the team");
        Ok(Effects::skip(format!("this version sends no letters: {} to {to} about {}", self.letter, self.about)))
    }
}
