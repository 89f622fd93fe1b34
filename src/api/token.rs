//! The bearer token (RFC 6750), compared in constant time.

use hyper::{HeaderMap, header::AUTHORIZATION};
use ring::hmac;

/// The token that every request must carry. It is kept as what cannot be turned back into it.
#[derive(Clone)]
pub struct Token {
    key: hmac::Key,
    tag: hmac::Tag,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Token {
    /// The token as it was configured.
    pub fn new(text: &str) -> Self {
        // Two texts are equal when their tags are; ring compares those in constant time.
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"bursar api token");
        let tag = hmac::sign(&key, text.as_bytes());
        Self { key, tag }
    }

    /// Whether a request carries it, once.
    pub(super) fn is_carried_by(&self, headers: &HeaderMap) -> bool {
        carried(headers).is_some_and(|given| hmac::verify(&self.key, given.as_bytes(), self.tag.as_ref()).is_ok())
    }
}

/// The token that a request carries, once.
pub(super) fn carried(headers: &HeaderMap) -> Option<&str> {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (all.next(), all.next()) else { return None };
    let (scheme, given) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| given.trim())
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn only_the_token_itself_is_let_in() {
        let token = Token::new("s3cret");
        let carried = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, HeaderValue::from_static(value));
            }
            token.is_carried_by(&headers)
        };
        assert!(carried(&["Bearer s3cret"]) && carried(&["bearer s3cret"]));
        for bad in
            [&[][..], &["Bearer"], &["Bearer "], &["Bearer s3cre"], &["Bearer s3crett"], &["Basic s3cret"], &["s3cret"]]
        {
            assert!(!carried(bad), "{bad:?}");
        }
        assert!(!carried(&["Bearer s3cret", "Bearer s3cret"]), "twice");
        assert_eq!(format!("{token:?}"), "Token(…)");
    }
}
