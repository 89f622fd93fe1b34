//! Stripe's webhook signature: `Stripe-Signature: t=…,v1=…[,v1=…][,v0=…]`, HMAC-SHA256 over `"{t}." + raw body`
//! (Stripe: webhooks, verify signatures manually).

use ring::hmac::Key;

pub use super::hmac::SignatureError;
use super::hmac::{any_matches, check_age, key, seconds};

/// The header it comes in.
pub const HEADER: &str = "stripe-signature";

/// What every signing secret of Stripe begins with.
const PREFIX: &str = "whsec_";

/// The signing secrets of this deployment's endpoints; one, or several while they roll. Its `Debug` shows none.
#[derive(Debug, Clone)]
pub struct Secrets(Vec<Key>);

/// Why a configured secret cannot be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// Nothing between two commas.
    #[error("holds an empty secret")]
    Empty,
    /// Not `whsec_` and something behind it, or with white space inside.
    #[error("holds something that is not whsec_ and letters: a secret key or an endpoint's id is not a signing secret")]
    Malformed,
}

impl Secrets {
    /// Reads secrets with commas between them; white space around each is trimmed.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let one = |secret: &str| {
            let secret = secret.trim();
            match secret.strip_prefix(PREFIX) {
                _ if secret.is_empty() => Err(SecretError::Empty),
                Some(rest) if !rest.is_empty() && secret.bytes().all(|b| b.is_ascii_graphic()) => {
                    Ok(key(secret.as_bytes()))
                }
                _ => Err(SecretError::Malformed),
            }
        };
        text.split(',').map(one).collect::<Result<_, _>>().map(Self)
    }

    /// Whether the body was signed, not more than 300 s away from `now` (Unix seconds).
    pub fn verify(&self, header: &str, body: &[u8], now: i64) -> Result<(), SignatureError> {
        let (mut made, mut signatures) = (None, Vec::new());
        for piece in header.split(',') {
            match piece.trim().split_once('=') {
                // Two times: whichever was signed, the other would be the one we judge by.
                Some(("t", time)) if made.replace(time).is_some() => return Err(SignatureError::Malformed(HEADER)),
                // v0 is a test scheme and proves nothing; what is unknown or malformed proves nothing either.
                Some(("v1", hex)) => signatures.extend(decode_hex(hex)),
                _ => {}
            }
        }
        let made = made.ok_or(SignatureError::Malformed(HEADER))?;
        let time = seconds(made).ok_or(SignatureError::Malformed(HEADER))?;
        if !any_matches(&self.0, &[made.as_bytes(), b".", body], &signatures) {
            return Err(SignatureError::Mismatch("STRIPE_WEBHOOK_SECRET"));
        }
        check_age(time, now)
    }
}

