//! What an answer means: the one classification, and a pure function.

use std::{fmt, time::Duration};

use serde_json::Value;

use crate::answer::{Answer, Lost};

/// What came back, as far as the money is concerned.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// It was done. The object that Stripe answered with.
    Success(Value),
    /// Stripe refused this call, and nothing was done by it.
    Rejected {
        /// Why.
        error: StripeError,
        /// The refusal was saved under the key and is now given again. When false it may or may not be saved: one answer alone does
        /// not tell a refusal during execution, which is saved, from one before it, which is not.
        replayed: bool,
    },
    /// Too much at once, of us or for one object: not executed, to be sent again later under the same key.
    Limited {
        /// Not before this.
        after: Option<Duration>,
    },
    /// The same key is at work elsewhere, or Stripe asks for the same request again: to be sent again later under the same key.
    Busy {
        /// Not before this.
        after: Option<Duration>,
    },
    /// The key was first used with other parameters. Loud, and never retried: what it was used for may have moved money.
    KeyMisuse {
        /// As Stripe said it.
        error: StripeError,
    },
    /// Our secret key is not good, or not good for this: to be sent again later under the same key, once an operator has looked.
    Unauthorized {
        /// As Stripe said it.
        error: StripeError,
    },
    /// It may have been done, and may not.
    Unknown {
        /// What happened instead of an answer.
        why: Why,
        /// To be looked up, and not sent again: Stripe says that repeating it does not help, or this is what the key has saved.
        look_up: bool,
        /// Not before this.
        after: Option<Duration>,
    },
    /// It never left: a fault of ours, and never retried as it is.
    NotSent {
        /// Which fault.
        why: &'static str,
    },
}

/// Why it is not known what a call came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// No whole answer.
    Lost(Lost),
    /// A 5xx, in JSON or not.
    ServerError,
    /// Not an answer of Stripe's API, whoever gave it.
    NotStripe,
    /// It was done, says the status, but the answer is not what was asked for.
    NotWhatWasAsked(String),
    /// The key is at work elsewhere, and Stripe asks us not to repeat it.
    InFlight,
    /// A list goes on beyond what we are ready to read.
    TooManyPages,
}

/// Stripe's error object, as far as it could be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StripeError {
    /// `type`: `invalid_request_error`, `card_error`, `idempotency_error`, `api_error`, or one that is new.
    pub kind: Option<String>,
    /// `code`, say `balance_insufficient` or `resource_missing`.
    pub code: Option<String>,
    /// `decline_code`, of a card.
    pub decline_code: Option<String>,
    /// `param`: the field it is about.
    pub param: Option<String>,
    /// For people.
    pub message: Option<String>,
}

impl Reply {
    /// Its name in a word, for whoever counts.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Success(_) => "success",
            Self::Rejected { .. } => "rejected",
            Self::Limited { .. } => "limited",
            Self::Busy { .. } => "busy",
            Self::KeyMisuse { .. } => "key_misuse",
            Self::Unauthorized { .. } => "unauthorized",
            Self::Unknown { .. } => "unknown",
            Self::NotSent { .. } => "not_sent",
        }
    }

    /// Reads an answer, or the lack of one.
    ///
    /// | what came | reply | `Stripe-Should-Retry: true` | `Stripe-Should-Retry: false` |
    /// |---|---|---|---|
    /// | nothing: no connection, time-out, reset | `Unknown` | – | – |
    /// | a head, but no whole body | `Unknown` | the same | `Unknown`, to be looked up |
    /// | 2xx, a JSON object of Stripe's | `Success` | the same | the same |
    /// | 2xx, anything else | `Unknown` | the same | `Unknown`, to be looked up |
    /// | 429 | `Limited` | the same | `Rejected` (`Unknown` without an error of Stripe's) |
    /// | 4xx `idempotency_key_in_use` (409) | `Busy` | the same | `Unknown`, to be looked up: the other one may succeed |
    /// | 409, another code | `Busy` | the same | `Rejected` |
    /// | 4xx `idempotency_error` (400) | `KeyMisuse` | the same: no repetition makes two calls one | the same |
    /// | 401, 403 other than `account_invalid` | `Unauthorized` | the same | the same: nothing was done, an operator looks |
    /// | any other 4xx (400, 402, 403 `account_invalid`, 404 …) | `Rejected` | `Busy`: the same again, later | the same |
    /// | a replayed 4xx that would be `Limited`, `Busy` or `Unauthorized` | `Rejected`, since it is saved | `Busy` | the same |
    /// | 5xx, JSON or HTML | `Unknown` | the same | `Unknown`, to be looked up |
    /// | 4xx without an error of Stripe's, 1xx, 3xx | `Unknown` | the same | `Unknown`, to be looked up |
    ///
    /// An `Unknown` that is `Idempotent-Replayed` is to be looked up whatever the header says: the key has nothing else to give.
    pub fn of(came: Result<&Answer, &Lost>) -> Self {
        let answer = match came {
            Ok(answer) => answer,
            Err(lost) => return Self::Unknown { why: Why::Lost(lost.clone()), look_up: false, after: None },
        };
        let after = answer.retry_after;
        let unknown =
            |why| Self::Unknown { why, look_up: answer.replayed || answer.should_retry == Some(false), after };
        let json: Option<Value> = match &answer.body {
            Ok(body) => serde_json::from_slice(body).ok(),
            // The status of a 429 is enough, and it is known.
            Err(_) if answer.status == 429 => None,
            Err(lost) => return unknown(Why::Lost(lost.clone())),
        };
        match (answer.status, json) {
            (200..=299, Some(json)) if json.get("object").is_some_and(Value::is_string) => Self::Success(json),
            (200..=299, Some(_)) => unknown(Why::NotWhatWasAsked("a JSON value that is no object of Stripe's".into())),
            (200..=299, None) => unknown(Why::NotWhatWasAsked("a body that is not JSON".into())),
            (status @ 400..=499, json) => match json.as_ref().and_then(StripeError::of) {
                Some(error) => Self::refusal(status, error, answer),
                None if status == 429 && answer.should_retry != Some(false) => Self::Limited { after },
                None => unknown(Why::NotStripe),
            },
            (500..=599, _) => unknown(Why::ServerError),
            _ => unknown(Why::NotStripe),
        }
    }

    /// A 4xx with Stripe's error object.
    fn refusal(status: u16, error: StripeError, answer: &Answer) -> Self {
        let (after, replayed) = (answer.retry_after, answer.replayed);
        if error.code.as_deref() == Some("idempotency_key_in_use") {
            return match answer.should_retry {
                Some(false) => Self::Unknown { why: Why::InFlight, look_up: true, after },
                None | Some(true) => Self::Busy { after },
            };
        }
        if error.kind.as_deref() == Some("idempotency_error") {
            return Self::KeyMisuse { error };
        }
        // What a 403 says of an account that is not there, or not connected to us, is about that account and not about our key.
        let about_our_key = status == 401 || (status == 403 && error.code.as_deref() != Some("account_invalid"));
        match (status, answer.should_retry) {
            _ if about_our_key && !replayed => Self::Unauthorized { error },
            (429, None | Some(true)) if !replayed => Self::Limited { after },
            (_, Some(true)) => Self::Busy { after },
            (409, None) if !replayed => Self::Busy { after },
            (_, None | Some(false)) => Self::Rejected { error, replayed },
        }
    }

    /// How long Stripe asks us to wait, where it does.
    pub fn after(&self) -> Option<Duration> {
        match self {
            Self::Limited { after } | Self::Busy { after } | Self::Unknown { after, .. } => *after,
            Self::Success(_)
            | Self::Rejected { .. }
            | Self::KeyMisuse { .. }
            | Self::Unauthorized { .. }
            | Self::NotSent { .. } => None,
        }
    }
}

