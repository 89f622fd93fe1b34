//! Mail addresses: read strictly, and shown only in part.

use lettre::{Address, message::Mailbox};

/// RFC 5321, 4.5.3.1.3, without the angle brackets.
const LONGEST: usize = 254;

/// Why an address is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not of the shape `name@host.example`.
    #[error("is no mail address")]
    Malformed,
    /// It has letters before the `@` that not every mail server takes.
    #[error("has a character before its @ that this version cannot send to")]
    NotAscii,
}

/// Reads an address. A domain of other letters than ours is written as the mail servers want it (`xn--…`).
pub(crate) fn read(text: &str) -> Result<Address, AddressError> {
    let (user, domain) = text.trim().rsplit_once('@').ok_or(AddressError::Malformed)?;
    if !user.is_ascii() {
        return Err(AddressError::NotAscii);
    }
    // White space, line ends and brackets would end the header or the command that the address stands in.
    if user.is_empty() || user.bytes().any(|b| !b.is_ascii_graphic() || b"<>\",;".contains(&b)) {
        return Err(AddressError::Malformed);
    }
    let url::Host::Domain(domain) = url::Host::parse(domain).map_err(|_| AddressError::Malformed)? else {
        return Err(AddressError::Malformed);
    };
    if user.len() + 1 + domain.len() > LONGEST {
        return Err(AddressError::Malformed);
    }
    Address::new(user, domain).map_err(|_| AddressError::Malformed)
}

/// Says what is wrong with an address that somebody typed.
pub fn check(text: &str) -> Result<(), AddressError> {
    read(text).map(drop)
}

/// Reads `Acme <billing@acme.example>`, or an address alone.
pub(crate) fn read_mailbox(text: &str) -> Result<Mailbox, AddressError> {
    let text = text.trim();
    let Some((name, address)) = text.strip_suffix('>').and_then(|text| text.rsplit_once('<')) else {
        return read(text).map(|address| Mailbox::new(None, address));
    };
    let name = name.trim().trim_matches('"').trim();
    if name.chars().any(char::is_control) {
        return Err(AddressError::Malformed);
    }
    Ok(Mailbox::new((!name.is_empty()).then(|| name.to_owned()), read(address)?))
}

/// An address as logs and operators see it: `a…@example.com`.
pub fn redacted(address: &str) -> String {
    match address.trim().rsplit_once('@') {
        Some((user, domain)) => format!("{}…@{domain}", user.chars().next().unwrap_or_default()),
        None => "…".into(),
    }
}

/// What a server said, without the address it may have repeated.
pub fn without(said: &str, address: &str) -> String {
    let (lower, needle) = (said.to_ascii_lowercase(), address.to_ascii_lowercase());
    if needle.is_empty() {
        return said.to_owned();
    }
    let (mut out, mut from) = (String::with_capacity(said.len()), 0);
    while let Some(at) = lower.get(from..).and_then(|rest| rest.find(&needle)) {
        out.push_str(&said[from..from + at]);
        out.push_str(&redacted(address));
        from += at + needle.len();
    }
    out.push_str(&said[from..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_ends_a_header_is_an_address() {
        for bad in [
            "",
            "alice",
            "@example.com",
            "alice@",
            "alice@exa mple.com",
            "alice@example.com\r\nBcc: x@example.com",
            "a\nb@example.com",
            "alice@example.com>",
            "<alice@example.com",
            "alice,bob@example.com",
            "alice@[127.0.0.1",
        ] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
        assert_eq!(read("ålice@example.com"), Err(AddressError::NotAscii));
        assert_eq!(read(" alice+x@Example.com ").unwrap().to_string(), "alice+x@example.com");
        assert_eq!(read("alice@bücher.example").unwrap().to_string(), "alice@xn--bcher-kva.example");
        assert!(read(&format!("{}@example.com", "a".repeat(300))).is_err());
    }

    #[test]
    fn a_mailbox_may_have_a_name() {
        let acme = read_mailbox("Acme, Inc. <billing@acme.example>").unwrap();
        assert_eq!(acme.name.as_deref(), Some("Acme, Inc."));
        assert_eq!(read_mailbox("billing@acme.example").unwrap().name, None);
        assert!(read_mailbox("Acme\r\nBcc: x@y.example <billing@acme.example>").is_err());
    }

    #[test]
    fn what_is_shown_of_an_address_is_not_enough_to_write_to() {
        assert_eq!(redacted("alice@example.com"), "a…@example.com");
        assert_eq!(
            without("5.1.1 <Alice@Example.com>: unknown, alice@example.com", "alice@example.com"),
            "5.1.1 <a…@example.com>: unknown, a…@example.com"
        );
        assert_eq!(without("no", ""), "no");
    }
}
