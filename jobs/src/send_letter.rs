//! Send a letter. This version sends none: that a letter was due is recorded, and seen.

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::{
    job::{Effects, Job, JobError, NewJob, Pure},
    kinds::{Kind, SEND_LETTER},
    terms::Terms,
};

/// One letter to one user.
#[derive(Debug, Serialize, Deserialize)]
pub struct SendLetter {
    /// Which letter: `trial_will_end` …
    pub letter: String,
    /// To whom.
    pub user_id: String,
    /// What it is about: `sub_…`
    pub about: String,
}

impl SendLetter {
    /// The job that sends a letter; one of each key, ever.
    pub fn job(&self, key: String, cause: Option<String>) -> NewJob {
        NewJob {
            kind: SEND_LETTER.name,
            key,
            args: serde_json::json!({ "letter": self.letter, "user_id": self.user_id, "about": self.about }),
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
        Ok(Effects::skip(format!(
            "this version sends no letters: {} to {} about {}",
            self.letter, self.user_id, self.about
        )))
    }
}
