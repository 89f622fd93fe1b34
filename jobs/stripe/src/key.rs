//! The idempotency key of a call, from the identity of what it does.

use std::fmt::Write;

use ring::digest;

/// Stripe: idempotent requests. A key has at most 255 characters; ours are ASCII, so these are bytes.
pub const KEY_LIMIT: usize = 255;

/// What `:` and the largest generation take of a key.
const GENERATION: usize = 1 + 10;
/// Hexadecimal SHA-256, and the two characters before it.
const DIGEST: usize = 64 + 2;

/// The key of the `generation`-th decision to make one call: `identity:generation`, so `payout:{job_id}` becomes
/// `payout:{job_id}:{generation}`.
///
/// Two identities never share a key. Bytes that a header cannot carry are percent-encoded (and `%` itself, so that this can be
/// undone); an identity that would not fit keeps its head, followed by `%~` and the SHA-256 of the whole, which no shorter one can spell.
pub fn idempotency_key(identity: &str, generation: u32) -> String {
    let mut key = percent_encode(identity, |byte| byte.is_ascii_graphic() && byte != b'%');
    if key.len() > KEY_LIMIT - GENERATION {
        key.truncate(KEY_LIMIT - GENERATION - DIGEST);
        key.push_str("%~");
        key.push_str(&sha256(&[identity.as_bytes()]));
    }
    format!("{key}:{generation}")
}

/// An id as one segment of a path, whatever someone wrote into the metadata or event it was read from.
pub(crate) fn segment(id: &str) -> String {
    percent_encode(id, |byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

/// Hexadecimal SHA-256 over the parts, each with its length, so that no two lists of parts look alike.
pub(crate) fn sha256(parts: &[&[u8]]) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut hex = String::with_capacity(64);
    for byte in context.finish().as_ref() {
        write!(hex, "{byte:02x}").expect("a string takes what is written to it");
    }
    hex
}

fn percent_encode(text: &str, plain: impl Fn(u8) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if plain(byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("a string takes what is written to it");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_ordinary_identity_is_readable() {
        assert_eq!(idempotency_key("payout:job_42", 0), "payout:job_42:0");
        assert_eq!(idempotency_key("payout:job 42%é", 3), "payout:job%2042%25%C3%A9:3");
    }

    #[test]
    fn a_long_identity_keeps_its_head_and_stays_itself() {
        let (one, two) = (format!("payout:{}1", "x".repeat(400)), format!("payout:{}2", "x".repeat(400)));
        assert!(idempotency_key(&one, 0).starts_with("payout:xxx"));
        assert_ne!(idempotency_key(&one, 0), idempotency_key(&two, 0));
        assert_eq!(idempotency_key(&one, u32::MAX).len(), KEY_LIMIT);
    }

    #[test]
    fn an_id_cannot_leave_its_segment() {
        assert_eq!(segment("cus_1a-B"), "cus_1a-B");
        assert_eq!(segment("../transfers?x=1#"), "%2E%2E%2Ftransfers%3Fx%3D1%23");
    }

    proptest! {
        #[test]
        fn a_key_always_fits_a_header(identity in "\\PC{0,400}", generation: u32) {
            let key = idempotency_key(&identity, generation);
            prop_assert!(key.len() <= KEY_LIMIT && key.bytes().all(|b| b.is_ascii_graphic()), "{key}");
        }

        #[test]
        fn two_identities_have_two_keys(a in "[%~:0-9é ]{0,6}", b in "[%~:0-9é ]{0,6}", g in 0u32..12, h in 0u32..12) {
            prop_assert_eq!(idempotency_key(&a, g) == idempotency_key(&b, h), a == b && g == h);
        }
    }
}
