//! A letter as it leaves: its bytes, and from whom to whom.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use lettre::{
    Message,
    message::{
        Mailbox, MultiPart, SinglePart,
        header::{HeaderName, HeaderValue},
    },
};
use ring::digest::{SHA256, digest};

use crate::{
    address::{self, AddressError, redacted},
    templates::Rendered,
};

/// A letter that is sealed: every attempt sends these bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed {
    /// What the copies of a letter have in common: `<…@example.com>`.
    pub message_id: String,
    /// Where refusals go.
    pub from: String,
    /// Whose it is.
    pub to: String,
    /// All of it, as it goes over the wire: ASCII, lines that end in CR LF.
    pub bytes: Vec<u8>,
    /// What it is about, in a line; not kept with the bytes, which say it too.
    pub subject: Option<String>,
}

/// Neither bodies nor addresses belong into a log.
impl std::fmt::Debug for Sealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (id, to, length) = (&self.message_id, redacted(&self.to), self.bytes.len());
        f.debug_struct("Sealed")
            .field("message_id", id)
            .field("to", &to)
            .field("length", &length)
            .finish_non_exhaustive()
    }
}

/// The Message-ID of a letter: the same for the same key, whatever it says (RFC 5322, 3.6.4).
pub(crate) fn message_id(key: &str, from: &Mailbox) -> String {
    format!("<{}@{}>", hex(key.as_bytes()), from.email.domain())
}

fn hex(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().take(20).fold(String::new(), |mut out, byte| {
        // Writing into a text does not fail.
        write!(out, "{byte:02x}").unwrap_or_default();
        out
    })
}

/// Seals a letter. The same letter gives the same bytes.
pub(crate) fn seal(
    key: &str,
    from: &Mailbox,
    to: &str,
    at: DateTime<Utc>,
    rendered: &Rendered,
) -> Result<Sealed, AddressError> {
    let to = address::read(to)?;
    let message_id = message_id(key, from);
    let builder = Message::builder()
        .from(from.clone())
        .to(Mailbox::new(None, to.clone()))
        .subject(rendered.subject.clone())
        .date(at.into())
        .message_id(Some(message_id.clone()))
        // RFC 3834: an answering machine does not answer it.
        .raw_header(HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".to_owned()));
    let text = rendered.text.clone();
    let message = match &rendered.html {
        None => builder.singlepart(SinglePart::plain(text)),
        Some(html) => {
            // Made from what it separates, so that nothing in there can contain it.
            let boundary = hex(format!("{key}\0{text}\0{html}").as_bytes());
            let parts = MultiPart::alternative().boundary(boundary);
            builder.multipart(parts.singlepart(SinglePart::plain(text)).singlepart(SinglePart::html(html.clone())))
        }
    };
    // It has a sender and a recipient, which is all that can be missing.
    let bytes = message.map_err(|_| AddressError::Malformed)?.formatted();
    Ok(Sealed {
        message_id,
        from: from.email.to_string(),
        to: to.to_string(),
        bytes,
        subject: Some(rendered.subject.clone()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(subject: &str, text: &str) -> Rendered {
        Rendered { subject: subject.into(), text: text.into(), html: Some("<p>ü</p>".into()) }
    }

    fn from() -> Mailbox {
        address::read_mailbox("Acme Ünlimited <billing@acme.example>").unwrap()
    }

    #[test]
    fn the_same_letter_is_the_same_bytes() {
        let at = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let one = seal("k", &from(), "alice@example.com", at, &rendered("Hällo", "x\n")).unwrap();
        let two = seal("k", &from(), "alice@example.com", at, &rendered("Hällo", "x\n")).unwrap();
        assert_eq!(one, two);
        assert!(one.bytes.is_ascii());
        let text = String::from_utf8(one.bytes).unwrap();
        assert!(text.contains(&format!("Message-ID: {}\r\n", one.message_id)), "{text}");
        assert!(text.contains("Date: Fri, 15 Jan 2027 08:00:00 +0000\r\n"), "{text}");
        assert!(text.contains("To: alice@example.com\r\n"), "{text}");
        let other = seal("l", &from(), "alice@example.com", at, &rendered("Hällo", "x\n")).unwrap();
        assert_ne!(other.message_id, one.message_id);
        assert!(other.message_id.ends_with("@acme.example>"));
    }

    #[test]
    fn nothing_of_a_letter_gets_into_its_head() {
        let at = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let hostile = rendered("a\r\nBcc: x@y.example\r\n\r\nbody", "--boundary\r\n.\r\nMAIL FROM:<x@y.example>\r\n");
        let bytes = seal("k", &from(), "alice@example.com", at, &hostile).unwrap().bytes;
        let text = String::from_utf8(bytes).unwrap();
        let (head, _) = text.split_once("\r\n\r\n").unwrap();
        assert!(!head.lines().any(|line| line.to_ascii_lowercase().starts_with("bcc")), "{head}");
        assert!(head.contains("Content-Type: multipart/alternative"), "{head}");
        assert!(seal("k", &from(), "a@b.example\r\nBcc: x@y.example", at, &hostile).is_err());
    }
}