impl StripeError {
    /// Whether the account that the request names in `param` is not there for us: it was deleted, closed or rejected, or our access to it was
    /// taken away. Stripe says so in several ways, and as 400, 403 or 404 (Stripe: error codes; Connect, "No such destination").
    pub fn is_account_gone(&self, param: &str) -> bool {
        match self.code.as_deref() {
            Some("account_invalid" | "account_closed") => true,
            Some("resource_missing") => self.param.as_deref() == Some(param),
            Some(_) | None => false,
        }
    }

    /// Reads `{"error": {…}}`; a field of another type than it should be counts as absent.
    fn of(json: &Value) -> Option<Self> {
        let error = json.get("error")?.as_object()?;
        let text = |name: &str| error.get(name).and_then(Value::as_str).map(String::from);
        Some(Self {
            kind: text("type"),
            code: text("code"),
            decline_code: text("decline_code"),
            param: text("param"),
            message: text("message"),
        })
    }
}

impl Reply {
    /// It, as an operator reads it in a list: its `Display` without the words of the libraries below.
    pub fn said(&self) -> String {
        match self {
            Self::Unknown { why: Why::Lost(lost), .. } => format!("unknown: {}", lost.said()),
            other => other.to_string(),
        }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Success(_) => f.write_str("done"),
            Self::Rejected { error, replayed: false } => write!(f, "rejected: {error}"),
            Self::Rejected { error, replayed: true } => write!(f, "rejected (saved): {error}"),
            Self::Limited { .. } => f.write_str("limited: too many requests, or a lock on the object"),
            Self::Busy { .. } => f.write_str("busy: the same request is to be sent again later"),
            Self::KeyMisuse { error } => write!(f, "key used before with other parameters: {error}"),
            Self::Unauthorized { error } => write!(f, "not authorized: {error}"),
            Self::Unknown { why, .. } => write!(f, "unknown: {why}"),
            Self::NotSent { why } => write!(f, "not sent: {why}"),
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost(lost) => lost.fmt(f),
            Self::ServerError => f.write_str("a server error"),
            Self::NotStripe => f.write_str("not an answer of Stripe's API"),
            Self::NotWhatWasAsked(what) => write!(f, "not what was asked for: {what}"),
            Self::InFlight => f.write_str("the key is in use by a request that has not ended"),
            Self::TooManyPages => f.write_str("a list of too many pages"),
        }
    }
}

impl fmt::Display for StripeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.code.as_deref().or(self.kind.as_deref()).unwrap_or("an error without a code");
        f.write_str(name)?;
        for part in [&self.decline_code, &self.param].into_iter().flatten() {
            write!(f, " ({part})")?;
        }
        self.message.iter().try_for_each(|message| write!(f, ": {message}"))
    }
}
