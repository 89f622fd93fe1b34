//! The call: one request outside, under a committed intent.
//!
//! A transaction commits the intent. The request leaves holding no transaction and no lock, after a last look at the lease. A
//! second transaction settles what came back. Whatever is lost in between, the next attempt finds the intent and does one of two
//! things: it sends the same bytes again under the same key while the key is young, or it looks first.
//!
//! | what is known | what is done |
//! |---|---|
//! | no intent, and the matter is younger than a key lives | make generation 1, send |
//! | no intent, and the matter is older (this database may be a restored one) | make generation 1, look; nothing there: send |
//! | an intent whose answer is not known, key young | send the same bytes under the same key |
//! | the same, key old | look; nothing there: send the same bytes under the same key, in the same attempt |
//! | Stripe replays a 5xx under the key | look, again and again over minutes; then an operator |
//! | refused, and the refusal is replayed under a young key | the next generation, by the same rules: only that refusal can still answer a late request |
//! | the same, key old: Stripe may forget the refusal at any moment | wait for an hour, until no request is under way; then the next generation, which looks first |
//! | refused, and not replayed | nothing was executed; the key stays |
//! | the same, and the parameters differ since | wait for an hour; then the next generation, which looks first |
//! | another job has brought it to its end meanwhile | nothing: the answer is noted, and changes nothing |
//! | the parameters differ from the intent's, which may have had its effect | refused before it leaves |
//!
//! The table is a pure function: [`machine`].

mod begin;
mod conclude;
mod defer;
mod driver;
pub mod intent;
pub mod machine;

use std::{fmt, future::Future};

use bursar_stripe::{Client, Request, Seen, StripeError};
use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;

pub(crate) use driver::perform;

use crate::{
    engine::{
        change::AnyChange,
        job::{Effects, Job, JobError},
    },
    terms::Terms,
};

/// A job that makes one request outside.
pub trait Call: Job {
    /// What it looks at.
    type Facts: Send + Sync;

    /// Reads the facts, and locks those that the decision rests on.
    fn gather(&self, db: &mut PgConnection) -> impl Future<Output = Result<Self::Facts, sqlx::Error>> + Send;

    /// Reads, and holds, what only these terms make worth reading, before it is decided what is to leave; nothing by default.
    fn weigh(
        &self,
        _facts: &mut Self::Facts,
        _db: &mut PgConnection,
        _terms: &Terms,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send {
        async { Ok(()) }
    }

    /// Decides what is to leave, if anything.
    fn intent(&self, facts: &Self::Facts, terms: &Terms) -> Result<Plan, JobError>;

    /// Looks for the effect at Stripe, by list, all pages; or asks what [`Plan::AskAll`] leaves to it.
    fn look(&self, facts: &Self::Facts, stripe: &Client) -> impl Future<Output = Result<Looked, Box<Seen>>> + Send;

    /// What an operator does once looks have found nothing behind a failure that Stripe saved.
    fn remedy(&self) -> String {
        "look at Stripe's dashboard, then retry the job: it looks again".to_owned()
    }

    /// What is to be seen of it when the job gives up.
    fn gave_up(&self, _why: &str) -> Vec<AnyChange> {
        Vec::new()
    }

    /// What an answer means.
    fn resolve(&self, facts: &Self::Facts, answer: Answer<'_>, terms: &Terms) -> Result<Effects, JobError>;
}

/// What is to leave.
#[derive(Debug)]
pub enum Plan {
    /// Nothing: the effects say why.
    Nothing(Effects),
    /// A question, whose answer is a fact. It changes nothing at Stripe and needs no intent.
    Ask(Request),
    /// Several questions, asked by [`Call::look`]; what it finds is the fact.
    AskAll,
    /// A request that has an effect, under an intent.
    Send {
        /// What it is for, for ever: the idempotency key derives from it.
        subject: String,
        /// The bytes.
        request: Request,
        /// Since when it could have been sent, by anyone's word.
        since: DateTime<Utc>,
        /// What is true from the moment that it may have left; committed with the intent.
        marks: Vec<AnyChange>,
    },
}

/// What a look came to.
#[derive(Debug)]
pub enum Looked {
    /// The effect is there.
    Found(Value),
    /// Something is there under our name that is not what we would have sent.
    Different(String),
    /// Nothing is there.
    Nothing,
}

impl fmt::Display for Looked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Found(_) => f.write_str("found"),
            Self::Different(how) => write!(f, "found something else: {how}"),
            Self::Nothing => f.write_str("nothing there"),
        }
    }
}

/// What came back, as far as it is certain.
#[derive(Debug)]
pub enum Answer<'a> {
    /// The effect was had: now, before under the same key, or found by a look.
    Made(&'a Value),
    /// The answer to a question, and when it was asked.
    Fact(&'a Value, DateTime<Utc>),
    /// What was asked about is not there.
    Gone(&'a StripeError),
    /// Refused for good under this generation. `saved`: the refusal stands under the key.
    Refused {
        /// Why.
        error: &'a StripeError,
        /// Whether the next generation may be used.
        saved: bool,
    },
    /// Not known. Its effects say so to operators; the engine finds out.
    Unknown(&'a str),
}
