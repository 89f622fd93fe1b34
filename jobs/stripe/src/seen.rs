//! What was seen of one request: what an attempt records, and what a job settles by.

use std::{fmt, time::Duration};

use stripe_client_core::StripeClientErr;

use crate::{
    answer::{Answer, Lost},
    object::Object,
    reply::{Reply, Why},
};

/// No more bytes than this of a body are kept for operators.
pub const RAW_LIMIT: usize = 4096;

/// Everything that came back of one request. As an error it says that what was asked for is not there, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// `Request-Id`, where there was an answer that had one.
    pub request_id: Option<String>,
    /// The HTTP status, where there was an answer.
    pub status: Option<u16>,
    /// The answer was the one saved under the key, given again.
    pub replayed: bool,
    /// What it means.
    pub reply: Reply,
    /// The body as text, cut at [`RAW_LIMIT`] bytes, for people. Empty without an answer.
    pub raw: String,
}

impl Seen {
    /// What `came`, read and kept.
    pub fn of(came: Result<&Answer, &Lost>) -> Self {
        let reply = Reply::of(came);
        match came {
            Ok(answer) => Self {
                request_id: answer.request_id.clone(),
                status: Some(answer.status),
                replayed: answer.replayed,
                reply,
                raw: answer.body.as_ref().map_or_else(|_| String::new(), |body| cut(&String::from_utf8_lossy(body))),
            },
            Err(_) => Self::unanswered(reply),
        }
    }

    /// How long it is until its turn, where that is why it never left: our own gate kept it back, and Stripe knows nothing of it.
    pub fn kept_back(&self) -> Option<Duration> {
        match (self.status, &self.reply) {
            (None, Reply::Limited { after }) => Some(after.unwrap_or_default()),
            _ => None,
        }
    }

    pub(crate) fn unanswered(reply: Reply) -> Self {
        Self { request_id: None, status: None, replayed: false, reply, raw: String::new() }
    }

    /// What was answered, where it was a success; else what was seen.
    pub fn into_success(mut self) -> Result<serde_json::Value, Box<Self>> {
        match &mut self.reply {
            Reply::Success(value) => Ok(value.take()),
            _ => Err(Box::new(self)),
        }
    }

    /// The object that was asked for; else what was seen, where a 2xx that is not a `T` is now [`Reply::Unknown`], to be looked up.
    pub fn read<T: Object>(self) -> Result<T, Box<Self>> {
        let Reply::Success(json) = &self.reply else { return Err(Box::new(self)) };
        let name = json.get("object").and_then(serde_json::Value::as_str).unwrap_or_default();
        let why = if name == T::OBJECT {
            match T::deserialize(json) {
                Ok(object) => return Ok(object),
                Err(error) => format!("no readable {}: {error}", T::OBJECT),
            }
        } else {
            format!("no {}, but another object", T::OBJECT)
        };
        Err(self.but(Why::NotWhatWasAsked(why)))
    }

    /// The same, but not a success after all. Something was done, and the same key can only give the same answer: it is to be looked up.
    pub(crate) fn but(self, why: Why) -> Box<Self> {
        Box::new(Self { reply: Reply::Unknown { why, look_up: true, after: None }, ..self })
    }
}

fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(RAW_LIMIT)].to_owned()
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reply.fmt(f)?;
        match (self.status, &self.request_id) {
            (Some(status), Some(id)) => write!(f, " (HTTP {status}, request {id})"),
            (Some(status), None) => write!(f, " (HTTP {status})"),
            (None, _) => Ok(()),
        }
    }
}

impl std::error::Error for Seen {}

/// For the generated builders' own `send`.
impl StripeClientErr for Box<Seen> {
    fn deserialize_err(why: impl fmt::Display) -> Self {
        let why = Why::NotWhatWasAsked(why.to_string());
        Box::new(Seen::unanswered(Reply::Unknown { why, look_up: true, after: None }))
    }
}
