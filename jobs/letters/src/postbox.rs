//! Where letters are written and leave.

use std::{path::Path, sync::Arc};

use chrono::{DateTime, Utc};
use lettre::message::Mailbox;

use crate::{
    address::{self, AddressError},
    catalog,
    maildir::Maildir,
    sealed::{self, Sealed},
    smtp::Smtp,
    template::{FillError, TemplateError, Values},
    templates::{Templates, is_locale},
};

/// How letters leave.
#[derive(Debug, Clone)]
pub enum Way {
    /// By a mail server.
    Smtp(Smtp),
    /// Into a folder, where nobody gets them.
    Maildir(Maildir),
}

/// What a postbox is made from.
#[derive(Debug, Clone)]
pub struct Config<'a> {
    /// Who writes: `Acme <billing@acme.example>`.
    pub from: &'a str,
    /// The team's address, where it has one.
    pub team: Option<&'a str>,
    /// The language of who is not known to prefer one.
    pub locale: &'a str,
    /// A folder of templates that stand in place of the built-in ones.
    pub templates: Option<&'a Path>,
    /// Where users see to their payments.
    pub portal_url: Option<&'a str>,
    /// How letters leave.
    pub way: Way,
}

/// Why no letters can be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PostboxError {
    /// The sender is none.
    #[error("{0}")]
    From(AddressError),
    /// The team's address is none.
    #[error("{0}")]
    Team(AddressError),
    /// The language is none.
    #[error("is no language, such as de or pt-BR")]
    Locale,
    /// The portal's address is none.
    #[error("is no http:// or https:// URL")]
    PortalUrl,
    /// A template cannot be used.
    #[error(transparent)]
    Template(#[from] TemplateError),
}

/// Why a letter cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// Its template cannot be filled.
    #[error(transparent)]
    Fill(#[from] FillError),
    /// Its address is none.
    #[error("the address {0}")]
    Address(AddressError),
}

/// What came of sending a letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Came {
    /// It was taken; the server's words, or the file.
    Taken(String),
    /// It was not taken, and would not be another time.
    Refused(String),
    /// It was not taken, this time.
    NotYet {
        /// Why.
        why: String,
        /// Whether an operator has to mend something: trying at once again is no use.
        mend: bool,
    },
    /// Whether it was taken is not known.
    Unknown(String),
}

/// Writes letters and sends them. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Postbox(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    from: Mailbox,
    team: Option<String>,
    locale: String,
    portal_url: Option<String>,
    templates: Templates,
    way: Way,
}

impl Postbox {
    /// Makes one, and checks every template.
    pub fn new(config: Config<'_>) -> Result<Self, PostboxError> {
        let from = address::read_mailbox(config.from).map_err(PostboxError::From)?;
        let team = config.team.map(address::read).transpose().map_err(PostboxError::Team)?;
        if !is_locale(config.locale) {
            return Err(PostboxError::Locale);
        }
        if config.portal_url.is_some_and(|url| !["https://", "http://"].iter().any(|scheme| url.starts_with(scheme))) {
            return Err(PostboxError::PortalUrl);
        }
        Ok(Self(Arc::new(Inner {
            from,
            team: team.map(|team| team.to_string()),
            locale: config.locale.to_owned(),
            portal_url: config.portal_url.map(str::to_owned),
            templates: Templates::load(config.templates)?,
            way: config.way,
        })))
    }

    /// The team's address.
    pub fn team(&self) -> Option<&str> {
        self.0.team.as_deref()
    }

    /// The folder that letters go to, where they go to one.
    pub fn folder(&self) -> Option<&Path> {
        match &self.0.way {
            Way::Smtp(_) => None,
            Way::Maildir(maildir) => Some(maildir.folder()),
        }
    }

    /// Where letters go, in words.
    pub fn place(&self) -> String {
        match &self.0.way {
            Way::Smtp(smtp) => smtp.to_string(),
            Way::Maildir(maildir) => maildir.folder().display().to_string(),
        }
    }

    /// Writes a letter. `key` names it for ever; `locales` are the languages of its reader, the dearest first;
    /// `at` is the moment that it is of. The same words give the same bytes.
    pub fn write(
        &self,
        key: &str,
        letter: &str,
        to: &str,
        locales: &[&str],
        mut fields: Values,
        at: DateTime<Utc>,
    ) -> Result<Sealed, WriteError> {
        let inner = &self.0;
        let mut of_ours = |field: &str, value: Option<&str>| {
            if let Some(value) = value {
                fields.entry(field.to_owned()).or_insert_with(|| value.to_owned());
            }
        };
        of_ours("from_name", Some(inner.from.name.as_deref().unwrap_or(inner.from.email.domain())));
        of_ours("portal_url", inner.portal_url.as_deref());
        // A field that no template of the letter may name cannot be asked for by one; a job may give more than is known here.
        fields.retain(|field, _| catalog::letter(letter).is_none_or(|letter| letter.knows(field)));
        let mut locales = locales.to_vec();
        locales.push(&inner.locale);
        let rendered = inner.templates.fill(letter, &locales, &fields)?;
        sealed::seal(key, &inner.from, to, at, &rendered).map_err(WriteError::Address)
    }

    /// Whether a letter could leave, without one: a mail server lets us in, or the maildir can be written to. What comes back is why not.
    pub async fn try_out(&self) -> Result<(), String> {
        let why = |came| match came {
            Came::NotYet { why, .. } | Came::Refused(why) | Came::Unknown(why) | Came::Taken(why) => why,
        };
        match &self.0.way {
            Way::Smtp(smtp) => smtp.greet().await.map_err(why),
            Way::Maildir(maildir) => maildir.try_out().await.map_err(|error| error.to_string()),
        }
    }

    /// Sends it once.
    pub async fn send(&self, sealed: &Sealed) -> Came {
        match &self.0.way {
            Way::Smtp(smtp) => smtp.send(sealed).await,
            Way::Maildir(maildir) => match maildir.put(sealed).await {
                Ok(file) => Came::Taken(file.display().to_string()),
                Err(error) => {
                    let why = format!("{} cannot be written to: {error}", maildir.folder().display());
                    Came::NotYet { why, mend: true }
                }
            },
        }
    }
}