/// The 32 bytes of 64 hexadecimal digits.
fn decode_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let nibble = |digit: u8| char::from(digit).to_digit(16).and_then(|n| u8::try_from(n).ok());
    let bytes = digits.chunks_exact(2).map(|pair| Some(nibble(pair[0])? << 4 | nibble(pair[1])?));
    (digits.len() == 64).then(|| bytes.collect()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ring::hmac;

    use super::*;

    const NOW: i64 = 1_790_000_000;

    fn sign(secret: &str, time: &str, body: &[u8]) -> String {
        let tag = hmac::sign(&key(secret.as_bytes()), &[time.as_bytes(), b".", body].concat());
        tag.as_ref().iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
    }

    fn secrets() -> Secrets {
        Secrets::parse(" whsec_one , whsec_two\n").unwrap()
    }

    #[test]
    fn a_signature_made_elsewhere_verifies() {
        // printf '1492774577.{"id":"evt_1"}' | openssl dgst -sha256 -hmac whsec_test_secret
        let signature = "799c4ba7bb339f3c8601adfd112f0e477c930a268be1243d341abb8286501c2f";
        let header =
            format!("t=1492774577,v1={signature},v0=6ffbb59b2300aae63f272406069a9788598b792a944a07aba816edb039989a39");
        let secrets = Secrets::parse("whsec_test_secret").unwrap();
        assert_eq!(secrets.verify(&header, br#"{"id":"evt_1"}"#, 1_492_774_577), Ok(()));
    }

    #[test]
    fn any_v1_of_any_secret_will_do_and_no_v0() {
        let body = b"{}";
        let good = sign("whsec_two", &NOW.to_string(), body);
        let verify = |header: String| secrets().verify(&header, body, NOW);
        assert_eq!(verify(format!("t={NOW},v1={},v1=junk,v1={good},x,=,v1", "0".repeat(64))), Ok(()));
        let mismatch = Err(SignatureError::Mismatch("STRIPE_WEBHOOK_SECRET"));
        assert_eq!(verify(format!("t={NOW},v0={good}")), mismatch);
        assert_eq!(verify(format!("t={NOW},v1={}", sign("whsec_three", &NOW.to_string(), body))), mismatch);
        assert_eq!(verify(format!("t={NOW},v1={}", &good[..62])), mismatch);
        assert_eq!(verify(format!("t={NOW}")), mismatch);
        let malformed = Err(SignatureError::Malformed(HEADER));
        for header in [
            format!("v1={good}"),
            format!("t={NOW},t={NOW},v1={good}"),
            format!("t=-1,v1={good}"),
            format!("t=,v1={good}"),
        ] {
            assert_eq!(verify(header), malformed);
        }
    }

    #[test]
    fn three_hundred_seconds_either_way_and_not_one_more() {
        for (age, verdict) in [
            (300, Ok(())),
            (-300, Ok(())),
            (301, Err(SignatureError::Stale { age: 301 })),
            (-301, Err(SignatureError::Stale { age: -301 })),
        ] {
            let time = (NOW - age).to_string();
            let header = format!("t={time},v1={}", sign("whsec_one", &time, b"{}"));
            assert_eq!(secrets().verify(&header, b"{}", NOW), verdict, "{age}");
        }
    }

    #[test]
    fn what_cannot_be_a_secret_is_refused() {
        for (bad, why) in [
            ("", SecretError::Empty),
            ("whsec_a,", SecretError::Empty),
            ("whsec_", SecretError::Malformed),
            ("whsec_a b", SecretError::Malformed),
            ("sk_test_abc", SecretError::Malformed),
            ("\"whsec_a\"", SecretError::Malformed),
        ] {
            assert_eq!(Secrets::parse(bad).unwrap_err(), why, "{bad:?}");
        }
        assert!(!format!("{:?}", secrets()).contains("one"));
    }

    proptest! {
        #[test]
        fn a_signed_body_verifies_and_one_flipped_byte_does_not(
            body in prop::collection::vec(any::<u8>(), 1..200), at in any::<prop::sample::Index>(), flip in 1..=255u8,
        ) {
            let (time, secrets) = (NOW.to_string(), secrets());
            let signature = sign("whsec_one", &time, &body);
            let header = format!("t={time},v1={signature}");
            let accepts = |header: &str, body: &[u8]| secrets.verify(header, body, NOW).is_ok();
            prop_assert!(accepts(&header, &body));

            let mut other = body.clone();
            other[at.index(body.len())] ^= flip;
            prop_assert!(!accepts(&header, &other));

            // Any other digit in the time (which stays near enough) or in the signature.
            let other_time = format!("t={},v1={signature}", NOW + i64::from(flip));
            prop_assert!(!accepts(&other_time, &body));
            let mut hex = signature.into_bytes();
            let place = at.index(hex.len());
            hex[place] = if hex[place] == b'0' { b'1' } else { b'0' };
            let changed = format!("t={time},v1={}", String::from_utf8(hex).unwrap());
            prop_assert!(!accepts(&changed, &body));
        }

        #[test]
        fn any_header_gets_an_answer(header in "(t=|v1=|v0=|,|=|[0-9a-f]|.){0,80}") {
            prop_assert_ne!(secrets().verify(&header, b"{}", NOW), Ok(()));
        }
    }
}
