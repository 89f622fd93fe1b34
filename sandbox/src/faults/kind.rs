//! What can go wrong, and what it does to an answer.

use serde::{Deserialize, Serialize};

use super::Fault;
use crate::{failure::Failure, message::Response};

/// Milliseconds of a slow answer when none are given.
const SLOW_MS: u64 = 2_000;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// The effect is applied, the answer saved, the connection closed without it.
    LoseAnswer,
    /// The effect is applied at once; the answer comes late, and the key is in flight until then.
    Slow,
    /// The connection is reset; nothing was applied.
    ResetBefore,
    /// The effect is applied, the answer saved, the connection reset.
    ResetAfter,
    /// A 500 that is saved under the key; with `applied`, the effect is there all the same.
    #[serde(rename = "saved_500")]
    Saved500,
    /// The same with `Stripe-Should-Retry: false`.
    #[serde(rename = "should_retry_false_500")]
    ShouldRetryFalse500,
    /// The same with `Stripe-Should-Retry: true`.
    #[serde(rename = "should_retry_true_500")]
    ShouldRetryTrue500,
    /// A 500 before execution.
    #[serde(rename = "unsaved_500")]
    Unsaved500,
    /// The key is said to be in use.
    #[serde(rename = "conflict_409")]
    Conflict409,
    /// Too many requests.
    #[serde(rename = "limit_429")]
    Limit429,
    /// An object is locked: a 429 too.
    LockTimeout,
    /// An executed, saved 400: not enough money.
    BalanceInsufficient,
    /// An executed, saved 400: the destination may not receive.
    CapabilityInactive,
    /// A 400 before execution, which is not saved: there is no such destination.
    DestinationGone,
    /// A gateway's page instead of an answer. Applied unless told otherwise.
    #[serde(rename = "html_502")]
    Html502,
    /// A 200 whose body is no JSON. Applied unless told otherwise.
    #[serde(rename = "garbage_200")]
    Garbage200,
    /// A 200 that ends in the middle of its body. Applied unless told otherwise.
    #[serde(rename = "truncated_200")]
    Truncated200,
}

impl Fault {
    /// For those that may or may not apply the effect.
    pub fn default_applied(&self) -> Option<bool> {
        match self.kind {
            Kind::Saved500 | Kind::ShouldRetryFalse500 | Kind::ShouldRetryTrue500 => Some(false),
            Kind::Html502 | Kind::Garbage200 | Kind::Truncated200 => Some(true),
            _ => None,
        }
    }

    pub fn applies(&self) -> bool {
        self.applied.or(self.default_applied()).unwrap_or(true)
    }

    pub fn delay_ms(&self) -> u64 {
        self.ms.unwrap_or(SLOW_MS)
    }

    /// The answer that is given without executing anything, and without saving it.
    pub fn before(&self, key: Option<&str>) -> Option<Response> {
        match self.kind {
            Kind::Unsaved500 => Some(Failure::internal().into()),
            Kind::Conflict409 => Some(Failure::in_use(key.unwrap_or_default()).into()),
            Kind::Limit429 => {
                let message = "Request rate limit exceeded. Learn more about rate limits here https://stripe.com/docs/rate-limits.";
                Some(self.too_many(message, "rate_limit"))
            }
            Kind::DestinationGone => {
                Some(Failure::no_such_param("destination", "acct_gone00000000", "destination").into())
            }
            Kind::LockTimeout => {
                let message = "This object cannot be accessed right now because another API request or Stripe process is \
                               currently accessing it. If you see this error intermittently, retry the request.";
                Some(self.too_many(message, "lock_timeout"))
            }
            Kind::Html502 | Kind::Garbage200 | Kind::Truncated200 if !self.applies() => {
                Some(self.disguise(Response::json(200, &serde_json::json!({}))))
            }
            _ => None,
        }
    }

    fn too_many(&self, message: &str, code: &'static str) -> Response {
        let mut response = Response::from(Failure::new(429, "invalid_request_error", message).code(code));
        response.headers.extend(self.retry_after.map(|seconds| ("Retry-After", seconds.to_string())));
        response
    }

    /// The refusal that execution meets as its first step; saved under the key.
    pub fn at_execution(&self) -> Option<Failure> {
        match self.kind {
            Kind::Saved500 | Kind::ShouldRetryFalse500 | Kind::ShouldRetryTrue500 if !self.applies() => {
                Some(Failure::internal())
            }
            Kind::BalanceInsufficient => Some(Failure::insufficient()),
            Kind::CapabilityInactive => Some(Failure::incapable("the destination")),
            _ => None,
        }
    }

    /// The refusal that takes the place of a good answer, after the effect; saved under the key.
    pub fn after_execution(&self) -> Option<Failure> {
        self.default_applied().filter(|default| !default && self.applies()).map(|_| Failure::internal())
    }

    /// Whether it waits for a request that is executed, and lets replays and refusals pass.
    pub fn is_of_execution(&self) -> bool {
        self.at_execution().is_some() || self.after_execution().is_some()
    }

    /// What the caller sees of a true answer.
    pub fn disguise(&self, mut answer: Response) -> Response {
        match self.kind {
            Kind::Html502 => {
                answer.status = 502;
                answer.content_type = "text/html";
                // A gateway before Stripe knows nothing of its headers.
                answer.headers.clear();
                "<html>\n<head><title>502 Bad Gateway</title></head>\n<body>bad gateway</body>\n</html>\n"
                    .clone_into(&mut answer.body);
            }
            Kind::Garbage200 => {
                answer.status = 200;
                "{\"id\": \u{fffd}<!-- not what you asked for".clone_into(&mut answer.body);
            }
            Kind::Truncated200 => answer.status = 200,
            _ => {}
        }
        answer
    }

    /// The header that overrules a caller's own rules.
    pub fn should_retry_header(&self) -> Option<bool> {
        match self.kind {
            Kind::ShouldRetryFalse500 => Some(false),
            Kind::ShouldRetryTrue500 => Some(true),
            _ => self.should_retry,
        }
    }
}
