//! HMAC-SHA256 as both signature schemes use it: several secrets, several signatures, compared in constant time.

use ring::hmac::{self, Context, Key};

/// Whether any of the signatures was made with any of the keys over the parts, put together.
///
/// The body is hashed once a key, however many signatures a stranger sends.
pub(super) fn any_matches(keys: &[Key], parts: &[&[u8]], signatures: &[Vec<u8>]) -> bool {
    keys.iter().any(|key| {
        let mut context = Context::with_key(key);
        parts.iter().for_each(|part| context.update(part));
        let expected = context.sign();
        // ring compares in constant time only what it signs itself: two texts are equal when their signatures are.
        signatures.iter().any(|given| hmac::verify(key, expected.as_ref(), hmac::sign(key, given).as_ref()).is_ok())
    })
}

/// A key for the scheme.
pub(super) fn key(secret: &[u8]) -> Key {
    Key::new(hmac::HMAC_SHA256, secret)
}

/// How far the sender's clock and ours may be apart, in seconds, either way (Stripe: webhooks, replay attacks; Standard Webhooks).
pub(super) const TOLERANCE: u64 = 300;

/// Unix seconds as both schemes write them: digits alone. `None` also when they cannot be a time.
pub(super) fn seconds(text: &str) -> Option<i64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// Why a signature is not accepted. Says nothing that helps to forge one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The header is not there, or is there more than once.
    #[error("the {0} header is missing or repeated; send it once, as the sender signed it")]
    Missing(&'static str),
    /// The header cannot be read.
    #[error("the {0} header is malformed; send it as the sender signed it")]
    Malformed(&'static str),
    /// No signature fits the body under any secret.
    #[error(
        "no signature fits: compare the endpoint's signing secret with {0}, and check that nothing rewrites the body on its way"
    )]
    Mismatch(&'static str),
    /// It fits, but was made too long ago, or in the future.
    #[error(
        "the signature is {age} s old, and {TOLERANCE} s either way are accepted: check this machine's clock, and send it anew"
    )]
    Stale {
        /// Seconds since it was made; negative when that lies ahead.
        age: i64,
    },
}

/// Refuses what was made too long ago or ahead of time.
pub(super) fn check_age(made: i64, now: i64) -> Result<(), SignatureError> {
    let age = now.saturating_sub(made);
    if age.unsigned_abs() > TOLERANCE { Err(SignatureError::Stale { age }) } else { Ok(()) }
}
