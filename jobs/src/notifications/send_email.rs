//! Send a letter: one mail to a user or to the team.
//!
//! Rules
//! - One letter for each key, for ever. Before it leaves it is on record, bytes and all, under a Message-ID made from the key; every attempt
//!   sends those bytes for as long as a copy may be on its way. See [`recipient`] for the states.
//! - SMTP has no idempotency: where the server's answer to the letter is lost, for the worker or the connection ended between the two, it is sent again,
//!   and arrives twice, under one Message-ID. There is no other way to a second copy: where the database is away, what the server answered is kept
//!   in hand until it is recorded, for as long as the attempt may run.
//! - A refusal (5xx) of the sender, the recipient or the letter is final: dead, with the server's words. So are an address that is none, a template
//!   that names what the job has not, and a user without an address.
//! - What may go better later (4xx, no connection, no certificate) is tried again, after a minute at first, then rarer, once an hour in the end;
//!   what an operator must mend (a password) each quarter of an hour at most. After the last attempt it is dead.
//! - Of a user whose customer has no address yet Stripe is asked, once, and the letter waits for the answer, a day at most.
//! - The letter leaves holding no transaction and no lock, after a last look at the lease.
//! - Neither addresses nor bodies are logged; a body is forgotten once the letter was taken.

use std::{collections::BTreeMap, time::Duration};

use bursar_letters::{Came, Postbox, Sealed, redacted};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{
    base::db,
    customers::identify_customer::AskCustomer,
    engine::{
        batch::is_disturbance,
        context::Context,
        delivery::{self, Outside},
        enqueue,
        job::{Batch, Claimed, Job, JobError, NewJob, Outcome, Snooze},
        kind::{Kind, SEND_LETTER},
        settle::Settlement,
    },
    notifications::recipient::{self, Known, Reader},
    terms::Terms,
};

/// The first wait for a server that puts a letter off; greylisting wants some minutes.
const FIRST_PAUSE: Duration = Duration::from_mins(1);
/// The longest. Twenty-five attempts are then most of a day.
const LONGEST_PAUSE: Duration = Duration::from_hours(1);
/// How soon it is tried again after what an operator must mend.
const UNTIL_MENDED: Duration = Duration::from_mins(15);
/// How long it waits for Stripe to say what the address is.
const WAIT_FOR_ADDRESS: Duration = Duration::from_hours(24);
/// The wait before what came back is recorded again, where the database is away; doubled up to the second.
const RECORD_AGAIN: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// Together as long as an attempt may run at most.
const MOST_RECORDINGS: u32 = 60;

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
    /// Of a letter to the team: to this address instead, which an operator named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

impl SendLetter {
    /// A letter to a user.
    pub fn to_user(letter: &str, user_id: &str, about: &str) -> Self {
        Self {
            letter: letter.to_owned(),
            user_id: Some(user_id.to_owned()),
            about: about.to_owned(),
            fields: BTreeMap::new(),
            to: None,
        }
    }

    /// A letter to the team.
    pub fn to_team(letter: &str, about: &str) -> Self {
        Self { letter: letter.to_owned(), user_id: None, about: about.to_owned(), fields: BTreeMap::new(), to: None }
    }

    /// The same letter, of those to the team, to this address.
    #[must_use]
    pub fn to_address(mut self, to: Option<&str>) -> Self {
        self.to = to.map(str::to_owned);
        self
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
            args: serde_json::json!(self),
            max_attempts: SEND_LETTER.max_attempts,
            delay_ms: 0,
            cause,
        }
    }
}

impl Job for SendLetter {
    const KIND: Kind = SEND_LETTER;
}

/// A day, as letters write it: the same in every language.
pub fn date(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d").to_string()
}

/// A moment, as letters write it.
pub fn moment(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M UTC").to_string()
}

/// What an attempt begins with.
enum Begun {
    /// It is over before anything left.
    Ends(Result<Outcome, JobError>),
    /// The job is another worker's.
    Stale,
    /// It may leave: under this call, these bytes.
    Sends(i64, Sealed),
}

