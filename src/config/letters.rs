//! How letters are written, and how they leave.

use std::path::{Path, PathBuf};

use bursar_jobs::letters::{Config, Maildir, Postbox, PostboxError, Smtp, SmtpError, Way};

use super::{Settings, SettingsError};

/// Who writes where nobody reads: into a maildir.
const NOBODY: &str = "bursar <bursar@localhost>";

impl Settings {
    /// Where letters are written and leave. Every template is read and checked. Without SMTP_URL they go to `[letters] maildir`, or to
    /// the one given here.
    pub fn postbox(&self, maildir: &Path) -> Result<Postbox, SettingsError> {
        let raw = &self.raw.letters;
        let way = match &self.raw.smtp.url {
            Some(url) => Way::Smtp(Smtp::new(url.expose(), self.roots()?.as_deref()).map_err(|error| of_smtp(&error))?),
            None => {
                Way::Maildir(Maildir::new(raw.maildir.as_ref().map_or(maildir.into(), |text| PathBuf::from(&text.0))))
            }
        };
        let from = match (&raw.from, &way) {
            (Some(from), _) => from.0.as_str(),
            (None, Way::Maildir(_)) => NOBODY,
            (None, Way::Smtp(_)) => {
                let remedy = "Write who the letters are from, like \"Acme <billing@acme.example>\", or unset SMTP_URL.";
                return Err(SettingsError::missing("letters.from", remedy));
            }
        };
        let config = Config {
            from,
            team: raw.team.as_ref().map(|text| text.0.as_str()),
            locale: &raw.locale.0,
            templates: raw.templates.as_ref().map(|text| Path::new(&text.0)),
            portal_url: raw.portal_url.as_ref().map(|text| text.0.as_str()),
            way,
        };
        Postbox::new(config).map_err(|error| {
            let (key, remedy) = match error {
                PostboxError::From(_) => ("letters.from", "Write one like \"Acme <billing@acme.example>\"."),
                PostboxError::Team(_) => ("letters.team", "Write one like ops@acme.example."),
                PostboxError::Locale => {
                    ("letters.locale", "Write `en`, `de`, or the name of a folder of your own templates.")
                }
                PostboxError::PortalUrl => {
                    ("letters.portal_url", "Write one like https://acme.example/billing, or unset it.")
                }
                PostboxError::Template(_) => {
                    ("letters.templates", "Mend that file, or take it away: the built-in one is used then.")
                }
            };
            SettingsError::new(key, format!("cannot be used: {error}"), remedy)
        })
    }

    /// Certificates to trust at the mail server, besides Mozilla's.
    fn roots(&self) -> Result<Option<Vec<u8>>, SettingsError> {
        let Some(file) = &self.raw.smtp.ca_file else { return Ok(None) };
        std::fs::read(&file.0).map(Some).map_err(|error| {
            let problem = format!("names {}, which cannot be read: {error}", file.0);
            SettingsError::new(
                "smtp.ca_file",
                problem,
                "Point it at a PEM file that this process may read, or unset it.",
            )
        })
    }
}

fn of_smtp(error: &SmtpError) -> SettingsError {
    let (key, remedy) = match error {
        SmtpError::Url | SmtpError::Tls(_) => (
            "smtp.url",
            "Write smtps://user:password@host (port 465), smtp://user:password@host?tls=required (port 587), or smtp://localhost; special \
             characters as %XX.",
        ),
        SmtpError::Parameter => ("smtp.url", "Write ?tls=required, or leave it out."),
        SmtpError::PlainPassword => ("smtp.url", "Write smtps://, or add ?tls=required."),
        SmtpError::Certificate => ("smtp.ca_file", "Point it at a file that holds `-----BEGIN CERTIFICATE-----`."),
    };
    SettingsError::new(key, error.to_string(), remedy)
}
