//! The second transaction of a call: hears what came back, does as the [machine] says, and settles.

use std::time::Duration;

use bursar_stripe::{Reply, Seen};
use serde_json::Value;
use sqlx::PgConnection;

use super::{
    Answer, Call, Looked,
    driver::{End, Next, Run, Told, Under, retry, wait},
    machine::{self, Do, Heard, MOST_LOOKS},
};
use crate::{
    base::db,
    engine::{
        apply,
        call::intent::{self, Intent},
        delivery,
        job::{Effects, JobError, Outcome},
    },
};

/// What came back of a request, or of a look.
pub(super) enum Came {
    Answered(Seen),
    Looked(Result<Looked, Box<Seen>>),
}

/// What was heard, and all that is said and done because of it.
struct Word {
    heard: Heard,
    /// In words, for operators.
    why: String,
    /// The same, and all that is known beside.
    whole: String,
    /// Not before this.
    after: Option<Duration>,
    /// What the effect comes to in the books.
    booked: Option<Effects>,
}

impl Word {
    fn new(heard: Heard, why: &impl ToString) -> Self {
        let why = why.to_string();
        Self { heard, whole: why.clone(), why, after: None, booked: None }
    }

    fn of(heard: Heard, reply: &Reply) -> Self {
        Self { heard, why: reply.said(), whole: reply.to_string(), after: reply.after(), booked: None }
    }

    fn told(self) -> Told {
        Told::new(self.why, self.whole)
    }
}

