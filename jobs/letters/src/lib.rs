//! Letters: what they say, and how they leave.
//!
//! A letter is a template with its fields filled ([`Templates`]), sealed into bytes that are the same in every attempt ([`Sealed`]),
//! and given to a mail server or put into a maildir ([`Postbox::send`]). What comes back is [`Came`], and never an error: an answer that
//! was lost is as much a fact as a refusal.

mod address;
mod catalog;
mod maildir;
mod postbox;
mod sealed;
mod smtp;
mod template;
mod templates;

pub use address::{AddressError, check as check_address, redacted, without};
pub use catalog::{LETTERS, Letter, letter};
pub use maildir::Maildir;
pub use postbox::{Came, Config, Postbox, PostboxError, Way, WriteError};
pub use sealed::Sealed;
pub use smtp::{Smtp, SmtpError};
pub use template::{FillError, TemplateError};
pub use templates::{Rendered, Templates};
