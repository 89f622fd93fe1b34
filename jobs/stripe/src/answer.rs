//! What arrived, before anyone says what it means.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use hyper::{
    HeaderMap,
    body::Bytes,
    header::{DATE, RETRY_AFTER},
};

/// Nobody waits longer than this because a header said so.
const LONGEST_WAIT: Duration = Duration::from_hours(24);

/// Why no answer, or no whole answer, arrived. The request may have been executed in every case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lost {
    /// No connection could be made.
    NoConnection(String),
    /// The time allowed for connecting, asking and reading ran out.
    TimedOut,
    /// The connection broke, or what came through it was not HTTP.
    Broken(String),
    /// The body is longer than we are ready to read.
    TooLong,
}

impl Lost {
    /// What happened, without the words of the libraries below: what an operator reads in a list.
    pub const fn said(&self) -> &'static str {
        match self {
            Self::NoConnection(_) => "no connection",
            Self::TimedOut => "no whole answer in time",
            Self::Broken(_) => "the connection broke",
            Self::TooLong => "the answer is too long to be read",
        }
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoConnection(why) => write!(f, "no connection: {why}"),
            Self::TimedOut => f.write_str("no whole answer in time"),
            Self::Broken(why) => write!(f, "the connection broke: {why}"),
            Self::TooLong => f.write_str("the answer is too long to be read"),
        }
    }
}

/// An answer: its status, the headers that matter, and its body as far as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// `Request-Id`: what Stripe's support asks for.
    pub request_id: Option<String>,
    /// `Idempotent-Replayed: true`: the answer saved under this key, given again.
    pub replayed: bool,
    /// `Stripe-Should-Retry`, where present.
    pub should_retry: Option<bool>,
    /// `Retry-After`, where present and readable.
    pub retry_after: Option<Duration>,
    /// The body.
    pub body: Result<Bytes, Lost>,
}

impl Answer {
    /// An answer from its parts. A header that cannot be read counts as absent.
    pub fn of(status: u16, headers: &HeaderMap, body: Result<Bytes, Lost>) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
        let flag = |name: &str| match text(name)? {
            yes if yes.eq_ignore_ascii_case("true") => Some(true),
            no if no.eq_ignore_ascii_case("false") => Some(false),
            _ => None,
        };
        Self {
            status,
            request_id: text("request-id").map(String::from),
            replayed: flag("idempotent-replayed") == Some(true),
            should_retry: flag("stripe-should-retry"),
            retry_after: text(RETRY_AFTER.as_str()).and_then(|after| wait(after, text(DATE.as_str()))),
            body,
        }
    }
}

impl Answer {
    /// Whether Stripe says that we send too much. An object that is locked is a 429 too, and slows nobody else (Stripe: rate limits).
    pub(crate) fn is_of_the_rate(&self) -> bool {
        let locked = |body: &Bytes| {
            let json: Option<serde_json::Value> = serde_json::from_slice(body).ok();
            json.is_some_and(|json| json["error"]["code"] == "lock_timeout")
        };
        self.status == 429 && !self.replayed && !self.body.as_ref().is_ok_and(locked)
    }
}

/// `Retry-After` is a number of seconds or a date; a date is read against the answer's own `Date`, by the clock that wrote both.
fn wait(after: &str, date: Option<&str>) -> Option<Duration> {
    let at = |text: &str| -> Option<SystemTime> { httpdate::parse_http_date(text).ok() };
    let wait = match after.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => at(after)?.duration_since(at(date?)?).unwrap_or_default(),
    };
    Some(wait.min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let date = Some("Sat, 21 Nov 2026 02:00:00 GMT");
        assert_eq!(wait("7", None), Some(Duration::from_secs(7)));
        assert_eq!(wait("Sat, 21 Nov 2026 02:01:30 GMT", date), Some(Duration::from_secs(90)));
        assert_eq!(wait("Sat, 21 Nov 2026 01:00:00 GMT", date), Some(Duration::ZERO));
        assert_eq!(wait("Sat, 21 Nov 2026 02:01:30 GMT", None), None);
        assert_eq!(wait("soon", date), None);
        assert_eq!(wait("-1", date), None);
        assert_eq!(wait("99999999", None), Some(LONGEST_WAIT));
    }
}