impl<J: Call> Run<'_, J> {
    /// Settles what came back, or goes on to what follows from a look.
    pub(super) async fn conclude(&self, under: Under, came: Came) -> Result<Next, sqlx::Error> {
        let Under { intent, subject, call } = under;
        let mut tx = db::begin(&self.context.pool).await?;
        let facts = self.job.gather(&mut tx).await?;
        let now = intent::newest(&mut tx, &subject).await?;
        let now = now.ok_or_else(|| sqlx::Error::Protocol(format!("the intent of {subject} is gone")))?;
        match &came {
            Came::Answered(seen) => intent::end_call(&mut tx, call.id, seen).await?,
            Came::Looked(Err(seen)) => intent::end_call(&mut tx, call.id, seen).await?,
            Came::Looked(Ok(looked)) => intent::note_call(&mut tx, call.id, &looked.to_string()).await?,
        }
        let word = self.word(&facts, &subject, &intent, &now, &came);
        let (next, act) = machine::hear(now.matter, intent.matter.generation, word.heard);
        let now = intent::write(&mut tx, &now, next).await?;
        let ended = match act {
            Do::Overtaken => Ok(Effects::skip(OVERTAKEN)),
            Do::Book => word.booked.ok_or_else(|| JobError::Dead("it was made, and books nothing".into())),
            Do::Refuse { saved } => match &came {
                Came::Answered(Seen { reply: Reply::Rejected { error, .. }, .. }) => {
                    self.job.resolve(&facts, Answer::Refused { error, saved }, &self.context.terms)
                }
                Came::Answered(_) | Came::Looked(_) => Err(JobError::Dead(word.why)),
            },
            Do::Retry => Err(retry(self.claimed, word.after, word.told())),
            Do::Unsure => {
                let why = word.why.strip_prefix("unknown: ").unwrap_or(&word.why);
                self.mark_unknown(&mut tx, &facts, &format!("not known: {why}")).await?;
                Err(retry(self.claimed, word.after, word.told()))
            }
            Do::Stop if matches!(word.heard, Heard::Nothing { .. }) => self.for_an_operator(
                &facts,
                format!(
                    "Stripe saved a failure under {} and nothing is there after {MOST_LOOKS} looks: {}",
                    intent.key,
                    self.job.remedy()
                ),
            ),
            Do::Stop => self.for_an_operator(&facts, word.why),
            Do::Dead => Err(JobError::Dead(word.why)),
            Do::LookAgain(minutes) => Err(JobError::Retry {
                after: Some(Duration::from_mins(1) * minutes),
                source: "nothing there yet: looking again".into(),
            }),
            Do::Send if delivery::is_ours(&mut tx, self.batch, self.claimed).await? => {
                let call = intent::begin_call(&mut tx, &subject, Some(&now), self.claimed, "send").await?;
                tx.commit().await?;
                self.context.reach("after_intent").await;
                return Ok(Next::Send(Under { intent: now, subject, call }));
            }
            Do::Send => {
                tx.rollback().await?;
                return Ok(Next::End(End::Stale));
            }
            Do::Raise => Ok(Effects::snooze(wait(
                "looked once more, and nothing is there: using a new key, as an operator said",
            ))),
        };
        self.finish(tx, ended).await.map(Next::End)
    }

    /// Takes what came for what the machine knows.
    fn word(&self, facts: &J::Facts, subject: &str, sent: &Intent, now: &Intent, came: &Came) -> Word {
        match came {
            Came::Looked(Ok(Looked::Found(object))) => self.made(facts, object),
            Came::Looked(Ok(Looked::Different(how))) => Word::new(Heard::Unlike, &format!("{subject}: {how}")),
            Came::Looked(Ok(Looked::Nothing)) => {
                // Age is no news: it only asks for more care.
                let moved = machine::Matter { young: now.matter.young, ..sent.matter } != now.matter;
                Word::new(Heard::Nothing { moved, under_way: now.under_way }, &"nothing there")
            }
            Came::Looked(Err(seen)) => Word::of(Heard::NotLooked, &seen.reply),
            Came::Answered(seen) => {
                let heard = match &seen.reply {
                    Reply::Success(object) => return self.made(facts, object),
                    Reply::Rejected { replayed, .. } => Heard::Refused { saved: *replayed },
                    Reply::Unknown { look_up: false, .. } => Heard::Lost,
                    Reply::Unknown { look_up: true, .. } if seen.status.is_some_and(|status| status >= 500) => {
                        Heard::SavedFailure
                    }
                    Reply::Unknown { look_up: true, .. } => Heard::LookFirst,
                    Reply::KeyMisuse { error } => {
                        let why = format!(
                            "Stripe says that {} was used with other parameters ({error}): look at both",
                            sent.key
                        );
                        return Word::new(Heard::Misused, &why);
                    }
                    Reply::Limited { .. } | Reply::Busy { .. } | Reply::Unauthorized { .. } => Heard::NotNow,
                    Reply::NotSent { why } => return Word::new(Heard::NotSent, why),
                };
                Word::of(heard, &seen.reply)
            }
        }
    }

    /// The effect is there: its job reads it.
    fn made(&self, facts: &J::Facts, object: &Value) -> Word {
        match self.job.resolve(facts, Answer::Made(object), &self.context.terms) {
            Ok(effects) => Word { booked: Some(effects), ..Word::new(Heard::Made, &"made") },
            // What was made is not what was asked for.
            Err(JobError::Dead(how)) => Word::new(Heard::Unlike, &how),
            // It was done, says the status, but what was done cannot be read: look.
            Err(JobError::Retry { after, source }) => Word { after, ..Word::new(Heard::Unreadable, &source) },
        }
    }

    /// Says to operators that it is not known for now.
    async fn mark_unknown(&self, db: &mut PgConnection, facts: &J::Facts, why: &str) -> Result<(), sqlx::Error> {
        match self.job.resolve(facts, Answer::Unknown(why), &self.context.terms) {
            Ok(effects) => apply::apply(self.context.domains, db, std::slice::from_ref(&effects)).await.map(drop),
            Err(error) => {
                tracing::error!(job = self.claimed.id, %error, "a call does not say what unknown means for it");
                Ok(())
            }
        }
    }

    /// What is not known, and will not become known by itself.
    fn for_an_operator(&self, facts: &J::Facts, why: String) -> Result<Effects, JobError> {
        let effects = self.job.resolve(facts, Answer::Unknown(&why), &self.context.terms)?;
        Ok(Effects { outcome: Outcome::Dead(why), ..effects })
    }
}

/// What a job says whose answer came after another had brought the matter to its end.
const OVERTAKEN: &str = "another job has brought it to its end meanwhile";