impl Outside for SendLetter {
    async fn attempt(context: &Context, batch: &Batch, claimed: &Claimed) -> Result<Option<Settlement>, sqlx::Error> {
        send(context, batch, claimed).await
    }
}

/// One attempt. None: the job is another worker's.
async fn send(context: &Context, batch: &Batch, claimed: &Claimed) -> Result<Option<Settlement>, sqlx::Error> {
    context.reach("before_intent").await;
    let key = claimed.key.as_deref().unwrap_or(&claimed.id);
    let ended = match (serde_json::from_slice::<SendLetter>(&claimed.args), &context.letters) {
        (Err(error), _) => Err(JobError::Dead(format!("its arguments cannot be read: {error}"))),
        (Ok(job), None) => Ok(Outcome::Skip(format!("this worker sends no letters: {}", job.said()))),
        (Ok(job), Some(postbox)) => match begin(context, postbox, batch, claimed, &job, key).await? {
            Begun::Ends(ended) => ended,
            Begun::Stale => return Ok(None),
            Begun::Sends(call, sealed) => {
                context.reach("after_intent").await;
                if !context.may_send(batch) {
                    return Ok(None);
                }
                let came = postbox.send(&sealed).await;
                context.reach("after_request").await;
                record(context, key, call, &came).await?;
                if let (Came::Taken(_), Some(folder)) = (&came, postbox.folder()) {
                    let subject = sealed.subject.as_deref().unwrap_or_default();
                    tracing::info!(folder = %folder.display(), subject, "a letter was written: {}", job.said());
                }
                judge(came, claimed)
            }
        },
    };
    delivery::end(context, batch, claimed, ended).await
}

/// Records what came back, and waits for a database that is away: nobody but this worker knows it, and whoever does not would send a second
/// copy.
async fn record(context: &Context, key: &str, call: i64, came: &Came) -> Result<(), sqlx::Error> {
    let mut pause = RECORD_AGAIN.0;
    for _ in 1..MOST_RECORDINGS {
        match record_once(context, key, call, came).await {
            Err(error) if is_disturbance(&error) => {
                tracing::warn!(%error, "what the mail server said cannot be recorded; trying again in {pause:?}");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(RECORD_AGAIN.1);
            }
            recorded => return recorded,
        }
    }
    record_once(context, key, call, came).await
}

async fn record_once(context: &Context, key: &str, call: i64, came: &Came) -> Result<(), sqlx::Error> {
    let mut tx = db::begin(&context.pool).await?;
    recipient::record(&mut tx, key, call, came).await?;
    tx.commit().await
}

/// The first transaction: writes the letter and commits to sending it.
async fn begin(
    context: &Context,
    postbox: &Postbox,
    batch: &Batch,
    claimed: &Claimed,
    job: &SendLetter,
    key: &str,
) -> Result<Begun, sqlx::Error> {
    let mut tx = db::begin(&context.pool).await?;
    if !delivery::is_ours(&mut tx, batch, claimed).await? {
        return Ok(Begun::Stale);
    }
    let sealed = match recipient::find(&mut tx, key).await? {
        Known::Sent(by) if by == claimed.id => return Ok(Begun::Ends(Ok(Outcome::Done))),
        Known::Sent(by) => return Ok(Begun::Ends(Ok(Outcome::Skip(format!("it was sent before, by job {by}"))))),
        Known::Fixed(sealed) => sealed,
        Known::Unwritten => {
            let reader = match &job.user_id {
                Some(user) => recipient::reader(&mut tx, user).await?,
                None => Reader::default(),
            };
            match job.write(postbox, key, claimed, &reader, &context.terms) {
                Ok(sealed) => sealed,
                Err(ended) => {
                    let asks = match (&ended, &reader.customer) {
                        // Asked for, and not known yet.
                        (Ok(Outcome::Snooze(_)), Some(customer)) => {
                            AskCustomer::address(customer, &recipient::subject(key), &context.terms)
                        }
                        _ => Vec::new(),
                    };
                    enqueue::enqueue(&mut *tx, &asks).await?;
                    tx.commit().await?;
                    return Ok(Begun::Ends(ended));
                }
            }
        }
    };
    let call = recipient::intend(&mut tx, key, claimed, (&job.letter, job.user_id.as_deref()), &sealed).await?;
    tx.commit().await?;
    Ok(Begun::Sends(call, sealed))
}

