//! The Standard Webhooks scheme, by which the application signs its own events: HMAC-SHA256 over
//! `{webhook-id}.{webhook-timestamp}.{raw body}`, in base64 as `v1,…`, several with spaces between them (standardwebhooks.com).

use base64::{Engine, engine::general_purpose::STANDARD};
use ring::hmac::Key;

pub use super::hmac::SignatureError;
use super::hmac::{any_matches, check_age, key, seconds};

/// The header with the event's id.
pub const ID: &str = "webhook-id";
/// The header with the time of signing, in Unix seconds.
pub const TIMESTAMP: &str = "webhook-timestamp";
/// The header with the signatures.
pub const SIGNATURE: &str = "webhook-signature";

/// The three headers of a signed request, as they came.
#[derive(Debug, Clone, Copy)]
pub struct Signed<'a> {
    /// [`ID`].
    pub id: &'a str,
    /// [`TIMESTAMP`].
    pub timestamp: &'a str,
    /// [`SIGNATURE`].
    pub signature: &'a str,
}

/// The secrets shared with the application; one, or several while they roll. Its `Debug` shows none.
#[derive(Debug, Clone)]
pub struct Secrets(Vec<Key>);

/// Why a configured secret cannot be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// Nothing between two commas.
    #[error("holds an empty secret")]
    Empty,
    /// Not base64 of the standard alphabet, with or without `whsec_` before it.
    #[error("holds something that is not base64")]
    Malformed,
}

impl Secrets {
    /// Reads secrets with commas between them; white space around each is trimmed.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let one = |secret: &str| {
            let secret = secret.trim();
            let secret = secret.strip_prefix("whsec_").unwrap_or(secret);
            match STANDARD.decode(secret) {
                Ok(bytes) if bytes.is_empty() => Err(SecretError::Empty),
                Ok(bytes) => Ok(key(&bytes)),
                Err(_) => Err(SecretError::Malformed),
            }
        };
        text.split(',').map(one).collect::<Result<_, _>>().map(Self)
    }

    /// Whether the body was signed under that id, not more than 300 s away from `now` (Unix seconds).
    pub fn verify(&self, signed: Signed<'_>, body: &[u8], now: i64) -> Result<(), SignatureError> {
        let time = seconds(signed.timestamp).ok_or(SignatureError::Malformed(TIMESTAMP))?;
        let v1 = |piece: &str| STANDARD.decode(piece.strip_prefix("v1,")?).ok();
        let signatures: Vec<_> = signed.signature.split(' ').filter_map(v1).collect();
        let parts = [signed.id.as_bytes(), b".", signed.timestamp.as_bytes(), b".", body];
        if !any_matches(&self.0, &parts, &signatures) {
            return Err(SignatureError::Mismatch("VERIFICATION_SECRET"));
        }
        check_age(time, now)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ring::hmac;

    use super::*;

    const NOW: i64 = 1_790_000_000;
    const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

    fn sign(id: &str, timestamp: &str, body: &[u8]) -> String {
        let secret = STANDARD.decode(SECRET.strip_prefix("whsec_").unwrap()).unwrap();
        let tag = hmac::sign(&key(&secret), &[id.as_bytes(), b".", timestamp.as_bytes(), b".", body].concat());
        format!("v1,{}", STANDARD.encode(tag))
    }

    fn secrets() -> Secrets {
        Secrets::parse(&format!("c2VjcmV0, {SECRET}\n")).unwrap()
    }

    #[test]
    fn the_published_vector_verifies() {
        // From the test suite of the reference libraries.
        let signed = Signed {
            id: "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
            timestamp: "1649367553",
            signature: "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=",
        };
        let body = br#"{"email":"test@example.com","username":"test_user"}"#;
        assert_eq!(secrets().verify(signed, body, 1_649_367_553), Ok(()));
    }

    #[test]
    fn any_v1_will_do_and_nothing_else() {
        let timestamp = NOW.to_string();
        let good = sign("e1", &timestamp, b"{}");
        let verify =
            |signature: &str| secrets().verify(Signed { id: "e1", timestamp: &timestamp, signature }, b"{}", NOW);
        assert_eq!(verify(&format!("v1,AAAA v1a,x junk {good} v1,")), Ok(()));
        for bad in [
            String::new(),
            "v1,".to_owned(),
            good[..20].to_owned(),
            good.replace("v1,", "v2,"),
            good.replace("v1,", ""),
        ] {
            assert_eq!(verify(&bad), Err(SignatureError::Mismatch("VERIFICATION_SECRET")), "{bad}");
        }
    }

    #[test]
    fn three_hundred_seconds_either_way_and_not_one_more() {
        for (age, good) in [(300, true), (-300, true), (301, false), (-301, false)] {
            let timestamp = &(NOW - age).to_string();
            let signed = Signed { id: "e1", timestamp, signature: &sign("e1", timestamp, b"{}") };
            assert_eq!(secrets().verify(signed, b"{}", NOW).is_ok(), good, "{age}");
        }
        let signed = Signed { id: "e1", timestamp: "soon", signature: &sign("e1", "soon", b"{}") };
        assert_eq!(secrets().verify(signed, b"{}", NOW), Err(SignatureError::Malformed(TIMESTAMP)));
    }

    #[test]
    fn what_cannot_be_a_secret_is_refused() {
        assert_eq!(Secrets::parse("whsec_").unwrap_err(), SecretError::Empty);
        assert_eq!(Secrets::parse("c2VjcmV0,").unwrap_err(), SecretError::Empty);
        assert_eq!(Secrets::parse("not base64!").unwrap_err(), SecretError::Malformed);
    }

    proptest! {
        #[test]
        fn a_signed_body_verifies_and_one_change_does_not(
            body in prop::collection::vec(any::<u8>(), 1..200), at in any::<prop::sample::Index>(), flip in 1..=255u8,
        ) {
            let (timestamp, secrets) = (&NOW.to_string(), secrets());
            let signature = &sign("e1", timestamp, &body);
            let signed = Signed { id: "e1", timestamp, signature };
            let accepts = |signed, body: &[u8]| secrets.verify(signed, body, NOW).is_ok();
            prop_assert!(accepts(signed, &body));

            let mut other = body.clone();
            other[at.index(body.len())] ^= flip;
            prop_assert!(!accepts(signed, &other));
            let other_id = Signed { id: "e2", ..signed };
            prop_assert!(!accepts(other_id, &body));
            let other_time = Signed { timestamp: &(NOW + i64::from(flip)).to_string(), ..signed };
            prop_assert!(!accepts(other_time, &body));

            let mut text = signature.clone().into_bytes();
            let place = at.index(text.len());
            text[place] = if text[place] == b'A' { b'B' } else { b'A' };
            let other_signature = Signed { signature: &String::from_utf8(text).unwrap(), ..signed };
            prop_assert!(!accepts(other_signature, &body));
        }

        #[test]
        fn any_headers_get_an_answer(id in ".{0,20}", timestamp in "[0-9]{0,22}|.{0,20}", signature in "(v1,|v1a,| |[A-Za-z0-9+/=]|.){0,80}") {
            let signed = Signed { id: &id, timestamp: &timestamp, signature: &signature };
            prop_assert_ne!(secrets().verify(signed, b"{}", NOW), Ok(()));
        }
    }
}