impl SendLetter {
    fn said(&self) -> String {
        format!("{} to {} about {}", self.letter, self.user_id.as_deref().unwrap_or("the team"), self.about)
    }

    /// Writes it, or says why it cannot be.
    fn write(
        &self,
        postbox: &Postbox,
        key: &str,
        claimed: &Claimed,
        reader: &Reader,
        terms: &Terms,
    ) -> Result<Sealed, Result<Outcome, JobError>> {
        let dead = |why: String| Err(Err(JobError::Dead(why)));
        let Some(known) = bursar_letters::letter(&self.letter) else {
            return dead(format!("{:?} is no letter of this version: update the workers, then retry", self.letter));
        };
        let mut fields = self.fields.clone();
        fields.insert("about".into(), self.about.clone());
        let to = match (&self.user_id, known.to_team) {
            (None, true) => match self.to.as_deref().or(postbox.team()) {
                Some(team) => team.to_owned(),
                None => return Err(Ok(Outcome::Skip("nobody to write to: [letters] team is not set".into()))),
            },
            (Some(user), false) => {
                fields.insert("user_id".into(), user.clone());
                if let Some(tier) = &reader.tier {
                    fields.entry("tier".into()).or_insert_with(|| tier.clone());
                }
                match &reader.address {
                    Some(address) => address.clone(),
                    None => return Err(without_address(user, reader, terms)),
                }
            }
            (None, false) => return dead(format!("{} is a letter to a user, and its job names none", self.letter)),
            (Some(_), true) => {
                return dead(format!("{} is a letter to the team, and its job names a user", self.letter));
            }
        };
        let locales: Vec<&str> = reader.locales.iter().map(String::as_str).collect();
        match postbox.write(key, &self.letter, &to, &locales, fields, claimed.enqueued_at) {
            Ok(sealed) => Ok(sealed),
            Err(error @ bursar_letters::WriteError::Fill(_)) => {
                dead(format!("{error}: mend the template in [letters] templates, then retry"))
            }
            Err(error @ bursar_letters::WriteError::Address(_)) => {
                dead(format!("{error} ({}): mend it at Stripe, then retry", redacted(&to)))
            }
        }
    }
}

/// A user whom nobody can write to yet, or at all.
fn without_address(user: &str, reader: &Reader, terms: &Terms) -> Result<Outcome, JobError> {
    let Some(customer) = &reader.customer else {
        return Err(JobError::Dead(format!(
            "no mail address is known of {user}, who is no customer at Stripe: write by hand, or make one with \
             metadata.user_id, then retry"
        )));
    };
    let why = format!("no mail address is known of {user}: add one to {customer} at Stripe, then retry");
    if reader.asked || !terms.stripe_on {
        return Err(JobError::Dead(why));
    }
    Ok(Outcome::Snooze(Snooze { reason: format!("asking Stripe: {why}"), fact: None, limit: WAIT_FOR_ADDRESS }))
}

/// What an answer means for the job.
fn judge(came: Came, claimed: &Claimed) -> Result<Outcome, JobError> {
    let again = |after, why: String| Err(JobError::Retry { after: Some(after), source: why.into() });
    match came {
        Came::Taken(_) => Ok(Outcome::Done),
        Came::Refused(why) => Err(JobError::Dead(format!("{why}. Mend what it says, then retry"))),
        Came::NotYet { why, mend: true } => again(pause(claimed).max(UNTIL_MENDED), why),
        Came::NotYet { why, mend: false } | Came::Unknown(why) => again(pause(claimed), why),
    }
}

/// The wait after an attempt: twice as long each time.
fn pause(claimed: &Claimed) -> Duration {
    let doublings = claimed.attempt_of_life().clamp(1, 10).unsigned_abs() - 1;
    FIRST_PAUSE.saturating_mul(1 << doublings).min(LONGEST_PAUSE)
}
